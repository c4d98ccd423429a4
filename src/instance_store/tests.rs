#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::num::NonZero;
use std::path::Path;

use super::*;
use crate::compress::GZIP_HEADER;
use crate::compress::GzipPacker;
use crate::compress::GzipSum;
use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::cipher::Encryptor;
use crate::instance_store::keys::Secret;
use crate::tar::end_len;
use crate::tar::sparse_header;
use crate::work::Unwatched;

const USER_KEY: &[u8] = include_bytes!("../../fixtures/instance-store/test-user.key");
const USER_CERT: &[u8] = include_bytes!("../../fixtures/instance-store/test-user.crt");
const EC2_KEY: &[u8] = include_bytes!("../../fixtures/instance-store/test-ec2.key");
const EC2_CERT: &[u8] = include_bytes!("../../fixtures/instance-store/test-ec2.crt");

fn sha1(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha1);
    hasher.update(bytes);
    hasher.finish_hex()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let (mut out, mut sum) = (GZIP_HEADER.to_vec(), GzipSum::default());
    let piece = GzipPacker::new(6).unwrap().pack(plain);
    sum.add(&piece, plain.len());
    out.extend(&piece.packed);
    out.extend(sum.finish());
    out
}

fn encrypt(secret: &Secret, plain: &[u8]) -> Vec<u8> {
    let mut encryptor = Encryptor::new(secret);
    let mut bytes = encryptor.update(plain);
    bytes.extend(encryptor.finish());
    bytes
}

/// A bundle made by hand, from any of its stages on; all that lies outside is right.
struct ByHand {
    size: u64,
    /// The tar stream, whose digest the manifest has.
    tar: Vec<u8>,
    /// What is encrypted, where it is not the tar stream in gzip.
    packed: Option<Vec<u8>>,
    /// Encrypted bytes, where they are not those.
    encrypted: Option<Vec<u8>>,
    part_len: usize,
}

impl ByHand {
    fn of(size: u64, tar: Vec<u8>) -> Self {
        Self { size, tar, packed: None, encrypted: None, part_len: 4096 }
    }

    /// Writes it into a folder and unpacks it; returns the volume.
    fn extract(&self) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let mut random = SystemRandomness;
        let secret = Secret::random(&mut random).unwrap();
        let user = Certificate::parse(USER_CERT).unwrap();
        let ec2 = Certificate::parse(EC2_CERT).unwrap();
        let (key, iv) = secret.seal(&ec2, &user, &mut random).unwrap();
        let packed = self.packed.clone().unwrap_or_else(|| gzip(&self.tar));
        let bytes = self.encrypted.clone().unwrap_or_else(|| encrypt(&secret, &packed));
        let mut parts = Vec::new();
        for (index, part) in bytes.chunks(self.part_len).enumerate() {
            let filename = format!("x.{index}");
            fs::write(folder.path().join(&filename), part).unwrap();
            parts.push(PartEntry { filename, sha1: sha1(part) });
        }
        let manifest = Manifest {
            version: Version::V20071010,
            bundler: None,
            machine: Machine { architecture: "x86_64".to_owned(), ..Machine::default() },
            name: "x".to_owned(),
            user: "123456789012".to_owned(),
            image_type: "machine".to_owned(),
            kernel_name: None,
            ancestry: Vec::new(),
            digest: sha1(&self.tar),
            size: self.size,
            bundled_size: bytes.len().try_into().unwrap(),
            key,
            iv,
            parts,
            signature: None,
        };
        let private = PrivateKey::parse(USER_KEY).unwrap();
        let text = manifest.write(|signed| private.sign(signed, &mut random)).unwrap();
        let path = folder.path().join("x.manifest.xml");
        fs::write(&path, text).unwrap();
        open_and_extract(&path)
    }

    /// Unpacks it, and returns how it was refused.
    fn refused(&self) -> (Kind, String) {
        let error = self.extract().unwrap_err();
        (error.kind(), error.to_string())
    }
}

fn open_and_extract(path: &Path) -> Result<Vec<u8>> {
    let bundle = InstanceBundle::open(path)?;
    bundle.check_signature(&Certificate::parse(USER_CERT)?)?;
    let threads = NonZero::<usize>::MIN;
    let damaged = bundle.check_parts(threads, &Unwatched)?;
    assert_eq!(damaged, [], "the parts are right");
    let unsealed = bundle.unseal(&PrivateKey::parse(EC2_KEY)?, &mut SystemRandomness)?;
    assert_eq!(unsealed.reader(), Reader::Ec2);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("volume");
    let output = crate::io::OutputFile::create(&target)?;
    bundle.extract(&unsealed, Some(&output), threads, &Unwatched)?;
    output.commit()?;
    Ok(fs::read(target).unwrap())
}

/// A volume of 1,536 bytes whose second half record is a hole, as a tar stream.
fn sound_tar() -> Vec<u8> {
    let mut tar = sparse_header("x", 1536, &[0..512, 1024..1536]);
    tar.extend([7; 512]);
    tar.extend([8; 512]);
    let len = tar.len();
    tar.resize(len + usize::try_from(end_len(len.try_into().unwrap())).unwrap(), 0);
    tar
}

#[test]
fn a_bundle_made_by_hand_is_read() {
    let volume = [[7; 512], [0; 512], [8; 512]].concat();
    let sound = ByHand::of(1536, sound_tar());
    assert_eq!(sound.extract().unwrap(), volume);
    // Parts need not end where cipher blocks do.
    assert_eq!(ByHand { part_len: 37, ..sound }.extract().unwrap(), volume);
}

#[test]
fn archives_that_are_not_just_the_volume_are_refused() {
    let tar = sound_tar();
    let refused = |size, tar: Vec<u8>| ByHand::of(size, tar).refused();
    assert!(refused(1535, tar.clone()).1.contains("1536 bytes, expected the manifest's 1535"));
    let mut second = tar[..1536].to_vec();
    second.extend(&tar);
    assert!(refused(1536, second).1.contains("second file"));
    let mut trailing = tar.clone();
    trailing.extend([1; 512]);
    assert!(refused(1536, trailing).1.contains("follows the end"));
    let mut long = tar.clone();
    long.resize(3 << 20, 0);
    assert_eq!(refused(1536, long).0, Kind::Limit);
    for cut in [0, 1, 511, 512, 1000, 1535, 1536] {
        let (kind, text) = refused(1536, tar[..cut].to_vec());
        assert_eq!(kind, Kind::Corrupt, "{cut}: {text}");
    }
    // One record of zeros is enough of an end.
    assert!(ByHand::of(1536, tar[..2048].to_vec()).extract().is_ok());
    let mut link = tar.clone();
    link[156] = b'2';
    crate::tar::layout::seal(link.first_chunk_mut().unwrap());
    assert_eq!(refused(1536, link).0, Kind::Unsupported);
    let mut half = tar.clone();
    half[386 + 12..386 + 24].copy_from_slice(b"00000000777\0");
    half[386 + 24 + 12..386 + 48].copy_from_slice(b"00000001001\0");
    half[386 + 24..386 + 36].copy_from_slice(b"00000000777\0");
    crate::tar::layout::seal(half.first_chunk_mut().unwrap());
    let (_, text) = refused(1536, half);
    assert!(text.contains("ends inside a record"), "{text}");
}

#[test]
fn damage_below_the_digests_is_refused() {
    let tar = sound_tar();
    let sound = || ByHand::of(1536, tar.clone());
    let mut other = tar.clone();
    other[600] = 9;
    let (kind, text) = ByHand { packed: Some(gzip(&other)), ..sound() }.refused();
    assert!(kind == Kind::Mismatch && text.contains("the archive's SHA-1 is"), "{text}");
    let packed = gzip(&tar);
    for cut in [0, 5, 10, packed.len() - 1] {
        let cut = ByHand { packed: Some(packed[..cut].to_vec()), ..sound() };
        assert_eq!(cut.refused().0, Kind::Corrupt);
    }
    let mut wrong_sum = packed.clone();
    *wrong_sum.last_mut().unwrap() ^= 1;
    assert_eq!(ByHand { packed: Some(wrong_sum), ..sound() }.refused().0, Kind::Corrupt);
    for len in [15, 17] {
        let bytes = ByHand { encrypted: Some(vec![5; len]), ..sound() };
        assert!(bytes.refused().1.contains("multiple of 16"));
    }
    // Noise has sound padding once in 256 times, and then no gzip.
    let noise = ByHand { encrypted: Some(vec![5; 64]), ..sound() };
    assert_eq!(noise.refused().0, Kind::Corrupt);
}

/// Little that is packed well must not become much: a volume is as long as the manifest says.
#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    let zeros = vec![0; 64 << 20];
    let mut bomb = sound_tar();
    bomb.extend(&zeros);
    let (kind, text) = ByHand::of(1536, bomb).refused();
    assert_eq!(kind, Kind::Limit, "{text}");
}

#[test]
fn keys_and_certificates_say_what_they_are_instead() {
    let key = |bytes: &[u8]| PrivateKey::parse(bytes).unwrap_err();
    assert_eq!(key(b""), KeyFault::NoKey);
    assert_eq!(key(b"\xff"), KeyFault::NoKey);
    assert_eq!(key(USER_CERT), KeyFault::NoKey);
    let text = std::str::from_utf8(USER_KEY).unwrap();
    let renamed = |label: &str| text.replace("PRIVATE KEY", label).into_bytes();
    assert_eq!(key(&renamed("ENCRYPTED PRIVATE KEY")), KeyFault::Passphrase);
    assert_eq!(key(&renamed("EC PRIVATE KEY")), KeyFault::NotRsa);
    assert_eq!(key(&renamed("RSA PRIVATE KEY")), KeyFault::NotRsa);
    assert_eq!(key(&text.replacen("MII", "MIJ", 1).into_bytes()), KeyFault::NotRsa);
    let cert = |bytes: &[u8]| Certificate::parse(bytes).unwrap_err();
    assert_eq!(cert(b""), KeyFault::NoCertificate);
    assert_eq!(cert(USER_KEY), KeyFault::NoCertificate);
    let (user, ec2) = (PrivateKey::parse(USER_KEY).unwrap(), Certificate::parse(EC2_CERT).unwrap());
    assert_eq!(user.check_pair(&ec2), Err(KeyFault::Pair));
    assert_eq!(user.check_pair(&Certificate::parse(USER_CERT).unwrap()), Ok(()));
}

/// A secret is in no message and no debug text.
#[test]
fn secrets_are_not_shown() {
    let key = PrivateKey::parse(USER_KEY).unwrap();
    assert_eq!(format!("{key:?}"), "PrivateKey");
    let secret = Secret::random(&mut SystemRandomness).unwrap();
    assert_eq!(format!("{:?}", Encryptor::new(&secret)), "Encryptor");
}

/// A failing source of randomness is an error, even where a crypto crate would go on.
#[test]
fn without_randomness_nothing_is_made() {
    struct Broken;
    impl Randomness for Broken {
        fn fill(&mut self, _bytes: &mut [u8]) -> Result<()> {
            Err(crate::error::Error::new(Kind::Io, "none"))
        }
    }
    assert!(Secret::random(&mut Broken).is_err());
    let secret = Secret::random(&mut SystemRandomness).unwrap();
    let cert = Certificate::parse(USER_CERT).unwrap();
    assert_eq!(secret.seal(&cert, &cert, &mut Broken).unwrap_err().kind(), Kind::Io);
    let key = PrivateKey::parse(USER_KEY).unwrap();
    assert_eq!(key.sign(b"x", &mut Broken).unwrap_err().kind(), Kind::Io);
}

const EUCA: &str = include_str!("../../fixtures/instance-store/euca/disk.manifest.xml");
const EC2_V3: &str = include_str!("../../fixtures/instance-store/ec2/v3.manifest.xml");

/// Each check of a manifest, tripped by one change.
#[test]
fn a_broken_manifest_names_what_is_wrong() {
    let sound = Manifest::parse(EUCA.as_bytes()).unwrap().0;
    assert_eq!((sound.parts.len(), sound.size, sound.bundled_size), (5, 1_050_100, 82_000));
    for (from, to, said) in [
        ("manifest>", "manifesto>", "not a manifest"),
        ("2007-10-10", "2008-10-10", "version is not known"),
        ("<version>2007-10-10</version>", "", "no version"),
        ("machine_configuration>", "machine>", "no machine_configuration"),
        ("<architecture>x86_64</architecture>", "", "no architecture"),
        ("<architecture>x86_64", "<architecture>x86_64</architecture><architecture>", "twice"),
        ("<architecture>x86_64", "<architecture>x86&#10;64", "one line of text"),
        ("<virtual>ami</virtual>", "", "no virtual"),
        ("<name>disk</name>", "", "no name"),
        ("<name>disk</name>", "<name><b/></name>", "one line of text"),
        ("<type>machine</type>", "", "no type"),
        ("<type>machine", "<type>floppy", "machine, kernel or ramdisk"),
        ("<size>1050100", "<size>0", "a number above 0"),
        ("<size>1050100", "<size>+1", "a number of bytes"),
        ("<size>1050100", "<size>10737418241", "at most 10 GiB"),
        ("<digest algorithm=\"SHA1\"", "<digest algorithm=\"MD5\"", "expected SHA1"),
        ("<digest algorithm=\"SHA1\">", "<digest algorithm=\"SHA1\">0", "40 hex digits"),
        ("key algorithm=\"AES-128-CBC\"", "key algorithm=\"DES\"", "AES-128-CBC"),
        ("<ec2_encrypted_iv>", "<ec2_encrypted_iv>0", "pairs of hex digits"),
        ("count=\"5\"", "count=\"4\"", "lists 5 parts"),
        ("<parts count=\"5\">", "<parts>", "lists 5 parts"),
        ("index=\"2\"", "index=\"3\"", "expected number 2"),
        ("disk.part.02", "../part.02", "part 2 is not a plain file name"),
        ("disk.part.02", "disk.part.01", "part 2 has the name of another"),
    ] {
        let changed = EUCA.replace(from, to);
        assert_ne!(changed, EUCA, "{from} is there");
        let error = Manifest::parse(changed.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(said), "{from} to {to}: {error}");
    }
    let part = "<part index=\"0\"/>".repeat(MAX_PARTS + 1);
    let many = EUCA.replace("<part index=\"0\">", &format!("{part}<part index=\"0\">"));
    assert_eq!(Manifest::parse(many.as_bytes()).unwrap_err().kind(), Kind::Limit);
    let (old, forms) = Manifest::parse(EC2_V3.as_bytes()).unwrap();
    assert_eq!((old.version, old.image_type.as_str()), (Version::V3, "machine"));
    assert!(forms.0[0].starts_with(b"<image>"), "only the image is signed");
}

/// What is written is what is read, and in the strictest form.
#[test]
fn a_manifest_comes_back() {
    let (mut manifest, _) = Manifest::parse(EUCA.as_bytes()).unwrap();
    manifest.ancestry = vec!["ami-1".to_owned(), "ami-2".to_owned()];
    manifest.machine.ramdisk_id = Some("ari & <1>".to_owned());
    let text = manifest.write(|_| Ok("00ff".to_owned())).unwrap();
    assert!(text.starts_with("<?xml version='1.0'?><manifest><version>2007-10-10</version>"));
    assert!(!text.contains(['"', '\n']) && !text.contains("> <"), "{text}");
    let (again, forms) = Manifest::parse(text.as_bytes()).unwrap();
    manifest.signature = Some("00ff".to_owned());
    assert_eq!(again, manifest);
    // The bytes of the file are what Amazon's tools make of it, too.
    assert_eq!(forms.0.len(), 2);
}
