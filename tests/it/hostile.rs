//! Files made to do harm: refused by name, without a panic, a long wait, or a path of theirs opened.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::crc32;
use amikit::internals::digest::sha256;
use amikit::internals::error::Kind;
use amikit::internals::ops;
use amikit::internals::work::Unwatched;

use crate::common::copy_tree;
use crate::common::fixture;
use crate::common::installed;
use crate::common::names;
use crate::common::pack_request;
use crate::common::run;
use crate::common::stderr;
use crate::common::verify;

const BYTES: [u8; 4] = [0, 1, 0x7f, 0xff];

fn inspect(path: &Path) -> amikit::internals::error::Result<ops::Inspected> {
    ops::inspect(&ops::ImageRequest::of(path).into(), None, &Unwatched)
}

pub(crate) fn put_crc(bytes: &mut [u8], at: usize, covered: std::ops::Range<usize>) {
    let crc = crc32(&bytes[covered]);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn no_header_byte_of_a_manifest_makes_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.snap");
    let golden = fs::read(fixture("golden/three-blocks.snap")).unwrap();
    let sound = inspect(&golden_copy(&path, &golden)).unwrap();
    for at in 0..4096 {
        for value in BYTES {
            if golden[at] == value {
                continue;
            }
            let mut bytes = golden.clone();
            bytes[at] = value;
            let result = inspect(&golden_copy(&path, &bytes));
            // Without its magic it is a raw image like any other.
            let raw = matches!(result, Ok(ops::Inspected::Image { .. })) && at < 8;
            assert!(result.is_err() || raw, "byte {at} is {value:#x}: {result:?}");
            if (8..4092).contains(&at) {
                // With the checksum mended, the fields themselves must hold.
                put_crc(&mut bytes, 4092, 0..4092);
                let result = inspect(&golden_copy(&path, &bytes));
                // The minor version, the compatible bits and LINEAR are bound by nothing else; the
                // rest of the page is zeros that a reader need not look at.
                let free = matches!(at, 10 | 11 | 16..20 | 112..144 | 148..);
                assert!(result.is_err() || free, "byte {at} is {value:#x}, mended: {result:?}");
            }
        }
    }
    assert_eq!(inspect(&golden_copy(&path, &golden)).unwrap(), sound);
}

/// Writes a file without cutting it to nothing first, after which some file systems sync.
fn golden_copy(path: &Path, bytes: &[u8]) -> PathBuf {
    let file = fs::File::options().write(true).create(true).truncate(false).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file.set_len(u64::try_from(bytes.len()).unwrap()).unwrap();
    path.to_owned()
}

#[test]
fn no_table_or_group_byte_of_a_manifest_makes_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.snap");
    let golden = fs::read(fixture("golden/three-blocks.snap")).unwrap();
    for at in (4096..4400).chain(8192..golden.len()) {
        for value in BYTES {
            let mut bytes = golden.clone();
            bytes[at] = value;
            // The table's own checksum and the header's are made right, so that its fields count.
            put_crc(&mut bytes, 144, 8192..8256);
            put_crc(&mut bytes, 4092, 0..4092);
            golden_copy(&path, &bytes);
            let input = amikit::internals::io::Input::open(&path).unwrap();
            let result =
                amikit::internals::manifest::Manifest::open(&input).and_then(|it| it.verify());
            assert!(result.is_err() || bytes == golden, "byte {at} is {value:#x}");
        }
    }
}

#[test]
fn no_byte_of_a_pack_makes_it_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pack");
    let golden = fs::read(fixture("golden/two-chunks.pack")).unwrap();
    let len = golden.len();
    let (index, foot) = (108, len - 64);
    for at in 0..len {
        for value in BYTES {
            let mut bytes = golden.clone();
            bytes[at] = value;
            let stored = (32..index - 8).contains(&at);
            let raw = at < 16;
            for mend in [false, true] {
                if mend {
                    put_crc(&mut bytes, foot + 32, 0..32);
                    put_crc(&mut bytes, foot + 20, index..foot);
                    put_crc(&mut bytes, foot + 52, foot..foot + 52);
                }
                let result = inspect(&golden_copy(&path, &bytes));
                // Ids and checksums of entries are looked at when their chunks are read, and so are
                // stored bytes; the minor version and compatible bits are free.
                let entry = mend && (index..foot).contains(&at);
                let free = mend && matches!(at, 18 | 19 | 24..32);
                let footer = mend && at >= foot;
                let right = result.is_err() || stored || entry || free || raw || footer;
                assert!(right || bytes == golden, "byte {at} is {value:#x}, mended {mend}");
            }
        }
    }
}

/// A bundle whose documents can be changed with all digests right again.
pub(crate) struct Crafted {
    pub(crate) folder: tempfile::TempDir,
    config: String,
    manifest: String,
    index: String,
}

impl Crafted {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("in.raw");
        fs::write(&image, [b"a".repeat(600_000), vec![0; 600_000]].concat()).unwrap();
        let path = folder.path().join("b.ami");
        ops::pack(&pack_request(&image, &path), &Unwatched).unwrap();
        let bundle = Bundle::open(&path).unwrap();
        let blob = |digest: amikit::internals::digest::Digest| {
            fs::read_to_string(path.join("blobs/sha256").join(digest.hex())).unwrap()
        };
        let config = blob(bundle.config().digest);
        let manifest = blob(bundle.digest());
        let index = fs::read_to_string(path.join("index.json")).unwrap();
        Self { folder, config, manifest, index }
    }

    /// Stores changed documents, each named by the one above it with its new digest and size.
    fn store(&self, config: &[u8], manifest: &str, index: &str) -> PathBuf {
        let path = self.folder.path().join("crafted.ami");
        let _ = fs::remove_dir_all(&path);
        copy_tree(&self.folder.path().join("b.ami"), &path);
        let blobs = path.join("blobs/sha256");
        let manifest = redirect(manifest, self.config.as_bytes(), config);
        fs::write(blobs.join(sha256(config).hex()), config).unwrap();
        let index = redirect(index, self.manifest.as_bytes(), manifest.as_bytes());
        fs::write(blobs.join(sha256(manifest.as_bytes()).hex()), manifest).unwrap();
        fs::write(path.join("index.json"), index).unwrap();
        path
    }

    /// Makes a bundle whose AMI description has `from` replaced.
    pub(crate) fn config(&self, from: &str, to: &str) -> PathBuf {
        assert!(self.config.contains(from), "{from}");
        let config = self.config.replacen(from, to, 1);
        self.store(config.as_bytes(), &self.manifest, &self.index)
    }

    /// Makes a bundle whose OCI manifest has `from` replaced.
    pub(crate) fn manifest(&self, from: &str, to: &str) -> PathBuf {
        assert!(self.manifest.contains(from), "{from}");
        let manifest = self.manifest.replacen(from, to, 1);
        self.store(self.config.as_bytes(), &manifest, &self.index)
    }

    /// Makes a bundle whose `index.json` has `from` replaced.
    pub(crate) fn index(&self, from: &str, to: &str) -> PathBuf {
        let path = self.store(self.config.as_bytes(), &self.manifest, &self.index);
        assert!(self.index.contains(from), "{from}");
        fs::write(path.join("index.json"), self.index.replacen(from, to, 1)).unwrap();
        path
    }
}

/// Replaces the digest and the size of one document by those of another.
fn redirect(text: &str, old: &[u8], new: &[u8]) -> String {
    let (old_digest, new_digest) = (sha256(old).to_string(), sha256(new).to_string());
    let Some(at) = text.find(&old_digest) else { return text.to_owned() };
    let (head, tail) = text.split_at(at);
    let tail = tail.replacen(&old_digest, &new_digest, 1);
    let (old_size, new_size) = (old.len().to_string(), new.len().to_string());
    head.to_owned() + &tail.replacen(&old_size, &new_size, 1)
}

pub(crate) fn refused(path: &Path, what: &str) -> String {
    let begin = Instant::now();
    let text = match verify(path, false) {
        Ok(report) => {
            assert!(!report.sound, "{what}: accepted");
            report.damage[0].error.clone()
        }
        Err(error) => {
            let kinds = [Kind::Corrupt, Kind::Mismatch, Kind::Unsupported, Kind::Limit];
            assert!(kinds.contains(&error.kind()), "{what}: {error}");
            assert!(error.path().is_some(), "{what}: no file is named: {error}");
            error.to_string()
        }
    };
    assert!(begin.elapsed() < Duration::from_secs(5), "{what}: took {:?}", begin.elapsed());
    assert!(!text.contains('\n'), "{what}: more than a line: {text}");
    assert!(text.len() < 2000, "{what}: {} bytes of text", text.len());
    text
}

#[test]
fn a_crafted_bundle_that_is_sound_is_taken() {
    let crafted = Crafted::new();
    for path in [
        crafted.config("\"Name\": \"test\"", "\"Name\": \"other\""),
        crafted.manifest("\"layers\"", "\"x\": [], \"layers\""),
        crafted.index("\"manifests\"", "\"x\": [], \"manifests\""),
    ] {
        let report = verify(&path, false).unwrap();
        assert!(report.sound, "{report:?}");
    }
}

#[test]
fn oddities_of_the_ami_description_are_refused() {
    let crafted = Crafted::new();
    let name = "\"Name\": \"test\"";
    let size = "\"VolumeSize\": 1";
    let deep = format!("\"Deep\": {}", "[".repeat(200_000));
    let long = format!("\"Name\": \"{}\"", "a".repeat(1000));
    for (from, to) in [
        (name, "\"Name\": \"test\", \"Name\": \"test\""),
        (name, "\"Name\": \"test\", \"name\": \"test\""),
        (name, "\"Name\": \"test\", \"Watermark\": \"v2.0\""),
        (name, "\"Name\": \"test\", \"TpmSupport\": \"v3.0\""),
        (name, "\"Name\": \"te\\u0000st\""),
        (name, "\"Name\": \"te\\nst\""),
        (name, "\"Name\": \"\\ud800\""),
        (name, "\"Name\": null"),
        (name, "\"Name\": [\"test\"]"),
        (name, "\"Name\": 7"),
        (name, &long),
        (name, &deep),
        (size, "\"VolumeSize\": 1e400"),
        (size, "\"VolumeSize\": 18446744073709551616"),
        (size, "\"VolumeSize\": -1"),
        (size, "\"VolumeSize\": 1.5"),
        (size, "\"VolumeSize\": 1.0"),
        (size, "\"VolumeSize\": 01"),
        (size, "\"VolumeSize\": \"1\""),
        (size, "\"VolumeSize\": NaN"),
        (size, "\"VolumeSize\": 1, \"Encrypted\": true"),
        ("\"Ebs\"", "\"VirtualName\": \"ephemeral0\", \"Ebs\""),
        ("\"hvm\"", "\"HVM\""),
        ("\"x86_64\"", "\"riscv64\""),
        ("\"RootDeviceName\": \"/dev/xvda\"", "\"RootDeviceName\": \"/dev/sda1\""),
        ("\"DeviceName\": \"/dev/xvda\"", "\"DeviceName\": \"/dev/../../etc/passwd\""),
        ("\"DeviceName\": \"/dev/xvda\"", "\"DeviceName\": \"/dev/sdf\""),
        ("}\n", "}\n}\n"),
        ("}\n", "}\n,"),
        ("{\n", "\u{feff}{\n"),
        ("{\n", "// comment\n{\n"),
        ("sha256:", "sha256:00"),
        ("sha256:", "SHA256:"),
        ("sha256:", "sha512:"),
        ("sha256:", ""),
    ] {
        refused(&crafted.config(from, to), &format!("{from} -> {to:.60}"));
    }
    // Behind the document, and bytes that are not text at all.
    for bytes in [
        format!("{}{}", crafted.config, crafted.config).into_bytes(),
        format!("{}\0", crafted.config).into_bytes(),
        [crafted.config.as_bytes(), b"\xff"].concat(),
        Vec::new(),
        b"null".to_vec(),
        vec![b'['; 1 << 20],
        vec![b' '; (1 << 20) + 1],
    ] {
        let path = crafted.store(&bytes, &crafted.manifest, &crafted.index);
        refused(&path, &format!("a description of {} bytes", bytes.len()));
    }
    let digest = crafted.config.split("sha256:").nth(1).unwrap()[..64].to_owned();
    refused(&crafted.config(&digest, &digest.to_uppercase()), "a digest in upper case");
}

#[test]
fn oddities_of_the_oci_manifest_are_refused() {
    let crafted = Crafted::new();
    let layer = |media: &str| {
        let start = crafted.manifest.find(media).unwrap();
        let start = crafted.manifest[..start].rfind("    {\n").unwrap();
        let end = start + crafted.manifest[start..].find("\n    }").unwrap() + 6;
        crafted.manifest[start..end].to_owned()
    };
    let (pack, snapshot) = (layer("pack.v2+zstd"), layer("snapshot.v1"));
    let digest = crafted.manifest.split("sha256:").nth(2).unwrap()[..64].to_owned();
    let size = pack.split("\"size\": ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let size = format!("\"size\": {size}");
    for (from, to) in [
        ("\"layers\"", "\"layers\": [], \"layers\""),
        ("\"layers\"", "\"config\": {}, \"layers\""),
        ("application/vnd.amikit.pack.v2+zstd", "application/vnd.amikit.pack.v3+zstd"),
        ("application/vnd.amikit.snapshot.v1", "application/vnd.amikit.snapshot.v2"),
        ("application/vnd.amikit.ami.v1+json", "application/vnd.amikit.ami.v2+json"),
        ("application/vnd.amikit.ami.config.v1+json", "application/vnd.amikit.ami.config.v2+json"),
        ("\"io.amikit.device\": \"/dev/xvda\",", ""),
        ("\"io.amikit.device\": \"/dev/xvda\"", "\"io.amikit.device\": \"/dev/sdf\""),
        ("\"io.amikit.device\": \"/dev/xvda\"", "\"io.amikit.device\": \"../../../etc/passwd\""),
        ("\"io.amikit.root-digest\": \"sha256:", "\"io.amikit.root-digest\": \"sha256:0"),
        (&digest, &digest.to_uppercase()),
        (&digest, "../../../../../../../../../../../../../../../etc/passwd"),
        (&digest, ""),
        (&size, "\"size\": 18446744073709551615"),
        (&size, "\"size\": 18446744073709551616"),
        (&size, "\"size\": -1"),
        (&size, "\"size\": 0"),
        (&size, "\"size\": 9223372036854775807"),
        (&snapshot, &format!("{snapshot},\n{snapshot}")),
        (&format!(",\n{snapshot}"), ""),
        (&format!("{pack},\n"), ""),
    ] {
        let text = refused(&crafted.manifest(from, to), &format!("{from:.60} -> {to:.60}"));
        assert!(!text.contains("passwd: "), "a name from inside became a path: {text}");
    }
}

#[test]
fn oddities_of_index_json_are_refused() {
    let crafted = Crafted::new();
    let deep = format!("\"Deep\": {}, \"manifests\"", "[".repeat(100_000));
    let long = " ".repeat(2 << 20);
    for (from, to) in [
        ("\"manifests\"", "\"manifests\": [], \"manifests\""),
        ("\"manifests\"", deep.as_str()),
        ("{\n", long.as_str()),
        ("sha256:", "sha512:"),
        ("sha256:", "sha256:../"),
        ("\"size\": ", "\"size\": 9"),
        ("\"size\": ", "\"size\": 99999999999999999999"),
        ("}\n  ]\n}\n", "}\n  ]\n}\nx"),
    ] {
        refused(&crafted.index(from, to), &format!("{from:.60} -> {to:.60}"));
    }
}

/// Makes a tar header with a right checksum.
pub(crate) fn header(name: &[u8], size: &[u8], flag: u8) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..name.len()].copy_from_slice(name);
    bytes[100..107].copy_from_slice(b"0000644");
    bytes[108..115].copy_from_slice(b"0000000");
    bytes[116..123].copy_from_slice(b"0000000");
    bytes[124..124 + size.len()].copy_from_slice(size);
    bytes[136..147].copy_from_slice(b"00000000000");
    bytes[156] = flag;
    bytes[257..265].copy_from_slice(b"ustar\x0000");
    if flag == b'1' || flag == b'2' {
        bytes[157..168].copy_from_slice(b"/etc/passwd");
    }
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

#[test]
fn hostile_archives_are_refused_and_nothing_is_written() {
    let crafted = Crafted::new();
    let image = crafted.folder.path().join("in.raw");
    let archive = crafted.folder.path().join("b.tar");
    ops::pack(&pack_request(&image, &archive), &Unwatched).unwrap();
    let good = fs::read(&archive).unwrap();
    let body = &good[..good.len() - 1024];
    let inside = crafted.folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("x.tar");
    let base_256 = b"\x80\0\0\0\0\0\0\0\0\0\x10\0";
    let base_256_huge = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    let before = names(crafted.folder.path());
    for (what, first) in [
        ("a size past 2^63", header(b"a", b"777777777777", b'0')),
        ("a size past the end", header(b"a", b"00000100000\0", b'0')),
        ("a size that is not a number", header(b"a", b"0000000000x\0", b'0')),
        ("no size", header(b"a", b"", b'0')),
        ("a negative size", header(b"a", b"-0000000001\0", b'0')),
        ("a size with a sign", header(b"a", b"+0000000000\0", b'0')),
        ("a size in base 256", header(b"a", base_256, b'0')),
        ("a size of all ones", header(b"a", base_256_huge, b'0')),
        ("a hard link", header(b"oci-layout-2", b"00000000000\0", b'1')),
        ("a symbolic link", header(b"oci-layout-2", b"00000000000\0", b'2')),
        ("a character device", header(b"dev", b"00000000000\0", b'3')),
        ("a block device", header(b"dev", b"00000000000\0", b'4')),
        ("a pipe", header(b"pipe", b"00000000000\0", b'6')),
        ("a GNU long name", header(b"././@LongLink", b"00000000000\0", b'L')),
        ("a GNU sparse file", header(b"a", b"00000000000\0", b'S')),
        ("a pax header", header(b"a", b"00000000000\0", b'x')),
        ("a global pax header", header(b"a", b"00000000000\0", b'g')),
        ("a second oci-layout", header(b"oci-layout", b"00000000000\0", b'0')),
        ("a second index", header(b"./index.json", b"00000000000\0", b'0')),
        ("a name that is not text", header(b"\xff\xfe", b"00000000000\0", b'0')),
    ] {
        fs::write(&path, [&first[..], &good].concat()).unwrap();
        refused(&path, &format!("{what}, first"));
        fs::write(&path, [body, &first[..], &[0; 1024]].concat()).unwrap();
        refused(&path, &format!("{what}, last"));
        let output = run(&inside, "unpack x.tar -o out.raw");
        assert!([4, 5].contains(&output.status.code().unwrap()), "{what}: {}", stderr(&output));
        assert_eq!(names(&inside), ["x.tar"], "{what}");
    }
    assert_eq!(names(crafted.folder.path()), before, "something was written outside");
}

#[test]
fn an_archive_of_many_empty_members_ends_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let mut bytes = Vec::new();
    for number in 0..20_000 {
        bytes.extend(header(format!("{number}").as_bytes(), b"00000000000\0", b'0'));
    }
    bytes.extend([0; 1024]);
    fs::write(&path, bytes).unwrap();
    refused(&path, "many members");
}

/// Tells whether a loop device of this machine has a file.
fn behind_a_loop(name: &str) -> bool {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.into_iter().any(|file| file.trim_end() == name)
}

#[test]
fn names_from_inside_a_bundle_or_an_image_are_never_opened() {
    if !installed("strace") {
        return;
    }
    let crafted = Crafted::new();
    let here = crafted.folder.path();
    let qcow2 = fs::File::open(fixture("images/x-qcow2.img.zst")).unwrap();
    let mut qcow2 = zstd::decode_all(qcow2).unwrap();
    // A backing file: its name at 0x200, 11 bytes long.
    qcow2[8..16].copy_from_slice(&0x200_u64.to_be_bytes());
    qcow2[16..20].copy_from_slice(&11_u32.to_be_bytes());
    qcow2[0x200..0x20b].copy_from_slice(b"/etc/passwd");
    fs::write(here.join("disk.qcow2"), &qcow2).unwrap();
    fs::write(
        here.join("disk.vmdk"),
        "# Disk DescriptorFile\nversion=1\nparentFileNameHint=\"/etc/passwd\"\n\
         createType=\"monolithicFlat\"\nRW 100 FLAT \"/etc/passwd\" 0\n",
    )
    .unwrap();
    let device = "\"io.amikit.device\": \"/dev/xvda\"";
    let crafted_path = crafted.manifest(device, "\"io.amikit.device\": \"/etc/passwd\"");
    assert!(crafted_path.ends_with("crafted.ami"));
    for line in [
        "verify b.ami",
        "inspect b.ami --json",
        "unpack b.ami -o out.raw",
        "unpack crafted.ami -o out.raw",
        "unpack crafted.ami /etc/passwd -o out.raw",
        "verify crafted.ami",
        "pack disk.qcow2 -o c.ami --name test",
        "pack disk.qcow2 -o c.ami --name test --input-format raw",
        "inspect disk.vmdk",
        "convert disk.vmdk x.raw --format raw --input-format raw",
        "snapshot disk.vmdk -o x.snap",
    ] {
        let log = here.join("log");
        let output = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=%file,%network", "-o"])
            .arg(&log)
            .arg(env!("CARGO_BIN_EXE_amikit"))
            .args(line.split_whitespace())
            .current_dir(here)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        let text = fs::read_to_string(&log).unwrap();
        if text.is_empty() {
            println!("skipped: strace cannot trace here: {}", stderr(&output));
            return;
        }
        assert!(!text.contains("socket(") && !text.contains("connect("), "{line}: {text}");
        for call in text.lines().filter(|it| it.contains('"') && !it.contains("execve(")) {
            for name in call.split('"').skip(1).step_by(2) {
                let system = ["/proc", "/sys/", "/lib", "/usr/lib", "/etc/ld.so", "/dev/null"];
                let system = system.iter().any(|folder| name.starts_with(folder));
                let own = !name.starts_with('/') && !name.contains("..");
                // The folders above are looked up where the real name of the user's own is asked for.
                let own = own || Path::new(name).starts_with(here) || here.starts_with(name);
                // Whether an image is in use by a loop device is known by the file behind each of them.
                assert!(system || own || behind_a_loop(name), "{line}: {call}");
            }
        }
    }
}
