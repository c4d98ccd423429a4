//! What `amikit unpack` is measured beside: the same frames and the same writes, and nothing else.
//!
//! `cargo bench --bench unpack_limit -- BUNDLE OUTPUT [--sync]` decompresses the groups of the root
//! volume of BUNDLE, a folder, with one kept zstd context a thread, and writes each with a plain
//! positioned write where it belongs; written zeros are written, holes are left. Nothing is checked:
//! no digest, no checksum. With `--sync`, OUTPUT is on the disk at the end. It prints seconds.
//!
//! `benches/compare.sh` runs it.
#![allow(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::env;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use amikit::internals::bundle::Bundle;
use amikit::internals::bundle::Snapshot;
use amikit::internals::error::Result;
use amikit::internals::io::PageBuffer;
use amikit::internals::io::ReadAt;
use amikit::internals::io::WRITE_PIECE_LEN;
use amikit::internals::manifest::Block;
use amikit::internals::pack::Group;
use amikit::internals::pack::Pack;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BlockIndex;
use amikit::internals::units::block_count;
use amikit::internals::volume::ReadVolume;
use amikit::internals::work::default_threads;

static ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];

/// A group and the blocks that hold its chunks, or zeros: each with its place in the group.
struct Job<'a> {
    group: Option<(&'a Pack, Group)>,
    blocks: Vec<(BlockIndex, usize)>,
}

/// Lists what is written, group by group.
fn jobs(snapshot: &Snapshot) -> Result<Vec<Job<'_>>> {
    let mut jobs: Vec<Job<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for index in (0..block_count(snapshot.size())).map(BlockIndex) {
        match snapshot.manifest().block(index)? {
            Block::Data(id) => {
                let (pack, entry) =
                    snapshot.chunks().find(&id)?.expect("the bundle has all chunks");
                let place = *places.entry(pack.group_id(entry.group)).or_insert_with(|| {
                    let group = Some((&**pack, *pack.group_of(&entry)));
                    jobs.push(Job { group, blocks: Vec::new() });
                    jobs.len().strict_sub(1)
                });
                jobs[place].blocks.push((index, usize::from(entry.position).strict_mul(BLOCK_LEN)));
            }
            Block::Zero => jobs.push(Job { group: None, blocks: vec![(index, 0)] }),
            Block::Hole => {}
        }
    }
    Ok(jobs)
}

/// Takes jobs until there are none.
fn work(jobs: &[Job<'_>], next: &AtomicUsize, size: u64, output: &File) -> Result<()> {
    let mut zstd = zstd::bulk::Decompressor::new().expect("memory for zstd");
    let (mut frame, mut plain) = (Vec::new(), PageBuffer::default());
    while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
        if let Some((pack, group)) = &job.group {
            frame.resize(usize::try_from(group.len).expect("a few bytes"), 0);
            // In a folder, a pack starts where its file does.
            pack.input().read_exact_at(&mut frame, group.offset)?;
            plain.resize(usize::from(group.chunks).strict_mul(BLOCK_LEN));
            zstd.decompress_to_buffer(&frame, &mut *plain).expect("a sound frame");
        }
        for (index, start) in &job.blocks {
            let range = index.range(size);
            let len = usize::try_from(range.end.strict_sub(range.start)).expect("at most a block");
            let bytes = if job.group.is_some() { &plain[*start..][..len] } else { &ZEROS[..len] };
            let mut at = range.start;
            for piece in bytes.chunks(WRITE_PIECE_LEN) {
                output.write_all_at(piece, at).expect("an output that can be written");
                at = at.strict_add(u64::try_from(piece.len()).expect("a piece"));
            }
        }
    }
    Ok(())
}

fn run(bundle: &Path, output: &Path, sync: bool) -> Result<f64> {
    let start = Instant::now();
    let snapshot = Bundle::open(bundle)?.snapshot(None)?;
    let jobs = jobs(&snapshot)?;
    let file = File::create(output).expect("an output that can be made");
    file.set_len(snapshot.size()).expect("an output that takes the size");
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..default_threads().get())
            .map(|_| scope.spawn(|| work(&jobs, &next, snapshot.size(), &file)))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    if sync {
        file.sync_all().expect("an output that can be synced");
    }
    Ok(start.elapsed().as_secs_f64())
}

fn main() {
    // Cargo itself adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let (flags, paths): (Vec<&str>, Vec<&str>) =
        arguments.iter().map(String::as_str).partition(|it| it.starts_with("--"));
    let [bundle, output] = paths[..] else {
        // `cargo bench` runs every benchmark, and there is no bundle to run this one on.
        println!("unpack_limit: -- BUNDLE OUTPUT [--sync]");
        return;
    };
    match run(Path::new(bundle), Path::new(output), flags.contains(&"--sync")) {
        Ok(seconds) => println!("{seconds:.3} seconds"),
        Err(error) => panic!("{error}"),
    }
}
