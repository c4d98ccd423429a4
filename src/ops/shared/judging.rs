//! What rules say of a case, and what a recipe accepts all the same; and looking into the volumes for it.

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Time;
use crate::ami::bare;
use crate::error::Result;
use crate::guest::Guest;
use crate::guest::matches_pattern;
use crate::lint::Audience;
use crate::lint::Finding;
use crate::lint::Inside;
use crate::lint::InsideVolume;
use crate::lint::look_inside;
use crate::recipe::For;
use crate::recipe::Waiver;
use crate::volume::ReadVolume;

/// A broken rule that the recipe accepts for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waived {
    /// What was found.
    pub finding: Finding,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is.
    pub until: String,
}

/// What rules say, with what the recipe accepts apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::ops) struct Judged {
    pub(in crate::ops) findings: Vec<Finding>,
    pub(in crate::ops) waived: Vec<Waived>,
    /// Waivers that are over, or that waive nothing.
    pub(in crate::ops) notes: Vec<String>,
}

impl Judged {
    /// Takes what is waived out of the findings. Without a clock no waiver holds.
    pub(in crate::ops) fn new(all: Vec<Finding>, waivers: &[Waiver], now: Option<Time>) -> Self {
        let day = now.map(Time::day);
        let mut judged = Self::default();
        let mut over: Vec<&Waiver> = Vec::new();
        for finding in all {
            let is_meant = |waiver: &&Waiver| {
                let at = waiver.place.as_ref();
                waiver.rule == finding.rule
                    && at.is_none_or(|it| matches_pattern(it.as_bytes(), finding.place.as_bytes()))
            };
            let holds = |waiver: &Waiver| day.as_ref().is_some_and(|day| waiver.holds_on(day));
            let mut meant = waivers.iter().filter(is_meant).peekable();
            over.extend(meant.peek().copied().filter(|waiver| !holds(waiver)));
            match meant.find(|waiver| holds(waiver)) {
                Some(Waiver { reason, until, .. }) => {
                    let (reason, until) = (reason.clone(), until.clone());
                    judged.waived.push(Waived { finding, reason, until });
                }
                None => judged.findings.push(finding),
            }
        }
        for waiver in waivers.iter().filter(|waiver| over.contains(waiver)) {
            judged.notes.push(format!("the waiver of {} ended on {}", waiver.rule, waiver.until));
        }
        judged
    }
}

/// Returns for whom an AMI is, as a recipe says it.
pub(in crate::ops) fn audience(named: For) -> Audience {
    match named {
        For::Private => Audience::Private,
        For::Shared => Audience::Shared,
        For::Marketplace => Audience::Marketplace,
    }
}

/// Looks into the volumes of an AMI, by their devices. `all_known` says that there is no other volume with
/// content.
///
/// # Errors
///
/// Whatever reading the volumes returns.
pub(in crate::ops) fn inside_of(
    volumes: &[(&str, &dyn ReadVolume)],
    ami: &Ami,
    all_known: bool,
) -> Result<Inside> {
    let guests: Vec<Guest<'_>> =
        volumes.iter().map(|(_, volume)| Guest::open(*volume)).collect::<Result<_>>()?;
    let named = volumes.iter().zip(&guests);
    let inside: Vec<InsideVolume<'_>> =
        named.map(|((device, _), guest)| InsideVolume { device, guest }).collect();
    // EC2 takes a root of /dev/sda1 for a mapping of /dev/sda.
    let disk = |name: &str| bare(name).trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let root = &ami.root_device_name;
    let is_root = |it: &(&str, &dyn ReadVolume)| bare(it.0) == bare(root);
    let place = volumes.iter().position(is_root);
    let place = place.or_else(|| volumes.iter().position(|it| disk(it.0) == disk(root)));
    look_inside(&inside, place.unwrap_or(usize::from(volumes.len() != 1)), all_known)
}
