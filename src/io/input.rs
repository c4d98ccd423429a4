//! Inputs: regular files, block devices, members of archives, memory and any other storage, by position.

use std::fs::File;
use std::io;
use std::io::Seek;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::SeekFrom;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::io::all_data;
use crate::io::shared_extents::SharedExtent;
use crate::io::shared_extents::parts_of;
use crate::io::shared_extents::shared_extents;
use crate::io::system::unwritten_ranges;
use crate::io::system::will_need;
use crate::io::unwritten::overlay;
use crate::units::Extent;
use crate::units::ExtentKind;

/// What tells a changed file from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// Where the bytes of an input are.
#[derive(Debug)]
enum Bytes {
    File(File),
    /// A part of another input.
    Part {
        whole: Arc<Input>,
        start: u64,
    },
    Memory(Vec<u8>),
    /// Anything else that can be read.
    Other(Arc<dyn ReadAt>),
}

/// Bytes that can be read at any place, under a name: a regular file or block device, a member of an
/// archive, memory, or any storage that a program brings.
#[derive(Debug)]
pub struct Input {
    bytes: Bytes,
    path: PathBuf,
    len: u64,
    /// Taken at opening; a block device has no times that say anything.
    identity: Option<Identity>,
    /// The file is one that we laid down, and has holes where zeros came.
    is_laid_down: bool,
}

impl Input {
    /// Opens a regular file or block device.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses; `Invalid` if it is a folder, a pipe or a socket.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |e| Error::io("open", path, e);
        // A pipe must not be opened here: that would wait for its writer.
        let kind = std::fs::metadata(path).map_err(fail)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let what = if kind.is_dir() { "a folder" } else { "a pipe, socket or terminal" };
            return Err(Error::invalid(format!("it is {what}, expected a file or block device"))
                .in_file(path));
        }
        let mut file = File::open(path).map_err(fail)?;
        let (len, identity) = if kind.is_block_device() {
            (file.seek(io::SeekFrom::End(0)).map_err(fail)?, None)
        } else {
            let identity = Identity::of(&file).map_err(fail)?;
            (identity.size, Some(identity))
        };
        Ok(Self {
            bytes: Bytes::File(file),
            path: path.to_owned(),
            len,
            identity,
            is_laid_down: false,
        })
    }

    /// Makes an input of a regular file that is open and has no name of its own.
    pub(super) fn of_file(file: File, name: &Path) -> Result<Self> {
        let identity = Identity::of(&file).map_err(|e| Error::io("look at", name, e))?;
        let (len, identity) = (identity.size, Some(identity));
        Ok(Self {
            bytes: Bytes::File(file),
            path: name.to_owned(),
            len,
            identity,
            is_laid_down: false,
        })
    }

    /// Says that nothing is known of what was never written: the file's holes are zeros.
    pub(super) fn laid_down(self) -> Self {
        Self { is_laid_down: true, ..self }
    }

    /// Takes the `len` bytes of `whole` from `start` on as an input of its own, which is called
    /// `whole:name` in messages.
    ///
    /// # Errors
    ///
    /// `Corrupt` if `whole` ends before that.
    pub fn part(whole: &Arc<Self>, start: u64, len: u64, name: &str) -> Result<Self> {
        if start.checked_add(len).is_none_or(|end| end > whole.len) {
            let text = format!(
                "the file ends at byte {}, expected {len} bytes of {name:?} from here on",
                whole.len
            );
            return Err(Error::corrupt(text).at(start).in_file(&whole.path));
        }
        let mut path = whole.path.clone().into_os_string();
        path.push(":");
        path.push(name);
        let bytes = Bytes::Part { whole: Arc::clone(whole), start };
        Ok(Self { bytes, path: path.into(), len, identity: None, is_laid_down: false })
    }

    /// Makes an input of bytes in memory.
    #[must_use]
    pub fn memory(name: &str, bytes: Vec<u8>) -> Self {
        let len = ReadAt::len(&bytes);
        Self {
            bytes: Bytes::Memory(bytes),
            path: name.into(),
            len,
            identity: None,
            is_laid_down: false,
        }
    }

    /// Makes an input of any bytes that can be read by position, which is called `name` in messages.
    ///
    /// Their length is taken once. Each read is one call of `storage`, and lies inside that length; what
    /// it says of its extents and of changes is believed.
    #[must_use]
    pub fn of_storage(name: &Path, storage: Arc<dyn ReadAt>) -> Self {
        let len = storage.len();
        Self {
            bytes: Bytes::Other(storage),
            path: name.to_owned(),
            len,
            identity: None,
            is_laid_down: false,
        }
    }

    /// Returns the path, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the bytes are in a file or device that has a name, so that other files can lie
    /// beside it.
    #[must_use]
    pub fn is_in_file(&self) -> bool {
        match &self.bytes {
            Bytes::File(_) => true,
            Bytes::Part { whole, .. } => whole.is_in_file(),
            Bytes::Memory(_) | Bytes::Other(_) => false,
        }
    }

    /// Returns the device and inode numbers of the regular file that the bytes are in.
    #[must_use]
    pub fn inode(&self) -> Option<(u64, u64)> {
        match &self.bytes {
            Bytes::Part { whole, .. } => whole.inode(),
            _ => self.identity.map(|identity| (identity.device, identity.inode)),
        }
    }

    /// Returns the open file, if the input is all of a regular one.
    pub(crate) fn regular_file(&self) -> Option<&File> {
        match &self.bytes {
            Bytes::File(file) => self.identity.is_some().then_some(file),
            _ => None,
        }
    }

    fn too_many_extents(&self, limit: usize) -> Error {
        let text = format!("it has over {limit} extents, the limit");
        Error::new(Kind::Limit, text)
            .in_file(&self.path)
            .advise("copy it with `cp --sparse=always` to join its extents")
    }

    /// Returns the extents of an open file, as [`ReadAt::extents`].
    fn file_extents(&self, file: &File, limit: usize) -> Result<Vec<Extent>> {
        let mut extents = Vec::new();
        let mut at = 0;
        while at < self.len {
            let data = self.next(file, SeekFrom::Data(at))?;
            let start = data.unwrap_or(self.len).min(self.len);
            if start > at {
                let kind = if self.is_laid_down { ExtentKind::Zero } else { ExtentKind::Hole };
                extents.push(Extent { range: at..start, kind });
            }
            if start < self.len {
                let end = self.next(file, SeekFrom::Hole(start))?.unwrap_or(self.len);
                // A hole that starts where the data does would keep us here for ever.
                let end = end.min(self.len).max(start.strict_add(1));
                extents.push(Extent { range: start..end, kind: ExtentKind::Data });
                at = end;
            } else {
                at = self.len;
            }
            if extents.len() > limit {
                return Err(self.too_many_extents(limit));
            }
        }
        let zeros = unwritten_ranges(file)
            .map_err(|e| Error::io("find the unwritten ranges of", &self.path, e))?;
        let extents = overlay(extents, &zeros);
        if extents.len() > limit { Err(self.too_many_extents(limit)) } else { Ok(extents) }
    }

    /// Returns what another storage says of its bytes, if that can be.
    fn storage_extents(&self, storage: &dyn ReadAt, limit: usize) -> Result<Vec<Extent>> {
        let extents = storage.extents(limit).map_err(|e| self.refused(e))?;
        if extents.len() > limit {
            return Err(self.too_many_extents(limit));
        }
        let end = extents.iter().try_fold(0, |at, Extent { range, .. }| {
            (range.start == at && range.end > at).then_some(range.end)
        });
        if end == Some(self.len) {
            return Ok(extents);
        }
        let text =
            format!("the extents that its storage reports do not tile its {} bytes", self.len);
        Err(Error::new(Kind::Io, text).in_file(&self.path))
    }

    /// Makes a failure of another storage one of the system: its bytes are there, so they are not
    /// damaged.
    fn refused(&self, error: Error) -> Error {
        let error = error.in_file(&self.path);
        match error.kind() {
            Kind::Corrupt => error.with_kind(Kind::Io),
            _ => error,
        }
    }

    /// Seeks to the next data or hole; `None` past the last.
    fn next(&self, file: &File, from: SeekFrom) -> Result<Option<u64>> {
        match rustix::fs::seek(file, from) {
            Ok(offset) => Ok(Some(offset)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            // The file system has no such call: all of it may be data.
            Err(rustix::io::Errno::INVAL) => match from {
                SeekFrom::Data(at) => Ok(Some(at)),
                _ => Ok(None),
            },
            Err(e) => Err(Error::io("find the holes of", &self.path, e.into())),
        }
    }
}

impl Input {
    /// Says that `len` bytes were wanted at `offset` of a file that ends before.
    fn ends_early(&self, end: u64, len: usize, offset: u64) -> Error {
        let text = format!("the file ends at byte {end}, expected {len} bytes from here on");
        // Shorter than at opening: it was truncated. Else our caller asked past the end, because the
        // file's own numbers said so.
        let kind = if self.identity.is_some_and(|then| end < then.size) {
            Kind::Io
        } else {
            Kind::Corrupt
        };
        Error::new(kind, text).at(offset).in_file(&self.path)
    }
}

impl Input {
    /// Fails if a range does not lie inside the input.
    fn check_inside(&self, len: usize, offset: u64) -> Result<()> {
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        if end.is_some_and(|end| end <= self.len) {
            Ok(())
        } else {
            Err(self.ends_early(self.len, len, offset))
        }
    }
}

impl ReadAt for Input {
    fn len(&self) -> u64 {
        self.len
    }

    fn origin(&self) -> Option<&Path> {
        Some(&self.path)
    }

    /// A member of an archive, and memory, give one extent of data; so do a block device and a file
    /// system that has no holes. What is allocated and was never written counts as zeros.
    fn extents(&self, limit: usize) -> Result<Vec<Extent>> {
        match &self.bytes {
            Bytes::File(file) if self.identity.is_some() => self.file_extents(file, limit),
            Bytes::Other(storage) => self.storage_extents(storage, limit),
            Bytes::File(_) | Bytes::Part { .. } | Bytes::Memory(_) => Ok(all_data(self.len)),
        }
    }

    fn shared_extents(&self) -> Result<Vec<SharedExtent>> {
        match &self.bytes {
            Bytes::File(file) if self.identity.is_some() => shared_extents(file, self.len)
                .map_err(|e| Error::io("find the shared extents of", &self.path, e)),
            Bytes::Part { whole, start } => {
                Ok(parts_of(&whole.shared_extents()?, *start, self.len))
            }
            Bytes::Other(storage) => storage.shared_extents().map_err(|e| self.refused(e)),
            Bytes::File(_) | Bytes::Memory(_) => Ok(Vec::new()),
        }
    }

    fn will_need(&self, range: Range<u64>) {
        let range = range.start..range.end.min(self.len);
        match &self.bytes {
            Bytes::File(file) => will_need(file, range),
            Bytes::Part { whole, start } => {
                // Cannot overflow: the part lies inside the whole.
                whole.will_need(start.strict_add(range.start)..start.strict_add(range.end));
            }
            Bytes::Other(storage) => storage.will_need(range),
            Bytes::Memory(_) => {}
        }
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let file = match &self.bytes {
            Bytes::File(file) => file,
            Bytes::Part { whole, start } => {
                self.check_inside(buf.len(), offset)?;
                // Cannot overflow: the part lies inside the whole.
                return whole.read_exact_at(buf, start.strict_add(offset));
            }
            Bytes::Other(storage) => {
                self.check_inside(buf.len(), offset)?;
                return storage.read_exact_at(buf, offset).map_err(|e| self.refused(e).at(offset));
            }
            Bytes::Memory(bytes) => {
                return ReadAt::read_exact_at(bytes, buf, offset)
                    .map_err(|_| self.ends_early(self.len, buf.len(), offset));
            }
        };
        // By hand, so that the error names the place of a disk's bad sector.
        let (mut at, mut rest) = (offset, &mut *buf);
        while !rest.is_empty() {
            match file.read_at(rest, at) {
                Ok(0) => {
                    let len = file.metadata().map_or(self.len, |meta| meta.len());
                    return Err(self.ends_early(len, buf.len(), offset));
                }
                Ok(len) => {
                    rest = &mut rest[len..];
                    at = at.strict_add(u64::try_from(len).expect("at most the buffer"));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path, e).at(at)),
            }
        }
        Ok(())
    }

    fn check_unchanged(&self) -> Result<()> {
        let file = match &self.bytes {
            Bytes::File(file) => file,
            Bytes::Part { whole, .. } => return whole.check_unchanged(),
            Bytes::Memory(_) => return Ok(()),
            Bytes::Other(storage) => {
                return storage.check_unchanged().map_err(|e| self.refused(e));
            }
        };
        let Some(then) = self.identity else { return Ok(()) };
        let now = Identity::of(file).map_err(|e| Error::io("look at", &self.path, e))?;
        if now == then {
            return Ok(());
        }
        let what = if now.size == then.size {
            "its contents changed while it was read".to_owned()
        } else {
            format!("its size changed from {} to {} bytes while it was read", then.size, now.size)
        };
        Err(Error::new(Kind::Io, what)
            .in_file(&self.path)
            .advise("stop whatever writes to it and run this again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::ops::Range;

    /// A storage whose every call does what the test wants.
    #[derive(Debug)]
    struct Storage {
        fails: Option<io::ErrorKind>,
        extents: Vec<(Range<u64>, ExtentKind)>,
    }

    impl Storage {
        fn answer(&self) -> Result<()> {
            self.fails.map_or(Ok(()), |kind| Err(Error::io("read", Path::new("peer"), kind.into())))
        }
    }

    impl ReadAt for Storage {
        fn len(&self) -> u64 {
            10
        }

        fn read_exact_at(&self, buf: &mut [u8], _offset: u64) -> Result<()> {
            buf.fill(7);
            self.answer()
        }

        fn extents(&self, _limit: usize) -> Result<Vec<Extent>> {
            let extents = self.extents.iter().cloned();
            self.answer().map(|()| extents.map(|(range, kind)| Extent { range, kind }).collect())
        }

        fn check_unchanged(&self) -> Result<()> {
            self.answer()
        }
    }

    fn input(fails: Option<io::ErrorKind>, extents: &[(Range<u64>, ExtentKind)]) -> Input {
        let storage = Storage { fails, extents: extents.to_vec() };
        Input::of_storage(Path::new("far"), Arc::new(storage))
    }

    #[test]
    fn any_storage_is_read_inside_its_length_only() {
        let input = input(None, &[]);
        let mut buf = [0; 4];
        input.read_exact_at(&mut buf, 6).unwrap();
        assert_eq!((input.len(), buf), (10, [7; 4]));
        for offset in [7, u64::MAX] {
            let error = input.read_exact_at(&mut buf, offset).unwrap_err();
            assert_eq!((error.kind(), error.path()), (Kind::Corrupt, Some(Path::new("far"))));
        }
        assert!(!input.is_in_file() && input.inode().is_none());
    }

    /// A connection that breaks looks like a file that ends early, and is not damage either.
    #[test]
    fn no_refusal_of_a_storage_is_damage() {
        for fails in [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::Other,
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::TimedOut,
            io::ErrorKind::UnexpectedEof,
        ] {
            let input = input(Some(fails), &[(0..10, ExtentKind::Data)]);
            let read = input.read_exact_at(&mut [0; 4], 0);
            for result in [read, input.extents(9).map(drop), input.check_unchanged()] {
                assert_eq!(result.unwrap_err().kind(), Kind::Io, "{fails}");
            }
        }
    }

    #[test]
    fn extents_of_a_storage_must_tile_it() {
        let (data, hole) = (ExtentKind::Data, ExtentKind::Hole);
        let sound = [(0..4, data), (4..10, hole)];
        let extents = input(None, &sound).extents(2).unwrap();
        assert_eq!(extents.iter().map(|it| it.range.clone()).collect::<Vec<_>>(), [0..4, 4..10]);
        assert_eq!(input(None, &sound).extents(1).unwrap_err().kind(), Kind::Limit);
        let bad: [&[_]; 6] = [
            &[],
            &[(0..9, data)],
            &[(0..11, data)],
            &[(1..10, data)],
            &[(0..4, data), (5..10, hole)],
            &[(0..4, data), (4..4, hole), (4..10, data)],
        ];
        for bad in bad {
            assert_eq!(input(None, bad).extents(9).unwrap_err().kind(), Kind::Io, "{bad:?}");
        }
    }
}
