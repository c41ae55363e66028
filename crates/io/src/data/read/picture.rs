//! One picture, as models that look at any picture want it.

use super::folder::{decode, entries, is_picture};
use crate::{
    data::{
        DataError, ImageShape,
        resample::{Filter, resample},
    },
    file::open_file,
};
use refit_core::ConfigError;
use std::{
    io::BufReader,
    path::{Path, PathBuf},
};

/// Most folders inside each other that are looked into.
const DEEPEST: usize = 16;
/// Largest side that a model may want.
const MOST_EDGE: usize = 4096;

/// How a picture becomes a square as a model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureFit {
    /// How it is resized.
    pub resize: Resize,
    /// How pixels are made from others.
    pub filter: Filter,
    /// Side of the square that is then cut from the middle.
    pub crop: usize,
}

/// How a picture is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Not at all.
    No,
    /// Its shorter side becomes this long, its shape stays.
    Shorter(usize),
    /// Both sides become this long.
    Square(usize),
}

impl PictureFit {
    /// Both sides become this long.
    pub const fn square(side: usize, filter: Filter) -> Self {
        Self {
            resize: Resize::Square(side),
            filter,
            crop: side,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let edge = match self.resize {
            Resize::Shorter(edge) | Resize::Square(edge) => {
                if !(1..=MOST_EDGE).contains(&edge) {
                    return Err(ConfigError::range("size", edge, "1 to 4096"));
                }
                edge
            }
            Resize::No => MOST_EDGE,
        };
        if !(1..=edge).contains(&self.crop) {
            let expected = format!("1 to {edge}, the shorter side");
            return Err(ConfigError::range("crop_size", self.crop, expected));
        }
        Ok(())
    }

    /// Rows and columns of a picture of `from` before the square is cut.
    fn sides(&self, from: [usize; 2]) -> [usize; 2] {
        match self.resize {
            Resize::No => from,
            Resize::Square(side) => [side; 2],
            Resize::Shorter(edge) => from.map(|side| side * edge / from[0].min(from[1])),
        }
    }

    /// The square of a decoded picture, plane by plane.
    fn apply(
        &self,
        bytes: &[u8],
        from: ImageShape,
        path: &Path,
    ) -> Result<(ImageShape, Vec<u8>), DataError> {
        let from_sides = [from.height, from.width];
        let to = self.sides(from_sides);
        let [height, width] = from_sides;
        if to.iter().any(|&side| side > ImageShape::MOST_SIDE) {
            let problem = format_args!("its sides {height} x {width} are too unlike");
            return Err(DataError::format(path, "picture", problem));
        }
        if to.iter().any(|&side| side < self.crop) {
            let crop = self.crop;
            let problem = format_args!("{height} x {width} hold no square of {crop} x {crop}");
            return Err(DataError::format(path, "picture", problem));
        }
        let first = to.map(|side| (side - self.crop) / 2);
        let shape = ImageShape {
            height: self.crop,
            width: self.crop,
            ..from
        };
        let mut out = Vec::with_capacity(shape.len());
        for plane in bytes.chunks_exact(from.plane()) {
            let plane: Vec<f32> = plane.iter().map(|&byte| byte.into()).collect();
            let plane = resample(&plane, from_sides, to, self.filter);
            let rows = plane.chunks_exact(to[1]).skip(first[0]).take(self.crop);
            // Pixels are whole numbers before they are scaled, as they are where models were trained.
            let byte = |v: &f32| (v + 0.5) as u8;
            out.extend(rows.flat_map(|row| row[first[1]..][..self.crop].iter().map(byte)));
        }
        Ok((shape, out))
    }
}

/// Reads a picture: decoded to 1 or 3 channels, resized, and cut to a square in the middle.
///
/// # Shapes
/// `[channels, crop, crop]`, colours first.
/// # Errors
/// A file that cannot be read, is no picture, or is too large or too small; settings out of range.
pub fn read_picture(
    path: &Path,
    fit: &PictureFit,
    channels: usize,
) -> Result<(ImageShape, Vec<u8>), DataError> {
    fit.check()?;
    let file = BufReader::new(open_file(path)?);
    let (shape, bytes) = decode(file, None, channels, &path.display().to_string())?;
    fit.apply(&bytes, shape, path)
}

/// The pictures at `path`: itself, or those in a folder and the folders in it, by name.
///
/// # Errors
/// A folder that cannot be listed, or without a picture; folders too deep inside each other.
pub fn find_pictures(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    fn gather(at: &Path, deep: usize, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
        for entry in entries(at)? {
            if is_picture(&entry) {
                found.push(entry);
            } else if entry.is_dir() {
                if deep == DEEPEST {
                    let problem =
                        format_args!("folders lie more than {DEEPEST} deep in each other");
                    return Err(DataError::format(at, "folder of pictures", problem));
                }
                gather(&entry, deep + 1, found)?;
            }
        }
        Ok(())
    }
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut found = Vec::new();
    gather(path, 0, &mut found)?;
    if found.is_empty() {
        return Err(DataError::format(
            path,
            "folder of pictures",
            "it holds none",
        ));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(edge: usize, crop: usize) -> PictureFit {
        PictureFit {
            resize: Resize::Shorter(edge),
            filter: Filter::Cubic,
            crop,
        }
    }

    #[test]
    fn the_middle_is_seen_in_every_colour() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("deep/a.png");
        std::fs::create_dir(home.path().join("deep")).unwrap();
        // Red left of the middle and blue right of it.
        let picture = image::RgbImage::from_fn(40, 20, |x, _| {
            image::Rgb(if x < 20 { [255, 0, 0] } else { [0, 0, 255] })
        });
        picture.save(&path).unwrap();
        let only = std::slice::from_ref(&path);
        assert_eq!(find_pictures(home.path()).unwrap(), only);
        assert_eq!(find_pictures(&path).unwrap(), only);
        let (shape, found) = read_picture(&path, &fit(10, 8), 3).unwrap();
        assert_eq!((shape.channels, shape.height, shape.width), (3, 8, 8));
        for row in found[..64].chunks(8) {
            assert_eq!((row[0], row[7]), (255, 0), "{row:?}");
        }
        assert!(found[64..128].iter().all(|&green| green == 0));
        assert_eq!((found[128], found[135]), (0, 255));
        // The whole picture, out of shape: half of it is red.
        let whole = PictureFit::square(4, Filter::Triangle);
        let (_, found) = read_picture(&path, &whole, 3).unwrap();
        assert!(
            found[..16]
                .chunks(4)
                .all(|row| row[0] == 255 && row[3] == 0)
        );
        let as_it_is = PictureFit {
            resize: Resize::No,
            ..fit(20, 20)
        };
        let (_, found) = read_picture(&path, &as_it_is, 3).unwrap();
        let row: Vec<u8> = [[255; 10], [0; 10]].concat();
        assert!(found[..400].chunks(20).all(|found| found == row));
        let larger = PictureFit {
            crop: 21,
            ..as_it_is
        };
        let error = read_picture(&path, &larger, 3).unwrap_err().to_string();
        assert!(
            error.contains("20 x 40 hold no square of 21 x 21"),
            "{error}"
        );
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        let home = tempfile::tempdir().unwrap();
        assert!(find_pictures(home.path()).is_err());
        assert!(read_picture(&home.path().join("none.png"), &fit(8, 8), 3).is_err());
        for (bad, key) in [(fit(0, 0), "size"), (fit(8, 9), "crop_size")] {
            assert!(
                bad.check()
                    .unwrap_err()
                    .to_string()
                    .starts_with(&format!("`{key}`"))
            );
        }
    }
}
