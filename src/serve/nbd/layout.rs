//! The numbers of the NBD protocol and its messages as bytes. Pure.
//!
//! Names are those of the protocol's text; see `docs/formats/nbd.md`.

use crate::field;
use crate::units::ExtentKind;

pub(super) const NBDMAGIC: &[u8; 8] = b"NBDMAGIC";
pub(super) const IHAVEOPT: &[u8; 8] = b"IHAVEOPT";
pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(super) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub(super) const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

pub(super) const FLAG_FIXED_NEWSTYLE: u16 = 1;
pub(super) const FLAG_NO_ZEROES: u16 = 2;

/// Transmission flags: `HAS_FLAGS`, `READ_ONLY`, `SEND_DF`, `CAN_MULTI_CONN`.
pub(super) const TRANSMISSION_FLAGS: u16 = 1 | 1 << 1 | 1 << 7 | 1 << 8;

pub(super) mod opt {
    pub(in super::super) const EXPORT_NAME: u32 = 1;
    pub(in super::super) const ABORT: u32 = 2;
    pub(in super::super) const LIST: u32 = 3;
    pub(in super::super) const INFO: u32 = 6;
    pub(in super::super) const GO: u32 = 7;
    pub(in super::super) const STRUCTURED_REPLY: u32 = 8;
    pub(in super::super) const LIST_META_CONTEXT: u32 = 9;
    pub(in super::super) const SET_META_CONTEXT: u32 = 10;
}

pub(super) mod rep {
    pub(in super::super) const ACK: u32 = 1;
    pub(in super::super) const SERVER: u32 = 2;
    pub(in super::super) const INFO: u32 = 3;
    pub(in super::super) const META_CONTEXT: u32 = 4;
    pub(in super::super) const ERR_UNSUP: u32 = (1 << 31) + 1;
    pub(in super::super) const ERR_INVALID: u32 = (1 << 31) + 3;
    pub(in super::super) const ERR_UNKNOWN: u32 = (1 << 31) + 6;
    pub(in super::super) const ERR_TOO_BIG: u32 = (1 << 31) + 9;
}

pub(super) mod info {
    pub(in super::super) const EXPORT: u16 = 0;
    pub(in super::super) const NAME: u16 = 1;
    pub(in super::super) const DESCRIPTION: u16 = 2;
    pub(in super::super) const BLOCK_SIZE: u16 = 3;
}

pub(super) mod cmd {
    pub(in super::super) const READ: u16 = 0;
    pub(in super::super) const WRITE: u16 = 1;
    pub(in super::super) const DISC: u16 = 2;
    pub(in super::super) const FLUSH: u16 = 3;
    pub(in super::super) const TRIM: u16 = 4;
    pub(in super::super) const WRITE_ZEROES: u16 = 6;
    pub(in super::super) const BLOCK_STATUS: u16 = 7;
}

pub(super) const CMD_FLAG_DF: u16 = 1 << 2;
pub(super) const CMD_FLAG_REQ_ONE: u16 = 1 << 3;

pub(super) mod errno {
    pub(in super::super) const EPERM: u32 = 1;
    pub(in super::super) const EIO: u32 = 5;
    pub(in super::super) const EINVAL: u32 = 22;
    pub(in super::super) const EOVERFLOW: u32 = 75;
}

pub(super) mod chunk {
    pub(in super::super) const NONE: u16 = 0;
    pub(in super::super) const OFFSET_DATA: u16 = 1;
    pub(in super::super) const OFFSET_HOLE: u16 = 2;
    pub(in super::super) const BLOCK_STATUS: u16 = 5;
    pub(in super::super) const ERROR: u16 = (1 << 15) + 1;
    pub(in super::super) const FLAG_DONE: u16 = 1;
}

/// Smallest, preferred and largest length of a read.
pub(super) const BLOCK_SIZES: [u32; 3] = [1, 4096, 32 << 20];

/// What can be asked about ranges, in the order of their ids, which begin at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Allocation,
    State,
}

pub(super) const CONTEXTS: [Context; 2] = [Context::Allocation, Context::State];

impl Context {
    pub(super) const fn id(self) -> u32 {
        match self {
            Self::Allocation => 1,
            Self::State => 2,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "base:allocation",
            Self::State => "amikit:state",
        }
    }

    /// Returns the flags of a range in that state.
    pub(super) const fn flags(self, kind: ExtentKind) -> u32 {
        match (self, kind) {
            (_, ExtentKind::Data) => 0,
            (Self::Allocation, ExtentKind::Zero) | (Self::State, ExtentKind::Hole) => 2,
            (Self::Allocation, ExtentKind::Hole) => 3,
            (Self::State, ExtentKind::Zero) => 1,
        }
    }

    /// Tells whether a client's query means this context: by its name, or, in a list, by its namespace.
    pub(super) fn answers(self, query: &[u8], in_list: bool) -> bool {
        let name = self.name().as_bytes();
        let namespace = name.split_inclusive(|byte| *byte == b':').next();
        query == name || in_list && Some(query) == namespace
    }
}

/// A request of the transmission phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) flags: u16,
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
}

impl Request {
    pub(super) const LEN: usize = 28;

    /// Reads a request; `None` without the magic number: then the stream has no more sense.
    pub(super) fn parse(bytes: &[u8; Self::LEN]) -> Option<Self> {
        (field::u32_be(bytes, 0) == REQUEST_MAGIC).then(|| Self {
            flags: field::u16_be(bytes, 4),
            command: field::u16_be(bytes, 6),
            cookie: field::u64_be(bytes, 8),
            offset: field::u64_be(bytes, 16),
            len: field::u32_be(bytes, 24),
        })
    }
}

/// Makes the head of an answer to an option.
pub(super) fn option_reply(option: u32, reply: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).expect("replies are short");
    let mut bytes = Vec::with_capacity(data.len().strict_add(20));
    bytes.extend(OPTION_REPLY_MAGIC.to_be_bytes());
    bytes.extend(option.to_be_bytes());
    bytes.extend(reply.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes.extend(data);
    bytes
}

pub(super) fn simple_reply(error: u32, cookie: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    bytes[4..8].copy_from_slice(&error.to_be_bytes());
    bytes[8..].copy_from_slice(&cookie.to_be_bytes());
    bytes
}

/// Makes the head of a chunk of a structured reply, and what stands before its data.
pub(super) fn chunk_head(
    kind: u16,
    done: bool,
    cookie: u64,
    before: &[u8],
    data_len: usize,
) -> Vec<u8> {
    let len = u32::try_from(before.len().strict_add(data_len)).expect("chunks are short");
    let flags = if done { chunk::FLAG_DONE } else { 0 };
    let mut bytes = Vec::with_capacity(before.len().strict_add(20));
    bytes.extend(STRUCTURED_REPLY_MAGIC.to_be_bytes());
    bytes.extend(flags.to_be_bytes());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(len.to_be_bytes());
    bytes.extend(before);
    bytes
}

/// Makes the body of an error chunk: the number and a text.
pub(super) fn error_body(error: u32, text: &str) -> Vec<u8> {
    // The protocol asks for at most 4,096 bytes of text.
    let mut end = text.len().min(4096);
    while !text.is_char_boundary(end) {
        end = end.strict_sub(1);
    }
    let text = &text[..end];
    let mut bytes = error.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(text.len()).expect("cut").to_be_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_fields_or_nothing() {
        let mut bytes = [0; Request::LEN];
        bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[5] = 8;
        bytes[7] = 7;
        bytes[15] = 3;
        bytes[23] = 4;
        bytes[27] = 5;
        let request = Request { flags: 8, command: 7, cookie: 3, offset: 4, len: 5 };
        assert_eq!(Request::parse(&bytes), Some(request));
        bytes[0] ^= 1;
        assert_eq!(Request::parse(&bytes), None);
    }

    #[test]
    fn a_context_answers_to_its_name_and_in_a_list_to_its_namespace() {
        assert!(Context::Allocation.answers(b"base:allocation", false));
        assert!(Context::Allocation.answers(b"base:", true));
        assert!(!Context::Allocation.answers(b"base:", false));
        assert!(!Context::Allocation.answers(b"base", true));
        assert!(Context::State.answers(b"amikit:", true));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let body = error_body(5, &"ö".repeat(4000));
        assert_eq!(body.len(), 6 + 4096);
        assert!(std::str::from_utf8(&body[6..]).is_ok());
        let body = error_body(5, &format!("a{}", "ö".repeat(4000)));
        assert_eq!(body.len(), 6 + 4095);
    }
}
