//! Databases of rpm: `SQLite`, ndb and Berkeley DB. Each package is a header of tags.
//!
//! ```text
//! header (big-endian): 0 4 entries, 4 4 bytes of data, 16 bytes an entry { tag, type, offset, count }, data
//! ndb (little-endian): 0 "RpmP", 12 4 pages of slots; slots of 16 bytes from byte 32 on
//!   { "Slot", package, place in units of 16 bytes, count of these }; there 16 bytes
//!   { "BlbS", package, generation, length }, then the header
//! ```

use crate::field;
use crate::guest::failure::Failure;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::packages::bdb;
use crate::guest::packages::package::Package;
use crate::guest::packages::sqlite::Database;
use crate::guest::packages::sqlite::values;
use crate::guest::tree::FileReader;
use crate::guest::tree::Tree;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const ARCH: u32 = 1022;

/// Digests of all of a header that the one who built the package wrote.
const DIGESTS: [u32; 2] = [273, 269];

/// Most bytes of slots: 65,536 packages.
const MAX_SLOTS_LEN: u64 = 1 << 20;

/// Most bytes of a header: what rpm itself allows.
const MAX_HEADER_LEN: u32 = 256 << 20;

fn broken() -> Failure {
    Problem::Damaged.text("its rpm database is damaged")
}

/// Takes the header of a package.
type Take<'t> = dyn FnMut(&[u8]) -> Outcome<()> + 't;

/// Reads the headers of all packages in a database.
pub(super) type Read = fn(&Tree<'_>, &[u8], &mut Take<'_>) -> Outcome<()>;

/// Reads the packages of a database.
pub(super) fn from(read: Read, tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<Package>> {
    let mut found = Vec::new();
    read(tree, path, &mut |header| {
        found.extend(package(header)?);
        Ok(())
    })?;
    Ok(found)
}

/// Reads what the packages of a database are, down to each byte that came with them: name, version and the digest of the
/// header, sorted.
pub(super) fn identities(read: Read, tree: &Tree<'_>, path: &[u8]) -> Outcome<Vec<[String; 3]>> {
    let mut found = Vec::new();
    read(tree, path, &mut |header| {
        found.push(identity(header)?);
        Ok(())
    })?;
    found.sort();
    Ok(found)
}

/// Reads the database that rpm has had since version 4.16.
pub(super) fn sqlite(tree: &Tree<'_>, path: &[u8], take: &mut Take<'_>) -> Outcome<()> {
    // What a log holds beside the database has not reached it.
    let log = [path, b"-wal"].concat();
    if let Some(spot) = tree.try_find(&log)?
        && tree.node(spot)?.size > 0
    {
        let text = "its rpm database has a log that was not merged";
        return Err(Problem::Unsupported.text(text));
    }
    let file = tree.reader(tree.find(path)?)?;
    let read = |at, buf: &mut [u8]| file.read(at, buf);
    let database = Database::open(&read, file.size())?;
    database.rows(database.table("Packages")?, &mut |record| {
        let values = values(record)?;
        take(values.last().ok_or_else(broken)?)
    })
}

/// Reads the database of SUSE.
pub(super) fn ndb(tree: &Tree<'_>, path: &[u8], take: &mut Take<'_>) -> Outcome<()> {
    let file = tree.reader(tree.find(path)?)?;
    let mut head = [0; 32];
    bytes(&file, 0, &mut head)?;
    if !head.starts_with(b"RpmP") {
        return Err(broken());
    }
    let slots_len = u64::from(field::u32_le(&head, 12)).strict_mul(4096);
    if !(32..=MAX_SLOTS_LEN).contains(&slots_len) {
        return Err(broken());
    }
    let mut slots = vec![0; usize::try_from(slots_len.strict_sub(32)).expect("at most 1 MiB")];
    bytes(&file, 32, &mut slots)?;
    for slot in slots.chunks_exact(16).filter(|slot| slot.starts_with(b"Slot")) {
        let number = field::u32_le(slot, 4);
        if number == 0 {
            continue;
        }
        let place = u64::from(field::u32_le(slot, 8)).strict_mul(16);
        let mut blob = [0; 16];
        bytes(&file, place, &mut blob)?;
        let len = field::u32_le(&blob, 12);
        let is_whole = u64::from(len) <= file.size().saturating_sub(place);
        if !blob.starts_with(b"BlbS") || field::u32_le(&blob, 4) != number || !is_whole {
            return Err(broken());
        }
        if len > MAX_HEADER_LEN {
            return Err(Problem::Limit.text("a package's header is over 256 MiB long"));
        }
        let mut header = vec![0; usize::try_from(len).map_err(|_| broken())?];
        bytes(&file, place.strict_add(16), &mut header)?;
        take(&header)?;
    }
    Ok(())
}

/// Reads the database that rpm had before version 4.16.
pub(super) fn bdb(tree: &Tree<'_>, path: &[u8], take: &mut Take<'_>) -> Outcome<()> {
    let file = tree.reader(tree.find(path)?)?;
    let read = |at, buf: &mut [u8]| file.read(at, buf);
    bdb::rows(&read, file.size(), &mut |key, value| {
        // Under the key 0 stands the number of the next package.
        if key.iter().any(|byte| *byte != 0) { take(value) } else { Ok(()) }
    })
}

fn bytes(file: &FileReader<'_>, at: u64, buf: &mut [u8]) -> Outcome<()> {
    file.read(at, buf)
}

/// Values of a header by their tags.
struct Header<'h> {
    entries: &'h [u8],
    data: &'h [u8],
}

impl<'h> Header<'h> {
    fn of(header: &'h [u8]) -> Outcome<Self> {
        if header.len() < 8 {
            return Err(broken());
        }
        let count = usize::try_from(field::u32_be(header, 0)).map_err(|_| broken())?;
        let len = count.checked_mul(16).ok_or_else(broken)?;
        let (entries, data) = header[8..].split_at_checked(len).ok_or_else(broken)?;
        Ok(Self { entries, data })
    }

    /// Returns the bytes from where a value begins on.
    fn at(&self, tag: u32) -> Option<&'h [u8]> {
        let mut entries = self.entries.chunks_exact(16);
        let entry = entries.find(|entry| field::u32_be(entry, 0) == tag)?;
        self.data.get(usize::try_from(field::u32_be(entry, 8)).ok()?..)
    }

    fn text(&self, tag: u32) -> Option<String> {
        let bytes = self.at(tag)?;
        let len = bytes.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
    }
}

/// Reads name, version and architecture out of a header; imported keys do not count.
fn package(header: &[u8]) -> Outcome<Option<Package>> {
    let header = Header::of(header)?;
    let (Some(name), Some(version)) = (header.text(NAME), header.text(VERSION)) else {
        return Err(broken());
    };
    if name == "gpg-pubkey" {
        return Ok(None);
    }
    let epoch = header.at(EPOCH).filter(|it| it.len() >= 4);
    let epoch = epoch.map(|it| format!("{}:", field::u32_be(it, 0))).unwrap_or_default();
    let release = header.text(RELEASE).map(|release| format!("-{release}")).unwrap_or_default();
    Ok(Some(Package {
        manager: "rpm",
        name,
        architecture: header.text(ARCH).unwrap_or_default(),
        version: format!("{epoch}{version}{release}"),
    }))
}

/// Reads name and version out of a header, and the digest of what its builder wrote. An imported key has none and is its
/// version.
fn identity(header: &[u8]) -> Outcome<[String; 3]> {
    let header = Header::of(header)?;
    let (Some(name), Some(version)) = (header.text(NAME), header.text(VERSION)) else {
        return Err(broken());
    };
    let digest = DIGESTS.into_iter().find_map(|tag| header.text(tag));
    let release = header.text(RELEASE).unwrap_or_default();
    match digest {
        Some(digest) => Ok([name, version, digest]),
        None if name == "gpg-pubkey" => Ok([name, version, release]),
        None => Err(Problem::Unsupported.text("a package in it has no digest")),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn header(tags: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let (mut entries, mut data) = (Vec::new(), Vec::new());
        for (tag, kind, value) in tags {
            for number in [*tag, *kind, u32::try_from(data.len()).unwrap(), 1] {
                entries.extend(number.to_be_bytes());
            }
            data.extend_from_slice(value);
        }
        let count = u32::try_from(tags.len()).unwrap().to_be_bytes();
        let len = u32::try_from(data.len()).unwrap().to_be_bytes();
        [&count[..], &len, &entries, &data].concat()
    }

    #[test]
    fn a_header_gives_epoch_version_and_release() {
        let tags: [(u32, u32, &[u8]); 5] = [
            (NAME, 6, b"bash\0"),
            (VERSION, 6, b"5.2\0"),
            (RELEASE, 6, b"3.el9\0"),
            (EPOCH, 4, &[0, 0, 0, 1]),
            (ARCH, 6, b"x86_64\0"),
        ];
        let whole = header(&tags);
        let found = package(&whole).unwrap().unwrap();
        assert_eq!((&found.name[..], &found.version[..]), ("bash", "1:5.2-3.el9"));
        assert_eq!(found.architecture, "x86_64");
        let found = package(&header(&tags[..2])).unwrap().unwrap();
        assert_eq!(found.version, "5.2");
        for cut in 0..whole.len() - 60 {
            let _ = (package(&whole[..cut]), identity(&whole[..cut]));
        }
        // Without a digest nothing says that two of one version are the same.
        assert!(identity(&whole).is_err());
        let mut signed = tags.to_vec();
        signed.push((273, 6, b"abcd\0"));
        assert_eq!(identity(&header(&signed)).unwrap(), ["bash", "5.2", "abcd"]);
        signed[0].2 = b"gpg-pubkey\0";
        signed.pop();
        assert_eq!(identity(&header(&signed)).unwrap(), ["gpg-pubkey", "5.2", "3.el9"]);
        assert!(package(&whole[..20]).is_err());
        assert!(package(&[0xff; 8]).is_err());
    }
}
