//! What is signed: `docs/formats/signature.md`, "Statement".

use serde::Deserialize;
use serde::Serialize;

use crate::digest::Digest;
use crate::signature::fault::SignatureFault;

/// What the member `schema` says.
const SCHEMA: &str = "amikit.statement.v1";

/// Highest counter: what every reader of JSON keeps exactly.
pub const MAX_COUNTER: u64 = (1 << 53) - 1;

/// Names an AMI and says which version of it this is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// Digest of the AMI's OCI manifest.
    pub digest: Digest,
    /// Name of the AMI.
    pub name: String,
    /// Version counter, at most [`MAX_COUNTER`]: higher is newer.
    pub counter: u64,
    /// Root digests of the snapshots that it depends on, ascending.
    pub bases: Vec<Digest>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: String,
    digest: String,
    name: String,
    counter: u64,
    bases: Vec<String>,
}

fn prefixed(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

fn parsed(text: &str) -> Result<Digest, SignatureFault> {
    let digest = text.strip_prefix("sha256:").and_then(Digest::from_hex);
    digest.ok_or(SignatureFault::Statement)
}

impl Statement {
    /// States a version; the bases may come in any order.
    #[must_use]
    pub fn new(digest: Digest, name: &str, counter: u64, mut bases: Vec<Digest>) -> Self {
        bases.sort();
        bases.dedup();
        Self { digest, name: name.to_owned(), counter, bases }
    }

    /// Returns the bytes that are signed.
    ///
    /// # Panics
    ///
    /// Never: a document of strings and a number is always written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let document = Document {
            schema: SCHEMA.to_owned(),
            digest: prefixed(&self.digest),
            name: self.name.clone(),
            counter: self.counter,
            bases: self.bases.iter().map(prefixed).collect(),
        };
        let mut bytes = serde_json::to_vec(&document).expect("strings and a number");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a statement, and accepts only the bytes that [`Statement::encode`] makes of it.
    ///
    /// # Errors
    ///
    /// [`SignatureFault::Schema`] for a later version; [`SignatureFault::Statement`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureFault> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_slice(bytes).map_err(|_| SignatureFault::Statement)?;
        if head.schema != SCHEMA {
            return Err(SignatureFault::Schema);
        }
        let read: Document =
            serde_json::from_slice(bytes).map_err(|_| SignatureFault::Statement)?;
        let bases: Result<Vec<_>, _> = read.bases.iter().map(|text| parsed(text)).collect();
        let statement = Self::new(parsed(&read.digest)?, &read.name, read.counter, bases?);
        if read.counter > MAX_COUNTER || statement.encode() != bytes {
            return Err(SignatureFault::Statement);
        }
        Ok(statement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::sha256;

    #[test]
    fn only_the_one_form_of_a_statement_is_read() {
        let bases = vec![sha256(b"b"), sha256(b"a")];
        let statement = Statement::new(sha256(b"x"), "web \"7\" \u{e9}", 7, bases);
        let bytes = statement.encode();
        assert_eq!(Statement::parse(&bytes), Ok(statement.clone()));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                if let Ok(read) = Statement::parse(&other) {
                    assert_eq!(read.encode(), other);
                    assert_ne!(read, statement);
                }
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        let fault = |text: &str| Statement::parse(text.as_bytes()).unwrap_err();
        assert_eq!(fault(&text.replace("v1", "v2")), SignatureFault::Schema);
        for (from, to) in [
            ("\n", ""),
            (",\"counter\"", ", \"counter\""),
            ("\"counter\":7", "\"counter\":9007199254740992"),
            ("\"counter\":7", "\"counter\":-1"),
            ("\"counter\":7,", "\"counter\":7,\"counter\":7,"),
            ("\"counter\":7,", ""),
            ("\u{e9}", "\\u00e9"),
        ] {
            assert!(text.contains(from));
            assert_eq!(fault(&text.replacen(from, to, 1)), SignatureFault::Statement, "{to}");
        }
    }
}
