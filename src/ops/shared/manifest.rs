//! The manifest of a volume, made now.

use std::num::NonZero;
use std::path::Path;

use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::Source;
use crate::chunking::States;
use crate::digest::Digest;
use crate::error::Result;
use crate::io::Input;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::manifest::Builder;
use crate::manifest::Manifest;
use crate::manifest::Summary;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// Returns the root digest of a volume.
///
/// # Errors
///
/// As [`chunking::run`].
pub(in crate::ops) fn root_of(
    volume: &dyn ReadVolume,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Digest> {
    let states = States::default();
    Ok(write_manifest(Source::Volume(volume), &Discard, states, threads, watch)?.root)
}

/// A manifest that was made now, in a file without a name.
pub(in crate::ops) struct MadeManifest {
    pub(in crate::ops) manifest: Manifest,
    /// The bytes that it is read from.
    pub(in crate::ops) bytes: Input,
    pub(in crate::ops) summary: Summary,
}

/// Makes the manifest of a volume.
///
/// # Errors
///
/// As [`chunking::run`]; `Io` if there is no place for it.
pub(in crate::ops) fn manifest_of(
    volume: &dyn ReadVolume,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<MadeManifest> {
    let scratch = Scratch::create()?;
    let source = Source::Volume(volume);
    let summary = write_manifest(source, &scratch, States::default(), threads, watch)?;
    let bytes = scratch.into_input(summary.file_len, Path::new("the manifest made now"))?;
    Ok(MadeManifest { manifest: Manifest::open(&bytes)?, bytes, summary })
}

/// Writes the manifest of what `source` gives.
///
/// # Errors
///
/// As [`chunking::run`]; `Io` if `output` cannot be written.
pub(in crate::ops) fn write_manifest(
    source: Source<'_>,
    output: &dyn WriteAt,
    states: States,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Summary> {
    let mut sink = ManifestSink(Builder::new(output));
    let options = chunking::Options { threads, watch, states, store: None };
    let size = chunking::run(source, &options, &mut sink)?;
    sink.0.finish(size)
}

/// An output that nobody reads: for a manifest of which only the root digest is wanted.
struct Discard;

impl WriteAt for Discard {
    fn write_all_at(&self, _bytes: &[u8], _offset: u64) -> Result<()> {
        Ok(())
    }

    fn make_hole_at(&self, _len: u64, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn set_size(&self, _size: u64) -> Result<()> {
        Ok(())
    }
}

/// A manifest's builder as a sink of blocks.
#[derive(Debug)]
pub(in crate::ops) struct ManifestSink<'a>(pub(in crate::ops) Builder<'a>);

impl Sink for ManifestSink<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.0.push_run(kind, count)
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        self.0.push_data(&id)
    }
}
