//! A bundle, open: its documents, and its blobs as far as they are looked at.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::ami::Ami;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::bundle::ARTIFACT_TYPE;
use crate::bundle::BaseLayer;
use crate::bundle::BaseSnapshot;
use crate::bundle::CONFIG_TYPE;
use crate::bundle::PackLayer;
use crate::bundle::SnapshotLayer;
use crate::bundle::annotations;
use crate::bundle::layers::Layers;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Verb;
use crate::error::shown;
use crate::io::Node;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::layout;
use crate::layout::Blob;
use crate::layout::BlobStore;
use crate::layout::Descriptor;
use crate::layout::Name;
use crate::layout::Wanted;
use crate::layout::oci;
use crate::manifest::Manifest;
use crate::pack::Pack;
use crate::units::ebs_gib;
use crate::work::Watch;

/// What makes a manifest of a layout that of an AMI.
const WANTED: Wanted = Wanted { artifact_type: ARTIFACT_TYPE, config_type: CONFIG_TYPE };

/// What makes a manifest of a layout that of a bare snapshot.
const WANTED_VOLUME: Wanted = Wanted {
    artifact_type: annotations::VOLUME_TYPE,
    config_type: annotations::VOLUME_CONFIG_TYPE,
};

/// What a bare snapshot says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeConfig {
    /// Its root digest.
    pub snapshot_digest: Option<Digest>,
    /// Size of the volume, in GiB.
    pub volume_size: u64,
    /// What it is, for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub description: Option<String>,
}

impl VolumeConfig {
    /// Returns the description of an AMI with this volume alone: what reads an AMI reads the snapshot, too.
    fn into_ami(self, name: &str) -> Ami {
        let ebs = Ebs {
            snapshot_digest: self.snapshot_digest,
            volume_size: Some(self.volume_size),
            ..Ebs::default()
        };
        let mapping = Mapping {
            device_name: annotations::VOLUME_DEVICE.to_owned(),
            ebs: Some(ebs),
            ..Mapping::default()
        };
        Ami {
            name: name.to_owned(),
            description: self.description,
            root_device_name: annotations::VOLUME_DEVICE.to_owned(),
            block_device_mappings: vec![mapping],
            ..Ami::default()
        }
    }
}

/// Most bytes of the AMI description.
const MAX_CONFIG_LEN: u64 = 1 << 20;

/// A bundle, open: its documents are read and checked, its snapshots and packs are not yet.
#[derive(Debug)]
pub struct Bundle {
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) digest: Digest,
    pub(super) reference: Option<String>,
    pub(super) ami: Ami,
    /// Whether it is a snapshot that belongs to no AMI.
    pub(super) is_bare: bool,
    pub(super) config: Descriptor,
    /// The OCI manifest.
    pub(super) manifest: Descriptor,
    pub(super) layers: Layers,
    /// Snapshots that were named as what the bundle depends on.
    pub(super) supplied: Vec<Arc<BaseSnapshot>>,
}

impl Bundle {
    /// Tells whether `path` looks like a bundle: a folder with an OCI layout, or a tar archive that
    /// begins as one.
    ///
    /// # Errors
    ///
    /// `Io` if that cannot be determined.
    pub fn is_at(path: &Path) -> Result<bool> {
        layout::is_at(path)
    }

    /// Opens the bundle at `path`, whose layout holds one AMI.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported`, `Mismatch` or `Limit` if its documents are not those of a bundle;
    /// `Invalid` if it holds several AMIs; `Io` if they cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_named(path, None)
    }

    /// Opens the AMI of that name in the layout at `path`, or the only one.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open`]; `Invalid` if none has the name.
    pub fn open_named(path: &Path, name: Option<&str>) -> Result<Self> {
        if !Self::is_at(path)? && Node::at(path)?.is_some() {
            let text = "it is not a bundle, expected a folder with oci-layout or a tar archive";
            let error = Error::corrupt(text).in_file(path);
            // A folder, or a socket, is nothing that a bundle could be made of.
            if Node::at(path)? == Some(Node::Folder) {
                return Err(error);
            }
            let to = "make one of an image".into();
            return Err(error.advise(Advice::Use { verb: Verb::Pack, to }));
        }
        Self::open_in(layout::open(path)?, name)
    }

    /// As [`Bundle::open_named`], and a bare snapshot of that name is as good.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open_named`].
    pub fn open_any(path: &Path, name: Option<&str>) -> Result<Self> {
        if !Self::is_at(path)? && Node::at(path)?.is_some() {
            return Self::open_named(path, name);
        }
        let store = layout::open(path)?;
        let entry = Self::choose(&*store, name)?;
        Self::open_entry(store, entry)
    }

    /// Opens the AMI of that name, or the only one, whose files are in a store, wherever that is.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open_named`].
    pub fn open_in(store: Arc<dyn BlobStore>, name: Option<&str>) -> Result<Self> {
        let entry = Self::choose(&*store, name)?;
        let bundle = Self::open_entry(store, entry)?;
        if bundle.is_bare {
            let text = "it is a snapshot that belongs to no AMI, expected an AMI";
            return Err(Error::new(Kind::Unsupported, text).in_file(bundle.path()));
        }
        Ok(bundle)
    }

    /// Tells whether a document is the manifest of an AMI.
    pub(super) fn is_manifest(bytes: &[u8]) -> bool {
        layout::check_artifact(bytes, WANTED).is_ok()
    }

    fn choose(store: &dyn BlobStore, name: Option<&str>) -> Result<Descriptor> {
        layout::check_layout(store)?;
        let index = layout::read_index(store)?;
        layout::choose(store, &index, WANTED, name).map_err(|error| match name {
            None => one_of_a_store(store, &index, error),
            Some(_) => error,
        })
    }

    /// Opens the AMI or bare snapshot whose manifest is `entry`.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open`].
    pub fn open_entry(store: Arc<dyn BlobStore>, entry: Descriptor) -> Result<Self> {
        let manifest_path = store.path_of(Name::Blob(entry.digest));
        let fail = |error: Error| error.in_file(&manifest_path);
        let gone = |error| gone(&*store, &entry.digest, error);
        let bytes = layout::read_document(&*store, &entry, layout::MAX_MANIFEST_LEN);
        let bytes = bytes.map_err(gone)?;
        let is_bare = layout::check_artifact(&bytes, WANTED_VOLUME).is_ok();
        if !is_bare {
            layout::check_artifact(&bytes, WANTED).map_err(fail)?;
        }
        let manifest: oci::Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| fail(Error::corrupt(format!("OCI manifest: {e}"))))?;
        let media_type = manifest.media_type.as_deref();
        oci::check_type("OCI manifest", manifest.schema_version, media_type, oci::MANIFEST_TYPE)
            .map_err(fail)?;
        let config_path = store.path_of(Name::Blob(manifest.config.digest));
        let bytes = layout::read_document(&*store, &manifest.config, MAX_CONFIG_LEN);
        let bytes = bytes.map_err(gone)?;
        let (what, ami) = if is_bare {
            let name = entry.reference().unwrap_or(annotations::VOLUME_DEVICE);
            let config = serde_json::from_slice(&bytes);
            ("snapshot config", config.map(|config: VolumeConfig| config.into_ami(name)))
        } else {
            ("AMI description", serde_json::from_slice(&bytes))
        };
        let ami: Ami =
            ami.map_err(|e| Error::corrupt(format!("{what}: {e}")).in_file(&config_path))?;
        if !is_bare {
            ami.check().map_err(|fault| {
                Error::corrupt(format!("{what}: {fault}")).in_file(&config_path)
            })?;
        }
        let layers = Layers::sort(&manifest.layers).map_err(|e| e.in_file(&manifest_path))?;
        check_mapping(&ami, &layers.snapshots).map_err(|e| e.in_file(&config_path))?;
        Ok(Self {
            digest: entry.digest,
            reference: entry.reference().map(str::to_owned),
            store,
            ami,
            is_bare,
            config: manifest.config,
            manifest: entry,
            layers,
            supplied: Vec::new(),
        })
    }

    /// Tells whether it is a snapshot that belongs to no AMI; its description then says no more than its size.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// Returns what its manifest says it is.
    pub(super) fn artifact_type(&self) -> &'static str {
        if self.is_bare { annotations::VOLUME_TYPE } else { ARTIFACT_TYPE }
    }

    /// Returns the name that amikit gives it in a layout of its own.
    pub(super) fn own_reference(&self) -> String {
        layout::reference_name(&self.ami.name)
    }

    /// Returns what its entry says of it in a store.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let name = (!self.is_bare).then_some(self.ami.name.as_str());
        entry_facts(name, self.volume_bytes(), self.blob_bytes())
    }

    /// Returns the sizes of all volumes, in bytes, as the OCI manifest has them.
    #[must_use]
    pub fn volume_bytes(&self) -> u64 {
        let sizes = self.layers.snapshots.iter().filter_map(|layer| {
            layer.blob.annotations.get(annotations::VOLUME_SIZE)?.parse::<u64>().ok()
        });
        sizes.fold(0, u64::saturating_add)
    }

    /// Returns the path, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// Returns the digest of the OCI manifest: the identity of the bundle.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the OCI manifest's blob, as `index.json` names it.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.manifest
    }

    /// Returns the name by which OCI tools know the AMI.
    #[must_use]
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    /// Returns the AMI's description.
    #[must_use]
    pub fn ami(&self) -> &Ami {
        &self.ami
    }

    /// Returns the description's blob.
    #[must_use]
    pub fn config(&self) -> &Descriptor {
        &self.config
    }

    /// Returns the snapshots, ascending by device.
    #[must_use]
    pub fn snapshots(&self) -> &[SnapshotLayer] {
        &self.layers.snapshots
    }

    /// Returns the packs, in the order of the OCI manifest.
    #[must_use]
    pub fn packs(&self) -> &[PackLayer] {
        &self.layers.packs
    }

    /// Returns the snapshots that the bundle depends on, in the order of the OCI manifest.
    #[must_use]
    pub fn bases(&self) -> &[BaseLayer] {
        &self.layers.bases
    }

    /// Returns the snapshot of `device`, with or without `/dev/`; of the root device for `None`.
    ///
    /// # Errors
    ///
    /// `Invalid`, naming the devices that there are.
    pub fn find(&self, device: Option<&str>) -> Result<&SnapshotLayer> {
        let device = device.unwrap_or(&self.ami.root_device_name);
        let bare = |name: &str| name.strip_prefix("/dev/").unwrap_or(name).to_owned();
        self.layers.snapshots.iter().find(|it| bare(&it.device) == bare(device)).ok_or_else(|| {
            let there: Vec<_> = self.layers.snapshots.iter().map(|it| it.device.as_str()).collect();
            Error::invalid(format!(
                "device {device} is not in the bundle, it has {}",
                there.join(", ")
            ))
            .in_file(self.path())
        })
    }

    /// Opens a blob of the right size.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is not there or of another size.
    pub(crate) fn blob(&self, blob: &Descriptor) -> Result<Blob> {
        layout::open_blob(&*self.store, blob)
            .map_err(|error| self::gone(&*self.store, &self.digest, error))
    }

    /// Tells whether a blob is there: a thin bundle leaves some out.
    ///
    /// # Errors
    ///
    /// `Io` if that cannot be determined.
    #[cfg(feature = "network")]
    pub(crate) fn has(&self, blob: &Descriptor) -> Result<bool> {
        Ok(self.store.file(Name::Blob(blob.digest))?.is_some())
    }

    /// Returns all blobs that the OCI manifest names, and the manifest itself, in the order in which
    /// an archive has them.
    pub(crate) fn blobs(&self) -> Vec<Descriptor> {
        let mut blobs = self.in_order();
        blobs.push(self.config.clone());
        blobs.push(self.manifest.clone());
        blobs
    }

    /// Opens the manifest of a snapshot.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported` or `Limit` if it is not a sound manifest; `Mismatch` if it is of
    /// another snapshot.
    pub fn manifest(&self, layer: &SnapshotLayer) -> Result<Manifest> {
        let manifest = self.manifest_of(&layer.blob, layer.root)?;
        self.check_sizes(layer, &manifest)?;
        Ok(manifest)
    }

    /// Opens a manifest that must be that of the snapshot `root`.
    pub(super) fn manifest_of(&self, blob: &Descriptor, root: Digest) -> Result<Manifest> {
        let file = self.blob(blob)?;
        let manifest = Manifest::open_part(file.whole(), file.start(), file.len())?;
        if manifest.root() != root {
            let text =
                format!("the snapshot's root digest is {}, expected {root}", manifest.root());
            return Err(Error::new(Kind::Mismatch, text)
                .in_file(&self.store.path_of(Name::Blob(blob.digest))));
        }
        Ok(manifest)
    }

    /// Checks what the bundle's documents say of a volume's size.
    fn check_sizes(&self, layer: &SnapshotLayer, manifest: &Manifest) -> Result<()> {
        let size = manifest.volume_size();
        let wrong = |what: &str, found: &str, expected: u64| {
            let text = format!("{what} of {} is {found}, expected {expected}", layer.device);
            Err(Error::corrupt(text).in_file(self.path()))
        };
        match layer.blob.annotations.get(annotations::VOLUME_SIZE) {
            Some(found) if *found != size.to_string() => return wrong("volume size", found, size),
            _ => {}
        }
        let mapped =
            self.ami.block_device_mappings.iter().find(|it| it.device_name == layer.device);
        // A larger volume is what the user asked for; a smaller one cannot hold the snapshot.
        match mapped.and_then(|it| it.ebs.as_ref()).and_then(|ebs| ebs.volume_size) {
            Some(found) if found < ebs_gib(size) => {
                wrong("VolumeSize", &found.to_string(), ebs_gib(size))
            }
            _ => Ok(()),
        }
    }

    /// Opens a pack.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Unsupported` if it is not a sound pack.
    pub fn pack(&self, blob: &Descriptor) -> Result<Pack> {
        let file = self.blob(blob)?;
        let pack = Pack::open(Arc::clone(file.whole()), file.start(), file.len())?;
        let count = pack.chunk_count();
        match blob.annotations.get(annotations::CHUNKS) {
            Some(found) if *found != count.to_string() => {
                let text = format!("the pack's annotation says {found} chunks, but it has {count}");
                Err(Error::corrupt(text).in_file(&self.store.path_of(Name::Blob(blob.digest))))
            }
            _ => Ok(pack),
        }
    }

    /// Checks a blob's stored bytes against its digest.
    ///
    /// # Errors
    ///
    /// `Mismatch` if they differ; `Corrupt` or `Io` if they cannot be read.
    pub fn check_blob(&self, blob: &Descriptor, watch: &dyn Watch) -> Result<()> {
        self.read_blob(blob, watch, &mut |_, _| Ok(()))
    }

    /// Reads a blob piece by piece, and at its end checks it against its digest.
    pub(super) fn read_blob(
        &self,
        blob: &Descriptor,
        watch: &dyn Watch,
        take: &mut dyn FnMut(&[u8], u64) -> Result<()>,
    ) -> Result<()> {
        let file = self.blob(blob)?;
        let path = self.store.path_of(Name::Blob(blob.digest));
        let mut digest = Sha256::new();
        let mut buffer = vec![0; READ_PIECE_LEN];
        let mut at = 0;
        while at < file.len() {
            watch.check()?;
            let rest = usize::try_from(file.len().strict_sub(at)).unwrap_or(READ_PIECE_LEN);
            let piece = &mut buffer[..rest.min(READ_PIECE_LEN)];
            file.read_exact_at(piece, at)?;
            digest.update(piece);
            take(piece, at)?;
            at = at.strict_add(u64::try_from(piece.len()).expect("at most a piece"));
        }
        layout::expect_digest(digest.finish(), blob).map_err(|e| e.in_file(&path))
    }

    /// Returns the bytes of all blobs.
    #[must_use]
    pub fn blob_bytes(&self) -> u64 {
        stored_size(&self.blobs())
    }

    /// Compares `index.json`, which no digest covers, with what amikit writes. Returns a note if another
    /// program wrote it.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it changed since amikit wrote it; `Io` if it cannot be read.
    pub fn check_index(&self) -> Result<Option<String>> {
        layout::check_index(&*self.store, self.digest, &self.own_index())
    }

    /// Returns the `index.json` that amikit writes for this bundle.
    pub(super) fn own_index(&self) -> Vec<u8> {
        let manifest = Descriptor::new(oci::MANIFEST_TYPE, self.digest, self.manifest.size);
        layout::index_of(&manifest, self.artifact_type(), self.own_reference())
    }

    /// Returns the layers in the order of the OCI manifest.
    pub(super) fn in_order(&self) -> Vec<Descriptor> {
        self.layers.in_order.clone()
    }
}

/// Says of a store that is not one AMI alone what is to be named in it.
fn one_of_a_store(store: &dyn BlobStore, index: &oci::Index, error: Error) -> Error {
    let path = store.path();
    let is_its = matches!(error.kind(), Kind::Corrupt | Kind::Unsupported);
    if !is_its || !layout::is_store(path).unwrap_or(false) {
        return error;
    }
    let of = |it: &Descriptor| it.reference().map(str::to_owned);
    let mut names: Vec<String> = index.manifests.iter().filter_map(of).collect();
    names.sort_unstable();
    let Some(first) = names.first() else {
        return Error::invalid("it is a store in which nothing has a name").in_file(path);
    };
    let example = format!("{}@{first}", shown(path));
    let (listed, more) = names.split_at(names.len().min(MOST_LISTED));
    let more = if more.is_empty() { "" } else { ", ..." };
    let listed = listed.join(", ");
    Error::invalid(format!("it is a store, expected the name of an AMI in it: {listed}{more}"))
        .in_file(path)
        .advise(Advice::NameAmi { example })
}

/// Most names of a store that an error lists.
const MOST_LISTED: usize = 10;

/// Tells a blob that is gone because its AMI was removed from a store meanwhile from one that is missing.
fn gone(store: &dyn BlobStore, manifest: &Digest, error: Error) -> Error {
    if error.kind() != Kind::Corrupt || !layout::is_store(store.path()).unwrap_or(false) {
        return error;
    }
    match layout::read_index(store) {
        Ok(index) if !index.manifests.iter().any(|entry| entry.digest == *manifest) => {
            Error::new(Kind::Io, "it was removed from the store while it was read")
                .in_file(store.path())
                .advise("list what the store has, and run this again")
        }
        _ => error,
    }
}

/// Returns what an entry of a store says of its manifest.
pub(super) fn entry_facts(
    name: Option<&str>,
    volume_size: u64,
    stored_size: u64,
) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::from([
        (annotations::ENTRY_VOLUME_SIZE.to_owned(), volume_size.to_string()),
        (annotations::ENTRY_STORED_SIZE.to_owned(), stored_size.to_string()),
    ]);
    if let Some(name) = name {
        facts.insert(annotations::ENTRY_NAME.to_owned(), name.to_owned());
    }
    facts
}

/// Returns the bytes of blobs, each counted once.
pub(super) fn stored_size(blobs: &[Descriptor]) -> u64 {
    let sizes: BTreeMap<Digest, u64> = blobs.iter().map(|blob| (blob.digest, blob.size)).collect();
    sizes.values().fold(0, |sum, size| sum.saturating_add(*size))
}

/// Checks that mapping and snapshots name each other.
fn check_mapping(ami: &Ami, snapshots: &[SnapshotLayer]) -> Result<()> {
    let mapped: Vec<_> = ami
        .block_device_mappings
        .iter()
        .filter_map(|it| Some((it.device_name.as_str(), it.snapshot_digest()?)))
        .collect();
    let stored: Vec<_> = snapshots.iter().map(|it| (it.device.as_str(), it.root)).collect();
    if mapped == stored {
        Ok(())
    } else {
        let list = |devices: &[(&str, Digest)]| {
            devices.iter().map(|(device, _)| *device).collect::<Vec<_>>().join(", ")
        };
        Err(Error::corrupt(format!(
            "the AMI maps {}, but the bundle has snapshots of {}, or with other root digests",
            list(&mapped),
            list(&stored)
        )))
    }
}
