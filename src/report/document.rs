//! What a report says, as data: the numbers of the page and of `--json` alike.

use serde::Serialize;

use crate::lint::Finding;
use crate::ops::ClassSum;
use crate::ops::DiffReport;
use crate::ops::FilesReport;
use crate::ops::PackageChange;

/// What a report says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The page.
    pub page: String,
    /// Bytes of the page.
    pub page_bytes: u64,
    /// The volume, or the newer one of two.
    pub volume: VolumeFacts,
    /// The older one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older: Option<Older>,
    /// The AMI that the volume is of, for a bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ami: Option<AmiFacts>,
    /// Its system, as it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What divides the volume: `gpt`, `mbr` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<&'static str>,
    /// Its partitions, and logical volumes on them.
    pub partitions: Vec<PartitionFacts>,
    /// Whose its bytes are, by class; for one volume.
    pub classes: Vec<ClassFacts>,
    /// What changed; for two volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The files that most bytes belong to, and the rest.
    pub files: Listing<PathFacts>,
    /// The directories that most bytes belong to, what is below them included.
    pub directories: Listing<PathFacts>,
    /// Packages that were added, removed or upgraded; for two volumes.
    pub packages: Listing<PackageChange>,
    /// Rules of EC2's that are broken.
    pub findings: Vec<Finding>,
    /// The log of the guest's console.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_log: Option<LogFacts>,
    /// What could not be shown, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A volume.
#[derive(Clone, Debug, Default, Serialize)]
pub struct VolumeFacts {
    /// As the user named it.
    pub path: String,
    /// Its format.
    pub format: String,
    /// Bytes.
    pub size_bytes: u64,
    /// GiB that EBS makes of it.
    pub ebs_volume_size_gib: u64,
    /// Bytes that are stored.
    pub data_bytes: u64,
    /// Bytes that are written zeros.
    pub zero_bytes: u64,
    /// Bytes that were never written.
    pub hole_bytes: u64,
}

/// The older one of two volumes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Older {
    /// As the user named it.
    pub path: String,
    /// Bytes.
    pub size_bytes: u64,
}

/// An AMI.
#[derive(Clone, Debug, Serialize)]
pub struct AmiFacts {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Its boot mode, where it says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<&'static str>,
    /// The device whose volume is shown.
    pub device: String,
    /// Digest of the bundle.
    pub digest: String,
}

/// A partition, or a whole volume that nothing divides.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionFacts {
    /// Its number.
    pub number: Option<u32>,
    /// Group and name of a logical volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_volume: Option<String>,
    /// First byte of the volume.
    pub start_bytes: u64,
    /// Bytes.
    pub size_bytes: u64,
    /// What it holds, as `ext4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system: Option<&'static str>,
    /// What it is for: `esp`, `bios-boot` or `other`.
    pub purpose: &'static str,
    /// Label, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where the guest mounts it, escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounted_at: Option<String>,
    /// Bytes that have an owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Bytes that the file system calls free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
}

/// What belongs to a class of owners.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClassFacts {
    /// The class, as `file-data`, `inodes` or `free`.
    pub class: &'static str,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Of these, bytes that are stored.
    pub stored_bytes: u64,
}

/// What changed.
#[derive(Clone, Debug, Serialize)]
pub struct Changes {
    /// Blocks of 512 KiB, by what they became.
    pub blocks: DiffReport,
    /// Pages of 4 KiB and files, where both volumes can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pages: Option<FilesReport>,
    /// What each class costs.
    pub classes: Vec<ClassSum>,
}

/// A file or directory.
#[derive(Clone, Debug, Serialize)]
pub struct PathFacts {
    /// Its path, escaped.
    pub path: String,
    /// What became of it; for two volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<&'static str>,
    /// Bytes that are stored for it or, for two volumes, that changed.
    pub bytes: u64,
    /// Blocks of 512 KiB that changed and that it has a part of; for a file of two volumes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_blocks: Option<u64>,
    /// Of these, blocks that changed only because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sole_blocks: Option<u64>,
}

/// The first rows of a list, and what is left out of it.
#[derive(Clone, Debug, Serialize)]
pub struct Listing<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// How many more there are.
    pub others: u64,
    /// Bytes of these, where bytes can be summed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_bytes: Option<u64>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), others: 0, other_bytes: None }
    }
}

/// A log.
#[derive(Clone, Debug, Serialize)]
pub struct LogFacts {
    /// Its file.
    pub path: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Its end as the page shows it, without what steers a terminal.
    #[serde(skip)]
    pub text: String,
    /// Whether the page leaves out its beginning.
    pub cut: bool,
}
