//! Secrets that an image must not carry. What is found is a file and a line, never the secret itself.

use crate::error::Result;
use crate::guest::FileKind;
use crate::guest::matches_pattern;
use crate::lint::inside::files::Files;
use crate::lint::inside::files::Item;
use crate::lint::inside::files::MAX_READ_LEN;
use crate::lint::inside::files::many;
use crate::lint::inside::hits::Hits;

/// Where secrets are looked for: what no package owns.
const ROOTS: &[&str] = &[
    "/etc",
    "/root",
    "/home",
    "/opt",
    "/srv",
    "/usr/local",
    "/var/lib",
    "/var/www",
    "/var/spool",
    "/var/tmp",
    "/tmp",
    "/Users",
    "/ProgramData/Amazon",
    "/ProgramData/ssh",
];

/// Directories that are not entered: what they hold comes out of packages, and there is much of it.
const SKIPPED: &[&str] = &[
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/rpm",
    "/var/lib/dnf",
    "/var/lib/yum",
    "/var/lib/apk",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/snapd",
    "/etc/ssl/certs",
    "/etc/pki/ca-trust",
    "/usr/local/share/ca-certificates",
];

/// What shows that a file system holds a system, which has places for what packages own.
const SYSTEMS: [&[u8]; 4] = [b"/usr/lib", b"/lib/modules", b"/bin/sh", b"/Windows/System32"];

/// Directories of a root that belong to packages, or that are among [`ROOTS`]. In any other one there is what
/// people put there.
const OWN: &[&str] = &[
    "bin",
    "boot",
    "dev",
    "efi",
    "etc",
    "gnu",
    "home",
    "include",
    "lib",
    "lib32",
    "lib64",
    "libexec",
    "libx32",
    "lost+found",
    "nix",
    "opt",
    "ostree",
    "proc",
    "root",
    "run",
    "sbin",
    "share",
    "snap",
    "srv",
    "sys",
    "sysroot",
    "tmp",
    "usr",
    "var",
    "$Recycle.Bin",
    "Program Files",
    "Program Files (x86)",
    "ProgramData",
    "System Volume Information",
    "Users",
    "Windows",
];

/// Most bytes that are read in all.
const MAX_BYTES: u64 = 256 << 20;

/// Files that hold nothing but secrets, by their names: pattern of the path, what it is.
const NAMED: &[(&str, &str)] = &[
    ("*/.aws/credentials", "credentials of the AWS command line"),
    ("*/.git-credentials", "passwords of git"),
    ("*/.pgpass", "passwords of PostgreSQL"),
    ("*/.config/gcloud/credentials.db", "credentials of gcloud"),
    ("*/.azure/accessTokens.json", "tokens of the Azure command line"),
    ("*/.config/gh/hosts.yml", "tokens of the GitHub command line"),
    ("*/.terraform.d/credentials.tfrc.json", "tokens of Terraform"),
    ("*/.vault-token", "a token of Vault"),
    ("*.ppk", "a private key of PuTTY"),
    ("*.p12", "a PKCS #12 file, which holds private keys"),
    ("*.pfx", "a PKCS #12 file, which holds private keys"),
    ("*.priv", "a private key"),
    ("*.tfstate", "the state of Terraform, which holds secrets in the clear"),
    ("*/.gnupg/private-keys-v1.d/*.key", "a private key of GnuPG"),
    ("*/etc/krb5.keytab", "keys of Kerberos"),
];

/// What a secret starts with, what it is, and what must follow.
const SIGNS: &[(&[u8], &str, Follows)] = &[
    (b"-----BEGIN RSA PRIVATE KEY", "a private key", Follows::Nothing),
    (b"-----BEGIN DSA PRIVATE KEY", "a private key", Follows::Nothing),
    (b"-----BEGIN EC PRIVATE KEY", "a private key", Follows::Nothing),
    (b"-----BEGIN OPENSSH PRIVATE KEY", "a private key", Follows::Nothing),
    (b"-----BEGIN PRIVATE KEY", "a private key", Follows::Nothing),
    (b"-----BEGIN ENCRYPTED PRIVATE KEY", "a private key", Follows::Nothing),
    (b"-----BEGIN PGP PRIVATE KEY BLOCK", "a private key of OpenPGP", Follows::Nothing),
    (b"PuTTY-User-Key-File-", "a private key of PuTTY", Follows::Nothing),
    (b"AKIA", "an access key of AWS", Follows::Upper(16)),
    (b"ASIA", "an access key of AWS", Follows::Upper(16)),
    (b"aws_secret_access_key", "a secret key of AWS", Follows::Value(30)),
    (b"AWS_SECRET_ACCESS_KEY", "a secret key of AWS", Follows::Value(30)),
    (b"SecretAccessKey", "a secret key of AWS", Follows::Value(30)),
    (b"AGE-SECRET-KEY-1", "a private key of age", Follows::Upper(58)),
    (b"hvs.", "a token of Vault", Follows::Token(24)),
    (b"AIza", "a key of Google's interfaces", Follows::Token(35)),
    (b"ghp_", "a token of GitHub", Follows::Token(36)),
    (b"gho_", "a token of GitHub", Follows::Token(36)),
    (b"ghs_", "a token of GitHub", Follows::Token(36)),
    (b"github_pat_", "a token of GitHub", Follows::Token(60)),
    (b"glpat-", "a token of GitLab", Follows::Token(20)),
    (b"xoxb-", "a token of Slack", Follows::Token(20)),
    (b"xoxp-", "a token of Slack", Follows::Token(20)),
    (b"sk_live_", "a key of Stripe", Follows::Token(20)),
    (b"AccountKey=", "a key of Azure Storage", Follows::Token(40)),
    (b"_authToken=", "a token of npm", Follows::Token(10)),
    (b"client-key-data:", "a private key of kubectl", Follows::Value(40)),
];

/// What must follow the start of a secret, so that it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    Nothing,
    /// So many capitals and digits, and then something else.
    Upper(usize),
    /// At least so many letters, digits and marks.
    Token(usize),
    /// `=` or `:`, and a value of at least so many bytes.
    Value(usize),
}

/// Keywords of files that hold passwords beside other things: pattern of the path, keyword, what it is.
const KEYWORDS: &[(&str, &str, &str)] = &[
    ("*/.netrc", "password", "a password of netrc"),
    ("*/.docker/config.json", "\"auth\"", "credentials of a registry"),
    ("*/.dockercfg", "\"auth\"", "credentials of a registry"),
    ("*/containers/auth.json", "\"auth\"", "credentials of a registry"),
    ("*/etc/fstab", "password=", "a password of a network file system"),
    ("*/etc/apt/auth.conf*", "password", "a password of APT"),
    ("*/.pypirc", "password", "a password of PyPI"),
    ("*/.my.cnf", "password", "a password of MySQL"),
    ("*/.s3cfg", "secret_key", "a secret key of S3"),
    ("*/wireguard/*.conf", "PrivateKey", "a private key of WireGuard"),
    ("*/system-connections/*", "psk", "a password of a network"),
    ("*/wpa_supplicant*.conf", "psk", "a password of a network"),
    ("*/.m2/settings.xml", "<password>", "a password of Maven"),
];

/// Looks for secrets in the files of a guest, or of a file system that it does not mount.
pub(super) fn look(files: &Files<'_, '_>, hits: &mut Hits) -> Result<()> {
    let enter = |item: &Item| !SKIPPED.iter().any(|it| item.path == it.as_bytes());
    let mut left = Left { bytes: MAX_BYTES, passed: 0 };
    let mut each = |item: &Item| one(files, item, &mut left, hits);
    if files.any_exists(&SYSTEMS)? {
        for root in ROOTS {
            files.walk(root.as_bytes(), &enter, &mut each)?;
        }
        for item in files.list(b"/")? {
            let is_own = OWN.iter().any(|it| item.name.eq_ignore_ascii_case(it.as_bytes()));
            if item.is_file() || item.node.kind == FileKind::Directory && !is_own {
                files.walk(&item.path, &enter, &mut each)?;
            }
        }
    } else {
        files.walk(b"/", &enter, &mut each)?;
    }
    if left.passed > 0 {
        let (searched, passed) = (MAX_BYTES >> 20, many(left.passed, "file"));
        files.note(b"/", format!("{searched} MiB were searched for secrets; {passed} were not"));
    }
    Ok(())
}

/// What may still be read.
struct Left {
    bytes: u64,
    /// Files that were not.
    passed: usize,
}

fn one(files: &Files<'_, '_>, item: &Item, left: &mut Left, hits: &mut Hits) -> Result<()> {
    // A rule of its own tells of host keys, and another one of hashes.
    if item.node.kind != FileKind::Regular
        || item.node.size == 0
        || item.path.starts_with(b"/etc/ssh/ssh_host_")
    {
        return Ok(());
    }
    let mut add = |place: String, what: &str| {
        hits.add(
            "guest-secrets",
            place,
            what,
            "no secrets: a role, or Secrets Manager at run time",
        );
    };
    let is = |pattern: &str| matches_pattern(pattern.as_bytes(), &item.path);
    if let Some((_, what)) = NAMED.iter().find(|(pattern, _)| is(pattern)) {
        add(files.place(&item.path), what);
        return Ok(());
    }
    let len = item.node.size.min(MAX_READ_LEN);
    if len > left.bytes {
        left.passed = left.passed.strict_add(1);
        return Ok(());
    }
    left.bytes = left.bytes.strict_sub(len);
    let Some(head) = files.head(&item.path, item.spot, len)? else { return Ok(()) };
    if let Some(what) = binary(&head) {
        add(files.place(&item.path), what);
        return Ok(());
    }
    let keyword = KEYWORDS.iter().find(|(pattern, ..)| is(pattern));
    for (number, what) in found_in(&head, keyword.map(|(_, keyword, what)| (*keyword, *what))) {
        add(files.line(&item.path, number), what);
    }
    Ok(())
}

/// Tells keys that are kept in files of their own format.
fn binary(head: &[u8]) -> Option<&'static str> {
    // A keystore of Java: magic, version, count, and the kind of the first entry, of which 1 is a key.
    if head.starts_with(b"\xfe\xed\xfe\xed") && head.get(12..16) == Some(&[0, 0, 0, 1]) {
        return Some("a private key in a keystore of Java");
    }
    // OpenPGP: a packet with the tag of a secret key, its length, and version 4.
    let version = match head.first()? {
        0x94 => head.get(2),
        0x95 => head.get(3),
        0xc5 => match head.get(1)? {
            ..192 => head.get(2),
            192..224 => head.get(3),
            255 => head.get(6),
            _ => None,
        },
        _ => None,
    };
    (version == Some(&4)).then_some("a private key of OpenPGP")
}

/// Finds secrets in a text: the number of the line, and what it is.
fn found_in(text: &[u8], keyword: Option<(&str, &'static str)>) -> Vec<(usize, &'static str)> {
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    let mut line = 1_usize;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\n' => line = line.strict_add(1),
            b'-' | b'P' | b'A' | b'S' | b'a' | b'g' | b'h' | b'x' | b's' | b'_' | b'c' => {
                let rest = &text[at..];
                let before = at.checked_sub(1).and_then(|at| text.get(at));
                let inside = before.is_some_and(u8::is_ascii_alphanumeric);
                let sign = SIGNS.iter().find(|(sign, _, follows)| {
                    rest.starts_with(sign)
                        && !(inside && *follows != Follows::Nothing)
                        && follow(&rest[sign.len()..], *follows)
                });
                if let Some((_, what, _)) = sign
                    && found.last() != Some(&(line, what))
                {
                    found.push((line, what));
                }
            }
            _ => {}
        }
    }
    if let Some((keyword, what)) = keyword {
        for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let line = String::from_utf8_lossy(line);
            let said = line.trim_start();
            let value = said.split_once(keyword).map(|(_, value)| value);
            let value = value.map(|it| {
                it.trim_matches(|c: char| c.is_whitespace() || matches!(c, '=' | ':' | '"' | '\''))
            });
            if !said.starts_with(['#', ';']) && value.is_some_and(|it| !it.is_empty()) {
                found.push((number, what));
            }
        }
    }
    found
}

fn follow(rest: &[u8], follows: Follows) -> bool {
    let is_upper = |it: &u8| it.is_ascii_uppercase() || it.is_ascii_digit();
    let is_token =
        |it: &u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'+' | b'/' | b'.');
    let count = |is: &dyn Fn(&u8) -> bool, of: &[u8]| of.iter().take_while(|it| is(it)).count();
    match follows {
        Follows::Nothing => true,
        Follows::Upper(len) => {
            let there = count(&is_upper, rest);
            let ends = !rest.get(there).is_some_and(u8::is_ascii_alphanumeric);
            // What documents show is not a key.
            there == len && ends && !rest[..there].ends_with(b"EXAMPLE")
        }
        Follows::Token(len) => count(&is_token, rest) >= len,
        Follows::Value(len) => {
            let blank = |it: &u8| matches!(it, b' ' | b'\t' | b'"' | b'\'' | b'=' | b':');
            let at = count(&blank, rest);
            let value = &rest[at..];
            let len_there = count(&is_token, value);
            at > 0 && len_there >= len && !value[..len_there].ends_with(b"EXAMPLEKEY")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_their_shape_and_what_looks_like_them_has_not() {
        let key = format!("AKIA{}", "ABCDEFGH12345678");
        let one = |text: &str| found_in(text.as_bytes(), None);
        assert_eq!(one(&format!("x\nid = {key}\n")), [(2, "an access key of AWS")]);
        for not in [
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            format!("{key}9"),
            format!("X{key}"),
            key[..19].to_owned(),
            "aws_secret_access_key = ".to_owned(),
            "ghp_short".to_owned(),
            "-----BEGIN PUBLIC KEY-----".to_owned(),
            "-----BEGIN CERTIFICATE-----".to_owned(),
        ] {
            assert_eq!(one(&not), [], "{not}");
        }
    }

    #[test]
    fn a_public_keyring_is_not_a_secret_and_a_private_one_is() {
        assert_eq!(binary(&[0x99, 1, 13, 4]), None);
        assert_eq!(binary(&[0xc6, 0x33, 4]), None);
        assert!(binary(&[0x95, 1, 13, 4]).is_some() && binary(&[0xc5, 0x58, 4]).is_some());
        let jks = |kind| {
            [&[0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0][..], &[kind]].concat()
        };
        assert!(binary(&jks(1)).is_some() && binary(&jks(2)).is_none());
    }
}
