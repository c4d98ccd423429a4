//! Images and bundles out of memory and out of storages that fail: nothing above the storage knows where
//! bytes come from, and no refusal of it is called damage.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::Digest;
use amikit::internals::digest::Sha256;
use amikit::internals::error::Error;
use amikit::internals::format;
use amikit::internals::format::FORMATS;
use amikit::internals::format::ImageRequest;
use amikit::internals::format::OpenedImage;
use amikit::internals::format::WRITERS;
use amikit::internals::format::gate::Gate;
use amikit::internals::io::Input;
use amikit::internals::io::ReadAt;
use amikit::internals::layout::InArchive;
use amikit::internals::layout::InInputs;
use amikit::internals::layout::Name;
use amikit::internals::units::Extent;
use amikit::internals::units::ExtentKind;
use amikit::internals::volume::ReadVolume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;

use crate::common;
use crate::common::Calls;
use crate::common::Entry;
use crate::common::Far;
use crate::common::FarStore;
use crate::common::Random;
use crate::common::fail_at_each_call;

/// Returns the extents of a file as the file system tells them.
fn extents_of_file(path: &Path) -> Vec<Extent> {
    Input::open(path).unwrap().extents(1 << 20).unwrap()
}

/// Reads what a volume stores, and what it says of the rest.
fn content(volume: &dyn ReadVolume) -> Result<(Vec<Extent>, Digest), Error> {
    let (mut all, mut digest) = (Vec::new(), Sha256::new());
    for extent in extents(volume) {
        let extent = extent?;
        let mut at = extent.range.start;
        while extent.kind == ExtentKind::Data && at < extent.range.end {
            let len = (extent.range.end - at).min(200_000);
            let mut piece = vec![0; usize::try_from(len).unwrap()];
            volume.read_at(at, &mut piece)?;
            digest.update(&piece);
            at += len;
        }
        all.push(extent);
    }
    volume.check_unchanged()?;
    Ok((all, digest.finish()))
}

/// An image's files in memory, with their holes.
struct Sample {
    files: Vec<(Vec<u8>, Vec<Extent>)>,
}

impl Sample {
    fn of_files(paths: &[&Path]) -> Self {
        let file = |path: &&Path| (fs::read(path).unwrap(), extents_of_file(path));
        Self { files: paths.iter().map(file).collect() }
    }

    fn open(&self, calls: &Arc<Calls>) -> Result<OpenedImage, Error> {
        let input = |(bytes, extents): &(Vec<u8>, Vec<Extent>)| {
            Far::with_extents("far", bytes, extents.clone(), calls)
        };
        let inputs = self.files.iter().map(input).collect();
        let request = ImageRequest { path: "far".into(), inputs, ..ImageRequest::default() };
        format::open(&request, &Unwatched)
    }
}

fn sample_of(entry: &Entry, folder: &Path) -> Sample {
    let first = common::expand(entry, folder);
    let parts: Vec<_> = entry.of.iter().skip(1).map(|it| common::images().join(it)).collect();
    let paths: Vec<&Path> = std::iter::once(&*first).chain(parts.iter().map(|it| &**it)).collect();
    Sample::of_files(&paths)
}

#[test]
fn each_fixture_out_of_memory_gives_its_volume_or_its_refusal() {
    let folder = common::scratch();
    for entry in common::entries().iter().filter(|entry| entry.sidecar_of.is_none()) {
        let file = &entry.file;
        let opened = sample_of(entry, folder.path()).open(&Calls::all_well());
        if let Some(refused) = &entry.refused {
            let error = opened.map(drop).expect_err(file);
            assert_eq!(error.kind().name(), refused, "{file}: {error}");
            assert!(error.to_string().starts_with("far"), "{file}: {error}");
            continue;
        }
        let image = opened.unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(Some(image.format.name), entry.format.as_deref(), "{file}");
        assert_eq!(Some(image.volume.size()), entry.size, "{file}");
        assert_eq!(Some(common::sha256_of(&image.volume)), entry.sha256, "{file}");
        assert_eq!(common::extents_of(&image.volume), entry.extents, "{file}");
    }
}

/// Packs bytes as a whole, in every way that is read and not written.
fn wrapped(plain: &[u8]) -> [Vec<u8>; 3] {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(plain).unwrap();
    [gzip.finish().unwrap(), xz.finish().unwrap(), bzip2.finish().unwrap()]
}

/// One small image or more in each format, by names.
fn samples(folder: &Path) -> BTreeMap<String, Sample> {
    let mut samples = BTreeMap::new();
    let mut random = Random::with_seed(12);
    let volume = common::random_volume(3 << 20, &mut random);
    let path = folder.join("image");
    for writer in WRITERS {
        common::write_image(&volume, &path, writer, 1);
        samples.insert(writer.name.to_owned(), Sample::of_files(&[&path]));
    }
    let plain = random.bytes(700_000);
    let mut archived = common::archive(&[("disk.raw", &plain)]);
    for (number, packed) in wrapped(&plain).into_iter().enumerate() {
        fs::write(&path, packed).unwrap();
        samples.insert(format!("wrapped {number}"), Sample::of_files(&[&path]));
    }
    archived.resize(archived.len().next_multiple_of(10_240), 0);
    fs::write(&path, archived).unwrap();
    samples.insert("tar".to_owned(), Sample::of_files(&[&path]));
    for entry in common::entries() {
        let small = entry.size.is_some_and(|size| size <= 16 << 20);
        if entry.refused.is_none() && entry.sidecar_of.is_none() && small {
            samples.insert(entry.file.clone(), sample_of(&entry, folder));
        }
    }
    samples
}

#[test]
fn a_storage_that_fails_at_any_call_is_a_failure_of_the_system() {
    let folder = common::scratch();
    let mut formats = BTreeSet::new();
    let most = common::rounds(150);
    for (name, sample) in samples(folder.path()) {
        formats.insert(sample.open(&Calls::all_well()).unwrap().format.name);
        fail_at_each_call(&name, most, |calls| content(&sample.open(calls)?.volume));
    }
    let all: BTreeSet<_> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(formats, all);
}

#[test]
fn an_image_out_of_memory_finds_no_file_beside_it() {
    let folder = common::scratch();
    let (base, top) = (folder.path().join("base"), folder.path().join("top"));
    fs::write(&base, vec![7; 1 << 20]).unwrap();
    fs::write(&top, overlay("base", 1 << 20)).unwrap();
    let gate = Gate { beside: true, ..Gate::default() };
    let named = ImageRequest { gate: gate.clone(), ..ImageRequest::of(&top) };
    assert_eq!(common::bytes_of(&format::open(&named, &Unwatched).unwrap().volume)[..2], [7; 2]);
    let bytes = Input::memory(top.to_str().unwrap(), fs::read(&top).unwrap());
    let input = Arc::new(bytes);
    let request = ImageRequest { gate, ..ImageRequest::of_input(Arc::clone(&input)) };
    let error = format::open(&request, &Unwatched).unwrap_err();
    assert!(error.to_string().contains("backing file \"base\""), "{error}");
    let gate = Gate { parents: vec![base], ..Gate::default() };
    let request = ImageRequest { gate, ..ImageRequest::of_input(input) };
    assert_eq!(common::bytes_of(&format::open(&request, &Unwatched).unwrap().volume)[..2], [7; 2]);
}

/// Makes a qcow2 image that stores nothing and names a backing file.
fn overlay(base: &str, size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4 << 16];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"QFI\xfb");
    put(4, &2_u32.to_be_bytes());
    put(8, &512_u64.to_be_bytes());
    put(16, &u32::try_from(base.len()).unwrap().to_be_bytes());
    put(20, &16_u32.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &1_u32.to_be_bytes());
    put(40, &(3_u64 << 16).to_be_bytes());
    put(48, &(1_u64 << 16).to_be_bytes());
    put(56, &1_u32.to_be_bytes());
    put(72, &0xe279_2aca_u32.to_be_bytes());
    put(76, &3_u32.to_be_bytes());
    put(80, b"raw");
    put(512, base.as_bytes());
    put(1 << 16, &(2_u64 << 16).to_be_bytes());
    for cluster in 0..4 {
        put((2 << 16) + 2 * cluster, &1_u16.to_be_bytes());
    }
    bytes
}

// --- bundles -------------------------------------------------------------------------------------

/// A bundle in both forms, and what its root volume must be.
struct Packed {
    folder: tempfile::TempDir,
    content: (Vec<Extent>, Digest),
}

impl Packed {
    fn new() -> Self {
        let folder = common::quick_folder();
        let image = folder.path().join("image");
        common::random_file(&image, 3 << 20, &mut Random::with_seed(5));
        for name in ["web.ami", "web.ami.tar"] {
            let request = common::pack_request(&image, &folder.path().join(name));
            amikit::internals::ops::pack(&request, &Unwatched).unwrap();
        }
        let bundle = Bundle::open(&folder.path().join("web.ami")).unwrap();
        let content = content(&bundle.snapshot(None).unwrap()).unwrap();
        Self { folder, content }
    }

    /// Puts all files of the folder into inputs behind calls.
    fn inputs(&self, calls: &Arc<Calls>) -> InInputs {
        let mut store = InInputs::new(Path::new("far"));
        for (path, bytes) in common::tree(&self.folder.path().join("web.ami")) {
            let name = match path.to_str().unwrap() {
                "oci-layout" => Name::Layout,
                "index.json" => Name::Index,
                blob => {
                    let hex = blob.strip_prefix("blobs/sha256/").unwrap();
                    Name::Blob(Digest::from_hex(hex).unwrap())
                }
            };
            store.insert(name, Far::input(&format!("far/{name}"), &bytes, calls));
        }
        store
    }

    fn archive(&self, calls: &Arc<Calls>) -> Result<InArchive, Error> {
        let bytes = fs::read(self.folder.path().join("web.ami.tar")).unwrap();
        InArchive::open(Far::input("far.tar", &bytes, calls))
    }
}

type Stores<'a> = [(&'static str, Box<dyn Fn(&Arc<Calls>) -> Result<Bundle, Error> + 'a>); 3];

/// The ways in which a bundle can be read out of something that is not a file.
fn ways(packed: &Packed) -> Stores<'_> {
    [
        ("inputs", Box::new(|calls| Bundle::open_in(Arc::new(packed.inputs(calls)), None))),
        ("archive", Box::new(|calls| Bundle::open_in(Arc::new(packed.archive(calls)?), None))),
        (
            "store",
            Box::new(|calls| {
                let store = packed.inputs(&Calls::all_well());
                Bundle::open_in(Arc::new(FarStore { store, calls: Arc::clone(calls) }), None)
            }),
        ),
    ]
}

#[test]
fn a_bundle_out_of_memory_gives_the_same_volume() {
    let packed = Packed::new();
    let there = Bundle::open(&packed.folder.path().join("web.ami")).unwrap();
    for (way, open) in ways(&packed) {
        let bundle = open(&Calls::all_well()).unwrap();
        assert_eq!(bundle.digest(), there.digest(), "{way}");
        assert!(bundle.path().starts_with("far") || bundle.path().starts_with("far.tar"), "{way}");
        assert_eq!(content(&bundle.snapshot(None).unwrap()).unwrap(), packed.content, "{way}");
    }
}

#[test]
fn a_bundle_whose_storage_fails_at_any_call_is_a_failure_of_the_system() {
    let packed = Packed::new();
    for (way, open) in ways(&packed) {
        fail_at_each_call(way, 1000, |calls| content(&open(calls)?.snapshot(None)?));
    }
}

/// An image out of memory makes the bundle that its file makes.
#[test]
fn an_image_out_of_memory_is_packed_as_its_file_is() {
    let packed = Packed::new();
    let at = |name: &str| packed.folder.path().join(name);
    let (bytes, extents) = (fs::read(at("image")).unwrap(), extents_of_file(&at("image")));
    let input = Far::with_extents("far", &bytes, extents, &Calls::all_well());
    let mut request = common::pack_request(&at("image"), &at("far.ami"));
    request.volumes[0].image.image = ImageRequest::of_input(input);
    amikit::internals::ops::pack(&request, &Unwatched).unwrap();
    assert_eq!(common::tree(&at("far.ami")), common::tree(&at("web.ami")));
}
