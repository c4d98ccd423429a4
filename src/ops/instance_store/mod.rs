//! EC2's instance-store bundles: made, taken apart, checked, told of, and turned into bundles of ours.

mod import;
mod inspect;
mod make;
mod unbundle;
mod verify;

use std::path::Path;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::Certificate;
use crate::instance_store::InstanceBundle;
use crate::instance_store::KeyFault;
use crate::instance_store::MAX_KEY_FILE_LEN;
use crate::instance_store::PartDamage;
use crate::instance_store::PrivateKey;
use crate::instance_store::Reader;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::read_secret;
use crate::io::read_vec;
use crate::work::Watch;

pub use import::ImportRequest;
pub use import::import;
pub use inspect::InstanceStoreContent;
pub use inspect::inspect;
pub use make::MakeReport;
pub use make::MakeRequest;
pub use make::make;
pub use make::make_with;
pub use unbundle::UnbundleReport;
pub use unbundle::UnbundleRequest;
pub use unbundle::unbundle;
pub use verify::VerifyReport;
pub use verify::VerifyRequest;
pub use verify::verify;

/// What is known of a bundle's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signature {
    /// It fits the certificate that the user gave.
    Valid,
    /// It fits the user's own private key; no certificate was given.
    ValidForKey,
    /// There was nothing to check it with.
    Unchecked,
    /// There is none.
    Unsigned,
    /// It does not fit.
    Wrong,
}

impl Signature {
    /// Returns what is wrong with it, for one who has given the signer's certificate or has not.
    fn fault(self, has_certificate: bool) -> Option<KeyFault> {
        match self {
            Self::Wrong => Some(KeyFault::Signature),
            Self::Unsigned if has_certificate => Some(KeyFault::Unsigned),
            _ => None,
        }
    }

    /// Says what the user should hear of it.
    fn note(self) -> Option<String> {
        match self {
            Self::Unchecked => {
                Some("the signature was not checked: that needs the signer's certificate")
            }
            Self::Unsigned => Some("the manifest is not signed"),
            _ => None,
        }
        .map(str::to_owned)
    }
}

/// Reads a private key.
fn read_key(path: &Path, watch: &dyn Watch) -> Result<PrivateKey> {
    let bytes = Zeroizing::new(read_secret(path, MAX_KEY_FILE_LEN, watch)?);
    PrivateKey::parse(&bytes).map_err(|fault| {
        let error = Error::from(fault).in_file(path);
        match fault {
            KeyFault::Passphrase => error
                .advise("openssl rsa -in KEY -out PLAIN makes one without, in a file of mode 0600"),
            _ => error,
        }
    })
}

/// Reads a certificate.
fn read_certificate(path: &Path) -> Result<Certificate> {
    let input = Input::open(path)?;
    if input.len() > MAX_KEY_FILE_LEN {
        let text = format!("it has {} bytes, expected a certificate", input.len());
        return Err(Error::new(Kind::Limit, text).in_file(path));
    }
    let bytes = read_vec(&input, 0, input.len())?;
    Certificate::parse(&bytes).map_err(|fault| Error::from(fault).in_file(path))
}

/// Checks a bundle's signature with what there is: a certificate, or the key of whoever signed.
///
/// A key that opens what was encrypted for the user is the one that signed. EC2's key is not.
fn check_signature(
    bundle: &InstanceBundle,
    certificate: Option<&Certificate>,
    key: Option<(&PrivateKey, Reader)>,
) -> Signature {
    if bundle.manifest().signature.as_deref().is_none_or(|text| text == "UNSIGNED") {
        return Signature::Unsigned;
    }
    let (certificate, valid) = match (certificate, key) {
        (Some(certificate), _) => (certificate.clone(), Signature::Valid),
        (None, Some((key, Reader::User))) => (key.public(), Signature::ValidForKey),
        _ => return Signature::Unchecked,
    };
    match bundle.check_signature(&certificate) {
        Ok(()) => valid,
        Err(_) => Signature::Wrong,
    }
}

/// Makes one error of all parts that are damaged.
fn parts_error(manifest: &Path, damaged: &[PartDamage]) -> Option<Error> {
    let first = damaged.first()?;
    let more = match damaged.len() {
        1 => String::new(),
        count => format!(", and {} more parts", count.saturating_sub(1)),
    };
    let text = format!("{}: {}{more}", first.filename, first.problem);
    let advice = "amikit instance-store verify lists all of them; get good copies";
    Some(Error::new(Kind::Mismatch, text).in_file(manifest).advise(advice))
}
