//! What files are: their attributes, names and extents, in every file system alike.

use std::fmt;

use crate::guest::claims::Claims;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::owner::FileId;
use crate::guest::ranges::Ranges;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link; its content is what it points to.
    Symlink,
    /// A character device, by its major and minor number.
    CharDevice(u32, u32),
    /// A block device, by its major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileKind {
    /// Returns the stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::CharDevice(..) => "char-device",
            Self::BlockDevice(..) => "block-device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }

    /// Returns the kind that the file type bits of a Unix mode name; `None` if they name nothing.
    /// `device` gives the numbers of a device.
    #[must_use]
    pub fn of_mode(mode: u32, device: (u32, u32)) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o100_000 => Self::Regular,
            0o040_000 => Self::Directory,
            0o120_000 => Self::Symlink,
            0o020_000 => Self::CharDevice(device.0, device.1),
            0o060_000 => Self::BlockDevice(device.0, device.1),
            0o010_000 => Self::Fifo,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }
}

/// An instant: seconds since 1970, and nanoseconds above them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// The attributes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: FileId,
    /// What it is.
    pub kind: FileKind,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has.
    pub links: u64,
    /// Bytes of its content.
    pub size: u64,
    /// When its content was changed.
    pub modified: Time,
    /// When it was read, if that is kept.
    pub accessed: Option<Time>,
    /// When its attributes were changed, if that is kept.
    pub changed: Option<Time>,
    /// When it was made, if that is kept.
    pub created: Option<Time>,
    /// Whether its content, or the names in it, are encrypted.
    pub encrypted: bool,
}

/// A name in a directory; `.` and `..` are not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes, without `/` and NUL.
    pub name: Vec<u8>,
    /// The file that it names.
    pub id: FileId,
}

/// An extended attribute, as the system call shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Name with its namespace.
    pub name: Vec<u8>,
    /// Value.
    pub value: Vec<u8>,
}

/// Where the bytes of a file lie: pieces in order; what is between them is zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Bytes of the file.
    pub size: u64,
    /// Ascending; none overlaps another or the end.
    pub pieces: Vec<Piece>,
}

/// Bytes of a file that lie together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First byte in the file.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// Where they are.
    pub bytes: Bytes,
}

/// Where the bytes of a piece are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// At a byte of the partition.
    At(u64),
    /// Here.
    Here(Vec<u8>),
    /// Compressed, at most 128 KiB plain.
    Packed(Packed),
}

/// Bytes that a file system compressed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Byte of the partition where they start.
    pub at: u64,
    /// Bytes there.
    pub len: u64,
    /// Bytes when they are unpacked.
    pub plain_len: u64,
    /// How many of these lie before the piece.
    pub skip: u64,
    /// How they are packed, in the file system's own numbers.
    pub how: u8,
}

/// What a file system says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its name, as `ext4`.
    pub name: &'static str,
    /// Label, as it is stored, without padding.
    pub label: Vec<u8>,
    /// UUID or serial number, as `blkid` writes it.
    pub uuid: Option<String>,
    /// Bytes of it, from the start of the partition.
    pub size: u64,
    /// Bytes of its blocks.
    pub block_len: u64,
    /// Bytes that it says are free.
    pub free_bytes: u64,
    /// Bytes that its allocator gives away at once.
    pub grain: u64,
    /// Whether a journal was replayed in memory: the files are what they would be after a mount.
    pub replayed: bool,
    /// Why what its allocator calls free must be kept all the same.
    pub cautions: Vec<Caution>,
}

/// Why the free blocks of a partition have to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caution {
    /// It was not unmounted cleanly, or its journal has to be replayed.
    Dirty,
    /// What was written last is in a log that is not replayed: its files are those of the commit before.
    Unreplayed,
    /// Files that were deleted while they were open have not been removed yet.
    Orphans,
    /// It has a feature that may change who owns blocks.
    Feature(&'static str, u32),
    /// It has errors, as it says itself.
    Errors,
    /// A system that sleeps has it mounted.
    Hibernated,
    /// It spans more than one device.
    Devices,
    /// Its data are hashed block by block, free blocks too.
    Verity(&'static str),
    /// What it says could not be read.
    Unreadable(&'static str),
}

impl fmt::Display for Caution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dirty => f.write_str("it was not unmounted cleanly"),
            Self::Unreplayed => f.write_str(
                "its log is not replayed: what was synced since its last commit is not shown",
            ),
            Self::Orphans => f.write_str("files that were deleted while open are not removed yet"),
            Self::Feature(set, bits) => {
                write!(f, "{set} features {bits:#x} may change who owns blocks")
            }
            Self::Errors => f.write_str("it says that it has errors"),
            Self::Hibernated => f.write_str("a hibernated system has it mounted"),
            Self::Devices => f.write_str("it spans several devices"),
            Self::Verity(sign) => write!(f, "dm-verity hashes its free blocks too: {sign}"),
            Self::Unreadable(what) => f.write_str(what),
        }
    }
}

/// A file system: a function from metadata to an owner map and a tree of files.
///
/// [`claim`](FileSystem::claim) and [`free`](FileSystem::free) never look at each other's source: one
/// walks all metadata and every live file, the other reads what the allocator records.
pub trait FileSystem: fmt::Debug + Send + Sync {
    /// Returns what it says of itself.
    fn about(&self) -> &About;

    /// Claims every byte that belongs to metadata or to a live file, without looking at the allocator.
    ///
    /// # Errors
    ///
    /// A fault where it breaks its format; an error if the volume cannot be read.
    fn claim(&self, claims: &mut Claims) -> Outcome<()>;

    /// Returns what the allocator calls free.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::claim`].
    fn free(&self) -> Outcome<Ranges>;

    /// Returns the root directory.
    fn root(&self) -> FileId;

    /// Returns the directories that a system may have as its root, the one that a mount shows first.
    fn roots(&self) -> Vec<FileId> {
        vec![self.root()]
    }

    /// Returns the directory that paths of subvolumes start at.
    fn top(&self) -> FileId {
        self.root()
    }

    /// Returns the root directory of a subvolume, by its number.
    fn subvolume(&self, id: u64) -> Option<FileId> {
        let _ = id;
        None
    }

    /// Returns the attributes of a file.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::claim`].
    fn node(&self, id: FileId) -> Outcome<Node>;

    /// Returns the names in a directory, in its own order.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::claim`]; a fault if it is not a directory.
    fn entries(&self, folder: FileId) -> Outcome<Vec<Entry>>;

    /// Returns where the content of a regular file or a symbolic link lies.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::claim`]; a fault if it has none that can be read.
    fn content(&self, id: FileId) -> Outcome<Content>;

    /// Returns the bytes of a piece that is compressed, from their first one on.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::claim`].
    fn unpack(&self, packed: &Packed) -> Outcome<Vec<u8>> {
        let _ = packed;
        Err(Problem::Unsupported.text("it is compressed"))
    }

    /// Returns the extended attributes of a file, in the file system's order.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::claim`].
    fn attributes(&self, id: FileId) -> Outcome<Vec<Attribute>>;

    /// Reads bytes of the partition, as the tree sees them.
    ///
    /// # Errors
    ///
    /// As [`FileSystem::claim`].
    fn read(&self, offset: u64, buf: &mut [u8]) -> Outcome<()>;
}
