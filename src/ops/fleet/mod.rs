//! `fleet`: what many AMIs share, what each has alone, what deleting some frees, what each version changed, and who holds
//! something.
//!
//! EBS shares blocks along a lineage only, and a store shares chunks by content. The two are counted by passes of their
//! own: [`lineage`] walks each lineage from its ends to its beginning, [`content`] sorts all chunks through a file without
//! a name. Memory does not grow with the fleet, but for a few hundred bytes a snapshot.

mod content;
mod holds;
mod lineage;
mod nodes;
mod price;
mod report;

use std::num::NonZero;
use std::path::PathBuf;

use crate::error::Result;
use crate::ops::fleet::content::Content;
use crate::ops::fleet::nodes::Fleet;
use crate::ops::fleet::nodes::Node;
use crate::ops::shared::members::members_named;
use crate::units::BLOCK_SIZE;
use crate::work::Watch;
use crate::work::default_threads;

pub use holds::Held;
pub use price::Price;
pub use report::ChurnReport;
pub use report::FleetReport;
pub use report::Freed;
pub use report::FreesReport;
pub use report::HolderReport;
pub use report::HoldersReport;
pub use report::SharedBy;
pub use report::SharedReport;
pub use report::UniqueReport;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// What is shared?
    pub shared: bool,
    /// What does each AMI have alone?
    pub unique: bool,
    /// What did each version change?
    pub churn: bool,
    /// What would deleting these AMIs free? Names, digests or patterns.
    pub delete: Vec<String>,
    /// Who holds this?
    pub holds: Option<Held>,
}

/// A fleet, and what is asked about it.
#[derive(Clone, Debug)]
pub struct FleetRequest {
    /// Stores, bundles, snapshot manifests, and folders of these.
    pub inputs: Vec<PathBuf>,
    /// A file that says which snapshot was made over which.
    pub lineage: Option<PathBuf>,
    /// What is asked.
    pub questions: Questions,
    /// What a GiB costs a month in EBS.
    pub ebs_price: Option<Price>,
    /// What a GiB costs a month where the store is.
    pub store_price: Option<Price>,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

impl FleetRequest {
    /// Asks nothing yet about a fleet.
    #[must_use]
    pub fn new(inputs: Vec<PathBuf>) -> Self {
        Self {
            inputs,
            lineage: None,
            questions: Questions::default(),
            ebs_price: None,
            store_price: None,
            threads: default_threads(),
        }
    }
}

/// Answers questions about a fleet. `before` hears how many bytes of files without names that will take, before it begins.
///
/// # Errors
///
/// `Invalid` if an input holds no AMI, or a name is not in the fleet; as opening the AMIs; `Io` if the system refuses.
pub fn fleet(
    request: &FleetRequest,
    watch: &dyn Watch,
    before: &mut dyn FnMut(u64),
) -> Result<FleetReport> {
    let questions = &request.questions;
    let lineage = request.lineage.as_deref();
    let fleet = Fleet::find(&request.inputs, lineage, request.threads, watch)?;
    let mut deleted = vec![false; fleet.members.len()];
    for name in &questions.delete {
        for member in members_named(&fleet.members, name)? {
            deleted[member] = true;
        }
    }
    let frees = !questions.delete.is_empty();
    let dead = |node: &Node| node.members.iter().all(|member| deleted[*member]);
    let dead: Vec<bool> = fleet.nodes.iter().map(dead).collect();
    let mut report = FleetReport::of(&fleet);
    let sorts = questions.shared || questions.unique || questions.churn || frees;
    if sorts {
        let rows = fleet.sum(|counts| counts.data);
        before(rows.saturating_mul(content::RECORD_SIZE));
        watch.begin(Some(rows.saturating_mul(BLOCK_SIZE)));
        let content = Content::of(&fleet, &dead, request.threads, watch)?;
        if questions.shared {
            report.shared = Some(content.shared());
        }
        if questions.unique {
            report.unique = Some(content.unique(&fleet));
        }
        let mut freed_blocks = 0;
        if questions.churn || frees {
            let lineages = lineage::walk(&fleet, &dead, frees, request.threads, watch)?;
            freed_blocks = lineages.freed;
            if questions.churn {
                report.churn = Some(lineages.churn(&fleet, content.new_chunks()));
            }
        }
        if frees {
            let prices = (request.ebs_price, request.store_price);
            report.frees = Some(content.frees(&fleet, &deleted, &dead, freed_blocks, prices));
        }
    }
    if let Some(held) = &questions.holds {
        report.holders =
            Some(holds::find(&fleet, held, request.threads, watch, &mut report.notes)?);
    }
    Ok(report)
}
