//! Keys in the forms of OpenSSH: public ones (RFC 8709, `PROTOCOL.u2f`) and files of private ones (`PROTOCOL.key`).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ed25519_dalek::Signer;
use ed25519_dalek::SigningKey;
use ed25519_dalek::VerifyingKey;
use zeroize::Zeroizing;

use crate::digest::sha256;
use crate::signature::fault::SignatureFault;
use crate::signature::wire::Reader;
use crate::signature::wire::put_string;

/// Name of plain ed25519 keys.
pub(super) const ED25519: &str = "ssh-ed25519";

/// Name of ed25519 keys that live in hardware.
pub(super) const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com";

/// Most bytes of a file with a key.
pub const MAX_KEY_LEN: u64 = 64 << 10;

/// The flag of a hardware key's signature that its owner was present.
const USER_PRESENT: u8 = 1;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    point: VerifyingKey,
    /// The application of a hardware key.
    application: Option<Vec<u8>>,
}

impl PublicKey {
    /// Reads a key as SSH's protocol has it.
    ///
    /// # Errors
    ///
    /// [`SignatureFault::KeyType`] for other algorithms, [`SignatureFault::WeakKey`] for points of small order,
    /// [`SignatureFault::Cut`], [`SignatureFault::Trailing`] or [`SignatureFault::Key`] for what is not a key.
    pub fn parse(blob: &[u8]) -> Result<Self, SignatureFault> {
        let mut reader = Reader::new(blob);
        let name = reader.string()?;
        if name != ED25519.as_bytes() && name != SK_ED25519.as_bytes() {
            return Err(SignatureFault::KeyType);
        }
        let bytes = reader.string()?.try_into().map_err(|_| SignatureFault::Key)?;
        let point = VerifyingKey::from_bytes(bytes).map_err(|_| SignatureFault::Key)?;
        if point.is_weak() {
            return Err(SignatureFault::WeakKey);
        }
        let in_hardware = name == SK_ED25519.as_bytes();
        let application = in_hardware.then(|| reader.string()).transpose()?.map(<[u8]>::to_vec);
        reader.end()?;
        Ok(Self { point, application })
    }

    /// Reads a key as a line of a `.pub` file has it: type, base64, and a comment.
    ///
    /// # Errors
    ///
    /// As [`PublicKey::parse`]; [`SignatureFault::Key`] if it is not such a line.
    pub fn parse_line(line: &str) -> Result<Self, SignatureFault> {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(text)) = (words.next(), words.next()) else {
            return Err(SignatureFault::Key);
        };
        let blob = STANDARD.decode(text).map_err(|_| SignatureFault::Key)?;
        let key = Self::parse(&blob)?;
        if key.algorithm() == name { Ok(key) } else { Err(SignatureFault::Key) }
    }

    /// Returns the key as SSH's protocol has it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut blob = Vec::new();
        put_string(&mut blob, self.algorithm().as_bytes());
        put_string(&mut blob, self.point.as_bytes());
        if let Some(application) = &self.application {
            put_string(&mut blob, application);
        }
        blob
    }

    /// Returns the algorithm's name.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        if self.application.is_some() { SK_ED25519 } else { ED25519 }
    }

    /// Checks a signature over `message`: the name of its algorithm, its bytes, and what hardware adds.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureFault> {
        let mut reader = Reader::new(signature);
        if reader.string()? != self.algorithm().as_bytes() {
            return Err(SignatureFault::KeyType);
        }
        let bytes: &[u8; 64] = reader.string()?.try_into().map_err(|_| SignatureFault::Cut)?;
        let bytes = ed25519_dalek::Signature::from_bytes(bytes);
        let signed = match &self.application {
            None => message.to_vec(),
            Some(application) => {
                let [flags] = reader.array()?;
                let counter: [u8; 4] = reader.array()?;
                if flags & USER_PRESENT == 0 {
                    return Err(SignatureFault::NotPresent);
                }
                let mut signed = sha256(application).0.to_vec();
                signed.push(flags);
                signed.extend(counter);
                signed.extend(sha256(message).0);
                signed
            }
        };
        reader.end()?;
        self.point.verify_strict(&signed, &bytes).map_err(|_| SignatureFault::Wrong)
    }
}

/// The fingerprint, as `ssh-keygen -l` prints it.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", STANDARD_NO_PAD.encode(sha256(&self.encode()).0))
    }
}

/// What a file of a key holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyFile {
    /// A private key that can sign at once.
    Private(PrivateKey),
    /// A private key with a passphrase, or in hardware: another program has to sign.
    Elsewhere,
    /// A public key: an agent has the private one.
    Public(PublicKey),
}

/// A private key. It is wiped when it is dropped, and never printed.
pub struct PrivateKey(SigningKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public())
    }
}

impl PrivateKey {
    /// Returns the public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { point: self.0.verifying_key(), application: None }
    }

    /// Signs, and returns the signature with the name of its algorithm.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = Vec::new();
        put_string(&mut signature, ED25519.as_bytes());
        put_string(&mut signature, &self.0.sign(message).to_bytes());
        signature
    }
}

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";

impl KeyFile {
    /// Reads the file of a private or public key.
    ///
    /// # Errors
    ///
    /// [`SignatureFault::KeyType`] for keys of other algorithms, [`SignatureFault::Key`] for what is not a key.
    pub fn parse(bytes: &[u8]) -> Result<Self, SignatureFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| SignatureFault::Key)?;
        let Some((_, rest)) = text.split_once(BEGIN) else {
            let line = text.lines().find(|line| !line.trim().is_empty());
            return PublicKey::parse_line(line.unwrap_or_default()).map(Self::Public);
        };
        let (armored, _) = rest.split_once(END).ok_or(SignatureFault::Key)?;
        let packed: Zeroizing<String> = Zeroizing::new(armored.split_whitespace().collect());
        let bytes = STANDARD.decode(packed.as_bytes()).map_err(|_| SignatureFault::Key)?;
        let bytes = Zeroizing::new(bytes);
        Self::parse_private(bytes.strip_prefix(MAGIC).ok_or(SignatureFault::Key)?)
    }

    fn parse_private(bytes: &[u8]) -> Result<Self, SignatureFault> {
        let mut reader = Reader::new(bytes);
        let cipher = reader.string()?;
        let _derivation = reader.string()?;
        let _options = reader.string()?;
        if reader.u32()? != 1 {
            return Err(SignatureFault::Key);
        }
        let public = PublicKey::parse(reader.string()?)?;
        let secret = reader.string()?;
        reader.end()?;
        if cipher != b"none" || public.application.is_some() {
            return Ok(Self::Elsewhere);
        }
        let mut reader = Reader::new(secret);
        if reader.u32()? != reader.u32()? || reader.string()? != ED25519.as_bytes() {
            return Err(SignatureFault::Key);
        }
        if reader.string()? != public.point.as_bytes() {
            return Err(SignatureFault::Key);
        }
        let pair: &[u8; 64] = reader.string()?.try_into().map_err(|_| SignatureFault::Key)?;
        let pair = SigningKey::from_keypair_bytes(pair).map_err(|_| SignatureFault::Key)?;
        let _comment = reader.string()?;
        // What fills the last block of the cipher: 1, 2, 3 and so on.
        let padding = reader.left().iter().zip(1_u8..).all(|(found, expected)| *found == expected);
        if !padding || pair.verifying_key() != public.point {
            return Err(SignatureFault::Key);
        }
        Ok(Self::Private(PrivateKey(pair)))
    }
}
