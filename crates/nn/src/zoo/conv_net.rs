//! A plain stack of convolutions with a two-layer classifier.

use super::size;
use crate::{
    NnError, Pass, Scope,
    blocks::{BatchNorm, Conv2d, Linear},
};
use refit_core::ConfigError;
use refit_kernels::dual::Dual;
use serde::{Deserialize, Serialize};

/// Configuration of a [`ConvNet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvNetConfig {
    /// Channels of the image.
    pub num_channels: usize,
    /// Side of the (square) image.
    pub image_size: usize,
    /// Output channels of each convolution.
    pub channels: Vec<usize>,
    /// Side of every kernel; no padding.
    pub kernel: usize,
    /// Stride of every convolution.
    #[serde(default = "one")]
    pub stride: usize,
    /// Width of the hidden linear layer.
    pub hidden: usize,
    /// Classes.
    pub num_labels: usize,
}

fn one() -> usize {
    1
}

impl ConvNetConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        size("num_channels", self.num_channels)?;
        size("kernel", self.kernel)?;
        size("stride", self.stride)?;
        size("hidden", self.hidden)?;
        size("num_labels", self.num_labels)?;
        self.channels
            .iter()
            .try_for_each(|&c| size("channels", c))?;
        if self.channels.is_empty() {
            return Err(ConfigError::range(
                "channels",
                "empty",
                "at least one convolution",
            ));
        }
        let expected = "an image larger than the kernels take away";
        self.map_side()
            .map(|_| ())
            .ok_or_else(|| ConfigError::range("image_size", self.image_size, expected))
    }

    /// Side of the last feature map, if any pixel is left.
    fn map_side(&self) -> Option<usize> {
        self.channels.iter().try_fold(self.image_size, |side, _| {
            side.checked_sub(self.kernel)
                .map(|room| room / self.stride + 1)
        })
    }
}

/// `conv - relu` repeated, `norm1`, `fc1 - relu - fc2`, `norm2` over the logits.
#[derive(Clone, Debug)]
pub struct ConvNet {
    convs: Vec<Conv2d>,
    map_norm: BatchNorm,
    hidden: Linear,
    output: Linear,
    logit_norm: BatchNorm,
}

impl ConvNet {
    /// Binds a checked configuration; tensors are called `conv1`, `conv2`, .., `norm1`, `fc1`, `fc2`, `norm2`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(config: &ConvNetConfig, scope: &Scope<'_>) -> Result<Self, NnError> {
        let mut inputs = config.num_channels;
        let mut convs = Vec::with_capacity(config.channels.len());
        for (i, &outputs) in config.channels.iter().enumerate() {
            let at = scope.at(format_args!("conv{}", i + 1));
            let conv = Conv2d::bind(&at, [inputs, outputs], config.kernel, config.stride, 0)?;
            convs.push(conv.with_bias(&at)?);
            inputs = outputs;
        }
        let side = config.map_side().unwrap_or(0);
        Ok(Self {
            convs,
            map_norm: BatchNorm::bind(&scope.at("norm1"), inputs)?,
            hidden: Linear::bind(&scope.at("fc1"), inputs * side * side, config.hidden)?,
            output: Linear::bind(&scope.at("fc2"), config.hidden, config.num_labels)?,
            logit_norm: BatchNorm::bind(&scope.at("norm2"), config.num_labels)?,
        })
    }

    /// `pixels [n, c, s, s]` -> logits `[n, classes]`.
    pub fn forward(&self, pixels: Dual<4>, pass: &mut Pass) -> Dual<2> {
        let maps = self
            .convs
            .iter()
            .fold(pixels, |x, conv| conv.forward(x).relu());
        let maps = self.map_norm.forward(maps, pass);
        let [n, c, h, w] = maps.dims();
        let hidden = self.hidden.forward(maps.reshape([n, c * h * w])).relu();
        self.logit_norm.forward(self.output.forward(hidden), pass)
    }
}
