//! What keeps what in a store.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::digest::Digest;
use crate::error::Result;
use crate::layout::BlobStore;
use crate::layout::Catalog;
use crate::layout::Entry;
use crate::store::needs::Needs;
use crate::store::needs::needs_of;

/// The manifests of a store, and what each of them needs.
#[derive(Clone, Debug, Default)]
pub struct Live {
    manifests: BTreeMap<Digest, Needs>,
    /// Those that are kept.
    alive: BTreeSet<Digest>,
}

/// Returns what an entry refers to: the subject of its manifest, or what clients without subjects put into its name.
fn subject_of(entry: &Entry, needs: &Needs) -> Option<Digest> {
    /// What such a name begins with.
    const PREFIX: &str = "sha256-";
    needs.subject.or_else(|| {
        let name = entry.name()?.strip_prefix(PREFIX)?;
        let (hex, more) = name.split_at_checked(64)?;
        (more.is_empty() || more.starts_with('.')).then_some(())?;
        Digest::from_hex(hex)
    })
}

impl Live {
    /// Looks at every manifest that `catalog` names.
    ///
    /// # Errors
    ///
    /// As [`needs_of`]: what cannot be read might need anything.
    pub fn of(store: &dyn BlobStore, catalog: &Catalog) -> Result<Self> {
        let mut manifests = BTreeMap::new();
        for entry in &catalog.entries {
            let digest = entry.descriptor.digest;
            if let std::collections::btree_map::Entry::Vacant(place) = manifests.entry(digest) {
                place.insert(needs_of(store, &entry.descriptor)?);
            }
        }
        let mut live = Self { manifests, alive: BTreeSet::new() };
        live.choose(catalog);
        Ok(live)
    }

    /// Returns what would be alive with other names for the same manifests.
    #[must_use]
    pub fn with(&self, catalog: &Catalog) -> Self {
        let mut live = self.clone();
        live.choose(catalog);
        live
    }

    fn choose(&mut self, catalog: &Catalog) {
        self.alive.clear();
        let mut left: Vec<(Digest, Digest)> = Vec::new();
        for entry in &catalog.entries {
            let digest = entry.descriptor.digest;
            match subject_of(entry, &self.manifests[&digest]) {
                None => {
                    self.alive.insert(digest);
                }
                Some(subject) => left.push((digest, subject)),
            }
        }
        loop {
            let before = left.len();
            let alive = &mut self.alive;
            left.retain(|(digest, subject)| {
                let keeps = alive.contains(subject);
                if keeps {
                    alive.insert(*digest);
                }
                !keeps
            });
            if left.len() == before {
                return;
            }
        }
    }

    /// Tells whether a manifest is kept.
    #[must_use]
    pub fn is_alive(&self, manifest: &Digest) -> bool {
        self.alive.contains(manifest)
    }

    /// Returns what a manifest needs.
    #[must_use]
    pub fn needs(&self, manifest: &Digest) -> Option<&Needs> {
        self.manifests.get(manifest)
    }

    /// Returns the manifests that refer to one, directly.
    #[must_use]
    pub fn referrers(&self, catalog: &Catalog, to: &Digest) -> BTreeSet<Digest> {
        let refers = |entry: &&Entry| {
            let needs = &self.manifests[&entry.descriptor.digest];
            subject_of(entry, needs) == Some(*to)
        };
        catalog.entries.iter().filter(refers).map(|entry| entry.descriptor.digest).collect()
    }

    /// Returns every blob that is kept, and its size.
    #[must_use]
    pub fn blobs(&self) -> BTreeMap<Digest, u64> {
        let needs = self.alive.iter().map(|digest| &self.manifests[digest]);
        needs.flat_map(|needs| &needs.blobs).map(|(digest, size)| (*digest, *size)).collect()
    }

    /// Returns how many of the manifests that are kept need each blob.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Digest, u64> {
        let mut counts = BTreeMap::new();
        for digest in &self.alive {
            for blob in self.manifests[digest].blobs.keys() {
                let count: &mut u64 = counts.entry(*blob).or_default();
                *count = count.strict_add(1);
            }
        }
        counts
    }

    /// Returns the blobs that are kept now and would not be `after`, and the bytes of all of them.
    #[must_use]
    pub fn freed(&self, after: &Self) -> (BTreeSet<Digest>, u64) {
        let kept = after.blobs();
        let gone = self.blobs().into_iter().filter(|(digest, _)| !kept.contains_key(digest));
        let (mut blobs, mut bytes) = (BTreeSet::new(), 0_u64);
        for (digest, size) in gone {
            blobs.insert(digest);
            bytes = bytes.saturating_add(size);
        }
        (blobs, bytes)
    }
}
