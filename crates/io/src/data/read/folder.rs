//! Pictures in folders, one folder per class.

use super::{
    Split,
    picture::{PictureFit, read_picture},
    stem,
};
use crate::{
    data::{
        DataError, ImageSet, ImageShape, Task,
        set::{planes, resample_bytes},
    },
    file::open_file,
};
use image::{DynamicImage, ImageDecoder as _, ImageFormat, ImageReader, metadata::Orientation};
use rayon::prelude::*;
use refit_core::ConfigError;
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Seek},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Extensions that count as pictures; other files are ignored.
pub(super) const EXTENSIONS: [&str; 9] = [
    "png", "jpg", "jpeg", "webp", "bmp", "pgm", "ppm", "pbm", "pnm",
];
/// Most a decoder may allocate for one picture.
const MOST_DECODED_BYTES: u64 = 1 << 29;

/// Channels that pictures are converted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// One channel.
    #[default]
    Gray,
    /// Three channels; transparency is dropped.
    Rgb,
}

/// How a folder of pictures is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FolderOptions {
    /// Rows and columns that every picture is resampled to; without it all pictures must have one size.
    pub size: Option<[usize; 2]>,
    /// Channels.
    pub colour: Colour,
    /// How every picture becomes a square of one size, in place of `size`.
    #[serde(skip)]
    pub fit: Option<PictureFit>,
    /// How the pictures are divided when the folder has no `train`, `val` and `test`.
    pub split: Split,
}

impl FolderOptions {
    fn check(&self) -> Result<(), ConfigError> {
        if let Some(fit) = &self.fit {
            fit.check()?;
        }
        let sides = 1..=ImageShape::MOST_SIDE;
        match self.size {
            Some([h, w]) if !sides.contains(&h) || !sides.contains(&w) => Err(ConfigError::range(
                "size",
                format!("{h}x{w}"),
                "sides from 1 to 16384",
            )),
            _ => Ok(()),
        }
    }

    const fn channels(&self) -> usize {
        match self.colour {
            Colour::Gray => 1,
            Colour::Rgb => 3,
        }
    }
}

/// Reads a task from `dir/<class>/*.png` (divided by `options.split`), or from `dir/train/<class>/..`, `dir/test/..` and, if
/// there is one, `dir/val/..` (otherwise taken from `train`). PNG, JPEG, BMP and PNM are read; names order classes and
/// pictures.
///
/// All folders are listed and checked before the first picture is decoded.
///
/// # Errors
/// When a class is empty or too small to divide, parts differ in classes, a picture cannot be decoded, or sizes differ and no
/// size was given.
pub fn read_image_folder(
    dir: impl AsRef<Path>,
    options: &FolderOptions,
) -> Result<Task, DataError> {
    let dir = dir.as_ref();
    options.check()?;
    options.split.check()?;
    let name = stem(dir);
    match Listings::of(dir)? {
        Listings::Whole(whole) => {
            let whole = whole.decode(options, None)?;
            options.split.three_parts(&name, &whole)
        }
        Listings::Two { train, test } => {
            let train = train.decode(options, None)?;
            let test = test.decode(options, Some(train.shape()))?;
            options.split.two_parts(&name, &train, test)
        }
        Listings::Three { train, val, test } => {
            let train = train.decode(options, None)?;
            let shape = Some(train.shape());
            let (val, test) = (val.decode(options, shape)?, test.decode(options, shape)?);
            Task::new(name, train, val, test)
        }
    }
}

/// What [`read_image_folder`] reads.
pub(super) fn image_files(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let listings = match Listings::of(dir)? {
        Listings::Whole(whole) => vec![whole],
        Listings::Two { train, test } => vec![train, test],
        Listings::Three { train, val, test } => vec![train, val, test],
    };
    let pictures = listings.into_iter().flat_map(|listing| listing.pictures);
    Ok(pictures.map(|(path, _)| path).collect())
}

/// The pictures of a folder, in the parts that it comes in; parts agree in classes, and what must be divided can be.
enum Listings {
    Whole(Listing),
    Two {
        train: Listing,
        test: Listing,
    },
    Three {
        train: Listing,
        val: Listing,
        test: Listing,
    },
}

impl Listings {
    fn of(dir: &Path) -> Result<Self, DataError> {
        if !dir.join("train").is_dir() || !dir.join("test").is_dir() {
            let whole = Listing::of(dir)?;
            whole.at_least(3)?;
            return Ok(Self::Whole(whole));
        }
        let train = Listing::of(&dir.join("train"))?;
        let test = Listing::of(&dir.join("test"))?;
        test.same_classes(&train)?;
        if !dir.join("val").is_dir() {
            train.at_least(2)?;
            return Ok(Self::Two { train, test });
        }
        let val = Listing::of(&dir.join("val"))?;
        val.same_classes(&train)?;
        Ok(Self::Three { train, val, test })
    }
}

/// The pictures of one part, by class; no class is empty.
struct Listing {
    at: PathBuf,
    classes: Arc<[String]>,
    /// Path and label.
    pictures: Vec<(PathBuf, u32)>,
}

impl Listing {
    fn of(dir: &Path) -> Result<Self, DataError> {
        let folders: Vec<PathBuf> = entries(dir)?.into_iter().filter(|p| p.is_dir()).collect();
        if folders.is_empty() {
            let expected = "sub-folder, one per class";
            return Err(DataError::NothingFound {
                at: dir.into(),
                expected,
            });
        }
        let mut pictures = Vec::new();
        for (label, folder) in folders.iter().enumerate() {
            let before = pictures.len();
            let found = entries(folder)?.into_iter().filter(|p| is_picture(p));
            pictures.extend(found.map(|p| (p, label as u32)));
            if pictures.len() == before {
                let set = dir.display().to_string();
                return Err(DataError::EmptyClass {
                    set,
                    class: file_name(folder),
                });
            }
        }
        let classes = folders.iter().map(|f| file_name(f)).collect();
        Ok(Self {
            at: dir.into(),
            classes,
            pictures,
        })
    }

    /// Checks that every class can be divided.
    fn at_least(&self, needed: usize) -> Result<(), DataError> {
        for (label, class) in self.classes.iter().enumerate() {
            let found = self
                .pictures
                .iter()
                .filter(|p| p.1 as usize == label)
                .count();
            if found < needed {
                let (set, class) = (self.at.display().to_string(), class.clone());
                return Err(DataError::TooFew {
                    set,
                    class,
                    found,
                    needed,
                });
            }
        }
        Ok(())
    }

    fn same_classes(&self, other: &Self) -> Result<(), DataError> {
        if self.classes == other.classes {
            return Ok(());
        }
        Err(DataError::Classes {
            set: self.at.display().to_string(),
            found: self.classes.to_vec(),
            expected: other.classes.to_vec(),
        })
    }

    /// Decodes all pictures in parallel; `expected` is the size that another part has.
    fn decode(
        &self,
        options: &FolderOptions,
        expected: Option<ImageShape>,
    ) -> Result<ImageSet, DataError> {
        let decoded = self
            .pictures
            .par_iter()
            .map(|(path, _)| decode_file(path, options))
            .collect::<Result<Vec<_>, _>>()?;
        let expected = expected.unwrap_or(decoded[0].0);
        let mut images = Vec::with_capacity(decoded.len() * expected.len());
        for ((found, bytes), (path, _)) in decoded.into_iter().zip(&self.pictures) {
            if found != expected {
                let what = path.display().to_string();
                return Err(DataError::ImageSize {
                    what,
                    found,
                    expected,
                });
            }
            images.extend(bytes);
        }
        let labels = self.pictures.iter().map(|p| p.1).collect();
        let name = self.at.display().to_string();
        ImageSet::new(name, self.classes.clone(), expected, images, labels)
    }
}

fn decode_file(path: &Path, options: &FolderOptions) -> Result<(ImageShape, Vec<u8>), DataError> {
    if let Some(fit) = &options.fit {
        return read_picture(path, fit, options.channels());
    }
    let file = BufReader::new(open_file(path)?);
    let what = path.display().to_string();
    let (from, bytes) = decode(file, None, options.channels(), &what)?;
    match options.size {
        Some([height, width]) if [from.height, from.width] != [height, width] => {
            let to = ImageShape {
                height,
                width,
                ..from
            };
            Ok((to, resample_bytes(&bytes, from, to)))
        }
        _ => Ok((from, bytes)),
    }
}

/// Decodes one picture to 1 or 3 planes, turned as its camera was held; its format is guessed from its first bytes unless
/// given. Sides and memory are limited before anything is allocated.
pub(super) fn decode(
    input: impl BufRead + Seek,
    format: Option<ImageFormat>,
    channels: usize,
    what: &str,
) -> Result<(ImageShape, Vec<u8>), DataError> {
    let failed = |source| DataError::Image {
        what: what.to_owned(),
        source,
    };
    let mut reader = match format {
        Some(format) => ImageReader::with_format(input, format),
        None => ImageReader::new(input)
            .with_guessed_format()
            .map_err(|e| failed(e.into()))?,
    };
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(ImageShape::MOST_SIDE as u32);
    limits.max_image_height = Some(ImageShape::MOST_SIDE as u32);
    limits.max_alloc = Some(MOST_DECODED_BYTES);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(failed)?;
    limits.reserve(decoder.total_bytes()).map_err(failed)?;
    // A damaged note on how the camera was held says nothing.
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    picture.apply_orientation(turned);
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    if height.min(width) == 0 {
        let problem = format_args!("its sides are {height} x {width}");
        return Err(DataError::format(what, "picture", problem));
    }
    let bytes = match channels {
        1 => picture.into_luma8().into_raw(),
        _ => planes(&picture.into_rgb8().into_raw()),
    };
    Ok((
        ImageShape {
            channels,
            height,
            width,
        },
        bytes,
    ))
}

/// What `dir` holds, by name, without hidden entries.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let list = std::fs::read_dir(dir).map_err(DataError::io(dir))?;
    let mut paths = list
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(DataError::io(dir))?;
    paths.retain(|p| !file_name(p).starts_with('.'));
    paths.sort();
    Ok(paths)
}

/// Whether a file is named as pictures are that can be read.
pub(super) fn is_picture(path: &Path) -> bool {
    path.is_file() && has_ending(path, &EXTENSIONS)
}

/// Whether a name has one of these endings, in any case.
pub(super) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let ending = ending.to_lowercase();
    endings.contains(&ending.as_str())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
