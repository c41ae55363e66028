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
use serde_json::{Map, Value};
use settings::Settings;
pub use text::{TextConfig, TextModel, TextSize, TextTask};
pub use tokens::{Side, TokenBatch};
pub use vit::{Pooling, Vit, VitConfig};

/// Configuration of a model that reads images, as its `config.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "model_type",
    rename_all = "kebab-case",
    try_from = "Map<String, Value>"
)]
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
    /// Vision transformer that learned without labels.
    Dinov2(Dinov2Config),
}

impl TryFrom<Map<String, Value>> for ImageConfig {
    type Error = String;

    /// An unknown name is told as Serde tells one, so that readers of settings find the nearest.
    fn try_from(keys: Map<String, Value>) -> Result<Self, String> {
        Self::read(&keys).map_err(|error| match error {
            ConfigError::Unknown { found, .. } => {
                let names = Self::MODEL_TYPES.map(|name| format!("`{name}`"));
                format!(
                    "unknown variant `{found}`, expected one of {}",
                    names.join(", ")
                )
            }
            error => error.to_string(),
        })
    }
}

impl ImageConfig {
    /// The names that `model_type` may have.
    pub const MODEL_TYPES: [&'static str; 6] =
        ["vit", "dinov2", "resnet", "mlp", "conv-net", "cifar-resnet"];

    /// Reads the keys of a `config.json`: a published one, or one of ours.
    ///
    /// # Errors
    /// An unknown `model_type`, with the nearest one; a value of another type or out of range, or one that asks for what
    /// the model does not do.
    ///
    /// # Example
    /// ```
    /// use refit_nn::ImageConfig;
    /// let json = serde_json::json!({
    ///     "model_type": "vit", "architectures": ["ViTForImageClassification"], "id2label": { "0": "cat", "1": "dog" },
    /// });
    /// let config = ImageConfig::read(json.as_object().unwrap())?;
    /// assert_eq!((config.num_labels(), config.side()), (2, Some(224)));
    /// # Ok::<(), refit_core::ConfigError>(())
    /// ```
    pub fn read(keys: &Map<String, Value>) -> Result<Self, ConfigError> {
        let settings = Settings(keys);
        let name: String = settings.get("model_type", String::new())?;
        let config = match name.as_str() {
            "vit" => Self::Vit(VitConfig::read(keys)?),
            "dinov2" => Self::Dinov2(Dinov2Config::read(keys)?),
            "resnet" => Self::Resnet(ResNetConfig::read(keys)?),
            "mlp" => Self::Mlp(settings.own()?),
            "conv-net" => Self::ConvNet(settings.own()?),
            "cifar-resnet" => Self::CifarResnet(settings.own()?),
            _ => return Err(ConfigError::unknown("model_type", name, Self::MODEL_TYPES)),
        };
        config.check()?;
        Ok(config)
    }

    /// Binds the model.
    ///
    /// # Errors
    /// A setting out of range; a missing or misshapen tensor.
    pub fn bind(&self, scope: &Scope<'_>) -> Result<ImageModel, NnError> {
        self.check()?;
        if self.num_labels() == 0 {
            scope.leave_out("classifier");
        }
        Ok(match self {
            Self::Vit(config) => ImageModel::Vit(Vit::bind(config, scope)?),
            Self::Mlp(config) => ImageModel::Mlp(Mlp::bind(config, scope)?),
            Self::ConvNet(config) => ImageModel::ConvNet(ConvNet::bind(config, scope)?),
            Self::CifarResnet(config) => ImageModel::CifarResNet(CifarResNet::bind(config, scope)?),
            Self::Resnet(config) => ImageModel::ResNet(ResNet::bind(config, scope)?),
            Self::Dinov2(config) => ImageModel::Dinov2(config.bind(scope)?),
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
            Self::Dinov2(_) => Ok(()), // is made by its reader alone
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
            Self::Dinov2(c) => c.classes,
        }
    }

    /// The same model with a classifier of so many classes.
    #[must_use]
    pub fn with_labels(mut self, classes: usize) -> Self {
        let own = match &mut self {
            Self::Vit(c) => &mut c.num_labels,
            Self::Mlp(c) => &mut c.num_labels,
            Self::ConvNet(c) => &mut c.num_labels,
            Self::CifarResnet(c) => &mut c.num_labels,
            Self::Resnet(c) => &mut c.num_labels,
            Self::Dinov2(c) => &mut c.classes,
        };
        *own = classes;
        self
    }

    /// Width of the output: classes, or features for an encoder without a classifier.
    pub fn num_outputs(&self) -> usize {
        match self.num_labels() {
            0 => self.width(),
            classes => classes,
        }
    }

    /// Entries of the features in front of a classifier; 0 where they are none of their own.
    fn width(&self) -> usize {
        match self {
            Self::Vit(c) => c.hidden_size,
            Self::Mlp(c) => c.hidden.last().copied().unwrap_or(0),
            Self::Resnet(c) => c.width(),
            Self::Dinov2(c) => c.hidden,
            Self::ConvNet(_) | Self::CifarResnet(_) => 0,
        }
    }

    /// Channels of the images; `None` for a perceptron, which counts values only.
    pub fn channels(&self) -> Option<usize> {
        Some(match self {
            Self::Vit(c) => c.num_channels,
            Self::ConvNet(c) => c.num_channels,
            Self::CifarResnet(c) => c.num_channels,
            Self::Resnet(c) => c.num_channels,
            Self::Dinov2(c) => c.channels,
            Self::Mlp(_) => return None,
        })
    }

    /// Side of the (square) images that it was made for; `None` for a perceptron, which counts values only.
    pub fn side(&self) -> Option<usize> {
        Some(match self {
            Self::Vit(c) => c.image_size,
            Self::ConvNet(c) => c.image_size,
            Self::CifarResnet(_) => 32,
            Self::Resnet(_) => 224,
            Self::Dinov2(c) => c.image_size,
            Self::Mlp(_) => return None,
        })
    }

    /// The least side of its images, where it sees others than those that it was made for.
    fn least_side(&self) -> Option<usize> {
        match self {
            Self::Resnet(_) => Some(1),
            Self::Dinov2(c) => Some(c.patch_size),
            _ => None,
        }
    }

    /// Whether it sees images of `channels`, `height` and `width`.
    pub fn takes(&self, [channels, height, width]: [usize; 3]) -> bool {
        let sides = match (self, self.side(), self.least_side()) {
            (Self::Mlp(c), ..) => return c.inputs == channels * height * width,
            (_, _, Some(least)) => height.min(width) >= least,
            (_, side, None) => side == Some(height) && side == Some(width),
        };
        sides && self.channels() == Some(channels)
    }

    /// Which images it sees, in words.
    pub fn expects(&self) -> String {
        match (self, self.channels(), self.side(), self.least_side()) {
            (Self::Mlp(c), ..) => format!("{} values", c.inputs),
            (_, Some(channels), _, Some(least)) => {
                format!("{channels} channels and sides of {least} or more")
            }
            (_, channels, side, _) => {
                let (channels, side) = (channels.unwrap_or(1), side.unwrap_or(1));
                format!("{channels}x{side}x{side}")
            }
        }
    }

    /// The name of the family, as `model_type` has it.
    pub const fn family(&self) -> &'static str {
        match self {
            Self::Vit(_) => "vit",
            Self::Dinov2(_) => "dinov2",
            Self::Resnet(_) => "resnet",
            Self::Mlp(_) => "mlp",
            Self::ConvNet(_) => "conv-net",
            Self::CifarResnet(_) => "cifar-resnet",
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
    /// Vision transformer that learned without labels.
    Dinov2(Dinov2),
}

impl ImageModel {
    /// `pixels [n, c, h, w]` -> logits `[n, classes]`, or features `[n, d]` for an encoder without a classifier.
    ///
    /// # Panics
    /// If there is no picture, or the pictures do not fit the configuration.
    pub fn forward(&self, pixels: Dual<4>, pass: &mut Pass) -> Dual<2> {
        match self {
            Self::Vit(model) => model.forward(pixels),
            Self::Mlp(model) => model.forward(pixels),
            Self::ConvNet(model) => model.forward(pixels, pass),
            Self::CifarResNet(model) => model.forward(pixels, pass),
            Self::ResNet(model) => model.forward(pixels, pass),
            Self::Dinov2(model) => model.forward(pixels).expect("pictures that fit"),
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
