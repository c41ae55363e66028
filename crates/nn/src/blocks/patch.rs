//! Images to tokens.

use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// Cuts an image into square patches and maps each to a token; tensors `weight [d, c, p, p]` and `bias [d]`, as a
/// convolution with stride `p` would have them. Computed as one matrix product.
#[derive(Clone, Debug)]
pub struct PatchEmbedding {
    weight: Dual<2>,
    bias: Option<Dual<1>>,
    patch: usize,
}

impl PatchEmbedding {
    /// Binds patches of side `patch` over `channels`, to tokens of width `d`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(
        scope: &Scope<'_>,
        channels: usize,
        patch: usize,
        d: usize,
    ) -> Result<Self, NnError> {
        let plain = Self::bind_plain(scope, channels, patch, d)?;
        let bias = Some(scope.tensor("bias", [d], Init::Zeros)?);
        Ok(Self { bias, ..plain })
    }

    /// As [`bind`](Self::bind), without a bias.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind_plain(
        scope: &Scope<'_>,
        channels: usize,
        patch: usize,
        d: usize,
    ) -> Result<Self, NnError> {
        let inputs = channels * patch * patch;
        let init = Init::LinearUniform { fan_in: inputs };
        let weight = scope.tensor("weight", [d, channels, patch, patch], init)?;
        Ok(Self {
            weight: weight.reshape([d, inputs]),
            bias: None,
            patch,
        })
    }

    /// Rows and columns of patches in pictures `[n, c, h, w]`.
    pub fn grid(&self, [.., h, w]: [usize; 4]) -> [usize; 2] {
        [h / self.patch, w / self.patch]
    }

    /// `pixels [n, c, h, w]` -> tokens `[n, (h / p) (w / p), d]`, row by row; what does not fill a patch is cut off.
    pub fn forward(&self, pixels: Dual<4>) -> Dual<3> {
        let ([n, c, h, w], p) = (pixels.dims(), self.patch);
        let [rows, columns] = self.grid([n, c, h, w]);
        let whole = if h % p == 0 && w % p == 0 {
            pixels
        } else {
            pixels.narrow(2, 0, rows * p).narrow(3, 0, columns * p)
        };
        let patches = whole
            .reshape::<6>([n, c, rows, p, columns, p])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([n, rows * columns, c * p * p]);
        dual::linear(patches, self.weight.clone(), self.bias.clone())
    }
}
