//! Bundles in memory: one file of a sound bundle is another, and digests, sizes and checksums that lead to it
//! are made right, so that what is wrong in it is what is met.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::sha256;
use amikit::internals::io::Input;
use amikit::internals::layout::InArchive;
use amikit::internals::layout::InInputs;
use amikit::internals::layout::Name;
use amikit::internals::manifest::layout::HEADER_LEN;
use amikit::internals::tar::layout;
use amikit::internals::volume::ReadVolume;
use amikit::verbs;
use serde_json::Value;

use super::Seed;
use super::indexes::mend_manifest;
use super::stored::mend_pack;

/// Bytes that are read of a snapshot at a place.
const PIECE_LEN: u64 = 64 << 10;

/// The files of a bundle.
struct Files {
    layout: Vec<u8>,
    index: Value,
    manifest: Value,
    /// Config, snapshots and packs, in the order of the manifest: their kinds and bytes.
    blobs: Vec<(&'static str, Vec<u8>)>,
}

/// A volume of three blocks and a bit: data, zeros, a hole.
static SOUND: LazyLock<Files> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("amikit-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let files = make(&folder);
    fs::remove_dir_all(folder).unwrap();
    files
});

fn make(folder: &Path) -> Files {
    let (image, output) = (folder.join("image.raw"), folder.join("bundle"));
    let mut bytes = vec![0; (1 << 20) + 5000];
    bytes[..70_000].fill(7);
    fs::write(&image, bytes).unwrap();
    let ami = amikit::Ami { name: "fuzz".into(), ..amikit::Ami::default() };
    let ami = verbs::with_defaults(ami, false);
    let root = amikit::MappedVolume::new("/dev/xvda", amikit::VolumeRequest::new(&image));
    let mut request = amikit::PackRequest::new(vec![root], amikit::PackOptions::new(&output, ami));
    request.options.groups.level = Some(1);
    // The first run makes this, and no run may take much memory.
    request.options.groups.size = 2 << 20;
    request.options.threads = std::num::NonZero::<usize>::MIN;
    amikit::pack(&request, &amikit::Unwatched).unwrap();
    let read = |name: &str| fs::read(output.join(name)).unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        read(&format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap()))
    };
    let index = json(&read("index.json"));
    let manifest = json(&blob(&index["manifests"][0]));
    let mut blobs = vec![("config", blob(&manifest["config"]))];
    for layer in manifest["layers"].as_array().unwrap() {
        let kind =
            if layer["mediaType"].as_str().unwrap().contains("pack") { "pack" } else { "snapshot" };
        blobs.push((kind, blob(layer)));
    }
    Files { layout: read("oci-layout"), index, manifest, blobs }
}

/// Points a descriptor at a blob.
fn point(descriptor: &mut Value, kind: &str, bytes: &[u8]) {
    descriptor["digest"] = sha256(bytes).to_string().into();
    descriptor["size"] = bytes.len().into();
    if kind == "snapshot" && bytes.len() >= HEADER_LEN {
        let root: String =
            bytes[80..112].iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex).collect();
        let size = u64::from_le_bytes(bytes[32..40].try_into().expect("8 bytes"));
        descriptor["annotations"]["io.amikit.root-digest"] = format!("sha256:{root}").into();
        descriptor["annotations"]["io.amikit.volume-size"] = size.to_string().into();
    }
    if kind == "pack" && bytes.len() > 64 {
        let at = bytes.len() - 44;
        let count = u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        descriptor["annotations"]["io.amikit.chunks"] = count.to_string().into();
    }
}

/// Returns the files of the sound bundle, of which `kind` is `content` in the place of its own.
fn with(kind: &str, content: &[u8]) -> BTreeMap<Name, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut manifest = SOUND.manifest.clone();
    let mut layer = 0;
    for (of, sound) in &SOUND.blobs {
        let mut bytes = if *of == kind { content.to_vec() } else { sound.clone() };
        match *of {
            "snapshot" => mend_manifest(&mut bytes),
            "pack" => mend_pack(&mut bytes),
            _ => {}
        }
        let descriptor = if *of == "config" {
            &mut manifest["config"]
        } else {
            layer += 1;
            &mut manifest["layers"][layer - 1]
        };
        point(descriptor, of, &bytes);
        files.insert(Name::Blob(sha256(&bytes)), bytes);
    }
    let manifest = if kind == "manifest" {
        content.to_vec()
    } else {
        serde_json::to_vec(&manifest).expect("it was read from JSON")
    };
    let mut index = SOUND.index.clone();
    point(&mut index["manifests"][0], "manifest", &manifest);
    files.insert(Name::Blob(sha256(&manifest)), manifest);
    let index = if kind == "index" {
        content.to_vec()
    } else {
        serde_json::to_vec(&index).expect("it was read from JSON")
    };
    files.insert(Name::Index, index);
    let layout = if kind == "layout" { content } else { &SOUND.layout };
    files.insert(Name::Layout, layout.to_vec());
    files
}

/// Reads all that an opened bundle gives.
fn read(bundle: &Bundle) {
    for blob in bundle.packs() {
        let _ = bundle.check_blob(&blob.blob, &amikit::Unwatched);
        let _ = bundle.pack(&blob.blob);
    }
    for layer in bundle.snapshots() {
        let Ok(manifest) = bundle.manifest(layer) else { continue };
        assert_eq!(manifest.root(), layer.root);
        let Ok(snapshot) = bundle.snapshot(Some(&layer.device)) else { continue };
        let size = snapshot.size();
        let mut buf = vec![0; usize::try_from(size.min(PIECE_LEN)).expect("small")];
        for at in [0, size / 2, size - buf.len() as u64] {
            let _ = snapshot.read_at(at.min(size - buf.len() as u64), &mut buf);
            let _ = snapshot.extent_at(at.min(size - 1));
        }
    }
}

/// A line with the name of a file (`layout`, `index`, `manifest`, `config`, `snapshot`, `pack`), and what that
/// file of a bundle is instead.
pub fn folder(data: &[u8]) {
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(kind) = std::str::from_utf8(&data[..at]) else { return };
    let mut store = InInputs::new(Path::new("bundle"));
    for (name, bytes) in with(kind, &data[at + 1..]) {
        store.insert(name, Arc::new(Input::memory(&name.to_string(), bytes)));
    }
    if let Ok(bundle) = Bundle::open_in(Arc::new(store), None) {
        read(&bundle);
    }
}

/// Any bytes as a bundle in one file; checksums of tar headers are made right.
pub fn archive(data: &[u8]) {
    let mut bytes = data.to_vec();
    for record in bytes.as_chunks_mut().0 {
        if record[257..262] == *b"ustar" {
            layout::seal(record);
        }
    }
    let Ok(store) = InArchive::open(Arc::new(Input::memory("archive", bytes))) else { return };
    if let Ok(bundle) = Bundle::open_in(Arc::new(store), None) {
        read(&bundle);
    }
}

/// Returns seeds: each file of a sound bundle, and its archive.
pub fn seeds() -> Vec<Seed> {
    let seed = |kind: &str, content: &[u8]| {
        let bytes = [kind.as_bytes(), b"\n", content].concat();
        ("bundle", PathBuf::from(kind), bytes)
    };
    let json = |value: &Value| serde_json::to_vec(value).expect("it was read from JSON");
    let mut seeds = vec![
        seed("layout", &SOUND.layout),
        seed("index", &json(&SOUND.index)),
        seed("manifest", &json(&SOUND.manifest)),
    ];
    for (kind, bytes) in &SOUND.blobs {
        seeds.push(seed(kind, bytes));
        let target = match *kind {
            "snapshot" => "manifest",
            "pack" => "pack",
            _ => "ami",
        };
        seeds.push((target, PathBuf::from("bundle"), bytes.clone()));
    }
    let mut archive = Vec::new();
    for (name, bytes) in with("", &[]) {
        archive.extend(layout::encode(&name.to_string(), bytes.len() as u64));
        archive.extend(&bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    seeds.push(("archive", PathBuf::from("bundle"), archive));
    seeds
}

/// Returns the hexadecimal digit of a value below 16.
fn hex(value: u8) -> char {
    char::from_digit(u32::from(value), 16).expect("four bits")
}
