//! DINOv2 (Oquab et al. 2023, arXiv:2304.07193), in the names of Hugging Face.

use super::{settings::Settings, vit::ATTENTION};
use crate::{
    Init, NnError, Scope,
    blocks::{
        Activation, Attention, DEVIATION, Heads, ImageTokens, Layer, Linear, Look, Mlp, Norm,
        NormOrder, PatchEmbedding, dense,
    },
};
use refit_core::ConfigError;
use refit_kernels::dual::{AttentionMask, Dual};
use serde::Serialize;
use serde_json::{Map, Value};

/// Configuration of a [`Dinov2`], as its `config.json` holds it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dinov2Config {
    #[serde(rename = "hidden_size")]
    pub(super) hidden: usize,
    #[serde(rename = "num_hidden_layers")]
    layers: usize,
    #[serde(rename = "num_attention_heads")]
    heads: usize,
    mlp_ratio: usize,
    #[serde(rename = "hidden_act")]
    activation: Activation,
    #[serde(rename = "layer_norm_eps")]
    eps: f64,
    pub(super) image_size: usize,
    pub(super) patch_size: usize,
    #[serde(rename = "num_channels")]
    pub(super) channels: usize,
    #[serde(rename = "qkv_bias")]
    bias: bool,
    /// Classes of the classifier; 0 without one.
    #[serde(rename = "num_labels")]
    pub(super) classes: usize,
}

impl Dinov2Config {
    /// Reads the keys of a `config.json`.
    ///
    /// # Errors
    /// A value of another type or out of range; the gated perceptron of the largest model.
    pub fn read(keys: &Map<String, Value>) -> Result<Self, ConfigError> {
        let settings = Settings(keys);
        settings.only("model_type", &"dinov2".to_owned())?;
        settings.only("use_swiglu_ffn", &false)?;
        let hidden = settings.size("hidden_size", 768)?;
        let mlp_ratio = settings.size("mlp_ratio", 4)?;
        if hidden * mlp_ratio > 1 << 20 {
            let expected = format!("at most 2^20 over `hidden_size` {hidden}");
            return Err(ConfigError::range("mlp_ratio", mlp_ratio, expected));
        }
        let named = settings.image_classes()?;
        let config = Self {
            hidden,
            layers: settings.layers("num_hidden_layers", 12)?,
            heads: settings.heads("num_attention_heads", 12, hidden)?,
            mlp_ratio,
            activation: settings.get("hidden_act", Activation::Gelu)?,
            eps: settings.eps("layer_norm_eps", 1e-6)?,
            image_size: settings.size("image_size", 224)?,
            patch_size: settings.size("patch_size", 14)?,
            channels: settings.size("num_channels", 3)?,
            bias: settings.get("qkv_bias", true)?,
            classes: settings.get("num_labels", named)?,
        };
        super::patch(config.patch_size, config.image_size)?;
        Ok(config)
    }

    /// Side of the (square) image.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// Binds the model.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(&self, scope: &Scope<'_>) -> Result<Dinov2, NnError> {
        let place = scope.inside("dinov2");
        let (embeddings, d) = (place.at("embeddings"), self.hidden);
        let start = Init::Normal(DEVIATION);
        let class = embeddings.tensor("cls_token", [1, 1, d], start)?;
        if embeddings.holds("mask_token") {
            embeddings.tensor("mask_token", [1, d], Init::Zeros)?; // for training from hidden patches
        }
        let side = self.image_size / self.patch_size;
        let places = embeddings.tensor("position_embeddings", [1, side * side + 1, d], start)?;
        let patches = embeddings.at("patch_embeddings.projection");
        let patches = PatchEmbedding::bind(&patches, self.channels, self.patch_size, d)?;
        let layers = (0..self.layers)
            .map(|i| self.layer(&place.at("encoder.layer").at(i)))
            .collect::<Result<_, _>>()?;
        let classifier = || dense(&scope.at("classifier"), 2 * d, self.classes, true);
        Ok(Dinov2 {
            least: [self.channels, self.patch_size, self.patch_size],
            tokens: ImageTokens::new(Some(class), patches, places, side),
            layers,
            norm: Norm::layer(&place.at("layernorm"), d, self.eps)?,
            classifier: (self.classes > 0).then(classifier).transpose()?,
        })
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let (d, heads) = (self.hidden, Heads::even(self.hidden, self.heads));
        let inner = d * self.mlp_ratio;
        let norm = |name| Norm::layer(&scope.at(name), d, self.eps);
        let scale = |name| scope.at(name).tensor("lambda1", [d], Init::Ones);
        Ok(Layer {
            attention_norm: norm("norm1")?,
            attention: Attention::bind(scope, ATTENTION, d, heads, [self.bias, true])?,
            scales: Some([scale("layer_scale1")?, scale("layer_scale2")?]),
            mlp_norm: norm("norm2")?,
            mlp: Mlp::new(
                dense(&scope.at("mlp.fc1"), d, inner, true)?,
                dense(&scope.at("mlp.fc2"), inner, d, true)?,
                self.activation,
            )
            .into(),
            cross: None,
            order: NormOrder::Before,
        })
    }
}

/// A DINOv2 bound to weights.
#[derive(Clone, Debug)]
pub struct Dinov2 {
    /// Channels, and height and width of a patch.
    least: [usize; 3],
    tokens: ImageTokens,
    layers: Vec<Layer>,
    norm: Norm,
    classifier: Option<Linear>,
}

impl Dinov2 {
    /// `pixels [n, c, h, w]` -> states of the class token and of every patch after the last norm, `[n, 1 + patches, d]`.
    /// Positions are interpolated for pictures of another size than the configuration names.
    ///
    /// # Errors
    /// No picture, pictures smaller than a patch, or of other channels.
    pub fn states(&self, pixels: Dual<4>) -> Result<Dual<3>, NnError> {
        NnError::check_pictures(pixels.dims(), self.least)?;
        let tokens = self.tokens.forward(pixels);
        let last = self.layers.iter().fold(tokens, |x, layer| {
            layer.forward(x, Look::at(AttentionMask::None))
        });
        Ok(self.norm.forward(last))
    }

    /// Logits of a classifier, which reads the class token beside the mean of patches; the class token without one.
    ///
    /// # Errors
    /// As [`states`](Self::states).
    pub fn forward(&self, pixels: Dual<4>) -> Result<Dual<2>, NnError> {
        let states = self.states(pixels)?;
        let [n, tokens, d] = states.dims();
        let class = states.clone().narrow(1, 0, 1).reshape([n, d]);
        Ok(match &self.classifier {
            Some(classifier) => {
                let patches = states.narrow(1, 1, tokens - 1).mean_dim(1).reshape([n, d]);
                classifier.forward(Dual::cat(vec![class, patches], 1))
            }
            None => class,
        })
    }
}
