//! Documents of others and of users: XML, JSON and TOML.

use std::num::NonZero;
use std::path::Path;

use amikit::internals::ami::Ami;
use amikit::internals::ami::Document;
use amikit::internals::ami::RegisterImage;
use amikit::internals::format::ova::descriptor;
use amikit::internals::format::sidecar;
use amikit::internals::instance_store::Manifest;
use amikit::internals::instance_store::Version;
use amikit::internals::lint::Subject;
use amikit::internals::lint::lint;
use amikit::internals::recipe;
use amikit::internals::recipe::Recipe;
use amikit::internals::recipe::Values;
use amikit::internals::volume::Place;
use amikit::internals::volume::RunMap;
use amikit::internals::volume::Volume;
use amikit::internals::volume::extents;
use amikit::internals::work::Unwatched;

/// The descriptor of an OVA.
pub fn ovf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = descriptor::parse(text);
}

/// The manifest of an instance-store bundle.
pub fn instance_store(data: &[u8]) {
    let Ok((manifest, _)) = Manifest::parse(data) else { return };
    if manifest.version != Version::V20071010 {
        return;
    }
    let written = manifest.write(|_| Ok("00".to_owned()));
    let written = written.expect("nothing refuses to sign");
    let (again, _) = Manifest::parse(written.as_bytes()).expect("it is read as it was written");
    assert_eq!(again.parts, manifest.parts);
}

fn judge(ami: &Ami) {
    let _ = lint(&Subject::of(ami), &[]);
    let _ = RegisterImage::of(ami);
    let _ = ami.check();
}

/// A recipe.
pub fn recipe(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(recipe) = Recipe::parse(text) else { return };
    let mut values = Values::default();
    values.set("date", "2026-01-02");
    if let Ok(prepared) = recipe.prepare(Path::new("folder"), &values) {
        judge(&prepared.ami);
    }
}

/// A document about AMIs, of any kind. What is taken is written as a recipe, which can be read.
pub fn ami(data: &[u8]) {
    let all: Vec<Ami> = match Document::read(data) {
        Ok(Document::Images(images)) => images.into_iter().map(|it| it.ami).collect(),
        Ok(Document::Call(called)) => vec![called.ami],
        Ok(Document::Description(ami)) => vec![*ami],
        Ok(Document::Text(_)) | Err(_) => Vec::new(),
    };
    for ami in all {
        judge(&ami);
        let text = recipe::write(&ami, "from a document", &[]);
        let recipe = Recipe::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let _ = recipe.prepare(Path::new("folder"), &Values::default());
    }
}

/// A sidecar of a volume of data, zeros and holes.
pub fn sidecar(data: &[u8]) {
    let Ok(sidecar) = sidecar::parse(data) else { return };
    let mut map = RunMap::default();
    map.push(8192, Place::Fill(*b"data"));
    map.push(8192, Place::Zero);
    map.push(8192, Place::Hole);
    let volume = Volume::new(map, Vec::new()).expect("a small volume");
    let _ = sidecar.note();
    let Ok(map) = sidecar.apply(&volume, NonZero::<usize>::MIN, &Unwatched) else { return };
    let volume = volume.with_map(map).expect("of the same size");
    let tiled: u64 = extents(&volume).map(|it| it.expect("in memory").len()).sum();
    assert_eq!(tiled, 24_576);
}
