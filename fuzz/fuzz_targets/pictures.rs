//! Picture files: pixels and sizes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ocelli_data::decode::{decode_picture_bytes, picture_size_bytes};

fuzz_target!(|bytes: &[u8]| {
    let size = picture_size_bytes(bytes, "picture");
    if let Ok(picture) = decode_picture_bytes(bytes, "picture") {
        assert_eq!(size.expect("what is decoded has a size"), picture.size());
    }
});
