//! Whole models, each from its `config.json`.

mod bert;
mod cifar_resnet;
mod clip;
mod conv_net;
mod decoder;
mod dinov2;
mod distilbert;
mod encoder;
mod generate;
mod gpt2;
mod llama;
mod mixtral;
mod mlp;
mod opt;
mod pool;
mod resnet;
mod rope;
mod seq2seq;
mod settings;
mod t5;
mod text;
mod tokens;
mod tower;
mod vit;

use crate::{NnError, Pass, Scope};
pub use cifar_resnet::{CifarResNet, CifarResNetConfig};
pub use clip::{Clip, ClipConfig};
pub use conv_net::{ConvNet, ConvNetConfig};
pub use decoder::{Decoding, TextDecoder};
pub use dinov2::{Dinov2, Dinov2Config};
pub use encoder::TextEncoder;
pub use generate::{Ended, Generator, Sampling, Stop};
pub use mlp::{Mlp, MlpConfig};
pub use pool::Pool;
use refit_core::ConfigError;
use refit_kernels::dual::Dual;
pub use resnet::{ResNet, ResNetConfig, ResNetLayer, ResNetNorm};
pub use seq2seq::Seq2Seq;
use serde::{Deserialize, Serialize};
pub use text::{TextConfig, TextModel, TextSize, TextTask};
pub use tokens::{Side, TokenBatch};
pub use vit::{Pooling, Vit, VitConfig};

/// Configuration of a model that reads images, as its `config.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ImageConfig {
    /// Vision transformer.
    Vit(VitConfig),
    /// Multi-layer perceptron on pixels.
    Mlp(MlpConfig),
    /// Plain stack of convolutions.
    ConvNet(ConvNetConfig),
    /// Residual network for 32 x 32 images.
    CifarResnet(CifarResNetConfig),
    /// Residual network for photographs.
    Resnet(ResNetConfig),
}

impl ImageConfig {
    /// The names that `model_type` may have.
    pub const MODEL_TYPES: [&'static str; 5] = ["vit", "mlp", "conv-net", "cifar-resnet", "resnet"];

    /// Binds the model.
    ///
    /// # Errors
    /// A setting out of range; a missing or misshapen tensor.
    pub fn bind(&self, scope: &Scope<'_>) -> Result<ImageModel, NnError> {
        self.check()?;
        Ok(match self {
            Self::Vit(config) => ImageModel::Vit(Vit::bind(config, scope)?),
            Self::Mlp(config) => ImageModel::Mlp(Mlp::bind(config, scope)?),
            Self::ConvNet(config) => ImageModel::ConvNet(ConvNet::bind(config, scope)?),
            Self::CifarResnet(config) => ImageModel::CifarResNet(CifarResNet::bind(config, scope)?),
            Self::Resnet(config) => ImageModel::ResNet(ResNet::bind(config, scope)?),
        })
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Vit(config) => config.check(),
            Self::Mlp(config) => config.check(),
            Self::ConvNet(config) => config.check(),
            Self::CifarResnet(config) => config.check(),
            Self::Resnet(config) => config.check(),
        }
    }

    /// Classes; 0 for an encoder without a classifier.
    pub fn num_labels(&self) -> usize {
        match self {
            Self::Vit(c) => c.num_labels,
            Self::Mlp(c) => c.num_labels,
            Self::ConvNet(c) => c.num_labels,
            Self::CifarResnet(c) => c.num_labels,
            Self::Resnet(c) => c.num_labels,
        }
    }

    /// Width of the output: classes, or features for an encoder without a classifier.
    pub fn num_outputs(&self) -> usize {
        match self {
            Self::Vit(c) if c.num_labels == 0 => c.hidden_size,
            Self::Mlp(c) if c.num_labels == 0 => c.hidden.last().copied().unwrap_or(0),
            Self::Resnet(c) if c.num_labels == 0 => c.width(),
            Self::Vit(c) => c.num_labels,
            Self::Mlp(c) => c.num_labels,
            Self::ConvNet(c) => c.num_labels,
            Self::CifarResnet(c) => c.num_labels,
            Self::Resnet(c) => c.num_labels,
        }
    }
}

/// A model that reads images, bound to weights.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "bound once per step and never moved again"
)]
pub enum ImageModel {
    /// Vision transformer.
    Vit(Vit),
    /// Multi-layer perceptron.
    Mlp(Mlp),
    /// Plain stack of convolutions.
    ConvNet(ConvNet),
    /// Residual network for 32 x 32 images.
    CifarResNet(CifarResNet),
    /// Residual network for photographs.
    ResNet(ResNet),
}

impl ImageModel {
    /// `pixels [n, c, h, w]` -> logits `[n, classes]`, or features `[n, d]` for an encoder without a classifier.
    pub fn forward(&self, pixels: Dual<4>, pass: &mut Pass) -> Dual<2> {
        match self {
            Self::Vit(model) => model.forward(pixels),
            Self::Mlp(model) => model.forward(pixels),
            Self::ConvNet(model) => model.forward(pixels, pass),
            Self::CifarResNet(model) => model.forward(pixels, pass),
            Self::ResNet(model) => model.forward(pixels, pass),
        }
    }
}

/// Refuses a size of zero, and one so large that shapes could overflow.
fn size(key: &'static str, value: usize) -> Result<(), ConfigError> {
    if (1..=1 << 20).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::range(key, value, "a size from 1 to 1048576"))
    }
}

/// More tokens than any model was stretched to.
const LONGEST: usize = 1 << 24;

/// Refuses a number of tokens that is zero or larger than any model reads. No table has a row for each of them.
fn length(key: &'static str, value: usize) -> Result<(), ConfigError> {
    if (1..=LONGEST).contains(&value) {
        Ok(())
    } else {
        let expected = format!("a number of tokens from 1 to {LONGEST}");
        Err(ConfigError::range(key, value, expected))
    }
}

/// Refuses more layers than memory could be spent on by mistake.
fn layers(key: &'static str, value: usize) -> Result<(), ConfigError> {
    if value <= 1024 {
        Ok(())
    } else {
        Err(ConfigError::range(key, value, "at most 1024"))
    }
}

/// Refuses heads that do not share a width evenly.
fn divides(key: &'static str, heads: usize, width: usize) -> Result<(), ConfigError> {
    if heads > 0 && width.is_multiple_of(heads) {
        Ok(())
    } else {
        Err(ConfigError::range(
            key,
            heads,
            format!("a divisor of {width}"),
        ))
    }
}

/// Refuses patches that are empty or larger than the picture.
fn patch(side: usize, image: usize) -> Result<(), ConfigError> {
    if (1..=image).contains(&side) {
        return Ok(());
    }
    let expected = format!("1 to `image_size` {image}");
    Err(ConfigError::range("patch_size", side, expected))
}

/// Leaves `heads` out of a model that is read for its states: their tensors stand in files that were saved with one.
fn leave_out_heads(scope: &Scope<'_>, task: TextTask, heads: &[&str]) {
    if task != TextTask::States {
        return;
    }
    for head in heads {
        scope.leave_out(head);
    }
}

/// Refuses a head that guesses hidden words by a table of its own.
fn tied(tied: bool) -> Result<(), ConfigError> {
    if tied {
        return Ok(());
    }
    let expected = "`true` in a model that guesses hidden words";
    Err(ConfigError::range("tie_word_embeddings", tied, expected))
}

/// Refuses what cannot be added to a variance.
fn eps(key: &'static str, value: f64) -> Result<(), ConfigError> {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(ConfigError::range(
            key,
            value,
            "a finite number of at least 0",
        ))
    }
}
