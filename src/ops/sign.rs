//! `sign`: vouches for an AMI with an SSH key.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::bundle::signatures;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::format::Named;
use crate::io::read_secret;
use crate::ops::shared::open::open_typed_bundle;
use crate::ops::shared::recipe::read_small;
use crate::ops::shared::report::path_text;
use crate::signature;
use crate::signature::KeyFile;
use crate::signature::MAX_COUNTER;
use crate::signature::MAX_KEY_LEN;
use crate::signature::NAMESPACE;
use crate::signature::PublicKey;
use crate::signature::Statement;
use crate::work::Watch;

/// Most bytes of a name: EC2 takes 128 characters.
const MAX_NAME_LEN: usize = 512;

/// What is signed, with which key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SignRequest {
    /// The bundle, or `STORE@NAME`.
    pub bundle: PathBuf,
    /// A private key of OpenSSH; or a public one, whose private key an agent has.
    pub key: PathBuf,
    /// Version counter, at most 2^53 - 1: higher is newer.
    pub counter: u64,
    /// What the versions of the AMI are called in common; the AMI's own name where none is given.
    pub name: Option<String>,
}

impl SignRequest {
    /// Asks for a signature over a version.
    #[must_use]
    pub fn new(bundle: impl Into<PathBuf>, key: impl Into<PathBuf>, counter: u64) -> Self {
        Self { bundle: bundle.into(), key: key.into(), counter, name: None }
    }
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignReport {
    /// The bundle.
    #[serde(serialize_with = "path_text")]
    pub bundle: PathBuf,
    /// Digest of the AMI's manifest.
    pub digest: Digest,
    /// What the statement calls the AMI.
    pub name: String,
    /// The version counter.
    pub counter: u64,
    /// Fingerprint of the key.
    pub key: String,
    /// Digest of the manifest that carries the signature.
    pub signature: Digest,
    /// Whether the bundle had this signature already.
    pub was_there: bool,
}

/// Signs an AMI, and adds the signature to its bundle or store.
///
/// # Errors
///
/// `Invalid` if the key or the counter is not one, or the bundle is an archive; as [`crate::bundle::Bundle::open`]; `Io` if the
/// system refuses, or `ssh-keygen` does not sign.
pub fn sign(request: &SignRequest, watch: &dyn Watch) -> Result<SignReport> {
    if request.counter > MAX_COUNTER {
        let text = format!("the counter is {}, expected at most {MAX_COUNTER}", request.counter);
        return Err(Error::invalid(text));
    }
    let Named { path, .. } = Named::parse(&request.bundle);
    let bundle = open_typed_bundle(&request.bundle)?;
    let name = request.name.as_deref().unwrap_or(&bundle.ami().name);
    if name.is_empty() || name.len() > MAX_NAME_LEN {
        let text = format!("the name has {} bytes, expected 1 to {MAX_NAME_LEN}", name.len());
        return Err(Error::invalid(text));
    }
    let bases = bundle.bases().iter().map(|base| base.root).collect();
    let statement = Statement::new(bundle.digest(), name, request.counter, bases).encode();
    let (armored, key) = signed(&request.key, &statement, watch)?;
    let blobs = signatures::carry(bundle.descriptor(), &statement, armored.as_bytes());
    let was_there = signatures::attach(&path, &blobs, watch)?;
    Ok(SignReport {
        bundle: request.bundle.clone(),
        digest: bundle.digest(),
        name: name.to_owned(),
        counter: request.counter,
        key: key.to_string(),
        signature: blobs.descriptor.digest,
        was_there,
    })
}

/// Signs a statement, and proves the signature before it is believed.
fn signed(path: &Path, statement: &[u8], watch: &dyn Watch) -> Result<(String, PublicKey)> {
    let is_public = path.extension().is_some_and(|it| it == "pub");
    let bytes = if is_public {
        read_small(path, MAX_KEY_LEN, watch)?
    } else {
        read_secret(path, MAX_KEY_LEN, watch)?
    };
    let bytes = Zeroizing::new(bytes);
    let fail = |fault| Error::from(fault).in_file(path);
    let armored = match KeyFile::parse(&bytes).map_err(fail)? {
        KeyFile::Private(key) => signature::sign(statement, &key),
        KeyFile::Elsewhere | KeyFile::Public(_) => by_ssh_keygen(path, statement)?,
    };
    let key = signature::verify(statement, armored.as_bytes()).map_err(fail)?;
    Ok((armored, key))
}

/// Has `ssh-keygen` sign: it asks for passphrases, for the touch of a hardware key, or an agent.
fn by_ssh_keygen(key: &Path, statement: &[u8]) -> Result<String> {
    let fail = |error: std::io::Error| {
        Error::new(Kind::Io, format!("ssh-keygen, which has to sign with this key: {error}"))
            .in_file(key)
            .advise("install OpenSSH's client, or name a private key without a passphrase")
    };
    #[expect(clippy::disallowed_methods, reason = "the user named a key that only it can use")]
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key);
    let mut child = keygen.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(fail)?;
    let mut input = child.stdin.take().expect("it is piped");
    // A program that does not want the statement says why when it ends.
    let _ = input.write_all(statement);
    drop(input);
    let done = child.wait_with_output().map_err(fail)?;
    if !done.status.success() {
        let text = format!("ssh-keygen did not sign: {}", done.status);
        let advice = format!(
            "see what it said above; `ssh-add -l` lists the keys of the agent, which must have that of {}",
            shown(key)
        );
        return Err(Error::new(Kind::Io, text).in_file(key).advise(advice));
    }
    String::from_utf8(done.stdout)
        .map_err(|_| Error::new(Kind::Io, "the output of ssh-keygen is not a signature"))
}
