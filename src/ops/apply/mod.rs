//! `apply`: an image that a thin bundle was packed against, to the image that it leads to.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::bundle::Bundle;
use crate::bundle::Snapshot;
use crate::bundle::SnapshotLayer;
use crate::bundle::Writer;
use crate::chunking;
use crate::chunking::Patcher;
use crate::chunking::Source;
use crate::chunking::States;
use crate::chunking::Store;
use crate::compress::Encoder;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::ImageRequest;
use crate::format::WriteOptions;
use crate::format::raw;
use crate::io;
use crate::io::InPlace;
use crate::io::Input;
use crate::io::PageBuffer;
use crate::io::Target;
use crate::io::WriteAt;
use crate::manifest;
use crate::manifest::Block;
use crate::manifest::Change;
use crate::manifest::Manifest;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::journal::journal_of;
use crate::ops::shared::manifest::root_of;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open;
use crate::ops::shared::open::open_bundle;
use crate::ops::shared::packing::BundleSink;
use crate::ops::shared::report::path_text;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::pack::Form;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::in_order;

/// Blocks that one job writes.
const JOB_BLOCKS: u32 = 4;

/// Level at which the chunks of a journal are compressed: it is written once and read once.
const JOURNAL_LEVEL: i32 = 1;

/// Where the new image goes.
#[derive(Clone, Debug)]
pub enum ApplyTo {
    /// A new file, or a block device.
    Output(PathBuf),
    /// The old image itself is changed.
    InPlace,
}

/// What is applied, and to what.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// The thin bundle.
    pub bundle: PathBuf,
    /// Device of the AMI; the root device where the user names none.
    pub device: Option<String>,
    /// The raw image that the bundle was packed against.
    pub old: ImageRequest,
    /// Where the new image goes.
    pub to: ApplyTo,
    /// Threads to work on.
    pub threads: NonZero<usize>,
}

/// In which way the new image came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    /// It shares the unchanged bytes with the old one.
    Cloned,
    /// All of it was written.
    Written,
    /// The old image was changed.
    InPlace,
    /// An earlier run had not come to its end; this one did.
    Resumed,
    /// The old image is the new one already.
    Unchanged,
}

/// What was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApplyReport {
    /// The new image.
    #[serde(serialize_with = "path_text")]
    pub output: PathBuf,
    /// Device of the AMI.
    pub device: String,
    /// Identity of the old snapshot.
    pub base_digest: Digest,
    /// Identity of the new one.
    pub root_digest: Digest,
    /// Bytes of the volume.
    pub volume_size_bytes: u64,
    /// Blocks of 512 KiB that changed.
    pub changed_blocks: u64,
    /// How it was done.
    pub how: Applied,
}

/// Makes the new image.
///
/// # Errors
///
/// `Mismatch` if the old image is not what the bundle was packed against, before a byte is written; as
/// [`Bundle::open`], [`crate::ops::open_image`] and reading the bundle; `Io` if the new image cannot
/// be written.
pub fn apply(request: &ApplyRequest, watch: &dyn Watch) -> Result<ApplyReport> {
    match &request.to {
        ApplyTo::Output(output) => to_output(request, output, watch),
        ApplyTo::InPlace => in_place(request, watch),
    }
}

/// A device of a thin bundle, and the two manifests that say what changes.
struct Delta {
    layer: SnapshotLayer,
    old: Manifest,
    new: Manifest,
}

impl Delta {
    fn find(bundle: &Bundle, device: Option<&str>) -> Result<Self> {
        let layer = bundle.find(device)?.clone();
        let base = layer.base.and_then(|root| bundle.bases().iter().find(|it| it.root == root));
        let Some(base) = base else {
            let text = format!("the volume of {} leans on no base", layer.device);
            return Err(Error::invalid(text)
                .in_file(bundle.path())
                .advise("use `amikit unpack`: the bundle is whole"));
        };
        let (old, new) = (bundle.base_manifest(base)?, bundle.manifest(&layer)?);
        Ok(Self { layer, old, new })
    }

    fn report(&self, output: &Path, how: Applied) -> Result<ApplyReport> {
        let mut changed_blocks = 0_u64;
        for change in manifest::changes(&self.old, &self.new) {
            changed_blocks = changed_blocks.strict_add(u64::from(change?.count));
        }
        Ok(ApplyReport {
            output: output.to_owned(),
            device: self.layer.device.clone(),
            base_digest: self.old.root(),
            root_digest: self.new.root(),
            volume_size_bytes: self.new.volume_size(),
            changed_blocks,
            how,
        })
    }
}

fn to_output(request: &ApplyRequest, output: &Path, watch: &dyn Watch) -> Result<ApplyReport> {
    let bundle =
        open_bundle(&request.bundle, Some(&base(&request.old)), request.threads, &Quiet(watch))?;
    let delta = Delta::find(&bundle, request.device.as_deref())?;
    let snapshot = bundle.snapshot(Some(&delta.layer.device))?;
    watch.begin(Some(snapshot.size()));
    let mut target = Target::open(output)?;
    if let Target::File(file) = &mut target
        && file.clone_of(&Input::open(&request.old.path)?)?
    {
        write_changes(&delta, &snapshot, file, request.threads, watch)?;
        snapshot.check_unchanged()?;
        target.commit()?;
        return delta.report(output, Applied::Cloned);
    }
    let options = WriteOptions { threads: request.threads, watch, level: None };
    write_image(&raw::WRITER, &[&snapshot], target, &options)?;
    delta.report(output, Applied::Written)
}

/// Writes every block that is not as it was.
fn write_changes(
    delta: &Delta,
    snapshot: &Snapshot,
    out: &dyn WriteAt,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<()> {
    let size = delta.new.volume_size();
    out.set_size(size)?;
    write_last_zeros(delta, out)?;
    let end = delta.new.block_count();
    let jobs = manifest::changes(&delta.old, &delta.new).flat_map(|change| match change {
        Ok(change) => pieces(change, end).map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    });
    in_order(
        threads,
        watch,
        jobs,
        || Ok(PageBuffer::default()),
        |buffer, (kind, first, count)| {
            let start = BlockIndex(first).offset();
            let stop = BlockIndex(first.strict_add(count)).offset().min(size);
            let len = stop.strict_sub(start);
            match kind {
                ExtentKind::Hole => {
                    // To the end of the block, for the page that the volume ends in must go too.
                    let len = BlockIndex(first.strict_add(count)).offset().strict_sub(start);
                    out.make_hole_at(len, start)?;
                }
                ExtentKind::Zero => out.write_zeros_at(len, start)?,
                ExtentKind::Data => {
                    buffer.resize(usize::try_from(len).expect("a few blocks"));
                    snapshot.read_at(start, buffer)?;
                    out.write_all_at(buffer, start)?;
                }
            }
            Ok(len)
        },
        |len| {
            watch.advance(len);
            Ok(())
        },
    )
}

/// Writes the zeros of a last block that was cut. It is not among the changes, but what was written
/// of it may all have lain behind the new end.
fn write_last_zeros(delta: &Delta, out: &dyn WriteAt) -> Result<()> {
    let size = delta.new.volume_size();
    let Some(last) = delta.new.block_count().checked_sub(1).map(BlockIndex) else { return Ok(()) };
    if size < delta.old.volume_size() && delta.new.block(last)? == Block::Zero {
        out.write_zeros_at(size.strict_sub(last.offset()), last.offset())?;
    }
    Ok(())
}

/// Cuts a change into jobs, up to block `end`.
fn pieces(change: Change, end: u32) -> impl Iterator<Item = (ExtentKind, u32, u32)> {
    let stop = change.end().0.min(end);
    let most = if change.to == ExtentKind::Data { JOB_BLOCKS } else { u32::MAX };
    let mut next = change.first.0;
    std::iter::from_fn(move || {
        (next < stop).then(|| {
            let first = next;
            next = first.saturating_add(most).min(stop);
            (change.to, first, next.strict_sub(first))
        })
    })
}

/// Changes the old image. All that changes is in a journal before the first byte of it does, so a run
/// that was stopped anywhere is either undone, because nothing was changed, or can be done again.
fn in_place(request: &ApplyRequest, watch: &dyn Watch) -> Result<ApplyReport> {
    let image = &request.old.path;
    let out = InPlace::open(image)?;
    let journal = journal_of(image);
    let bundle = Bundle::open(&request.bundle)?;
    let delta = Delta::find(&bundle, request.device.as_deref())?;
    let mut how = Applied::InPlace;
    if journal.exists() {
        how = Applied::Resumed;
        watch.begin(Some(delta.new.volume_size()));
    } else {
        let old = ImageRequest { force: true, ..request.old.clone() };
        let over =
            match open_bundle(&request.bundle, Some(&base(&old)), request.threads, &Quiet(watch)) {
                Ok(over) => over,
                // Whoever runs it again, to be sure, finds nothing to do.
                Err(_) if is_already(&delta, &old, request.threads, watch)? => {
                    return delta.report(image, Applied::Unchanged);
                }
                Err(error) => return Err(error),
            };
        watch.begin(Some(delta.new.volume_size().strict_mul(2)));
        write_journal(&over, &delta, &journal, request.threads, watch)?;
    }
    let replay = Bundle::open(&journal)?;
    let again = Delta::find(&replay, None)?;
    if again.new.root() != delta.new.root() {
        let text = format!(
            "an earlier run did not come to its end: it leads to the snapshot sha256:{}, expected \
             sha256:{}",
            again.new.root(),
            delta.new.root()
        );
        return Err(Error::invalid(text).in_file(&journal).advise(format!(
            "finish it with `amikit apply {} --to {} --in-place`",
            journal.display(),
            image.display()
        )));
    }
    let snapshot = replay.snapshot(None)?;
    write_changes(&again, &snapshot, &out, request.threads, watch)?;
    out.commit()?;
    // A journal is written onto whatever has the image's name; that it was the right image is told
    // before the first byte only where the journal is new.
    if how == Applied::Resumed {
        let image_request = ImageRequest { force: true, ..request.old.clone() };
        let found = root_of_image(&image_request, request.threads, &Quiet(watch))?;
        if found != delta.new.root() {
            let text = format!(
                "its root digest is {found} after the journal was written onto it, expected {}",
                delta.new.root()
            );
            return Err(Error::new(Kind::Mismatch, text).in_file(image).advise(
                "it is not the image that the journal was made for: put that one back, and run this \
                 again",
            ));
        }
    }
    io::remove(&journal)?;
    delta.report(image, how)
}

/// Names the old image as the base of the bundle.
fn base(old: &ImageRequest) -> VolumeRequest {
    VolumeRequest { role: Some("to".to_owned()), ..old.clone().into() }
}

/// Returns the root digest of an image.
fn root_of_image(
    image: &ImageRequest,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Digest> {
    let request = base(image);
    let opened = open(&request, watch)?;
    root_of(opened.volume(), threads, watch).map_err(|error| request.fail(error))
}

/// Tells whether the image is the new snapshot.
fn is_already(
    delta: &Delta,
    image: &ImageRequest,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<bool> {
    let root = root_of_image(image, threads, &Quiet(watch))?;
    Ok(root == delta.new.root())
}

/// Stores each block that changes whole, wherever its bytes come from.
#[derive(Debug)]
struct Flat<'a> {
    old: &'a Manifest,
}

impl Patcher for Flat<'_> {
    /// A chunk that has only moved must be stored: its old place may be written over first.
    fn has(&self, index: BlockIndex, id: &Digest) -> Result<bool> {
        Ok(index.0 < self.old.block_count() && self.old.block(index)? == Block::Data(*id))
    }

    fn append(
        &self,
        _index: BlockIndex,
        plain: &[u8],
        whole: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<Form> {
        whole.append(plain, out);
        Ok(Form::Whole)
    }
}

/// Writes the journal: a bundle of the one volume, with every changed block in it, whole.
fn write_journal(
    bundle: &Bundle,
    delta: &Delta,
    journal: &Path,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<()> {
    let snapshot = bundle.snapshot(Some(&delta.layer.device))?;
    let mut writer = Writer::create(journal, DEFAULT_PACK_SIZE)?;
    let root = delta.old.root();
    let base = bundle.bases().iter().find(|it| it.root == root).expect("it was found before");
    writer.lean_on_base_of(bundle, base, watch)?;
    let known = std::sync::RwLock::default();
    let flat = Flat { old: &delta.old };
    let options = chunking::Options {
        threads,
        watch,
        states: States::default(),
        store: Some(Store { level: JOURNAL_LEVEL, known: &known, patcher: Some(&flat) }),
    };
    let scratch = writer.scratch()?;
    let mut sink = BundleSink { volume: writer.volume(&scratch, Some(root)), known: &known };
    let size = chunking::run(Source::Volume(&snapshot), &options, &mut sink)?;
    sink.volume.finish(&delta.layer.device, size)?;
    writer.finish(&alone(bundle.ami(), &delta.layer.device))?;
    Ok(())
}

/// Returns the description with one device, which is the root then.
fn alone(ami: &Ami, device: &str) -> Ami {
    let mut ami = ami.clone();
    ami.block_device_mappings.retain(|mapping| mapping.device_name == device);
    device.clone_into(&mut ami.root_device_name);
    ami
}

const _: () = assert!(BLOCK_SIZE == 524_288, "a job is two mebibytes");
