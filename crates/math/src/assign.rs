//! Linear assignment: which column for each row, so that the sum of costs is least.
//! Source: Jonker and Volgenant 1987 (shortest augmenting paths), in the form of Crouse 2016.
//!
//! Written here because the kept crates bring an array library of their own or want integer costs.

use crate::{error::MathError, matrix::Matrix};

/// A column for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// The column of each row; no column twice.
    pub columns: Vec<usize>,
    /// The sum of the costs.
    pub cost: f64,
}

/// Gives each row a column of its own, so that the sum of costs is least.
///
/// # Shapes
/// `costs [m, n]`, `m <= n` -> `m` columns. Negative costs are fine; for the largest sum negate them.
///
/// # Errors
/// [`MathError::TooManyRows`], [`MathError::NotFinite`].
///
/// # Cost
/// `O(m^2 n)` at worst.
///
/// # Example
/// ```
/// use refit_math::{Matrix, assign};
/// let costs = Matrix::from_rows([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]]);
/// let best = assign(&costs)?;
/// assert_eq!((best.columns, best.cost), (vec![1, 0, 2], 5.0));
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn assign(costs: &Matrix) -> Result<Assignment, MathError> {
    let (rows, cols) = costs.shape();
    if rows > cols {
        return Err(MathError::TooManyRows { rows, cols });
    }
    costs.check_finite()?;
    let mut search = Search::new(rows, cols);
    for row in 0..rows {
        search.place(costs, row);
    }
    let columns: Vec<usize> = search.col_of.into_iter().flatten().collect();
    let pairs = columns.iter().enumerate();
    let cost = pairs.fold(0.0, |sum, (row, &col)| sum + costs.row(row)[col]);
    Ok(Assignment { columns, cost })
}

/// The assignment so far, with the prices that prove it the cheapest.
struct Search {
    row_of: Vec<Option<usize>>,
    col_of: Vec<Option<usize>>,
    row_price: Vec<f64>,
    col_price: Vec<f64>,
    /// Length of the shortest path to each column.
    length: Vec<f64>,
    /// The row from which that path comes.
    from: Vec<usize>,
    /// Columns whose shortest path is not final yet.
    open: Vec<usize>,
    /// The others, without the last.
    closed: Vec<usize>,
}

impl Search {
    fn new(rows: usize, cols: usize) -> Self {
        Self {
            row_of: vec![None; cols],
            col_of: vec![None; rows],
            row_price: vec![0.0; rows],
            col_price: vec![0.0; cols],
            length: vec![0.0; cols],
            from: vec![0; cols],
            open: Vec::with_capacity(cols),
            closed: Vec::with_capacity(cols),
        }
    }

    /// Adds row `new` along the shortest augmenting path; some column is free.
    fn place(&mut self, costs: &Matrix, new: usize) {
        let (mut end, shortest) = self.shortest_path(costs, new);
        self.row_price[new] += shortest;
        for &col in &self.closed {
            let saved = shortest - self.length[col];
            self.col_price[col] -= saved;
            if let Some(row) = self.row_of[col] {
                self.row_price[row] += saved;
            }
        }
        loop {
            let row = self.from[end];
            self.row_of[end] = Some(row);
            match self.col_of[row].replace(end) {
                Some(before) => end = before,
                None => break, // only `new` had no column
            }
        }
    }

    /// The free column nearest to row `new`, and how far it is.
    fn shortest_path(&mut self, costs: &Matrix, new: usize) -> (usize, f64) {
        self.length.fill(f64::INFINITY);
        self.closed.clear();
        self.open.clear();
        self.open.extend(0..self.row_of.len());
        let (mut row, mut shortest) = (new, 0.0);
        loop {
            let (mut best, mut least) = (0, f64::INFINITY);
            let (prices, start) = (costs.row(row), shortest - self.row_price[row]);
            for (at, &col) in self.open.iter().enumerate() {
                let length = start + prices[col] - self.col_price[col];
                if length < self.length[col] {
                    (self.length[col], self.from[col]) = (length, row);
                }
                let length = self.length[col];
                // A free column ends the search, so it wins a draw.
                if length < least || (length <= least && self.row_of[col].is_none()) {
                    (best, least) = (at, length);
                }
            }
            let col = self.open.swap_remove(best);
            shortest = least;
            match self.row_of[col] {
                Some(next) => row = next,
                None => return (col, shortest),
            }
            self.closed.push(col);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::svd::tests::uniform;
    use proptest::prelude::*;

    /// The least sum over all ways to go on from row `row`.
    fn brute_force(costs: &Matrix, row: usize, taken: &mut Vec<bool>) -> f64 {
        if row == costs.rows() {
            return 0.0;
        }
        let mut least = f64::INFINITY;
        for col in 0..costs.cols() {
            if !taken[col] {
                taken[col] = true;
                least = least.min(costs.row(row)[col] + brute_force(costs, row + 1, taken));
                taken[col] = false;
            }
        }
        least
    }

    #[test]
    fn a_hidden_permutation_is_found() {
        let n = 200;
        let order = refit_core::Seed::new(5).sample(n, n);
        let noise = uniform::<f64>(6, n, n);
        let costs = Matrix::from_fn(n, n, |i, j| {
            noise.row(i)[j] - 3.0 * f64::from(u8::from(order[i] == j))
        });
        assert_eq!(assign(&costs).unwrap().columns, order);
    }

    #[test]
    fn more_rows_than_columns_and_nan_are_refused() {
        let error = assign(&Matrix::zeros(3, 2)).unwrap_err();
        assert_eq!(error, MathError::TooManyRows { rows: 3, cols: 2 });
        assert!(assign(&Matrix::from_rows([[f64::NAN]])).is_err());
        assert_eq!(assign(&Matrix::zeros(0, 4)).unwrap().columns.len(), 0);
    }

    proptest! {
        #[test]
        fn no_other_assignment_is_cheaper(
            seed in any::<u64>(), m in 0usize..6, more in 0usize..3, levels in 1u32..50,
        ) {
            let n = m + more;
            let mut costs = uniform::<f64>(seed, m, n);
            // Few levels make draws common.
            for cost in costs.values_mut() {
                *cost = (*cost * f64::from(levels)).round();
            }
            let found = assign(&costs).unwrap();
            let mut taken = vec![false; n];
            for &col in &found.columns {
                prop_assert!(!std::mem::replace(&mut taken[col], true));
            }
            // Whole numbers add without rounding.
            let least = brute_force(&costs, 0, &mut vec![false; n]);
            prop_assert!((found.cost - least).abs() < 0.5);
        }
    }
}
