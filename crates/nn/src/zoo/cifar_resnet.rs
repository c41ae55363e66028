//! Residual networks for 32 x 32 images (He et al. 2016, arXiv:1512.03385, section 4.2): ResNet-20, 32, 44, 56.
//!
//! Shortcuts are the paper's option A: where the map shrinks, every second pixel is taken and the new channels are
//! zeros, half of them before and half after the old ones. They have no weights.

use crate::{
    NnError, Pass, Scope,
    blocks::{ConvNorm, Linear, mean_of_places},
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
    stem: ConvNorm,
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
            stem: conv(scope, ["conv1", "bn1"], [config.num_channels, width], 1)?,
            blocks,
            linear: Linear::bind(&scope.at("linear"), inputs, config.num_labels)?,
        })
    }

    /// `pixels [n, c, h, w]` -> logits `[n, classes]`.
    pub fn forward(&self, pixels: Dual<4>, pass: &mut Pass) -> Dual<2> {
        let mut x = self.stem.forward(pixels, pass).relu();
        for block in &self.blocks {
            x = block.forward(x, pass);
        }
        self.linear.forward(mean_of_places(x))
    }
}

/// A convolution of 3 x 3 and batch norm.
fn conv(
    scope: &Scope<'_>,
    names: [&str; 2],
    channels: [usize; 2],
    stride: usize,
) -> Result<ConvNorm, NnError> {
    ConvNorm::bind(scope, names, channels, [3, stride], None)
}

#[derive(Clone, Debug)]
struct Block {
    first: ConvNorm,
    second: ConvNorm,
    stride: usize,
    new_channels: usize,
}

impl Block {
    fn bind(
        scope: &Scope<'_>,
        [inputs, outputs]: [usize; 2],
        stride: usize,
    ) -> Result<Self, NnError> {
        Ok(Self {
            first: conv(scope, ["conv1", "bn1"], [inputs, outputs], stride)?,
            second: conv(scope, ["conv2", "bn2"], [outputs; 2], 1)?,
            stride,
            new_channels: outputs - inputs,
        })
    }

    fn forward(&self, x: Dual<4>, pass: &mut Pass) -> Dual<4> {
        let y = self.first.forward(x.clone(), pass).relu();
        let y = self.second.forward(y, pass);
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
