//! What the verbs of EC2's instance-store bundles share: keys, signatures, and the volume inside.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::format::raw;
use crate::instance_store::Bundler;
use crate::instance_store::Certificate;
use crate::instance_store::Extracted;
use crate::instance_store::InstanceBundle;
use crate::instance_store::KeyFault;
use crate::instance_store::MAX_KEY_FILE_LEN;
use crate::instance_store::Machine;
use crate::instance_store::Manifest;
use crate::instance_store::PartDamage;
use crate::instance_store::PartEntry;
use crate::instance_store::PrivateKey;
use crate::instance_store::Reader;
use crate::instance_store::SystemRandomness;
use crate::instance_store::Unsealed;
use crate::instance_store::Version;
use crate::io::Folder;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::io::list;
use crate::io::read_secret;
use crate::io::read_vec;
use crate::ops::shared::report::path_text;
use crate::volume::Volume;
use crate::work::Watch;

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
    pub(in crate::ops) fn fault(self, has_certificate: bool) -> Option<KeyFault> {
        match self {
            Self::Wrong => Some(KeyFault::Signature),
            Self::Unsigned if has_certificate => Some(KeyFault::Unsigned),
            _ => None,
        }
    }

    /// Says what the user should hear of it.
    pub(in crate::ops) fn note(self) -> Option<String> {
        match self {
            Self::Unchecked => {
                Some("the signature was not checked: the signer's certificate was not given")
            }
            Self::Unsigned => Some("the manifest is not signed"),
            _ => None,
        }
        .map(str::to_owned)
    }
}

/// Reads a private key.
pub(in crate::ops) fn read_key(path: &Path, watch: &dyn Watch) -> Result<PrivateKey> {
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
pub(in crate::ops) fn read_certificate(path: &Path) -> Result<Certificate> {
    let input = Input::open(path)?;
    if input.len() > MAX_KEY_FILE_LEN {
        let text = format!("it has {} bytes, expected a certificate", input.len());
        return Err(Error::new(Kind::Limit, text).in_file(path));
    }
    let bytes = read_vec(&input, 0, input.len())?;
    Certificate::parse(&bytes).map_err(|fault| Error::from(fault).in_file(path))
}

/// Checks a bundle's signature with what there is: a certificate, or the signer's key.
///
/// A key that opens what was encrypted for the user is the one that signed. EC2's key is not.
pub(in crate::ops) fn check_signature(
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
    Some(Error::new(Kind::Mismatch, text).in_file(manifest).advise("get good copies of the parts"))
}

/// Keys to an instance-store bundle, by file.
#[derive(Clone, Debug, Default)]
pub struct BundleKeys {
    /// The private key of the user, or of EC2.
    pub key: Option<PathBuf>,
    /// The signer's certificate.
    pub cert: Option<PathBuf>,
}

/// A bundle whose manifest, signature, parts and key are as they should be.
pub(in crate::ops) struct Checked {
    pub(in crate::ops) bundle: InstanceBundle,
    pub(in crate::ops) signature: Signature,
    unsealed: Unsealed,
}

/// The volume of a bundle, in a file without a name.
pub(in crate::ops) struct Laid {
    pub(in crate::ops) volume: Volume,
    pub(in crate::ops) extracted: Extracted,
}

impl Checked {
    /// Opens a bundle and checks all that can be checked without unpacking it.
    pub(in crate::ops) fn open(
        path: &Path,
        keys: &BundleKeys,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let bundle = InstanceBundle::open(path)?;
        let Some(key) = &keys.key else {
            let text = "the parts are encrypted, and there is no private key";
            let advice = Advice::Give { setting: Setting::Key, example: "FILE".into() };
            return Err(Error::invalid(text).in_file(path).advise(advice));
        };
        let key = read_key(key, watch)?;
        let certificate = keys.cert.as_deref().map(read_certificate).transpose()?;
        if let Some(certificate) = &certificate {
            // A manifest that is not the signer's is not worth a look with a private key.
            bundle.check_signature(certificate)?;
        }
        let unsealed = bundle.unseal(&key, &mut SystemRandomness)?;
        let reader = unsealed.reader();
        let signature = check_signature(&bundle, certificate.as_ref(), Some((&key, reader)));
        if let Some(fault) = signature.fault(certificate.is_some()) {
            return Err(Error::from(fault).in_file(path));
        }
        let manifest = bundle.manifest();
        watch.begin(Some(manifest.size.saturating_add(manifest.bundled_size)));
        let damaged = bundle.check_parts(threads, watch)?;
        match parts_error(path, &damaged) {
            Some(error) => Err(error),
            None => Ok(Self { bundle, signature, unsealed }),
        }
    }

    pub(in crate::ops) fn extract(
        &self,
        to: Option<&dyn WriteAt>,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Extracted> {
        self.bundle.extract(&self.unsealed, to, threads, watch)
    }

    /// Lays the volume down in a file without a name, and opens that.
    pub(in crate::ops) fn lay_down(
        &self,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Laid> {
        let scratch = Scratch::create()?;
        let extracted = self.extract(Some(&scratch), threads, watch)?;
        let name = Path::new(&self.bundle.manifest().name);
        let input = scratch.into_sparse_input(extracted.size, name)?;
        let volume = raw::volume(&input.into())?;
        Ok(Laid { volume, extracted })
    }

    /// Says what the user should hear although nothing failed.
    pub(in crate::ops) fn notes(&self, extracted: Extracted) -> Vec<String> {
        let mut notes: Vec<String> = self.signature.note().into_iter().collect();
        if !extracted.tells_holes {
            let text = "the archive cannot tell holes from zeros, so all zeros count as written";
            notes.push(text.to_owned());
        }
        notes
    }
}

/// What a manifest says. Keys are left out, encrypted as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceStoreContent {
    /// The manifest.
    #[serde(serialize_with = "path_text")]
    pub path: PathBuf,
    /// Version of the format.
    pub version: Version,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundler: Option<Bundler>,
    /// Name of the bundle.
    pub name: String,
    /// Account.
    pub user: String,
    /// What the volume is: `machine`, `kernel` or `ramdisk`.
    pub image_type: String,
    /// What EC2 makes of it.
    pub machine: Machine,
    /// AMIs that it was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestry: Vec<String>,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Bytes of all parts.
    pub bundled_size_bytes: u64,
    /// SHA-1 of the archive.
    pub archive_sha1: String,
    /// Whether there is a signature; whether it fits is for `verify`.
    pub signed: bool,
    /// The parts, in order.
    pub parts: Vec<PartEntry>,
}

/// Tells what a manifest says.
///
/// # Errors
///
/// As [`InstanceBundle::open`].
pub(in crate::ops) fn content_of(path: &Path) -> Result<InstanceStoreContent> {
    let bundle = InstanceBundle::open(path)?;
    let Manifest { version, bundler, machine, name, user, image_type, .. } = bundle.manifest();
    let manifest = bundle.manifest();
    Ok(InstanceStoreContent {
        path: path.to_owned(),
        version: *version,
        bundler: bundler.clone(),
        name: name.clone(),
        user: user.clone(),
        image_type: image_type.clone(),
        machine: machine.clone(),
        ancestry: manifest.ancestry.clone(),
        volume_size_bytes: manifest.size,
        bundled_size_bytes: manifest.bundled_size,
        archive_sha1: manifest.digest.clone(),
        signed: manifest.signature.as_deref().is_some_and(|text| text != "UNSIGNED"),
        parts: manifest.parts.clone(),
    })
}

/// Looks at the bundle in a folder of a store: one manifest that EC2 would take, and every part as long as all of them should
/// be. Whether the parts hold what they should shows only when they are read.
///
/// # Errors
///
/// `Corrupt` for a bundle that EC2 would refuse, and for links; `Io`.
pub(in crate::ops) fn look_at_instance_store(store: &Path, name: &str) -> Result<Option<Machine>> {
    let place = store.join(name);
    match Node::itself(&place)? {
        None => return Ok(None),
        Some(Node::Folder) => {}
        Some(_) => return Err(Error::corrupt("it is not a folder").in_file(&place)),
    }
    let listed = list(&place).map_err(|e| Error::io("list", &place, e))?;
    let names = listed.iter().filter_map(|it| it.name.to_str());
    let manifests: Vec<&str> = names.filter(|it| it.ends_with(".manifest.xml")).collect();
    let [manifest] = manifests[..] else {
        let text = format!("it has {} files *.manifest.xml, expected one", manifests.len());
        return Err(Error::corrupt(text).in_file(&place));
    };
    // Through the store's folder, and no link.
    let folder = Folder::open(store)?;
    let path = place.join(manifest);
    let missing = || Error::corrupt("it is not there").in_file(&path);
    let input = folder.file(&format!("{name}/{manifest}"))?.ok_or_else(missing)?;
    let bundle = InstanceBundle::of_input(&input, &path)?;
    let manifest = bundle.manifest();
    let signature = manifest.signature.as_deref().unwrap_or_default();
    if signature.is_empty() || !signature.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Error::corrupt("the manifest has no signature").in_file(&path));
    }
    let mut len = 0_u64;
    for part in &manifest.parts {
        let text = || format!("the part {} is missing", part.filename);
        let file = folder.file(&format!("{name}/{}", part.filename))?;
        let file = file.ok_or_else(|| Error::corrupt(text()).in_file(&path))?;
        len = len.saturating_add(file.len());
    }
    if len != manifest.bundled_size {
        let text = format!("the parts have {len} bytes, expected {}", manifest.bundled_size);
        return Err(Error::corrupt(text).in_file(&path));
    }
    Ok(Some(manifest.machine.clone()))
}
