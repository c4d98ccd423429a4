//! Images that mkntfs and ntfs-3g make, and what must be found in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::guest::Guest;
use crate::guest::samples::MIB;
use crate::guest::samples::Seen;
use crate::guest::samples::by_partclone;
use crate::guest::samples::by_the_system;
use crate::guest::samples::by_us;
use crate::guest::samples::fill;
use crate::guest::samples::free_ranges;
use crate::guest::samples::have;
use crate::guest::samples::mutants;
use crate::guest::samples::noise;
use crate::guest::samples::run;
use crate::guest::samples::step;
use crate::guest::samples::text;
use crate::guest::samples::unmount;
use crate::guest::samples::volume;

/// Lengths of clusters.
const KINDS: &[&str] =
    &["-c 4096", "-c 512", "-c 1024 -L a-label", "-c 2048", "-c 16384", "-c 65536"];

fn make(image: &Path, mib: u64, kind: &str) -> bool {
    let _ = fs::remove_file(image);
    fs::File::create(image).unwrap().set_len(mib * MIB).unwrap();
    let mut arguments = vec!["-q", "-F", "-Q"];
    arguments.extend(kind.split(' '));
    arguments.push(text(image));
    run("mkntfs", &arguments)
}

/// A file system that is mounted without the kernel knowing of it; unmounted when it goes.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: &Path) -> Option<Self> {
        let _ = fs::create_dir(at);
        run("ntfs-3g", &[text(image), text(at)]).then(|| Self(at.into()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Fills it, deletes a third, and lets two files grow in turn.
fn age(root: &Path) {
    use std::os::unix::fs::FileExt;
    fill(root);
    for number in (0..900).step_by(3) {
        fs::remove_file(root.join(format!("many/with-a-longer-name-{number:04}"))).unwrap();
    }
    let files: Vec<_> =
        ["one", "other"].iter().map(|name| fs::File::create(root.join(name)).unwrap()).collect();
    for step in 0..300_u64 {
        for file in &files {
            file.write_all_at(&noise(5000, 5), step * 70_000).unwrap();
        }
    }
    fs::write(root.join("\u{e4}\u{1f600} name"), b"names are UTF-16").unwrap();
    fs::write(root.join("read-only"), b"").unwrap();
}

/// Kind, size, time, content.
type Short = (&'static str, u64, (i64, i64), Vec<u8>);

/// What both sides know: links of ntfs-3g are files of its own, which it turns into what they point to.
fn short(all: BTreeMap<Vec<u8>, Seen>) -> BTreeMap<Vec<u8>, Short> {
    all.into_iter()
        .filter(|(name, _)| !name.starts_with(b"link-"))
        .map(|(name, it)| (name, (it.kind, it.size, it.modified, it.content)))
        .collect()
}

#[test]
fn every_kind_is_proven_and_its_files_are_as_a_mount_shows_them() {
    if !have(&["mkntfs", "ntfs-3g", "partclone.ntfs"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    for kind in KINDS.iter().step_by(step()) {
        if !make(&image, 96, kind) {
            continue;
        }
        {
            let Some(mounted) = Mounted::new(&image, &at) else { return };
            age(&mounted.0);
        }
        let bytes = fs::read(&image).unwrap();
        let whole = volume(bytes);
        let guest = Guest::open(&whole).unwrap();
        let owners = guest.owners().unwrap();
        assert_eq!(owners.parts[0].refusals, Vec::<String>::new(), "{kind}");
        assert_eq!(free_ranges(&guest), by_partclone("partclone.ntfs", &image), "{kind}");
        let Some(mounted) = Mounted::new(&image, &at) else { return };
        let ours = short(by_us(guest.parts[0].system().unwrap()));
        let theirs = short(by_the_system(&mounted.0));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{kind}");
        for (name, seen) in &theirs {
            let shown = name.escape_ascii();
            let facts = |it: &Short| (it.0, it.1, it.2);
            assert_eq!(facts(&ours[name]), facts(seen), "{kind}: {shown}");
            assert!(ours[name].3 == seen.3, "{kind}: content of {shown}");
        }
    }
}

#[test]
fn a_volume_in_use_or_asleep_keeps_its_free_clusters() {
    if !have(&["mkntfs", "ntfs-3g"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    if !make(&image, 24, "-c 4096") {
        return;
    }
    let refusals = || {
        let whole = volume(fs::read(&image).unwrap());
        let guest = Guest::open(&whole).unwrap();
        guest.owners().unwrap().parts[0].refusals.join("; ")
    };
    assert_eq!(refusals(), "");
    {
        let Some(mounted) = Mounted::new(&image, &at) else { return };
        fs::write(mounted.0.join("hiberfil.sys"), [&b"hibr"[..], &[0; 8192]].concat()).unwrap();
    }
    assert_eq!(refusals(), "a hibernated system has it mounted");
    // The flags of the volume stand in its record, behind eight bytes and two of the version.
    let mut bytes = fs::read(&image).unwrap();
    let facts = bytes.windows(10).position(|it| it == b"\0\0\0\0\0\0\0\0\x03\x01").unwrap();
    bytes[facts + 10] |= 1;
    fs::write(&image, &bytes).unwrap();
    assert!(refusals().contains("not unmounted cleanly"), "{}", refusals());
}

/// Times are kept to 100 nanoseconds, of creation too, which a mount without Windows does not show.
#[test]
fn times_are_what_another_program_says() {
    if !have(&["mkntfs", "ntfs-3g", "7z"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    if !make(&image, 24, "-c 4096") {
        return;
    }
    {
        let Some(mounted) = Mounted::new(&image, &at) else { return };
        for number in 0..9 {
            fs::write(mounted.0.join(format!("file-{number}")), noise(9000, number)).unwrap();
        }
    }
    let mut seven = std::process::Command::new("7z");
    let output = seven.args(["l", "-slt"]).arg(&image).env("TZ", "UTC").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let whole = volume(fs::read(&image).unwrap());
    let guest = Guest::open(&whole).unwrap();
    let ours = by_us(guest.parts[0].system().unwrap());
    let mut fine = 0;
    for number in 0..9 {
        let name = format!("file-{number}");
        let block = text.split("\n\n").find(|it| it.contains(&format!("Path = {name}\n"))).unwrap();
        let own = &ours[name.as_bytes()];
        for (label, (seconds, nanoseconds)) in
            [("Created = ", own.created.unwrap()), ("Modified = ", own.modified)]
        {
            let line = block.lines().find_map(|it| it.strip_prefix(label)).unwrap();
            let (theirs, part) = line.split_once('.').unwrap_or((line, ""));
            let time = jiff::Timestamp::from_second(seconds).unwrap();
            let own = time.to_string().replace('T', " ").replace('Z', "");
            assert_eq!(own, theirs, "{name}: {label}");
            // Older versions of it show whole seconds.
            assert!(format!("{nanoseconds:09}").starts_with(part), "{name}: {line}");
            fine += usize::from(nanoseconds % 1_000_000 != 0);
        }
    }
    assert!(fine > 9, "{fine}");
}

#[test]
fn mutants_of_metadata_are_refused_or_right() {
    if !have(&["mkntfs", "ntfs-3g"]) {
        return;
    }
    let scratch = TempDir::new().unwrap();
    let (image, at) = (scratch.path().join("image"), scratch.path().join("mnt"));
    for kind in ["-c 4096", "-c 512"] {
        if !make(&image, 24, kind) {
            continue;
        }
        {
            let Some(mounted) = Mounted::new(&image, &at) else { return };
            fs::create_dir(mounted.0.join("many")).unwrap();
            for number in 0..200 {
                let name = format!("many/name-{number}");
                fs::write(mounted.0.join(name), noise(number * 30, number)).unwrap();
            }
        }
        mutants(fs::read(&image).unwrap(), 150, kind);
    }
}
