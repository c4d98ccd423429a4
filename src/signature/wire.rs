//! The strings and numbers of SSH's protocols (RFC 4251, section 5).

use crate::signature::fault::SignatureFault;

/// Reads fields in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// Takes that many bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], SignatureFault> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(SignatureFault::Cut)?;
        self.left = left;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SignatureFault> {
        self.bytes(N)?.try_into().map_err(|_| SignatureFault::Cut)
    }

    pub(super) fn u32(&mut self) -> Result<u32, SignatureFault> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], SignatureFault> {
        let len = usize::try_from(self.u32()?).map_err(|_| SignatureFault::Cut)?;
        self.bytes(len)
    }

    /// Fails if anything is left.
    pub(super) fn end(self) -> Result<(), SignatureFault> {
        if self.left.is_empty() { Ok(()) } else { Err(SignatureFault::Trailing) }
    }

    pub(super) fn left(&self) -> &'a [u8] {
        self.left
    }
}

/// Appends a string.
///
/// # Panics
///
/// If it is 4 GiB or longer: ours are not.
pub(super) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("strings here are short");
    out.extend(len.to_be_bytes());
    out.extend(bytes);
}
