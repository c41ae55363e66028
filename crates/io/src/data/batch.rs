//! Images as a model takes them.

use super::{ImageSet, Normalise};

/// A batch on the host: normalised pixels `[n, channels, height, width]`, row by row, and one label per image.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Pixels, normalised, as long as the product of `shape`.
    pub pixels: Vec<f32>,
    /// Labels, one per image.
    pub labels: Vec<u32>,
    /// Images, channels, height, width.
    pub shape: [usize; 4],
}

impl Batch {
    /// The images of `set` at `indices`, normalised, in that order.
    ///
    /// # Panics
    /// When an index is out of range.
    ///
    /// ```
    /// # use refit_io::data::{Batch, ImageSet, ImageShape, Normalise};
    /// # let shape = ImageShape { channels: 1, height: 1, width: 2 };
    /// let set = ImageSet::new("toy", ["a".to_owned()], shape, vec![0, 255], vec![0]).unwrap();
    /// assert_eq!(Batch::collate(&set, &[0], &Normalise::unit(shape)).pixels, [0.0, 1.0]);
    /// ```
    pub fn collate(set: &ImageSet, indices: &[usize], normalise: &Normalise) -> Self {
        let shape = set.shape();
        let mut pixels = vec![0.0; indices.len() * shape.len()];
        for (out, &i) in pixels.chunks_exact_mut(shape.len()).zip(indices) {
            normalise.bytes(set.image(i), shape, out);
        }
        let labels = indices.iter().map(|&i| set.label(i)).collect();
        Self {
            pixels,
            labels,
            shape: [indices.len(), shape.channels, shape.height, shape.width],
        }
    }

    /// The whole set in batches of at most `size`, in order: what an evaluation walks over.
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn chunks(
        set: &ImageSet,
        size: usize,
        normalise: &Normalise,
    ) -> impl Iterator<Item = Self> {
        assert!(size > 0, "a batch holds at least one image");
        (0..set.len()).step_by(size).map(move |start| {
            let indices: Vec<usize> = (start..set.len().min(start + size)).collect();
            Self::collate(set, &indices, normalise)
        })
    }

    /// Number of images.
    pub const fn len(&self) -> usize {
        self.shape[0]
    }

    /// Whether there is no image.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
