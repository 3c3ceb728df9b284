//! Picture files that are cut off, changed, or promise what they don't hold: each is an error that names the file.

// The helpers beside the tests may unwrap as the tests do.
#![allow(clippy::unwrap_used)]

use std::io::Cursor;
use std::path::Path;

use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use ocelli_core::Picture;
use ocelli_data::decode::{decode_picture_bytes, encode_png, picture_size_bytes};
use ocelli_data::{decode_picture, picture_size};

const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::Gif,
    ImageFormat::WebP,
    ImageFormat::Bmp,
];

fn picture(width: usize, height: usize) -> Picture {
    let rgb = (0..width * height * 3).map(|i| (i * 37 % 251) as u8);
    Picture::new(width, height, rgb.collect::<Vec<u8>>())
}

fn encoded(format: ImageFormat, picture: &Picture) -> Vec<u8> {
    let (width, height) = (picture.width() as u32, picture.height() as u32);
    let mut out = Cursor::new(Vec::new());
    RgbImage::from_raw(width, height, picture.rgb().to_vec())
        .unwrap()
        .write_to(&mut out, format)
        .unwrap();
    out.into_inner()
}

#[test]
fn empty_files_are_told_by_all_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.png");
    std::fs::write(&path, b"").unwrap();
    for error in [
        decode_picture(&path).unwrap_err().to_string(),
        picture_size(&path).unwrap_err().to_string(),
        picture_size_bytes(b"", "empty.png")
            .unwrap_err()
            .to_string(),
    ] {
        assert!(
            error.contains("empty.png") && error.contains("0 bytes"),
            "{error}"
        );
    }
    assert!(picture_size(Path::new("nowhere.png")).is_err());
}

#[test]
fn every_cut_is_an_error_or_the_whole_picture() {
    let whole = picture(9, 7);
    for format in FORMATS {
        let bytes = encoded(format, &whole);
        let decoded = decode_picture_bytes(&bytes, "whole").unwrap();
        for length in 0..bytes.len() {
            // Some formats end with bytes that say nothing about pixels.
            match decode_picture_bytes(&bytes[..length], "a/cut.img") {
                Ok(cut) => {
                    assert!(cut == decoded, "{format:?} cut to {length} bytes");
                    assert!(length + 16 > bytes.len(), "{format:?} cut to {length}");
                }
                Err(error) => assert!(error.to_string().starts_with("a/cut.img: ")),
            }
            let _ = picture_size_bytes(&bytes[..length], "a/cut.img");
        }
    }
}

#[test]
fn every_changed_byte_is_read_or_refused_by_name() {
    let whole = picture(9, 7);
    for format in FORMATS {
        let bytes = encoded(format, &whole);
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                if let Err(error) = decode_picture_bytes(&changed, "a/changed.img") {
                    let error = error.to_string();
                    assert!(error.starts_with("a/changed.img: "), "{error}");
                }
            }
        }
    }
}

#[test]
fn thin_pictures_are_decoded_whole() {
    for (width, height) in [(1, 5000), (5000, 1)] {
        let thin = picture(width, height);
        for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
            let decoded = decode_picture_bytes(&encoded(format, &thin), "thin").unwrap();
            assert!(decoded == thin, "{format:?} {width}x{height}");
        }
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let decoded = decode_picture_bytes(&encoded(format, &thin), "thin").unwrap();
            assert_eq!(decoded.size(), (width, height));
        }
    }
}

#[test]
fn of_an_animation_the_first_frame_counts() {
    let frames = [10u8, 200].map(|grey| {
        let rgba = image::RgbaImage::from_pixel(6, 4, image::Rgba([grey, grey, grey, 255]));
        image::Frame::new(rgba)
    });
    let mut bytes = Vec::new();
    image::codecs::gif::GifEncoder::new(&mut bytes)
        .encode_frames(frames)
        .unwrap();
    let decoded = decode_picture_bytes(&bytes, "two.gif").unwrap();
    assert_eq!(decoded.size(), (6, 4));
    assert_eq!(decoded.rgb(), [10; 6 * 4 * 3]);
    for length in 0..bytes.len() {
        if let Err(error) = decode_picture_bytes(&bytes[..length], "two.gif") {
            assert!(error.to_string().starts_with("two.gif: "), "{error}");
        }
    }
}

/// CRC-32 of a PNG chunk, bit by bit (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| match crc & 1 {
            1 => 0xedb8_8320 ^ (crc >> 1),
            _ => crc >> 1,
        })
    })
}

/// A file whose header promises `width`×`height` pixels and that holds a few.
fn promising(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let mut bytes = match format {
        ImageFormat::Jpeg => {
            let mut out = Vec::new();
            image::codecs::jpeg::JpegEncoder::new(&mut out)
                .write_image(&[9; 8 * 8 * 3], 8, 8, ExtendedColorType::Rgb8)
                .unwrap();
            out
        }
        format => encoded(format, &picture(8, 8)),
    };
    let (wide, high) = (width as u16, height as u16);
    match format {
        ImageFormat::Png => {
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            let sum = crc(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&sum.to_be_bytes());
        }
        ImageFormat::Jpeg => {
            let at = bytes.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
            bytes[at + 5..at + 7].copy_from_slice(&high.to_be_bytes());
            bytes[at + 7..at + 9].copy_from_slice(&wide.to_be_bytes());
        }
        ImageFormat::Gif => {
            bytes[6..8].copy_from_slice(&wide.to_le_bytes());
            bytes[8..10].copy_from_slice(&high.to_le_bytes());
        }
        ImageFormat::Bmp => {
            bytes[18..22].copy_from_slice(&width.to_le_bytes());
            bytes[22..26].copy_from_slice(&height.to_le_bytes());
        }
        // Lossless: 14 bits each, less one.
        _ => {
            let sizes = (u32::from(wide) - 1) & 0x3fff | ((u32::from(high) - 1) & 0x3fff) << 14;
            let at = bytes.windows(4).position(|w| w == b"VP8L").unwrap() + 9;
            let rest = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) & 0xf000_0000;
            bytes[at..at + 4].copy_from_slice(&(sizes | rest).to_le_bytes());
        }
    }
    bytes
}

#[test]
fn promises_of_too_many_pixels_are_refused_from_the_header() {
    for format in FORMATS {
        for (width, height) in [(10_001, 10_000), (16_000, 16_000)] {
            let bytes = promising(format, width, height);
            for error in [
                decode_picture_bytes(&bytes, "huge.img").unwrap_err(),
                picture_size_bytes(&bytes, "huge.img").unwrap_err(),
            ] {
                let error = error.to_string();
                let size = format!("{width}×{height}");
                assert!(
                    error.contains("huge.img") && error.contains(&size),
                    "{format:?}: {error}"
                );
                assert!(error.contains("more than 100 megapixels"), "{error}");
            }
        }
    }
    // Sides near the ends of their range.
    for (width, height) in [(u32::MAX >> 1, u32::MAX >> 1), (1, u32::MAX >> 1), (0, 8)] {
        let bytes = promising(ImageFormat::Png, width, height);
        let error = decode_picture_bytes(&bytes, "huge.png").unwrap_err();
        assert!(error.to_string().starts_with("huge.png: "), "{error}");
    }
}

#[test]
fn promises_that_are_not_kept_are_refused() {
    for format in FORMATS {
        // The decoder of JPEG makes up what lies between the last pixels and the end marker; a GIF's frame may be smaller.
        let result = decode_picture_bytes(&promising(format, 3000, 2000), "short.img");
        assert!(result.is_err() || format != ImageFormat::Png);
        if let Err(error) = result {
            assert!(error.to_string().starts_with("short.img: "), "{error}");
        }
    }
}

#[test]
fn a_written_picture_is_read_again() {
    let thin = picture(3, 2);
    assert!(decode_picture_bytes(&encode_png(&thin), "png").unwrap() == thin);
}
