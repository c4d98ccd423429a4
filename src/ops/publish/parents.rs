//! The snapshots to start from, found in the records: what was published before.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::calls::BUNDLE_TAG;
use crate::digest::Digest;
use crate::error::Result;
use crate::format::Named;
use crate::layout;
use crate::layout::Catalog;
use crate::layout::is_store;
use crate::manifest::Manifest;
use crate::ops::shared::planning::OpenBase;
use crate::ops::shared::proven::Witness;
use crate::ops::shared::publications::Publication;
use crate::units::ebs_gib;

/// Most publications that are looked at for each volume, the newest first.
const MOST_LOOKED_AT: usize = 32;

/// Where parents are looked for.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) witness: Witness<'a>,
    /// What the user typed for the bundle: the store that it is in has the manifests.
    pub(super) typed: &'a Path,
    pub(super) records: &'a [Publication],
}

/// Finds a parent for each volume that has none yet: of the snapshots that the account has in the region, the one from which
/// the fewest blocks differ. A volume has none if all of it would have to be put anyway.
///
/// # Errors
///
/// As reading the store; a refusal of EC2's.
pub(super) fn find(around: Around<'_>, bundle: &Bundle, bases: &mut Vec<OpenBase>) -> Result<()> {
    let Around { witness, typed, records } = around;
    let Named { path, .. } = Named::parse(typed);
    if records.is_empty() || !is_store(&path)? {
        return Ok(());
    }
    let mut store = None;
    for layer in bundle.snapshots() {
        if bases.iter().any(|it| it.device == layer.device) {
            continue;
        }
        let candidates = records
            .iter()
            .rev()
            // What this bundle was uploaded over before is found again, and not its own snapshot.
            .filter(|it| it.account == witness.account && it.bundle != bundle.digest())
            .flat_map(|it| it.images.iter().map(|image| (it.bundle, image)))
            .filter(|(_, it)| it.region == witness.region)
            .flat_map(|(bundle, it)| it.snapshots.iter().map(move |it| (bundle, it)))
            .filter(|(_, it)| it.device == layer.device)
            .take(MOST_LOOKED_AT);
        let target = bundle.manifest(layer)?;
        let whole = target.header().counts.written();
        let mut best: Option<(u64, Manifest, String, Digest)> = None;
        for (its_bundle, candidate) in candidates {
            if store.is_none() {
                store = Some(manifests(&path)?);
            }
            let known = store.as_ref().expect("just read");
            let Some((holder, at)) = known.get(&candidate.root_digest) else { continue };
            let base = holder.manifest(&holder.snapshots()[*at])?;
            if ebs_gib(base.volume_size()) > ebs_gib(target.volume_size()) {
                continue;
            }
            let mut count = 0_u64;
            for put in crate::calls::Puts::new(&target, Some(&base), false) {
                count = count.strict_add(u64::from(put?.count));
            }
            let fewest = best.as_ref().map_or(whole, |(count, ..)| *count);
            let id = &candidate.snapshot_id;
            if count < fewest && is_usable(witness, id, its_bundle)? {
                best = Some((count, base, id.clone(), its_bundle));
            }
        }
        if let Some((_, manifest, snapshot_id, its_bundle)) = best {
            bases.push(OpenBase {
                device: layer.device.clone(),
                manifest,
                snapshot_id: Some(snapshot_id),
                typed: typed.to_owned(),
                bundle: Some((its_bundle, layer.device.clone())),
            });
        }
    }
    Ok(())
}

/// Snapshots of a store by their root digests: the bundle that has one, and which of its layers it is.
type Known = BTreeMap<Digest, (Arc<Bundle>, usize)>;

fn manifests(store: &Path) -> Result<Known> {
    let reader = layout::open(store)?;
    let mut known = Known::new();
    for entry in Catalog::read(&*reader)?.entries {
        // Other programs' images have no snapshots.
        let Ok(bundle) = Bundle::open_entry(Arc::clone(&reader), entry.descriptor) else {
            continue;
        };
        let bundle = Arc::new(bundle);
        for (number, layer) in bundle.snapshots().iter().enumerate() {
            known.entry(layer.root).or_insert_with(|| (Arc::clone(&bundle), number));
        }
    }
    Ok(known)
}

/// Tells whether a snapshot is still there, complete, the account's own, and tagged by us for the bundle of the record, and
/// is not encrypted: beside an encrypted parent, holes would read as garbage.
fn is_usable(witness: Witness<'_>, snapshot_id: &str, bundle: Digest) -> Result<bool> {
    let Some(found) = witness.snapshot(snapshot_id)? else { return Ok(false) };
    let tag = serde_json::json!({ "Key": BUNDLE_TAG, "Value": format!("sha256:{bundle}") });
    Ok(found["OwnerId"] == witness.account
        && found["Encrypted"] != Value::Bool(true)
        && found["Tags"].as_array().is_some_and(|tags| tags.contains(&tag)))
}
