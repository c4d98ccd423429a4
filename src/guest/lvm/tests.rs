//! Volume groups that LVM2 makes, and what must be found on them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::*;
use crate::guest::Guest;
use crate::guest::Owner;
use crate::guest::PartName;
use crate::guest::Tree;
use crate::guest::samples::MIB;
use crate::guest::samples::Seen;
use crate::guest::samples::by_the_system;
use crate::guest::samples::by_us;
use crate::guest::samples::fill;
use crate::guest::samples::have;
use crate::guest::samples::run;
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
    let mut below = crate::guest::samples::random(7);
    for _ in 0..60 {
        let at = places[below(places.len())];
        let before = bytes[at];
        bytes[at] ^= 1 << below(8);
        let whole = volume(bytes[..80 << 20].to_vec());
        if let Ok(found) = volumes(&Slice::new(&whole, 0..u64::MAX)) {
            assert!(found == right, "byte {at}");
        }
        bytes[at] = before;
    }
}
