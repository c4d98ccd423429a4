//! The modules in an initramfs.

use std::collections::BTreeSet;

use crate::error::Result;
use crate::guest::Failure;
use crate::guest::Member;
use crate::guest::Members;
use crate::guest::Spot;
use crate::guest::initramfs;
use crate::lint::inside::files::Files;

/// Most modules that are remembered: kernels have up to 8,000.
const MAX_MODULES: usize = 50_000;

/// Names of modules, with `_` for `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Modules(BTreeSet<String>);

impl Modules {
    /// Takes a path, if it is a module's.
    pub(super) fn take(&mut self, path: &[u8]) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let plain = [&b".xz"[..], b".zst", b".gz"].iter().find_map(|it| name.strip_suffix(*it));
        let Some(name) = plain.unwrap_or(name).strip_suffix(b".ko") else { return };
        if self.0.len() < MAX_MODULES {
            self.0.insert(String::from_utf8_lossy(name).replace('-', "_"));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }
}

impl Members for Modules {
    fn member(&mut self, member: &Member<'_>) -> bool {
        self.take(member.name);
        false
    }
}

/// Returns the modules of an initramfs; `None` if it is damaged, too long, or compressed in an unknown way.
pub(super) fn modules(files: &Files<'_, '_>, spot: Spot) -> Result<Option<Modules>> {
    let reader = match files.tree.reader(spot) {
        Ok(reader) => reader,
        Err(Failure::Fault(_)) => return Ok(None),
        Err(Failure::Error(error)) => return Err(error),
    };
    let mut modules = Modules::default();
    Ok(initramfs(&reader, &mut modules)?.then_some(modules))
}
