//! One labelled image set.

mod convert;
mod shape;
mod split;

pub(super) use convert::{planes, resample_bytes};
pub use shape::ImageShape;

use super::DataError;
use std::sync::Arc;

/// Labelled images as bytes, `[n, channels, height, width]` row by row, with every label below the number of classes.
///
/// ```
/// use refit_io::data::{ImageSet, ImageShape};
/// let shape = ImageShape { channels: 1, height: 1, width: 2 };
/// let classes = ["dark".to_owned(), "bright".to_owned()];
/// let set = ImageSet::new("toy", classes, shape, vec![0, 1, 254, 255], vec![0, 1]).unwrap();
/// assert_eq!(set.len(), 2);
/// assert_eq!((set.image(1), set.label(1)), (&[254, 255][..], 1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    name: String,
    classes: Arc<[String]>,
    shape: ImageShape,
    images: Vec<u8>,
    labels: Vec<u32>,
}

impl ImageSet {
    /// A set of `labels.len()` images.
    ///
    /// # Errors
    /// When the images have no pixel or a side is beyond [`ImageShape::MOST_SIDE`], the bytes are no whole number of images, images and labels differ in number,
    /// or a label is no class. An empty set is allowed.
    pub fn new(
        name: impl Into<String>,
        classes: impl Into<Arc<[String]>>,
        shape: ImageShape,
        images: Vec<u8>,
        labels: Vec<u32>,
    ) -> Result<Self, DataError> {
        let (set, classes) = (name.into(), classes.into());
        if !shape.is_usable() || !images.len().is_multiple_of(shape.len()) {
            return Err(DataError::PixelBytes {
                set,
                bytes: images.len(),
                shape,
            });
        }
        let count = images.len() / shape.len();
        if count != labels.len() {
            return Err(DataError::Lengths {
                set,
                images: count,
                labels: labels.len(),
            });
        }
        if let Some(index) = labels.iter().position(|&l| l as usize >= classes.len()) {
            let found = i64::from(labels[index]);
            return Err(DataError::Label {
                set,
                index,
                found,
                classes: classes.len(),
            });
        }
        Ok(Self {
            name: set,
            classes,
            shape,
            images,
            labels,
        })
    }

    /// What messages and reports call the set.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the classes, in label order.
    pub fn classes(&self) -> &Arc<[String]> {
        &self.classes
    }

    /// Number of classes.
    pub fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// Extent of one image.
    pub const fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Number of images.
    pub const fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub const fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The bytes of image `index`, channel by channel.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn image(&self, index: usize) -> &[u8] {
        let len = self.shape.len();
        &self.images[index * len..][..len]
    }

    /// The bytes of all images.
    pub fn images(&self) -> &[u8] {
        &self.images
    }

    /// The label of image `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    pub fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// All labels.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Number of images of each class, in label order.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.class_count()];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
    }

    /// The images at `indices`, in that order; an index may occur more than once.
    ///
    /// # Panics
    /// When an index is not below [`len`](Self::len).
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        let images = indices
            .iter()
            .flat_map(|&i| self.image(i))
            .copied()
            .collect();
        let labels = indices.iter().map(|&i| self.labels[i]).collect();
        Self {
            images,
            labels,
            ..self.empty_like()
        }
    }

    /// The first `count` images, or all if there are fewer; in a set that is sorted by class, those of the first classes
    /// ([`sample_stratified`](Self::sample_stratified) draws from all).
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        let count = count.min(self.len());
        Self {
            images: self.images[..count * self.shape.len()].to_vec(),
            labels: self.labels[..count].to_vec(),
            ..self.empty_like()
        }
    }

    /// The same set under another name.
    #[must_use]
    pub fn renamed(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    /// Name, classes and shape without images.
    fn empty_like(&self) -> Self {
        Self {
            name: self.name.clone(),
            classes: self.classes.clone(),
            shape: self.shape,
            images: Vec::new(),
            labels: Vec::new(),
        }
    }
}
