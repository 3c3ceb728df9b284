//! From the bytes of a picture file to RGB pixels, and back to PNG.
//!
//! What is not plain 8-bit RGB is converted by these rules, which are those of Pillow's `convert("RGB")` except where
//! said:
//! - grey is copied to the three channels; palettes are looked up;
//! - alpha is dropped, not blended: a transparent pixel shows the colour stored under it;
//! - 16-bit values lose their low byte; so do grey ones, which Pillow clips at 255 and thereby turns white;
//! - the orientation of EXIF is applied, which Pillow leaves to its caller, so that boxes refer to the picture as people
//!   see it;
//! - of an animation, the first frame counts.
//!
//! [`decode_picture_as`] takes the rules of transformers' image processors instead; see [`crate::conversion`].
//!
//! JPEG is decoded by a Rust decoder whose values differ from libjpeg-turbo's by at most a few units.

use std::fs;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};
use ocelli_core::Picture;

use crate::conversion::{Conversion, to_rgb};
use crate::error::DataError;

/// Largest picture that is decoded, in pixels. Checked against the header, before memory is taken.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Largest picture file that is read into memory: what its pixels could take at most, and room for metadata.
const MAX_FILE: u64 = MAX_PIXELS * MAX_BYTES_A_PIXEL + (64 << 20);
/// Most bytes a pixel takes while decoding: four 16-bit channels.
const MAX_BYTES_A_PIXEL: u64 = 8;

/// The picture in the file `path`.
///
/// # Errors
/// If the file cannot be read, is empty, of an unknown format, damaged, cut off, or larger than [`MAX_PIXELS`].
pub fn decode_picture(path: &Path) -> Result<Picture, DataError> {
    let name = path.display().to_string();
    let unread = |source| DataError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = fs::File::open(path).map_err(unread)?.take(MAX_FILE + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(DataError::picture(
            &name,
            format!(
                "the file has more than {} MiB, which no picture of {} megapixels needs: it is something else, or shrink it first",
                MAX_FILE >> 20,
                MAX_PIXELS / 1_000_000
            ),
        ));
    }
    decode_picture_bytes(&bytes, &name)
}

/// The picture in `bytes`, the contents of a PNG, JPEG, GIF, WebP or BMP file. `name` is for errors.
///
/// # Errors
/// As [`decode_picture`].
pub fn decode_picture_bytes(bytes: &[u8], name: &str) -> Result<Picture, DataError> {
    decode_picture_as(bytes, name, Conversion::Plain)
}

/// As [`decode_picture_bytes`], with other rules for what is not RGB.
///
/// # Errors
/// As [`decode_picture`].
pub fn decode_picture_as(
    bytes: &[u8],
    name: &str,
    conversion: Conversion,
) -> Result<Picture, DataError> {
    if bytes.is_empty() {
        return Err(empty(name));
    }
    let reader = recognise(Cursor::new(bytes), name)?;
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_whole(bytes) {
        return Err(DataError::picture(
            name,
            "the JPEG ends before its picture does: copy or download it again",
        ));
    }
    let format = reader.format();
    let (mut decoder, _) = open(reader, name)?;
    let orientation = orientation(&mut decoder);
    let mut decoded = DynamicImage::from_decoder(decoder)
        .map_err(|error| DataError::picture(name, damaged(&error)))?;
    decoded.apply_orientation(orientation);
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let rgb = to_rgb(decoded, conversion, format, bytes);
    Ok(Picture::new(width, height, rgb))
}

/// Width and height in pixels of the picture in the file `path`, orientation applied, without decoding the pixels.
///
/// # Errors
/// As [`decode_picture`], except that damage after the header is not noticed.
pub fn picture_size(path: &Path) -> Result<(usize, usize), DataError> {
    let name = path.display().to_string();
    let file = fs::File::open(path).map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut reader = BufReader::new(file);
    let first = reader.fill_buf().map_err(|source| DataError::Read {
        path: path.to_owned(),
        source,
    })?;
    if first.is_empty() {
        return Err(empty(&name));
    }
    size(reader, &name)
}

fn empty(name: &str) -> DataError {
    DataError::picture(
        name,
        "the file is empty (0 bytes): copy or download it again",
    )
}

/// As [`picture_size`], of the picture file whose contents are `bytes`. `name` is for errors.
///
/// # Errors
/// As [`picture_size`].
pub fn picture_size_bytes(bytes: &[u8], name: &str) -> Result<(usize, usize), DataError> {
    if bytes.is_empty() {
        return Err(DataError::picture(
            name,
            "the picture is empty (0 bytes): write it again",
        ));
    }
    size(Cursor::new(bytes), name)
}

fn size<R: BufRead + Seek>(source: R, name: &str) -> Result<(usize, usize), DataError> {
    let (mut decoder, (width, height)) = open(recognise(source, name)?, name)?;
    let size = (width as usize, height as usize);
    Ok(match orientation(&mut decoder) {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => (size.1, size.0),
        Orientation::NoTransforms
        | Orientation::Rotate180
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical => size,
    })
}

/// The picture as a PNG file.
pub fn encode_png(picture: &Picture) -> Vec<u8> {
    let mut png = Vec::new();
    image::codecs::png::PngEncoder::new(&mut png)
        .write_image(
            picture.rgb(),
            picture.width() as u32,
            picture.height() as u32,
            image::ExtendedColorType::Rgb8,
        )
        .expect("writing to memory does not fail, and the buffer of a picture fits its size");
    png
}

/// A reader that knows its format by the first bytes; file names are not trusted.
fn recognise<R: BufRead + Seek>(source: R, name: &str) -> Result<ImageReader<R>, DataError> {
    let mut reader = ImageReader::new(source)
        .with_guessed_format()
        .map_err(|error| DataError::picture(name, format!("cannot be read: {error}")))?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * MAX_BYTES_A_PIXEL);
    reader.limits(limits);
    match reader.format() {
        Some(
            ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::Gif
            | ImageFormat::WebP
            | ImageFormat::Bmp,
        ) => Ok(reader),
        _ => Err(DataError::picture(
            name,
            "not a PNG, JPEG, GIF, WebP or BMP picture: convert it to one of these",
        )),
    }
}

/// The decoder and its picture's size, once the header is read and the size is known to be bearable.
fn open<'a, R: BufRead + Seek + 'a>(
    reader: ImageReader<R>,
    name: &str,
) -> Result<(impl ImageDecoder + 'a, (u32, u32)), DataError> {
    let decoder = reader
        .into_decoder()
        .map_err(|error| DataError::picture(name, damaged(&error)))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(DataError::picture(
            name,
            format!("the picture is {width}×{height}: it has no pixels"),
        ));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(DataError::picture(
            name,
            format!(
                "the picture is {width}×{height}, more than {} megapixels: shrink it first",
                MAX_PIXELS / 1_000_000
            ),
        ));
    }
    Ok((decoder, (width, height)))
}

/// The orientation that the metadata asks for; metadata that cannot be read ask for none.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn damaged(error: &image::ImageError) -> String {
    format!("damaged or cut off ({error}): copy or download it again")
}

/// Whether a JPEG reaches its end-of-image marker. The decoder fills what is missing with grey and says nothing.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xd9;
    let mut at = 2; // after the start-of-image marker
    while let (Some(&first), Some(&second)) = (bytes.get(at), bytes.get(at + 1)) {
        match (first, second) {
            (0xff, END_OF_IMAGE) => return true,
            // Fill bytes, stuffed zeros, restart markers and markers without a segment.
            (0xff, 0xff) => at += 1,
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => at += 2,
            (0xff, _) => {
                let Some(length) = bytes.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([length[0], length[1]]));
            }
            // Compressed pixels.
            _ => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture() -> Picture {
        let rgb: Vec<u8> = (0..7 * 5 * 3).map(|i| (i * 37 % 256) as u8).collect();
        Picture::new(7, 5, rgb)
    }

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let p = picture();
        let mut out = Cursor::new(Vec::new());
        image::RgbImage::from_raw(7, 5, p.rgb().to_vec())
            .unwrap()
            .write_to(&mut out, format)
            .unwrap();
        out.into_inner()
    }

    #[test]
    fn png_round_trip_keeps_every_byte() {
        let p = picture();
        assert_eq!(decode_picture_bytes(&encode_png(&p), "p").unwrap(), p);
    }

    #[test]
    fn files_cut_off_are_refused_by_name() {
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::WebP,
            ImageFormat::Bmp,
        ] {
            let bytes = encoded(format);
            assert!(decode_picture_bytes(&bytes, "whole").is_ok(), "{format:?}");
            for length in [1, 12, bytes.len() / 2, bytes.len() * 3 / 4] {
                let error = decode_picture_bytes(&bytes[..length], "scans/half.img")
                    .expect_err(&format!("{format:?} cut to {length} bytes"))
                    .to_string();
                assert!(error.starts_with("scans/half.img: "), "{error}");
            }
        }
    }

    #[test]
    fn empty_and_foreign_files_say_what_to_do() {
        let error = decode_picture_bytes(b"", "a.png").unwrap_err().to_string();
        assert!(error.contains("empty"), "{error}");
        let error = decode_picture_bytes(b"<html>404</html>", "a.png")
            .unwrap_err()
            .to_string();
        assert!(error.contains("convert"), "{error}");
        let error = decode_picture(Path::new("nowhere/a.png"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("nowhere/a.png"), "{error}");
    }

    /// A BMP header that promises 20,000 × 20,000 pixels and brings none.
    #[test]
    fn huge_pictures_are_refused_from_the_header() {
        let mut bytes = encoded(ImageFormat::Bmp);
        bytes[18..22].copy_from_slice(&20_000_u32.to_le_bytes());
        bytes[22..26].copy_from_slice(&20_000_u32.to_le_bytes());
        let error = decode_picture_bytes(&bytes, "huge.bmp")
            .unwrap_err()
            .to_string();
        assert!(error.contains("20000×20000"), "{error}");
        assert!(error.contains("100 megapixels"), "{error}");
    }

    #[test]
    fn the_size_is_read_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        fs::write(&path, encode_png(&picture())).unwrap();
        assert_eq!(picture_size(&path).unwrap(), (7, 5));
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(
            kind in 0usize..5,
            changes in prop::collection::vec((0usize..2000, any::<u8>()), 0..6),
            length in 0usize..2000,
        ) {
            let format = [
                ImageFormat::Png,
                ImageFormat::Jpeg,
                ImageFormat::Gif,
                ImageFormat::WebP,
                ImageFormat::Bmp,
            ][kind];
            let mut bytes = encoded(format);
            for (at, value) in changes {
                let count = bytes.len();
                bytes[at % count] = value;
            }
            bytes.truncate(length);
            let _ = decode_picture_bytes(&bytes, "fuzz");
        }
    }
}
