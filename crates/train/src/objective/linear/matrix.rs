//! The matrix of a sample of sparse rows, formed once it has paid: after as many products as it costs.
//!
//! A product takes two steps through memory for every stored entry, the matrix one for every pair of entries of a row;
//! a product with it takes none. Dense rows stream so fast that their matrices cost more products than are asked for.

use super::super::{parts::Parts, rows::each_entry};
use crate::optim::second::Sample;
use refit_io::data::Features;
use refit_kernels::vectorized;
use refit_math::vector::dot;

/// Most columns: a matrix of so many stays in the second-level cache.
const MOST_COLUMNS: usize = 256;
/// Most products that a matrix may cost: more are seldom asked of one sample.
const MOST_PRODUCTS: u64 = 16;

/// Products that forming the matrix costs as much as; `None` where it is not formed.
pub(super) fn cost(features: &Features) -> Option<u32> {
    let Features::Sparse(rows) = features else {
        return None;
    };
    let entries = rows.values().len() as u64;
    if rows.columns() > MOST_COLUMNS || entries == 0 {
        return None;
    }
    let pairs = |ends: &[usize]| ((ends[1] - ends[0]) as u64).pow(2) / 2;
    let pairs: u64 = rows.starts().windows(2).map(pairs).sum();
    let products = pairs.div_ceil(2 * entries);
    (products <= MOST_PRODUCTS).then_some(products as u32)
}

/// Whether a product with the matrix is less work than one with `terms` rows.
pub(super) fn pays(features: &Features, terms: usize) -> bool {
    let entries = features.stored() / features.len().max(1);
    terms.saturating_mul(entries) >= features.columns().pow(2)
}

/// `sum_j c_j a_j a_j^T`, where `a_j` ends in a 1 if there is a bias.
///
/// # Shapes
/// `c [places]`; the result `[dim, dim]`, row-major, both triangles.
pub(super) fn form(features: &Features, sample: Sample<'_>, c: &[f64], bias: bool) -> Vec<f64> {
    let dim = features.columns() + usize::from(bias);
    let mut matrix = vec![0.0; dim * dim];
    let parts = Parts::new(c.len(), matrix.len());
    parts.sum(parts.nothing(), &mut matrix, |places, (), sum| {
        let mut row: Vec<(usize, f64)> = Vec::with_capacity(dim);
        vectorized(
            #[inline(always)]
            || {
                for place in places {
                    row.clear();
                    each_entry(features, sample.term(place), &mut |column, value| {
                        row.push((column, f64::from(value)));
                    });
                    if bias {
                        row.push((dim - 1, 1.0));
                    }
                    // Columns ascend: all pairs lie in the lower triangle.
                    for (at, &(i, value)) in row.iter().enumerate() {
                        let (line, factor) = (&mut sum[i * dim..][..=i], c[place] * value);
                        for &(j, value) in &row[..=at] {
                            line[j] = factor.mul_add(value, line[j]);
                        }
                    }
                }
            },
        );
        0.0
    });
    for i in 0..dim {
        for j in 0..i {
            matrix[j * dim + i] = matrix[i * dim + j];
        }
    }
    matrix
}

/// `out = M v`.
pub(super) fn product(matrix: &[f64], v: &[f64], out: &mut [f64]) {
    let rows = matrix.chunks_exact(v.len().max(1));
    for (out, row) in out.iter_mut().zip(rows) {
        *out = dot(row, v);
    }
}
