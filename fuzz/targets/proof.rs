//! A panic where a parser of the library accepts its input. Random bytes do not get there: magic, version,
//! lengths and block size of an Android sparse header have to fit, 18 bytes of it.

use amikit::internals::format::android_sparse::layout::Header;

pub fn proof(data: &[u8]) {
    let Some(bytes) = data.first_chunk() else { return };
    assert!(Header::parse(bytes).is_err(), "feedback works");
}
