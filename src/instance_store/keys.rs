//! Keys and certificates, and what is done with them: SHA-1, RSA with PKCS#1 v1.5.
//!
//! The format demands these algorithms. A secret is wiped when it is dropped, and is never part of a
//! message.

use std::convert::Infallible;
use std::fmt;

use rsa::PrivateKey as RsaPrivateKey;
use rsa::PublicKey as RsaPublicKey;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::pkcs8::DecodePublicKey;
use rsa::rand_core::TryCryptoRng;
use rsa::rand_core::TryRng;
use sha1::Sha1;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode;
use x509_cert::der::DecodePem;
use x509_cert::der::Encode;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::instance_store::fields::Sealed;

/// Bytes of a key, and of an initialization vector.
pub(super) const SECRET_LEN: usize = 16;

/// Most bytes of a file with a key or certificate.
pub const MAX_KEY_FILE_LEN: u64 = 256 << 10;

/// What is wrong with a key or certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// There is no PEM of a private key.
    #[error("the file has no private key, expected PEM of PKCS#1 or PKCS#8")]
    NoKey,
    /// The key is encrypted with a passphrase.
    #[error("the private key has a passphrase, expected one without")]
    Passphrase,
    /// The key is not an RSA key of a size that is taken.
    #[error("the private key is malformed, or not an RSA key of 1,024 to 16,384 bits")]
    NotRsa,
    /// There is no certificate.
    #[error("the file has no certificate, expected X.509 as PEM or DER")]
    NoCertificate,
    /// The certificate's key is not an RSA key of a size that is taken.
    #[error("the certificate's key is not an RSA key of 1,024 to 16,384 bits")]
    CertificateNotRsa,
    /// The certificate is not that of the private key.
    #[error("the certificate is not that of the private key")]
    Pair,
    /// The key is not the one that the bundle is encrypted for.
    #[error("the private key does not decrypt the bundle, which is encrypted for another key")]
    WrongKey,
    /// The manifest has no signature.
    #[error("the manifest has no signature")]
    Unsigned,
    /// The signature is not one of this certificate's key over this manifest.
    #[error("the signature does not match: the manifest was changed, or another key signed it")]
    Signature,
}

impl Fault for KeyFault {
    fn kind(&self) -> Kind {
        match self {
            Self::NoKey | Self::Passphrase | Self::NoCertificate | Self::Pair => Kind::Invalid,
            Self::NotRsa | Self::CertificateNotRsa => Kind::Unsupported,
            Self::WrongKey | Self::Unsigned | Self::Signature => Kind::Mismatch,
        }
    }
}

/// Where random bytes come from.
pub trait Randomness {
    /// Fills `bytes` with bytes that nobody can foretell.
    ///
    /// # Errors
    ///
    /// `Io` if the system has none.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()>;
}

/// The system's own randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        getrandom::fill(bytes)
            .map_err(|e| Error::new(Kind::Io, format!("the system has no random bytes: {e}")))
    }
}

/// [`Randomness`] as the crypto crates take it. They ask for little at a time; a failure waits.
struct Rng<'a> {
    source: &'a mut dyn Randomness,
    failure: Option<Error>,
}

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if let Err(error) = self.source.fill(bytes) {
            // Padding is made of bytes that are not 0, and asks until it has some.
            bytes.fill(1);
            self.failure.get_or_insert(error);
        }
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_> {}

/// Runs what needs randomness, and fails if there was none.
fn with_rng<T>(
    source: &mut dyn Randomness,
    what: &'static str,
    run: impl FnOnce(&mut Rng<'_>) -> rsa::Result<T>,
) -> Result<T> {
    let mut rng = Rng { source, failure: None };
    let done = run(&mut rng);
    match rng.failure {
        Some(failure) => Err(failure),
        // The error of a failed private operation has no details.
        None => done.map_err(|_| Error::invalid(format!("RSA cannot {what} with this key"))),
    }
}

/// Takes the PEM of one label out of a text that may have more in it.
fn pem<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let start = text.find(&begin)?;
    let len = text[start..].find(&end)?.strict_add(end.len());
    Some(&text[start..][..len])
}

/// For whom a bundle was encrypted with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Its maker, who signed it.
    User,
    /// EC2.
    Ec2,
}

/// A private key.
pub struct PrivateKey(RsaPrivateKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PrivateKey {
    /// Reads a private key.
    ///
    /// # Errors
    ///
    /// Says what it is instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeyFault::NoKey)?;
        let key = if let Some(pem) = pem(text, "PRIVATE KEY") {
            RsaPrivateKey::from_pkcs8_pem(pem).map_err(|_| KeyFault::NotRsa)?
        } else if let Some(pem) = pem(text, "RSA PRIVATE KEY") {
            if pem.contains("Proc-Type: 4,ENCRYPTED") {
                return Err(KeyFault::Passphrase);
            }
            RsaPrivateKey::from_pkcs1_pem(pem).map_err(|_| KeyFault::NotRsa)?
        } else if pem(text, "ENCRYPTED PRIVATE KEY").is_some() {
            return Err(KeyFault::Passphrase);
        } else if text.contains("PRIVATE KEY-----") {
            return Err(KeyFault::NotRsa);
        } else {
            return Err(KeyFault::NoKey);
        };
        Ok(Self(key))
    }

    /// Signs a manifest, and returns the signature in hexadecimal digits.
    pub(super) fn sign(&self, signed: &[u8], random: &mut dyn Randomness) -> Result<String> {
        let sign = |rng: &mut Rng<'_>| self.0.pkcs1v15_sign_with_rng::<Sha1, _>(rng, signed);
        with_rng(random, "sign", sign).map(|signature| hex(&signature))
    }

    /// Opens key and initialization vector, sealed for the user or for EC2, whichever this key is.
    pub(super) fn open(
        &self,
        key: &Sealed,
        iv: &Sealed,
        random: &mut dyn Randomness,
    ) -> Result<(Secret, Reader)> {
        let readers = [(Reader::User, &key.user, &iv.user), (Reader::Ec2, &key.ec2, &iv.ec2)];
        for (reader, key, iv) in readers {
            let key = self.open_one(key, random)?;
            let iv = self.open_one(iv, random)?;
            if let (Some(key), Some(iv)) = (key, iv) {
                return Ok((Secret { key: *key, iv: *iv }, reader));
            }
        }
        Err(KeyFault::WrongKey.into())
    }

    fn open_one(
        &self,
        sealed: &str,
        random: &mut dyn Randomness,
    ) -> Result<Option<Zeroizing<[u8; SECRET_LEN]>>> {
        let Some(bytes) = from_hex(sealed).filter(|bytes| !bytes.is_empty()) else {
            return Ok(None);
        };
        let mut rng = Rng { source: random, failure: None };
        let opened = self.0.pkcs1v15_decrypt_with_rng(&mut rng, &bytes);
        if let Some(failure) = rng.failure {
            return Err(failure);
        }
        // With a key that is not the right one, noise comes out, and no error.
        let Ok(text) = opened.map(Zeroizing::new) else { return Ok(None) };
        Ok(secret_of_text(&text))
    }

    /// Returns the public half, as a certificate has it.
    #[must_use]
    pub fn public(&self) -> Certificate {
        Certificate(self.0.to_public_key())
    }

    /// Fails if a certificate is not that of this key.
    ///
    /// # Errors
    ///
    /// `Pair`.
    pub fn check_pair(&self, certificate: &Certificate) -> Result<(), KeyFault> {
        if *self.0.as_public_key() == certificate.0 { Ok(()) } else { Err(KeyFault::Pair) }
    }
}

/// Reads 32 hexadecimal digits.
fn secret_of_text(text: &[u8]) -> Option<Zeroizing<[u8; SECRET_LEN]>> {
    let text = std::str::from_utf8(text).ok()?;
    let bytes = Zeroizing::new(from_hex(text)?);
    <[u8; SECRET_LEN]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new)
}

/// A certificate: only its key is looked at.
#[derive(Clone, Debug)]
pub struct Certificate(RsaPublicKey);

impl Certificate {
    /// Reads a certificate as PEM or DER.
    ///
    /// # Errors
    ///
    /// Says what it is instead.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyFault> {
        let text = std::str::from_utf8(bytes).ok();
        let certificate = match text.and_then(|text| pem(text, "CERTIFICATE")) {
            Some(pem) => X509::from_pem(pem),
            None => X509::from_der(bytes),
        }
        .map_err(|_| KeyFault::NoCertificate)?;
        let key = certificate.tbs_certificate().subject_public_key_info().to_der();
        let key = key.map_err(|_| KeyFault::NoCertificate)?;
        let key = RsaPublicKey::from_public_key_der(&key);
        key.map(Self).map_err(|_| KeyFault::CertificateNotRsa)
    }

    /// Fails if no form of the signed bytes has this signature by the certificate's key.
    ///
    /// # Errors
    ///
    /// `Unsigned` or `Signature`.
    pub(super) fn check_signature(
        &self,
        forms: &[Vec<u8>],
        signature: Option<&str>,
    ) -> Result<(), KeyFault> {
        // What euca2ools writes where it has no key to sign with.
        let signature = signature.filter(|text| *text != "UNSIGNED").ok_or(KeyFault::Unsigned)?;
        let signature = from_hex(signature).ok_or(KeyFault::Signature)?;
        let fits = |form: &Vec<u8>| self.0.pkcs1v15_verify::<Sha1>(form, &signature).is_ok();
        if forms.iter().any(fits) { Ok(()) } else { Err(KeyFault::Signature) }
    }

    /// Encrypts a secret's digits, and returns that in hexadecimal digits.
    fn seal(&self, secret: &[u8; SECRET_LEN], random: &mut dyn Randomness) -> Result<String> {
        let text = Zeroizing::new(hex(secret));
        let seal = |rng: &mut Rng<'_>| self.0.pkcs1v15_encrypt_with_rng(rng, text.as_bytes());
        with_rng(random, "encrypt", seal).map(|sealed| hex(&sealed))
    }
}

/// Key and initialization vector of a bundle.
pub(super) struct Secret {
    pub(super) key: [u8; SECRET_LEN],
    pub(super) iv: [u8; SECRET_LEN],
}

impl Secret {
    /// Makes new ones.
    pub(super) fn random(random: &mut dyn Randomness) -> Result<Self> {
        let mut secret = Self { key: [0; SECRET_LEN], iv: [0; SECRET_LEN] };
        random.fill(&mut secret.key)?;
        random.fill(&mut secret.iv)?;
        Ok(secret)
    }

    /// Encrypts both for EC2 and for the user.
    pub(super) fn seal(
        &self,
        ec2: &Certificate,
        user: &Certificate,
        random: &mut dyn Randomness,
    ) -> Result<(Sealed, Sealed)> {
        let key = Sealed { ec2: ec2.seal(&self.key, random)?, user: user.seal(&self.key, random)? };
        let iv = Sealed { ec2: ec2.seal(&self.iv, random)?, user: user.seal(&self.iv, random)? };
        Ok((key, iv))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}
