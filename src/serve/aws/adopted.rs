//! What a store has and the server does not know.

use std::collections::BTreeSet;

use crate::ami::Ami;
use crate::ami::Ebs;
use crate::ami::Time;
use crate::serve::aws::server::Server;
use crate::serve::aws::state::Image;
use crate::serve::aws::state::ImageState;
use crate::serve::aws::state::Snap;
use crate::serve::aws::state::SnapshotState;
use crate::serve::aws::state::State;

impl Server<'_> {
    /// Takes in what the store has and the server does not know: everything is the server's account's.
    pub(super) fn adopt(&self, state: &mut State) -> crate::error::Result<()> {
        let known: BTreeSet<String> = state
            .images
            .values()
            .filter_map(|it| it.stored.clone())
            .chain(state.snapshots.values().filter_map(|it| Some(it.stored.clone()?.0)))
            .collect();
        let id_of = |kind: &str, of: &str| {
            format!("{kind}-{}", &crate::digest::sha256(of.as_bytes()).hex()[..17])
        };
        for kept in self.keeper.list()? {
            if known.contains(&kept.name) {
                continue;
            }
            let mut ami = kept.ami.clone();
            for (device, root, size) in &kept.volumes {
                let id = id_of("snap", &format!("{} {device}", kept.name));
                let snap = Snap {
                    owner: self.settings.account.clone(),
                    region: self.settings.region.clone(),
                    state: SnapshotState::Completed,
                    message: String::new(),
                    description: kept.description.clone().unwrap_or_default(),
                    gib: crate::units::ebs_gib(*size),
                    started: 0,
                    touched: 0,
                    timeout: 60,
                    closed: true,
                    kms_key: None,
                    encrypted: false,
                    parent: None,
                    lineage: id.clone(),
                    stored: Some((kept.name.clone(), device.clone())),
                    root: Some(*root),
                    tags: Vec::new(),
                    shared: BTreeSet::new(),
                };
                if let Some(ebs) = ami.as_mut().and_then(|ami| ebs_of(ami, device)) {
                    ebs.snapshot_id = Some(id.clone());
                    ebs.snapshot_digest = None;
                }
                state.snapshots.insert(id, snap);
            }
            let Some(mut ami) = ami else { continue };
            let name = ami.name.clone();
            let taken = |name: &str| {
                state.images.values().any(|it| {
                    it.owner == self.settings.account
                        && it.region == self.settings.region
                        && it.ami.name == name
                })
            };
            if taken(&name) {
                // One account has a name once; the store may have it twice.
                ami.name = format!("{name} ({})", kept.name).chars().take(128).collect();
            }
            let image = Image {
                owner: self.settings.account.clone(),
                region: self.settings.region.clone(),
                state: ImageState::Available,
                message: String::new(),
                created: 0,
                shared: ami
                    .launch_permissions
                    .iter()
                    .flat_map(|it| it.values())
                    .map(str::to_owned)
                    .collect(),
                deprecated: ami.deprecate_at.map(Time::unix_seconds),
                protected: false,
                source: None,
                ami,
                stored: Some(kept.name.clone()),
            };
            state.images.insert(id_of("ami", &kept.name), image);
        }
        Ok(())
    }
}

fn ebs_of<'a>(ami: &'a mut Ami, device: &str) -> Option<&'a mut Ebs> {
    let mappings = &mut ami.block_device_mappings;
    mappings.iter_mut().find(|it| it.device_name == device)?.ebs.as_mut()
}
