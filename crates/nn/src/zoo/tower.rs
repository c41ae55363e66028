//! The stack of layers that both sides of CLIP have.

use super::{opt::ATTENTION, settings::Settings};
use crate::{
    NnError, Scope,
    blocks::{Activation, Attention, Heads, Layer, Mlp, Norm, NormOrder, dense},
};
use refit_core::ConfigError;

/// What both towers have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tower {
    pub(super) hidden: usize,
    layers: usize,
    heads: usize,
    pub(super) intermediate: usize,
    activation: Activation,
    pub(super) eps: f64,
}

impl Tower {
    pub(super) fn read(
        settings: Settings<'_>,
        [width, heads]: [usize; 2],
    ) -> Result<Self, ConfigError> {
        let hidden = settings.size("hidden_size", width)?;
        Ok(Self {
            hidden,
            layers: settings.layers("num_hidden_layers", 12)?,
            heads: settings.heads("num_attention_heads", heads, hidden)?,
            intermediate: settings.size("intermediate_size", 4 * width)?,
            activation: settings.get("hidden_act", Activation::QuickGelu)?,
            eps: settings.eps("layer_norm_eps", 1e-5)?,
        })
    }

    pub(super) fn bind(&self, scope: &Scope<'_>) -> Result<Vec<Layer>, NnError> {
        let layer = |i| self.layer(&scope.at("encoder.layers").at(i));
        (0..self.layers).map(layer).collect()
    }

    fn layer(&self, scope: &Scope<'_>) -> Result<Layer, NnError> {
        let (d, heads) = (self.hidden, Heads::even(self.hidden, self.heads));
        let norm = |name| Norm::layer(&scope.at(name), d, self.eps);
        Ok(Layer {
            attention: Attention::bind(scope, ATTENTION, d, heads, [true; 2])?,
            attention_norm: norm("layer_norm1")?,
            mlp: Mlp::new(
                dense(&scope.at("mlp.fc1"), d, self.intermediate, true)?,
                dense(&scope.at("mlp.fc2"), self.intermediate, d, true)?,
                self.activation,
            )
            .into(),
            mlp_norm: norm("layer_norm2")?,
            cross: None,
            order: NormOrder::Before,
            scales: None,
        })
    }
}
