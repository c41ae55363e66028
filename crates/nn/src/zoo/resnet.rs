//! Residual networks for 32 x 32 images (He et al. 2016, arXiv:1512.03385, section 4.2): ResNet-20, 32, 44, 56.
//!
//! Shortcuts are the paper's option A: where the map shrinks, every second pixel is taken and the new channels are
//! zeros, half of them before and half after the old ones. They have no weights.

use crate::{
    NnError, Pass, Scope,
    blocks::{BatchNorm, Conv2d, Linear},
};
use refit_core::ConfigError;
use refit_kernels::dual::Dual;
use serde::{Deserialize, Serialize};

/// Configuration of a [`CifarResNet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CifarResNetConfig {
    /// Number of weight layers: `6 n + 2` for `n` blocks per stage.
    pub depth: usize,
    /// Channels of the first stage; doubled in each of the other two.
    #[serde(default = "sixteen")]
    pub width: usize,
    /// Channels of the image.
    #[serde(default = "three")]
    pub num_channels: usize,
    /// Classes.
    pub num_labels: usize,
}

fn sixteen() -> usize {
    16
}

fn three() -> usize {
    3
}

impl CifarResNetConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        super::size("num_labels", self.num_labels)?;
        super::size("num_channels", self.num_channels)?;
        super::size("width", self.width)?;
        if self.depth < 8 || self.depth > 1202 || !(self.depth - 2).is_multiple_of(6) {
            let expected = "6 n + 2, such as 20, 32, 44 or 56";
            return Err(ConfigError::range("depth", self.depth, expected));
        }
        Ok(())
    }
}

/// A residual network bound to weights; tensors `conv1`, `bn1`, `layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}`, `linear`.
#[derive(Clone, Debug)]
pub struct CifarResNet {
    conv: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Block>,
    linear: Linear,
}

impl CifarResNet {
    /// Binds a checked configuration.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(config: &CifarResNetConfig, scope: &Scope<'_>) -> Result<Self, NnError> {
        let width = config.width;
        let mut blocks = Vec::new();
        let mut inputs = width;
        for stage in 0..3 {
            let outputs = width << stage;
            for i in 0..(config.depth - 2) / 6 {
                let at = scope.at(format_args!("layer{}", stage + 1)).at(i);
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                blocks.push(Block::bind(&at, [inputs, outputs], stride)?);
                inputs = outputs;
            }
        }
        Ok(Self {
            conv: Conv2d::bind(&scope.at("conv1"), [config.num_channels, width], 3, 1, 1)?,
            norm: BatchNorm::bind(&scope.at("bn1"), width)?,
            blocks,
            linear: Linear::bind(&scope.at("linear"), inputs, config.num_labels)?,
        })
    }

    /// `pixels [n, c, h, w]` -> logits `[n, classes]`.
    pub fn forward(&self, pixels: Dual<4>, pass: &mut Pass) -> Dual<2> {
        let mut x = self.norm.forward(self.conv.forward(pixels), pass).relu();
        for block in &self.blocks {
            x = block.forward(x, pass);
        }
        let [n, c, h, w] = x.dims();
        let pooled = x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c]);
        self.linear.forward(pooled)
    }
}

#[derive(Clone, Debug)]
struct Block {
    first: (Conv2d, BatchNorm),
    second: (Conv2d, BatchNorm),
    stride: usize,
    new_channels: usize,
}

impl Block {
    fn bind(
        scope: &Scope<'_>,
        [inputs, outputs]: [usize; 2],
        stride: usize,
    ) -> Result<Self, NnError> {
        let conv =
            |name, inputs, stride| Conv2d::bind(&scope.at(name), [inputs, outputs], 3, stride, 1);
        Ok(Self {
            first: (
                conv("conv1", inputs, stride)?,
                BatchNorm::bind(&scope.at("bn1"), outputs)?,
            ),
            second: (
                conv("conv2", outputs, 1)?,
                BatchNorm::bind(&scope.at("bn2"), outputs)?,
            ),
            stride,
            new_channels: outputs - inputs,
        })
    }

    fn forward(&self, x: Dual<4>, pass: &mut Pass) -> Dual<4> {
        let y = self
            .first
            .1
            .forward(self.first.0.forward(x.clone()), pass)
            .relu();
        let y = self.second.1.forward(self.second.0.forward(y), pass);
        (y + self.shortcut(x)).relu()
    }

    fn shortcut(&self, x: Dual<4>) -> Dual<4> {
        let x = if self.stride > 1 {
            every_second_pixel(x)
        } else {
            x
        };
        if self.new_channels == 0 {
            return x;
        }
        let [n, _, h, w] = x.dims();
        let before = self.new_channels / 2;
        let zeros = |channels| {
            let options = (&x.device(), x.value().dtype());
            Dual::constant(burn::tensor::Tensor::zeros([n, channels, h, w], options))
        };
        let parts = vec![zeros(before), x.clone(), zeros(self.new_channels - before)];
        Dual::cat(parts, 1)
    }
}

/// `x[:, :, ::2, ::2]`.
fn every_second_pixel(x: Dual<4>) -> Dual<4> {
    use burn::tensor::s;
    x.slice(s![.., .., ..;2, ..;2])
}
