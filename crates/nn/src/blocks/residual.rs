//! Convolutions beside a shortcut.

use super::{Activation, ConvNorm};
use crate::Pass;
use refit_kernels::dual::Dual;

/// `curve(f(x) + s(x))`: `f` is convolutions with norms and the curve between them, `s` one convolution with its norm,
/// or nothing.
#[derive(Clone, Debug)]
pub struct Residual {
    convs: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
    curve: Activation,
}

impl Residual {
    /// These convolutions; without a `shortcut` they keep the shape.
    pub fn new(convs: Vec<ConvNorm>, shortcut: Option<ConvNorm>, curve: Activation) -> Self {
        Self {
            convs,
            shortcut,
            curve,
        }
    }

    /// `x [n, in, h, w]` -> `[n, out, h', w']`.
    pub fn forward(&self, x: Dual<4>, pass: &mut Pass) -> Dual<4> {
        let mut y = x.clone();
        for (i, conv) in self.convs.iter().enumerate() {
            if i > 0 {
                y = self.curve.apply(y);
            }
            y = conv.forward(y, pass);
        }
        let beside = match &self.shortcut {
            Some(conv) => conv.forward(x, pass),
            None => x,
        };
        self.curve.apply(y + beside)
    }
}
