//! Lossy compression.

use super::Level;
use crate::data::{ImageShape, set};
use image::{ExtendedColorType, ImageReader, codecs::jpeg::JpegEncoder};
use std::io::Cursor;

/// Writes the image as JPEG and reads it back. Deviation: the encoder halves the columns of colour, the reference also its rows. Images of other than 1 or 3 channels are compressed channel by channel.
pub(super) fn jpeg(image: &[u8], at: Level) -> Vec<u8> {
    let quality = at.of([80, 65, 58, 50, 40], [25, 18, 15, 10, 7]);
    match at.shape.channels {
        1 => round_trip(image, at.shape, ExtendedColorType::L8, quality),
        3 => {
            let pixels = interleave(image, at.shape.plane());
            set::planes(&round_trip(
                &pixels,
                at.shape,
                ExtendedColorType::Rgb8,
                quality,
            ))
        }
        _ => {
            let planes = image.chunks_exact(at.shape.plane());
            planes
                .flat_map(|p| round_trip(p, at.shape, ExtendedColorType::L8, quality))
                .collect()
        }
    }
}

fn round_trip(pixels: &[u8], shape: ImageShape, kind: ExtendedColorType, quality: u8) -> Vec<u8> {
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, quality)
        .encode(pixels, shape.width as u32, shape.height as u32, kind)
        .expect("an image in memory of fewer than 65536 rows and columns is encoded");
    let read = ImageReader::with_format(Cursor::new(file), image::ImageFormat::Jpeg)
        .decode()
        .expect("what the encoder wrote is decoded");
    match kind {
        ExtendedColorType::Rgb8 => read.into_rgb8().into_raw(),
        _ => read.into_luma8().into_raw(),
    }
}

/// Planes to pixels.
fn interleave(planes: &[u8], plane: usize) -> Vec<u8> {
    (0..plane)
        .flat_map(|i| [planes[i], planes[plane + i], planes[2 * plane + i]])
        .collect()
}
