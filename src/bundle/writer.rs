//! Writing a bundle: volume after volume, then the documents that join them.

use std::path::Path;
use std::sync::Arc;
use std::sync::RwLock;

use crate::ami::Ami;
use crate::bundle::BaseLayer;
use crate::bundle::Bundle;
use crate::bundle::SnapshotLayer;
use crate::bundle::annotations;
use crate::bundle::free::FreeRecord;
use crate::bundle::opened::VolumeConfig;
use crate::bundle::opened::entry_facts;
use crate::bundle::opened::stored_size;
use crate::bundle::replace::check_replaceable;
use crate::bundle::shared::SharedPacks;
use crate::digest::Digest;
use crate::digest::Sha256;
use crate::digest::sha256;
use crate::error::Result;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::layout;
use crate::layout::Descriptor;
use crate::layout::NewBlob;
use crate::layout::Sink;
use crate::layout::oci;
use crate::manifest;
use crate::manifest::Builder;
use crate::manifest::Part;
use crate::manifest::Summary;
use crate::pack::Form;
use crate::pack::KnownChunks;
use crate::pack::PackWriter;
use crate::pack::Region;
use crate::pack::Stored;
use crate::units::ExtentKind;
use crate::work::Watch;

/// What was written for one volume.
#[derive(Clone, Debug)]
pub struct WrittenVolume {
    /// Its device.
    pub device: String,
    /// What its manifest says.
    pub summary: Summary,
    /// Chunks that it was the first to need.
    pub new_chunks: u64,
    /// Those of them that are patches over the base.
    pub patched_chunks: u64,
    /// Stored bytes of those chunks, with the packs around them.
    pub stored_bytes: u64,
}

/// A bundle under way.
#[derive(Debug)]
pub struct Writer {
    sink: Sink,
    layers: Vec<Descriptor>,
    pack_size: u64,
    known: RwLock<KnownChunks>,
    /// The packs of the store that the bundle goes into.
    shared: Option<Arc<SharedPacks>>,
    /// Bytes of the volumes.
    volume_size: u64,
}

impl Writer {
    /// Starts a bundle that will be called `target`: one file if that ends in `.tar`, else a
    /// folder. Packs are closed at `pack_size` bytes.
    ///
    /// # Errors
    ///
    /// `Io` if the place cannot be written; `Invalid` if something stands there that
    /// [`check_replaceable`] refuses; `Interrupted` while another run has the store.
    pub fn create(target: &Path, pack_size: u64, watch: &dyn Watch) -> Result<Self> {
        let sink = Sink::create(target, check_replaceable, watch)?;
        let shared = match sink.store() {
            Some(store) => Some(Arc::new(SharedPacks::open(&*store.reader()?)?)),
            None => None,
        };
        let known = RwLock::default();
        Ok(Self { sink, layers: Vec::new(), pack_size, known, shared, volume_size: 0 })
    }

    /// Returns the packs of the store that the bundle goes into, if it does: their chunks need not be stored again.
    #[must_use]
    pub fn shared(&self) -> Option<Arc<SharedPacks>> {
        self.shared.clone()
    }

    /// Returns the chunks that need not be stored again.
    #[must_use]
    pub fn known(&self) -> &RwLock<KnownChunks> {
        &self.known
    }

    /// Starts the scratch file for the next volume's manifest.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be made.
    pub fn scratch(&self) -> Result<Scratch> {
        self.sink.scratch()
    }

    /// Starts a volume; its manifest is built in `scratch` and its chunks go into packs. With a
    /// `base`, chunks that no pack has are in the snapshot of that root digest.
    #[must_use]
    pub fn volume<'a>(
        &'a mut self,
        scratch: &'a Scratch,
        base: Option<Digest>,
    ) -> VolumeWriter<'a> {
        VolumeWriter {
            sink: &mut self.sink,
            layers: &mut self.layers,
            volume_size: &mut self.volume_size,
            pack_size: self.pack_size,
            builder: Builder::new(scratch),
            scratch,
            base,
            free: None,
            part: None,
            pack: None,
            patched: false,
            new_chunks: 0,
            patched_chunks: 0,
            stored_bytes: 0,
        }
    }

    /// Tells whether the bundle goes into a store, where nothing can be left out.
    #[must_use]
    pub fn is_into_store(&self) -> bool {
        self.shared.is_some()
    }

    /// Takes over the layers of a bundle as what the volumes to come depend on: its snapshots as
    /// bases, and its packs, which a `thin` bundle names and leaves out.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Mismatch` if a layer is not sound; `Io` if it cannot be read or written;
    /// `Interrupted` on request.
    pub fn lean_on(&mut self, base: &Bundle, thin: bool, watch: &dyn Watch) -> Result<()> {
        for mut layer in base.in_order() {
            let pack = layer.media_type == crate::pack::MEDIA_TYPE;
            if !(thin && pack) {
                self.copy_blob(base, &layer, watch)?;
            }
            layer
                .annotations
                .insert(annotations::ROLE.to_owned(), annotations::ROLE_BASE.to_owned());
            if !pack {
                layer.annotations.remove(annotations::DEVICE);
            }
            self.layers.push(layer);
        }
        Ok(())
    }

    /// Takes over a snapshot of another bundle as the volume of `device`, with all that it needs.
    ///
    /// # Errors
    ///
    /// As [`Writer::lean_on`].
    pub fn adopt(
        &mut self,
        from: &Bundle,
        snapshot: &SnapshotLayer,
        device: &str,
        watch: &dyn Watch,
    ) -> Result<()> {
        let own = snapshot.blob.annotations.get(annotations::DEVICE);
        for mut layer in from.in_order() {
            let of = layer.annotations.get(annotations::DEVICE);
            let is_it = of.is_some() && of == own;
            let known = self.layers.iter().any(|it| same(it, &layer));
            if !is_it && (of.is_some() || known) {
                continue;
            }
            self.copy_blob(from, &layer, watch)?;
            if is_it {
                layer.annotations.insert(annotations::DEVICE.to_owned(), device.to_owned());
                let size = layer.annotations.get(annotations::VOLUME_SIZE);
                let size = size.and_then(|it| it.parse().ok()).unwrap_or(0);
                self.volume_size = self.volume_size.saturating_add(size);
            }
            self.layers.push(layer);
        }
        Ok(())
    }

    /// Takes over the packs of a part of a volume, as they are.
    ///
    /// # Errors
    ///
    /// As [`Writer::lean_on`].
    pub fn take_packs(&mut self, part: &Bundle, watch: &dyn Watch) -> Result<()> {
        for pack in part.packs() {
            self.copy_blob(part, &pack.blob, watch)?;
            self.layers.push(pack.blob.clone());
        }
        Ok(())
    }

    /// Adds the manifest in `scratch` as that of a snapshot that the volumes to come depend on.
    ///
    /// # Errors
    ///
    /// `Io` if it cannot be written.
    pub fn lean_on_manifest(&mut self, manifest: &dyn ReadAt, summary: &Summary) -> Result<()> {
        let read = |buf: &mut [u8], at: u64| manifest.read_exact_at(buf, at);
        let mut layer = manifest_blob(&mut self.sink, &read, summary)?;
        layer.annotations.insert(annotations::ROLE.to_owned(), annotations::ROLE_BASE.to_owned());
        self.layers.push(layer);
        Ok(())
    }

    /// Takes over the manifest of a snapshot that another bundle depends on.
    ///
    /// # Errors
    ///
    /// As [`Writer::lean_on`].
    pub fn lean_on_base_of(
        &mut self,
        bundle: &Bundle,
        base: &BaseLayer,
        watch: &dyn Watch,
    ) -> Result<()> {
        self.copy_blob(bundle, &base.blob, watch)?;
        self.layers.push(base.blob.clone());
        Ok(())
    }

    /// Takes over what a thin bundle depends on: the manifests, and the names of the packs.
    ///
    /// # Errors
    ///
    /// As [`Writer::lean_on`].
    pub fn lean_on_bases_of(&mut self, bundle: &Bundle, watch: &dyn Watch) -> Result<()> {
        for layer in bundle.in_order() {
            if annotations::is_of_base(&layer)? {
                if layer.media_type == manifest::MEDIA_TYPE {
                    self.copy_blob(bundle, &layer, watch)?;
                }
                self.layers.push(layer);
            }
        }
        Ok(())
    }

    fn copy_blob(&mut self, from: &Bundle, blob: &Descriptor, watch: &dyn Watch) -> Result<()> {
        copy_blob(&mut self.sink, from, blob, watch)
    }

    /// Writes a document as a blob.
    fn document(&mut self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        let digest = sha256(bytes);
        let size = u64::try_from(bytes.len()).expect("memory is under 2^64 bytes");
        let blob = self.sink.new_blob()?;
        self.sink.with_blob(&blob, |out| out.write_all_at(bytes, 0))?;
        self.sink.place_blob(blob, &digest, size)?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Joins the volumes to the AMI that `ami` describes and gives the bundle its name. Returns the
    /// digest of the OCI manifest: the identity of the bundle.
    ///
    /// # Errors
    ///
    /// `Invalid` if the description is none that EC2 takes; `Io`, and then nothing has the name.
    pub fn finish(mut self, ami: &Ami, watch: &dyn Watch) -> Result<Digest> {
        ami.check()?;
        let config = self.document(annotations::CONFIG_TYPE, &oci::to_bytes(ami))?;
        self.finish_as(annotations::ARTIFACT_TYPE, config, &ami.name, watch)
    }

    /// As [`Writer::finish`], for a snapshot that belongs to no AMI and is called `name`. Its device is
    /// [`VOLUME_DEVICE`](crate::bundle::VOLUME_DEVICE).
    ///
    /// # Errors
    ///
    /// `Io`, and then nothing has the name.
    pub fn finish_bare(
        mut self,
        volume: &VolumeConfig,
        name: &str,
        watch: &dyn Watch,
    ) -> Result<Digest> {
        let config = self.document(annotations::VOLUME_CONFIG_TYPE, &oci::to_bytes(volume))?;
        self.finish_as(annotations::VOLUME_TYPE, config, name, watch)
    }

    fn finish_as(
        mut self,
        artifact_type: &'static str,
        mut config: Descriptor,
        name: &str,
        watch: &dyn Watch,
    ) -> Result<Digest> {
        config.annotations.insert(oci::TITLE.to_owned(), annotations::CONFIG_TITLE.to_owned());
        self.name_shared();
        for layer in &mut self.layers {
            let title = annotations::title_of(layer);
            layer.annotations.insert(oci::TITLE.to_owned(), title);
        }
        let mut blobs = self.layers.clone();
        blobs.push(config.clone());
        let manifest = oci::Manifest {
            schema_version: 2,
            media_type: Some(oci::MANIFEST_TYPE.to_owned()),
            artifact_type: Some(artifact_type.to_owned()),
            config,
            layers: std::mem::take(&mut self.layers),
        };
        let manifest = self.document(oci::MANIFEST_TYPE, &oci::to_bytes(&manifest))?;
        let digest = manifest.digest;
        blobs.push(manifest.clone());
        let named = (artifact_type == annotations::ARTIFACT_TYPE).then_some(name);
        let facts = entry_facts(named, self.volume_size, stored_size(&blobs));
        self.sink.commit(&manifest, artifact_type, layout::reference_name(name), &facts, watch)?;
        Ok(digest)
    }

    /// Names the packs of the store that have chunks of the volumes, behind those of bases.
    fn name_shared(&mut self) {
        let Some(shared) = &self.shared else { return };
        let is_own = |layer: &Descriptor| !annotations::is_of_base(layer).unwrap_or(false);
        let at = self.layers.iter().position(is_own).unwrap_or(self.layers.len());
        let mut more = shared.layers();
        more.retain(|layer| !self.layers.iter().any(|it| same(it, layer)));
        self.layers.splice(at..at, more);
    }
}

/// A volume under way, block after block.
#[derive(Debug)]
pub struct VolumeWriter<'a> {
    sink: &'a mut Sink,
    layers: &'a mut Vec<Descriptor>,
    volume_size: &'a mut u64,
    pack_size: u64,
    builder: Builder<'a>,
    scratch: &'a Scratch,
    /// Root digest of the snapshot that the volume depends on.
    base: Option<Digest>,
    /// What became of the volume's free blocks.
    free: Option<FreeRecord>,
    /// What the volume is a part of.
    part: Option<Part>,
    pack: Option<(PackWriter, NewBlob)>,
    /// Whether the pack under way has a patched chunk.
    patched: bool,
    new_chunks: u64,
    patched_chunks: u64,
    stored_bytes: u64,
}

impl VolumeWriter<'_> {
    /// Records what became of the volume's free blocks.
    pub fn record_free(&mut self, free: Option<FreeRecord>) {
        self.free = free;
    }

    /// Records what the volume is a part of.
    pub fn record_part(&mut self, part: Part) {
        self.part = Some(part);
    }

    /// Adds `count` blocks that are all zero or all holes.
    ///
    /// # Errors
    ///
    /// `Io` if the bundle cannot be written.
    pub fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.builder.push_run(kind, count)
    }

    /// Adds a data block. Its chunk is stored apart, or need not be.
    ///
    /// # Errors
    ///
    /// `Io` if the bundle cannot be written.
    pub fn data(&mut self, id: Digest) -> Result<()> {
        self.builder.push_data(&id)
    }

    /// Stores a group of chunks of a region, none of which is stored yet. Packs end where a region does.
    ///
    /// # Errors
    ///
    /// `Io` if the bundle cannot be written.
    pub fn store(&mut self, region: Region, group: Stored<'_>) -> Result<()> {
        let ended =
            |pack: &PackWriter| pack.region() != region || pack.is_full_for(group, self.pack_size);
        if self.pack.as_ref().is_some_and(|(pack, _)| ended(pack)) {
            self.close_pack()?;
        }
        if self.pack.is_none() {
            self.pack = Some((PackWriter::new(region), self.sink.new_blob()?));
        }
        let (pack, blob) = self.pack.as_mut().expect("just made");
        self.sink.with_blob(blob, |out| pack.append(out, group))?;
        let count = u64::try_from(group.ids.len()).expect("at most 128");
        if group.form == Form::Patched {
            self.patched = true;
            self.patched_chunks = self.patched_chunks.strict_add(count);
        }
        self.new_chunks = self.new_chunks.strict_add(count);
        Ok(())
    }

    fn close_pack(&mut self) -> Result<()> {
        let Some((pack, blob)) = self.pack.take() else { return Ok(()) };
        let done = self.sink.with_blob(&blob, |out| pack.finish(out))?;
        self.sink.place_blob(blob, &done.digest, done.file_len)?;
        self.stored_bytes = self.stored_bytes.strict_add(done.file_len);
        let mut layer = Descriptor::new(crate::pack::MEDIA_TYPE, done.digest, done.file_len);
        layer.annotations.insert(annotations::CHUNKS.to_owned(), done.chunk_count.to_string());
        if std::mem::take(&mut self.patched)
            && let Some(base) = self.base
        {
            layer.annotations.insert(annotations::BASE.to_owned(), format!("sha256:{base}"));
        }
        self.layers.push(layer);
        Ok(())
    }

    /// Ends the volume: `device` of the AMI, `size` bytes.
    ///
    /// # Errors
    ///
    /// `Io` if the bundle cannot be written.
    pub fn finish(mut self, device: &str, size: u64) -> Result<WrittenVolume> {
        self.close_pack()?;
        let summary = self.builder.finish(size)?;
        *self.volume_size = self.volume_size.saturating_add(summary.volume_size);
        let scratch = self.scratch;
        let read = |buf: &mut [u8], at: u64| scratch.read_back_at(buf, at);
        let mut layer = manifest_blob(self.sink, &read, &summary)?;
        layer.annotations.insert(annotations::DEVICE.to_owned(), device.to_owned());
        if let Some(base) = self.base {
            layer.annotations.insert(annotations::BASE.to_owned(), format!("sha256:{base}"));
        }
        if let Some(free) = self.free {
            layer.annotations.insert(annotations::FREE.to_owned(), free.to_string());
        }
        if let Some(part) = &self.part {
            let record = serde_json::to_string(part).expect("a record is JSON");
            layer.annotations.insert(annotations::PART.to_owned(), record);
        }
        self.layers.push(layer);
        Ok(WrittenVolume {
            device: device.to_owned(),
            summary,
            new_chunks: self.new_chunks,
            patched_chunks: self.patched_chunks,
            stored_bytes: self.stored_bytes,
        })
    }
}

/// Tells whether two layers are one: a blob can be a volume's manifest, and that of a base too, but a pack is a pack.
fn same(one: &Descriptor, other: &Descriptor) -> bool {
    let role = |layer: &Descriptor| layer.annotations.get(annotations::ROLE).cloned();
    let is_pack = one.media_type == crate::pack::MEDIA_TYPE;
    one.digest == other.digest && (is_pack || role(one) == role(other))
}

/// Writes the manifest in `scratch` as a blob.
fn manifest_blob(sink: &mut Sink, read: &Read<'_>, summary: &Summary) -> Result<Descriptor> {
    let blob = sink.new_blob()?;
    let digest = sink.with_blob(&blob, |out| copy(read, summary.file_len, out))?;
    sink.place_blob(blob, &digest, summary.file_len)?;
    let mut layer = Descriptor::new(manifest::MEDIA_TYPE, digest, summary.file_len);
    layer.annotations.extend([
        (annotations::ROOT_DIGEST.to_owned(), format!("sha256:{}", summary.root)),
        (annotations::VOLUME_SIZE.to_owned(), summary.volume_size.to_string()),
    ]);
    Ok(layer)
}

/// Copies a blob of another bundle, and checks it against its digest.
pub(super) fn copy_blob(
    sink: &mut Sink,
    from: &Bundle,
    blob: &Descriptor,
    watch: &dyn Watch,
) -> Result<()> {
    if sink.has(blob)? {
        return Ok(());
    }
    let new = sink.new_blob()?;
    sink.with_blob(&new, |out| {
        from.read_blob(blob, watch, &mut |bytes, at| out.write_all_at(bytes, at))
    })?;
    sink.place_blob(new, &blob.digest, blob.size)
}

/// Fills a buffer from a place on.
type Read<'a> = dyn Fn(&mut [u8], u64) -> Result<()> + 'a;

/// Copies the first `len` bytes of what `read` reads and returns their digest.
fn copy(read: &Read<'_>, len: u64, to: &dyn WriteAt) -> Result<Digest> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; READ_PIECE_LEN];
    let mut at = 0;
    while at < len {
        let rest = usize::try_from(len.strict_sub(at)).unwrap_or(READ_PIECE_LEN);
        let piece = &mut buffer[..rest.min(READ_PIECE_LEN)];
        read(piece, at)?;
        digest.update(piece);
        to.write_all_at(piece, at)?;
        at = at.strict_add(u64::try_from(piece.len()).expect("at most a piece"));
    }
    Ok(digest.finish())
}
