//! From what a decoder gives to RGB: grey, palettes, transparency and 16-bit values, by one of three sets of rules.
//!
//! The orientation of EXIF is applied under all of them. They differ where Pillow and the libraries around it differ:
//!
//! | | alpha channel, or a palette with several degrees of alpha | one transparent colour | 16-bit grey |
//! |---|---|---|---|
//! | [`Conversion::Plain`] | dropped | shown | low byte lost |
//! | [`Conversion::FromPath`] | dropped | white, wherever the colour occurs | clipped at 255 |
//! | [`Conversion::FromPicture`] | blended with white | white | clipped at 255 |
//!
//! Facts: `load_image`, `convert_to_rgb` of transformers 5.23 and `Image.convert`, `Image.alpha_composite` of Pillow 13.

use image::{ColorType, DynamicImage, ImageFormat};

/// Whose rules make a picture RGB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conversion {
    /// Those of the data loader: a transparent pixel shows the colour stored under it.
    #[default]
    Plain,
    /// Those of transformers when its processor is given a path or address: `load_image` drops the alpha channel, yet a
    /// single transparent colour survives as a note, and the processor then paints that colour white.
    FromPath,
    /// Those of transformers when its processor is given an opened Pillow picture with its orientation applied, as
    /// `datasets` gives it: blended with white.
    FromPicture,
}

/// The picture as RGB bytes. `bytes` is the file, in which the rules look for what the decoder does not tell.
pub(crate) fn to_rgb(
    decoded: DynamicImage,
    conversion: Conversion,
    format: Option<ImageFormat>,
    bytes: &[u8],
) -> Vec<u8> {
    if conversion == Conversion::Plain {
        return plain(decoded);
    }
    if decoded.color() == ColorType::L16 {
        let grey = decoded.into_luma16().into_raw();
        return grey
            .into_iter()
            .flat_map(|v| [v.min(255) as u8; 3])
            .collect();
    }
    if !decoded.color().has_alpha() {
        return plain(decoded);
    }
    let rgba: Vec<u8> = match decoded.color() {
        ColorType::La16 | ColorType::Rgba16 => {
            let wide = decoded.into_rgba16().into_raw();
            wide.into_iter().map(|value| (value >> 8) as u8).collect()
        }
        _ => decoded.into_rgba8().into_raw(),
    };
    if conversion == Conversion::FromPicture {
        return pixels(&rgba)
            .flat_map(|[r, g, b, a]| [r, g, b].map(|value| on_white(value, a)))
            .collect();
    }
    let white = match format {
        Some(ImageFormat::Png) => png_transparent_colour(bytes),
        Some(ImageFormat::Gif) => pixels(&rgba)
            .find(|p| p[3] == 0)
            .map(|[r, g, b, _]| [r, g, b]),
        _ => None,
    };
    pixels(&rgba)
        .flat_map(|[r, g, b, _]| {
            if white == Some([r, g, b]) {
                [255; 3]
            } else {
                [r, g, b]
            }
        })
        .collect()
}

/// Alpha dropped, 16-bit values without their low byte.
fn plain(decoded: DynamicImage) -> Vec<u8> {
    match decoded.color() {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            let wide = decoded.into_rgb16().into_raw();
            wide.into_iter().map(|value| (value >> 8) as u8).collect()
        }
        _ => decoded.into_rgb8().into_raw(),
    }
}

fn pixels(rgba: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    rgba.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]])
}

/// `value` with opacity `alpha` over white, `value · alpha / 255 + 255 − alpha`, with the rounding of Pillow's
/// `alpha_composite`: seven bits after the point, and a division by 255 made of shifts.
fn on_white(value: u8, alpha: u8) -> u8 {
    const BITS: u32 = 7;
    let source = u32::from(alpha) << BITS;
    let white = (255 << BITS) - source;
    let sum = u32::from(value) * source + 255 * white + (0x80 << BITS);
    ((((sum >> 8) + sum) >> 8) >> BITS) as u8
}

/// The one transparent colour of a PNG with 8 or fewer bits a channel, if its `tRNS` chunk names one. A palette has one
/// if a single entry is wholly transparent and all others are opaque.
fn png_transparent_colour(bytes: &[u8]) -> Option<[u8; 3]> {
    const SIGNATURE: usize = 8;
    let mut rest = bytes.get(SIGNATURE..)?;
    let (mut depth, mut colour_type, mut palette) = (0, 0, &[][..]);
    loop {
        let (length, after) = rest.split_at_checked(4)?;
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (kind, after) = after.split_at_checked(4)?;
        let (body, after) = after.split_at_checked(length)?;
        rest = after.get(4..)?; // the checksum, which the decoder has checked
        match kind {
            b"IHDR" => (depth, colour_type) = (*body.get(8)?, *body.get(9)?),
            b"PLTE" => palette = body,
            b"tRNS" => break transparent_colour(depth, colour_type, palette, body),
            b"IDAT" | b"IEND" => return None,
            _ => {}
        }
    }
}

/// What the body of a `tRNS` chunk says, by the header's depth and colour type.
fn transparent_colour(depth: u8, colour_type: u8, palette: &[u8], body: &[u8]) -> Option<[u8; 3]> {
    const GREY: u8 = 0;
    const RGB: u8 = 2;
    const PALETTE: u8 = 3;
    match colour_type {
        // One bit is another mode in Pillow, which forgets the colour.
        GREY if (2..=8).contains(&depth) => {
            let level = *body.get(1)?;
            Some([(u16::from(level) * 255 / ((1 << depth) - 1)).min(255) as u8; 3])
        }
        RGB if depth == 8 => Some([*body.get(1)?, *body.get(3)?, *body.get(5)?]),
        PALETTE => {
            let index = body.iter().position(|&alpha| alpha == 0)?;
            let others = body
                .iter()
                .enumerate()
                .all(|(i, &alpha)| i == index || alpha == 255);
            let colour = palette.get(index * 3..index * 3 + 3)?;
            others.then(|| [colour[0], colour[1], colour[2]])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blending_by_hand() {
        assert_eq!(on_white(77, 255), 77);
        assert_eq!(on_white(77, 0), 255);
        // 50 · 128 / 255 + 127 = 152.1
        assert_eq!(on_white(50, 128), 152);
        assert_eq!(on_white(255, 90), 255);
    }

    #[test]
    fn one_colour_of_a_palette_is_transparent_or_none() {
        let palette = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let colour = |body: &[u8]| transparent_colour(4, 3, &palette, body);
        assert_eq!(colour(&[255, 0]), Some([4, 5, 6]));
        assert_eq!(colour(&[0, 0]), None);
        assert_eq!(colour(&[128, 0]), None);
        assert_eq!(colour(&[255, 255, 255, 0]), None);
        assert_eq!(transparent_colour(4, 0, &[], &[0, 3]), Some([51; 3]));
        assert_eq!(
            transparent_colour(8, 2, &[], &[0, 1, 0, 2, 0, 3]),
            Some([1, 2, 3])
        );
    }
}
