//! Members of any kind with all their attributes, as POSIX.1-2001 (PAX) has them, and files with holes in
//! the form that GNU tar calls 1.0.

use std::fmt::Write;
use std::ops::Range;

use crate::field;
use crate::tar::layout;
use crate::tar::layout::RECORD_LEN;
use crate::tar::layout::RECORD_SIZE;
use crate::tar::write::stored_len;

/// What a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file.
    File,
    /// Another name of a file that came before.
    HardLink(Vec<u8>),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A member and its attributes.
#[derive(Clone, Debug)]
pub struct PaxMember {
    /// Relative name, any bytes but NUL.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: MemberKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was changed: seconds since 1970, nanoseconds.
    pub modified: (i64, u32),
    /// Bytes of a file.
    pub size: u64,
    /// Data of a file, ascending; holes lie between. A file without holes has one range.
    pub data: Vec<Range<u64>>,
    /// Extended attributes.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl PaxMember {
    /// Tells whether the file is written with its holes.
    fn is_sparse(&self) -> bool {
        self.kind == MemberKind::File && stored_len(&self.data) < self.size
    }

    /// Returns the map of a file with holes, which stands in front of its data.
    fn map(&self) -> Vec<u8> {
        if !self.is_sparse() {
            return Vec::new();
        }
        // GNU tar ends with an empty entry where a hole ends the file.
        let trailing = self.data.last().is_none_or(|it| it.end < self.size);
        let trailing = trailing.then_some(self.size..self.size);
        let entries: Vec<_> = self.data.iter().chain(&trailing).collect();
        let mut map = format!("{}\n", entries.len());
        for entry in entries {
            let len = entry.end.strict_sub(entry.start);
            writeln!(map, "{}\n{len}", entry.start).expect("a string takes all");
        }
        let mut map = map.into_bytes();
        map.resize(map.len().next_multiple_of(RECORD_LEN), 0);
        map
    }

    /// Returns what stands in front of the member's data: headers, records, and the map of its holes.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let map = self.map();
        let map_len = u64::try_from(map.len()).expect("memory is under 2^64 bytes");
        let stored = match self.kind {
            MemberKind::File => stored_len(&self.data).strict_add(map_len),
            _ => 0,
        };
        let records = self.records(stored);
        let mut head = Vec::new();
        if !records.is_empty() {
            let len = u64::try_from(records.len()).expect("memory is under 2^64 bytes");
            let mut header = layout::encode("PaxHeaders/member", len);
            header[156] = b'x';
            layout::seal(&mut header);
            head.extend_from_slice(&header);
            head.extend_from_slice(&records);
            head.resize(head.len().next_multiple_of(RECORD_LEN), 0);
        }
        head.extend_from_slice(&self.header(stored));
        head.extend(map);
        head
    }

    fn header(&self, stored: u64) -> [u8; RECORD_LEN] {
        let fits = self.name.len() <= 100 && self.name.is_ascii() && !self.is_sparse();
        let name = fits.then(|| std::str::from_utf8(&self.name).ok()).flatten();
        let small = |value: u64, most: u64| if value < most { value } else { 0 };
        let mut header = layout::encode(name.unwrap_or("long-name"), small(stored, 1 << 33));
        let mut octal = |at: usize, value: u64| {
            field::put_bytes(&mut header, at, format!("{value:07o}\0").as_bytes());
        };
        octal(100, u64::from(self.mode & 0o7777));
        octal(108, small(self.uid.into(), 1 << 21));
        octal(116, small(self.gid.into(), 1 << 21));
        let (kind, device) = match &self.kind {
            MemberKind::File => (b'0', None),
            MemberKind::HardLink(_) => (b'1', None),
            MemberKind::Symlink(_) => (b'2', None),
            MemberKind::CharDevice(major, minor) => (b'3', Some((*major, *minor))),
            MemberKind::BlockDevice(major, minor) => (b'4', Some((*major, *minor))),
            MemberKind::Directory => (b'5', None),
            MemberKind::Fifo => (b'6', None),
        };
        if let Some((major, minor)) = device {
            octal(329, small(major.into(), 1 << 21));
            octal(337, small(minor.into(), 1 << 21));
        }
        let seconds = u64::try_from(self.modified.0).unwrap_or(0);
        layout::put_number(&mut header[136..148], small(seconds, 1 << 33));
        header[156] = kind;
        if let MemberKind::HardLink(target) | MemberKind::Symlink(target) = &self.kind
            && target.len() <= 100
        {
            field::put_bytes(&mut header, 157, target);
        }
        layout::seal(&mut header);
        header
    }

    /// Returns the records of what a plain header cannot say.
    fn records(&self, stored: u64) -> Vec<u8> {
        let mut records = Vec::new();
        let mut put = |key: &[u8], value: &[u8]| records.extend(record(key, value));
        if self.is_sparse() {
            put(b"GNU.sparse.major", b"1");
            put(b"GNU.sparse.minor", b"0");
            put(b"GNU.sparse.name", &self.name);
            put(b"GNU.sparse.realsize", self.size.to_string().as_bytes());
        } else if self.name.len() > 100 || !self.name.is_ascii() {
            put(b"path", &self.name);
        }
        if let MemberKind::HardLink(target) | MemberKind::Symlink(target) = &self.kind
            && (target.len() > 100 || !target.is_ascii())
        {
            put(b"linkpath", target);
        }
        if stored >= 1 << 33 {
            put(b"size", stored.to_string().as_bytes());
        }
        for (key, id) in [(&b"uid"[..], self.uid), (b"gid", self.gid)] {
            if id >= 1 << 21 {
                put(key, id.to_string().as_bytes());
            }
        }
        let (seconds, nanoseconds) = self.modified;
        if nanoseconds != 0 || !(0..1 << 33).contains(&seconds) {
            put(b"mtime", decimal(seconds, nanoseconds).as_bytes());
        }
        for (name, value) in &self.attributes {
            put(&[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        records
    }
}

/// Writes a time: a negative one counts back from 1970 as a whole.
fn decimal(seconds: i64, nanoseconds: u32) -> String {
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    if seconds >= 0 {
        return format!("{seconds}.{nanoseconds:09}");
    }
    let whole = seconds.strict_add(1).unsigned_abs();
    format!("-{whole}.{:09}", 1_000_000_000_u32.strict_sub(nanoseconds))
}

/// Writes a record: its length counts its own digits too.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len().strict_add(value.len()).strict_add(3);
    let mut len = rest.strict_add(1);
    while rest.strict_add(len.to_string().len()) != len {
        len = rest.strict_add(len.to_string().len());
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// Returns how many zeros follow the data of a member.
#[must_use]
pub fn padding(stored: u64) -> u64 {
    stored.next_multiple_of(RECORD_SIZE).strict_sub(stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_digits() {
        assert_eq!(record(b"a", b"b"), b"6 a=b\n");
        for len in 0..2000 {
            let record = record(b"path", &vec![b'x'; len]);
            let digits = record.iter().position(|byte| *byte == b' ').unwrap();
            let said: usize = std::str::from_utf8(&record[..digits]).unwrap().parse().unwrap();
            assert_eq!(said, record.len());
        }
    }

    #[test]
    fn times_before_1970_count_back() {
        assert_eq!(decimal(-1, 500_000_000), "-0.500000000");
        assert_eq!(decimal(-2, 0), "-2");
        assert_eq!(decimal(-2, 250_000_000), "-1.750000000");
        assert_eq!(decimal(7, 5), "7.000000005");
    }
}
