//! Ten thousand signatures, statements and files of signers, each changed: none is accepted that is not the same thing.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::*;
use crate::digest::sha256;

/// Mutants in all, and the step in which a usual run goes through them.
const MUTANTS: u64 = 10_000;

fn step() -> u64 {
    if std::env::var_os("AMIKIT_SAMPLES").is_some_and(|text| text == "all") { 1 } else { 5 }
}

fn key() -> PrivateKey {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/signature/test-signer");
    match KeyFile::parse(&std::fs::read(path).unwrap()).unwrap() {
        KeyFile::Private(key) => key,
        other => panic!("{other:?}"),
    }
}

/// Numbers that follow from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(most.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

/// Changes bytes in one of the ways in which files are damaged, or made by someone who wants in. `other` is another sound file
/// of the kind, whose parts are taken.
fn changed(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (from, to) = {
        let (a, b) = (random.below(bytes.len()), random.below(bytes.len()));
        (a.min(b), a.max(b))
    };
    match random.below(9) {
        0 => bytes[from] ^= 1 << random.below(8),
        1 => bytes[from] = random.byte(),
        2 => bytes.truncate(from),
        3 => drop(bytes.drain(from..to)),
        4 => {
            let copy = bytes[from..to].to_vec();
            bytes.splice(from..from, copy);
        }
        5 => {
            let added: Vec<u8> = (0..=random.below(8)).map(|_| random.byte()).collect();
            bytes.splice(from..from, added);
        }
        6 => bytes.swap(from, to),
        // The one up to here, the other behind.
        7 => {
            let at = random.below(other.len());
            bytes.truncate(from);
            bytes.extend_from_slice(&other[at..]);
        }
        _ => {
            let letters = b"aZ0/+=\n \"*?!,#";
            bytes[from] = letters[random.below(letters.len())];
        }
    }
    bytes
}

/// The slow twin of what may still be accepted of a signature: all that is not white space is the same.
fn same_but_for_space(a: &[u8], b: &[u8]) -> bool {
    let dense = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().copied().filter(|it| !it.is_ascii_whitespace()).collect()
    };
    dense(a) == dense(b)
}

/// And of a file of signers: a line that is not a comment has the key, and names no namespace but ours and no time.
fn still_allows(signers: &[u8], key: &str) -> bool {
    let text = String::from_utf8_lossy(signers);
    text.trim_start_matches('\u{feff}').lines().any(|line| {
        let line = line.trim_ascii();
        let words: Vec<&str> = line.split([' ', '\t']).collect();
        let at = words.iter().position(|it| *it == key);
        !line.starts_with('#') && at.is_some_and(|at| at > 0 && words[at - 1] == "ssh-ed25519")
    })
}

#[test]
fn ten_thousand_mutants_are_refused() {
    let key = key();
    let public = key.public();
    let bases = vec![sha256(b"base")];
    let statement = Statement::new(sha256(b"manifest"), "web", 3, bases).encode();
    let newer = Statement::new(sha256(b"another"), "web", 4, Vec::new()).encode();
    let (signature, of_newer) = (sign(&statement, &key), sign(&newer, &key));
    let line = include_str!("../../fixtures/signature/test-signer.pub");
    let packed = line.split_whitespace().nth(1).unwrap();
    let signers = format!("ops@example.com namespaces=\"amikit-ami-v1\" ssh-ed25519 {packed}\n");
    let strangers = "x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBv7+7Bt4IZ8ChGA5HcLvpEm8PbAWrlu2LF2Qph7YJvf\n\
                     ops@example.com namespaces=\"git\" ssh-ed25519 AAAA\n";
    let now = Timestamp::now();
    // What a bundle is trusted by, of the three files.
    let accepts = |statement: &[u8], signature: &[u8], signers: &[u8]| {
        let Ok(key) = verify(statement, signature) else { return false };
        let Ok(signers) = Signers::parse(signers, &TimeZone::UTC) else { return false };
        signers.principals(&key, now).is_ok()
            && Statement::parse(statement).is_ok_and(|it| it.digest == sha256(b"manifest"))
    };
    assert_eq!(verify(&statement, signature.as_bytes()), Ok(public));
    assert!(accepts(&statement, signature.as_bytes(), signers.as_bytes()));
    // Each of them is sound, and none of another.
    assert!(!accepts(&newer, of_newer.as_bytes(), signers.as_bytes()));
    assert!(!accepts(&statement, of_newer.as_bytes(), signers.as_bytes()));
    assert!(!accepts(&statement, signature.as_bytes(), strangers.as_bytes()));

    let mut harmless = 0_u64;
    for seed in (1..=MUTANTS).step_by(usize::try_from(step()).unwrap()) {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for _ in 0..3 {
            random.below(1);
        }
        let [mut a, mut b, mut c] =
            [statement.clone(), signature.clone().into_bytes(), signers.clone().into_bytes()];
        // One of the three, and sometimes more.
        let which = 1 + random.below(7);
        if which & 1 != 0 {
            a = changed(&a, &newer, &mut random);
        }
        if which & 2 != 0 {
            b = changed(&b, of_newer.as_bytes(), &mut random);
        }
        if which & 4 != 0 {
            c = changed(&c, strangers.as_bytes(), &mut random);
        }
        if !accepts(&a, &b, &c) {
            continue;
        }
        harmless += 1;
        let is_same = a == statement
            && same_but_for_space(&b, signature.as_bytes())
            && still_allows(&c, packed);
        assert!(is_same, "seed {seed}: {:?}\n{:?}", String::from_utf8_lossy(&b), c.escape_ascii());
    }
    // White space of an armor, names of principals: few are harmless, and some are, else nothing was tried.
    println!("{harmless} mutants changed nothing");
    assert!(harmless > 0 && harmless < MUTANTS / 4, "{harmless}");
}
