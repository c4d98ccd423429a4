//! Values out of the elements of a manifest.

use crate::error::Error;
use crate::error::Result;
use crate::instance_store::fault::ManifestFault;
use crate::instance_store::xml::Element;

/// Names of the algorithms, as the format has them.
pub(super) const DIGEST: &str = "SHA1";
pub(super) const CIPHER: &str = "AES-128-CBC";

/// A secret, encrypted for two readers, in hexadecimal digits. Empty where a reader has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// For EC2.
    pub ec2: String,
    /// For the user.
    pub user: String,
}

/// Tells whether a name is one of a file in a folder, on any system.
pub(super) fn is_plain_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\');
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(odd)
}

pub(super) fn start(element: &Element) -> u64 {
    u64::try_from(element.span.start).expect("a length")
}

pub(super) fn attribute<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    element.attributes.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
}

/// Reads a digest that names its algorithm.
pub(super) fn sha1(element: &Element) -> Result<String> {
    let fields = Fields(element);
    if attribute(element, "algorithm") != Some(DIGEST) {
        return Err(fields.own("digest's algorithm", "SHA1"));
    }
    let text = element.text.trim();
    let hex = text.len() == 40 && text.bytes().all(|it| it.is_ascii_hexdigit());
    if hex { Ok(text.to_ascii_lowercase()) } else { Err(fields.own("digest", "40 hex digits")) }
}

/// The elements in an element.
pub(super) struct Fields<'a>(pub(super) &'a Element);

impl<'a> Fields<'a> {
    fn own(&self, what: &'static str, expected: &'static str) -> Error {
        Error::from(ManifestFault::Value { what, expected }).at(start(self.0))
    }

    pub(super) fn malformed(&self, what: &'static str, expected: &'static str) -> Error {
        let element = self.0.children.iter().find(|it| it.name == what).unwrap_or(self.0);
        Error::from(ManifestFault::Value { what, expected }).at(start(element))
    }

    pub(super) fn optional(&self, what: &'static str) -> Result<Option<&'a Element>> {
        let mut all = self.0.children.iter().filter(|it| it.name == what);
        let first = all.next();
        match all.next() {
            Some(again) => Err(Error::from(ManifestFault::Twice { what }).at(start(again))),
            None => Ok(first),
        }
    }

    pub(super) fn one(&self, what: &'static str) -> Result<&'a Element> {
        let missing = || Error::from(ManifestFault::Missing { what }).at(start(self.0));
        self.optional(what)?.ok_or_else(missing)
    }

    /// Returns the text of an element that may be missing; an empty one counts as missing.
    pub(super) fn optional_text(&self, what: &'static str) -> Result<Option<String>> {
        let Some(element) = self.optional(what)? else { return Ok(None) };
        let text = element.text.trim();
        if !element.children.is_empty() || text.contains(char::is_control) {
            return Err(self.malformed(what, "one line of text"));
        }
        Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    pub(super) fn text(&self, what: &'static str) -> Result<String> {
        let missing = || Error::from(ManifestFault::Missing { what }).at(start(self.0));
        self.optional_text(what)?.ok_or_else(missing)
    }

    pub(super) fn number(&self, what: &'static str) -> Result<u64> {
        let text = self.text(what)?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = plain.then(|| text.parse().ok()).flatten();
        number.ok_or_else(|| self.malformed(what, "a number of bytes"))
    }

    /// Reads a secret that is encrypted twice. The user's may be empty: then only EC2 can read it.
    pub(super) fn sealed(
        &self,
        ec2: &'static str,
        user: &'static str,
        named: bool,
    ) -> Result<Sealed> {
        let read = |what: &'static str| {
            let element = self.one(what)?;
            if named && attribute(element, "algorithm") != Some(CIPHER) {
                return Err(self.malformed(what, "the algorithm AES-128-CBC"));
            }
            let text = self.optional_text(what)?.unwrap_or_default();
            let hex = text.len() % 2 == 0 && text.bytes().all(|it| it.is_ascii_hexdigit());
            if hex { Ok(text) } else { Err(self.malformed(what, "pairs of hex digits")) }
        };
        Ok(Sealed { ec2: read(ec2)?, user: read(user)? })
    }
}
