//! The stages of a delta, on all threads, beside limits of the same run.
//!
//! `cargo bench --bench delta` works on two images made for it (the second has the pages of the first,
//! moved, and one in 64 changed), `cargo bench --bench delta -- OLD NEW` on two raw images.
//! `AMIKIT_BENCH_SIZE` and `AMIKIT_BENCH_ROUNDS` replace 256MiB and 5.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::disallowed_methods)]

use std::env;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use amikit::internals::ami::Ami;
use amikit::internals::ami::Architecture;
use amikit::internals::ami::Virtualization;
use amikit::internals::bundle::BaseBytes;
use amikit::internals::bundle::BaseSnapshot;
use amikit::internals::bundle::Bundle;
use amikit::internals::bundle::Snapshot;
use amikit::internals::chunking::States;
use amikit::internals::compress::Encoder;
use amikit::internals::delta::PageIndex;
use amikit::internals::delta::Patching;
use amikit::internals::io::Input;
use amikit::internals::manifest::Block;
use amikit::internals::manifest::Manifest;
use amikit::internals::ops;
use amikit::internals::ops::ImageRequest;
use amikit::internals::pack::Base;
use amikit::internals::pack::DEFAULT_LEVEL;
use amikit::internals::pack::Patch;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;
use amikit::internals::units::BlockIndex;
use amikit::internals::units::PAGE_LEN;
use amikit::internals::units::PAGE_SIZE;
use amikit::internals::units::parse_size;
use amikit::internals::volume::ReadVolume;
use amikit::internals::work::Unwatched;
use amikit::internals::work::default_threads;
use amikit::internals::work::in_order;

fn setting<T>(name: &str, default: T, parse: impl Fn(&str) -> Option<T>) -> T {
    match env::var(name) {
        Ok(text) => parse(&text).unwrap_or_else(|| panic!("{name} is {text:?}")),
        Err(_) => default,
    }
}

/// Writes an image of `len` bytes, and one with its pages moved and some of them changed.
fn make(folder: &Path, len: usize) -> [PathBuf; 2] {
    let mut state = 1_u64;
    let mut old = vec![0; len.next_multiple_of(BLOCK_LEN)];
    for word in old.as_chunks_mut::<8>().0 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Half of each word repeats, so that there is something to compress.
        *word = (state >> 32).to_le_bytes();
    }
    let mut new = old.clone();
    new.rotate_right(37 * PAGE_LEN);
    for page in new.chunks_mut(PAGE_LEN).step_by(64) {
        page.rotate_left(100);
    }
    let paths = [folder.join("old.raw"), folder.join("new.raw")];
    for (path, bytes) in paths.iter().zip([&old, &new]) {
        fs::write(path, bytes).expect("the folder can be written");
    }
    paths
}

/// Returns the median of the seconds that `run` takes, which says how many bytes it worked on.
fn measure(rounds: usize, name: &str, mut run: impl FnMut() -> u64) -> f64 {
    let mut seconds = Vec::new();
    let mut bytes = 0;
    for _ in 0..rounds {
        let start = Instant::now();
        bytes = run();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let speed = bytes as f64 / median / 1e9;
    println!("{name:<34} {speed:>8.2} GB/s  {median:>8.3} s");
    speed
}

fn snapshot(image: &Path, output: &Path) -> Manifest {
    let request = ops::SnapshotRequest {
        image: ImageRequest::of(image).into(),
        output: output.to_owned(),
        threads: default_threads(),
        states: States::default(),
    };
    ops::snapshot(&request, &Unwatched).expect("the image can be read");
    Manifest::open(&Input::open(output).expect("just written")).expect("just written")
}

fn data_blocks(manifest: &Manifest) -> Vec<u32> {
    let mut blocks = Vec::new();
    manifest
        .for_each_written(|index, block| {
            if let Block::Data(_) = block {
                blocks.push(index.0);
            }
            Ok(())
        })
        .expect("just written");
    blocks
}

/// Reads the allocated bytes of an image into memory.
fn load(image: &Path, blocks: &[u32]) -> Vec<u8> {
    let file = File::open(image).expect("it was read before");
    let mut bytes = vec![0; blocks.len() * BLOCK_LEN];
    for (block, buf) in blocks.iter().zip(bytes.chunks_mut(BLOCK_LEN)) {
        let mut done = 0;
        while done < buf.len() {
            let at = u64::from(*block) * BLOCK_SIZE + u64::try_from(done).expect("small");
            match file.read_at(&mut buf[done..], at).expect("it was read before") {
                0 => break,
                len => done += len,
            }
        }
    }
    bytes
}

#[allow(unsafe_code)]
fn map(path: &Path) -> memmap2::Mmap {
    let file = File::open(path).expect("it was read before");
    // SAFETY: images that are measured are left alone by whoever measures; one of them is our own.
    unsafe { memmap2::Mmap::map(&file).expect("a file can be mapped") }
}

/// Compares the allocated blocks of two images on all threads.
fn compare_blocks(a: &[u8], b: &[u8], blocks: &[u32]) -> bool {
    let share = blocks.len().div_ceil(default_threads().get()).max(1);
    let equal = |block: &u32| {
        let start = *block as usize * BLOCK_LEN;
        let end = (start + BLOCK_LEN).min(a.len());
        a[start..end] == b[start..end]
    };
    thread::scope(|scope| {
        let parts: Vec<_> =
            blocks.chunks(share).map(|part| scope.spawn(|| part.iter().all(equal))).collect();
        parts.into_iter().all(|part| part.join().expect("comparing does not fail"))
    })
}

/// Compares two buffers on all threads.
fn compare(a: &[u8], b: &[u8]) -> bool {
    let share = a.len().div_ceil(default_threads().get()).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = a
            .chunks(share)
            .zip(b.chunks(share))
            .map(|(a, b)| scope.spawn(move || a == b))
            .collect();
        parts.into_iter().all(|part| part.join().expect("comparing does not fail"))
    })
}

/// Measures the comparison of an image with a copy of it.
fn diffs(folder: &Path, old: &Path, blocks: &[u32], rounds: usize) {
    let bytes = u64::try_from(blocks.len()).expect("small") * BLOCK_SIZE;
    let memory = load(old, blocks);
    let copy = memory.clone();
    measure(rounds, "memcmp, in memory", || {
        assert!(compare(&memory, &copy));
        bytes
    });
    drop((memory, copy));
    let twin = folder.join("twin.raw");
    let holes = format!("--sparse=always\n{}\n{}", old.display(), twin.display());
    let done = std::process::Command::new("cp").args(holes.lines()).status();
    assert!(done.is_ok_and(|status| status.success()), "cp of the image");
    // The maps are made and undone within, as by anyone whose images are files.
    let limit = measure(rounds, "memcmp, in the page cache", || {
        let [a, b] = [old, &twin].map(map);
        assert!(compare_blocks(&a, &b, blocks));
        bytes
    });
    let request = ops::DiffRequest {
        old: ImageRequest::of(old).into(),
        new: ImageRequest::of(&twin).into(),
        digests: false,
        threads: default_threads(),
    };
    let speed = measure(rounds, "diff of equal images", || {
        ops::diff(&request, &Unwatched, &mut |_| Ok(())).expect("both can be read");
        bytes
    });
    println!("{:<34} {:>8.2}", "  of memcmp in the page cache", speed / limit);
}

fn pack(image: &Path, output: &Path, base: Option<&Path>) {
    let ami = Ami {
        name: "bench".to_owned(),
        architecture: Some(Architecture::X86_64),
        virtualization_type: Some(Virtualization::Hvm),
        root_device_name: "/dev/xvda".to_owned(),
        ..Ami::default()
    };
    let base = base.map(|path| ops::BaseRequest {
        image: ops::VolumeRequest::new(path),
        manifest: None,
        index: None,
        thin: true,
    });
    let options = ops::PackOptions { base, ..ops::PackOptions::new(output, ami) };
    let image = ops::VolumeRequest::new(image);
    let volumes = vec![ops::MappedVolume { device: "/dev/xvda".to_owned(), image }];
    let request = ops::PackRequest::new(volumes, options);
    ops::pack(&request, &Unwatched).expect("the image can be packed");
}

/// Opens a thin bundle over its base, with nothing decompressed yet.
fn thin(base: &Path, thin: &Path) -> Snapshot {
    let base = Bundle::open(base).expect("just packed");
    let manifest = base.manifest(&base.snapshots()[0]).expect("just packed");
    let bytes = BaseBytes::Packs(base.chunks().expect("just packed"));
    let over = vec![Arc::new(BaseSnapshot::new(manifest, bytes))];
    let bundle = Bundle::open(thin).and_then(|bundle| bundle.over(over)).expect("just packed");
    bundle.snapshot(None).expect("just packed")
}

/// Measures how long one block of a thin volume takes, each time with nothing decompressed before.
fn one_block(folder: &Path, old: &Path, new: &Path, changed: &[u32]) {
    let paths = ["old.ami", "thin.ami"].map(|name| folder.join(name));
    pack(old, &paths[0], None);
    pack(new, &paths[1], Some(&paths[0]));
    let mut seconds = Vec::new();
    let mut block = vec![0; BLOCK_LEN];
    for index in changed.iter().step_by(changed.len().div_ceil(500).max(1)) {
        let snapshot = thin(&paths[0], &paths[1]);
        let range = BlockIndex(*index).range(snapshot.size());
        let len = usize::try_from(range.end - range.start).expect("a block");
        let start = Instant::now();
        snapshot.read_at(range.start, &mut block[..len]).expect("just packed");
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let (median, most) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
    println!(
        "{:<34} {:>8.2} ms, at most {:.2} ms, {} blocks",
        "one block of a thin volume",
        median * 1e3,
        most * 1e3,
        seconds.len()
    );
}

fn main() {
    let images: Vec<PathBuf> =
        env::args().skip(1).filter(|it| !it.starts_with("--")).map(PathBuf::from).collect();
    let size = setting("AMIKIT_BENCH_SIZE", 256 << 20, |text| parse_size(text).ok());
    let rounds = setting("AMIKIT_BENCH_ROUNDS", 5, |text| text.parse().ok());
    let folder = tempfile::tempdir().expect("a folder for scratch files");
    let [old, new] = match &images[..] {
        [old, new] => [old.clone(), new.clone()],
        _ => make(folder.path(), usize::try_from(size).expect("it fits memory")),
    };
    let manifests = [(&old, "old.snap"), (&new, "new.snap")]
        .map(|(it, name)| snapshot(it, &folder.path().join(name)));
    let blocks = data_blocks(&manifests[0]);
    let bytes = u64::try_from(blocks.len()).expect("small") * BLOCK_SIZE;

    diffs(folder.path(), &old, &blocks, rounds);

    let [old_manifest, new_manifest] = manifests;
    let image = amikit::internals::format::open(&ImageRequest::of(&old), &Unwatched)
        .expect("it was read before");
    let pages = old_manifest.volume_size().div_ceil(PAGE_SIZE);
    let base = Arc::new(BaseSnapshot::new(old_manifest, BaseBytes::Image(Box::new(image.volume))));
    let mut index = None;
    measure(rounds, "page index", || {
        let built = PageIndex::build(base.manifest(), &*base, default_threads(), &Unwatched);
        index = Some(built.expect("it was read before"));
        bytes
    });
    let index = index.expect("there is a round");
    println!("{:<34} {:>8.1} bytes a page", "  of", entry_bytes(&index, bytes));
    let over: Arc<dyn Base> = Arc::<BaseSnapshot>::clone(&base);
    let patching = Patching::new(over, pages, index, DEFAULT_LEVEL);

    let target = amikit::internals::format::open(&ImageRequest::of(&new), &Unwatched)
        .expect("it was read before")
        .volume;
    let changed = data_blocks(&new_manifest);
    let new_bytes = u64::try_from(changed.len()).expect("small") * BLOCK_SIZE;
    let mut patches = Vec::new();
    measure(rounds, "patch", || {
        patches.clear();
        in_order(
            default_threads(),
            &Unwatched,
            changed.iter().map(|index| Ok(BlockIndex(*index))),
            || Ok((Encoder::new(DEFAULT_LEVEL)?, vec![0; BLOCK_LEN])),
            |(whole, plain), index| {
                let range = index.range(target.size());
                let len = usize::try_from(range.end - range.start).expect("a block");
                plain[len..].fill(0);
                target.read_at(range.start, &mut plain[..len])?;
                let mut out = Vec::new();
                let helps = patching.append(index, plain, whole, &mut out)?;
                if !helps {
                    whole.append(plain, &mut out);
                }
                Ok((helps, out))
            },
            |patch| {
                patches.push(patch);
                Ok(())
            },
        )
        .expect("both were read before");
        new_bytes
    });
    let stored: usize = patches.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("{:<34} {stored:>8} bytes of {new_bytes}", "  stored");
    patches.retain(|(helps, _)| *helps);
    let plain_bytes = u64::try_from(patches.len()).expect("small") * BLOCK_SIZE;
    measure(rounds, "apply the patches", || {
        in_order(
            default_threads(),
            &Unwatched,
            patches.iter().map(|(_, stored)| Ok(stored)),
            || Ok((Vec::new(), vec![0; BLOCK_LEN])),
            |(scratch, plain), stored| {
                let patch = Patch::parse(stored)?;
                patch.apply(&mut |page, pages| base.read_pages(page, pages), scratch, plain)
            },
            Ok,
        )
        .expect("they were made of this base");
        plain_bytes
    });
    one_block(folder.path(), &old, &new, &changed);
}

fn entry_bytes(index: &PageIndex, bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let (entries, pages) = (index.len() as f64, (bytes / PAGE_SIZE).max(1) as f64);
    entries * 12.0 / pages
}
