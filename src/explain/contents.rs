//! Content of generated files: whether what differs is nothing but what writing the file again changes.
//!
//! Each function takes the content in the old build and in the new, `None` where it has no such file, and tells whether
//! the difference says nothing real. What it does not know is real.
//!
//! ```text
//! ldconfig's aux-cache: 24 bytes of magic, 4 count, 4 bytes of strings; a library: 8 inode, 8 time of its inode, 8 size,
//!   8 device, 4 flags, 4 place of its name in the strings, 4 version, 4 that nothing writes
//! systemd's catalog: 8 "RHHHKSLP", 8 flags, 8 bytes of this header, 8 count, 8 bytes of an item;
//!   an item: 16 id, 32 language, 8 place of its text behind the items
//! fontconfig's cache (64 bits): 4 0xfc02fc04, 4 version, 40 places and counts, 8 and 8 time of the folder
//! OpenSSH's private key: "openssh-key-v1" and NUL, strings with lengths { cipher, derivation, its options }, 4 count,
//!   a string: the public key { kind, parts }
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::field;

/// Most bytes by which two keys of one kind and one size differ: numbers may begin with zeros.
const KEY_SLACK: usize = 16;

/// Most bytes of the texts of a file together, as a multiple of its length: texts may share their ends, and a file whose
/// every item has the same long one would take for ever.
const TEXTS_OF_LEN: usize = 16;

/// The identity of a machine: 32 hexadecimal digits, nothing, or a word that stands for it.
pub(super) fn machine_id(old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let is_one = |bytes: &[u8]| {
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let is_id = text.len() == 32 && text.iter().all(u8::is_ascii_hexdigit);
        is_id || text.is_empty() || text == b"uninitialized"
    };
    [old, new].into_iter().flatten().all(is_one)
}

/// Keys of one kind and of one size.
pub(super) fn host_key(old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let of = |side: Option<&[u8]>| side.map(key_kind);
    match (of(old), of(new)) {
        (Some(Some((old, one))), Some(Some((new, other)))) => {
            old == new && one.abs_diff(other) <= KEY_SLACK
        }
        (Some(found), None) | (None, Some(found)) => found.is_some(),
        _ => false,
    }
}

/// Returns the kind of a key of OpenSSH, and its bytes; `None` if it is something else.
fn key_kind(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let Some(rest) = text.strip_prefix("-----BEGIN ") else {
        // One line: kind, key, and who made it where.
        let mut words = text.trim_end().split(' ');
        let (kind, key) = (words.next()?, STANDARD.decode(words.next()?).ok()?);
        let is_line = text.trim_end().lines().count() == 1 && !kind.contains("-cert-");
        let (own, _) = string(&key)?;
        return (is_line && own == kind.as_bytes()).then_some((own.to_vec(), key.len()));
    };
    let (label, rest) = rest.split_once(" PRIVATE KEY-----\n")?;
    let (body, behind) = rest.split_once("-----END ")?;
    if behind.trim_end() != format!("{label} PRIVATE KEY-----") {
        return None;
    }
    let key = STANDARD.decode(body.replace('\n', "")).ok()?;
    if label != "OPENSSH" {
        return matches!(label, "RSA" | "DSA" | "EC")
            .then(|| (label.as_bytes().to_vec(), key.len()));
    }
    let (cipher, rest) = string(key.strip_prefix(b"openssh-key-v1\0")?)?;
    let (_, rest) = string(rest)?;
    let (_, rest) = string(rest)?;
    let (public, _) = string(rest.get(4..)?)?;
    let (kind, _) = string(public)?;
    Some(([cipher, b" ", kind].concat(), public.len()))
}

/// Takes a string with its length in front.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::try_from(field::u32_be(bytes.get(..4)?, 0)).ok()?;
    bytes[4..].split_at_checked(len)
}

/// Stanzas of text, between empty lines, in another order.
pub(super) fn same_stanzas(old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return false };
    let stanzas = |bytes: &[u8]| {
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut is_new = true;
        for line in bytes.split(|byte| *byte == b'\n') {
            if line.is_empty() {
                is_new = true;
                continue;
            }
            if std::mem::take(&mut is_new) {
                found.push(Vec::new());
            }
            let last = found.last_mut().expect("one was begun");
            last.extend_from_slice(line);
            last.push(b'\n');
        }
        found.sort();
        found
    };
    stanzas(old) == stanzas(new)
}

/// Backups of a table of accounts with so many fields a line, which nothing reads.
pub(super) fn accounts<const FIELDS: usize>(old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let is_one = |bytes: &[u8]| {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.all(|line| line.split(|byte| *byte == b':').count() == FIELDS)
    };
    [old, new].into_iter().flatten().all(is_one)
}

/// The same libraries, with other times and inodes.
pub(super) fn libraries(old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    match (old.map(library_list), new.map(library_list)) {
        (Some(Some(old)), Some(Some(new))) => old == new,
        // It is no more than what it was made of.
        (Some(found), None) | (None, Some(found)) => found.is_some(),
        _ => false,
    }
}

/// Returns size, flags, version and name of each library, sorted.
fn library_list(bytes: &[u8]) -> Option<Vec<[&[u8]; 4]>> {
    if !bytes.starts_with(b"glibc-ld.so.auxcache-") || bytes.len() < 32 {
        return None;
    }
    let count = usize::try_from(field::u32_le(bytes, 24)).ok()?;
    let strings_len = usize::try_from(field::u32_le(bytes, 28)).ok()?;
    let entries_len = bytes.len().checked_sub(32)?.checked_sub(strings_len)?;
    if count.checked_mul(48)? != entries_len {
        return None;
    }
    let (entries, strings) = bytes[32..].split_at(entries_len);
    let mut left = bytes.len().saturating_mul(TEXTS_OF_LEN);
    let mut found = Vec::new();
    for entry in entries.chunks_exact(48) {
        let name = text_at(strings, u64::from(field::u32_le(entry, 36)), &mut left)?;
        found.push([&entry[16..24], &entry[32..36], &entry[40..44], name]);
    }
    found.sort_unstable();
    Some(found)
}

/// Returns the text at a place, up to its NUL, and takes its length off what is left; `None` if it is longer than that.
fn text_at<'a>(texts: &'a [u8], at: u64, left: &mut usize) -> Option<&'a [u8]> {
    let text = texts.get(usize::try_from(at).ok()?..)?;
    let len = text[..text.len().min(*left)].iter().position(|byte| *byte == 0)?;
    *left = left.strict_sub(len);
    Some(&text[..len])
}

/// The same messages, stored in another order.
pub(super) fn catalog(old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return false };
    let old = messages(old);
    old.is_some() && old == messages(new)
}

/// Returns the text of each message, by its id and language.
fn messages(bytes: &[u8]) -> Option<BTreeMap<&[u8], &[u8]>> {
    if !bytes.starts_with(b"RHHHKSLP") || bytes.len() < 40 {
        return None;
    }
    let len_at = |at| usize::try_from(field::u64_le(bytes, at)).ok();
    let (header_len, count, item_len) = (len_at(16)?, len_at(24)?, len_at(32)?);
    if item_len < 56 || header_len < 40 {
        return None;
    }
    let end = count.checked_mul(item_len)?.checked_add(header_len)?;
    let (items, texts) = (bytes.get(header_len..end)?, &bytes[end..]);
    let mut found = BTreeMap::new();
    // What is neither an item nor a text of one would go unseen. Texts may share their ends.
    let mut is_told = vec![false; texts.len()];
    let mut left = bytes.len().saturating_mul(TEXTS_OF_LEN);
    for item in items.chunks_exact(item_len) {
        let at = field::u64_le(item, 48);
        let text = text_at(texts, at, &mut left)?;
        let at = usize::try_from(at).ok()?;
        is_told[at..at.strict_add(text.len())].fill(true);
        found.insert(&item[..48], text);
    }
    let mut untold = texts.iter().zip(is_told).filter(|(_, is_told)| !is_told);
    untold.all(|(byte, _)| *byte == 0).then_some(found)
}

/// The same fonts, in a folder that another time was written to.
pub(super) fn fonts(old: Option<&[u8]>, new: Option<&[u8]>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return false };
    let is_one = |bytes: &[u8]| bytes.starts_with(&[0x04, 0xfc, 0x02, 0xfc]) && bytes.len() >= 64;
    let len = u64::try_from(new.len()).unwrap_or(u64::MAX);
    is_one(old)
        && is_one(new)
        // Of 32 bits it would be something else that stands there.
        && field::u64_le(new, 8) == len
        && old.len() == new.len()
        && old[..48] == new[..48]
        && old[52..56] == new[52..56]
        && old[64..] == new[64..]
}

/// Tells whether bytecode differs in nothing but the time of its program.
#[must_use]
pub fn same_bytecode(old: &[u8], new: &[u8]) -> bool {
    let Some(time) = bytecode_time(new) else { return false };
    let end = time.strict_add(4);
    old.len() == new.len() && old[..time] == new[..time] && old[end..] == new[end..]
}

/// Tells whether bytecode is that of a program of a size and a time, for a program's own interpreter would take it.
#[must_use]
pub fn is_bytecode_of(bytes: &[u8], size: u64, seconds: i64) -> bool {
    let low = |number: u64| number.to_le_bytes()[..4].to_vec();
    let Some(time) = bytecode_time(bytes) else { return false };
    let size_at = time.strict_add(4);
    // Python 2 does not have the size.
    let is_sized = bytes.len() >= 16 && field::u16_le(bytes, 0) < 60_000;
    bytes[time..size_at] == low(seconds.cast_unsigned())
        && is_sized
        && bytes[size_at..size_at.strict_add(4)] == low(size)
}

/// Returns where the time of the program stands in bytecode that has it.
fn bytecode_time(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < 16 || bytes[2..4] != [0x0d, 0x0a] {
        return None;
    }
    // Up to Python 3.6, and in Python 2, there are no flags in front of it.
    match field::u16_le(bytes, 0) {
        3390..60_000 => (bytes[4..8] == [0; 4]).then_some(8),
        _ => Some(4),
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_id_is_an_id() {
        let id = [b'a'; 33];
        let one = Some(&b"0123456789abcdef0123456789abcdef\n"[..]);
        for other in [None, Some(&b""[..]), Some(b"uninitialized\n"), Some(&id[..32])] {
            assert!(machine_id(one, other), "{other:?}");
        }
        for other in [&b"hello\n"[..], &id, b"0123456789abcdef0123456789abcdex\n"] {
            assert!(!machine_id(one, Some(other)), "{other:?}");
        }
    }

    fn key(kind: &str, len: usize, byte: u8) -> Vec<u8> {
        let part =
            |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        [part(kind.as_bytes()), part(&vec![byte; len])].concat()
    }

    fn private(kind: &str, len: usize, byte: u8) -> Vec<u8> {
        let part =
            |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        let none = [part(b"none"), part(b"none"), part(b"")].concat();
        let public = part(&key(kind, len, byte));
        let whole = [&b"openssh-key-v1\0"[..], &none, &[0, 0, 0, 1], &public, &part(&[byte; 90])];
        let text = STANDARD.encode(whole.concat());
        let lines: Vec<&str> =
            text.as_bytes().chunks(70).map(|it| std::str::from_utf8(it).unwrap()).collect();
        let label = "OPENSSH PRIVATE KEY";
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into()
    }

    #[test]
    fn a_host_key_has_a_kind_and_a_size() {
        let line = |kind: &str, len, byte, who: &str| -> Vec<u8> {
            format!("{kind} {} root@{who}\n", STANDARD.encode(key(kind, len, byte))).into()
        };
        let one = line("ssh-ed25519", 32, 1, "a");
        let same = |one: &[u8], other: &[u8]| host_key(Some(one), Some(other));
        assert!(same(&one, &line("ssh-ed25519", 32, 2, "b")));
        assert!(host_key(Some(&one), None) && host_key(None, Some(&one)));
        assert!(!same(&one, &line("ssh-rsa", 32, 2, "a")));
        assert!(!same(&line("ssh-rsa", 385, 1, "a"), &line("ssh-rsa", 257, 1, "a")));
        assert!(!same(&one, b"Port 22\n") && !host_key(None, Some(b"Port 22\n")));
        let two = [&one[..], &one].concat();
        assert!(!host_key(None, Some(&two)));
        let cert = line("ssh-ed25519-cert-v01@openssh.com", 32, 1, "a");
        assert!(!host_key(None, Some(&cert)));
        let one = private("ssh-rsa", 385, 1);
        assert!(same(&one, &private("ssh-rsa", 385, 2)));
        assert!(!same(&one, &private("ssh-rsa", 257, 2)));
        assert!(!same(&one, &private("ssh-ed25519", 385, 2)));
        for cut in 0..one.len() - 1 {
            assert!(!host_key(None, Some(&one[..cut])), "{cut}");
        }
        let pem = |label: &str, len: usize| -> Vec<u8> {
            let body = STANDARD.encode(vec![7; len]);
            format!(
                "-----BEGIN {label} PRIVATE KEY-----\n{body}\n-----END {label} PRIVATE KEY-----\n"
            )
            .into()
        };
        assert!(same(&pem("RSA", 1190), &pem("RSA", 1193)));
        assert!(
            !same(&pem("RSA", 1190), &pem("RSA", 1766)) && !same(&pem("RSA", 9), &pem("EC", 9))
        );
    }

    #[test]
    fn stanzas_may_come_in_another_order() {
        let same = |one: &[u8], other: &[u8]| same_stanzas(Some(one), Some(other));
        assert!(same(
            b"Package: a\nAuto: 1\n\nPackage: b\n",
            b"Package: b\n\n\nPackage: a\nAuto: 1\n"
        ));
        assert!(!same(
            b"Package: a\nAuto: 1\n\nPackage: b\n",
            b"Package: b\nAuto: 1\n\nPackage: a\n"
        ));
        assert!(!same_stanzas(None, Some(b"Package: a\n")));
    }

    #[test]
    fn a_backup_has_the_lines_of_its_table() {
        let table = b"root:x:0:0::/root:/bin/sh\nme:x:1:1::/:/bin/sh\n";
        assert!(accounts::<7>(Some(table), None) && accounts::<7>(Some(table), Some(b"")));
        assert!(!accounts::<9>(Some(table), None) && !accounts::<7>(Some(table), Some(b"hello\n")));
    }

    fn aux_cache(libraries: &[(u64, u64, u32, &str)]) -> Vec<u8> {
        let (mut entries, mut strings) = (Vec::new(), vec![0]);
        for (inode, size, flags, name) in libraries {
            let place = u32::try_from(strings.len()).unwrap();
            for number in [*inode, inode * 3, *size, 9] {
                entries.extend(number.to_le_bytes());
            }
            for number in [*flags, place, 0, u32::try_from(*inode).unwrap()] {
                entries.extend(number.to_le_bytes());
            }
            strings.extend(name.bytes().chain([0]));
        }
        let counts =
            [libraries.len(), strings.len()].map(|it| u32::try_from(it).unwrap().to_le_bytes());
        [&b"glibc-ld.so.auxcache-2.0"[..], &counts.concat(), &entries, &strings].concat()
    }

    #[test]
    fn libraries_may_have_other_inodes_and_no_other_names_or_sizes() {
        let one = aux_cache(&[(1, 500, 3, "liba.so.1"), (2, 700, 3, "libb.so.1")]);
        let same = |other: &[(u64, u64, u32, &str)]| libraries(Some(&one), Some(&aux_cache(other)));
        assert!(same(&[(8, 700, 3, "libb.so.1"), (9, 500, 3, "liba.so.1")]));
        assert!(!same(&[(1, 500, 3, "liba.so.1"), (2, 701, 3, "libb.so.1")]));
        assert!(!same(&[(1, 500, 3, "liba.so.2"), (2, 700, 3, "libb.so.1")]));
        assert!(!same(&[(1, 500, 1, "liba.so.1"), (2, 700, 3, "libb.so.1")]));
        assert!(!same(&[(1, 500, 3, "liba.so.1")]));
        assert!(!libraries(Some(&one), Some(b"old")) && libraries(Some(&one), None));
        for cut in 0..one.len() {
            assert!(!libraries(None, Some(&one[..cut])), "{cut}");
        }
    }

    fn database(items: &[(u8, &str)]) -> Vec<u8> {
        let (mut table, mut texts) = (Vec::new(), Vec::new());
        for (id, text) in items {
            table.extend([*id; 16]);
            table.extend([0; 32]);
            table.extend(u64::try_from(texts.len()).unwrap().to_le_bytes());
            texts.extend(text.bytes().chain([0]));
        }
        let numbers = [0, 40, u64::try_from(items.len()).unwrap(), 56].map(u64::to_le_bytes);
        [&b"RHHHKSLP"[..], &numbers.concat(), &table, &texts].concat()
    }

    #[test]
    fn messages_may_lie_elsewhere_and_say_the_same() {
        let one = database(&[(1, "a"), (2, "bb")]);
        let mut other = database(&[(2, "bb"), (1, "a")]);
        assert!(catalog(Some(&one), Some(&other)));
        *other.last_mut().unwrap() = 9;
        assert!(!catalog(Some(&one), Some(&other)));
        assert!(!catalog(Some(&one), Some(&database(&[(1, "a"), (2, "bc")]))));
        assert!(!catalog(Some(&one), Some(&[&one[..], b"more\0"].concat())));
        assert!(!catalog(Some(&one), None) && !catalog(Some(b"old"), Some(b"new")));
        for cut in 0..one.len() {
            assert!(!catalog(Some(&one[..cut]), Some(&one[..cut])), "{cut}");
        }
    }

    /// Each item of a hostile file says that its text is the same long one.
    #[test]
    fn texts_that_are_many_times_the_file_are_not_read() {
        let long = "x".repeat(4000);
        let libraries = |count| aux_cache(&vec![(1, 500, 3, &long[..]); count]);
        let shared = |count: usize| {
            let mut bytes = libraries(count);
            let (strings, first) = (32 + count * 48, 32 + 36);
            let place: [u8; 4] = bytes[first..first + 4].try_into().unwrap();
            for entry in 0..count {
                bytes[32 + entry * 48 + 36..][..4].copy_from_slice(&place);
            }
            // One name is left.
            bytes.truncate(strings + 4002);
            bytes[28..32].copy_from_slice(&4002_u32.to_le_bytes());
            bytes
        };
        let same = |bytes: &[u8]| super::libraries(Some(bytes), Some(bytes));
        assert!(same(&shared(10)));
        assert!(!same(&shared(1000)));
        let database = |count: usize| {
            let mut bytes = b"RHHHKSLP".to_vec();
            for number in [0, 40, count, 56] {
                bytes.extend(u64::try_from(number).unwrap().to_le_bytes());
            }
            for item in 0..count {
                bytes.extend([&item.to_be_bytes()[..], &[0; 48]].concat());
            }
            bytes.extend(long.bytes().chain([0]));
            bytes
        };
        let same = |bytes: &[u8]| catalog(Some(bytes), Some(bytes));
        assert!(same(&database(10)));
        assert!(!same(&database(1000)));
    }

    #[test]
    fn a_cache_of_fonts_may_have_another_time() {
        let mut one = vec![7; 100];
        one[..4].copy_from_slice(&[0x04, 0xfc, 0x02, 0xfc]);
        one[8..16].copy_from_slice(&100_u64.to_le_bytes());
        for at in 0..100 {
            let mut other = one.clone();
            other[at] ^= 1;
            let is_time = (48..52).contains(&at) || (56..64).contains(&at);
            assert_eq!(fonts(Some(&one), Some(&other)), is_time, "{at}");
        }
        assert!(!fonts(None, Some(&one)) && !fonts(Some(&one), Some(&one[..99])));
    }

    #[test]
    fn bytecode_may_have_another_time_and_no_other_code() {
        // Python 3.11, 3.6 and 2.7.
        for (magic, time) in [(3495_u16, 8), (3379, 4), (62_211, 4)] {
            let mut one = vec![0; 40];
            one[..2].copy_from_slice(&magic.to_le_bytes());
            one[2..4].copy_from_slice(&[0x0d, 0x0a]);
            for at in 0..40 {
                let mut other = one.clone();
                other[at] ^= 1;
                let is_time = (time..time + 4).contains(&at);
                assert_eq!(same_bytecode(&one, &other), is_time, "{magic} at {at}");
            }
            one[time..time + 4].copy_from_slice(&1000_u32.to_le_bytes());
            one[time + 4..time + 8].copy_from_slice(&77_u32.to_le_bytes());
            assert_eq!(is_bytecode_of(&one, 77, 1000), magic < 60_000, "{magic}");
            assert!(!is_bytecode_of(&one, 78, 1000) && !is_bytecode_of(&one, 77, 1001));
            // What is checked by a hash has no time.
            one[4] = 1;
            assert!(magic != 3495 || bytecode_time(&one).is_none());
        }
        assert!(!same_bytecode(b"old", b"new"));
    }
}
