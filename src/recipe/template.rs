//! Templates: `{name}` in a text, filled in with values that the user gave.

use std::collections::BTreeMap;

use crate::recipe::RecipeFault;

/// The values of templates. Nothing is in here that the user did not ask for, so the same recipe and
/// the same values make the same bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Sets a value; the last one counts.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// Sets a value unless there is one.
    pub fn set_default(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// Fills in a text. Two braces stand for one.
    ///
    /// # Errors
    ///
    /// `NoValue` or `Brace`.
    pub fn fill(&self, text: &str) -> Result<String, RecipeFault> {
        let brace = || RecipeFault::Brace { text: text.to_owned() };
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            filled.push_str(&rest[..at]);
            let tail = &rest[at..];
            rest = if let Some(behind) = tail.strip_prefix("{{") {
                filled.push('{');
                behind
            } else if let Some(behind) = tail.strip_prefix("}}") {
                filled.push('}');
                behind
            } else {
                let inside = tail.strip_prefix('{').ok_or_else(brace)?;
                let (name, behind) = inside.split_once('}').ok_or_else(brace)?;
                let sound = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
                if name.is_empty() || !name.chars().all(sound) {
                    return Err(brace());
                }
                let value = self.0.get(name);
                filled
                    .push_str(value.ok_or_else(|| RecipeFault::NoValue { name: name.to_owned() })?);
                behind
            };
        }
        filled.push_str(rest);
        Ok(filled)
    }
}
