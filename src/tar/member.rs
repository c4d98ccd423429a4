//! A member as an input of its own, whatever way the archive stores it.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::ReadAt;
use crate::tar::Member;
use crate::units::Extent;
use crate::units::ExtentKind;

impl Member {
    /// Takes the member as an input, called `archive:name` in messages. A sparse member's bytes are those
    /// of the file that was stored, and its holes are extents of the input.
    ///
    /// # Errors
    ///
    /// As [`Input::part`].
    pub fn open(&self, archive: &Arc<Input>) -> Result<Input> {
        let Some(map) = &self.sparse else {
            return Input::part(archive, self.offset, self.stored_len, &self.name);
        };
        let mut at = self.offset;
        let pieces = map.segments.iter().map(|segment| {
            let piece = Piece { offset: segment.offset, len: segment.len, at };
            // Cannot overflow: the stored bytes lie inside the archive.
            at = at.strict_add(segment.len);
            piece
        });
        let pieces = pieces.collect();
        let mut path = archive.path().as_os_str().to_owned();
        path.push(":");
        path.push(&self.name);
        let file = SparseFile { archive: Arc::clone(archive), size: map.size, pieces };
        Ok(Input::of_storage(&PathBuf::from(path), Arc::new(file)))
    }
}

/// Bytes of a file that the archive stores together.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Their place in the file.
    offset: u64,
    len: u64,
    /// Their place in the archive.
    at: u64,
}

/// A sparse file that is stored in an archive.
#[derive(Debug)]
struct SparseFile {
    archive: Arc<Input>,
    size: u64,
    /// Ascending, apart from each other, inside the file: the layout has checked that.
    pieces: Vec<Piece>,
}

impl ReadAt for SparseFile {
    fn len(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let len = u64::try_from(buf.len()).expect("memory is under 2^64 bytes");
        let end = offset.checked_add(len).filter(|end| *end <= self.size);
        let Some(end) = end else {
            return Err(Error::corrupt("the file in the archive ends early").at(offset));
        };
        buf.fill(0);
        let first = self.pieces.partition_point(|it| it.offset.strict_add(it.len) <= offset);
        for piece in self.pieces[first..].iter().take_while(|it| it.offset < end) {
            let from = piece.offset.max(offset);
            let to = piece.offset.strict_add(piece.len).min(end);
            // Cannot underflow: both bounds lie inside the piece and inside the range.
            let within = |at: u64| usize::try_from(at.strict_sub(offset)).expect("in the buffer");
            let at = piece.at.strict_add(from.strict_sub(piece.offset));
            self.archive.read_exact_at(&mut buf[within(from)..within(to)], at)?;
        }
        Ok(())
    }

    fn extents(&self, limit: usize) -> Result<Vec<Extent>> {
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = 0;
        let end = Piece { offset: self.size, len: 0, at: 0 };
        for piece in self.pieces.iter().chain([&end]) {
            let stop = piece.offset.strict_add(piece.len);
            if piece.offset > at {
                extents.push(Extent { range: at..piece.offset, kind: ExtentKind::Hole });
            }
            match extents.last_mut() {
                // Segments may touch.
                Some(last) if last.kind == ExtentKind::Data => last.range.end = stop,
                _ if piece.len > 0 => {
                    extents.push(Extent { range: piece.offset..stop, kind: ExtentKind::Data });
                }
                _ => {}
            }
            if extents.len() > limit {
                let text =
                    format!("its sparse map has over {limit} extents, the most that are read");
                return Err(Error::new(Kind::Limit, text));
            }
            at = stop;
        }
        Ok(extents)
    }

    fn origin(&self) -> Option<&Path> {
        self.archive.origin()
    }

    fn check_unchanged(&self) -> Result<()> {
        self.archive.check_unchanged()
    }
}
