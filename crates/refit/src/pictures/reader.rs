//! Pictures as a model is shown them, some at a time.

use crate::classifier::ClassifierError;
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use refit_core::Progress;
use refit_io::data::{Normalise, PictureFit, read_picture};
use refit_nn::{NnError, to_host};
use std::path::PathBuf;

/// Pictures that are seen together.
const BATCH: usize = 32;

/// How pictures in files become what a model sees.
#[derive(Debug)]
pub(super) struct PictureReader {
    pub(super) fit: PictureFit,
    pub(super) normalise: Normalise,
    pub(super) device: Device,
}

impl PictureReader {
    /// What `map` makes of every picture, one row of `width` values each.
    ///
    /// # Errors
    /// A file that is no picture, values that are not finite, when `progress` asks for a stop.
    pub(super) fn each(
        &self,
        (phase, pictures): (&str, &[PathBuf]),
        width: usize,
        progress: &dyn Progress,
        map: impl Fn(Tensor<4>) -> Result<Tensor<2>, NnError>,
    ) -> Result<Vec<f32>, ClassifierError> {
        progress.begin(phase, Some(pictures.len() as u64));
        let mut found = Vec::with_capacity(pictures.len() * width);
        for batch in pictures.chunks(BATCH) {
            if progress.cancelled() {
                return Err(ClassifierError::Interrupted);
            }
            let values = to_host(map(self.pixels(batch)?)?);
            for (path, row) in batch.iter().zip(values.chunks(width)) {
                if row.iter().any(|value| !value.is_finite()) {
                    return Err(ClassifierError::NotFinite { path: path.clone() });
                }
            }
            found.extend(values);
            progress.advance(batch.len() as u64);
        }
        Ok(found)
    }

    /// A batch of pictures, `[n, c, h, w]`.
    fn pixels(&self, batch: &[PathBuf]) -> Result<Tensor<4>, ClassifierError> {
        let channels = self.normalise.mean().len();
        let read = |path: &PathBuf| {
            let (shape, bytes) = read_picture(path, &self.fit, channels)?;
            let mut pixels = vec![0.0; shape.len()];
            self.normalise.bytes(&bytes, shape, &mut pixels);
            Ok::<_, ClassifierError>(pixels)
        };
        let pixels = batch.par_iter().map(read);
        let pixels = pixels.collect::<Result<Vec<_>, _>>()?.concat();
        let side = self.fit.crop;
        let pixels = TensorData::new(pixels, [batch.len(), channels, side, side]);
        Ok(Tensor::from_data(pixels, &self.device))
    }
}
