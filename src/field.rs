//! Integers at fixed offsets of byte slices: the only place that turns bytes into numbers and back.
//!
//! # Panics
//!
//! Every function here panics if the bytes are not there. Lengths are the caller's duty, checked
//! once, before the first field.

use byteorder::BigEndian;
use byteorder::ByteOrder;
use byteorder::LittleEndian;

macro_rules! fields {
    ($($read:ident, $write:ident, $order:ident, $get:ident, $put:ident, $int:ty;)*) => {$(
        #[doc = concat!("Reads a `", stringify!($int), "` at byte `at`.")]
        #[must_use]
        #[track_caller]
        pub fn $read(bytes: &[u8], at: usize) -> $int {
            $order::$get(&bytes[at..])
        }

        #[doc = concat!("Writes a `", stringify!($int), "` at byte `at`.")]
        #[track_caller]
        pub fn $write(bytes: &mut [u8], at: usize, value: $int) {
            $order::$put(&mut bytes[at..], value);
        }
    )*};
}

fields! {
    u16_le, put_u16_le, LittleEndian, read_u16, write_u16, u16;
    u32_le, put_u32_le, LittleEndian, read_u32, write_u32, u32;
    u64_le, put_u64_le, LittleEndian, read_u64, write_u64, u64;
    u16_be, put_u16_be, BigEndian, read_u16, write_u16, u16;
    u32_be, put_u32_be, BigEndian, read_u32, write_u32, u32;
    u64_be, put_u64_be, BigEndian, read_u64, write_u64, u64;
}

/// Copies the `N` bytes from `at` on.
#[must_use]
#[track_caller]
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("field inside the slice")
}

/// Writes `value` at byte `at`.
#[track_caller]
pub fn put_bytes(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..][..value.len()].copy_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders_come_back() {
        let mut bytes = [0; 24];
        put_u64_le(&mut bytes, 0, 0x0102_0304_0506_0708);
        put_u64_be(&mut bytes, 8, 0x0102_0304_0506_0708);
        put_u16_be(&mut bytes, 16, 0xabcd);
        put_bytes(&mut bytes, 20, b"ami!");
        assert_eq!(&bytes[..2], [8, 7]);
        assert_eq!(&bytes[8..10], [1, 2]);
        assert_eq!(u64_le(&bytes, 0), u64_be(&bytes, 8));
        assert_eq!(u16_be(&bytes, 16), 0xabcd);
        assert_eq!(array(&bytes, 20), *b"ami!");
    }
}
