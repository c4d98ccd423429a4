//! What is added to a store: a bundle as an AMI of it, or any volume as a snapshot.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::ami::Ami;
use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::SharedPacks;
use crate::bundle::Snapshot;
use crate::bundle::VOLUME_DEVICE;
use crate::bundle::VolumeConfig;
use crate::bundle::Writer;
use crate::chunking::States;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Verb;
use crate::io::unwritten;
use crate::layout;
use crate::layout::BlobStore;
use crate::layout::Catalog;
use crate::layout::is_reference_name;
use crate::layout::is_store;
use crate::layout::reference_name;
use crate::lint::RULES;
use crate::manifest::Block;
use crate::ops::shared::base::BaseRequest;
use crate::ops::shared::base::OpenedBase;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::mapping::OpenedMapping;
use crate::ops::shared::open::Found;
use crate::ops::shared::open::OpenedVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find;
use crate::ops::shared::open::open_in_order;
use crate::ops::shared::open::over_base;
use crate::ops::shared::order::is_in_store;
use crate::ops::shared::order::swapped;
use crate::ops::shared::packing::PackOne;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::pack_one;
use crate::ops::shared::packing::pack_volumes;
use crate::ops::shared::report::path_text;
use crate::ops::shared::store_names::for_output;
use crate::ops::shared::store_names::target;
use crate::ops::shared::store_names::typed;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::units::ebs_gib;
use crate::work::Watch;
use crate::work::default_threads;

/// What is added, and how.
#[derive(Clone, Debug)]
pub struct AddRequest {
    /// A bundle, which is added as an AMI; or an image or `BUNDLE:DEVICE`, which is added as a snapshot.
    pub source: VolumeRequest,
    /// The store, or `STORE@NAME`.
    pub target: PathBuf,
    /// What chunks that changed are patched over: the name of an AMI or snapshot of the store, or what is opened as any
    /// volume is.
    pub base: Option<PathBuf>,
    /// Copy a bundle's blobs as they are, so that its digest stays, although the store has some of its chunks.
    pub as_is: bool,
    /// What a snapshot is, for people.
    pub description: Option<String>,
    /// How chunks are compressed.
    pub groups: Groups,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
}

impl AddRequest {
    /// Asks for something to be added, with all processors.
    #[must_use]
    pub fn new(source: VolumeRequest, target: impl Into<PathBuf>) -> Self {
        Self {
            source,
            target: target.into(),
            base: None,
            as_is: false,
            description: None,
            groups: Groups::default(),
            threads: default_threads(),
            states: States::default(),
        }
    }
}

/// How something was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Blob by blob: its digest is that of the bundle.
    Copied,
    /// Packed again, without the chunks that the store has.
    Packed,
}

/// What was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddReport {
    /// The store.
    #[serde(serialize_with = "path_text")]
    pub store: PathBuf,
    /// Its name there.
    pub name: String,
    /// What it is: `ami` or `snapshot`.
    pub kind: &'static str,
    /// Digest of its manifest.
    pub digest: Digest,
    /// How it was added.
    pub how: How,
    /// Bytes of all that it needs.
    pub stored_bytes: u64,
    /// Bytes that the store grew by.
    pub new_bytes: u64,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A store that something is added to.
struct Goal<'a> {
    store: PathBuf,
    name: String,
    request: &'a AddRequest,
}

/// Adds a bundle or a volume to a store.
///
/// # Errors
///
/// `Invalid` if the target is not a store, if it has another AMI of the name that was not typed, or if a thin bundle's base
/// is not in it; as opening the source; `Io` if the store cannot be written.
pub fn add(request: &AddRequest, watch: &dyn Watch) -> Result<AddReport> {
    let source = request.source.typed();
    let (store, name) = target(&request.target)
        .map_err(|error| swapped(error, &request.target, &source, is_in_store))?;
    let found = find(&request.source).map_err(|error| request.source.fail(error))?;
    let bundle = match found {
        Found::Bundle(bundle) if request.source.image.member.is_none() => Some(bundle),
        _ => None,
    };
    let own = match &bundle {
        Some(bundle) if !bundle.is_bare() => reference_name(&bundle.ami().name),
        Some(bundle) => bundle.reference().map(reference_name).unwrap_or_default(),
        None => {
            let stem = request.source.image.path.file_stem().unwrap_or_default();
            reference_name(&stem.to_string_lossy())
        }
    };
    let is_typed = name.is_some();
    let into = Goal { name: name.unwrap_or(own), store, request };
    if is_store(&into.store)? && !is_typed {
        check_free(&into, bundle.as_deref())?;
    }
    let shown = typed(&into.store, &into.name);
    let added = match bundle {
        Some(bundle) => add_whole(*bundle, &into, watch),
        None => add_volume(&into, watch),
    };
    added.map_err(unwritten(&shown))
}

/// Adds a bundle that is open to a store, as [`add`] does.
///
/// # Errors
///
/// As [`add`].
pub(in crate::ops) fn add_bundle(
    bundle: Bundle,
    target_name: &Path,
    groups: Groups,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<AddReport> {
    let (store, name) = target(target_name)?;
    let name = name.unwrap_or_else(|| reference_name(&bundle.ami().name));
    let source = VolumeRequest::new(bundle.path());
    let request = AddRequest { groups, threads, ..AddRequest::new(source, target_name) };
    add_whole(bundle, &Goal { store, name, request: &request }, watch)
}

/// Adds a volume that is open to a store, as a snapshot that belongs to no AMI.
///
/// # Errors
///
/// As [`add`].
#[cfg(feature = "network")]
pub(in crate::ops) fn add_opened(
    volume: OpenedMapping,
    request: &AddRequest,
    watch: &dyn Watch,
) -> Result<AddReport> {
    let (store, name) = target(&request.target)?;
    let stem = request.source.image.path.to_string_lossy();
    let into = Goal { name: name.unwrap_or_else(|| reference_name(&stem)), store, request };
    let before = size_of(&into.store)?;
    let base = base_request(&into)?;
    let shown = typed(&into.store, &into.name);
    pack_bare(volume, request.description.clone(), base.as_ref(), before, &into, watch)
        .map_err(unwritten(&shown))
}

/// Fails if another AMI has the name that was made of an AMI's own: two AMIs can be called alike.
fn check_free(into: &Goal<'_>, bundle: Option<&Bundle>) -> Result<()> {
    let catalog = Catalog::read(&*layout::open(&into.store)?)?;
    let Some(there) = catalog.find(&into.name) else { return Ok(()) };
    if bundle.is_some_and(|bundle| bundle.digest() == there.descriptor.digest) {
        return Ok(());
    }
    let text = format!("it has something called {:?} already", into.name);
    let example = typed(&into.store, &format!("{}-2", into.name)).display().to_string();
    Err(Error::invalid(text).in_file(&into.store).advise(Advice::NameAmi { example }))
}

fn add_whole(bundle: Bundle, into: &Goal<'_>, watch: &dyn Watch) -> Result<AddReport> {
    let Goal { store, request, .. } = into;
    if !is_store(store)? {
        return copied(&bundle, into, watch);
    }
    let reader = layout::open(store)?;
    if let Some(base) = base_request(into)?.filter(|_| !request.as_is) {
        // What a thin bundle lacks is read from the base that is named.
        let whole = if bundle.is_thin()? {
            over_base(bundle, Some(&base.image), request.threads, watch)?
        } else {
            bundle
        };
        return packed(&whole, Some(base), into, watch);
    }
    if bundle.is_thin()? {
        let opened = bundle.open_packs()?;
        let packs = opened.absent.iter().map(|at| bundle.packs()[*at].blob.digest);
        let mut there = !opened.absent.is_empty();
        for digest in packs {
            there &= reader.file(layout::Name::Blob(digest))?.is_some();
        }
        if there {
            return copied(&bundle, into, watch);
        }
        let (name, bases) = bases_in(&bundle, &reader)?;
        let base = BaseRequest::new(VolumeRequest::new(&typed(store, &name)));
        return packed(&bundle.over(bases)?, Some(base), into, watch);
    }
    if request.as_is || !bundle.bases().is_empty() || !shares(&bundle, &*reader)? {
        return copied(&bundle, into, watch);
    }
    packed(&bundle, None, into, watch)
}

/// Returns what changed chunks are patched over, if the request names it.
fn base_request(into: &Goal<'_>) -> Result<Option<BaseRequest>> {
    let Some(base) = &into.request.base else { return Ok(None) };
    let name = base.to_str().filter(|name| is_reference_name(name));
    if let Some(name) = name
        && is_store(&into.store)?
        && Catalog::read(&*layout::open(&into.store)?)?.find(name).is_some()
    {
        let path = typed(&into.store, name);
        return Ok(Some(BaseRequest::new(VolumeRequest::new(&path))));
    }
    Ok(Some(BaseRequest::new(VolumeRequest::new(base))))
}

/// Finds the snapshots of the store that a thin bundle was packed against, and the name that has them.
fn bases_in(
    bundle: &Bundle,
    reader: &Arc<dyn BlobStore>,
) -> Result<(String, Vec<Arc<BaseSnapshot>>)> {
    for entry in Catalog::read(&**reader)?.entries {
        let Some(name) = entry.name().map(str::to_owned) else { continue };
        // What is no AMI of ours has no snapshot.
        let Ok(other) = Bundle::open_entry(Arc::clone(reader), entry.descriptor) else { continue };
        let mut bases = Vec::new();
        for layer in other.snapshots() {
            if bundle.bases().iter().any(|base| base.root == layer.root) {
                let bytes = BaseBytes::Packs(other.chunks()?);
                bases.push(Arc::new(BaseSnapshot::new(other.manifest(layer)?, bytes)));
            }
        }
        if !bases.is_empty() {
            return Ok((name, bases));
        }
    }
    let roots: Vec<_> = bundle.bases().iter().map(|base| format!("sha256:{}", base.root)).collect();
    let text = format!(
        "it is thin, and the store has no snapshot that it was packed against: {}",
        roots.join(", ")
    );
    let to = "make it whole, or add its base first".into();
    let advice = Advice::Use { verb: Verb::Complete, to };
    Err(Error::invalid(text).in_file(bundle.path()).advise(advice))
}

/// Tells whether the store has a chunk of the bundle in a pack that is not the bundle's.
fn shares(bundle: &Bundle, reader: &dyn BlobStore) -> Result<bool> {
    let shared = SharedPacks::open(reader)?;
    let mut found = false;
    for layer in bundle.snapshots() {
        bundle.manifest(layer)?.for_each_written(|_, block| {
            if let Block::Data(id) = block
                && !found
            {
                found = shared.has(&id)?;
            }
            Ok(())
        })?;
    }
    // A bundle that is there already as it is shares all that it has, and is copied for nothing.
    let packs = bundle.packs().iter().map(|pack| pack.blob.digest);
    let mut all_there = true;
    for digest in packs {
        all_there &= reader.file(layout::Name::Blob(digest))?.is_some();
    }
    Ok(found && !all_there)
}

/// Returns the bytes of the store's blobs.
fn size_of(store: &Path) -> Result<u64> {
    if !is_store(store)? {
        return Ok(0);
    }
    layout::stored_bytes(store)
}

fn copied(bundle: &Bundle, into: &Goal<'_>, watch: &dyn Watch) -> Result<AddReport> {
    let before = size_of(&into.store)?;
    watch.begin(Some(bundle.blob_bytes()));
    let notes = bundle.copy_to(&for_output(&into.store, &into.name), watch)?;
    report(bundle.digest(), How::Copied, before, into, notes)
}

/// Packs an AMI or snapshot of another place into the store, without what that has.
fn packed(
    bundle: &Bundle,
    base: Option<BaseRequest>,
    into: &Goal<'_>,
    watch: &dyn Watch,
) -> Result<AddReport> {
    let request = into.request;
    let before = size_of(&into.store)?;
    let chunks = Arc::new(bundle.chunks()?);
    let mut volumes = Vec::new();
    for layer in bundle.snapshots() {
        let snapshot = Snapshot::new(bundle.manifest(layer)?, Arc::clone(&chunks));
        volumes.push(OpenedMapping {
            device: layer.device.clone(),
            named: bundle.path().to_owned(),
            source: OpenedVolume::snapshot(bundle.path(), snapshot, Vec::new()),
            free: layer.free,
        });
    }
    if bundle.is_bare() {
        let volume = volumes.pop().expect("a snapshot has one volume");
        let description = bundle.ami().description.clone();
        return pack_bare(volume, description, base.as_ref(), before, into, watch);
    }
    let options = PackOptions {
        // It is an AMI already: what it breaks was allowed when it was made.
        allow: RULES.iter().map(|rule| rule.id.to_owned()).collect(),
        groups: request.groups,
        threads: request.threads,
        states: request.states,
        base,
        ..PackOptions::new(for_output(&into.store, &into.name), plain(bundle.ami()))
    };
    let made = pack_volumes(volumes, &options, watch)?;
    let notes = bundle.unsigned_note()?.into_iter().collect();
    report(made.digest, How::Packed, before, into, notes)
}

/// Returns a description without the digests of its snapshots: those are made again.
fn plain(ami: &Ami) -> Ami {
    let mut ami = ami.clone();
    for mapping in &mut ami.block_device_mappings {
        if let Some(ebs) = &mut mapping.ebs {
            ebs.snapshot_digest = None;
        }
    }
    ami
}

fn add_volume(into: &Goal<'_>, watch: &dyn Watch) -> Result<AddReport> {
    let request = into.request;
    let before = size_of(&into.store)?;
    let source = open_in_order(&request.source, watch)?;
    let volume = OpenedMapping {
        device: VOLUME_DEVICE.to_owned(),
        named: request.source.typed(),
        source,
        free: request.source.free,
    };
    let base = base_request(into)?;
    pack_bare(volume, request.description.clone(), base.as_ref(), before, into, watch)
}

fn pack_bare(
    mut volume: OpenedMapping,
    description: Option<String>,
    base: Option<&BaseRequest>,
    before: u64,
    into: &Goal<'_>,
    watch: &dyn Watch,
) -> Result<AddReport> {
    let request = into.request;
    request.groups.check()?;
    let mut writer =
        Writer::create(&for_output(&into.store, &into.name), DEFAULT_PACK_SIZE, watch)?;
    let opened = match base {
        Some(base) => {
            Some(OpenedBase::open(base, VOLUME_DEVICE, &mut writer, request.threads, watch)?)
        }
        None => None,
    };
    watch.begin(volume.source.size());
    let known = std::sync::RwLock::default();
    let base = match &opened {
        Some(opened) => opened.of_device(VOLUME_DEVICE)?,
        None => None,
    };
    let one = PackOne {
        device: VOLUME_DEVICE,
        base,
        index: None,
        groups: request.groups,
        threads: request.groups.threads(request.threads),
        states: request.states,
        free: volume.free,
        known: &known,
    };
    let (name, notes) = (volume.source.name().to_owned(), volume.source.notes());
    let written =
        pack_one(&mut writer, volume.source.blocks(), &one, watch).map_err(|e| e.in_file(&name))?;
    let config = VolumeConfig {
        snapshot_digest: Some(written.summary.root),
        volume_size: ebs_gib(written.summary.volume_size),
        description,
    };
    let digest = writer.finish_bare(&config, &into.name, watch)?;
    report(digest, How::Packed, before, into, notes)
}

fn report(
    digest: Digest,
    how: How,
    before: u64,
    into: &Goal<'_>,
    notes: Vec<String>,
) -> Result<AddReport> {
    let reader = layout::open(&into.store)?;
    let catalog = Catalog::read(&*reader)?;
    let entry = crate::ops::shared::store_names::entry(&catalog, &into.store, &into.name)?;
    let bundle = Bundle::open_entry(Arc::clone(&reader), entry.descriptor.clone())?;
    Ok(AddReport {
        store: into.store.clone(),
        name: into.name.clone(),
        kind: if bundle.is_bare() { "snapshot" } else { "ami" },
        digest,
        how,
        stored_bytes: bundle.blob_bytes(),
        new_bytes: size_of(&into.store)?.saturating_sub(before),
        notes,
    })
}
