//! Whether someone who may vouch for an AMI does: `docs/formats/signature.md`, "What is refused".

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::bundle::Bundle;
use crate::bundle::signatures::Attached;
use crate::bundle::signatures::Unproven;
use crate::bundle::signatures::unproven;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Fault as _;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::error::Verb;
use crate::format::Named;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::is_store;
use crate::ops::shared::counters;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open_bundle;
use crate::ops::shared::recipe::read_small;
use crate::signature;
use crate::signature::MAX_SIGNERS_LEN;
use crate::signature::Rejected;
use crate::signature::Signers;
use crate::signature::Statement;
use crate::work::Watch;
use crate::work::default_threads;

/// Who has to vouch for a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustRequest {
    /// File of allowed signers, as `ssh-keygen` reads it.
    pub signers: PathBuf,
    /// Accept a counter that is lower than that of another version.
    pub allow_downgrade: bool,
}

impl TrustRequest {
    /// Asks for a signature by a key of the file, and for a counter that is not lower than another's.
    #[must_use]
    pub fn new(signers: impl Into<PathBuf>) -> Self {
        Self { signers: signers.into(), allow_downgrade: false }
    }
}

/// A signature that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Voucher {
    /// Who made it, by the file of signers.
    pub signer: String,
    /// Fingerprint of the key.
    pub key: String,
    /// What the statement calls the AMI.
    pub name: String,
    /// The version counter.
    pub counter: u64,
}

/// A bundle that is trusted.
#[derive(Debug)]
pub(in crate::ops) struct Trusted {
    /// The bundle, open.
    pub(in crate::ops) bundle: Bundle,
    /// Who vouches for it.
    pub(in crate::ops) vouchers: Vec<Voucher>,
    /// What the user should hear.
    pub(in crate::ops) notes: Vec<String>,
}

/// Opens a bundle, after a trusted signature over it was found if one is asked for.
///
/// # Errors
///
/// As [`open_trusted`] and [`open_bundle`].
pub(in crate::ops) fn open_checked(
    typed: &Path,
    trust: Option<&TrustRequest>,
    base: Option<&VolumeRequest>,
    watch: &dyn Watch,
) -> Result<Trusted> {
    match trust {
        Some(trust) => open_trusted(typed, trust, base, watch),
        None => Ok(Trusted {
            bundle: open_bundle(typed, None, default_threads(), watch)?,
            vouchers: Vec::new(),
            notes: Vec::new(),
        }),
    }
}

/// Opens a bundle after a trusted signature over it was found. Until then only `oci-layout`, `index.json` and
/// documents of at most 1 MiB are read.
///
/// # Errors
///
/// `Mismatch` if no trusted signature is there, or it states something else, or an older version; as [`unproven`]
/// and [`Bundle::open_in`].
fn open_trusted(
    typed: &Path,
    trust: &TrustRequest,
    base: Option<&VolumeRequest>,
    watch: &dyn Watch,
) -> Result<Trusted> {
    let Named { path, ami, .. } = Named::parse(typed);
    if !Bundle::is_at(&path)? {
        // It says what there is instead.
        Bundle::open(&path)?;
    }
    let memory = is_store(&path)?.then(|| path.clone());
    let place = Place { store: layout::open(&path)?, ami, typed, memory };
    trusted_in(&place, trust, &[], base, watch)
}

/// Where a bundle is whose signatures are asked for.
#[derive(Debug)]
pub(in crate::ops) struct Place<'a> {
    /// Its layout.
    pub(in crate::ops) store: Arc<dyn BlobStore>,
    /// Its name in that, if there is one.
    pub(in crate::ops) ami: Option<String>,
    /// What the user called it.
    pub(in crate::ops) typed: &'a Path,
    /// The store that remembers the highest counters.
    pub(in crate::ops) memory: Option<PathBuf>,
}

/// What trusted keys state of an AMI, and of others beside it.
struct Vouched {
    found: Unproven,
    statements: Vec<(Statement, Voucher)>,
    signers: Signers,
    now: Timestamp,
}

/// Fails unless someone who may vouches for the AMI at a place. `oci-layout`, `index.json` and documents of at most
/// 1 MiB are read for that.
///
/// # Errors
///
/// `Mismatch` if no trusted signature is there; as [`unproven`].
#[cfg(feature = "network")]
pub(in crate::ops) fn check_vouched(
    place: &Place<'_>,
    trust: &TrustRequest,
    watch: &dyn Watch,
) -> Result<()> {
    vouched_in(place, trust, watch).map(drop)
}

fn vouched_in(place: &Place<'_>, trust: &TrustRequest, watch: &dyn Watch) -> Result<Vouched> {
    let signers = read_signers(&trust.signers, watch)?;
    let now = Timestamp::now();
    let found = unproven(&*place.store, place.ami.as_deref())?;
    let fail = |text: String| Error::new(Kind::Mismatch, text).in_file(place.typed);
    let mut refused = Vec::new();
    let mut statements = Vec::new();
    for attached in &found.attached {
        match vouched(attached, found.digest, &signers, now) {
            Ok(done) => statements.push(done),
            Err(why) => refused.push(why),
        }
    }
    refused.extend(found.broken.iter().cloned());
    if statements.is_empty() {
        return Err(match &refused[..] {
            [] => fail("it is not signed".to_owned())
                .advise(Advice::Use { verb: Verb::Sign, to: "sign it".into() }),
            all => fail(format!("no signature is trusted: {}", all.join("; "))),
        });
    }
    Ok(Vouched { found, statements, signers, now })
}

/// Opens a bundle after a trusted signature over it was found, as [`open_trusted`], wherever it is. `known` are further
/// signatures of other versions.
///
/// # Errors
///
/// As [`open_trusted`].
pub(in crate::ops) fn trusted_in(
    place: &Place<'_>,
    trust: &TrustRequest,
    known: &[Attached],
    base: Option<&VolumeRequest>,
    watch: &dyn Watch,
) -> Result<Trusted> {
    let Vouched { found, mut statements, signers, now } = vouched_in(place, trust, watch)?;
    let fail = |text: String| Error::new(Kind::Mismatch, text).in_file(place.typed);
    let bundle = Bundle::open_in(Arc::clone(&place.store), place.ami.as_deref())?;
    if bundle.digest() != found.digest {
        return Err(fail("index.json names another AMI besides the one that is signed".to_owned()));
    }
    let bases = bundle.bases().iter().map(|base| base.root).collect();
    let expected = Statement::new(found.digest, "", 0, bases).bases;
    statements.retain(|(statement, _)| statement.bases == expected);
    if statements.is_empty() {
        return Err(fail("the statement names other bases than the bundle has".to_owned()));
    }
    let mut others: Vec<Statement> = Vec::new();
    for attached in found.others.iter().chain(known) {
        others.extend(vouched_for_itself(attached, &signers, now));
    }
    others.extend(base_statements(base, &signers, now)?);
    // What is stated of this very AMI elsewhere is not another version.
    others.retain(|other| other.digest != found.digest);
    let mut own: BTreeMap<&str, u64> = BTreeMap::new();
    for (statement, _) in &statements {
        let counter = own.entry(&statement.name).or_default();
        *counter = statement.counter.max(*counter);
    }
    let newest: Vec<_> = own
        .keys()
        .map(|name| {
            let there = others.iter().filter(|it| it.name == *name).map(|it| it.counter).max();
            Ok(there.max(remembered(place, name, found.digest)?))
        })
        .collect::<Result<_>>()?;
    let mut notes = Vec::new();
    for ((name, counter), newest) in own.iter().zip(&newest) {
        if let Some(newest) = newest.filter(|newest| newest > counter && !trust.allow_downgrade) {
            let text = format!(
                "counter of {name:?} is {counter}, and a version with {newest} is known: this one is older",
            );
            return Err(
                fail(text).advise(Advice::Give { setting: Setting::Downgrade, example: "".into() })
            );
        }
        if newest.is_none() {
            notes.push(format!(
                "the counter of {name:?} is {counter}; no other version is known to compare it with",
            ));
        }
    }
    let vouchers = statements.into_iter().map(|(_, voucher)| voucher).collect();
    Ok(Trusted { bundle, vouchers, notes })
}

/// Returns the highest counter of another version that the store has ever accepted under a name.
fn remembered(place: &Place<'_>, name: &str, digest: Digest) -> Result<Option<u64>> {
    let Some(store) = &place.memory else { return Ok(None) };
    let found = counters::highest(store, name)?.filter(|it| it.digest != digest);
    Ok(found.map(|it| it.highest))
}

/// Reads the file of allowed signers.
fn read_signers(path: &Path, watch: &dyn Watch) -> Result<Signers> {
    let bytes = read_small(path, MAX_SIGNERS_LEN, watch)?;
    let signers = Signers::parse(&bytes, &TimeZone::system())
        .map_err(|(line, fault)| Error::invalid(format!("line {line}: {fault}")).in_file(path))?;
    if signers.is_empty() {
        let text = "it has no key of type ssh-ed25519 or sk-ssh-ed25519@openssh.com";
        return Err(Error::invalid(text).in_file(path));
    }
    Ok(signers)
}

/// Checks one signature, or says why it does not count.
fn vouched(
    attached: &Attached,
    digest: Digest,
    signers: &Signers,
    now: Timestamp,
) -> Result<(Statement, Voucher), String> {
    let key = signature::verify(&attached.statement, &attached.signature)
        .map_err(|fault| format!("{} ({})", fault, fault.kind().name()))?;
    let signer = signers.principals(&key, now).map_err(|why| {
        let why = match why {
            Rejected::Unknown => "is not in the file of signers",
            Rejected::Namespace => "may not sign AMIs",
            Rejected::NotYet => "is not valid yet",
            Rejected::Expired => "is not valid any more",
        };
        format!("the key {key} {why}")
    })?;
    // Only what a trusted key has signed is looked into.
    let statement = Statement::parse(&attached.statement).map_err(|fault| fault.to_string())?;
    if statement.digest != digest {
        return Err(format!("the key {key} signed another AMI, sha256:{}", statement.digest));
    }
    let voucher = Voucher {
        signer: signer.to_owned(),
        key: key.to_string(),
        name: statement.name.clone(),
        counter: statement.counter,
    };
    Ok((statement, voucher))
}

/// Returns what a trusted key states of another AMI.
fn vouched_for_itself(attached: &Attached, signers: &Signers, now: Timestamp) -> Option<Statement> {
    let key = signature::verify(&attached.statement, &attached.signature).ok()?;
    signers.principals(&key, now).ok()?;
    Statement::parse(&attached.statement).ok()
}

/// Returns what trusted keys state of the base, if it is a bundle.
fn base_statements(
    base: Option<&VolumeRequest>,
    signers: &Signers,
    now: Timestamp,
) -> Result<Vec<Statement>> {
    let Some(base) = base else { return Ok(Vec::new()) };
    if base.is_standard_input() || !Bundle::is_at(&base.image.path)? {
        return Ok(Vec::new());
    }
    let store = layout::open(&base.image.path)?;
    let found = unproven(&*store, base.ami.as_deref())?;
    let all = found.attached.iter().chain(&found.others);
    Ok(all.filter_map(|attached| vouched_for_itself(attached, signers, now)).collect())
}
