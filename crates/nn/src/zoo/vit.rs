//! The vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929), in the names of Hugging Face's `ViTModel`.

use super::{divides, eps, layers, patch, settings::Settings, size};
use crate::{
    Init, NnError, Scope,
    blocks::{
        Activation, Attention, AttentionNames, Heads, ImageTokens, Layer, Linear, Look, Mlp, Norm,
        NormOrder, PatchEmbedding, dense,
    },
};
use refit_core::ConfigError;
use refit_kernels::dual::{AttentionMask, Dual};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// Reads the keys of a published `config.json`, where the number of classes is that of their names.
    ///
    /// # Errors
    /// A value of another type or out of range, or one that asks for what this model does not do.
    pub fn read(keys: &Map<String, Value>) -> Result<Self, ConfigError> {
        let settings = Settings(keys);
        settings.only("model_type", &"vit".to_owned())?;
        settings.only("hidden_act", &"gelu".to_owned())?;
        settings.only("qkv_bias", &true)?;
        let named = settings.image_classes()?;
        let plain = Self::default();
        let config = Self {
            hidden_size: settings.get("hidden_size", plain.hidden_size)?,
            num_hidden_layers: settings.get("num_hidden_layers", plain.num_hidden_layers)?,
            num_attention_heads: settings.get("num_attention_heads", plain.num_attention_heads)?,
            intermediate_size: settings.get("intermediate_size", plain.intermediate_size)?,
            layer_norm_eps: settings.get("layer_norm_eps", plain.layer_norm_eps)?,
            image_size: settings.get("image_size", plain.image_size)?,
            patch_size: settings.get("patch_size", plain.patch_size)?,
            num_channels: settings.get("num_channels", plain.num_channels)?,
            pooling: settings.get("pooling", plain.pooling)?,
            num_labels: settings.get("num_labels", named)?,
        };
        config.check()?;
        Ok(config)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        size("hidden_size", self.hidden_size)?;
        size("num_attention_heads", self.num_attention_heads)?;
        size("intermediate_size", self.intermediate_size)?;
        size("image_size", self.image_size)?;
        size("num_channels", self.num_channels)?;
        layers("num_hidden_layers", self.num_hidden_layers)?;
        divides(
            "num_attention_heads",
            self.num_attention_heads,
            self.hidden_size,
        )?;
        eps("layer_norm_eps", self.layer_norm_eps)?;
        patch(self.patch_size, self.image_size)?;
        Ok(())
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let (d, wide) = (self.hidden_size, self.intermediate_size);
        let heads = Heads::even(d, self.num_attention_heads);
        let norm = |name| Norm::layer(&scope.at(name), d, self.layer_norm_eps);
        Ok(Layer {
            attention_norm: norm("layernorm_before")?,
            attention: Attention::bind(scope, ATTENTION, d, heads, [true; 2])?,
            mlp_norm: norm("layernorm_after")?,
            mlp: Mlp::new(
                dense(&scope.at("intermediate.dense"), d, wide, true)?,
                dense(&scope.at("output.dense"), wide, d, true)?,
                Activation::Gelu,
            )
            .into(),
            cross: None,
            order: NormOrder::Before,
            scales: None,
        })
    }
}

/// Others share these names.
pub(super) const ATTENTION: AttentionNames = AttentionNames {
    query: "attention.attention.query",
    key: "attention.attention.key",
    value: "attention.attention.value",
    output: "attention.output.dense",
};

/// A vision transformer bound to weights.
#[derive(Clone, Debug)]
pub struct Vit {
    tokens: ImageTokens,
    pooling: Pooling,
    layers: Vec<Layer>,
    norm: Norm,
    classifier: Option<Linear>,
}

impl Vit {
    /// Binds a checked configuration.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(config: &VitConfig, scope: &Scope<'_>) -> Result<Self, NnError> {
        let (d, whole) = (config.hidden_size, scope);
        let scope = &whole.inside("vit");
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
        let layers = (0..config.num_hidden_layers)
            .map(|i| config.layer(&scope.at("encoder.layer").at(i)))
            .collect::<Result<_, _>>()?;
        let norm = Norm::layer(&scope.at("layernorm"), d, config.layer_norm_eps)?;
        let pooler = scope.at("pooler.dense");
        if pooler.holds("weight") {
            dense(&pooler, d, d, true)?; // belongs to the checkpoint of a bare model, where nothing reads it
        }
        let classifier = match config.num_labels {
            0 => None,
            n => Some(Linear::bind(&whole.at("classifier"), d, n)?),
        };
        Ok(Self {
            tokens: ImageTokens::new(cls, patches, positions, side),
            pooling: config.pooling,
            layers,
            norm,
            classifier,
        })
    }

    /// `pixels [n, c, h, w]` -> features `[n, d]`, after the last norm. Positions are interpolated for pictures of
    /// another size than the configuration names.
    ///
    /// # Panics
    /// If pictures are smaller than a patch, or have other channels.
    pub fn features(&self, pixels: Dual<4>) -> Dual<2> {
        let embedded = self.tokens.forward(pixels);
        let [n, _, d] = embedded.dims();
        let last = self.layers.iter().fold(embedded, |x, layer| {
            layer.forward(x, Look::at(AttentionMask::None))
        });
        match self.pooling {
            // Only the class token is read, so only it needs the norm.
            Pooling::Cls => self.norm.forward(last.narrow(1, 0, 1).reshape([n, d])),
            Pooling::Mean => self.norm.forward(last).mean_dim(1).reshape([n, d]),
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
