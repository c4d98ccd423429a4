//! A bundle on disk: its manifest, its parts, and the volume in them.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::thread;

use serde::Serialize;

use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::archive::Extracted;
use crate::instance_store::archive::Extractor;
use crate::instance_store::cipher::CIPHER_BLOCK_LEN;
use crate::instance_store::digesting::Digesting;
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
use crate::instance_store::parts::Parts;
use crate::instance_store::plain::Archive;
use crate::io::Input;
use crate::io::READ_PIECE_LEN;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::io::read_vec;
use crate::work::Watch;
use crate::work::in_order;

/// Bytes of the archive that are unpacked at once.
const PLAIN_PIECE_LEN: usize = 256 << 10;

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
    ///
    /// # Errors
    ///
    /// `Io` if that cannot be determined.
    pub fn is_at(path: &Path) -> Result<bool> {
        let input = Input::open(path)?;
        let bytes = read_vec(&input, 0, input.len().min(4096))?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start();
        let behind = match text.strip_prefix("<?xml") {
            Some(rest) => rest.split_once("?>").map_or("", |it| it.1).trim_start(),
            None => text,
        };
        Ok(behind.starts_with("<manifest>"))
    }

    /// Reads the manifest at `path`; the parts are beside it.
    ///
    /// # Errors
    ///
    /// As [`Manifest::parse`]; `Io` if it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of_input(&Input::open(path)?, path)
    }

    /// Reads a manifest that is open; the parts are beside its path.
    ///
    /// # Errors
    ///
    /// As [`InstanceBundle::open`].
    pub fn of_input(input: &Input, path: &Path) -> Result<Self> {
        let most = u64::try_from(MAX_MANIFEST_LEN).expect("a length");
        if input.len() > most {
            return Err(Error::from(ManifestFault::Len { found: input.len() }).in_file(path));
        }
        let bytes = read_vec(input, 0, input.len())?;
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
            match self.parts().open(index) {
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

    /// Opens a part.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it is not there; `Io` if it cannot be read.
    ///
    /// # Panics
    ///
    /// If the manifest has no such part.
    pub fn open_part(&self, index: usize) -> Result<Input> {
        self.parts().open(index)
    }

    fn parts(&self) -> Parts<'_> {
        Parts::new(&self.folder, &self.manifest)
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
        let input = self.parts().open(index)?;
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
        let mut archive = Archive::new(self.parts(), &unsealed.secret)?;
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
        let text = format!("in the archive, after byte {at}: {error}");
        return Error::new(error.kind(), text);
    }
    error
}
