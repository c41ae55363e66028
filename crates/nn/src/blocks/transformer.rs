//! The layer that transformers are stacked of.

use super::{Attention, FeedForward, Look, Norm};
use refit_kernels::dual::Dual;

/// Where a layer's norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOrder {
    /// `x + f(norm(x))`.
    Before,
    /// `norm(x + f(x))`.
    After,
}

/// Attention, perhaps to another text too, then a perceptron, each beside a shortcut and with a norm.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Tokens look at tokens.
    pub attention: Attention,
    /// The norm that goes with the attention.
    pub attention_norm: Norm,
    /// Tokens look at another text, with the norm that goes with it, where a model does that.
    pub cross: Option<(Attention, Norm)>,
    /// Every token by itself.
    pub mlp: FeedForward,
    /// The norm that goes with the perceptron.
    pub mlp_norm: Norm,
    /// Where both norms stand.
    pub order: NormOrder,
    /// Factors `[d]` on what attention and perceptron add, where a model has them.
    pub scales: Option<[Dual<1>; 2]>,
}

impl Layer {
    /// `x [n, tokens, d]` -> the same shape.
    pub fn forward(&self, x: Dual<3>, look: Look<'_>) -> Dual<3> {
        let source = look.source;
        let scaled = |x: Dual<3>, which: usize| match &self.scales {
            Some(scales) => x * scales[which].clone().unsqueeze(),
            None => x,
        };
        match self.order {
            NormOrder::Before => {
                let mixed = self
                    .attention
                    .forward(self.attention_norm.forward(x.clone()), look);
                let mut x = x + scaled(mixed, 0);
                if let Some(((cross, norm), source)) = self.cross.as_ref().zip(source) {
                    x = x.clone() + cross.look_up(norm.forward(x), source);
                }
                let made = self.mlp.forward(self.mlp_norm.forward(x.clone()));
                x + scaled(made, 1)
            }
            NormOrder::After => {
                let mixed = self.attention.forward(x.clone(), look);
                let mut x = self.attention_norm.forward(x + scaled(mixed, 0));
                if let Some(((cross, norm), source)) = self.cross.as_ref().zip(source) {
                    x = norm.forward(x.clone() + cross.look_up(x, source));
                }
                let made = self.mlp.forward(x.clone());
                self.mlp_norm.forward(x + scaled(made, 1))
            }
        }
    }
}
