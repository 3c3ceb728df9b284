//! `resize_bicubic` against Pillow, byte for byte. The golden file is made by `golden/make_resize.py`.

use ocelli_core::Picture;
use ocelli_data::{PassOrder, resize_bicubic};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    pillow: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    old: [usize; 2],
    new: [usize; 2],
    pillow_13: String,
    horizontal_first: String,
    first_bytes: Vec<u8>,
}

/// The formula of `make_resize.py`.
fn source([width, height]: [usize; 2]) -> Picture {
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let mut value = (x * x * (3 + c) + y * y * (5 - c) + 7 * x * y) % 256;
                if (x / 3 + y / 5).is_multiple_of(4) {
                    value = if (x + c).is_multiple_of(2) { 255 } else { 0 };
                }
                if (x * 31 + y * 17 + c * 7).is_multiple_of(11) {
                    value = (x * 2_654_435_761 + y * 40_503 + c * 97) % 251;
                }
                rgb.push(value as u8);
            }
        }
    }
    Picture::new(width, height, rgb)
}

fn fnv1a(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[test]
fn every_byte_is_pillows() {
    let golden: Golden = serde_json::from_str(include_str!("golden/resize.json")).unwrap();
    assert!(golden.pillow.starts_with("13."));
    assert!(golden.cases.len() >= 20);
    for case in &golden.cases {
        let picture = source(case.old);
        let [width, height] = case.new;
        let resized = |order| resize_bicubic(&picture, width, height, order);
        let name = format!("{:?} to {:?}", case.old, case.new);
        let now = resized(PassOrder::Pillow13);
        let first = &now.rgb()[..case.first_bytes.len().min(now.rgb().len())];
        assert_eq!(first, case.first_bytes, "{name}");
        assert_eq!(fnv1a(now.rgb()), case.pillow_13, "{name}");
        let before = resized(PassOrder::PillowBefore13);
        assert_eq!(fnv1a(before.rgb()), case.horizontal_first, "{name}");
    }
}
