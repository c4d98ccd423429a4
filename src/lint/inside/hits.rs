//! What rules inside the guest have found.

use crate::lint::found::Found;

/// Most places that one rule tells of: a thousand keys are one mistake.
const MAX_PLACES: usize = 50;

/// Places that break rules, each with the rule's id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hits(Vec<(&'static str, Found)>);

impl Hits {
    /// Adds a place. `instead` says what is expected there.
    pub(super) fn add(
        &mut self,
        rule: &'static str,
        place: impl Into<String>,
        found: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let found = Found::new(place, found, instead);
        let before = self.of(rule).count();
        let is_new = self.of(rule).all(|it| *it != found);
        if before < MAX_PLACES && is_new {
            self.0.push((rule, found));
        }
    }

    /// Iterates over the places of a rule.
    pub(super) fn of(&self, rule: &str) -> impl Iterator<Item = &Found> {
        self.0.iter().filter(move |(id, _)| *id == rule).map(|(_, found)| found)
    }
}
