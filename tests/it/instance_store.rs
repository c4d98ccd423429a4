//! EC2's instance-store bundles: round trips, other tools' bundles, signatures, keys, conversions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use amikit::internals::error::Kind;
use amikit::internals::error::Result;
use amikit::internals::format;
use amikit::internals::instance_store::InstanceBundle;
use amikit::internals::instance_store::Mapping;
use amikit::internals::instance_store::Randomness;
use amikit::internals::ops::ImageRequest;
use amikit::internals::ops::instance_store as ops;
use amikit::internals::ops::instance_store::Signature;
use amikit::internals::work::Unwatched;

use crate::common::Model;
use crate::common::Random;
use crate::common::check_raw;
use crate::common::data_ranges;
use crate::common::fixture;
use crate::common::keeps_holes;
use crate::common::names;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::step;
use crate::common::threads;
use crate::common::tree;

/// Folder of the fixtures.
pub(crate) fn folder() -> PathBuf {
    fixture("instance-store")
}

/// Copies a fixture's key to where nobody else may read it.
pub(crate) fn key(to: &Path, name: &str) -> PathBuf {
    let path = to.join(format!("{name}.key"));
    fs::copy(folder().join(format!("test-{name}.key")), &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

pub(crate) fn cert(name: &str) -> PathBuf {
    folder().join(format!("test-{name}.crt"))
}

/// Unpacks the volume that the fixtures hold.
pub(crate) fn volume() -> Vec<u8> {
    let packed = fs::read(folder().join("volume.raw.zst")).unwrap();
    zstd::decode_all(&packed[..]).unwrap()
}

/// The fixtures' volume, with the holes that it had when they were made.
pub(crate) fn volume_model() -> Model {
    const PAGE: usize = 4096;
    let bytes = volume();
    let pages = bytes.chunks(PAGE).enumerate().map(|(number, page)| {
        // Zeros were written from 128 KiB on, 64 KiB of them.
        let zeros = (32..48).contains(&number);
        zeros || page.iter().any(|byte| *byte != 0)
    });
    let written = pages.collect();
    Model::with_pages(bytes, written)
}

pub(crate) fn make_request(home: &Path, image: &Path, output: &Path) -> ops::MakeRequest {
    let mapping = |virtual_name: &str, device: &str| Mapping {
        virtual_name: virtual_name.to_owned(),
        device: device.to_owned(),
    };
    ops::MakeRequest {
        image: ImageRequest::of(image).into(),
        output: output.to_owned(),
        key: key(home, "user"),
        cert: cert("user"),
        ec2_cert: cert("ec2"),
        user: "1234-5678-9012".to_owned(),
        architecture: Some("x86_64".to_owned()),
        name: Some("disk".to_owned()),
        mappings: vec![mapping("root", "/dev/sda1"), mapping("ami", "sda1")],
        kernel: Some("aki-00000001".to_owned()),
        ramdisk: None,
        product_codes: vec!["A1".to_owned(), "B2".to_owned()],
        level: 6,
        threads: threads(2),
    }
}

pub(crate) fn unbundle_request(
    home: &Path,
    manifest: &Path,
    output: &Path,
) -> ops::UnbundleRequest {
    ops::UnbundleRequest {
        manifest: manifest.to_owned(),
        output: output.to_owned(),
        key: key(home, "user"),
        cert: Some(cert("user")),
        format: format::writer_by_name("raw").unwrap(),
        threads: threads(2),
    }
}

fn unbundle(request: &ops::UnbundleRequest) -> Result<ops::UnbundleReport> {
    ops::unbundle(request, &Unwatched)
}

/// Holds an image to the one that it was made of: the bytes, and every single hole.
fn check_same(found: &Path, image: &Path, model: &Model) {
    assert!(fs::read(found).unwrap() == model.bytes, "the bytes of {}", found.display());
    assert_eq!(data_ranges(found), data_ranges(image), "{}", found.display());
}

/// Randomness from a seed, so that a bundle comes out twice.
struct Seeded(Random);

impl Randomness for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&self.0.bytes(bytes.len()));
        Ok(())
    }
}

fn make_seeded(request: &ops::MakeRequest, seed: u64) -> ops::MakeReport {
    ops::make_with(request, &mut Seeded(Random::with_seed(seed)), &Unwatched).unwrap()
}

#[test]
fn volumes_come_back_with_their_states() {
    let home = tempfile::tempdir().unwrap();
    if !keeps_holes(home.path()) {
        return;
    }
    let mut random = Random::new("volumes_come_back_with_their_states");
    let image = home.path().join("image");
    for round in (0..6).step_by(step()) {
        // The last ones are of more than one part.
        let model = Model::random(&mut random, [1, 3, 10, 10, 40, 90][round]);
        model.write(&image);
        let output = home.path().join(format!("bundle{round}"));
        let report = ops::make(&make_request(home.path(), &image, &output), &Unwatched);
        let manifest = report.unwrap().manifest;
        let back = home.path().join("back");
        let done = unbundle(&unbundle_request(home.path(), &manifest, &back)).unwrap();
        assert_eq!((done.signature, done.volume_size_bytes), (Signature::Valid, model.size()));
        check_same(&back, &image, &model);
    }
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let home = tempfile::tempdir().unwrap();
    let image = home.path().join("image");
    Model::random(&mut Random::new("threads"), 60).write(&image);
    let mut first = None;
    for count in [1, 2, 3, 7] {
        let output = home.path().join(format!("bundle{count}"));
        let request = make_request(home.path(), &image, &output);
        make_seeded(&ops::MakeRequest { threads: threads(count), ..request }, 5);
        let files = tree(&output);
        assert_eq!(first.get_or_insert_with(|| files.clone()), &files, "{count} threads");
    }
}

/// The worked example of the document.
#[test]
fn the_worked_example_comes_out_byte_for_byte() {
    let home = tempfile::tempdir().unwrap();
    if !keeps_holes(home.path()) {
        return;
    }
    let (image, output) = (home.path().join("image"), home.path().join("out"));
    volume_model().write(&image);
    make_seeded(&make_request(home.path(), &image, &output), 1);
    let stored = folder().join("amikit");
    if std::env::var_os("BLESS").is_some() {
        let _ = fs::remove_dir_all(&stored);
        crate::common::copy_tree(&output, &stored);
    }
    // The version of amikit is in the manifest, but not under the signature.
    let plain = |files: std::collections::BTreeMap<PathBuf, Vec<u8>>| {
        files.into_iter().map(|(name, bytes)| {
            let text = String::from_utf8_lossy(&bytes);
            let version = text.split_once("<bundler>").and_then(|it| it.1.split_once("</bundler>"));
            let without = version.map(|it| text.replace(it.0, "")).map(String::into_bytes);
            (name, without.unwrap_or(bytes))
        })
    };
    let (found, expected) = (plain(tree(&output)), plain(tree(&stored)));
    assert!(found.eq(expected), "meant? BLESS=1");
}

/// All bundles of other tools, and our own.
#[test]
fn stored_bundles_are_read() {
    let home = tempfile::tempdir().unwrap();
    if !keeps_holes(home.path()) {
        return;
    }
    let (back, image) = (home.path().join("back"), home.path().join("image"));
    let model = volume_model();
    model.write(&image);
    for (name, sparse, signed) in [
        ("ec2/disk", true, true),
        ("ec2/v3", true, true),
        ("ec2/v20070829", true, true),
        ("euca/disk", false, true),
        ("euca/unsigned", false, false),
        ("amikit/disk", true, true),
    ] {
        let manifest = folder().join(format!("{name}.manifest.xml"));
        for opener in ["user", "ec2"] {
            let request = ops::UnbundleRequest {
                key: key(home.path(), opener),
                cert: signed.then(|| cert("user")),
                ..unbundle_request(home.path(), &manifest, &back)
            };
            let report = unbundle(&request).unwrap();
            let expected = if signed { Signature::Valid } else { Signature::Unsigned };
            assert_eq!(report.signature, expected, "{name}");
            assert_eq!(fs::read(&back).unwrap(), model.bytes, "{name}");
            if sparse {
                check_same(&back, &image, &model);
            } else {
                assert_eq!(report.stored_bytes, model.size());
                assert!(report.notes.iter().any(|note| note.contains("holes")), "{name}");
            }
        }
    }
}

#[test]
fn what_manifests_say_is_told() {
    let inspect =
        |name: &str| ops::inspect(&folder().join(format!("{name}.manifest.xml"))).unwrap();
    let report = inspect("ec2/disk");
    let machine = &report.machine;
    assert_eq!(machine.product_codes, ["A1", "B2"], "one element holds both");
    assert_eq!(machine.kernel_id.as_deref(), Some("aki-00000001"));
    assert_eq!(machine.ramdisk_id.as_deref(), Some("ari-00000002"));
    let names: Vec<_> = machine.block_device_mapping.iter().map(|it| &it.virtual_name).collect();
    assert_eq!(names, ["ami", "ephemeral0", "root"]);
    assert_eq!(inspect("ec2/v3").machine.architecture, "i386");
    assert_eq!(inspect("ec2/v20070829").machine.architecture, "x86_64");
    let euca = inspect("euca/disk");
    assert_eq!((euca.parts.len(), euca.machine.product_codes.len()), (5, 2));
    assert!(euca.signed && !inspect("euca/unsigned").signed);
}

/// A manifest that was written anew, as other tools do, has its signature all the same.
#[test]
fn a_signature_outlives_other_quotes_and_white_space() {
    let home = tempfile::tempdir().unwrap();
    let back = home.path().join("back");
    for name in ["ec2", "euca", "amikit"] {
        let copy = home.path().join(name);
        crate::common::copy_tree(&folder().join(name), &copy);
        let path = copy.join("disk.manifest.xml");
        let text = fs::read_to_string(&path).unwrap();
        let double = text.replace('\'', "\"");
        for (what, changed) in [
            ("double quotes", double.clone()),
            ("single quotes", double.replace('"', "'")),
            ("indented", text.replace("><", ">\n  <")),
        ] {
            // Text must not be cut from its tags; only what lies between elements may change.
            fs::write(&path, changed).unwrap();
            let report = unbundle(&unbundle_request(home.path(), &path, &back)).unwrap();
            assert_eq!(report.signature, Signature::Valid, "{name}, {what}");
        }
        fs::write(&path, text.replace("<size>1050100<", "<size>1050101<")).unwrap();
        let error = unbundle(&unbundle_request(home.path(), &path, &back)).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        // Without a certificate, the signer's own key tells the same.
        let request = unbundle_request(home.path(), &path, &back);
        let error = unbundle(&ops::UnbundleRequest { cert: None, ..request }).unwrap_err();
        assert!(error.to_string().contains("signature"), "{error}");
    }
}

#[test]
fn other_peoples_keys_and_certificates_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let (manifest, back) = (folder().join("amikit/disk.manifest.xml"), home.path().join("back"));
    let request = unbundle_request(home.path(), &manifest, &back);
    let other = ops::UnbundleRequest { cert: Some(cert("ec2")), ..request.clone() };
    assert_eq!(unbundle(&other).unwrap_err().kind(), Kind::Mismatch);
    // A key of the right size that is nobody's: implicit rejection gives noise, not an error.
    let stranger = fixture("instance-store/test-stranger.key");
    let path = home.path().join("stranger.key");
    fs::copy(stranger, &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = unbundle(&ops::UnbundleRequest { key: path, ..request.clone() }).unwrap_err();
    assert!(error.kind() == Kind::Mismatch && error.to_string().contains("another key"), "{error}");
    let unsigned = folder().join("euca/unsigned.manifest.xml");
    let unsigned = ops::UnbundleRequest { manifest: unsigned, ..request.clone() };
    let error = unbundle(&unsigned).unwrap_err();
    assert!(error.to_string().contains("no signature"), "{error}");
    fs::set_permissions(&request.key, fs::Permissions::from_mode(0o640)).unwrap();
    let error = unbundle(&request).unwrap_err();
    assert!(error.kind() == Kind::Invalid && error.to_string().contains("0640"), "{error}");
    assert!(!back.exists());
}

#[test]
fn damage_is_found_and_every_bad_part_is_named() {
    let home = tempfile::tempdir().unwrap();
    let copy = home.path().join("euca");
    crate::common::copy_tree(&folder().join("euca"), &copy);
    let manifest = copy.join("disk.manifest.xml");
    for part in ["disk.part.01", "disk.part.03"] {
        let mut bytes = fs::read(copy.join(part)).unwrap();
        bytes[77] ^= 1;
        fs::write(copy.join(part), bytes).unwrap();
    }
    let request = ops::VerifyRequest {
        manifest: manifest.clone(),
        key: None,
        cert: Some(cert("user")),
        threads: threads(2),
    };
    let report = ops::verify(&request, &Unwatched).unwrap();
    let damaged: Vec<_> = report.damaged_parts.iter().map(|part| part.index).collect();
    assert_eq!((report.sound, damaged), (false, vec![1, 3]));
    assert_eq!(report.signature, Signature::Valid);
    fs::remove_file(copy.join("disk.part.00")).unwrap();
    let report = ops::verify(&request, &Unwatched).unwrap();
    assert_eq!(report.damaged_parts.len(), 3);
    assert!(report.damaged_parts[0].problem.contains("missing"));
    let back = home.path().join("back");
    let error = unbundle(&unbundle_request(home.path(), &manifest, &back)).unwrap_err();
    assert!(
        error.kind() == Kind::Mismatch && error.to_string().contains("2 more parts"),
        "{error}"
    );
    assert!(!back.exists());
}

/// From the command line, as people use it: there and back, and everything in between.
#[test]
fn one_command_makes_each_kind_of_bundle_of_the_other() {
    let home = tempfile::tempdir().unwrap();
    if !keeps_holes(home.path()) {
        return;
    }
    let path = home.path();
    let model = volume_model();
    model.write(&path.join("disk.raw"));
    key(path, "user");
    for name in ["user", "ec2"] {
        fs::copy(cert(name), path.join(format!("{name}.crt"))).unwrap();
    }
    let keys = "--key user.key --cert user.crt";
    let from = folder().join("ec2/disk.manifest.xml");
    let from = from.display();
    run_well(path, &format!("convert {from} web.ami --format bundle {keys}"));
    let told = run_well(path, "inspect web.ami --json");
    assert!(told.contains("\"/dev/sda1\"") && told.contains("paravirtual"), "{told}");
    run_well(path, "compare web.ami disk.raw");
    let ec2 = "--ec2-cert ec2.crt --user 123456789012";
    run_well(path, &format!("convert web.ami old --format instance-store {keys} {ec2}"));
    assert_eq!(names(&path.join("old")), ["web.manifest.xml", "web.part.0"]);
    let told = run_well(path, "inspect old/web.manifest.xml");
    assert!(told.contains("ami is sda1") && told.contains("root is /dev/sda1"), "{told}");
    run_well(path, &format!("convert old/web.manifest.xml back.raw --format raw {keys}"));
    check_raw(&path.join("back.raw"), &model);
    run_well(path, &format!("convert old/web.manifest.xml back.packed --format raw-zstd {keys}"));
    run_well(path, "compare back.packed disk.raw");
    let rest = [
        "back.packed",
        "back.raw",
        "disk.raw",
        "ec2.crt",
        "old",
        "user.crt",
        "user.key",
        "web.ami",
    ];
    assert_eq!(names(path), rest, "no scratch file is left");
}

#[test]
fn requests_that_make_no_sense_are_answered() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    fs::write(path.join("disk"), volume()).unwrap();
    fs::copy(folder().join("ec2/v3.manifest.xml"), path.join("x.manifest.xml")).unwrap();
    key(path, "user");
    for name in ["user", "ec2"] {
        fs::copy(cert(name), path.join(format!("{name}.crt"))).unwrap();
    }
    let good = "--key user.key --cert user.crt --ec2-cert ec2.crt";
    let bundle = "instance-store bundle disk -o out --user 123456789012 --arch x86_64";
    for (line, code, text) in [
        (format!("instance-store bundle disk -o out {good} --arch x86_64"), 2, "--user"),
        (format!("instance-store bundle disk -o out {good} --user 123456789012"), 2, "--arch"),
        (
            format!("instance-store bundle disk -o out {good} --user 12 --arch x86_64"),
            2,
            "12 digits",
        ),
        (format!("{bundle} --key user.key --cert user.crt"), 2, "--ec2-cert"),
        (format!("{bundle} {good} --name a/b"), 2, "unquoted"),
        (format!("{bundle} {good} --name .."), 2, "not a dot"),
        (format!("{bundle} {good} --map ami"), 2, "ami=sda1"),
        (format!("{bundle} {good} --map ami=sda1 --map ami=sdb"), 2, "two devices"),
        (format!("{bundle} {good} --kernel é"), 2, "printable"),
        (format!("{bundle} {good} --level 10"), 2, "1..=9"),
        (format!("{bundle} --key user.key --cert ec2.crt --ec2-cert ec2.crt"), 2, "not that of"),
        (format!("{bundle} --key user.crt --cert user.crt --ec2-cert ec2.crt"), 2, "0644"),
        (format!("{bundle} --key user.key --cert user.key --ec2-cert ec2.crt"), 2, "certificate"),
        (format!("{bundle} --key none --cert user.crt --ec2-cert ec2.crt"), 3, "none"),
        ("convert disk out --format bundle".to_owned(), 2, "amikit pack"),
        (
            format!("{bundle} {good}").replace(" disk ", " x.manifest.xml "),
            2,
            "instance-store unbundle",
        ),
        ("instance-store verify disk".to_owned(), 4, "UTF-8"),
        ("instance-store inspect none".to_owned(), 3, "none"),
    ] {
        let said = run_badly(path, &line, code);
        assert!(said.contains(text), "{line}: {said}");
        assert!(!path.join("out").exists(), "{line}");
    }
    fs::create_dir(path.join("out")).unwrap();
    fs::write(path.join("out/mine"), b"x").unwrap();
    let said = run_badly(path, &format!("{bundle} {good}"), 2);
    assert!(said.contains("empty folder"), "{said}");
    assert_eq!(names(&path.join("out")), ["mine"]);
    fs::remove_file(path.join("out/mine")).unwrap();
    run_well(path, &format!("{bundle} {good}"));
    let resize = |size| fs::File::create(path.join("big")).unwrap().set_len(size).unwrap();
    resize((10 << 30) + 1);
    let line = bundle.replace("disk -o out", "big -o out2");
    let said = run_badly(path, &format!("{line} {good}"), 6);
    assert!(said.contains("10 GiB"), "{said}");
    resize(10 << 30);
    run_well(path, &format!("{line} {good}"));
    run_well(path, "instance-store unbundle out2/big.manifest.xml -o big2 --key user.key");
    assert_eq!(fs::metadata(path.join("big2")).unwrap().len(), 10 << 30);
}

/// The key's digits are in no argument, message, or core file: the process makes none.
#[test]
fn keys_leave_no_trace() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    key(path, "user");
    let manifest = folder().join("ec2/disk.manifest.xml");
    let line =
        format!("instance-store unbundle {} -o back --key user.key --json", manifest.display());
    let output = crate::common::run(path, &line);
    let pem = fs::read_to_string(path.join("user.key")).unwrap();
    let secret_line = pem.lines().nth(5).unwrap();
    for said in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(said).contains(secret_line));
    }
    if !crate::common::installed("strace") {
        return;
    }
    let output = std::process::Command::new("strace")
        .args(["-f", "-e", "trace=prlimit64,setrlimit,prctl,openat,read,pread64"])
        .arg(env!("CARGO_BIN_EXE_amikit"))
        .args(line.split_whitespace())
        .current_dir(path)
        .output()
        .unwrap();
    let trace = String::from_utf8_lossy(&output.stderr);
    let position = |what: &str| trace.find(what).unwrap_or_else(|| panic!("{what}: {trace}"));
    let opened = position("user.key\"");
    let limited = position("RLIMIT_CORE, {rlim_cur=0, rlim_max=0}");
    let hidden = position("PR_SET_DUMPABLE, SUID_DUMP_DISABLE");
    let read = trace[opened..].find("BEGIN PRIVATE KEY").map(|at| at + opened);
    let read = read.expect("the key is read");
    assert!(limited < read && hidden < read, "no core file once the key is in memory");
}

/// Whatever way several codes are given, each is a code of its own when the bundle is read again.
#[test]
fn product_codes_are_read_as_they_were_written() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path();
    let image = path.join("disk");
    fs::write(&image, volume()).unwrap();
    for (number, given) in
        [vec!["A1,B2"], vec!["A1", "B2"], vec![" A1 ,", ",B2"]].iter().enumerate()
    {
        let output = path.join(format!("out{number}"));
        let product_codes = given.iter().map(|code| (*code).to_owned()).collect();
        let request =
            ops::MakeRequest { product_codes, ..make_request(home.path(), &image, &output) };
        let made = ops::make(&request, &Unwatched).unwrap();
        let manifest = fs::read_to_string(&made.manifest).unwrap();
        assert_eq!(manifest.matches("<product_code>").count(), 2, "{given:?}");
        let bundle = InstanceBundle::open(&made.manifest).unwrap();
        assert_eq!(bundle.manifest().machine.product_codes, ["A1", "B2"], "{given:?}");
    }
}

/// Amazon's `ec2-unbundle` puts names of parts into a shell command unquoted (F-17).
#[test]
fn no_name_of_a_bundle_means_anything_to_a_shell() {
    let home = tempfile::tempdir().unwrap();
    let here = home.path();
    fs::write(here.join("disk.raw"), vec![7; 1 << 20]).unwrap();
    let make = |image: &Path, name: Option<&str>, output: &Path| {
        let name = name.map(str::to_owned);
        let request = ops::MakeRequest { name, ..make_request(here, image, output) };
        ops::make(&request, &Unwatched)
    };
    let odd: Vec<char> =
        (' '..='~').filter(|c| !c.is_ascii_alphanumeric() && !"._-/".contains(*c)).collect();
    assert_eq!(odd.len(), 29);
    for c in odd {
        let error =
            make(&here.join("disk.raw"), Some(&format!("a{c}b")), &here.join("out")).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{c:?}");
        assert!(error.to_string().contains("shell"), "{error}");
    }
    for name in ["", ".", "..", "-rf", ".hidden", "a/b", "a\nb", "caf\u{e9}", &"x".repeat(101)] {
        assert!(make(&here.join("disk.raw"), Some(name), &here.join("out")).is_err(), "{name:?}");
    }
    for (number, (file, expected)) in [
        ("my disk (1).raw", "my-disk--1-.raw"),
        ("a;touch b&&$(id)`id`'\"|.raw", "a-touch-b----id--id----.raw"),
        ("-o.raw", "o.raw"),
        ("caf\u{e9}.raw", "caf-.raw"),
        ("plain_1-2.raw", "plain_1-2.raw"),
    ]
    .into_iter()
    .enumerate()
    {
        let image = here.join(file);
        fs::write(&image, vec![7; 1 << 20]).unwrap();
        let output = here.join(format!("out{number}"));
        let report = make(&image, None, &output).unwrap();
        assert_eq!(report.name, expected);
        let said = report.notes.iter().filter(|note| note.contains("shell")).count();
        assert_eq!(said, usize::from(file != expected), "{:?}", report.notes);
        let all = names(&output);
        assert!(all.iter().all(|name| name.starts_with(expected)), "{all:?}");
    }
}
