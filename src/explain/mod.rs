//! Why two builds of the same thing differ: causes, and the fields of each format that show them.
//!
//! Pure: bytes of a structure of both builds go in, and what can explain their differences comes out.
//! `docs/formats/churn.md` says what counts as a cause and what stays a real difference.

mod causes;
mod contents;
mod ext;
mod fat;
mod fields;
mod generated;
mod other;
mod table;
mod xfs;

pub use causes::CAUSES;
pub use causes::Reason;
pub use causes::cause;
pub use contents::is_bytecode_of;
pub use contents::same_bytecode;
pub use ext::ExtPair;
pub use fat::directory as fat_directory;
pub use fat::superblock as fat_superblock;
pub use fields::Marks;
pub use generated::Proof;
pub use generated::folder_of;
pub use generated::generated;
pub use generated::source_of;
pub use other::btrfs;
pub use other::luks;
pub use other::lvm;
pub use other::swap;
pub use other::verity;
pub use table::TablePair;
pub use xfs::block as xfs_block;
pub use xfs::inode as xfs_inode;
pub use xfs::log as xfs_log;
