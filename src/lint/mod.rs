//! EC2's rules over a description: what it refuses, or what cannot work, known before an upload.
//!
//! Each rule is a row of [`RULES`]: an id, a level, a sentence, its source, and a pure function over a
//! [`Subject`]. `docs/lint.md` is printed from the table. A rule that lacks a fact (no volume was
//! read, no time is known) finds nothing.

mod boot;
mod devices;
mod documents;
mod features;
mod found;
mod guest;
mod inside;
mod limits;
mod names;
mod rules;
mod sharing;
mod storage;
mod subject;

use serde::Serialize;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;

pub use found::Found;
pub use inside::Inside;
pub use inside::InsideVolume;
pub use inside::look_inside;
pub use limits::LIMITS_AS_OF;
pub use rules::RULES;
pub use subject::Audience;
pub use subject::Evidence;
pub use subject::Level;
pub use subject::Rule;
pub use subject::Scope;
pub use subject::Subject;
pub use subject::Topic;
pub use subject::VolumeFacts;
use subject::member;

/// A broken rule, as it is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of the rule.
    pub rule: &'static str,
    /// How bad it is.
    pub level: Level,
    /// By what the rule is known.
    pub evidence: Evidence,
    /// What the rule is about.
    pub topic: Topic,
    /// The member, with its device where it has one.
    pub place: String,
    /// What was found there.
    pub found: String,
    /// What to write instead.
    pub instead: String,
    /// What the rule says.
    pub text: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    /// What fixes it inside an image; empty where the description is what has to change.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub fix: &'static str,
}

/// Checks that every id is one of a rule.
///
/// # Errors
///
/// `Invalid`, naming the first that is none.
pub fn check_ids(ids: &[String]) -> Result<()> {
    for id in ids {
        if !RULES.iter().any(|rule| rule.id == id) {
            let advice = Advice::Use { verb: Verb::ListRules, to: "list all rules".into() };
            return Err(Error::invalid(format!("no rule is called {id:?}")).advise(advice));
        }
    }
    Ok(())
}

/// Applies all rules but the allowed ones: errors first, each in the order of the table.
///
/// What EC2 says of an AMI that is there was not refused, so rules about what is asked do not apply to it.
#[must_use]
pub fn lint(subject: &Subject<'_>, allow: &[String]) -> Vec<Finding> {
    let applies = |rule: &&Rule| !subject.is_answer || rule.scope == Scope::Any;
    let asked = RULES.iter().filter(applies).filter(|rule| !allow.iter().any(|id| id == rule.id));
    let mut findings: Vec<Finding> = asked
        .flat_map(|rule| {
            (rule.check)(subject).into_iter().map(|found| Finding {
                rule: rule.id,
                level: rule.level_for(subject.audience),
                evidence: rule.evidence,
                topic: rule.topic,
                place: found.place,
                found: found.found,
                instead: found.instead,
                text: rule.text,
                source: rule.source,
                fix: rule.fix,
            })
        })
        .collect();
    findings.sort_by_key(|finding| finding.level);
    findings
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
