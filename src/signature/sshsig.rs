//! The file form of SSH signatures (`PROTOCOL.sshsig`): `docs/formats/signature.md`, "Signature".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::digest::Algorithm;
use crate::digest::Hasher;
use crate::signature::fault::SignatureFault;
use crate::signature::keys::PrivateKey;
use crate::signature::keys::PublicKey;
use crate::signature::namespace::NAMESPACE;
use crate::signature::wire::Reader;
use crate::signature::wire::put_string;

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";

/// Characters of a line of base64, as `ssh-keygen` writes it.
const LINE_LEN: usize = 70;

/// Returns what a key signs in place of the statement.
///
/// # Panics
///
/// Never: the digests that are taken have names.
#[must_use]
pub fn to_be_signed(statement: &[u8], hash: Algorithm) -> Vec<u8> {
    let name = if hash == Algorithm::Sha256 { "sha256" } else { "sha512" };
    let mut hasher = Hasher::new(hash);
    hasher.update(statement);
    let mut message = MAGIC.to_vec();
    put_string(&mut message, NAMESPACE.as_bytes());
    put_string(&mut message, b"");
    put_string(&mut message, name.as_bytes());
    put_string(&mut message, &hasher.finish());
    message
}

/// Signs a statement.
#[must_use]
pub fn sign(statement: &[u8], key: &PrivateKey) -> String {
    let signature = key.sign(&to_be_signed(statement, Algorithm::Sha512));
    armor(&key.public(), &signature)
}

/// Puts a signature, as a key or an agent makes it, into the form of a file.
#[must_use]
pub fn armor(key: &PublicKey, signature: &[u8]) -> String {
    let mut blob = MAGIC.to_vec();
    blob.extend(VERSION.to_be_bytes());
    put_string(&mut blob, &key.encode());
    put_string(&mut blob, NAMESPACE.as_bytes());
    put_string(&mut blob, b"");
    put_string(&mut blob, b"sha512");
    put_string(&mut blob, signature);
    let packed = STANDARD.encode(blob);
    let mut text = format!("{BEGIN}\n");
    let mut left = packed.as_str();
    while !left.is_empty() {
        // Base64 is ASCII: any place is a boundary.
        let (line, rest) = left.split_at(left.len().min(LINE_LEN));
        text.push_str(line);
        text.push('\n');
        left = rest;
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// Checks a signature over a statement, and returns the key that made it, which may be anybody's.
///
/// # Errors
///
/// [`SignatureFault::Wrong`] if the key did not sign these bytes, [`SignatureFault::Namespace`] if it signed them for
/// something else; others for what is not such a signature.
pub fn verify(statement: &[u8], armored: &[u8]) -> Result<PublicKey, SignatureFault> {
    let text = std::str::from_utf8(armored).map_err(|_| SignatureFault::Armor)?;
    let inner = text.trim_ascii().strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END));
    let packed: String = inner.ok_or(SignatureFault::Armor)?.split_ascii_whitespace().collect();
    let blob = STANDARD.decode(packed).map_err(|_| SignatureFault::Armor)?;
    let mut reader = Reader::new(&blob);
    if reader.bytes(MAGIC.len())? != MAGIC {
        return Err(SignatureFault::Armor);
    }
    let version = reader.u32()?;
    if version != VERSION {
        return Err(SignatureFault::Version { found: version });
    }
    let key = PublicKey::parse(reader.string()?)?;
    if reader.string()? != NAMESPACE.as_bytes() {
        return Err(SignatureFault::Namespace);
    }
    // Reserved: whatever it holds is signed as nothing.
    if !reader.string()?.is_empty() {
        return Err(SignatureFault::Reserved);
    }
    let hash = match reader.string()? {
        b"sha512" => Algorithm::Sha512,
        b"sha256" => Algorithm::Sha256,
        _ => return Err(SignatureFault::Hash),
    };
    let signature = reader.string()?;
    reader.end()?;
    key.verify(&to_be_signed(statement, hash), signature)?;
    Ok(key)
}
