//! Merges that are linear combinations, with factors that depend on lengths and angles alone.
//!
//! Lengths and angles of `K` vectors are in their `K (K + 1) / 2` inner products, the Gram matrix. One survey finds it
//! in double precision; whatever is iterative happens in `K` dimensions, however large the tensor is.

use crate::{
    error::MergeError,
    layout::BLOCK,
    simd::{self, LANES, Lanes},
    stream::{Block, Span, StreamRule, Tally},
};
use std::{fmt::Debug, ops::Range};

/// Inner products of some vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gram<'a> {
    count: usize,
    products: &'a [f64],
}

impl Gram<'_> {
    /// The inner product of vectors `i` and `j`.
    pub(crate) fn at(self, i: usize, j: usize) -> f64 {
        let (i, j) = (i.min(j), i.max(j));
        self.products[i * (2 * self.count - i + 1) / 2 + j - i]
    }

    /// The length of vector `i`.
    pub(crate) fn norm(self, i: usize) -> f64 {
        self.at(i, i).sqrt()
    }

    /// Number of vectors.
    pub(crate) fn count(self) -> usize {
        self.count
    }
}

/// Number of inner products of `count` vectors.
fn pairs(count: usize) -> usize {
    count * (count + 1) / 2
}

/// A linear combination whose factors follow from lengths and angles.
pub(crate) trait Blend: Send + Sync + Debug + 'static {
    /// Writes the factor of each vector.
    ///
    /// # Errors
    /// When there is no result for such vectors.
    fn factors(&self, gram: Gram<'_>, factors: &mut [f64]) -> Result<(), MergeError>;
}

/// What is combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vectors {
    /// The models as they are.
    Models,
    /// The base first, then the models.
    BaseAndModels,
    /// The models seen from the base, to which the combination is added.
    Changes,
}

/// What counts as one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole tensor.
    Tensor,
    /// Values along the last axis.
    Rows,
    /// Values along the first axis.
    Columns,
}

/// The rule that a [`Blend`] makes.
#[derive(Debug)]
pub(crate) struct Blended<B> {
    blend: B,
    vectors: Vectors,
    scope: Scope,
    shape: Vec<usize>,
    /// Number of vectors.
    count: usize,
    /// Factors by vector, then by column; one column unless the scope has more.
    factors: Vec<f64>,
}

impl<B: Blend> Blended<B> {
    /// A rule for a tensor of `shape` and so many models.
    pub(crate) fn boxed(
        blend: B,
        vectors: Vectors,
        scope: Scope,
        shape: &[usize],
        models: usize,
    ) -> Box<dyn StreamRule> {
        let count = models + usize::from(vectors == Vectors::BaseAndModels);
        let scope = match scope {
            Scope::Columns if shape.len() < 2 => Scope::Tensor,
            scope => scope,
        };
        let shape = shape.to_vec();
        Box::new(Self {
            blend,
            vectors,
            scope,
            shape,
            count,
            factors: vec![],
        })
    }

    fn columns(&self) -> usize {
        match self.scope {
            Scope::Columns => self.shape[1..].iter().product::<usize>().max(1),
            Scope::Tensor | Scope::Rows => 1,
        }
    }

    /// Calls `then` with the vectors of each stretch of `range`, a range inside the block.
    fn each_stretch(
        &self,
        block: &Block<'_>,
        range: Range<usize>,
        mut then: impl FnMut(Range<usize>, &[&[f32]]),
    ) {
        let mut changes = vec![[0.0; BLOCK]; if self.origin(block) { self.count } else { 0 }];
        let base = block.base.unwrap_or_default();
        for start in range.clone().step_by(BLOCK) {
            let stretch = start..(start + BLOCK).min(range.end);
            let models = block.models.iter().map(|model| &model[stretch.clone()]);
            let views: Vec<&[f32]> = match self.vectors {
                Vectors::BaseAndModels => {
                    [&base[stretch.clone()]].into_iter().chain(models).collect()
                }
                Vectors::Changes if self.origin(block) => {
                    for (change, model) in changes.iter_mut().zip(models) {
                        simd::subtract(&mut change[..stretch.len()], model, &base[stretch.clone()]);
                    }
                    changes
                        .iter()
                        .map(|change| &change[..stretch.len()])
                        .collect()
                }
                Vectors::Models | Vectors::Changes => models.collect(),
            };
            then(stretch, &views);
        }
    }

    /// Whether vectors are differences from the base.
    fn origin(&self, block: &Block<'_>) -> bool {
        self.vectors == Vectors::Changes && block.base.is_some()
    }

    fn products(&self, block: &Block<'_>, range: Range<usize>) -> Vec<f64> {
        let mut lanes: Vec<Lanes> = vec![[0.0; LANES]; pairs(self.count)];
        self.each_stretch(block, range, |_, views| {
            let mut lanes = lanes.iter_mut();
            for (i, a) in views.iter().enumerate() {
                for (b, lanes) in views[i..].iter().zip(&mut lanes) {
                    simd::dot(lanes, a, b);
                }
            }
        });
        lanes.into_iter().map(simd::total).collect()
    }

    /// Products of every column that the block touches: those of its first `min(len, columns)` values, pair by pair.
    fn column_products(&self, block: &Block<'_>) -> Vec<f64> {
        let width = block.len().min(self.columns());
        let mut products = vec![0.0; pairs(self.count) * width];
        self.each_stretch(block, 0..block.len(), |stretch, views| {
            let mut sums = products.chunks_mut(width);
            for (i, a) in views.iter().enumerate() {
                for (b, sums) in views[i..].iter().zip(&mut sums) {
                    for (at, run) in runs(stretch.clone(), width) {
                        let (a, b) = (&a[run.clone()], &b[run.clone()]);
                        add_products(&mut sums[at..at + run.len()], a, b);
                    }
                }
            }
        });
        products
    }

    /// `sums_i += sum_k factors_k vectors_ki` over a stretch.
    fn add(&self, sums: &mut [f64], views: &[&[f32]], factors: &[f64], from: usize) {
        let columns = self.columns();
        for (view, factors) in views.iter().zip(factors.chunks(columns)) {
            if columns == 1 {
                simd::add_scaled(sums, factors[0], view);
                continue;
            }
            for (at, run) in runs(from..from + sums.len(), columns) {
                let factors = &factors[at..at + run.len()];
                add_scaled_each(&mut sums[run.clone()], factors, &view[run]);
            }
        }
    }

    /// Writes the combination over `range` of the block.
    fn combine(&self, block: &Block<'_>, range: Range<usize>, factors: &[f64], out: &mut [f32]) {
        let mut sums = [0.0; BLOCK];
        self.each_stretch(block, range, |stretch, views| {
            let (sums, out) = (&mut sums[..stretch.len()], &mut out[stretch.clone()]);
            sums.fill(0.0);
            self.add(sums, views, factors, block.start + stretch.start);
            match block.base.filter(|_| self.origin(block)) {
                Some(base) => simd::store_sum(out, &base[stretch], sums),
                None => simd::narrow(out, sums),
            }
        });
    }
}

/// Cuts a stretch of positions where columns begin anew: the first column of each run, and where it stands in the
/// stretch.
fn runs(stretch: Range<usize>, columns: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut next = stretch.start;
    std::iter::from_fn(move || {
        let (from, column) = (next, next % columns);
        next = (from + columns - column).min(stretch.end);
        (from < next).then(|| (column, from - stretch.start..next - stretch.start))
    })
}

impl<B: Blend> StreamRule for Blended<B> {
    fn span(&self) -> Span {
        match self.scope {
            Scope::Rows => Span::Rows,
            Scope::Tensor | Scope::Columns => Span::Any,
        }
    }

    fn surveys(&self) -> usize {
        usize::from(self.scope != Scope::Rows)
    }

    fn survey(&self, _: usize, block: &Block<'_>, tally: &mut Tally) {
        let products = match self.scope {
            Scope::Columns => self.column_products(block),
            Scope::Tensor | Scope::Rows => self.products(block, 0..block.len()),
        };
        tally.add(block.number, products);
    }

    fn learn(&mut self, _: usize, tally: Tally) -> Result<(), MergeError> {
        if self.shape.contains(&0) {
            return Ok(());
        }
        let (count, columns) = (self.count, self.columns());
        let mut totals = vec![0.0; pairs(count) * columns];
        let block_len = self.span().block_len(&self.shape);
        for (block, products) in tally.by_block().into_iter().enumerate() {
            let width = products.len() / pairs(count).max(1);
            for (totals, products) in totals
                .chunks_mut(columns)
                .zip(products.chunks(width.max(1)))
            {
                for (at, product) in products.iter().enumerate() {
                    totals[(block * block_len + at) % columns] += product;
                }
            }
        }
        self.factors = vec![0.0; count * columns];
        let (mut products, mut factors) = (vec![0.0; pairs(count)], vec![0.0; count]);
        for column in 0..columns {
            for (product, totals) in products.iter_mut().zip(totals.chunks(columns)) {
                *product = totals[column];
            }
            let gram = Gram {
                count,
                products: &products,
            };
            self.blend.factors(gram, &mut factors)?;
            for (all, factor) in self.factors.chunks_mut(columns).zip(&factors) {
                all[column] = *factor;
            }
        }
        Ok(())
    }

    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        if self.scope != Scope::Rows {
            self.combine(block, 0..out.len(), &self.factors, out);
            return Ok(());
        }
        let len = match self.shape.len() {
            0 | 1 => out.len(),
            axes => self.shape[axes - 1],
        };
        let mut factors = vec![0.0; self.count];
        for start in (0..out.len()).step_by(len.max(1)) {
            let products = self.products(block, start..start + len);
            let gram = Gram {
                count: self.count,
                products: &products,
            };
            self.blend.factors(gram, &mut factors)?;
            self.combine(block, start..start + len, &factors, out);
        }
        Ok(())
    }
}

simd::kernel! {
    /// `sum_i += a_i b_i`.
    fn add_products(sum: &'a mut [f64], a: &'a [f32], b: &'a [f32]) {
        for ((sum, &a), &b) in sum.iter_mut().zip(a).zip(b) {
            *sum += f64::from(a) * f64::from(b);
        }
    }
}

simd::kernel! {
    /// `sum_i += factors_i b_i`.
    fn add_scaled_each(sum: &'a mut [f64], factors: &'a [f64], b: &'a [f32]) {
        for ((sum, &factor), &b) in sum.iter_mut().zip(factors).zip(b) {
            *sum += factor * f64::from(b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layout::UNIT, stream::merge_values};

    /// Scales the first vector to length 1 and leaves out the others.
    #[derive(Debug)]
    struct Unit;

    impl Blend for Unit {
        fn factors(&self, gram: Gram<'_>, factors: &mut [f64]) -> Result<(), MergeError> {
            factors.fill(0.0);
            factors[0] = 1.0 / gram.norm(0);
            Ok(())
        }
    }

    fn unit(scope: Scope, shape: &[usize], base: Option<&[f32]>, models: &[&[f32]]) -> Vec<f32> {
        let rule = Blended::boxed(Unit, Vectors::Changes, scope, shape, models.len());
        merge_values(rule, shape, base, models).unwrap()
    }

    #[test]
    fn a_gram_matrix_is_read_from_both_sides() {
        let products = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // (0,0) (0,1) (0,2) (1,1) (1,2) (2,2)
        let gram = Gram {
            count: 3,
            products: &products,
        };
        let row = |i| [0, 1, 2].map(|j| gram.at(i, j));
        assert_eq!(
            [row(0), row(1), row(2)],
            [[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]]
        );
    }

    #[test]
    fn scopes_are_tensor_rows_and_columns() {
        let model: &[f32] = &[3.0, 0.0, 4.0, 0.0, 2.0, 0.0]; // [[3, 0], [4, 0], [2, 0]], transposed below
        assert_eq!(unit(Scope::Tensor, &[2], None, &[&[3.0, 4.0]]), [0.6, 0.8]);
        assert_eq!(
            unit(Scope::Rows, &[2, 1], None, &[&[3.0, -4.0]]),
            [1.0, -1.0]
        );
        let columns = unit(Scope::Columns, &[2, 3], None, &[model]);
        assert_eq!(columns[..3], [1.0, 0.0, 1.0]); // columns (3, 0), (0, 2), (4, 0)
        let base: &[f32] = &[1.0, 1.0];
        assert_eq!(
            unit(Scope::Tensor, &[2], Some(base), &[&[4.0, 5.0]]),
            [1.6, 1.8]
        );
    }

    #[test]
    fn columns_that_are_cut_into_blocks_are_whole() {
        // more columns than a block holds, and columns that wrap inside a block
        for columns in [UNIT + 7, 1000] {
            let rows = 2 * UNIT / columns + 1;
            let model: Vec<f32> = (0..rows * columns)
                .map(|i| ((i * 37) % 101) as f32 - 50.0)
                .collect();
            let found = unit(Scope::Columns, &[rows, columns], None, &[&model]);
            for column in [0, 1, 499, columns - 1] {
                let of = |all: &[f32]| -> Vec<f64> {
                    all.iter()
                        .skip(column)
                        .step_by(columns)
                        .map(|&v| f64::from(v))
                        .collect()
                };
                let norm = of(&model).iter().map(|v| v * v).sum::<f64>().sqrt();
                for (found, value) in of(&found).iter().zip(of(&model)) {
                    assert!(
                        norm < 1e-9 || (found - value / norm).abs() < 1e-7,
                        "{columns} {column}"
                    );
                }
            }
        }
    }
}
