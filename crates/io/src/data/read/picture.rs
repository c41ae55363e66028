//! One picture, as models that look at any picture want it.

use super::folder::{EXTENSIONS, decode, entries, has_ending, is_picture};
use crate::{
    data::{
        DataError, ImageShape,
        resample::{Filter, resample_plane},
    },
    file::open_file,
};
use refit_core::ConfigError;
use std::{
    collections::HashSet,
    io::BufReader,
    path::{Path, PathBuf},
};

/// Most folders inside each other that are looked into.
const DEEPEST: usize = 16;
/// How pictures end that are known and not read.
const UNREAD: [&str; 8] = ["avif", "gif", "heic", "heif", "jp2", "jxl", "tif", "tiff"];
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
            let part = first.map(|first| first..first + self.crop);
            out.extend(resample_plane(plane, from_sides, to, self.filter, part));
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

/// Pictures in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pictures {
    /// Those that can be read, by name.
    pub paths: Vec<PathBuf>,
    /// How many were left out, as they are of a kind that is not read, such as GIF.
    pub left_out: usize,
}

impl Pictures {
    /// Looks into a folder that lies `deep` in the first, if it is none of those that were `seen`.
    fn gather(
        &mut self,
        at: &Path,
        deep: usize,
        seen: &mut HashSet<PathBuf>,
    ) -> Result<(), DataError> {
        if !seen.insert(at.canonicalize().map_err(DataError::io(at))?) {
            return Ok(()); // by another link
        }
        if deep > DEEPEST {
            let problem = "lies more than 16 folders deep";
            let at = at.into();
            return Err(DataError::Pictures { at, problem });
        }
        for entry in entries(at)? {
            if is_picture(&entry) {
                self.paths.push(entry);
            } else if entry.is_dir() {
                self.gather(&entry, deep + 1, seen)?;
            } else {
                self.left_out += usize::from(has_ending(&entry, &UNREAD));
            }
        }
        Ok(())
    }
}

/// Whether a file is named as pictures are, of kinds that are read and of others.
///
/// ```
/// use refit_io::data::is_named_as_picture;
/// assert!(is_named_as_picture("a.JPG".as_ref()) && is_named_as_picture("a.gif".as_ref()));
/// assert!(!is_named_as_picture("texts.txt".as_ref()));
/// ```
pub fn is_named_as_picture(path: &Path) -> bool {
    has_ending(path, &EXTENSIONS) || has_ending(path, &UNREAD)
}

/// The pictures at `path`: itself, or those in a folder and the folders in it, by name.
///
/// # Errors
/// A folder that cannot be listed, or without a picture; folders too deep inside each other.
pub fn find_pictures(path: &Path) -> Result<Pictures, DataError> {
    let mut found = Pictures::default();
    if path.is_dir() {
        found.gather(path, 0, &mut HashSet::new())?;
    } else {
        found.paths.push(path.into());
    }
    if found.paths.is_empty() {
        let problem = "holds no picture that can be read";
        let at = path.into();
        return Err(DataError::Pictures { at, problem });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Overwrite, write_file};

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
        assert_eq!(find_pictures(home.path()).unwrap().paths, only);
        assert_eq!(find_pictures(&path).unwrap().paths, only);
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
    fn kinds_that_are_not_read_are_counted_and_links_back_end() {
        let home = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            write_file(home.path().join(name), b"", Overwrite::Refuse).unwrap();
        };
        ["b.PNG", "a.webp", "c.gif", "d.TIFF", "e.txt"]
            .into_iter()
            .for_each(put);
        #[cfg(unix)]
        std::os::unix::fs::symlink(".", home.path().join("self")).unwrap();
        let inside = home.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("..", inside.join("back")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink("inside", home.path().join("sibling")).unwrap();
        write_file(inside.join("z.png"), b"", Overwrite::Refuse).unwrap();
        let found = find_pictures(home.path()).unwrap();
        let names = ["a.webp", "b.PNG", "inside/z.png"].map(|name| home.path().join(name));
        assert_eq!((found.paths, found.left_out), (names.to_vec(), 2));
        let none = home.path().join("none");
        std::fs::create_dir(&none).unwrap();
        let error = find_pictures(&none).unwrap_err().to_string();
        assert!(error.contains("holds no picture"), "{error}");
    }

    #[test]
    fn pictures_are_turned_as_their_camera_was_held() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.jpg");
        let picture = image::RgbImage::from_fn(40, 20, |x, _| {
            image::Rgb(if x < 20 { [255, 0, 0] } else { [0, 0, 255] })
        });
        picture.save(&path).unwrap();
        let plain = std::fs::read(&path).unwrap();
        // A note in the form of Exif: by a quarter to the right.
        let note = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let length = (note.len() as u16 + 2).to_be_bytes();
        let parts: [&[u8]; 5] = [&plain[..2], b"\xff\xe1", &length, note, &plain[2..]];
        let turned = home.path().join("turned.jpg");
        write_file(&turned, &parts.concat(), Overwrite::Refuse).unwrap();
        let whole = PictureFit::square(4, Filter::Box);
        let red = |path: &Path| {
            let (_, found) = read_picture(path, &whole, 3).unwrap();
            found[..16].iter().map(|&red| red > 128).collect::<Vec<_>>()
        };
        let upright = [[true, true, false, false]; 4].concat();
        assert_eq!(red(&path), upright);
        let lying: Vec<bool> = (0..16).map(|at| at < 8).collect();
        assert_eq!(red(&turned), lying);
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        let home = tempfile::tempdir().unwrap();
        assert!(find_pictures(home.path()).is_err());
        assert!(read_picture(&home.path().join("none.png"), &fit(8, 8), 3).is_err());
        for sides in ["0 0", "0 3", "3 0"] {
            let path = home.path().join("empty.pgm");
            let empty = format!("P5 {sides} 255\n");
            write_file(&path, empty.as_bytes(), Overwrite::Replace).unwrap();
            assert!(read_picture(&path, &fit(8, 8), 3).is_err(), "{sides}");
        }
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
