//! The vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), in the names of Hugging Face's `ViTModel`.

use super::size;
use crate::{
    Init, NnError, Scope,
    blocks::{EncoderBlock, LayerNorm, Linear, PatchEmbedding, TransformerSize},
};
use refit_core::ConfigError;
use refit_kernels::dual::Dual;
use serde::{Deserialize, Serialize};

/// How tokens become one feature vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The class token.
    #[default]
    Cls,
    /// The mean over patch tokens; there is no class token.
    Mean,
}

/// Configuration of a [`Vit`]; keys and defaults are Hugging Face's, `pooling` is ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VitConfig {
    /// Width of a token.
    pub hidden_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width inside the perceptrons.
    pub intermediate_size: usize,
    /// Added to variances in layer norm.
    pub layer_norm_eps: f64,
    /// Side of the (square) image.
    pub image_size: usize,
    /// Side of a patch; what does not fill a patch is cut off.
    pub patch_size: usize,
    /// Channels of the image.
    pub num_channels: usize,
    /// How tokens become one feature vector.
    pub pooling: Pooling,
    /// Classes of the classifier; 0 for an encoder without one.
    pub num_labels: usize,
}

impl Default for VitConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            layer_norm_eps: 1e-12,
            image_size: 224,
            patch_size: 16,
            num_channels: 3,
            pooling: Pooling::Cls,
            num_labels: 0,
        }
    }
}

impl VitConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        size("hidden_size", self.hidden_size)?;
        size("num_attention_heads", self.num_attention_heads)?;
        size("intermediate_size", self.intermediate_size)?;
        size("image_size", self.image_size)?;
        size("num_channels", self.num_channels)?;
        if self.num_hidden_layers > 1024 {
            return Err(ConfigError::range(
                "num_hidden_layers",
                self.num_hidden_layers,
                "at most 1024",
            ));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err(ConfigError::range(
                "num_attention_heads",
                self.num_attention_heads,
                format!("a divisor of `hidden_size` {}", self.hidden_size),
            ));
        }
        if !(1..=self.image_size).contains(&self.patch_size) {
            let expected = format!("1 to `image_size` {}", self.image_size);
            return Err(ConfigError::range("patch_size", self.patch_size, expected));
        }
        if !(self.layer_norm_eps >= 0.0 && self.layer_norm_eps.is_finite()) {
            let expected = "a finite number of at least 0";
            return Err(ConfigError::range(
                "layer_norm_eps",
                self.layer_norm_eps,
                expected,
            ));
        }
        Ok(())
    }

    fn block_size(&self) -> TransformerSize {
        TransformerSize {
            hidden: self.hidden_size,
            heads: self.num_attention_heads,
            intermediate: self.intermediate_size,
            eps: self.layer_norm_eps,
        }
    }
}

/// A vision transformer bound to weights.
#[derive(Clone, Debug)]
pub struct Vit {
    cls: Option<Dual<3>>,
    positions: Dual<3>,
    patches: PatchEmbedding,
    blocks: Vec<EncoderBlock>,
    norm: LayerNorm,
    classifier: Option<Linear>,
}

impl Vit {
    /// Binds a checked configuration.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(config: &VitConfig, scope: &Scope<'_>) -> Result<Self, NnError> {
        let d = config.hidden_size;
        let embeddings = scope.at("embeddings");
        let start = Init::Normal(crate::blocks::DEVIATION);
        let cls = match config.pooling {
            Pooling::Cls => Some(embeddings.tensor("cls_token", [1, 1, d], start)?),
            Pooling::Mean => None,
        };
        let side = config.image_size / config.patch_size;
        let tokens = side * side + usize::from(cls.is_some());
        let positions = embeddings.tensor("position_embeddings", [1, tokens, d], start)?;
        let projection = embeddings.at("patch_embeddings.projection");
        let patches = PatchEmbedding::bind(&projection, config.num_channels, config.patch_size, d)?;
        let blocks = (0..config.num_hidden_layers)
            .map(|i| EncoderBlock::bind(&scope.at("encoder.layer").at(i), config.block_size()))
            .collect::<Result<_, _>>()?;
        let norm = LayerNorm::bind(&scope.at("layernorm"), d, config.layer_norm_eps)?;
        let classifier = match config.num_labels {
            0 => None,
            n => Some(Linear::bind(&scope.at("classifier"), d, n)?),
        };
        Ok(Self {
            cls,
            positions,
            patches,
            blocks,
            norm,
            classifier,
        })
    }

    /// `pixels [n, c, s, s]` -> features `[n, d]`, after the last norm.
    pub fn features(&self, pixels: Dual<4>) -> Dual<2> {
        let patches = self.patches.forward(pixels);
        let [n, _, d] = patches.dims();
        let tokens = match &self.cls {
            Some(cls) => Dual::cat(vec![cls.clone().expand([n, 1, d]), patches], 1),
            None => patches,
        };
        let embedded = tokens + self.positions.clone();
        let last = self
            .blocks
            .iter()
            .fold(embedded, |x, block| block.forward(x));
        match &self.cls {
            // Only the class token is read, so only it needs the norm.
            Some(_) => self.norm.forward(last.narrow(1, 0, 1).reshape([n, d])),
            None => self.norm.forward(last).mean_dim(1).reshape([n, d]),
        }
    }

    /// Logits, or features when there is no classifier.
    pub fn forward(&self, pixels: Dual<4>) -> Dual<2> {
        let features = self.features(pixels);
        match &self.classifier {
            Some(classifier) => classifier.forward(features),
            None => features,
        }
    }
}
