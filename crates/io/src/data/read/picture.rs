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

/// What a picture goes through before a model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureSize {
    /// The shorter side after the picture was resized, by cubic interpolation.
    pub edge: usize,
    /// Side of the square that is cut from the middle; at most `edge`.
    pub crop: usize,
    /// Mean of each colour, which is taken away.
    pub mean: [f32; 3],
    /// Deviation of each colour, by which the rest is divided.
    pub deviation: [f32; 3],
}

impl PictureSize {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=4096).contains(&self.edge) {
            return Err(ConfigError::range("size", self.edge, "1 to 4096"));
        }
        if !(1..=self.edge).contains(&self.crop) {
            let expected = format!("1 to {}, the shorter side", self.edge);
            return Err(ConfigError::range("crop_size", self.crop, expected));
        }
        let finite = |values: [f32; 3]| values.iter().all(|v| v.is_finite());
        if !finite(self.mean) {
            return Err(ConfigError::range(
                "image_mean",
                "not finite",
                "three finite numbers",
            ));
        }
        if !finite(self.deviation) || self.deviation.iter().any(|&v| v <= 0.0) {
            let expected = "three finite numbers above 0";
            return Err(ConfigError::range(
                "image_std",
                format!("{:?}", self.deviation),
                expected,
            ));
        }
        Ok(())
    }
}

/// Reads a picture: decoded, resized, cut to a square in the middle, and each colour (from 0 to 1) less its mean over its
/// deviation.
///
/// # Shapes
/// `[3, crop, crop]`, colours first.
/// # Errors
/// A file that cannot be read, is no picture, or is too large; settings out of range.
pub fn read_picture(path: &Path, size: &PictureSize) -> Result<Vec<f32>, DataError> {
    size.check()?;
    let file = BufReader::new(open_file(path)?);
    let (shape, bytes) = decode(file, None, 3, &path.display().to_string())?;
    let from = [shape.height, shape.width];
    let shorter = from[0].min(from[1]);
    let to = from.map(|side| side * size.edge / shorter);
    if to.iter().any(|&side| side > ImageShape::MOST_SIDE) {
        let problem = format_args!("its sides {} x {} are too unlike", from[0], from[1]);
        return Err(DataError::format(path, "picture", problem));
    }
    let first = to.map(|side| (side - size.crop) / 2);
    let mut out = Vec::with_capacity(3 * size.crop * size.crop);
    for (colour, plane) in bytes.chunks_exact(from[0] * from[1]).enumerate() {
        let plane: Vec<f32> = plane.iter().map(|&byte| byte.into()).collect();
        let plane = resample(&plane, from, to, Filter::Cubic);
        let rows = plane.chunks_exact(to[1]).skip(first[0]).take(size.crop);
        let (mean, deviation) = (size.mean[colour], size.deviation[colour]);
        // Pixels are whole numbers before they are scaled, as they are where models were trained.
        let value = |v: &f32| (v.round().clamp(0.0, 255.0) / 255.0 - mean) / deviation;
        out.extend(rows.flat_map(|row| row[first[1]..][..size.crop].iter().map(value)));
    }
    Ok(out)
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

    fn size(edge: usize, crop: usize) -> PictureSize {
        PictureSize {
            edge,
            crop,
            mean: [0.5; 3],
            deviation: [0.25; 3],
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
        let found = read_picture(&path, &size(10, 8)).unwrap();
        assert_eq!(found.len(), 3 * 8 * 8);
        for row in found[..64].chunks(8) {
            assert!(
                (row[0] - 2.0).abs() < 1e-6 && (row[7] + 2.0).abs() < 1e-6,
                "{row:?}"
            );
        }
        assert!(
            found[64..128]
                .iter()
                .all(|green| (green + 2.0).abs() < 1e-6)
        );
        assert!((found[128] + 2.0).abs() < 1e-6 && (found[135] - 2.0).abs() < 1e-6);
    }

    #[test]
    fn what_cannot_be_seen_is_refused() {
        let home = tempfile::tempdir().unwrap();
        assert!(find_pictures(home.path()).is_err());
        assert!(read_picture(&home.path().join("none.png"), &size(8, 8)).is_err());
        for (bad, key) in [(size(0, 0), "size"), (size(8, 9), "crop_size")] {
            assert!(
                bad.check()
                    .unwrap_err()
                    .to_string()
                    .starts_with(&format!("`{key}`"))
            );
        }
        let flat = PictureSize {
            deviation: [0.0; 3],
            ..size(8, 8)
        };
        assert!(flat.check().is_err());
    }
}
