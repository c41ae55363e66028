//! What a transformer reads of a picture.

use super::PatchEmbedding;
use burn::tensor::{Tensor, TensorData};
use refit_kernels::dual::Dual;

/// Patches as tokens, perhaps behind a class token, each with its position. Positions belong to a square grid; those of
/// a picture with another grid are interpolated.
#[derive(Clone, Debug)]
pub struct ImageTokens {
    class: Option<Dual<3>>,
    patches: PatchEmbedding,
    /// `[1, tokens, d]`, that of the class token first.
    positions: Dual<3>,
    side: usize,
}

impl ImageTokens {
    /// Tokens of `patches` in a grid of `side` by `side`, for which there are `positions`, behind `class [1, 1, d]`.
    pub fn new(
        class: Option<Dual<3>>,
        patches: PatchEmbedding,
        positions: Dual<3>,
        side: usize,
    ) -> Self {
        Self {
            class,
            patches,
            positions,
            side,
        }
    }

    /// `pixels [n, c, h, w]` of at least a patch -> `[n, tokens, d]`.
    pub fn forward(&self, pixels: Dual<4>) -> Dual<3> {
        let positions = self.positions(self.patches.grid(pixels.dims()));
        let patches = self.patches.forward(pixels);
        let [n, _, d] = patches.dims();
        let tokens = match &self.class {
            Some(class) => Dual::cat(vec![class.clone().expand([n, 1, d]), patches], 1),
            None => patches,
        };
        tokens + positions
    }

    /// Positions of the tokens of a picture of `rows` by `columns` patches.
    fn positions(&self, [rows, columns]: [usize; 2]) -> Dual<3> {
        let (side, [_, tokens, d]) = (self.side, self.positions.dims());
        if [rows, columns] == [side, side] {
            return self.positions.clone();
        }
        let first = tokens - side * side;
        let grid = self.positions.clone().narrow(1, first, side * side);
        // Down, then across, each as one product.
        let down = self.bend(rows).matmul(grid.reshape([side, side * d]));
        let turned = down.reshape([rows, side, d]).swap_dims(0, 1);
        let across = self.bend(columns).matmul(turned.reshape([side, rows * d]));
        let grid = across.reshape([columns, rows, d]).swap_dims(0, 1);
        let grid = grid.reshape([1, rows * columns, d]);
        match first {
            0 => grid,
            _ => Dual::cat(vec![self.positions.clone().narrow(1, 0, first), grid], 1),
        }
    }

    /// The matrix `[to, side]` that interpolates `to` places from `side`.
    fn bend(&self, to: usize) -> Dual<2> {
        let weights = TensorData::new(cubic(self.side, to), [to, self.side]);
        let options = (&self.positions.device(), self.positions.value().dtype());
        Dual::constant(Tensor::from_data(weights, options))
    }
}

/// Weights of `from` places in each of `to` places, row by row, when both cover the same length.
///
/// # Source
/// Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 4, with slope -0.75 as PyTorch has
/// it; places beyond an end are those at the end.
fn cubic(from: usize, to: usize) -> Vec<f64> {
    const SLOPE: f64 = -0.75;
    let near = |x: f64| ((SLOPE + 2.0) * x - (SLOPE + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((SLOPE * x - 5.0 * SLOPE) * x + 8.0 * SLOPE) * x - 4.0 * SLOPE;
    let mut weights = vec![0.0; from * to];
    for (place, row) in weights.chunks_mut(from).enumerate() {
        let at = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
        let (left, x) = (at.floor(), at - at.floor());
        let four = [far(x + 1.0), near(x), near(1.0 - x), far(2.0 - x)];
        for (offset, weight) in four.into_iter().enumerate() {
            let source = left + offset as f64 - 1.0;
            row[source.clamp(0.0, from as f64 - 1.0) as usize] += weight;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_places_stay_and_weights_add_up_to_one() {
        assert_eq!(cubic(3, 3), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        for (from, to) in [(1, 4), (4, 1), (5, 3), (3, 7)] {
            for row in cubic(from, to).chunks(from) {
                assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{from} {to}");
            }
        }
    }

    /// Halfway between two places: -0.75 / 8 of the outer, the rest of the inner ones.
    #[test]
    fn a_place_in_the_middle_is_made_of_four() {
        let found = cubic(4, 1);
        let expected = [-0.09375, 0.59375, 0.59375, -0.09375];
        let close = found
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close, "{found:?}");
    }
}
