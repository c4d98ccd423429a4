//! From the L1 and L2 tables of one image to a map of runs.

use crate::digest::is_zero;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::format::qcow2::layout;
use crate::format::qcow2::layout::Entry;
use crate::format::qcow2::layout::HEADER_LEN;
use crate::format::qcow2::layout::Header;
use crate::format::qcow2::layout::MAX_TABLES_LEN;
use crate::format::qcow2::layout::Qcow2Fault;
use crate::format::qcow2::layout::What;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::check_size;

/// Bytes that are read at once where tables are smaller. Eight tables of the smallest clusters fit.
const WINDOW_LEN: u64 = 4096;

/// One image of a chain.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) header: Header,
    /// Its runs; without a backing file, nothing of it is `Backing`.
    pub(super) map: RunMap,
    pub(super) backing: Option<Backing>,
}

/// What an image says of its backing file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backing {
    pub(super) name: String,
    pub(super) format: Option<String>,
}

/// Reads the metadata of an image. Its runs point into source number `source`.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit` with the offset of what breaks the format; `Invalid` for a
/// volume of no bytes; `Io` if it cannot be read.
pub(super) fn parse(bytes: &dyn ReadAt, source: u16, force: bool) -> Result<Layer> {
    let head_len = u64::try_from(HEADER_LEN).expect("a small number").min(bytes.len());
    let head = read_vec(bytes, 0, head_len)?;
    let header = Header::parse(&head).map_err(|(at, fault)| Error::from(fault).at(at))?;
    check_size(header.size).map_err(|e| e.at(24))?;
    check_marks(&header, force)?;
    let backing = read_backing(bytes, &header)?;
    let mut walk = Walk {
        bytes,
        header: &header,
        source,
        skipped: if backing.is_some() { Place::Backing } else { Place::Hole },
        map: RunMap::default(),
        window: Window { start: 0, bytes: Vec::new() },
    };
    walk.tables()?;
    let map = walk.map;
    Ok(Layer { header, map, backing })
}

/// Refuses an image that says of itself that it is not sound, unless the user wants it all the same.
fn check_marks(header: &Header, force: bool) -> Result<()> {
    let fault = match header {
        _ if force => return Ok(()),
        Header { corrupt: true, .. } => Qcow2Fault::MarkedCorrupt,
        Header { dirty: true, .. } => Qcow2Fault::Dirty,
        _ => return Ok(()),
    };
    Err(Error::from(fault)
        .at(72)
        .advise(Advice::Force { first: "repair it with `qemu-img check -r all`".into() }))
}

fn read_backing(bytes: &dyn ReadAt, header: &Header) -> Result<Option<Backing>> {
    let Some((start, len)) = header.backing else { return Ok(None) };
    let name = read_vec(bytes, start, len.into())?;
    let text = |_| Error::from(Qcow2Fault::BackingText).at(start);
    let name = String::from_utf8(name).map_err(text)?;
    let first = u64::from(header.header_len);
    // Cannot underflow: the name stands behind the header.
    let extensions = read_vec(bytes, first, start.strict_sub(first))?;
    let format = layout::backing_format(&extensions)
        // Cannot overflow: inside the first cluster.
        .map_err(|(at, fault)| Error::from(fault).at(first.strict_add(at)))?;
    Ok(Some(Backing { name, format: format.map(str::to_owned) }))
}

/// A walk over the tables of an image.
struct Walk<'a> {
    bytes: &'a dyn ReadAt,
    header: &'a Header,
    source: u16,
    /// What an unallocated cluster is.
    skipped: Place,
    map: RunMap,
    window: Window,
}

impl Walk<'_> {
    fn tables(&mut self) -> Result<()> {
        let Header { size, l1_offset, l1_entries, .. } = *self.header;
        // Cannot overflow: at most MAX_L1_ENTRIES.
        let whole_len = u64::from(l1_entries).strict_mul(8);
        self.check_inside(What::L1, l1_offset, whole_len).map_err(|e| e.at(40))?;
        let l1 = read_vec(self.bytes, l1_offset, self.header.l1_needed().strict_mul(8))?;
        let (words, _) = l1.as_chunks::<8>();
        let mut starts = Vec::new();
        let mut at = l1_offset;
        for word in words {
            let start = self
                .header
                .l1_entry(u64::from_be_bytes(*word))
                .map_err(|fault| Error::from(fault).at(at))?;
            if let Some(start) = start {
                self.check_inside(What::L2, start, self.header.cluster_len())
                    .map_err(|e| e.at(at))?;
                starts.push(start);
            }
            at = at.strict_add(8);
        }
        self.check_tables(starts)?;
        for word in words {
            let left = size.strict_sub(self.map.size());
            let len = left.min(self.header.table_span());
            match self.header.l1_entry(u64::from_be_bytes(*word)).expect("checked above") {
                Some(start) => self.table(start, len)?,
                None => self.push(len, self.skipped)?,
            }
        }
        Ok(())
    }

    /// Bounds the work before it starts: a small file could name one table a million times, and a
    /// sparse file have a million of them.
    fn check_tables(&self, mut starts: Vec<u64>) -> Result<()> {
        let count = u64::try_from(starts.len()).expect("at most MAX_L1_ENTRIES");
        // Cannot overflow: 2^22 tables of 2^21 bytes.
        let found = count.strict_mul(self.header.cluster_len());
        if found > MAX_TABLES_LEN {
            return Err(Error::from(Qcow2Fault::TablesLen { found }).at(self.header.l1_offset));
        }
        starts.sort_unstable();
        match starts.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let fault = Qcow2Fault::Shared { start: pair[0] };
                Err(Error::from(fault).at(self.header.l1_offset))
            }
            None => Ok(()),
        }
    }

    /// Walks the L2 table at `start`, which tells the next `len` bytes of the volume.
    fn table(&mut self, start: u64, len: u64) -> Result<()> {
        let entry_len = self.header.entry_len();
        let cluster_len = self.header.cluster_len();
        let step = u64::try_from(entry_len).expect("8 or 16");
        // Cannot overflow: inside the table.
        let end = start.strict_add(len.div_ceil(cluster_len).strict_mul(step));
        let (mut at, mut left) = (start, len);
        let mut window = std::mem::replace(&mut self.window, Window { start: 0, bytes: vec![] });
        while at < end {
            let piece = window.get(self.bytes, at, end.strict_sub(at))?;
            let piece_len = u64::try_from(piece.len()).expect("at most a piece");
            if is_zero(piece) {
                let entries = piece_len.strict_div(step);
                let len = entries.strict_mul(cluster_len).min(left);
                left = left.strict_sub(len);
                self.push(len, self.skipped)?;
            } else {
                let mut entry_at = at;
                for entry in piece.chunks_exact(entry_len) {
                    let len = left.min(cluster_len);
                    left = left.strict_sub(len);
                    self.entry(entry, len).map_err(|e| e.at(entry_at))?;
                    entry_at = entry_at.strict_add(step);
                }
            }
            at = at.strict_add(piece_len);
        }
        self.window = window;
        Ok(())
    }

    /// Adds the cluster that an L2 entry tells; `len` is less than a cluster only at the volume's
    /// end.
    fn entry(&mut self, entry: &[u8], len: u64) -> Result<()> {
        let parts = if self.header.extended { field::u64_be(entry, 8) } else { 0 };
        match self.header.l2_entry(field::u64_be(entry, 0), parts)? {
            Entry::Unallocated => self.push(len, self.skipped),
            Entry::Zero => self.push(len, Place::Zero),
            Entry::Stored { offset } => self.stored(offset, len),
            Entry::Packed { offset, len: packed_len } => {
                let file_len = self.bytes.len();
                if offset >= file_len {
                    let fault =
                        Qcow2Fault::Outside { what: What::Packed, end: offset, len: file_len };
                    return Err(fault.into());
                }
                let source = self.source;
                self.push(len, Place::Packed { source, offset, len: packed_len, skip: 0 })
            }
            Entry::Parts { offset, parts } => {
                let part_len = self.header.cluster_len().strict_div(32);
                let mut start = 0_u64;
                for number in 0..32 {
                    let len = len.saturating_sub(start).min(part_len);
                    let has = |bit: u32| parts & 1_u64.strict_shl(bit) != 0;
                    if has(number) {
                        self.stored(offset.strict_add(start), len)?;
                    } else if has(number.strict_add(32)) {
                        self.push(len, Place::Zero)?;
                    } else {
                        self.push(len, self.skipped)?;
                    }
                    start = start.strict_add(part_len);
                }
                Ok(())
            }
        }
    }

    fn stored(&mut self, offset: u64, len: u64) -> Result<()> {
        if len != 0 {
            self.check_inside(What::Cluster, offset, len)?;
        }
        self.push(len, Place::Stored { source: self.source, offset })
    }

    fn push(&mut self, len: u64, place: Place) -> Result<()> {
        self.map.push(len, place);
        if self.map.run_count() > MAX_RUNS { Err(Qcow2Fault::Runs.into()) } else { Ok(()) }
    }

    fn check_inside(&self, what: What, start: u64, len: u64) -> Result<()> {
        let file_len = self.bytes.len();
        let end = start.saturating_add(len);
        if end <= file_len {
            return Ok(());
        }
        Err(Qcow2Fault::Outside { what, end, len: file_len }.into())
    }
}

/// The part of the file that was read last.
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Returns the bytes from `at` on: all `len` of them, or a part that ends between entries. They
    /// are in the file.
    fn get(&mut self, source: &dyn ReadAt, at: u64, len: u64) -> Result<&[u8]> {
        let most = u64::try_from(READ_PIECE_LEN).expect("a piece");
        let len = len.min(most);
        let inside = at
            .checked_sub(self.start)
            .and_then(|skip| usize::try_from(skip).ok())
            .filter(|skip| skip.saturating_add(usize_of(len)) <= self.bytes.len());
        let skip = if let Some(skip) = inside {
            skip
        } else {
            let more = len.max(WINDOW_LEN).min(source.len().strict_sub(at));
            self.start = at;
            self.bytes.resize(usize_of(more), 0);
            source.read_exact_at(&mut self.bytes, at)?;
            0
        };
        Ok(&self.bytes[skip..][..usize_of(len)])
    }
}

fn usize_of(len: u64) -> usize {
    usize::try_from(len).expect("at most a piece")
}
