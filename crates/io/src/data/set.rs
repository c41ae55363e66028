//! One labelled image set.

use super::{
    DataError,
    draw::Draw,
    resample::{Filter, resample},
};
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

    /// Rows or columns that an image of a set may have.
    pub const MOST_SIDE: usize = 1 << 14;
    /// Channels that an image of a set may have.
    pub const MOST_CHANNELS: usize = 1 << 8;

    /// Whether the shape has pixels, and none of its extents exceeds its limit.
    const fn is_usable(self) -> bool {
        self.channels > 0
            && self.channels <= Self::MOST_CHANNELS
            && self.height > 0
            && self.height <= Self::MOST_SIDE
            && self.width > 0
            && self.width <= Self::MOST_SIDE
    }

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

    /// Three parts: the second and third with `shares` of every class, the first with the rest; every part gets at least
    /// one image of every class. The images of a part keep their order.
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
        Ok(parts.map(|part| self.sorted_subset(part)))
    }

    /// Two parts, the second with `share` of every class, but at least one image of it, as has the first.
    ///
    /// # Errors
    /// [`DataError::TooFew`] names the first class with fewer than two images.
    pub fn stratified_halves(&self, share: f64, seed: Seed) -> Result<[Self; 2], DataError> {
        let mut parts: [Vec<usize>; 2] = Default::default();
        for (label, members) in self.shuffled_members(seed).into_iter().enumerate() {
            let n = members.len();
            if n < 2 {
                return Err(self.too_few(label, n, 2));
            }
            let second = ((n as f64 * share).round() as usize).clamp(1, n - 1);
            parts[1].extend(&members[..second]);
            parts[0].extend(&members[second..]);
        }
        Ok(parts.map(|part| self.sorted_subset(part)))
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

    fn sorted_subset(&self, mut indices: Vec<usize>) -> Self {
        indices.sort_unstable();
        self.subset(&indices)
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

/// One image at another size, plane by plane.
pub(super) fn resample_bytes(image: &[u8], from: ImageShape, to: ImageShape) -> Vec<u8> {
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
pub(super) fn planes(pixels: &[u8]) -> Vec<u8> {
    (0..3)
        .flat_map(|c| pixels.iter().skip(c).step_by(3))
        .copied()
        .collect()
}
