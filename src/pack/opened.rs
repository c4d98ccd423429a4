//! A pack, open: its tables are checked, and its groups are found by number.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::digest::Digest;
use crate::digest::crc32;
use crate::error::Error;
use crate::error::Result;
use crate::field;
use crate::io::Input;
use crate::io::Mapped;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::pack::Base;
use crate::pack::GroupId;
use crate::pack::layout;
use crate::pack::layout::ENTRY_LEN;
use crate::pack::layout::Entry;
use crate::pack::layout::FOOTER_LEN;
use crate::pack::layout::FOOTER_SIZE;
use crate::pack::layout::Footer;
use crate::pack::layout::Form;
use crate::pack::layout::GROUP_LEN;
use crate::pack::layout::Group;
use crate::pack::layout::HEADER_LEN;
use crate::pack::layout::HEADER_SIZE;
use crate::pack::layout::PackFault;
use crate::pack::layout::Region;
use crate::pack::layout::SKIP_SIZE;

/// Tells the packs of a process apart.
static NEXT_SERIAL: AtomicU64 = AtomicU64::new(0);

/// A pack, open: header, index and footer are checked.
#[derive(Debug)]
pub struct Pack {
    serial: u64,
    input: Arc<Input>,
    start: u64,
    footer: Footer,
    groups: Vec<Group>,
    /// Both tables.
    index: Mapped,
    /// What its patched chunks depend on.
    base: Option<Arc<dyn Base>>,
    /// One more than the number of the whole group that was begun last, to tell reading in order.
    begun: AtomicU32,
}

impl Pack {
    /// Opens the pack that is `len` bytes of `input`, from byte `start` on.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Unsupported`, with the file's name, if it is not a sound pack.
    pub fn open(input: Arc<Input>, start: u64, len: u64) -> Result<Self> {
        let path = input.path().to_owned();
        Self::open_unnamed(input, start, len).map_err(|e| e.in_file(&path))
    }

    fn open_unnamed(input: Arc<Input>, start: u64, len: u64) -> Result<Self> {
        let shortest = HEADER_SIZE.strict_add(SKIP_SIZE).strict_add(FOOTER_SIZE);
        let inside = start.checked_add(len).is_some_and(|end| end <= input.len());
        if len < shortest || !inside {
            return Err(PackFault::Short { found: len.min(input.len()) }.into());
        }
        let mut header = [0; HEADER_LEN];
        input.read_exact_at(&mut header, start)?;
        layout::check_header(&header).map_err(|fault| Error::from(fault).at(start))?;
        let mut footer = [0; FOOTER_LEN];
        // Cannot overflow: the pack lies inside the file and is longer than its footer.
        let footer_at = start.strict_add(len.strict_sub(FOOTER_SIZE));
        input.read_exact_at(&mut footer, footer_at)?;
        let footer =
            Footer::parse(&footer, len).map_err(|fault| Error::from(fault).at(footer_at))?;
        let (found, expected) = (crc32(&header), footer.header_crc);
        if found != expected {
            let fault = PackFault::Checksum { of: "header", found, expected };
            return Err(Error::from(fault).at(start));
        }
        let index_at = start.strict_add(footer.index_offset);
        let mut frame = [0; 8];
        input.read_exact_at(&mut frame, index_at.strict_sub(SKIP_SIZE))?;
        if frame != layout::index_frame(footer.group_count, footer.chunk_count) {
            return Err(Error::from(PackFault::Frame { of: "index" }).at(index_at));
        }
        let index_len = footer_at.strict_sub(index_at);
        let index = Mapped::new(&input, index_at, index_len)?;
        let (found, expected) = (crc32(&index), footer.index_crc);
        if found != expected {
            let fault = PackFault::Checksum { of: "index", found, expected };
            return Err(index.blame(Error::from(fault).at(index_at)));
        }
        let fail = |fault: PackFault| index.blame(Error::from(fault).at(index_at));
        let groups = groups(&index, &footer).map_err(fail)?;
        let serial = NEXT_SERIAL.fetch_add(1, Ordering::Relaxed);
        let pack = Self {
            serial,
            input,
            start,
            footer,
            groups,
            index,
            base: None,
            begun: AtomicU32::new(0),
        };
        match pack.check_entries() {
            Ok(()) => Ok(pack),
            Err(fault) => Err(pack.index.blame(Error::from(fault).at(index_at))),
        }
    }

    /// Checks that the ids ascend and that each place in a group is that of one chunk.
    fn check_entries(&self) -> Result<(), PackFault> {
        let firsts = self.firsts();
        let mut taken = vec![false; self.entries().len()];
        let mut last: Option<Digest> = None;
        for (number, bytes) in (0..).zip(self.entries()) {
            let entry = Entry::parse(bytes);
            if last.is_some_and(|last| last >= entry.id) {
                return Err(PackFault::Order { entry: number });
            }
            last = Some(entry.id);
            let place = self.place_of(&entry, &firsts).and_then(|place| taken.get_mut(place));
            match place {
                Some(taken) if !*taken => *taken = true,
                _ => return Err(PackFault::Place { entry: number }),
            }
        }
        Ok(())
    }

    /// Returns how many chunks the groups before each have.
    fn firsts(&self) -> Vec<usize> {
        let mut next = 0_usize;
        let firsts = self.groups.iter().map(|group| {
            let first = next;
            next = next.strict_add(usize::from(group.chunks));
            first
        });
        firsts.collect()
    }

    /// Returns a chunk's place among all in the order of the groups, if its group has it.
    fn place_of(&self, entry: &Entry, firsts: &[usize]) -> Option<usize> {
        let group = self.groups.get(usize::from(entry.group))?;
        let first = firsts[usize::from(entry.group)];
        (entry.position < group.chunks).then(|| first.strict_add(usize::from(entry.position)))
    }

    /// Returns the table of chunks.
    fn entries(&self) -> &[[u8; ENTRY_LEN]] {
        self.index[self.groups.len().strict_mul(GROUP_LEN)..].as_chunks().0
    }

    /// Says what the pack's patched chunks depend on.
    #[must_use]
    pub fn over(self, base: Option<Arc<dyn Base>>) -> Self {
        Self { base, ..self }
    }

    /// Returns what the pack's patched chunks depend on.
    #[must_use]
    pub fn base(&self) -> Option<&dyn Base> {
        self.base.as_deref()
    }

    /// Returns the file that holds the pack.
    #[must_use]
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Returns how many chunks there are.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.footer.chunk_count
    }

    /// Returns the part of a volume that the chunks are of.
    #[must_use]
    pub fn region(&self) -> Region {
        self.footer.region
    }

    /// Returns the bytes of the pack.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.footer.file_len
    }

    /// Returns the bytes that the stored groups take.
    #[must_use]
    pub fn stored_len(&self) -> u64 {
        self.footer.index_offset.strict_sub(SKIP_SIZE).strict_sub(HEADER_SIZE)
    }

    /// Returns the groups, in their order.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the group of a chunk.
    ///
    /// # Panics
    ///
    /// If the chunk is one of another pack.
    #[must_use]
    pub fn group_of(&self, entry: &Entry) -> &Group {
        &self.groups[usize::from(entry.group)]
    }

    /// Names a group among those of all packs.
    #[must_use]
    pub fn group_id(&self, number: u16) -> GroupId {
        GroupId { pack: self.serial, number }
    }

    /// Returns the chunk ids in the order of the groups.
    ///
    /// # Errors
    ///
    /// `Io` if the index changed under us.
    pub fn ids(&self) -> Result<Vec<Digest>> {
        let firsts = self.firsts();
        let mut ids = vec![Digest([0; 32]); self.entries().len()];
        for bytes in self.entries() {
            let entry = Entry::parse(bytes);
            if let Some(place) = self.place_of(&entry, &firsts) {
                ids[place] = entry.id;
            }
        }
        self.index.check().map(|()| ids)
    }

    /// Returns entry `number` of the index, in the order of ids.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the index changed under us.
    ///
    /// # Panics
    ///
    /// If there is no such entry.
    pub fn entry(&self, number: u32) -> Result<Entry> {
        let place = usize::try_from(number).expect("at most 65,536");
        self.checked(Entry::parse(&self.entries()[place]), number)
    }

    /// Returns an entry if its group has it: the index may have changed since it was checked.
    fn checked(&self, entry: Entry, number: u32) -> Result<Entry> {
        let group = self.groups.get(usize::from(entry.group));
        if group.is_some_and(|group| entry.position < group.chunks) {
            Ok(entry)
        } else {
            let error = Error::from(PackFault::Place { entry: number });
            Err(self.index.blame(error).in_file(self.input.path()))
        }
    }

    /// Returns where the chunk `id` is stored, or `None` if it is not in this pack.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the index changed under us.
    pub fn find(&self, id: &Digest) -> Result<Option<Entry>> {
        let entries = self.entries();
        match entries.binary_search_by_key(&id.0, |bytes| field::array(bytes, 0)) {
            Ok(place) => {
                let number = u32::try_from(place).expect("at most 65,536");
                self.checked(Entry::parse(&entries[place]), number).map(Some)
            }
            Err(_) => self.index.check().map(|()| None),
        }
    }

    /// Reads a group's stored bytes into `stored` and checks their CRC-32.
    ///
    /// # Errors
    ///
    /// `Io` or `Corrupt`, with the file's name and the offset.
    ///
    /// # Panics
    ///
    /// If there is no such group.
    pub fn read_stored(&self, number: u16, stored: &mut Vec<u8>) -> Result<()> {
        let group = &self.groups[usize::from(number)];
        // The group was checked to lie inside the pack, and the pack inside the file.
        stored.resize(usize::try_from(group.len).expect("32 bits"), 0);
        let at = self.start.strict_add(group.offset);
        for (piece, at) in stored.chunks_mut(READ_PIECE_LEN).zip((at..).step_by(READ_PIECE_LEN)) {
            self.input.read_exact_at(piece, at)?;
        }
        let (found, expected) = (crc32(stored), group.crc);
        if found == expected {
            Ok(())
        } else {
            let fault = PackFault::Checksum { of: "stored group", found, expected };
            Err(self.fail(number, fault.into()))
        }
    }

    /// Says where a failure in a group's bytes is.
    pub(super) fn fail(&self, number: u16, error: Error) -> Error {
        let at = self.start.strict_add(self.groups[usize::from(number)].offset);
        error.at(at).in_file(self.input.path())
    }

    /// Notes that a group is begun, and tells whether it follows the one that was begun before, or is the
    /// first: then the pack is probably read in order.
    pub(super) fn begin(&self, number: u16) -> bool {
        let before =
            self.previous_whole(number).map_or(0, |before| u32::from(before).strict_add(1));
        let now = u32::from(number).strict_add(1);
        self.begun.swap(now, Ordering::Relaxed) == before
    }

    /// Returns the whole group behind a group.
    pub(super) fn next_whole(&self, number: u16) -> Option<u16> {
        let next = usize::from(number).strict_add(1);
        let found = self.groups[next..].iter().position(|group| group.form == Form::Whole)?;
        u16::try_from(next.strict_add(found)).ok()
    }

    /// Returns the whole group before a group.
    pub(super) fn previous_whole(&self, number: u16) -> Option<u16> {
        let before = &self.groups[..usize::from(number)];
        let found = before.iter().rposition(|group| group.form == Form::Whole)?;
        u16::try_from(found).ok()
    }
}

/// Reads the table of groups, and checks that they tile their part of the pack.
fn groups(index: &[u8], footer: &Footer) -> Result<Vec<Group>, PackFault> {
    let count = usize::try_from(footer.group_count).expect("at most 65,536");
    let mut groups = Vec::with_capacity(count);
    let mut next = HEADER_SIZE;
    let mut chunks = 0_u32;
    for bytes in index[..count.strict_mul(GROUP_LEN)].as_chunks().0 {
        let group = Group::parse(bytes)?;
        if group.offset != next || group.len == 0 {
            return Err(PackFault::Tiling { offset: next });
        }
        // Neither can overflow: at most 65,536 groups, of less than 4 GiB and at most 128 chunks.
        next = next.strict_add(u64::from(group.len));
        chunks = chunks.strict_add(u32::from(group.chunks));
        groups.push(group);
    }
    if next != footer.index_offset.strict_sub(SKIP_SIZE) {
        return Err(PackFault::Tiling { offset: next });
    }
    if chunks == footer.chunk_count {
        Ok(groups)
    } else {
        let (offset, groups) = (footer.index_offset, footer.group_count);
        Err(PackFault::Index { offset, groups, chunks: footer.chunk_count })
    }
}
