//! Our own formats never change by accident: every encoder is held to a stored file, and every
//! document to the bytes that it shows.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;

use amikit::internals::ami::Ami;
use amikit::internals::ami::Architecture;
use amikit::internals::ami::BootMode;
use amikit::internals::ami::Virtualization;
use amikit::internals::bundle::Bundle;
use amikit::internals::chunking::States;
use amikit::internals::compress::GroupEncoder;
use amikit::internals::digest::sha256;
use amikit::internals::io::OutputFile;
use amikit::internals::ops;
use amikit::internals::ops::ImageRequest;
use amikit::internals::pack::DEFAULT_LEVEL;
use amikit::internals::pack::Form;
use amikit::internals::pack::PackWriter;
use amikit::internals::pack::Stored;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;
use amikit::internals::units::PAGE_LEN;
use amikit::internals::work::Unwatched;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares `actual` with `fixtures/golden/<name>`; with `BLESS=1` in the environment, stores it.
fn check_golden(name: &str, actual: &[u8]) {
    let path = root().join("fixtures/golden").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read(&path).unwrap();
    let differs = actual.iter().zip(&expected).position(|(a, e)| a != e);
    assert!(
        actual == expected,
        "{name}: {} bytes, expected {}; first difference at byte {differs:?}; meant? BLESS=1",
        actual.len(),
        expected.len()
    );
}

/// A volume of three blocks: 524,288 times `A`, written zeros, a hole.
fn three_blocks(folder: &Path) -> PathBuf {
    let path = folder.join("three-blocks.raw");
    let mut bytes = vec![b'A'; BLOCK_LEN];
    bytes.resize(2 * BLOCK_LEN, 0);
    fs::write(&path, bytes).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(3 * BLOCK_SIZE).unwrap();
    path
}

/// Shows bytes as the documents do: sixteen a line, lines of zeros left out.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().any(|byte| *byte != 0) {
            let digits: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let line = format!("{:06x}: {}\n", line.strict_mul(16), digits.join(" "));
            text.push_str(&line);
        }
    }
    text
}

/// Holds the last block of a document, in ```` ``` ```` marks, to `shown`.
fn check_document(name: &str, shown: &str) {
    let path = root().join("docs/formats").join(name);
    let text = fs::read_to_string(&path).unwrap();
    let mut parts: Vec<&str> = text.split("```").collect();
    let place = parts.len().strict_sub(2);
    let block = format!("text\n{shown}");
    if std::env::var_os("BLESS").is_some() {
        parts[place] = &block;
        fs::write(&path, parts.join("```")).unwrap();
        return;
    }
    assert_eq!(parts[place], block, "the worked example of {name}; meant? BLESS=1");
}

fn pack_request(image: &Path, output: &Path) -> ops::PackRequest {
    let ami = Ami {
        name: "three blocks".to_owned(),
        description: Some("a worked example".to_owned()),
        architecture: Some(Architecture::Arm64),
        virtualization_type: Some(Virtualization::Hvm),
        boot_mode: Some(BootMode::Uefi),
        root_device_name: "/dev/xvda".to_owned(),
        ..Ami::default()
    };
    let threads = NonZero::new(2).unwrap();
    // Its volume is three blocks, of which none holds a loader.
    let allow = vec!["boot-uefi".to_owned()];
    let options = ops::PackOptions { threads, allow, ..ops::PackOptions::new(output, ami) };
    let image = ops::VolumeRequest::new(image);
    let volumes = vec![ops::MappedVolume { device: "/dev/xvda".to_owned(), image }];
    ops::PackRequest::new(volumes, options)
}

#[test]
fn manifest_v1_three_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let request = ops::SnapshotRequest {
        image: ImageRequest::of(&three_blocks(folder.path())).into(),
        output: folder.path().join("three-blocks.snap"),
        threads: NonZero::new(2).unwrap(),
        states: States::default(),
    };
    ops::snapshot(&request, &Unwatched).unwrap();
    let bytes = fs::read(&request.output).unwrap();
    check_golden("three-blocks.snap", &bytes);
    check_document("manifest.md", &hex(&bytes));
}

#[test]
fn pack_v2_two_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two-chunks.pack");
    let out = OutputFile::create(&path).unwrap();
    let mut writer = PackWriter::default();
    let plain = [vec![b'A'; BLOCK_LEN], vec![b'B'; BLOCK_LEN]];
    let ids = plain.each_ref().map(|chunk| sha256(chunk));
    let mut frame = Vec::new();
    let mut encoder = GroupEncoder::new(DEFAULT_LEVEL, 2 * BLOCK_LEN).unwrap();
    encoder.encode(&plain.concat(), &mut frame, &mut || Ok(())).unwrap();
    writer.append(&out, Stored { form: Form::Whole, ids: &ids, bytes: &frame }).unwrap();
    writer.finish(&out).unwrap();
    out.commit().unwrap();
    let bytes = fs::read(path).unwrap();
    check_golden("two-chunks.pack", &bytes);
    check_document("pack.md", &hex(&bytes));
}

#[test]
fn bundle_v1_three_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let image = three_blocks(folder.path());
    let archive = folder.path().join("bundle.ami.tar");
    ops::pack(&pack_request(&image, &archive), &Unwatched).unwrap();
    check_golden("bundle.tar", &fs::read(&archive).unwrap());

    // The folder holds the same files, and the document shows three of them.
    let path = folder.path().join("bundle.ami");
    ops::pack(&pack_request(&image, &path), &Unwatched).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    assert_eq!(bundle.digest(), Bundle::open(&archive).unwrap().digest());
    let blob = |digest: &amikit::internals::digest::Digest| {
        fs::read_to_string(path.join("blobs/sha256").join(digest.hex())).unwrap()
    };
    let index = fs::read_to_string(path.join("index.json")).unwrap();
    let (config, manifest) = (blob(&bundle.config().digest), blob(&bundle.digest()));
    check_document("bundle.md", &format!("{index}{manifest}{config}"));
}

/// A base of two pages, and a chunk that has one of them, and one that is like the other.
#[test]
fn patch_v1_and_page_index_v1() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let page = |fill: u8| vec![fill; PAGE_LEN];
    let (zeros, mut like) = (vec![0; BLOCK_LEN - 2 * PAGE_LEN], page(b'B'));
    like[0] = b'x';
    let old = here.join("old.raw");
    fs::write(&old, [page(b'B'), page(b'C'), zeros.clone()].concat()).unwrap();
    let new = here.join("new.raw");
    fs::write(&new, [page(b'C'), page(0), like, zeros[PAGE_LEN..].to_vec()].concat()).unwrap();
    let index = here.join("old.amx");
    let mut request = pack_request(&new, &here.join("thin.ami"));
    request.options.base = Some(ops::BaseRequest {
        image: ops::VolumeRequest::new(&old),
        manifest: None,
        index: Some(index.clone()),
        thin: true,
    });
    let report = ops::pack(&request, &Unwatched).unwrap();
    assert_eq!(report.volumes[0].patched_chunks, 1);
    let bundle = Bundle::open(&request.options.output).unwrap();
    let pack = bundle.pack(&bundle.packs()[0].blob).unwrap();
    let mut patch = Vec::new();
    pack.read_stored(0, &mut patch).unwrap();
    check_golden("page.patch", &patch);
    check_document("patch.md", &hex(&patch));
    let bytes = fs::read(index).unwrap();
    check_golden("page.amx", &bytes);
    check_document("page-index.md", &hex(&bytes));
}

/// A bundle of an earlier build is still read by this one.
#[test]
fn the_stored_bundle_verifies() {
    let request = ops::VerifyRequest {
        trust: None,
        base: None,
        bundle: root().join("fixtures/golden/bundle.tar"),
        quick: false,
        against: Vec::new(),
        threads: NonZero::new(2).unwrap(),
    };
    let report = ops::verify(&request, &Unwatched).unwrap();
    assert!(report.sound, "{report:?}");
    assert_eq!((report.chunks, report.snapshots, report.packs), (1, 1, 1));
}

/// The worked example of the document is a description, and comes back as it stands there.
#[test]
fn the_description_of_the_document_comes_back() {
    let text = fs::read_to_string(root().join("docs/formats/ami.md")).unwrap();
    let example = text.rsplit("```json\n").next().unwrap().split("```").next().unwrap();
    let ami: Ami = serde_json::from_str(example).unwrap();
    assert_eq!(ami.check(), Ok(()));
    assert_eq!(serde_json::to_string_pretty(&ami).unwrap(), example.trim_end());
}

/// The worked example of the plan's document is what is printed for the bundle of three blocks.
#[test]
fn plan_v1_three_blocks() {
    let request = ops::PlanRequest {
        bundle: root().join("fixtures/golden/bundle.tar"),
        bases: Vec::new(),
        recipe: None,
        templates: ops::TemplateRequest::default(),
        region: Some("eu-central-1".to_owned()),
        encrypted: false,
        kms_key_arn: None,
        send_holes: None,
        copy_to: vec!["us-east-1".to_owned()],
        connections: ops::DEFAULT_CONNECTIONS,
        allow: Vec::new(),
    };
    let mut shown = String::new();
    ops::plan(&request, &Unwatched, &mut |step| {
        shown.push_str(&serde_json::to_string(step).unwrap());
        shown.push('\n');
        Ok(())
    })
    .unwrap();
    check_document("plan.md", &shown);
}

/// The worked example of the recipe's document is the example that is built.
#[test]
fn the_recipe_of_the_document_is_the_example() {
    let text = fs::read_to_string(root().join("docs/formats/recipe.md")).unwrap();
    let shown = text.rsplit("```toml\n").next().unwrap().split("```").next().unwrap();
    let example = fs::read_to_string(root().join("examples/web/ami.toml")).unwrap();
    assert_eq!(shown, example);
}
