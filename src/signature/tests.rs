//! Signatures of ours that `ssh-keygen` checks, signatures of its own, and files of signers both read alike.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::signers::Rejected;
use super::signers::SignersFault;
use super::*;
use crate::digest::sha256;

/// An unencrypted key, made for these tests with `ssh-keygen -t ed25519`.
fn key(folder: &Path) -> Option<PrivateKey> {
    let path = folder.join("key");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f"]).arg(&path);
    match keygen.output() {
        Ok(done) if done.status.success() => {}
        _ => {
            println!("skipped: ssh-keygen is not installed");
            return None;
        }
    }
    match KeyFile::parse(&fs::read(&path).unwrap()).unwrap() {
        KeyFile::Private(key) => Some(key),
        other => panic!("{other:?}"),
    }
}

fn statement() -> Vec<u8> {
    Statement::new(sha256(b"manifest"), "web", 3, vec![sha256(b"base")]).encode()
}

/// Runs `ssh-keygen -Y verify`, and tells whether it accepts.
fn they_accept(folder: &Path, signers: &str, namespace: &str, signature: &str) -> bool {
    fs::write(folder.join("signers"), signers).unwrap();
    fs::write(folder.join("signature"), signature).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.current_dir(folder).args(["-Y", "verify", "-f", "signers", "-I", "ops@example.com"]);
    keygen.args(["-n", namespace, "-s", "signature"]);
    let mut child =
        keygen.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&statement()).unwrap();
    child.wait().unwrap().success()
}

#[test]
fn ssh_keygen_accepts_ours_and_we_accept_its() {
    let folder = TempDir::new().unwrap();
    let Some(key) = key(folder.path()) else { return };
    let public = fs::read_to_string(folder.path().join("key.pub")).unwrap();
    assert_eq!(PublicKey::parse_line(&public).unwrap(), key.public());
    let mut keygen = Command::new("ssh-keygen");
    let shown = keygen.current_dir(folder.path()).args(["-lf", "key.pub"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&key.public().to_string()), "{shown}");
    let signers = format!("ops@example.com {public}");
    let ours = sign(&statement(), &key);
    assert!(they_accept(folder.path(), &signers, NAMESPACE, &ours));
    assert!(!they_accept(folder.path(), &signers, "file", &ours));

    for hash in ["sha512", "sha256"] {
        fs::write(folder.path().join("statement"), statement()).unwrap();
        let mut keygen = Command::new("ssh-keygen");
        keygen.current_dir(folder.path()).args(["-q", "-Y", "sign", "-f", "key", "-n", NAMESPACE]);
        keygen.args(["-O", &format!("hashalg={hash}"), "statement"]);
        assert!(keygen.output().unwrap().status.success());
        let path = folder.path().join("statement.sig");
        let theirs = fs::read_to_string(&path).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(verify(&statement(), theirs.as_bytes()), Ok(key.public()));
        if hash == "sha512" {
            // ed25519 has one signature a message.
            assert_eq!(theirs, ours);
        }
    }
}

#[test]
fn a_changed_signature_or_statement_is_refused() {
    let folder = TempDir::new().unwrap();
    let Some(key) = key(folder.path()) else { return };
    let whole = sign(&statement(), &key);
    assert_eq!(verify(&statement(), whole.as_bytes()), Ok(key.public()));
    let packed: String = whole.lines().filter(|line| !line.starts_with('-')).collect();
    let blob = STANDARD.decode(packed).unwrap();
    let armored = |blob: &[u8]| {
        let text = STANDARD.encode(blob);
        format!("-----BEGIN SSH SIGNATURE-----\n{text}\n-----END SSH SIGNATURE-----\n")
    };
    assert!(verify(&statement(), armored(&blob).as_bytes()).is_ok());
    for at in 0..blob.len() {
        let mut other = blob.clone();
        other[at] ^= 1 << (at % 8);
        assert!(verify(&statement(), armored(&other).as_bytes()).is_err(), "byte {at}");
        assert!(verify(&statement(), armored(&blob[..at]).as_bytes()).is_err(), "cut at {at}");
    }
    let longer = [&blob[..], b"x"].concat();
    assert_eq!(verify(&statement(), armored(&longer).as_bytes()), Err(SignatureFault::Trailing));
    for at in 0..statement().len() {
        let mut other = statement();
        other[at] ^= 1;
        assert_eq!(verify(&other, whole.as_bytes()), Err(SignatureFault::Wrong), "byte {at}");
    }
}

/// The neutral point signs everything for everybody, unless it is refused.
#[test]
fn a_key_of_small_order_is_refused() {
    let mut blob = Vec::new();
    wire::put_string(&mut blob, b"ssh-ed25519");
    let mut point = [0; 32];
    point[0] = 1;
    wire::put_string(&mut blob, &point);
    assert_eq!(PublicKey::parse(&blob), Err(SignatureFault::WeakKey));
}

#[test]
fn keys_that_cannot_sign_here_are_told_apart() {
    let folder = TempDir::new().unwrap();
    if key(folder.path()).is_none() {
        return;
    }
    let at = |name: &str| folder.path().join(name);
    for (name, kind, words) in [("locked", "ed25519", "secret words"), ("rsa", "rsa", "")] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-N", words, "-f"]).arg(at(name));
        assert!(keygen.output().unwrap().status.success());
    }
    let parse = |name: &str| KeyFile::parse(&fs::read(at(name)).unwrap());
    assert!(matches!(parse("locked"), Ok(KeyFile::Elsewhere)));
    assert!(matches!(parse("key.pub"), Ok(KeyFile::Public(_))));
    assert!(matches!(parse("rsa"), Err(SignatureFault::KeyType)));
    assert!(matches!(KeyFile::parse(b"hello"), Err(SignatureFault::Key)));
    let whole = fs::read(at("key")).unwrap();
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 1;
        if let Ok(KeyFile::Private(other)) = KeyFile::parse(&other) {
            // What changed is the comment, or a line break.
            assert!(verify(&statement(), sign(&statement(), &other).as_bytes()).is_ok());
        }
    }
}

#[test]
fn a_file_of_signers_is_read_as_ssh_keygen_reads_it() {
    let folder = TempDir::new().unwrap();
    let Some(key) = key(folder.path()) else { return };
    let public = fs::read_to_string(folder.path().join("key.pub")).unwrap();
    let signature = sign(&statement(), &key);
    let who = "ops@example.com";
    for (line, ours) in [
        (format!("{who} {public}"), Ok(who)),
        (format!("# a comment\n\n  \n{who} {public}"), Ok(who)),
        (format!("{who} namespaces=\"amikit-*,git\" {public}"), Ok(who)),
        (format!("{who} namespaces=\"git\" {public}"), Err(Rejected::Namespace)),
        (format!("{who} namespaces=\"*,!amikit-ami-v?\" {public}"), Err(Rejected::Namespace)),
        (format!("{who} valid-after=\"20200101\" {public}"), Ok(who)),
        (format!("{who} valid-after=\"20200101Z\",valid-before=\"20990101Z\" {public}"), Ok(who)),
        (format!("{who} valid-after=\"20990101Z\" {public}"), Err(Rejected::NotYet)),
        (format!("{who} valid-before=\"202001011200\" {public}"), Err(Rejected::Expired)),
        (format!("{who} valid-before=\"20200101120059Z\" {public}"), Err(Rejected::Expired)),
        (format!("{who} valid-before=\"20200101Z\" {public}\n{who} {public}"), Ok(who)),
        (String::new(), Err(Rejected::Unknown)),
    ] {
        let signers = Signers::parse(line.as_bytes(), &TimeZone::system()).unwrap();
        assert_eq!(signers.principals(&key.public(), Timestamp::now()), ours, "{line}");
        let theirs = they_accept(folder.path(), &line, NAMESPACE, &signature);
        assert_eq!(theirs, ours.is_ok(), "{line}");
    }
    for (line, fault) in [
        (who.to_owned(), SignersFault::Fields),
        (format!("{who} ssh-ed25519"), SignersFault::Fields),
        (format!("{who} cert-authority {public}"), SignersFault::Authority),
        (format!("{who} valid-after=\"2020\" {public}"), SignersFault::Time),
        (format!("{who} valid-after=\"20201301\" {public}"), SignersFault::Time),
        (format!("{who} valid-until=\"20200101\" {public}"), SignersFault::Option),
        (format!("{who} namespaces=\"git {public}"), SignersFault::Quote),
        (format!("{who} ssh-ed25519 AAAA"), SignersFault::Key),
    ] {
        let text = format!("# first\n{line}");
        assert_eq!(Signers::parse(text.as_bytes(), &TimeZone::UTC), Err((2, fault)), "{line}");
        assert!(!they_accept(folder.path(), &text, NAMESPACE, &signature), "{line}");
    }
    let marked = Signers::parse(format!("\u{feff}{who} {public}").as_bytes(), &TimeZone::UTC);
    assert_eq!(marked.unwrap().principals(&key.public(), Timestamp::now()), Ok(who));
    let rsa = format!("{who} ssh-rsa AAAAB3NzaC1yc2E=");
    assert!(Signers::parse(rsa.as_bytes(), &TimeZone::UTC).unwrap().is_empty());
}
