//! Means of growing samples, with what they may be wrong by.

use super::{
    count::{Counted, Hessian},
    draw::Order,
    oracle::{FiniteSum, Sample},
    sizes,
};
use refit_math::vector::{add_scaled, dot, norm, scale};

/// The mean gradient of a sample that can grow.
pub(super) struct GradientEstimate<O: FiniteSum> {
    pub(super) mean: Vec<f64>,
    pub(super) norm: f64,
    /// Terms.
    pub(super) size: usize,
    /// Estimated error of the mean; 0 for all terms.
    pub(super) error: f64,
    /// The Hessian of all terms, when the pass over all terms gave it.
    pub(super) hessian: Option<Hessian<O>>,
    spread: Spread,
}

/// Mean squared distance of terms to their mean, from the terms or from blocks of them.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    /// Sum of squared norms of terms; `None` when the objective does not know them.
    squares: Option<f64>,
    /// Sum over blocks of their size times the squared norm of their mean.
    between: f64,
    blocks: usize,
}

impl Spread {
    /// Adds a block of `terms` terms whose mean has the squared norm `square`.
    fn add(&mut self, terms: f64, square: f64) {
        self.between += terms * square;
        self.blocks += 1;
    }

    /// The variance and its degrees of freedom; infinite for none.
    fn variance(&self, size: usize, mean_square: f64) -> (f64, usize) {
        let (sum, count) = match self.squares {
            Some(squares) => (squares, size),
            None => (self.between, self.blocks),
        };
        if count < 2 {
            return (f64::INFINITY, 0);
        }
        let degrees = count - 1;
        (
            (sum - size as f64 * mean_square).max(0.0) / degrees as f64,
            degrees,
        )
    }
}

impl<O: FiniteSum> GradientEstimate<O> {
    /// From all terms, whose values go to `values`; with the Hessian if one pass gives both and `fused` asks for it.
    pub(super) fn all(
        sum: &mut Counted<'_, O>,
        x: &[f64],
        values: &mut Vec<f64>,
        fused: bool,
    ) -> Self {
        let mut mean = vec![0.0; sum.dim()];
        values.resize(sum.terms(), 0.0);
        let hessian = if fused {
            sum.gradient_and_hessian(x, Sample::All, values, &mut mean)
        } else {
            sum.gradient(x, Sample::All, values, &mut mean);
            None
        };
        Self {
            norm: norm(&mean),
            mean,
            size: sum.terms(),
            error: 0.0,
            hessian,
            spread: Spread::default(),
        }
    }

    /// Without any terms yet.
    pub(super) fn none(dim: usize) -> Self {
        Self {
            mean: vec![0.0; dim],
            norm: 0.0,
            size: 0,
            error: f64::INFINITY,
            hessian: None,
            spread: Spread::default(),
        }
    }

    /// Lets the sample grow to `size` terms; the error is left to the caller.
    pub(super) fn grow(
        &mut self,
        sum: &mut Counted<'_, O>,
        x: &[f64],
        order: &mut Order,
        size: usize,
    ) {
        let blocks = order.grow(size).to_vec();
        let Some(end) = blocks.last().map(|block| block.end) else {
            return;
        };
        let mut values = Vec::new();
        scale(&mut self.mean, self.size as f64);
        let mut add = |this: &mut Self, places: std::ops::Range<usize>| {
            let len = places.len();
            let mut mean = vec![0.0; sum.dim()];
            values.resize(len, 0.0);
            let sample = Sample::Terms(order.at(places));
            let squares = sum.gradient(x, sample, &mut values, &mut mean);
            this.spread.add(len as f64, dot(&mean, &mean));
            this.spread.squares = squares.map(|more| this.spread.squares.unwrap_or(0.0) + more);
            this.size += len;
            add_scaled(&mut this.mean, len as f64, &mean);
            squares.is_some()
        };
        if add(self, blocks[0].clone()) {
            if blocks.len() > 1 {
                add(self, blocks[0].end..end); // the spread is known: one call for the rest
            }
        } else {
            for block in &blocks[1..] {
                add(self, block.clone());
            }
        }
        scale(&mut self.mean, 1.0 / self.size as f64);
        self.norm = norm(&self.mean);
    }

    /// The mean squared distance of single gradients to their mean, as the sample shows it, and its degrees of freedom.
    pub(super) fn variance(&self) -> (f64, usize) {
        self.spread.variance(self.size, self.norm * self.norm)
    }

    /// What the whole gradient is not longer than, by the estimate.
    pub(super) fn bound(&self) -> f64 {
        self.norm + self.error
    }
}

/// How wrong a sampled Hessian may be along a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct HessianError {
    /// Of the product with the step, as a share of its length.
    pub(super) product: f64,
    /// Of the curvature along the step: what decides how good a promise is. At most that of the product, and much less in
    /// many dimensions.
    pub(super) curvature: f64,
}

/// How wrong the Hessian of `m` of `n` terms may be along `s`: from the spread of the products of parts of the sample,
/// whose Hessians `hessian` makes.
pub(super) fn hessian_error<'a, O: FiniteSum>(
    sum: &mut Counted<'a, O>,
    s: &[f64],
    (m, n): (usize, usize),
    failure: f64,
    parts: Vec<Sample<'_>>,
    mut hessian: impl FnMut(&mut Counted<'a, O>, Sample<'_>) -> Hessian<O>,
) -> HessianError {
    let (mut total, mut along, mut size) = (vec![0.0; s.len()], 0.0, 0);
    let [mut products, mut curvatures] = [Spread::default(); 2];
    let (mut image, length) = (vec![0.0; s.len()], norm(s));
    for part in parts {
        let mut block = hessian(sum, part);
        sum.product(&mut block, s, &mut image);
        scale(&mut image, 1.0 / length);
        let (terms, curvature) = (block.terms() as f64, dot(&image, s) / length);
        add_scaled(&mut total, terms, &image);
        along += terms * curvature;
        products.add(terms, dot(&image, &image));
        curvatures.add(terms, curvature * curvature);
        size += block.terms() as usize;
    }
    let share = 1.0 / size.max(1) as f64;
    let error = |spread: Spread, square: f64, failure: f64| {
        let (variance, degrees) = spread.variance(size, square);
        sizes::usual_error(variance, degrees, m, n, failure)
    };
    let product = error(products, dot(&total, &total) * share * share, failure);
    // Half the probability: a step goes where its own sample is too flat rather than too curved.
    let curvature = error(curvatures, along * along * share * share, 0.5 * failure);
    HessianError {
        product,
        curvature: curvature.min(product),
    }
}

/// Mean, variance and mean size of differences `f_i(x) - f_i(x + s)`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Differences {
    count: usize,
    sum: f64,
    squares: f64,
    /// Sum of `|f_i(x)|`.
    sizes: f64,
    /// Sum of `f_i(x)`.
    values: f64,
}

impl Differences {
    /// Adds terms, in a fixed order.
    pub(super) fn add(&mut self, here: &[f64], there: &[f64]) {
        // Runs of terms are summed on their own: the rounding of a long sum stays small beside its terms.
        for (here, there) in here.chunks(1024).zip(there.chunks(1024)) {
            let mut run = Self::default();
            for (a, b) in here.iter().zip(there) {
                let difference = a - b;
                run.sum += difference;
                run.squares += difference * difference;
                run.sizes += a.abs();
                run.values += a;
            }
            self.count += here.len();
            self.sum += run.sum;
            self.squares += run.squares;
            self.sizes += run.sizes;
            self.values += run.values;
        }
    }

    fn share(&self, sum: f64) -> f64 {
        sum / self.count.max(1) as f64
    }

    /// The decrease.
    pub(super) fn mean(&self) -> f64 {
        self.share(self.sum)
    }

    /// The mean value at `x`.
    pub(super) fn value(&self) -> f64 {
        self.share(self.values)
    }

    /// The mean size of a value at `x`.
    pub(super) fn magnitude(&self) -> f64 {
        self.share(self.sizes)
    }

    pub(super) fn variance(&self) -> f64 {
        if self.count < 2 {
            return f64::INFINITY;
        }
        let mean = self.mean();
        (self.squares - self.count as f64 * mean * mean).max(0.0) / (self.count - 1) as f64
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_by_hand() {
        let mut found = Differences::default();
        found.add(&[1.0, -2.0], &[0.0, 0.0]);
        found.add(&[4.0], &[1.0]);
        // Differences 1, -2, 3: mean 2/3, squares 14, variance (14 - 4/3) / 2.
        assert!((found.mean() - 2.0 / 3.0).abs() < 1e-15);
        assert!((found.variance() - 19.0 / 3.0).abs() < 1e-14);
        assert!((found.value() - 1.0).abs() < 1e-15);
        assert!((found.magnitude() - 7.0 / 3.0).abs() < 1e-15);
        assert_eq!(found.count(), 3);
    }

    #[test]
    fn spread_from_blocks_and_from_terms_agree_in_expectation() {
        // Four blocks of one term each are the terms themselves.
        let terms = [1.0, 2.0, 4.0, 5.0];
        let squares: f64 = terms.iter().map(|v| v * v).sum();
        let mean = 3.0;
        let from_terms = Spread {
            squares: Some(squares),
            ..Spread::default()
        };
        let from_blocks = Spread {
            squares: None,
            between: squares,
            blocks: 4,
        };
        let (found, degrees) = from_terms.variance(4, mean * mean);
        assert!((found - 10.0 / 3.0).abs() < 1e-14 && degrees == 3);
        let (found, degrees) = from_blocks.variance(4, mean * mean);
        assert!((found - 10.0 / 3.0).abs() < 1e-14 && degrees == 3);
        assert!(Spread::default().variance(1, 0.0).0.is_infinite());
    }
}
