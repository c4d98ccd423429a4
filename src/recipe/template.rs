//! Templates: `{name}` in a text, filled in with values that the user gave.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::recipe::RecipeFault;

/// The recipe that `amikit init` writes, where nothing is known.
pub const TEMPLATE: &str = include_str!("template.toml");

/// Name of the image that the template of a recipe has.
pub const TEMPLATE_IMAGE: &str = "root.raw";

/// What is known of a recipe that is begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// The image of the root volume, as the recipe names it.
    pub image: Option<PathBuf>,
    /// The architecture.
    pub architecture: Option<Architecture>,
    /// The boot mode.
    pub boot_mode: Option<BootMode>,
}

/// Writes a recipe to begin with.
#[must_use]
pub fn begin(known: &Beginning) -> String {
    let mut text = TEMPLATE.to_owned();
    let mut put = |from: &str, to: String| {
        assert!(text.contains(from), "the template has {from}");
        text = text.replacen(from, &to, 1);
    };
    if let Some(mode) = known.boot_mode {
        put("# boot-mode = \"uefi\"", format!("boot-mode = \"{mode}\""));
    }
    if let Some(architecture) = known.architecture {
        put("architecture = \"x86_64\"", format!("architecture = \"{architecture}\""));
    }
    if let Some(image) = &known.image {
        let name = image.to_string_lossy().replace('{', "{{").replace('}', "}}");
        let name = serde_json::to_string(&name).expect("a string always serialises");
        put(&format!("image = \"{TEMPLATE_IMAGE}\""), format!("image = {name}"));
    }
    text
}

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
