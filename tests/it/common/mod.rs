//! What the tests share: running the program and others, random numbers, volumes with holes.
#![allow(clippy::arithmetic_side_effects)]

mod disk;
pub(crate) mod fleet;
mod images;
mod libvhdi;
mod storage;
mod strace;

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::SystemTime;

use amikit::internals::ami::Ami;
use amikit::internals::ami::Architecture;
use amikit::internals::ami::Virtualization;
use amikit::internals::ops;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;

pub(crate) use disk::Disk;
pub(crate) use disk::SHARING;
pub(crate) use disk::unmount;
pub(crate) use images::Entry;
pub(crate) use images::archive;
pub(crate) use images::bytes_of;
pub(crate) use images::entries;
pub(crate) use images::entry;
pub(crate) use images::expand;
pub(crate) use images::extents_of;
pub(crate) use images::images;
pub(crate) use images::page_states;
pub(crate) use images::random_file;
pub(crate) use images::random_volume;
pub(crate) use images::scratch;
pub(crate) use images::sha256_of;
pub(crate) use images::volume_of;
pub(crate) use images::write_dense;
pub(crate) use images::write_image;
pub(crate) use images::write_unsynced;
pub(crate) use images::write_with_holes;
pub(crate) use images::writer;
pub(crate) use images::written;
pub(crate) use libvhdi::libvhdi_reads;
pub(crate) use storage::Calls;
pub(crate) use storage::Far;
pub(crate) use storage::FarStore;
pub(crate) use storage::fail_at_each_call;
pub(crate) use strace::injected;
pub(crate) use strace::injected_at;

/// Returns a command for the program, with the environment that changes its output taken away.
pub(crate) fn amikit() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amikit"));
    for name in ["COLUMNS", "CLICOLOR_FORCE", "FORCE_COLOR", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Held by whoever has an image open for writing, and alone by whoever starts a process: for a moment
/// a new process has all files of the old one, and the program would say that the image is in use.
static WRITING: RwLock<()> = RwLock::new(());

/// Runs the program in `folder`, with the arguments of a line split at its blanks.
pub(crate) fn run(folder: &Path, line: &str) -> Output {
    let mut command = amikit();
    command.current_dir(folder).args(line.split_whitespace());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _alone = WRITING.write().unwrap_or_else(PoisonError::into_inner);
        command.spawn().unwrap()
    };
    child.wait_with_output().unwrap()
}

/// Runs the program and expects that it does well.
pub(crate) fn run_well(folder: &Path, line: &str) -> String {
    let output = run(folder, line);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program, expects an exit code and one line of error, and returns that line.
pub(crate) fn run_badly(folder: &Path, line: &str, code: i32) -> String {
    let output = run(folder, line);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    text
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn threads(count: usize) -> NonZero<usize> {
    NonZero::new(count).unwrap()
}

/// Returns the path of a fixture.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Makes a folder in memory, where that is: for tests that sync thousands of small files and want to
/// know nothing of disks.
pub(crate) fn quick_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = memory.is_dir().then(|| tempfile::tempdir_in(memory));
    made.and_then(Result::ok).unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// Returns how many rounds a test runs: `AMIKIT_ROUNDS` of the environment, or so many.
pub(crate) fn rounds(usual: usize) -> usize {
    std::env::var("AMIKIT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Returns how many trials of all a run makes: a fifth, or with `AMIKIT_SAMPLES=all` every one.
pub(crate) fn sample<T: From<u8> + std::ops::Div<Output = T>>(all: T) -> T {
    let every = std::env::var_os("AMIKIT_SAMPLES").is_some_and(|text| text == "all");
    if every { all } else { all / T::from(5) }
}

/// Returns the step in which a run goes through a list: each fifth, or with `AMIKIT_SAMPLES=all` every one.
pub(crate) fn step() -> usize {
    6 - sample(5)
}

/// Tells whether a program is installed, and says so where it is not.
pub(crate) fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    });
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Runs a foreign tool that must succeed, and returns what it printed.
#[track_caller]
pub(crate) fn run_tool(command: &mut Command) -> Vec<u8> {
    let done = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} failed: {told}");
    done.stdout
}

/// Tells whether the tests run as root, and says so where they do not.
pub(crate) fn is_root() -> bool {
    let root = fs::read_to_string("/proc/self/status")
        .is_ok_and(|text| text.lines().any(|line| line.starts_with("Uid:\t0\t0\t")));
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// Random numbers (splitmix64): small, and the same everywhere for a seed.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Starts from `SEED` of the environment, or from the clock, and prints what it was.
    pub(crate) fn new(test: &str) -> Self {
        let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
        let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
        let seed = seed.unwrap_or_else(|| u64::try_from(clock()).unwrap());
        println!("{test}: SEED={seed}");
        Self(seed)
    }

    pub(crate) fn with_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns a number below `end`.
    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(u64::try_from(end).unwrap())).unwrap()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.next().to_le_bytes()[..piece.len()]);
        }
        spare_magics(bytes);
    }
}

/// Some formats begin with two bytes alone, and one volume in some thousands would begin with these.
fn spare_magics(bytes: &mut [u8]) {
    if let Some(first @ 0x1f) = bytes.first_mut() {
        *first = 0x1e;
    }
}

/// State of a block, as the design defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Data,
    Zero,
    Hole,
}

/// A raw volume with what each of its blocks must turn out to be.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) bytes: Vec<u8>,
    pub(crate) states: Vec<State>,
    /// Pages that were written.
    pub(crate) written: Vec<bool>,
}

pub(crate) const PAGE: usize = 4096;

/// Tells whether all bytes are zero: the first is, and each equals the one before it.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.split_first().is_none_or(|(first, rest)| *first == 0 && *rest == bytes[..rest.len()])
}

impl Model {
    /// Makes whole blocks: `None` a hole, else its bytes padded with zeros; and `tail` bytes more
    /// of the last kind.
    pub(crate) fn of(blocks: &[Option<Vec<u8>>], tail: usize) -> Self {
        let mut model = Self { bytes: Vec::new(), states: Vec::new(), written: Vec::new() };
        for block in blocks {
            let start = model.bytes.len();
            model.bytes.resize(start + BLOCK_LEN, 0);
            if let Some(bytes) = block {
                model.bytes[start..][..bytes.len()].copy_from_slice(bytes);
            }
            model.written.resize(model.bytes.len() / PAGE, block.is_some());
        }
        model.bytes.truncate(model.bytes.len() - (BLOCK_LEN - tail) % BLOCK_LEN);
        model.settle()
    }

    /// Makes about `blocks` blocks of all kinds, some equal, some mixed inside, with an odd tail.
    pub(crate) fn random(random: &mut Random, blocks: usize) -> Self {
        let mut bytes = Vec::new();
        let mut written = Vec::new();
        let pool: Vec<Vec<u8>> = (0..3).map(|_| random.bytes(BLOCK_LEN)).collect();
        for _ in 0..blocks {
            let kind = random.below(7);
            for page in 0..BLOCK_LEN / PAGE {
                let (content, is_written) = match kind {
                    0 => (None, false),
                    1 => (None, true),
                    2 => (Some(pool[2][page * PAGE..][..PAGE].to_vec()), true),
                    3 => (Some(pool[random.index(2)][..PAGE].to_vec()), true),
                    4 => (Some(random.bytes(PAGE)), true),
                    // Zeros and holes in one block, and now and then data.
                    5 => (None, random.below(2) == 0),
                    _ => match random.below(3) {
                        0 => (None, false),
                        1 => (None, true),
                        _ => (Some(vec![7; PAGE]), true),
                    },
                };
                bytes.extend(content.unwrap_or_else(|| vec![0; PAGE]));
                written.push(is_written);
            }
        }
        let cut = [0, 1, 511, 512, PAGE, 5000, BLOCK_LEN - 1][random.index(7)];
        bytes.truncate(bytes.len() - cut);
        Self { bytes, states: Vec::new(), written }.settle()
    }

    /// Makes a volume of these bytes; `written` says which of its pages somebody wrote.
    pub(crate) fn with_pages(bytes: Vec<u8>, written: Vec<bool>) -> Self {
        Self { bytes, states: Vec::new(), written }.settle()
    }

    /// Brings pages and states in line with the bytes: what is not zero was written.
    pub(crate) fn settle(mut self) -> Self {
        // What is text from end to end is refused as one, and a byte or two are text now and then.
        if self.bytes.len() < PAGE && self.bytes.iter().all(|byte| (9..0x7f).contains(byte)) {
            self.bytes.fill(0xff);
        }
        self.written.resize(self.bytes.len().div_ceil(PAGE), false);
        for (page, written) in self.bytes.chunks(PAGE).zip(&mut self.written) {
            *written |= !is_zero(page);
        }
        let pages = self.written.chunks(BLOCK_LEN / PAGE);
        self.states = self
            .bytes
            .chunks(BLOCK_LEN)
            .zip(pages)
            .map(|(block, pages)| {
                if !is_zero(block) {
                    State::Data
                } else if pages.contains(&true) {
                    State::Zero
                } else {
                    State::Hole
                }
            })
            .collect();
        self
    }

    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap()
    }

    /// Writes the volume as a raw file with its holes.
    pub(crate) fn write(&self, path: &Path) {
        let _writing = WRITING.read().unwrap_or_else(PoisonError::into_inner);
        let file = File::create(path).unwrap();
        file.set_len(self.size()).unwrap();
        let mut at = 0;
        for (page, written) in self.bytes.chunks(PAGE).zip(&self.written) {
            if *written {
                file.write_all_at(page, at).unwrap();
            }
            at += 4096;
        }
        file.sync_all().unwrap();
    }

    /// Returns the blocks, first and number, that hold data and whose content is `plain`.
    pub(crate) fn places_of(&self, plain: &[u8]) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for (number, block) in self.bytes.chunks(BLOCK_LEN).enumerate() {
            let number = u32::try_from(number).unwrap();
            let (head, rest) = plain.split_at(block.len());
            if block != head || !is_zero(rest) {
                continue;
            }
            match ranges.last_mut() {
                Some((first, count)) if *first + *count == number => *count += 1,
                _ => ranges.push((number, 1)),
            }
        }
        ranges
    }
}

/// Returns the data ranges of a file as the file system tells them.
pub(crate) fn data_ranges(path: &Path) -> Vec<(u64, u64)> {
    use rustix::fs::SeekFrom;
    let file = File::open(path).unwrap();
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        ranges.push((start, at));
    }
    ranges
}

/// Holds a raw file to a model: the bytes, and for each block whether it is allocated.
pub(crate) fn check_raw(path: &Path, model: &Model) {
    let found = fs::read(path).unwrap();
    assert_eq!(found.len(), model.bytes.len(), "{}", path.display());
    if found != model.bytes {
        let differs = found.iter().zip(&model.bytes).position(|(a, b)| a != b);
        panic!("{}: byte {differs:?} differs", path.display());
    }
    let ranges = data_ranges(path);
    for (number, state) in model.states.iter().enumerate() {
        let start = u64::try_from(number).unwrap() * BLOCK_SIZE;
        let end = (start + BLOCK_SIZE).min(model.size());
        let whole = ranges.iter().any(|(from, to)| *from <= start && end <= *to);
        let none = ranges.iter().all(|(from, to)| *to <= start || end <= *from);
        let right = if *state == State::Hole { none } else { whole };
        assert!(right, "{}: block {number} is {state:?} in {ranges:?}", path.display());
    }
}

/// Tells whether the file system of `folder` keeps holes, and says so where it does not.
pub(crate) fn keeps_holes(folder: &Path) -> bool {
    let path = folder.join("keeps-holes");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    let kept = data_ranges(&path).is_empty();
    fs::remove_file(path).unwrap();
    if !kept {
        println!("skipped: the file system of {} keeps no holes", folder.display());
    }
    kept
}

/// Returns the names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Returns all files below a folder with their bytes; of a file, that file.
pub(crate) fn tree(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![path.to_owned()];
    while let Some(next) = left.pop() {
        if next.is_dir() {
            left.extend(fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = next.strip_prefix(path).unwrap().to_owned();
            files.insert(name, fs::read(&next).unwrap());
        }
    }
    files
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for (name, bytes) in tree(from) {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Returns a request to pack one volume as the root.
pub(crate) fn pack_request(image: &Path, output: &Path) -> ops::PackRequest {
    let ami = Ami {
        name: "test".to_owned(),
        architecture: Some(Architecture::X86_64),
        virtualization_type: Some(Virtualization::Hvm),
        root_device_name: "/dev/xvda".to_owned(),
        ..Ami::default()
    };
    let groups = ops::Groups { level: Some(1), ..ops::Groups::default() };
    let options =
        ops::PackOptions { groups, threads: threads(2), ..ops::PackOptions::new(output, ami) };
    let image = ops::VolumeRequest::new(image);
    let volumes = vec![ops::MappedVolume { device: "/dev/xvda".to_owned(), image }];
    ops::PackRequest::new(volumes, options)
}

/// Verifies a bundle in this process.
pub(crate) fn verify(
    bundle: &Path,
    quick: bool,
) -> amikit::internals::error::Result<ops::VerifyReport> {
    let request = ops::VerifyRequest {
        trust: None,
        base: None,
        bundle: bundle.to_owned(),
        quick,
        against: Vec::new(),
        threads: threads(1),
    };
    ops::verify(&request, &amikit::internals::work::Unwatched)
}
