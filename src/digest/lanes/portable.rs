//! One stream after another with the `sha2` crate: runs everywhere, and judges the other engines.

use crate::digest::lanes::Block;
use crate::digest::lanes::State;

/// Hashes `blocks` into `state`.
pub(super) fn compress(state: &mut State, blocks: &[Block]) {
    sha2::block_api::compress256(state, blocks);
}
