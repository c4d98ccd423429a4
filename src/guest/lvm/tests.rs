//! Volume groups that LVM2 makes, and what must be found on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::guest::Guest;
use crate::guest::Owner;
use crate::guest::PartName;
use crate::guest::Tree;
use crate::guest::samples::MIB;
use crate::guest::samples::MUTANT_LIMIT;
use crate::guest::samples::Seen;
use crate::guest::samples::by_the_system;
use crate::guest::samples::by_us;
use crate::guest::samples::fill;
use crate::guest::samples::have;
use crate::guest::samples::random;
use crate::guest::samples::rounds;
use crate::guest::samples::run;
use crate::guest::samples::shared_volume;
use crate::guest::samples::text;
use crate::guest::samples::volume;

/// A device over an image, taken away when it goes.
struct Device(String);

impl Device {
    fn new(image: &Path) -> Option<Self> {
        let made = Command::new("losetup").args(["-f", "--show", text(image)]).output().ok()?;
        let name = String::from_utf8(made.stdout).ok()?.trim().to_owned();
        (!name.is_empty()).then_some(Self(name))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        run("losetup", &["-d", &self.0]);
    }
}

/// Runs a command of LVM2 without the kernel's part, which tests need not have.
fn lvm(device: &Device, command: &str) -> bool {
    let only = format!("devices {{ filter=[\"a|^{}$|\",\"r|.*|\"] }}", device.0);
    let mut arguments: Vec<&str> = command.split(' ').collect();
    let program = arguments.remove(0);
    arguments.extend(["-q", "--driverloaded", "n", "--config", &only]);
    run(program, &arguments)
}

/// Makes a group of one device: `root` in two pieces around `other`, both linear.
fn make(image: &Path) -> bool {
    fs::File::create(image).unwrap().set_len(160 * MIB).unwrap();
    let Some(device) = Device::new(image) else { return false };
    let name = device.0.clone();
    lvm(&device, &format!("pvcreate {name}"))
        && lvm(&device, &format!("vgcreate amikit-test {name}"))
        && lvm(&device, "lvcreate -an -Zn -Wn -n root -L 40M amikit-test")
        && lvm(&device, "lvcreate -an -Zn -Wn -n other -L 12M amikit-test")
        && lvm(&device, "lvextend -L +24M amikit-test/root")
}

/// Changes the last place of some text in the metadata, and makes its checksums right again.
fn change(image: &Path, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let mut bytes = fs::read(image).unwrap();
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let (offset, len) =
        label(&Slice::new(&volume(bytes.clone()), 0..MIB)).unwrap().unwrap().areas[0];
    let place = area(&bytes[at(offset)..][..512], offset, len).unwrap().unwrap();
    let start = at(offset + place.offset);
    let text = &mut bytes[start..start + at(place.len)];
    let found = text.windows(from.len()).rposition(|it| it == from.as_bytes()).unwrap();
    text[found..found + to.len()].copy_from_slice(to.as_bytes());
    let value = sum(text);
    let header = &mut bytes[at(offset)..][..512];
    crate::field::put_u32_le(header, 56, value);
    let value = sum(&header[4..]);
    crate::field::put_u32_le(header, 0, value);
    fs::write(image, bytes).unwrap();
}

/// Returns the pieces of each logical volume as `lvs` says.
fn by_lvs(image: &Path) -> BTreeMap<String, Vec<Range<u64>>> {
    let device = Device::new(image).unwrap();
    let only = format!("devices {{ filter=[\"a|^{}$|\",\"r|.*|\"] }}", device.0);
    let ask = |program: &str, columns: &str| -> String {
        let output = Command::new(program)
            .args(["--noheadings", "--nosuffix", "--units", "b", "--separator", "|", "-o", columns])
            .args(["-q", "--driverloaded", "n", "--config", &only])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let first: u64 = ask("pvs", "pe_start").trim().parse().unwrap();
    let mut all: BTreeMap<String, Vec<Range<u64>>> = BTreeMap::new();
    for line in ask("lvs", "lv_full_name,vg_extent_size,seg_start,seg_pe_ranges").lines() {
        let row: Vec<&str> = line.trim().split('|').collect();
        let extent: u64 = row[1].parse().unwrap();
        let pieces = all.entry(row[0].to_owned()).or_default();
        let done: u64 = pieces.iter().map(|it| it.end - it.start).sum();
        assert_eq!(row[2].parse::<u64>().unwrap(), done, "{line}");
        for range in row[3].split(' ') {
            let (from, to) = range.rsplit_once(':').unwrap().1.split_once('-').unwrap();
            let at = |extents: u64| first + extents * extent;
            pieces.push(at(from.parse().unwrap())..at(to.parse::<u64>().unwrap() + 1));
        }
    }
    all
}

/// Extents of a group that grew and shrank, on a device where it has other names and lengths than usual.
#[test]
fn pieces_are_those_that_lvs_lists() {
    if !have(&["losetup", "lvcreate", "lvs", "pvs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let image = scratch.path().join("image");
    for (extent, align) in [("4M", "1M"), ("1M", "64k"), ("64k", "2M")] {
        fs::File::create(&image).unwrap().set_len(160 * MIB).unwrap();
        {
            let Some(device) = Device::new(&image) else { return };
            let name = device.0.clone();
            let mut steps = vec![
                format!("pvcreate --dataalignment {align} {name}"),
                format!("vgcreate -s {extent} system {name}"),
            ];
            let sizes = [("root", 20), ("swap", 8), ("var.log", 12), ("home-ann", 4)];
            for (name, size) in sizes {
                steps.push(format!("lvcreate -an -Zn -Wn -n {name} -L {size}M system"));
            }
            for step in ["extend -L +8M system/root", "remove -y system/swap"] {
                steps.push(format!("lv{step}"));
            }
            for step in ["extend -L +12M system/var.log", "reduce -y -f -L 16M system/root"] {
                steps.push(format!("lv{step}"));
            }
            steps.push("lvextend -L +40M system/home-ann".to_owned());
            steps.push("lvrename system home-ann home_of.all".to_owned());
            if !steps.iter().all(|step| lvm(&device, step)) {
                return;
            }
        }
        let theirs = by_lvs(&image);
        let ours: BTreeMap<_, _> =
            found(&image).into_iter().map(|it| (it.name, joined(it.pieces.unwrap()))).collect();
        let theirs: BTreeMap<_, _> =
            theirs.into_iter().map(|(name, it)| (name, joined(it))).collect();
        assert_eq!(ours, theirs, "{extent}, {align}");
        assert!(ours.values().any(|it| it.len() > 1), "{extent}: {ours:?}");
    }
}

/// Joins pieces that go on.
fn joined(pieces: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = Vec::new();
    for piece in pieces {
        match all.last_mut() {
            Some(last) if last.end == piece.start => last.end = piece.end,
            _ => all.push(piece),
        }
    }
    all
}

/// Writes a file system over the pieces of a logical volume.
fn put(image: &Path, pieces: &[Range<u64>], content: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(image).unwrap();
    let mut at = 0;
    for piece in pieces {
        let len = usize::try_from(piece.end - piece.start).unwrap();
        file.write_all_at(&content[at..at + len], piece.start).unwrap();
        at += len;
    }
    assert_eq!(at, content.len());
}

fn found(image: &Path) -> Vec<Logical> {
    let whole = volume(fs::read(image).unwrap());
    volumes(&Slice::new(&whole, 0..u64::MAX)).unwrap()
}

#[test]
fn linear_volumes_are_looked_into_wherever_their_pieces_lie() {
    if !have(&["losetup", "lvcreate", "mke2fs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let image = scratch.path().join("image");
    if !make(&image) {
        return;
    }
    let logical = found(&image);
    let names: Vec<_> = logical.iter().map(|it| it.name.clone()).collect();
    assert_eq!(names, ["amikit-test/root", "amikit-test/other"]);
    let pieces: Vec<_> = logical.iter().map(|it| it.pieces.clone().unwrap()).collect();
    assert_eq!(pieces[0], [MIB..41 * MIB, 53 * MIB..77 * MIB]);
    assert_eq!(pieces[1], [41 * MIB..53 * MIB]);
    let (folder, inner) = (scratch.path().join("files"), scratch.path().join("inner"));
    fs::create_dir(&folder).unwrap();
    fill(&folder);
    fs::File::create(&inner).unwrap().set_len(64 * MIB).unwrap();
    assert!(run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", text(&folder), text(&inner)]));
    put(&image, &pieces[0], &fs::read(&inner).unwrap());
    let whole = volume(fs::read(&image).unwrap());
    let guest = Guest::open(&whole).unwrap();
    assert_eq!(guest.parts.len(), 3);
    let system = guest.parts[1].system().unwrap();
    // mke2fs leaves out parts of a second.
    let content = |all: BTreeMap<Vec<u8>, Seen>| -> BTreeMap<_, _> {
        all.into_iter().map(|(name, seen)| (name, seen.content)).collect()
    };
    let mut ours = content(by_us(system));
    ours.remove(&b"lost+found"[..]);
    assert!(ours == content(by_the_system(&folder)));
    let both = guest.parts[1].spans(39 * MIB..42 * MIB);
    assert_eq!(both, [40 * MIB..41 * MIB, 53 * MIB..55 * MIB]);
    assert_eq!(guest.parts[2].spans(0..MIB), [41 * MIB..42 * MIB]);
    for name in ["amikit-test/root", "/dev/amikit-test/root", "/dev/mapper/amikit--test-root"] {
        let tree = Tree::open(&guest, Some(&PartName::new(name))).unwrap();
        assert_eq!(tree.part(tree.root()), 1, "{name}");
    }
    let error = Tree::open(&guest, Some(&PartName::new("amikit-test/other"))).unwrap_err();
    let says = "logical volume amikit-test/other holds no file system that can be read; it has";
    assert!(error.to_string().starts_with(says), "{error}");
    let owners = guest.owners().unwrap();
    assert_eq!(owners.parts[1].refusals, Vec::<String>::new());
    assert!(!owners.parts[0].refusals.is_empty());
    let (mut end, mut free) = (0, 0);
    for (range, part, owner) in owners.within(0..160 * MIB) {
        assert_eq!(range.start, end);
        end = range.end;
        let inside = pieces[0].iter().any(|it| it.start <= range.start && range.end <= it.end);
        assert_eq!(part == Some(1), inside, "{range:?}");
        free += if owner == Owner::Free { range.end - range.start } else { 0 };
    }
    assert_eq!(end, 160 * MIB);
    assert_eq!(free, owners.parts[1].proof.as_ref().unwrap().free_bytes);
}

#[test]
fn a_volume_that_is_not_linear_is_named_and_keeps_its_group() {
    if !have(&["losetup", "lvcreate", "mke2fs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, inner) = (scratch.path().join("image"), scratch.path().join("inner"));
    if !make(&image) {
        return;
    }
    change(&image, "type = \"striped\"", "type = \"mirrors\"");
    fs::File::create(&inner).unwrap().set_len(64 * MIB).unwrap();
    assert!(run("mke2fs", &["-q", "-F", "-t", "ext4", text(&inner)]));
    let pieces = found(&image)[0].pieces.clone().unwrap();
    put(&image, &pieces, &fs::read(&inner).unwrap());
    let whole = volume(fs::read(&image).unwrap());
    let guest = Guest::open(&whole).unwrap();
    let owners = guest.owners().unwrap();
    let said =
        |part: usize, text: &str| owners.parts[part].refusals.iter().any(|it| it.contains(text));
    assert!(said(0, "not linear is not looked into"), "{:?}", owners.parts);
    assert!(said(1, "may need its free blocks"), "{:?}", owners.parts);
}

#[test]
fn what_lies_at_one_place_or_outside_is_damaged() {
    if !have(&["losetup", "lvcreate"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let image = scratch.path().join("image");
    for (from, to) in [("\"pv0\", 10\n", "\"pv0\", 09\n"), ("\"pv0\", 10\n", "\"pv0\", 99\n")] {
        if !make(&image) {
            return;
        }
        change(&image, from, to);
        let whole = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&whole).unwrap();
        assert_eq!(guest.parts.len(), 1);
        assert!(matches!(guest.parts[0].found, crate::guest::Found::Broken { .. }), "{to}");
    }
}

/// Damage of what stands before the first extent is named, and panics nowhere.
#[test]
fn mutants_of_metadata_are_refused_or_right() {
    if !have(&["losetup", "lvcreate"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let image = scratch.path().join("image");
    if !make(&image) {
        return;
    }
    let right = found(&image);
    let mut bytes = fs::read(&image).unwrap();
    bytes.truncate(80 << 20);
    let places: Vec<usize> = (0..1 << 20).filter(|at| bytes[*at] != 0).collect();
    let count = rounds(60);
    let mut worst = Duration::ZERO;
    let mut below = random(7);
    let mut bytes = Arc::new(bytes);
    for mutant in 0..count {
        let now = Arc::get_mut(&mut bytes).unwrap();
        let at = places[below(places.len())];
        let before = now[at];
        now[at] ^= 1 << below(8);
        let whole = shared_volume(&bytes);
        let start = Instant::now();
        if let Ok(found) = volumes(&Slice::new(&whole, 0..u64::MAX)) {
            assert!(found == right, "mutant {mutant}, byte {at}");
        }
        worst = worst.max(start.elapsed());
        assert!(worst < MUTANT_LIMIT, "mutant {mutant}, byte {at}: {worst:?}");
        drop(whole);
        Arc::get_mut(&mut bytes).unwrap()[at] = before;
    }
    println!("{count} mutants, {worst:?} at most for one");
}
