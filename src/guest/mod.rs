//! What is inside a volume: partitions, boot code, EFI loaders, file systems, and whose every byte is.
//! `docs/formats/guest.md` says what has to hold before a free block is believed to be free.
//!
//! A volume that is damaged inside is not a failure of ours: what was found wrong is part of the
//! answer. Only bytes that cannot be read are an error.

#[macro_use]
mod opened;

mod btrfs;
mod claims;
mod escape;
mod ext;
mod failure;
mod fat;
mod fault;
mod file;
mod free;
mod fstab;
mod gpt;
mod initramfs;
mod layout;
mod look;
mod lvm;
mod mbr;
mod ntfs;
mod owner;
mod packages;
mod part_name;
mod path;
mod ranges;
mod slice;
mod survey;
mod swap;
mod system_facts;
mod systems;
mod tree;
mod verity;
mod xfs;

pub use claims::Claims;
pub use claims::Offender;
pub use claims::Proof;
pub use claims::Wrong;
pub use claims::prove;
pub use escape::escape;
pub use escape::matches_pattern;
pub use failure::Failure;
pub use failure::FileSystemFault;
pub use failure::Outcome;
pub use failure::Problem;
pub use fault::GuestFault;
pub use file::About;
pub use file::Attribute;
pub use file::Bytes;
pub use file::Caution;
pub use file::Content;
pub use file::Entry;
pub use file::FileKind;
pub use file::FileSystem;
pub use file::Node;
pub use file::Packed;
pub use file::Piece;
pub use file::Time;
pub use free::Droppable;
pub use free::RULES_VERSION;
pub use free::droppable;
pub use fstab::names_part;
pub use fstab::unescape;
pub use initramfs::Member;
pub use initramfs::Members;
pub use initramfs::initramfs;
pub use layout::Identity;
pub use layout::Layout;
pub use layout::Loader;
pub use layout::Machine;
pub use layout::Partition;
pub use layout::PartitionKind;
pub use layout::SECTOR_SIZE;
pub use layout::Table;
pub use layout::guid;
pub use look::look;
pub use owner::FileId;
pub use owner::Metadata;
pub use owner::Owner;
pub use owner::OwnerMap;
pub use packages::Package;
pub use packages::Packages;
pub use packages::packages;
pub use packages::rpm_identities;
pub use part_name::PartName;
pub use ranges::Ranges;
pub use slice::Patch;
pub use slice::Slice;
pub use survey::Guest;
pub use survey::Logical;
pub use survey::Part;
pub use survey::PartOwners;
pub use survey::PartSummary;
pub use survey::Section;
pub use survey::VolumeOwners;
pub use survey::derive;
pub use swap::Swap;
pub use system_facts::OsRelease;
pub use system_facts::architecture;
pub use system_facts::os_release;
pub use systems::Found;
pub use tree::FileReader;
pub use tree::Spot;
pub use tree::Tree;

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod samples;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;
