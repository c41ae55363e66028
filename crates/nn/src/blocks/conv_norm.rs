//! A convolution and the norm behind it.

use super::{BatchNorm, Conv2d, GroupNorm};
use crate::{NnError, Pass, Scope};
use refit_kernels::dual::Dual;

/// A norm of the channels of a picture.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "bound once per step and never moved again"
)]
pub enum ChannelNorm {
    /// Over the pictures of a batch.
    Batch(BatchNorm),
    /// Over groups of channels of each picture.
    Group(GroupNorm),
}

impl ChannelNorm {
    /// Binds group norm of so many `groups`, or batch norm, over `c` channels.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, c: usize, groups: Option<usize>) -> Result<Self, NnError> {
        Ok(match groups {
            Some(groups) => Self::Group(GroupNorm::bind(scope, c, groups)?),
            None => Self::Batch(BatchNorm::bind(scope, c)?),
        })
    }

    /// `x [n, c, h, w]` -> the same shape.
    pub fn forward(&self, x: Dual<4>, pass: &mut Pass) -> Dual<4> {
        match self {
            Self::Batch(norm) => norm.forward(x, pass),
            Self::Group(norm) => norm.forward(x),
        }
    }
}

/// `norm(conv(x))`.
#[derive(Clone, Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: ChannelNorm,
}

impl ConvNorm {
    /// Binds a convolution below `names[0]` whose `kernel` is padded to keep the size but for the `stride`, and a norm
    /// below `names[1]`, of `groups` or over batches.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(
        scope: &Scope<'_>,
        names: [&str; 2],
        [inputs, outputs]: [usize; 2],
        [kernel, stride]: [usize; 2],
        groups: Option<usize>,
    ) -> Result<Self, NnError> {
        let place = scope.at(names[0]);
        Ok(Self {
            conv: Conv2d::bind(&place, [inputs, outputs], kernel, stride, kernel / 2)?,
            norm: ChannelNorm::bind(&scope.at(names[1]), outputs, groups)?,
        })
    }

    /// `x [n, in, h, w]` -> `[n, out, h', w']`.
    pub fn forward(&self, x: Dual<4>, pass: &mut Pass) -> Dual<4> {
        self.norm.forward(self.conv.forward(x), pass)
    }
}

/// The mean over all places: `x [n, c, h, w]` -> `[n, c]`.
#[must_use]
pub fn mean_of_places(x: Dual<4>) -> Dual<2> {
    let [n, c, h, w] = x.dims();
    x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c])
}
