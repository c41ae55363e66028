//! One labelled image set.

use super::{DataError, draw::Draw};
use rayon::prelude::*;
use refit_core::Seed;
use std::{fmt, sync::Arc};

/// Extent of one image; bytes are stored channel by channel, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Colour planes: 1 for gray, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// The gray 28 x 28 image of the digit sets and of the generated suite.
    pub const GLYPH: Self = Self {
        channels: 1,
        height: 28,
        width: 28,
    };
    /// The RGB 32 x 32 image of CIFAR.
    pub const CIFAR: Self = Self {
        channels: 3,
        height: 32,
        width: 32,
    };

    /// Bytes of one image.
    pub const fn len(self) -> usize {
        self.channels * self.plane()
    }

    /// Whether an image of this shape has no pixel.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Pixels of one channel.
    pub const fn plane(self) -> usize {
        self.height * self.width
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

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
    /// When the images have no pixel, the bytes are no whole number of images, images and labels differ in number,
    /// or a label is no class. An empty set is allowed.
    pub fn new(
        name: impl Into<String>,
        classes: impl Into<Arc<[String]>>,
        shape: ImageShape,
        images: Vec<u8>,
        labels: Vec<u32>,
    ) -> Result<Self, DataError> {
        let (set, classes) = (name.into(), classes.into());
        if shape.is_empty() || !images.len().is_multiple_of(shape.len()) {
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

    /// The first `count` images, or all if there are fewer.
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

    /// Positions of `per_class` images of every class, drawn without repetition, class by class.
    ///
    /// # Errors
    /// [`DataError::TooFew`] names the first class with fewer images.
    pub fn few_shot(&self, per_class: usize, seed: Seed) -> Result<Vec<usize>, DataError> {
        let mut drawn = Vec::with_capacity(per_class * self.class_count());
        for (label, mut members) in self.shuffled_members(seed).into_iter().enumerate() {
            if members.len() < per_class {
                return Err(self.too_few(label, members.len(), per_class));
            }
            members.truncate(per_class);
            drawn.append(&mut members);
        }
        Ok(drawn)
    }

    /// Divides every class by `shares` (which sum to at most 1) and gives the rest to the first part, so that all parts
    /// have nearly the class proportions of the whole; every part gets at least one image of every class. The images
    /// of a part keep their order.
    ///
    /// # Errors
    /// [`DataError::TooFew`] names the first class with fewer images than parts.
    pub fn stratified_split(&self, shares: [f64; 2], seed: Seed) -> Result<[Self; 3], DataError> {
        let mut parts: [Vec<usize>; 3] = Default::default();
        for (label, members) in self.shuffled_members(seed).into_iter().enumerate() {
            let n = members.len();
            if n < 3 {
                return Err(self.too_few(label, n, 3));
            }
            let [a, b] = shares.map(|s| ((n as f64 * s).round() as usize).clamp(1, n - 2));
            let b = b.min(n - 1 - a);
            parts[1].extend(&members[..a]);
            parts[2].extend(&members[a..a + b]);
            parts[0].extend(&members[a + b..]);
        }
        Ok(parts.map(|mut part| {
            part.sort_unstable();
            self.subset(&part)
        }))
    }

    /// Positions by class, each class in a random order.
    fn shuffled_members(&self, seed: Seed) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.class_count()];
        for (i, &label) in self.labels.iter().enumerate() {
            members[label as usize].push(i);
        }
        for (label, positions) in members.iter_mut().enumerate() {
            seed.fork(format_args!("class/{label}"))
                .rng()
                .shuffle(positions);
        }
        members
    }

    fn too_few(&self, label: usize, found: usize, needed: usize) -> DataError {
        let class = self.classes[label].clone();
        DataError::TooFew {
            set: self.name.clone(),
            class,
            found,
            needed,
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
