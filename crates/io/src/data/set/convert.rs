//! Sets of other shapes.

use super::{ImageSet, ImageShape};
use crate::data::resample::{Filter, resample};
use rayon::prelude::*;

impl ImageSet {
    /// Applies `edit(index, image)` to every image, in parallel; the result does not depend on the number of threads
    /// as long as `edit` depends on its arguments alone. `edit` returns an image of `shape`.
    ///
    /// # Panics
    /// When `edit` returns a buffer of another length.
    #[must_use]
    pub fn map_images(
        &self,
        shape: ImageShape,
        edit: impl Fn(usize, &[u8]) -> Vec<u8> + Sync,
    ) -> Self {
        let mut images = vec![0; self.len() * shape.len()];
        images
            .par_chunks_mut(shape.len())
            .enumerate()
            .for_each(|(i, out)| out.copy_from_slice(&edit(i, self.image(i))));
        Self {
            shape,
            images,
            labels: self.labels.clone(),
            ..self.empty_like()
        }
    }

    /// The set with `border` pixels of 0 on every side.
    #[must_use]
    pub fn padded(&self, border: usize) -> Self {
        let from = self.shape;
        let (height, width) = (from.height + 2 * border, from.width + 2 * border);
        let to = ImageShape {
            height,
            width,
            ..from
        };
        self.map_images(to, |_, image| {
            let mut out = vec![0; to.len()];
            for (row, source) in image.chunks_exact(from.width).enumerate() {
                let (channel, y) = (row / from.height, row % from.height);
                let start = (channel * to.height + y + border) * to.width + border;
                out[start..start + from.width].copy_from_slice(source);
            }
            out
        })
    }

    /// The set at `height x width`, resampled with a triangle filter; the aspect is not kept.
    ///
    /// # Panics
    /// When a side is 0.
    #[must_use]
    pub fn resized(&self, height: usize, width: usize) -> Self {
        assert!(height > 0 && width > 0, "an image has pixels");
        let from = self.shape;
        let to = ImageShape {
            height,
            width,
            ..from
        };
        if from == to {
            return self.clone();
        }
        self.map_images(to, |_, image| resample_bytes(image, from, to))
    }

    /// The set with this many channels: colours become their luma (Rec. 601), gray is repeated.
    ///
    /// # Panics
    /// When the conversion is not between 1 and 3 channels.
    #[must_use]
    pub fn with_channels(&self, channels: usize) -> Self {
        let (from, to) = (
            self.shape,
            ImageShape {
                channels,
                ..self.shape
            },
        );
        match (from.channels, channels) {
            (a, b) if a == b => self.clone(),
            (1, 3) => self.map_images(to, |_, image| image.repeat(3)),
            (3, 1) => self.map_images(to, |_, image| luma(image, from.plane())),
            (a, b) => panic!("images of {a} channels have no form of {b} channels"),
        }
    }
}

/// One image at another size, plane by plane.
pub(in crate::data) fn resample_bytes(image: &[u8], from: ImageShape, to: ImageShape) -> Vec<u8> {
    let (old, new) = ([from.height, from.width], [to.height, to.width]);
    let plane = |bytes: &[u8]| {
        let floats: Vec<f32> = bytes.iter().map(|&b| f32::from(b)).collect();
        resample(&floats, old, new, Filter::Triangle)
            .into_iter()
            .map(|v| (v + 0.5) as u8)
    };
    image.chunks_exact(from.plane()).flat_map(plane).collect()
}

/// Rec. 601 luma of three planes, in integers.
fn luma(image: &[u8], plane: usize) -> Vec<u8> {
    let at = |c: usize, i: usize| u32::from(image[c * plane + i]);
    (0..plane)
        .map(|i| ((299 * at(0, i) + 587 * at(1, i) + 114 * at(2, i) + 500) / 1000) as u8)
        .collect()
}

/// RGB pixels to planes.
pub(in crate::data) fn planes(pixels: &[u8]) -> Vec<u8> {
    let (pixels, _) = pixels.as_chunks::<3>();
    let mut planes = vec![0; 3 * pixels.len()];
    let (red, rest) = planes.split_at_mut(pixels.len());
    let (green, blue) = rest.split_at_mut(pixels.len());
    for (&pixel, ((red, green), blue)) in pixels.iter().zip(red.iter_mut().zip(green).zip(blue)) {
        [*red, *green, *blue] = pixel;
    }
    planes
}
