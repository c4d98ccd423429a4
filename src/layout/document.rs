//! Blobs, compared with the descriptors that refer to them.

use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::layout::name::Name;
use crate::layout::oci::Descriptor;
use crate::layout::store::Blob;
use crate::layout::store::BlobStore;
use crate::layout::store::read_small;

/// Checks the digest of a blob's bytes.
pub(crate) fn expect_digest(found: Digest, blob: &Descriptor) -> Result<()> {
    if found == blob.digest {
        return Ok(());
    }
    let text = format!("the SHA-256 of the stored bytes is {found}, expected {}", blob.digest);
    Err(Error::new(Kind::Mismatch, text))
}

/// Opens a blob of the right size.
///
/// # Errors
///
/// `Corrupt` if it is not there or of another size; `Io` if it cannot be opened.
pub(crate) fn open_blob(store: &dyn BlobStore, blob: &Descriptor) -> Result<Blob> {
    let path = store.path_of(Name::Blob(blob.digest));
    let file = store.file(Name::Blob(blob.digest))?.ok_or_else(|| {
        let text = format!("the layout lacks the blob sha256:{}", blob.digest);
        Error::corrupt(text).in_file(&path)
    })?;
    if file.len() != blob.size {
        let text = format!(
            "the blob sha256:{} has {} bytes, expected {}",
            blob.digest,
            file.len(),
            blob.size
        );
        return Err(Error::corrupt(text).in_file(&path));
    }
    Ok(file)
}

/// Reads a document of a layout and checks it against its digest.
pub(crate) fn read_document(
    store: &dyn BlobStore,
    blob: &Descriptor,
    most: u64,
) -> Result<Vec<u8>> {
    let path = store.path_of(Name::Blob(blob.digest));
    let file = open_blob(store, blob)?;
    let bytes = read_small(&file, most).map_err(|e| e.in_file(&path))?;
    expect_digest(sha256(&bytes), blob).map_err(|e| e.in_file(&path))?;
    Ok(bytes)
}
