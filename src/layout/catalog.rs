//! `index.json` of a store, entry by entry: what amikit wrote is checked, what others wrote is kept as it is.

use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::layout::entry::former_name;
use crate::layout::entry::is_as_written;
use crate::layout::index::index_bytes;
use crate::layout::intact::renamed;
use crate::layout::name::Name;
use crate::layout::oci;
use crate::layout::oci::Descriptor;
use crate::layout::store::BlobStore;

/// An entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it says, as far as it is understood.
    pub descriptor: Descriptor,
    /// Whether amikit wrote it, and nothing changed it since.
    pub is_ours: bool,
    /// As it stands, if another program wrote it.
    raw: Option<Value>,
}

impl Serialize for Entry {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.raw {
            Some(raw) => raw.serialize(to),
            None => self.descriptor.serialize(to),
        }
    }
}

impl Entry {
    /// Tells whether amikit wrote it, and something changed it since.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        is_as_written(&self.descriptor) == Some(false)
    }

    /// Says that another program gave it its name, if one did.
    #[must_use]
    pub fn renamed(&self) -> Option<String> {
        let former = former_name(&self.descriptor).filter(|_| self.is_ours)?;
        Some(renamed(&self.descriptor, former))
    }

    /// Returns the name that it gives its manifest, if it gives one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.descriptor.reference()
    }
}

/// `index.json` of a store.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// The entries, by name.
    pub entries: Vec<Entry>,
    /// Members that amikit does not know.
    others: Map<String, Value>,
}

impl Catalog {
    /// Returns that of an empty store.
    #[must_use]
    pub fn empty() -> Self {
        Self { entries: Vec::new(), others: Map::new() }
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Unsupported` or `Limit` if it is not an image index; `Io` if it cannot be read.
    pub fn read(store: &dyn BlobStore) -> Result<Self> {
        let path = store.path_of(Name::Index);
        Self::parse(&index_bytes(store)?).map_err(|e| e.in_file(&path))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let fail = |e| Error::corrupt(format!("index.json: {e}"));
        let mut others: Map<String, Value> = serde_json::from_slice(bytes).map_err(fail)?;
        let version = others.remove("schemaVersion").and_then(|it| it.as_u64()).unwrap_or(0);
        let media_type = others.remove("mediaType");
        let media_type = media_type.as_ref().and_then(Value::as_str);
        let version = u32::try_from(version).unwrap_or(u32::MAX);
        oci::check_type("index.json", version, media_type, oci::INDEX_TYPE)?;
        let manifests = others.remove("manifests").unwrap_or(Value::Array(Vec::new()));
        let manifests: Vec<Value> = serde_json::from_value(manifests).map_err(fail)?;
        let entry = |raw: Value| {
            let descriptor: Descriptor = serde_json::from_value(raw.clone())?;
            let is_ours = is_as_written(&descriptor) == Some(true);
            Ok(Entry { descriptor, is_ours, raw: (!is_ours).then_some(raw) })
        };
        let entries = manifests.into_iter().map(entry).collect::<Result<_, _>>().map_err(fail)?;
        Ok(Self { entries, others })
    }

    /// Returns the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a> {
            schema_version: u32,
            media_type: &'static str,
            manifests: &'a [Entry],
            #[serde(flatten)]
            others: &'a Map<String, Value>,
        }
        oci::to_bytes(&Document {
            schema_version: 2,
            media_type: oci::INDEX_TYPE,
            manifests: &self.entries,
            others: &self.others,
        })
    }

    /// Returns the entry of a name; the one that amikit wrote, if there are several.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Entry> {
        let named = self.entries.iter().filter(|entry| entry.name() == Some(name));
        named.max_by_key(|entry| entry.is_ours)
    }

    /// Gives a name to a manifest, whatever had it before.
    pub fn set(&mut self, descriptor: Descriptor) {
        let name = descriptor.reference().map(str::to_owned);
        let same = |entry: &Entry| entry.name().map(str::to_owned) == name;
        if name.is_some() {
            self.entries.retain(|entry| !same(entry));
        }
        self.entries.push(Entry { descriptor, is_ours: true, raw: None });
        self.sort();
    }

    /// Takes a name away. Returns what had it.
    pub fn remove(&mut self, name: &str) -> Option<Digest> {
        let digest = self.find(name)?.descriptor.digest;
        self.entries.retain(|entry| entry.name() != Some(name));
        Some(digest)
    }

    fn sort(&mut self) {
        let key = |entry: &Entry| {
            (entry.name().map(str::to_owned), entry.descriptor.digest, entry.is_ours)
        };
        self.entries.sort_by_key(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::digest::sha256;
    use crate::layout::entry::entry_of;

    fn ours(name: &str) -> Descriptor {
        let manifest = Descriptor::new(oci::MANIFEST_TYPE, sha256(name.as_bytes()), 7);
        entry_of(&manifest, "application/x", name.to_owned(), [])
    }

    #[test]
    fn what_others_wrote_stays_as_it_is() {
        let foreign = format!(
            r#"{{"schemaVersion":2,"annotations":{{"b":"c"}},"manifests":[
            {{"mediaType":"x/y","digest":"sha256:{}","size":3,"platform":{{"os":"linux"}},"urls":[]}}]}}"#,
            sha256(b"z")
        );
        let mut catalog = Catalog::parse(foreign.as_bytes()).unwrap();
        catalog.set(ours("web"));
        catalog.set(ours("app"));
        catalog.set(ours("web"));
        let again = Catalog::parse(&catalog.to_bytes()).unwrap();
        assert_eq!(again.to_bytes(), catalog.to_bytes());
        let names: Vec<_> = again.entries.iter().map(|it| (it.name(), it.is_ours)).collect();
        assert_eq!(names, [(None, false), (Some("app"), true), (Some("web"), true)]);
        let text = String::from_utf8(again.to_bytes()).unwrap();
        assert!(text.contains(r#""os": "linux""#) && text.contains(r#""b": "c""#), "{text}");
        let mut again = again;
        assert_eq!(again.remove("app"), Some(sha256(b"app")));
        assert_eq!((again.remove("app"), again.entries.len()), (None, 2));
    }

    #[test]
    fn a_changed_entry_is_not_ours() {
        let mut catalog = Catalog::empty();
        catalog.set(ours("web"));
        let text = String::from_utf8(catalog.to_bytes()).unwrap().replace("\"web\"", "\"wab\"");
        let again = Catalog::parse(text.as_bytes()).unwrap();
        assert!(!again.entries[0].is_ours && again.find("wab").is_some());
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in
            ["", "[]", "{}", r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2,"manifests":3}"#]
        {
            assert!(Catalog::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Catalog::parse(br#"{"schemaVersion":2}"#).unwrap().entries.is_empty());
    }
}
