//! A seeded problem: normal rows whose columns matter less and less, and labels of a planted logistic model.

use rayon::prelude::*;
use refit_core::Seed;
use refit_io::data::{DenseRows, Features, Table};
use refit_math::vector::{normal, scale};

/// Rows that are drawn from one seed; fixed, so that any number of threads draws the same.
const ROWS_AT_ONCE: usize = 1 << 12;
/// Standard deviation of margins: most labels are clear, a fifth is noise (ours).
const CLEAR: f64 = 3.0;

/// Which rows of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Test,
}

/// A problem: `a_ij ~ N(0, 1 / j)`, divided so that the mean of `|a_i|^2` is 1, and `P(b_i = 1) = sigmoid(a_i^T w)` for
/// a planted `w ~ N(0, CLEAR^2 I)`.
pub(super) struct Planted {
    seed: Seed,
    scales: Vec<f64>,
    w: Vec<f64>,
}

impl Planted {
    pub(super) fn new(columns: usize, seed: Seed) -> Self {
        let seed = seed.fork("rows");
        let squares = || (1..=columns).map(|j| 1.0 / j as f64);
        let total: f64 = squares().sum();
        let scales = squares().map(|square| (square / total).sqrt()).collect();
        let mut w = normal(columns, seed.fork("planted"));
        scale(&mut w, CLEAR);
        Self { seed, scales, w }
    }

    /// Draws `rows` rows.
    pub(super) fn table(&self, part: Part, rows: usize) -> Table {
        let name = match part {
            Part::Train => "train",
            Part::Test => "test",
        };
        let (columns, seed) = (self.scales.len(), self.seed.fork(name));
        let (mut values, mut labels) = (vec![0.0; rows * columns], vec![0.0; rows]);
        values
            .par_chunks_mut(ROWS_AT_ONCE * columns)
            .zip(labels.par_chunks_mut(ROWS_AT_ONCE))
            .enumerate()
            .for_each(|(chunk, (values, labels))| self.fill(seed.fork(chunk), values, labels));
        let rows = DenseRows::new(values, columns).expect("whole rows of finite numbers");
        let name = format!("generated {name} rows");
        Table::new(name, Features::Dense(rows), labels).expect("a label for each row")
    }

    fn fill(&self, seed: Seed, values: &mut [f32], labels: &mut [f32]) {
        let drawn = normal(values.len(), seed.fork("values"));
        // Below a uniform number: by the quantile of the logistic distribution.
        let noise = normal(2 * labels.len(), seed.fork("labels"));
        let rows = values
            .chunks_exact_mut(self.scales.len())
            .zip(drawn.chunks_exact(self.scales.len()));
        for ((row, drawn), (label, noise)) in
            rows.zip(labels.iter_mut().zip(noise.as_chunks::<2>().0))
        {
            let mut margin = 0.0;
            for (j, (value, drawn)) in row.iter_mut().zip(drawn).enumerate() {
                let exact = drawn * self.scales[j];
                margin += exact * self.w[j];
                *value = exact as f32;
            }
            // exp(-(u^2 + v^2) / 2) of two normal values is uniform in (0, 1).
            let uniform = (-0.5 * (noise[0] * noise[0] + noise[1] * noise[1])).exp();
            *label = if uniform < 1.0 / (1.0 + (-margin).exp()) {
                1.0
            } else {
                -1.0
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_length_one_on_average_and_both_labels() {
        let table = Planted::new(7, Seed::new(3)).table(Part::Train, 5000);
        let Features::Dense(rows) = table.features() else {
            panic!("dense rows")
        };
        let square: f64 = rows
            .values()
            .iter()
            .map(|&v| f64::from(v) * f64::from(v))
            .sum();
        // The variance of a squared length is 2 sum_j scale_j^4 < 2 / 7 * 2.6: four standard errors.
        assert!((square / 5000.0 - 1.0).abs() < 4.0 * (0.75f64 / 5000.0).sqrt());
        let counts = table.classes().unwrap().counts();
        assert_eq!(table.classes().unwrap().labels(), [-1.0, 1.0]);
        // Labels are symmetric around the planted plane.
        assert!(counts[0].abs_diff(counts[1]) < 4 * 71, "{counts:?}");
    }

    #[test]
    fn more_rows_begin_with_the_same_ones_and_test_rows_are_others() {
        let of = |part, rows| Planted::new(3, Seed::new(0)).table(part, rows);
        let (few, many) = (
            of(Part::Train, ROWS_AT_ONCE),
            of(Part::Train, 2 * ROWS_AT_ONCE + 5),
        );
        assert_eq!(few.labels(), &many.labels()[..ROWS_AT_ONCE]);
        assert_ne!(few.features(), of(Part::Test, ROWS_AT_ONCE).features());
    }
}
