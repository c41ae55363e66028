//! A mixture of perceptrons, a few of which read each token.

use super::{Linear, Mlp, embedding::look_up};
use crate::to_host;
use refit_kernels::dual::{self, Dual};

/// What a layer does to every token by itself.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "bound once per step and never moved again"
)]
pub enum FeedForward {
    /// One perceptron for all.
    One(Mlp),
    /// For each token those that a router chooses.
    Experts(Experts),
}

impl From<Mlp> for FeedForward {
    fn from(mlp: Mlp) -> Self {
        Self::One(mlp)
    }
}

impl FeedForward {
    /// `x [n, tokens, d]` -> the same shape.
    pub fn forward(&self, x: Dual<3>) -> Dual<3> {
        match self {
            Self::One(mlp) => mlp.forward(x),
            Self::Experts(experts) => experts.forward(x),
        }
    }
}

/// Perceptrons of which each token goes through those with the highest scores: `y = sum_e p_e f_e(x)` over the chosen,
/// where `p` is the softmax of all scores, divided by its sum over the chosen.
///
/// # Source
/// Jiang et al. 2024, arXiv:2401.04088; Shazeer et al. 2017, arXiv:1701.06538.
#[derive(Clone, Debug)]
pub struct Experts {
    router: Linear,
    mlps: Vec<Mlp>,
    chosen: usize,
}

impl Experts {
    /// A router to as many scores as there are perceptrons, of which each token takes `chosen`.
    ///
    /// # Panics
    /// Unless `chosen` is from 1 to the number of perceptrons.
    pub fn new(router: Linear, mlps: Vec<Mlp>, chosen: usize) -> Self {
        assert!((1..=mlps.len()).contains(&chosen), "experts to choose");
        Self {
            router,
            mlps,
            chosen,
        }
    }

    /// `x [n, tokens, d]` -> the same shape.
    ///
    /// # Cost
    /// Each expert reads its tokens as one matrix. Scores go through the host, which sorts tokens by expert; which
    /// experts are chosen has no derivative.
    pub fn forward(&self, x: Dual<3>) -> Dual<3> {
        let ([n, tokens, d], k, all) = (x.dims(), self.chosen, self.mlps.len());
        let count = n * tokens;
        let x = x.reshape([count, d]);
        let shares = dual::softmax(self.router.forward(x.clone()));
        let chosen = choose(&to_host(shares.value().clone().inner()), all, k);
        // Outputs stand expert by expert; `places` says where those of each token are.
        let (mut places, mut outputs, mut filled) = (vec![0; count * k], Vec::new(), 0);
        for (expert, mlp) in self.mlps.iter().enumerate() {
            let slots = (0..count * k).filter(|&slot| chosen[slot] == expert);
            let slots: Vec<usize> = slots.collect();
            if slots.is_empty() {
                continue;
            }
            let own = slots.iter().map(|slot| slot / k);
            outputs.push(mlp.forward(look_up(x.clone(), own, [1, slots.len()])));
            for slot in slots {
                places[slot] = filled;
                filled += 1;
            }
        }
        let outputs = Dual::cat(outputs, 1).reshape([count * k, d]);
        let outputs = look_up(outputs, places, [count, k]);
        let flat = (0..count * k).map(|slot| slot / k * all + chosen[slot]);
        let shares = look_up(shares.reshape([count * all, 1]), flat, [count, k]);
        let shares = shares.clone() / shares.sum_dim(1);
        (outputs * shares).sum_dim(1).reshape([n, tokens, d])
    }
}

/// The `k` highest of every row of `experts` shares, highest first, the first of equals.
fn choose(shares: &[f32], experts: usize, k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..experts).collect();
    let mut chosen = Vec::with_capacity(shares.len() / experts * k);
    for row in shares.chunks(experts) {
        order.sort_unstable_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        chosen.extend_from_slice(&order[..k]);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::Activation;
    use burn::tensor::{Device, Tensor, TensorData};

    #[test]
    fn the_highest_are_chosen_and_the_first_of_equals() {
        assert_eq!(choose(&[0.1, 0.5, 0.4, 0.3, 0.3, 0.4], 3, 2), [1, 2, 2, 0]);
    }

    /// Expert `e` gives `e + 1` times a token of one positive entry; the router scores it `0, ln 2, ln 3`.
    #[test]
    fn shares_of_the_chosen_add_up_to_one() {
        let matrix = |values: Vec<f32>, shape: [usize; 2]| {
            let values = TensorData::new(values, shape);
            Linear::tied(Dual::constant(Tensor::from_data(values, &Device::flex())))
        };
        let router = matrix(vec![0.0, 2f32.ln(), 3f32.ln()], [3, 1]);
        let times = |factor| {
            let [up, down] = [1.0, factor].map(|x| matrix(vec![x], [1, 1]));
            Mlp::new(up, down, Activation::Relu)
        };
        let experts = [1.0, 2.0, 3.0].map(times).to_vec();
        let x = Tensor::<3>::from_floats([[[1.0]]], &Device::flex());
        for (chosen, expected) in [
            (1, 3.0),
            (2, 3.0 * 0.6 + 2.0 * 0.4),
            (3, (3.0 * 3.0 + 2.0 * 2.0 + 1.0) / 6.0),
        ] {
            let experts = Experts::new(router.clone(), experts.clone(), chosen);
            let found = to_host(experts.forward(x.clone().into()).into_value());
            assert!((found[0] - expected).abs() < 1e-6, "{chosen}: {found:?}");
        }
    }
}
