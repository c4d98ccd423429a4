//! A bundle, open: its documents, and its blobs as far as they are looked at.

use std::path::Path;
use std::sync::Arc;

use crate::ami::Ami;
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
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
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

/// Most bytes of the AMI description.
const MAX_CONFIG_LEN: u64 = 1 << 20;

/// A bundle, open: its documents are read and checked, its snapshots and packs are not yet.
#[derive(Debug)]
pub struct Bundle {
    pub(super) store: Arc<dyn BlobStore>,
    pub(super) digest: Digest,
    pub(super) reference: Option<String>,
    pub(super) ami: Ami,
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
            return Err(Error::corrupt(text).in_file(path));
        }
        Self::open_in(layout::open(path)?, name)
    }

    /// Opens the AMI of that name, or the only one, whose files are in a store, wherever that is.
    ///
    /// # Errors
    ///
    /// As [`Bundle::open_named`].
    pub fn open_in(store: Arc<dyn BlobStore>, name: Option<&str>) -> Result<Self> {
        layout::check_layout(&*store)?;
        let index = layout::read_index(&*store)?;
        let entry = layout::choose(&*store, &index, WANTED, name)?;
        let manifest_path = store.path_of(Name::Blob(entry.digest));
        let fail = |error: Error| error.in_file(&manifest_path);
        let bytes = layout::read_document(&*store, &entry, layout::MAX_MANIFEST_LEN)?;
        layout::check_artifact(&bytes, WANTED).map_err(fail)?;
        let manifest: oci::Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| fail(Error::corrupt(format!("OCI manifest: {e}"))))?;
        let media_type = manifest.media_type.as_deref();
        oci::check_type("OCI manifest", manifest.schema_version, media_type, oci::MANIFEST_TYPE)
            .map_err(fail)?;
        let config_path = store.path_of(Name::Blob(manifest.config.digest));
        let bytes = layout::read_document(&*store, &manifest.config, MAX_CONFIG_LEN)?;
        let ami: Ami = serde_json::from_slice(&bytes)
            .map_err(|e| Error::corrupt(format!("AMI description: {e}")).in_file(&config_path))?;
        ami.check().map_err(|fault| {
            Error::corrupt(format!("AMI description: {fault}")).in_file(&config_path)
        })?;
        let layers = Layers::sort(&manifest.layers).map_err(|e| e.in_file(&manifest_path))?;
        check_mapping(&ami, &layers.snapshots).map_err(|e| e.in_file(&config_path))?;
        Ok(Self {
            digest: entry.digest,
            reference: entry.reference().map(str::to_owned),
            store,
            ami,
            config: manifest.config,
            manifest: entry,
            layers,
            supplied: Vec::new(),
        })
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
    fn blob(&self, blob: &Descriptor) -> Result<Blob> {
        layout::open_blob(&*self.store, blob)
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
        self.blobs().iter().map(|blob| blob.size).sum()
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
        index_of(self.digest, self.manifest.size, &self.ami.name)
    }

    /// Returns the layers in the order of the OCI manifest.
    pub(super) fn in_order(&self) -> Vec<Descriptor> {
        self.layers.in_order.clone()
    }
}

/// Writes the `index.json` of a bundle.
pub(super) fn index_of(manifest: Digest, size: u64, name: &str) -> Vec<u8> {
    let manifest = Descriptor::new(oci::MANIFEST_TYPE, manifest, size);
    layout::index_of(&manifest, ARTIFACT_TYPE, layout::reference_name(name))
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
