//! Layouts that other programs wrote or added to: what is the AMI in them, and what is not.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use amikit::internals::bundle::Bundle;
use amikit::internals::digest::sha256;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::ops;
use amikit::internals::work::Unwatched;
use serde_json::Value;
use serde_json::json;

use crate::common;
use crate::common::step;
use crate::common::verify;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
const CHECKSUM: &str = "io.amikit.checksum";
const REFERENCE: &str = "io.amikit.reference";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A bundle, and what is done to its layout.
struct Layout {
    folder: tempfile::TempDir,
}

impl Layout {
    fn new() -> Self {
        let folder = common::quick_folder();
        let layout = Self { folder };
        layout.pack("b.ami", "test", 1);
        layout
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Packs a small volume as an AMI of that name.
    fn pack(&self, bundle: &str, name: &str, byte: u8) {
        fs::write(self.at("image"), vec![byte; 700_000]).unwrap();
        let mut request = common::pack_request(&self.at("image"), &self.at(bundle));
        name.clone_into(&mut request.options.ami.name);
        ops::pack(&request, &Unwatched).unwrap();
    }

    fn bundle(&self) -> PathBuf {
        self.at("b.ami")
    }

    fn open(&self, name: Option<&str>) -> Result<Bundle, Error> {
        Bundle::open_named(&self.bundle(), name)
    }

    fn index(&self) -> Value {
        serde_json::from_slice(&fs::read(self.bundle().join("index.json")).unwrap()).unwrap()
    }

    /// Writes the index as programs in Go do: without white space.
    fn set_index(&self, index: &Value) {
        fs::write(self.bundle().join("index.json"), index.to_string()).unwrap();
    }

    /// Adds entries to the index.
    fn add(&self, entries: impl IntoIterator<Item = Value>) {
        let mut index = self.index();
        index["manifests"].as_array_mut().unwrap().extend(entries);
        self.set_index(&index);
    }

    /// Adds a document as a blob and returns its entry.
    fn document(&self, document: &Value) -> Value {
        let bytes = document.to_string();
        let digest = sha256(bytes.as_bytes());
        fs::write(self.bundle().join(format!("blobs/sha256/{digest}")), &bytes).unwrap();
        json!({ "mediaType": MANIFEST, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    /// Adds the manifest of another artifact, which may refer to a digest.
    fn artifact(&self, kind: &str, subject: Option<&Value>) -> Value {
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": kind,
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "size": 2 },
            "layers": [],
        });
        if let Some(subject) = subject {
            document["subject"] = json!({ "mediaType": MANIFEST, "digest": subject["digest"], "size": subject["size"] });
        }
        self.document(&document)
    }

    fn refused(&self, kind: Kind, part: &str) {
        let error = self.open(None).map(drop).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(part), "{error}");
        assert!(error.path().unwrap().starts_with(self.bundle()), "{error}");
    }
}

/// As `umoci tag`, `oras tag` and a second `crane pull` into a folder leave it.
#[test]
fn several_names_of_one_digest_are_one_bundle() {
    let layout = Layout::new();
    let (own, digest) =
        (layout.index()["manifests"][0].clone(), layout.open(None).unwrap().digest());
    let mut copy = own.clone();
    copy["annotations"][REF_NAME] = json!("prod");
    let mut nameless = own.clone();
    nameless.as_object_mut().unwrap().remove("annotations");
    for more in [vec![copy.clone()], vec![nameless.clone()], vec![nameless, copy]] {
        layout.set_index(&json!({ "schemaVersion": 2, "manifests": [own] }));
        layout.add(more.clone());
        let bundle = layout.open(None).unwrap();
        assert_eq!((bundle.digest(), bundle.reference()), (digest, Some("test")), "{more:?}");
        assert_eq!(layout.open(Some("test")).unwrap().digest(), digest);
        let report = verify(&layout.bundle(), false).unwrap();
        assert!(report.sound && report.notes.is_empty(), "{report:?}");
        let named = layout.open(Some("prod"));
        if more.len() == 2 {
            assert_eq!(named.unwrap().reference(), Some("prod"));
        }
    }
    let error = layout.open(Some("dev")).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(
        error.to_string().contains("nothing called \"dev\", it has \"prod\", \"test\""),
        "{error}"
    );
}

/// As `oras attach`, `oras copy --recursive` and `cosign sign` leave it.
#[test]
fn manifests_that_refer_to_the_ami_are_welcome() {
    let layout = Layout::new();
    let own = layout.index()["manifests"][0].clone();
    let signature = layout.artifact("application/vnd.example.signature", Some(&own));
    let of_signature = layout.artifact("application/vnd.example.timestamp", Some(&signature));
    let of_it = layout.artifact("application/vnd.example.note", Some(&of_signature));
    let mut index = layout.index();
    // The order says nothing.
    index["manifests"] = json!([of_it, of_signature, signature, own]);
    layout.set_index(&index);
    assert_eq!(layout.open(None).unwrap().reference(), Some("test"));
    assert!(verify(&layout.bundle(), false).unwrap().sound);
}

#[test]
fn a_manifest_that_has_nothing_to_do_with_the_ami_is_refused() {
    let layout = Layout::new();
    let absent = json!({ "digest": format!("sha256:{}", "0".repeat(64)), "size": 1 });
    for subject in [None, Some(&absent)] {
        let layout = Layout::new();
        let stranger = layout.artifact("application/vnd.example.sbom", subject);
        layout.add([stranger]);
        layout.refused(Kind::Unsupported, "example.sbom\" and does not refer to the AMI");
        // A name says which is meant, and then nothing else is looked at.
        assert!(layout.open(Some("test")).is_ok());
    }
    layout.set_index(&json!({ "schemaVersion": 2, "manifests": [] }));
    layout.refused(Kind::Corrupt, "names no manifest");
    let [one, other] = ["a/b", "c/d"].map(|kind| layout.artifact(kind, None));
    layout.set_index(&json!({ "schemaVersion": 2, "manifests": [one] }));
    layout.refused(Kind::Unsupported, "of type \"a/b\"");
    layout.add([other]);
    layout.refused(Kind::Unsupported, "and no AMI");
}

#[test]
fn one_of_several_amis_is_chosen_by_its_name() {
    let layout = Layout::new();
    layout.pack("other.ami", "My AMI - v2", 2);
    let other = layout.at("other.ami");
    for entry in fs::read_dir(other.join("blobs/sha256")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), layout.bundle().join("blobs/sha256").join(entry.file_name()))
            .unwrap();
    }
    let index: Value =
        serde_json::from_slice(&fs::read(other.join("index.json")).unwrap()).unwrap();
    layout.add(index["manifests"].as_array().unwrap().clone());
    let error = layout.open(None).unwrap_err();
    assert_eq!((error.kind(), error.path()), (Kind::Invalid, Some(&*layout.bundle())));
    assert!(error.to_string().contains("holds 2 AMIs"), "{error}");
    assert!(
        error.to_string().contains("My-AMI-v2") && error.to_string().contains("test"),
        "{error}"
    );
    for (name, ami) in [("test", "test"), ("My-AMI-v2", "My AMI - v2")] {
        let bundle = layout.open(Some(name)).unwrap();
        assert_eq!((bundle.reference(), &*bundle.ami().name), (Some(name), ami));
        bundle.snapshot(None).unwrap();
    }
}

/// What an index says of a manifest is a hint; crane writes the config's type there, others nothing.
#[test]
fn hints_of_the_index_are_not_believed() {
    let layout = Layout::new();
    let sound = layout.index();
    for (key, value) in [
        ("artifactType", json!("application/vnd.amikit.ami.config.v1+json")),
        ("artifactType", json!("application/vnd.example.sbom")),
        ("artifactType", Value::Null),
        ("mediaType", json!("application/vnd.docker.distribution.manifest.v2+json")),
        ("annotations", json!({ "io.amikit.role": "base" })),
    ] {
        let mut index = sound.clone();
        let mut entry = json!({});
        for known in ["mediaType", "digest", "size"] {
            entry[known] = sound["manifests"][0][known].clone();
        }
        entry[key] = value;
        index["manifests"] = json!([entry]);
        layout.set_index(&index);
        let bundle = layout.open(None).unwrap_or_else(|e| panic!("{entry}: {e}"));
        assert_eq!(bundle.ami().name, "test");
    }
    // And the other way round: a hint makes no AMI of what is none.
    let mut entry = layout.artifact("application/vnd.example.sbom", None);
    entry["artifactType"] = sound["manifests"][0]["artifactType"].clone();
    layout.set_index(&json!({ "schemaVersion": 2, "manifests": [entry] }));
    layout.refused(Kind::Unsupported, "of type \"application/vnd.example.sbom\"");
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] });
    let entry = layout.document(&index);
    layout.set_index(&json!({ "schemaVersion": 2, "manifests": [entry] }));
    layout.refused(Kind::Unsupported, "of type \"application/vnd.oci.image.index.v1+json\"");
}

// --- B-15 ----------------------------------------------------------------------------------------

fn is_found(bundle: &Path) -> bool {
    verify(bundle, true).map_or_else(|error| error.kind() != Kind::Io, |report| !report.sound)
}

#[test]
fn any_flipped_bit_of_the_index_is_found() {
    let layout = Layout::new();
    let path = layout.bundle().join("index.json");
    let sound = fs::read(&path).unwrap();
    for byte in (0..sound.len()).step_by(step()) {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[byte] ^= 1 << bit;
            fs::write(&path, &bytes).unwrap();
            let text = String::from_utf8_lossy(&bytes[byte.saturating_sub(20)..]).into_owned();
            assert!(is_found(&layout.bundle()), "byte {byte} bit {bit}: {text:.60}");
        }
    }
    fs::write(&path, &sound).unwrap();
    assert_eq!(verify(&layout.bundle(), true).unwrap().damage, []);
}

#[test]
fn an_entry_that_does_not_have_its_checksum_is_damage_and_one_without_a_checksum_is_not() {
    let layout = Layout::new();
    let sound = layout.index();
    // In another form it is the same entry.
    layout.set_index(&sound);
    let report = verify(&layout.bundle(), true).unwrap();
    assert!(report.sound && report.notes.is_empty(), "{report:?}");
    let mut changed = sound.clone();
    changed["manifests"][0]["annotations"]["io.example.more"] = json!("x");
    let mut renamed = sound.clone();
    renamed["manifests"][0]["annotations"][REF_NAME] = json!("production");
    let mut other = renamed.clone();
    other["manifests"][0]["annotations"][REFERENCE] = json!("something else");
    let mut retyped = sound.clone();
    retyped["manifests"][0]["artifactType"] = json!("application/vnd.example.sbom");
    for index in [changed, other, retyped] {
        layout.set_index(&index);
        let report = verify(&layout.bundle(), true).unwrap();
        assert_eq!(report.damage.len(), 1, "{index}");
        assert_eq!(report.damage[0].what, "index");
    }
    // What copies an entry, as `oras copy` and `umoci tag` do, gives it another name, or leaves it out.
    let mut unnamed = sound.clone();
    unnamed["manifests"][0]["annotations"].as_object_mut().unwrap().remove(REF_NAME);
    let mut both = sound.clone();
    both["manifests"].as_array_mut().unwrap().push(renamed["manifests"][0].clone());
    for (index, note) in [(renamed, Some("production")), (unnamed, Some("nothing")), (both, None)] {
        layout.set_index(&index);
        let report = verify(&layout.bundle(), true).unwrap();
        assert!(report.sound && report.notes.len() == usize::from(note.is_some()), "{report:?}");
        assert!(note.is_none_or(|note| report.notes[0].contains(note)), "{report:?}");
    }
    let mut anew = sound.clone();
    anew["manifests"][0]["annotations"].as_object_mut().unwrap().remove(CHECKSUM);
    layout.set_index(&anew);
    let report = verify(&layout.bundle(), true).unwrap();
    assert!(report.sound && report.notes.len() == 1, "{report:?}");
    assert!(report.notes[0].contains("by another program"), "{report:?}");
}
