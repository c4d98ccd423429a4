//! What a recipe accepts although a rule is broken, why, and until when.

use serde::Deserialize;

use crate::recipe::RecipeFault;

/// For whom an AMI is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum For {
    /// For the account that has it.
    Private,
    /// For other accounts too.
    Shared,
    /// For AWS Marketplace.
    Marketplace,
}

/// A broken rule that is accepted for a while.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Waiver {
    /// Id of the rule.
    pub rule: String,
    /// Where it may be broken: a pattern of `*`, `?` and `[a-z]`; anywhere without one.
    pub place: Option<String>,
    /// Why it is accepted.
    pub reason: String,
    /// The last day on which it is, as `2027-06-30`, in UTC.
    pub until: String,
}

impl Waiver {
    /// Checks that there is a reason, and a day.
    pub(super) fn check(&self) -> Result<(), RecipeFault> {
        if self.reason.trim().is_empty() {
            return Err(RecipeFault::NoReason { rule: self.rule.clone() });
        }
        let digits: Vec<usize> = self.until.split('-').map(str::len).collect();
        let is_day = format!("{}T00:00:00Z", self.until).parse::<crate::ami::Time>().is_ok();
        if digits == [4, 2, 2] && is_day {
            return Ok(());
        }
        let (rule, found) = (self.rule.clone(), self.until.clone());
        Err(RecipeFault::WaiverDay { rule, found })
    }

    /// Tells whether it still holds on a day, as `2027-06-30`.
    #[must_use]
    pub fn holds_on(&self, day: &str) -> bool {
        // Days of four, two and two digits are in the order of their texts.
        day <= self.until.as_str()
    }
}
