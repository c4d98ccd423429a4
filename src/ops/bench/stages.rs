//! The stages and their limits, all over the same bytes.

#![expect(
    clippy::disallowed_methods,
    reason = "measures bare files beside ours, in a folder of its own"
)]

use std::fs;
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::io::Read;
use std::io::Write;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

use zstd::stream::read::Decoder as BareDecoder;
use zstd::stream::write::Encoder as BareEncoder;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::Virtualization;
use crate::bundle::Bundle;
use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::Source;
use crate::chunking::States;
use crate::compress::GroupDecoder;
use crate::compress::GroupEncoder;
use crate::digest::Digest;
use crate::digest::Lanes;
use crate::digest::is_zero;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format;
use crate::format::WriteOptions;
use crate::format::raw;
use crate::io::Input;
use crate::io::OutputDir;
use crate::io::OutputFile;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::io::Target;
use crate::io::WriteAt;
use crate::ops::bench::race::Race;
use crate::ops::bench::race::float;
use crate::ops::bench::race::speed;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::image_output::write_image;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::mapping::open_mapped;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::packing::PackOptions;
use crate::ops::shared::packing::pack_volumes;
use crate::pack::DEFAULT_GROUP_SIZE;
use crate::units::BLOCK_LEN;
use crate::units::ExtentKind;
use crate::volume::Volume;
use crate::work::Watch;

/// Plain bytes of a group.
const GROUP_LEN: usize = 32 << 20;

const _: () = assert!(DEFAULT_GROUP_SIZE == 32 << 20, "groups are as `pack` makes them");

/// Device of the bundle that is made.
const DEVICE: &str = "/dev/xvda";

/// The bytes that are worked on, in each form that a stage needs.
pub(super) struct Workbench<'a> {
    level: i32,
    threads: NonZero<usize>,
    watch: &'a dyn Watch,
    /// Whole data blocks.
    plain: Vec<u8>,
    /// The frames of groups of blocks.
    frames: Vec<Vec<u8>>,
    /// The blocks as one zstd stream of plain zstd.
    stream: Vec<u8>,
    /// The blocks as a raw image.
    volume: Volume,
    input: Input,
    folder: OutputDir,
}

impl<'a> Workbench<'a> {
    /// Lays out `plain`, whole blocks, for all stages.
    ///
    /// # Errors
    ///
    /// `Io` if the files cannot be written.
    pub(super) fn new(
        plain: Vec<u8>,
        level: i32,
        threads: NonZero<usize>,
        watch: &'a dyn Watch,
    ) -> Result<Self> {
        // It never gets this name: what is measured is not kept.
        let folder = OutputDir::create(&std::env::temp_dir().join("amikit-bench"))?;
        let path = folder.temporary_path().join("sample.raw");
        let file = create(&path)?;
        file.write_all_at(&plain, 0).map_err(|e| Error::io("write", &path, e))?;
        // The kernel must not write it to the disk while other things are measured.
        file.sync_all().map_err(|e| Error::io("sync", &path, e))?;
        let raw = Some(&raw::FORMAT);
        let image = format::open(
            &format::ImageRequest { format: raw, ..format::ImageRequest::of(&path) },
            watch,
        )?;

        let mut encoder = GroupEncoder::new(level, GROUP_LEN)?;
        let mut frames = Vec::new();
        for group in plain.chunks(GROUP_LEN) {
            watch.check()?;
            let mut frame = Vec::new();
            encoder.encode(group, &mut frame, &mut || Ok(()))?;
            frame.shrink_to_fit();
            frames.push(frame);
        }
        let mut stream = Vec::new();
        compress_bare(&plain, level, &mut stream)?;
        stream.shrink_to_fit();
        let (volume, input) = (image.volume, Input::open(&path)?);
        Ok(Self { level, threads, watch, plain, frames, stream, volume, input, folder })
    }

    /// Returns how many plain bytes are worked on.
    pub(super) fn size(&self) -> u64 {
        u64::try_from(self.plain.len()).expect("memory is under 2^64 bytes")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.temporary_path().join(name)
    }

    /// Returns all stages, in the order of the work; `unpack` needs the bundle of `pack`.
    pub(super) fn races(&self) -> Result<Vec<Race<'_>>> {
        Ok(vec![
            self.read(),
            self.zero_test(),
            self.hash(),
            self.compress()?,
            self.decompress()?,
            self.write(),
            self.snapshot(),
            self.pack(),
            self.unpack(),
        ])
    }

    /// The file is in the system's cache, so nothing is faster than to copy it.
    fn read(&self) -> Race<'_> {
        let mut piece = vec![0; READ_PIECE_LEN];
        let mut copy = vec![0; READ_PIECE_LEN];
        Race {
            name: "read",
            threads: 1,
            stage: Box::new(move || {
                speed(self.size(), || {
                    for at in (0..self.size()).step_by(READ_PIECE_LEN) {
                        self.input.read_exact_at(&mut piece, at)?;
                        black_box(&mut piece);
                    }
                    Ok(())
                })
            }),
            limit_name: "memory copy",
            limit: Box::new(move || {
                speed(self.size(), || {
                    for from in self.plain.chunks(READ_PIECE_LEN) {
                        copy.copy_from_slice(from);
                        black_box(&mut copy);
                    }
                    Ok(())
                })
            }),
        }
    }

    /// As in the hot path: a piece that was just read, and so is in the processor's cache.
    fn zero_test(&self) -> Race<'_> {
        let piece = vec![0; READ_PIECE_LEN];
        let same = piece.clone();
        let pieces = self.plain.len() / READ_PIECE_LEN;
        Race {
            name: "zero test",
            threads: 1,
            stage: Box::new(move || {
                speed(self.size(), || {
                    (0..pieces).for_each(|_| {
                        black_box(is_zero(black_box(&piece)));
                    });
                    Ok(())
                })
            }),
            limit_name: "plain read",
            limit: Box::new(move || {
                speed(self.size(), || {
                    (0..pieces).for_each(|_| {
                        black_box(read_all(black_box(&same)));
                    });
                    Ok(())
                })
            }),
        }
    }

    fn hash(&self) -> Race<'_> {
        let mut lanes = Lanes::new(0);
        Race {
            name: "hash side by side",
            threads: 1,
            stage: Box::new(move || {
                speed(self.size(), || {
                    for span in self.plain.chunks(Lanes::preferred().strict_mul(BLOCK_LEN)) {
                        hash_span(&mut lanes, span);
                    }
                    Ok(())
                })
            }),
            limit_name: "block by block",
            limit: Box::new(|| self.hash_one_by_one()),
        }
    }

    fn hash_one_by_one(&self) -> Result<f64> {
        speed(self.size(), || {
            self.plain.chunks(BLOCK_LEN).for_each(|block| {
                black_box(sha256(block));
            });
            Ok(())
        })
    }

    fn compress(&self) -> Result<Race<'_>> {
        let mut encoder = GroupEncoder::new(self.level, GROUP_LEN)?;
        let mut frame = Vec::new();
        Ok(Race {
            name: "compress",
            threads: 1,
            stage: Box::new(move || {
                speed(self.size(), || {
                    for group in self.plain.chunks(GROUP_LEN) {
                        encoder.encode(group, &mut frame, &mut || Ok(()))?;
                        black_box(&mut frame);
                    }
                    Ok(())
                })
            }),
            limit_name: "zstd, one stream",
            limit: Box::new(|| {
                speed(self.size(), || compress_bare(&self.plain, self.level, io::sink()))
            }),
        })
    }

    fn decompress(&self) -> Result<Race<'_>> {
        let mut decoder = GroupDecoder::new()?;
        let mut back = Vec::new();
        let mut piece = vec![0; READ_PIECE_LEN];
        Ok(Race {
            name: "decompress",
            threads: 1,
            stage: Box::new(move || {
                speed(self.size(), || {
                    for (frame, group) in self.frames.iter().zip(self.plain.chunks(GROUP_LEN)) {
                        decode(&mut decoder, frame, group.len(), &mut back)?;
                        black_box(&mut back);
                    }
                    Ok(())
                })
            }),
            limit_name: "zstd, one stream",
            limit: Box::new(move || {
                speed(self.size(), || {
                    let mut decoder =
                        BareDecoder::with_buffer(&self.stream[..]).map_err(zstd_failed)?;
                    while decoder.read(&mut piece).map_err(zstd_failed)? > 0 {
                        black_box(&mut piece);
                    }
                    Ok(())
                })
            }),
        })
    }

    /// Without the sync: that is the disk's speed, and neither side can change it.
    fn write(&self) -> Race<'_> {
        Race {
            name: "write",
            threads: 1,
            stage: Box::new(|| {
                let output = OutputFile::create(&self.path("output.raw"))?;
                speed(self.size(), || {
                    for (block, at) in self.blocks() {
                        output.write_all_at(block, at)?;
                    }
                    Ok(())
                })
            }),
            limit_name: "plain write",
            limit: Box::new(|| {
                let path = self.path("plain.raw");
                let mut file = create(&path)?;
                let speed = speed(self.size(), || {
                    let mut blocks = self.plain.chunks(BLOCK_LEN);
                    blocks
                        .try_for_each(|block| file.write_all(block))
                        .map_err(|e| Error::io("write", &path, e))
                })?;
                remove(&path)?;
                Ok(speed)
            }),
        }
    }

    fn snapshot(&self) -> Race<'_> {
        Race {
            name: "snapshot",
            threads: self.threads.get(),
            stage: Box::new(|| {
                let options = chunking::Options {
                    threads: self.threads,
                    watch: self.watch,
                    states: States::default(),
                    store: None,
                };
                speed(self.size(), || {
                    chunking::run(Source::Volume(&self.volume), &options, &mut Nowhere).map(|_| ())
                })
            }),
            limit_name: "block by block, times threads",
            limit: Box::new(|| {
                let threads = u64::try_from(self.threads.get()).expect("not that many threads");
                Ok(self.hash_one_by_one()? * float(threads))
            }),
        }
    }

    /// A bundle on the disk beside frames that go nowhere.
    fn pack(&self) -> Race<'_> {
        let ami = Ami {
            name: "bench".to_owned(),
            architecture: Some(Architecture::X86_64),
            virtualization_type: Some(Virtualization::Hvm),
            root_device_name: DEVICE.to_owned(),
            ..Ami::default()
        };
        let options = PackOptions {
            groups: Groups { level: Some(self.level), ..Groups::default() },
            threads: self.threads,
            ..PackOptions::new(self.path("sample.ami"), ami)
        };
        let image = VolumeRequest::new(self.input.path());
        let volumes = vec![MappedVolume { device: DEVICE.to_owned(), image }];
        Race {
            name: "pack",
            threads: self.threads.get(),
            stage: Box::new(move || {
                if options.output.exists() {
                    fs::remove_dir_all(&options.output)
                        .map_err(|e| Error::io("remove", &options.output, e))?;
                }
                speed(self.size(), || {
                    let opened = open_mapped(&volumes, &options.ami, options.groups, self.watch)?;
                    pack_volumes(opened, &options, self.watch).map(|_| ())
                })
            }),
            limit_name: "zstd, a stream a thread",
            limit: Box::new(|| {
                let next = AtomicUsize::new(0);
                let blocks = (self.plain.len() / BLOCK_LEN).div_ceil(self.threads.get());
                let shares: Vec<_> = self.plain.chunks(blocks.strict_mul(BLOCK_LEN)).collect();
                speed(self.size(), || {
                    self.on_all_threads(|| {
                        let share = shares.get(next.fetch_add(1, Ordering::Relaxed));
                        share.map_or(Ok(()), |share| compress_bare(share, self.level, io::sink()))
                    })
                })
            }),
        }
    }

    /// Both end with a sync: an image that is not on the disk is not unpacked.
    fn unpack(&self) -> Race<'_> {
        Race {
            name: "unpack",
            threads: self.threads.get(),
            stage: Box::new(|| {
                let output = self.path("unpacked.raw");
                let speed = speed(self.size(), || {
                    let snapshot = Bundle::open(&self.path("sample.ami"))?.snapshot(None)?;
                    let target = Target::open(&output)?;
                    let (threads, watch) = (self.threads, self.watch);
                    let options =
                        WriteOptions { threads, watch, level: None, zeros_as_data: false };
                    write_image(&raw::WRITER, &[&snapshot], target, &options).map(|_| ())
                })?;
                remove(&output)?;
                Ok(speed)
            }),
            limit_name: "zstd and plain write on all threads, sync",
            limit: Box::new(|| {
                let path = self.path("plain.raw");
                let speed = speed(self.size(), || self.unpack_plainly(&path))?;
                remove(&path)?;
                Ok(speed)
            }),
        }
    }

    fn unpack_plainly(&self, path: &Path) -> Result<()> {
        let file = create(path)?;
        let next = AtomicUsize::new(0);
        self.on_all_threads(|| {
            let mut decoder = GroupDecoder::new()?;
            let mut back = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(frame) = self.frames.get(number) else { return Ok(()) };
                let start = number.strict_mul(GROUP_LEN);
                let len = self.plain.len().strict_sub(start).min(GROUP_LEN);
                decode(&mut decoder, frame, len, &mut back)?;
                let at = u64::try_from(start).expect("as many as fit");
                file.write_all_at(&back, at).map_err(|e| Error::io("write", path, e).at(at))?;
            }
        })?;
        file.sync_all().map_err(|e| Error::io("sync", path, e))
    }

    /// Returns each block with its place in the image.
    fn blocks(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.plain.chunks(BLOCK_LEN).zip((0..).step_by(BLOCK_LEN))
    }

    fn on_all_threads(&self, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
        let failed = |e| Error::new(Kind::Io, format!("cannot start a thread: {e}"));
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.get())
                .map(|_| thread::Builder::new().spawn_scoped(scope, &work).map_err(failed))
                .collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread?.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })
    }
}

/// Decompresses a group.
fn decode(decoder: &mut GroupDecoder, frame: &[u8], len: usize, back: &mut Vec<u8>) -> Result<()> {
    decoder.begin(frame, len, back)?;
    Ok(decoder.decode(frame, len, back, len)?)
}

/// A sink that keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn run(&mut self, _kind: ExtentKind, _count: u32) -> Result<()> {
        Ok(())
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        black_box(id);
        Ok(())
    }
}

/// Hashes whole blocks, a piece of each in turn, as the hot path does.
fn hash_span(lanes: &mut Lanes, span: &[u8]) {
    let count = span.len() / BLOCK_LEN;
    lanes.reset(count);
    for at in (0..BLOCK_LEN).step_by(READ_PIECE_LEN) {
        let pieces: Vec<&[u8]> =
            span.chunks(BLOCK_LEN).map(|block| &block[at..][..READ_PIECE_LEN]).collect();
        lanes.update(&pieces);
    }
    let mut ids = vec![Digest([0; 32]); count];
    lanes.finish(&mut ids);
    black_box(ids);
}

/// Takes each byte into the processor and does next to nothing with it. Many sums, because one would
/// wait for itself.
fn read_all(bytes: &[u8]) -> u64 {
    let mut sums = [0_u64; 32];
    for group in bytes.as_chunks::<256>().0 {
        for (sum, word) in sums.iter_mut().zip(group.as_chunks().0) {
            *sum ^= u64::from_ne_bytes(*word);
        }
    }
    sums.iter().fold(0, |seen, sum| seen ^ sum)
}

/// Compresses as the zstd library does by itself: not through our wrapper, since this is the limit
/// to compare with.
fn compress_bare(plain: &[u8], level: i32, out: impl Write) -> Result<()> {
    let mut encoder = BareEncoder::new(out, level).map_err(zstd_failed)?;
    encoder.write_all(plain).and_then(|()| encoder.finish().map(|_| ())).map_err(zstd_failed)
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn zstd_failed(error: io::Error) -> Error {
    Error::new(Kind::Io, format!("zstd failed in memory: {error}"))
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|e| Error::io("make", path, e))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|e| Error::io("remove", path, e))
}
