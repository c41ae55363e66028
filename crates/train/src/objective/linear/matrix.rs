//! The matrix of a sample of sparse rows, formed once it has paid: after as many products as it costs.
//!
//! A product takes two steps through memory for every stored entry, the matrix one for every pair of entries of a row;
//! a product with it takes none. Dense rows stream so fast that their matrices cost more products than are asked for.

use super::super::parts::Parts;
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

/// `sum_j c_j a_j a_j^T`, where `a_j` ends in a 1 if there is a bias; `None` of dense rows.
///
/// # Shapes
/// `c [places]`; the result `[dim, dim]`, row-major, both triangles.
pub(super) fn form(
    features: &Features,
    sample: Sample<'_>,
    c: &[f64],
    bias: bool,
) -> Option<Vec<f64>> {
    let Features::Sparse(rows) = features else {
        return None;
    };
    let dim = rows.columns() + usize::from(bias);
    let mut triangle = vec![0.0; line(dim)];
    let parts = Parts::few(c.len());
    parts.sum(parts.nothing(), &mut triangle, |places, (), sum| {
        vectorized(
            #[inline(always)]
            || {
                for place in places {
                    let (row, c) = (rows.row(sample.term(place)), c[place]);
                    add_pairs(row.columns, row.values, c, sum);
                    if bias {
                        let last = &mut sum[line(dim - 1)..];
                        add_scaled(row.columns, row.values, c, last);
                        last[dim - 1] += c;
                    }
                }
            },
        );
        0.0
    });
    let mut matrix = vec![0.0; dim * dim];
    for i in 0..dim {
        for (j, &sum) in triangle[line(i)..line(i + 1)].iter().enumerate() {
            matrix[i * dim + j] = sum;
            matrix[j * dim + i] = sum;
        }
    }
    Some(matrix)
}

/// Where line `i` of a lower triangle begins.
const fn line(i: usize) -> usize {
    i * (i + 1) / 2
}

/// Adds `c a a^T` to a lower triangle. Columns ascend, so that all pairs lie in it.
#[inline(always)]
fn add_pairs(columns: &[u32], values: &[f32], c: f64, triangle: &mut [f64]) {
    for (at, (&i, &value)) in columns.iter().zip(values).enumerate() {
        let (start, factor) = (line(i as usize), c * f64::from(value));
        let line = &mut triangle[start..=start + i as usize];
        add_scaled(&columns[..=at], &values[..=at], factor, line);
    }
}

#[inline(always)]
fn add_scaled(columns: &[u32], values: &[f32], factor: f64, line: &mut [f64]) {
    for (&j, &value) in columns.iter().zip(values) {
        let sum = &mut line[j as usize];
        *sum = factor.mul_add(f64::from(value), *sum);
    }
}

/// `out = M v`.
pub(super) fn product(matrix: &[f64], v: &[f64], out: &mut [f64]) {
    let rows = matrix.chunks_exact(v.len().max(1));
    for (out, row) in out.iter_mut().zip(rows) {
        *out = dot(row, v);
    }
}
