//! Makes the seeds of `fuzz/seeds` anew: what the library makes, fixtures, and what other tools make.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --bin make_seeds`

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use amikit_fuzz::targets::image_seed;
use amikit_fuzz::targets::inside_seed;
use amikit_fuzz::targets::seeds;

/// Seeds are small: what is longer teaches a fuzzer little, and is in the repository for ever.
const LONGEST: usize = 40 << 10;

fn store(target: &str, name: &str, bytes: &[u8]) {
    if bytes.len() > LONGEST {
        println!("{target}/{name}: {} bytes are too many", bytes.len());
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

/// Takes fixtures as they are.
fn fixtures(target: &str, folder: &str, endings: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures").join(folder);
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if endings.iter().any(|ending| name.ends_with(ending)) {
            let bytes = fs::read(&path).unwrap();
            let is_image = target == "walk";
            let bytes = if is_image { image_seed("android-sparse", &bytes) } else { bytes };
            store(target, name, &bytes);
        }
    }
}

/// Takes the descriptor out of the golden OVA, whose first member it is.
fn descriptor() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden/two-disks.ova");
    let bytes = fs::read(path).unwrap();
    let digits = std::str::from_utf8(&bytes[124..135]).unwrap();
    let len = usize::from_str_radix(digits, 8).unwrap();
    store("ovf", "two-disks.ovf", &bytes[512..512 + len]);
}

/// Makes images with other tools: wrappings, and tar archives with sparse members.
fn of_other_tools() {
    let folder = std::env::temp_dir().join(format!("amikit-seeds-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut bytes = vec![0; 384 << 10];
    bytes[70_000..70_004].copy_from_slice(b"data");
    fs::write(folder.join("in.raw"), bytes).unwrap();
    let tools = [
        ("raw-zstd", "zstd", "-q in.raw -o out"),
        ("raw-gz", "gzip", "-c in.raw"),
        ("raw-xz", "xz", "-c in.raw"),
        // Its window is 64 MiB long.
        ("raw-xz", "xz", "-9 -c in.raw"),
        ("raw-bz2", "bzip2", "-c in.raw"),
        ("tar", "tar", "--format=pax --sparse --sparse-version=0.0 -cf out in.raw"),
        ("tar", "tar", "--format=pax --sparse --sparse-version=0.1 -cf out in.raw"),
        ("tar", "tar", "--format=pax --sparse --sparse-version=1.0 -cf out in.raw"),
        ("tar", "tar", "--format=gnu --sparse -cf out in.raw"),
    ];
    for (number, (format, tool, line)) in tools.into_iter().enumerate() {
        let out = folder.join("out");
        let _ = fs::remove_file(&out);
        let mut command = Command::new(tool);
        command.current_dir(&folder).args(line.split(' ')).stdin(Stdio::null());
        let done = command.output().unwrap();
        assert!(done.status.success(), "{tool} {line}");
        let image = if out.exists() { fs::read(&out).unwrap() } else { done.stdout };
        store("walk", &format!("{tool}-{number}"), &image_seed(format, &image));
    }
    fs::remove_dir_all(folder).unwrap();
}

/// Makes small file systems, with a few files where their program can put them there.
fn file_systems() {
    let folder = std::env::temp_dir().join(format!("amikit-inside-{}", std::process::id()));
    fs::create_dir_all(folder.join("files/etc")).unwrap();
    fs::write(folder.join("files/etc/os-release"), "ID=test\n").unwrap();
    fs::write(folder.join("files/long"), "long ".repeat(900)).unwrap();
    std::os::unix::fs::symlink("etc/os-release", folder.join("files/link")).unwrap();
    let makers = [
        ("ext2", 256, "mke2fs -q -F -t ext2 -I 128 -d files out"),
        (
            "ext4",
            512,
            "mke2fs -q -F -t ext4 -O ^metadata_csum,^has_journal,inline_data -d files out",
        ),
        ("ext4-sums", 512, "mke2fs -q -F -t ext4 -O ^has_journal -d files out"),
        ("fat12", 256, "mkfs.fat out"),
        ("fat32", 40_000, "mkfs.fat -F 32 out"),
        ("xfs", 40_960, "mkfs.xfs -q -f --unsupported -m crc=0 -d agcount=2 out"),
        ("btrfs", 61_440, "mkfs.btrfs -q -f -n 4096 -m single -d single --rootdir files out"),
        ("swap", 64, "mkswap out"),
    ];
    for (name, kib, line) in makers {
        let out = folder.join("out");
        let _ = fs::remove_file(&out);
        fs::File::create(&out).unwrap().set_len(kib << 10).unwrap();
        let (tool, arguments) = line.split_once(' ').unwrap();
        let mut command = Command::new(tool);
        let done = command.current_dir(&folder).args(arguments.split(' ')).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
        store("inside", name, &inside_seed(&fs::read(&out).unwrap()));
    }
    fs::remove_dir_all(folder).unwrap();
}

fn main() {
    for (target, name, bytes) in seeds() {
        store(target, name.to_str().unwrap(), &bytes);
    }
    fixtures("walk", "images", &[".simg"]);
    fixtures("sidecar", "images", &[".bmap", ".map.json"]);
    fixtures("manifest", "golden", &[".snap"]);
    fixtures("pack", "golden", &[".pack"]);
    fixtures("patch", "golden", &[".patch"]);
    fixtures("page-index", "golden", &[".amx"]);
    fixtures("archive", "golden", &["bundle.tar"]);
    fixtures("ami", "publishers", &[".json"]);
    for maker in ["ec2", "euca", "amikit"] {
        fixtures("instance-store", &format!("instance-store/{maker}"), &[".manifest.xml"]);
    }
    fixtures("recipe", "../examples/web", &[".toml"]);
    fixtures("recipe", "../examples/debian", &[".toml"]);
    descriptor();
    of_other_tools();
    file_systems();
}
