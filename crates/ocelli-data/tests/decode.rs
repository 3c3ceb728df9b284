//! `decode_picture_bytes` against Pillow. The golden file is made by `golden/make_decode.py`.

// Helpers of tests may unwrap as tests do; the lint knows the tests themselves only.
#![allow(clippy::unwrap_used)]

use ocelli_data::{decode_picture_bytes, picture_size};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    file: String,
    width: usize,
    height: usize,
    rgb: String,
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks_exact(2).map(|d| d[0] * 16 + d[1]).collect()
}

/// Rust's JPEG decoder and libjpeg-turbo round differently.
const JPEG_TOLERANCE: u8 = 4;

#[test]
fn pixels_are_pillows() {
    let golden: Golden = serde_json::from_str(include_str!("golden/decode.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for case in &golden.cases {
        let bytes = from_hex(&case.file);
        let picture = decode_picture_bytes(&bytes, &case.name).unwrap();
        let size = (case.width, case.height);
        assert_eq!((picture.width(), picture.height()), size, "{}", case.name);
        let tolerance = if case.name.contains("jpeg") {
            JPEG_TOLERANCE
        } else {
            0
        };
        let expected = from_hex(&case.rgb);
        let worst = picture
            .rgb()
            .iter()
            .zip(&expected)
            .map(|(a, b)| a.abs_diff(*b))
            .max();
        assert!(
            worst <= Some(tolerance),
            "{}: {:?} is not {expected:?}",
            case.name,
            picture.rgb()
        );

        let path = folder.path().join("picture");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(picture_size(&path).unwrap(), size, "{}", case.name);
    }
}

/// Pillow clips this picture to white; see the rules in `decode.rs`.
#[test]
fn sixteen_bit_grey_is_scaled() {
    let mut png = std::io::Cursor::new(Vec::new());
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(3, 1, vec![0_u16, 40_000, 65_535])
        .unwrap()
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let picture = decode_picture_bytes(png.get_ref(), "grey").unwrap();
    assert_eq!(picture.rgb(), [0, 0, 0, 156, 156, 156, 255, 255, 255]);
}
