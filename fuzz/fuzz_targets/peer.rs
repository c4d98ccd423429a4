//! The target `peer`: see `fuzz/targets`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| amikit_fuzz::run("peer", data));
