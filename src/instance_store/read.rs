//! A bundle on disk: its manifest, its parts, and the volume in them.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::thread;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;
use serde::Serialize;

use crate::compress::StreamDecoder;
use crate::compress::Wrapping;
use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::archive::Extracted;
use crate::instance_store::archive::Extractor;
use crate::instance_store::cipher::CIPHER_BLOCK_LEN;
use crate::instance_store::cipher::Decryptor;
use crate::instance_store::cipher::without_padding;
use crate::instance_store::fault::MAX_MANIFEST_LEN;
use crate::instance_store::fault::ManifestFault;
use crate::instance_store::fault::PayloadFault;
use crate::instance_store::keys::Certificate;
use crate::instance_store::keys::PrivateKey;
use crate::instance_store::keys::Randomness;
use crate::instance_store::keys::Reader;
use crate::instance_store::keys::Secret;
use crate::instance_store::manifest::Manifest;
use crate::instance_store::manifest::SignedForms;
use crate::io::Input;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::io::read_vec;
use crate::work::Watch;
use crate::work::in_order;

/// Encrypted bytes that are taken at once: whole cipher blocks.
const CIPHER_PIECE_LEN: usize = 256 << 10;

/// Bytes of the archive that are unpacked at once.
const PLAIN_PIECE_LEN: usize = 256 << 10;

/// Pieces that may wait for the digest.
const WAITING: usize = 4;

/// A part that is not what the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartDamage {
    /// Number of the part.
    pub index: usize,
    /// Its file.
    pub filename: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What a bundle's volume is encrypted with. It is wiped when it is dropped.
pub struct Unsealed {
    secret: Secret,
    reader: Reader,
}

impl Unsealed {
    /// Tells for whom the key was that opened it.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader
    }
}

impl std::fmt::Debug for Unsealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsealed")
    }
}

/// A bundle, its manifest read and checked.
#[derive(Debug)]
pub struct InstanceBundle {
    path: PathBuf,
    folder: PathBuf,
    manifest: Manifest,
    forms: SignedForms,
}

impl InstanceBundle {
    /// Tells whether a file begins as a manifest does.
    #[must_use]
    pub fn is_at(path: &Path) -> bool {
        let Ok(input) = Input::open(path) else { return false };
        let len = input.len().min(4096);
        let Ok(bytes) = read_vec(&input, 0, len) else { return false };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start();
        let behind = match text.strip_prefix("<?xml") {
            Some(rest) => rest.split_once("?>").map_or("", |it| it.1).trim_start(),
            None => text,
        };
        behind.starts_with("<manifest>")
    }

    /// Reads the manifest at `path`; the parts are beside it.
    ///
    /// # Errors
    ///
    /// As [`Manifest::parse`]; `Io` if it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let input = Input::open(path)?;
        let most = u64::try_from(MAX_MANIFEST_LEN).expect("a length");
        if input.len() > most {
            return Err(Error::from(ManifestFault::Len { found: input.len() }).in_file(path));
        }
        let bytes = read_vec(&input, 0, input.len())?;
        let (manifest, forms) = Manifest::parse(&bytes).map_err(|e| e.in_file(path))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { path: path.to_owned(), folder, manifest, forms })
    }

    /// Returns the manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Fails if the manifest was not signed by the key of this certificate.
    ///
    /// # Errors
    ///
    /// `Mismatch`.
    pub fn check_signature(&self, certificate: &Certificate) -> Result<()> {
        let signature = self.manifest.signature.as_deref();
        certificate
            .check_signature(&self.forms.0, signature)
            .map_err(|fault| Error::from(fault).in_file(&self.path))
    }

    /// Checks the length and digest of each part; returns those that are wrong. `watch` hears of their
    /// bytes.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the lengths do not fit each other or the manifest; `Io` if a part cannot be read.
    pub fn check_parts(
        &self,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Vec<PartDamage>> {
        let mut lens = Vec::with_capacity(self.manifest.parts.len());
        let mut damaged = Vec::new();
        for index in 0..self.manifest.parts.len() {
            match self.part(index) {
                Ok(input) => lens.push(input.len()),
                Err(error) if error.kind() == Kind::Corrupt => {
                    damaged.push(self.damage(index, &error));
                }
                Err(error) => return Err(error),
            }
        }
        if damaged.is_empty() {
            self.check_lens(&lens).map_err(|e| e.in_file(&self.path))?;
        }
        let gone: Vec<usize> = damaged.iter().map(|it| it.index).collect();
        let jobs = (0..self.manifest.parts.len()).filter(|index| !gone.contains(index)).map(Ok);
        let work = |buffer: &mut Vec<u8>, index| {
            buffer.resize(READ_PIECE_LEN, 0);
            Ok((index, self.hash_part(index, buffer, watch)?))
        };
        in_order(
            threads,
            watch,
            jobs,
            || Ok(Vec::new()),
            work,
            |(index, damage)| {
                if let Some(problem) = damage {
                    damaged.push(self.damage(index, &problem));
                }
                Ok(())
            },
        )?;
        damaged.sort_by_key(|it| it.index);
        Ok(damaged)
    }

    fn damage(&self, index: usize, problem: &dyn std::fmt::Display) -> PartDamage {
        let filename = self.manifest.parts[index].filename.clone();
        PartDamage { index, filename, problem: problem.to_string() }
    }

    /// Opens a part: a plain file beside the manifest.
    fn part(&self, index: usize) -> Result<Input> {
        let path = self.folder.join(&self.manifest.parts[index].filename);
        // A link could lead to any file of the reader's.
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => Input::open(&path),
            Ok(_) => Err(Error::corrupt("the part is no plain file").in_file(&path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::corrupt("the part is missing").in_file(&path))
            }
            Err(e) => Err(Error::io("open", &path, e)),
        }
    }

    fn check_lens(&self, lens: &[u64]) -> Result<()> {
        let expected = self.manifest.bundled_size;
        let found = lens.iter().try_fold(0_u64, |sum, len| sum.checked_add(*len));
        if found != Some(expected) {
            let found = found.unwrap_or(u64::MAX);
            return Err(Error::corrupt(format!(
                "the parts have {found} bytes together, expected bundled_size, {expected}"
            )));
        }
        let block = u64::try_from(CIPHER_BLOCK_LEN).expect("a length");
        if expected == 0 || !expected.is_multiple_of(block) {
            return Err(PayloadFault::CipherLen { found: expected }.into());
        }
        let (first, (last, others)) = (lens[0], lens.split_last().expect("a manifest has a part"));
        match others.iter().chain([last]).position(|len| *len != first) {
            Some(index) if index < others.len() || *last > first => Err(Error::corrupt(format!(
                "part {index} has {} bytes, expected {first} as the first one, or less in the last",
                lens[index]
            ))),
            _ => Ok(()),
        }
    }

    /// Hashes a part; `Some` says what is wrong with it.
    fn hash_part(
        &self,
        index: usize,
        buffer: &mut [u8],
        watch: &dyn Watch,
    ) -> Result<Option<String>> {
        let input = self.part(index)?;
        let mut hasher = Hasher::new(Algorithm::Sha1);
        let mut at = 0;
        while at < input.len() {
            watch.check()?;
            let len = usize::try_from(input.len().strict_sub(at)).unwrap_or(usize::MAX);
            let piece = &mut buffer[..len.min(READ_PIECE_LEN)];
            input.read_exact_at(piece, at)?;
            hasher.update(piece);
            let len = u64::try_from(piece.len()).expect("a length");
            at = at.strict_add(len);
            watch.advance(len);
        }
        let (found, expected) = (hasher.finish_hex(), &self.manifest.parts[index].sha1);
        Ok((found != *expected)
            .then(|| format!("the part's SHA-1 is {found}, expected {expected}")))
    }

    /// Opens what the volume is encrypted with.
    ///
    /// # Errors
    ///
    /// `Mismatch` if it is not encrypted for this key; `Io` if the system has no randomness.
    pub fn unseal(&self, key: &PrivateKey, random: &mut dyn Randomness) -> Result<Unsealed> {
        let opened = key.open(&self.manifest.key, &self.manifest.iv, random);
        let (secret, reader) = opened.map_err(|e| e.in_file(&self.path))?;
        Ok(Unsealed { secret, reader })
    }

    /// Unpacks the volume, checks the archive's digest, and writes the volume to `to` if there is one.
    /// `watch` hears of the volume's bytes. The parts must have been checked before.
    ///
    /// # Errors
    ///
    /// `Mismatch` if the archive is not the one that the manifest describes; `Corrupt`, `Unsupported` or
    /// `Limit` if it is malformed; `Io`.
    pub fn extract(
        &self,
        unsealed: &Unsealed,
        to: Option<&dyn WriteAt>,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<Extracted> {
        let mut archive = Archive::new(self, &unsealed.secret)?;
        let mut extractor = Extractor::new(self.manifest.size, to);
        let digest = thread::scope(|scope| {
            let mut digest = Digesting::start(scope, threads);
            let mut at = 0_u64;
            loop {
                watch.check()?;
                let mut piece = digest.buffer();
                piece.resize(PLAIN_PIECE_LEN, 0);
                let len = archive.fill(&mut piece)?;
                piece.truncate(len);
                if len == 0 {
                    return Ok(digest.finish());
                }
                let fed = extractor.feed(&piece).map_err(|e| in_stream(e, at))?;
                watch.advance(fed);
                at = at.strict_add(u64::try_from(len).expect("a length"));
                digest.update(piece);
            }
        });
        let found = digest.map_err(|e: Error| e.in_file(&self.path))?;
        let extracted = extractor.finish().map_err(|e| e.in_file(&self.path))?;
        if found != self.manifest.digest {
            let expected = &self.manifest.digest;
            let text = format!("the archive's SHA-1 is {found}, expected {expected}");
            return Err(Error::new(Kind::Mismatch, text).in_file(&self.path));
        }
        Ok(extracted)
    }
}

/// Says where in the plain archive a failure is, if it is about that and no file.
fn in_stream(error: Error, at: u64) -> Error {
    if error.path().is_none() && error.kind() != Kind::Interrupted {
        let text = format!("in the archive, behind byte {at}: {error}");
        return Error::new(error.kind(), text);
    }
    error
}

/// The plain archive: parts, decrypted and unpacked.
struct Archive<'a> {
    bundle: &'a InstanceBundle,
    decryptor: Decryptor,
    decoder: StreamDecoder,
    /// The part that is being read, and the byte in it.
    part: Option<Input>,
    next_part: usize,
    at: u64,
    /// Encrypted bytes to come.
    left: u64,
    /// Decrypted bytes, from `start` on not unpacked.
    packed: Vec<u8>,
    start: usize,
}

impl<'a> Archive<'a> {
    fn new(bundle: &'a InstanceBundle, secret: &Secret) -> Result<Self> {
        Ok(Self {
            bundle,
            decryptor: Decryptor::new(secret),
            decoder: StreamDecoder::new(Wrapping::Gzip)?,
            part: None,
            next_part: 0,
            at: 0,
            left: bundle.manifest.bundled_size,
            packed: Vec::new(),
            start: 0,
        })
    }

    /// Fills `out` as far as the archive goes, and returns how much that was.
    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            if self.start == self.packed.len() && self.left > 0 {
                self.decrypt()?;
            }
            let last = self.left == 0;
            let step = self.decoder.step(&self.packed[self.start..], last, &mut out[filled..])?;
            self.start = self.start.strict_add(step.taken);
            filled = filled.strict_add(step.given);
            let over = last && self.start == self.packed.len();
            if over && step.taken == 0 && step.given == 0 {
                break;
            }
        }
        Ok(filled)
    }

    /// Decrypts the next piece.
    fn decrypt(&mut self) -> Result<()> {
        let len = usize::try_from(self.left).unwrap_or(CIPHER_PIECE_LEN).min(CIPHER_PIECE_LEN);
        self.packed.resize(len, 0);
        self.start = 0;
        let mut filled = 0;
        while filled < len {
            let part = match &mut self.part {
                Some(part) if self.at < part.len() => part,
                part => {
                    if self.next_part == self.bundle.manifest.parts.len() {
                        return Err(Error::new(Kind::Io, "a part became shorter meanwhile"));
                    }
                    let opened = self.bundle.part(self.next_part)?;
                    (self.next_part, self.at) = (self.next_part.strict_add(1), 0);
                    *part = Some(opened);
                    continue;
                }
            };
            let rest = usize::try_from(part.len().strict_sub(self.at)).unwrap_or(usize::MAX);
            let take = rest.min(len.strict_sub(filled)).min(READ_PIECE_LEN);
            part.read_exact_at(&mut self.packed[filled..][..take], self.at)?;
            self.at = self.at.strict_add(u64::try_from(take).expect("a length"));
            filled = filled.strict_add(take);
        }
        self.left = self.left.strict_sub(u64::try_from(len).expect("a length"));
        self.decryptor.update(&mut self.packed);
        if self.left == 0 {
            self.packed.truncate(without_padding(&self.packed)?);
        }
        Ok(())
    }
}

/// SHA-1 of a stream, on a thread of its own where there is one: it takes as long as unpacking.
enum Digesting<'scope> {
    Here(Hasher, Vec<u8>),
    There {
        send: Sender<Vec<u8>>,
        back: Receiver<Vec<u8>>,
        thread: thread::ScopedJoinHandle<'scope, String>,
    },
}

impl<'scope> Digesting<'scope> {
    fn start<'env>(scope: &'scope thread::Scope<'scope, 'env>, threads: NonZero<usize>) -> Self {
        let hasher = Hasher::new(Algorithm::Sha1);
        if threads.get() == 1 {
            return Self::Here(hasher, Vec::new());
        }
        let (send, take) = bounded::<Vec<u8>>(WAITING);
        let (give, back) = bounded(WAITING.strict_mul(2));
        let mut own = hasher.clone();
        let body = move || {
            for piece in take {
                own.update(&piece);
                // Nobody wants buffers back once the stream is over.
                let _ = give.try_send(piece);
            }
            own.finish_hex()
        };
        match thread::Builder::new().name("amikit-sha1".to_owned()).spawn_scoped(scope, body) {
            Ok(thread) => Self::There { send, back, thread },
            Err(_) => Self::Here(hasher, Vec::new()),
        }
    }

    /// Returns a buffer that is not in use.
    fn buffer(&mut self) -> Vec<u8> {
        match self {
            Self::Here(_, buffer) => std::mem::take(buffer),
            Self::There { back, .. } => back.try_recv().unwrap_or_default(),
        }
    }

    fn update(&mut self, piece: Vec<u8>) {
        match self {
            Self::Here(hasher, buffer) => {
                hasher.update(&piece);
                *buffer = piece;
            }
            Self::There { send, .. } => {
                send.send(piece).expect("the thread takes pieces until the queue closes");
            }
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Here(hasher, _) => hasher.finish_hex(),
            Self::There { send, thread, .. } => {
                drop(send);
                thread.join().expect("hashing does not panic")
            }
        }
    }
}
