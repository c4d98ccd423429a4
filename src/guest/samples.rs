//! What the tests of several file systems need: folders to fill images with, what a tree must show, other
//! programs' opinions, and mutants.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustix::fs::lgetxattr;
use rustix::fs::llistxattr;

use crate::guest::Bytes;
use crate::guest::FileId;
use crate::guest::FileKind;
use crate::guest::FileSystem;
use crate::guest::Guest;
use crate::guest::Owner;
use crate::guest::VolumeOwners;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;

pub(super) const MIB: u64 = 1 << 20;

/// Returns the step in which a run goes through a list of kinds: a fifth of them, or with `AMIKIT_SAMPLES=all` every
/// one.
pub(super) fn step() -> usize {
    if std::env::var_os("AMIKIT_SAMPLES").is_some_and(|text| text == "all") { 1 } else { 5 }
}

/// Tells whether programs are there, and prints which one is not.
pub(super) fn have(tools: &[&str]) -> bool {
    tools.iter().all(|tool| {
        // Under an emulator a program that is not there is one that ends with 127.
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join(tool).is_file())
        });
        if !found {
            println!("skipped: {tool} is not installed");
        }
        found
    })
}

/// Runs a program; prints why it failed.
pub(super) fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!("skipped: {program}: {}", String::from_utf8_lossy(&output.stderr).trim());
            false
        }
        Err(error) => {
            println!("skipped: {program}: {error}");
            false
        }
    }
}

/// Returns a path as an argument.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(super) fn volume(bytes: Vec<u8>) -> Volume {
    shared_volume(&Arc::new(bytes))
}

pub(super) fn shared_volume(bytes: &Arc<Vec<u8>>) -> Volume {
    let mut map = RunMap::default();
    map.push(bytes.len().try_into().unwrap(), Place::Stored { source: 0, offset: 0 });
    Volume::new(map, vec![Arc::clone(bytes).into()]).unwrap()
}

/// Bytes that do not repeat soon.
pub(super) fn noise(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 31 + at / 7 + seed) % 251).unwrap()).collect()
}

/// Fills a folder with files of every length that matters, links, holes and names of all kinds.
pub(super) fn fill(folder: &Path) {
    for (seed, len) in
        [0, 1, 59, 60, 156, 157, 400, 1023, 1024, 4097, 70_000, 700_000].into_iter().enumerate()
    {
        fs::write(folder.join(format!("len-{len}")), noise(len, seed)).unwrap();
    }
    let sparse = fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(1_500_000).unwrap();
    for at in (0..1_400_000_usize).step_by(200_000) {
        sparse.write_all_at(&noise(5000, at), at.try_into().unwrap()).unwrap();
    }
    for len in [5, 60, 157, 300, 1000] {
        let target = "t".repeat(len);
        std::os::unix::fs::symlink(&target, folder.join(format!("link-{len}"))).unwrap();
    }
    for (name, count) in [("few", 3), ("some", 60), ("many", 900)] {
        fs::create_dir(folder.join(name)).unwrap();
        for number in 0..count {
            let name = folder.join(format!("{name}/with-a-longer-name-{number:04}"));
            fs::write(name, noise(number * 5, 3)).unwrap();
        }
    }
    fs::hard_link(folder.join("len-60"), folder.join("few/linked")).unwrap();
}

/// What a file is: kind, mode, owner, links, size, seconds of its last change, attributes, content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: &'static str,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) links: u64,
    pub(super) size: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
    pub(super) created: Option<(i64, i64)>,
    pub(super) content: Vec<u8>,
}

impl Seen {
    /// Leaves out its times.
    pub(super) fn timeless(self) -> Self {
        Self { modified: (0, 0), changed: (0, 0), created: None, ..self }
    }
}

/// All files of a folder, by their paths, as the system shows them. Directories have no size and no links: file
/// systems count them in their own ways.
pub(super) fn by_the_system(folder: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut all = BTreeMap::new();
    let mut rest = vec![folder.to_owned()];
    while let Some(next) = rest.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let kind = FileKind::of_mode(meta.mode(), (0, 0)).unwrap();
            let content = match kind {
                FileKind::Regular => fs::read(&path).unwrap(),
                FileKind::Symlink => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
                _ => Vec::new(),
            };
            let is_folder = kind == FileKind::Directory;
            if is_folder {
                rest.push(path.clone());
            }
            let seen = Seen {
                kind: kind.name(),
                mode: meta.mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                links: if is_folder { 0 } else { meta.nlink() },
                size: if is_folder { 0 } else { meta.size() },
                modified: (meta.mtime(), meta.mtime_nsec()),
                changed: (meta.ctime(), meta.ctime_nsec()),
                created: meta.created().ok().map(|it| {
                    // None of the tests makes a file before 1970.
                    let since = it.duration_since(std::time::UNIX_EPOCH).unwrap();
                    (i64::try_from(since.as_secs()).unwrap(), since.subsec_nanos().into())
                }),
                content,
            };
            let name = path.strip_prefix(folder).unwrap().as_os_str().as_bytes().to_vec();
            all.insert(name, seen);
        }
    }
    all
}

pub(super) fn content(system: &dyn FileSystem, id: FileId) -> Vec<u8> {
    let found = system.content(id).unwrap();
    let mut bytes = vec![0; found.size.try_into().unwrap()];
    for piece in found.pieces {
        let start = usize::try_from(piece.start).unwrap();
        let part = &mut bytes[start..start + usize::try_from(piece.len).unwrap()];
        match piece.bytes {
            Bytes::At(offset) => system.read(offset, part).unwrap(),
            Bytes::Here(here) => part.copy_from_slice(&here),
            Bytes::Packed(packed) => {
                let skip = usize::try_from(packed.skip).unwrap();
                part.copy_from_slice(&system.unpack(&packed).unwrap()[skip..][..part.len()]);
            }
        }
    }
    bytes
}

/// All files of a file system, by their paths.
pub(super) fn by_us(system: &dyn FileSystem) -> BTreeMap<Vec<u8>, Seen> {
    let mut all = BTreeMap::new();
    let mut rest = vec![(Vec::new(), system.root())];
    while let Some((path, folder)) = rest.pop() {
        for entry in system.entries(folder).unwrap() {
            let mut name: Vec<u8> = path.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(&entry.name);
            let node = system.node(entry.id).unwrap();
            let is_folder = node.kind == FileKind::Directory;
            if is_folder {
                rest.push((name.clone(), entry.id));
            }
            let seen = Seen {
                kind: node.kind.name(),
                mode: node.mode,
                owner: (node.uid, node.gid),
                links: if is_folder { 0 } else { node.links },
                size: if is_folder { 0 } else { node.size },
                modified: (node.modified.seconds, node.modified.nanoseconds.into()),
                changed: node.changed.map_or((0, 0), |it| (it.seconds, it.nanoseconds.into())),
                created: node.created.map(|it| (it.seconds, it.nanoseconds.into())),
                content: match node.kind {
                    FileKind::Regular | FileKind::Symlink => content(system, entry.id),
                    _ => Vec::new(),
                },
            };
            all.insert(name, seen);
        }
    }
    all
}

/// Compares two listings, and names the first file that differs.
pub(super) fn assert_same(
    ours: &BTreeMap<Vec<u8>, Seen>,
    theirs: &BTreeMap<Vec<u8>, Seen>,
    what: &str,
) {
    let names = |all: &BTreeMap<Vec<u8>, Seen>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs), "{what}");
    for (name, seen) in theirs {
        let short = |seen: &Seen| Seen { content: Vec::new(), ..seen.clone() };
        let shown = name.escape_ascii();
        assert_eq!(short(&ours[name]), short(seen), "{what}: {shown}");
        assert!(ours[name].content == seen.content, "{what}: content of {shown}");
    }
}

/// A file system that the kernel has mounted; unmounted when it goes.
pub(super) struct Mounted(pub(super) PathBuf);

impl Mounted {
    pub(super) fn new(kind: &str, options: &str, image: &Path, at: &Path) -> Option<Self> {
        let _ = fs::create_dir(at);
        let options = format!("loop{options}");
        let done = run("mount", &["-t", kind, "-o", &options, text(image), text(at)]);
        done.then(|| Self(at.into()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Unmounts what is mounted there, and waits until it is. A process that another test is just starting has the files of all
/// tests open for a moment, and then the system calls the mount busy.
pub(super) fn unmount(at: &Path) {
    for _ in 0..600 {
        let _ = Command::new("umount").arg(at).output();
        if !fs::read_to_string("/proc/mounts").unwrap().contains(text(at)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let _ = Command::new("umount").arg("--lazy").arg(at).output();
    assert!(std::thread::panicking(), "{} stays in use", text(at));
}

/// Extended attributes as the system shows them.
pub(super) fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let len = llistxattr(path, &mut names).unwrap();
    let mut all = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // The list is shown under its own name too.
        if !name.starts_with(b"trusted.SGI_ACL") {
            let mut value = vec![0; 64 << 10];
            let len = lgetxattr(path, name, &mut value).unwrap();
            all.insert(name.to_vec(), value[..len].to_vec());
        }
    }
    all
}

/// Compares the attributes of all files whose path holds `named` with what a mount shows of them.
pub(super) fn assert_same_attributes(
    system: &dyn FileSystem,
    root: &Path,
    named: &str,
    what: &str,
) {
    let mut folders = vec![(Vec::new(), system.root())];
    let mut compared = 0;
    while let Some((path, folder)) = folders.pop() {
        for entry in system.entries(folder).unwrap() {
            let name =
                if path.is_empty() { entry.name } else { [&path[..], b"/", &entry.name].concat() };
            let shown = name.escape_ascii();
            if name.windows(named.len()).any(|it| it == named.as_bytes()) {
                let ours = system.attributes(entry.id).unwrap().into_iter();
                let ours: BTreeMap<_, _> = ours.map(|it| (it.name, it.value)).collect();
                let theirs = attributes(&root.join(OsStr::from_bytes(&name)));
                assert!(ours == theirs, "{what}: {shown}");
                compared += ours.len();
            }
            if system.node(entry.id).unwrap().kind == FileKind::Directory {
                folders.push((name, entry.id));
            }
        }
    }
    println!("{what}: {compared} attributes compared");
}

pub(super) fn free_ranges(guest: &Guest<'_>) -> Vec<(u64, u64)> {
    let free = guest.parts[0].system().unwrap().free().unwrap();
    free.as_slice().iter().map(|range| (range.start, range.end)).collect()
}

/// Reads the log of used and unused bytes that a program of `partclone` writes.
pub(super) fn by_partclone(program: &str, image: &Path) -> Vec<(u64, u64)> {
    let log = image.with_extension("log");
    let _ = fs::remove_file(&log);
    let mut partclone = Command::new(program);
    partclone.arg("-D").arg("-s").arg(image).arg("-o").arg(&log).args(["-L", "/dev/null"]);
    partclone.output().unwrap();
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
    let mut free: Vec<(u64, u64)> = Vec::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let row: Vec<_> = line.split_whitespace().collect();
        let [start, len, status] = row[..] else { continue };
        if !start.starts_with("0x") || status == "+" {
            continue;
        }
        let (start, end) = (number(start), number(start) + number(len));
        match free.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => free.push((start, end)),
        }
    }
    free
}

/// Numbers that come again with the same seed.
pub(super) fn random(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |count| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(count).unwrap()).unwrap()
    }
}

/// How checksums are made right again: returns where that of the byte at a place stands, and writes it unless it is
/// given no bytes.
pub(super) type Seal<'a> = &'a dyn Fn(&mut [u8], usize) -> Range<usize>;

/// Damages metadata, a bit or a few bytes at a time: each mutant is refused, or calls nothing free that is not,
/// and none takes long. Its tree is walked too. `AMIKIT_ROUNDS` makes more of them.
pub(super) fn mutants(bytes: Vec<u8>, count: usize, what: &str) {
    sealed_mutants(bytes, count, what, None);
}

/// As [`mutants`], with checksums that are right again if `seal` makes them so: damage that was meant. What such a mutant
/// calls free may be what it says everywhere.
pub(super) fn sealed_mutants(bytes: Vec<u8>, count: usize, what: &str, seal: Option<Seal<'_>>) {
    let bytes = Arc::new(bytes);
    let whole = shared_volume(&bytes);
    let guest = Guest::open(&whole).unwrap();
    let owners = guest.owners().unwrap();
    assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{what}");
    let free = guest.parts[0].system().unwrap().free().unwrap();
    let is_wanted = |owner| matches!(owner, Owner::Metadata(_) | Owner::OfFile(..));
    let places = places(&owners, &bytes, is_wanted);
    drop(guest);
    drop(whole);
    damage(bytes, &places, (count, what), seal, &|guest| {
        let owners = guest.owners().unwrap();
        let Some(system) = guest.parts.first().and_then(|part| part.system()) else { return false };
        let is_believed = owners.parts[0].refusals.is_empty() && seal.is_none();
        let is_owned = |range: &Range<u64>| free.outside(range.clone()).next().is_some();
        is_believed && system.free().unwrap().as_slice().iter().any(is_owned)
    });
}

/// Damages what an owner has: nothing panics, hangs, or is called free.
pub(super) fn mutants_of(bytes: Vec<u8>, owner: Owner, count: usize, what: &str) {
    let bytes = Arc::new(bytes);
    let whole = shared_volume(&bytes);
    let guest = Guest::open(&whole).unwrap();
    let places = places(&guest.owners().unwrap(), &bytes, |it| it == owner);
    drop(guest);
    drop(whole);
    damage(bytes, &places, (count, what), None, &|guest| {
        guest.owners().unwrap().parts[0].refusals.is_empty()
    });
}

/// Returns how many mutants a run makes: `AMIKIT_ROUNDS` of them, or so many.
pub(super) fn rounds(usual: usize) -> usize {
    std::env::var("AMIKIT_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(usual)
}

/// Damages these bytes: nothing panics, hangs, or is wrong by `is_wrong`.
pub(super) fn mutants_at(
    bytes: Vec<u8>,
    places: &[usize],
    (count, what): (usize, &str),
    is_wrong: &dyn Fn(&Guest<'_>) -> bool,
) {
    damage(Arc::new(bytes), places, (count, what), None, is_wrong);
}

/// Returns the bytes that are not zero and whose owner is wanted.
fn places(owners: &VolumeOwners, bytes: &[u8], wanted: impl Fn(Owner) -> bool) -> Vec<usize> {
    let mut places = Vec::new();
    for (range, _, owner) in owners.within(0..u64::MAX) {
        if wanted(owner) {
            let range = usize::try_from(range.start).unwrap()..range.end.try_into().unwrap();
            places.extend(range.filter(|at| bytes[*at] != 0));
        }
    }
    places
}

/// Most memory that a mutant may take beside its image.
const MUTANT_MEMORY: u64 = 64 << 20;

/// Returns the memory of this process now, and forgets how much it was at most; `None` where the system does not say.
fn forget_peak() -> Option<u64> {
    fs::write("/proc/self/clear_refs", "5").ok()?;
    memory("VmRSS:")
}

/// Returns a line of `/proc/self/status`, in bytes.
fn memory(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// Most time that a mutant may take here, on a machine that does other work too.
pub(super) const MUTANT_LIMIT: Duration = Duration::from_secs(20);

fn damage(
    mut bytes: Arc<Vec<u8>>,
    places: &[usize],
    (count, what): (usize, &str),
    seal: Option<Seal<'_>>,
    is_wrong: &dyn Fn(&Guest<'_>) -> bool,
) {
    // Memory is that of the process: it is looked at where mutants alone are asked for, on one thread.
    let is_asked = std::env::var_os("AMIKIT_ROUNDS").is_some();
    let (count, mut most) = (rounds(count), 0);
    let mut worst = Duration::ZERO;
    let mut below = random(count.try_into().unwrap());
    for mutant in 0..count {
        let now = Arc::get_mut(&mut bytes).unwrap();
        let mut before = Vec::new();
        for _ in 0..=below(3) {
            let at = places[below(places.len())];
            before.push((at, now[at]));
            if below(2) == 0 {
                now[at] ^= 1 << below(8);
            } else {
                now[at] = [0, 0xff, 0x7f, 0x80][below(4)];
            }
        }
        if let Some(seal) = seal {
            for at in before.iter().map(|(at, _)| *at).collect::<Vec<_>>() {
                let sum = seal(&mut [], at);
                before.extend(sum.map(|at| (at, now[at])));
                seal(now, at);
            }
        }
        let volume = shared_volume(&bytes);
        let had = is_asked.then(forget_peak).flatten();
        let start = Instant::now();
        {
            let guest = Guest::open(&volume).unwrap();
            assert!(!is_wrong(&guest), "{what}: mutant {mutant}, bytes {before:?}");
            if let Some(system) = guest.parts.first().and_then(|part| part.system()) {
                wander(system);
            }
        }
        let took = start.elapsed();
        if took > worst {
            worst = took;
            println!("{what}: mutant {mutant}, bytes {before:?}: {took:?}");
        }
        assert!(took < MUTANT_LIMIT, "{what}: mutant {mutant}, bytes {before:?}: {took:?}");
        if let Some((had, now)) = had.zip(memory("VmHWM:")) {
            most = now.saturating_sub(had).max(most);
            assert!(
                most < MUTANT_MEMORY,
                "{what}: mutant {mutant}, bytes {before:?}: {most} bytes"
            );
        }
        drop(volume);
        let now = Arc::get_mut(&mut bytes).unwrap();
        for (at, byte) in before.into_iter().rev() {
            now[at] = byte;
        }
    }
    println!("{what}: {count} mutants, {worst:?} and {} KiB at most for one", most >> 10);
}

/// Walks a tree that may be damaged, and looks at everything in it.
fn wander(system: &dyn FileSystem) {
    let mut rest = vec![system.root()];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = rest.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Ok(node) = system.node(id) else { continue };
        let _ = system.attributes(id);
        if node.kind == FileKind::Directory {
            rest.extend(system.entries(id).unwrap_or_default().iter().map(|entry| entry.id));
        } else if let Ok(content) = system.content(id) {
            let mut end = 0;
            for piece in content.pieces {
                assert!(piece.start >= end, "pieces ascend");
                end = piece.start + piece.len;
                assert!(end <= content.size, "pieces lie in the file");
            }
        }
    }
}
