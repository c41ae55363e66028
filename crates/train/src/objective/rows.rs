//! Passes over rows of features: products with vectors, and sums of rows.
//!
//! Features are in single, all sums in double precision. A product of one row is a fixed tree of sixteen partial sums, so
//! that it has the same bits whatever rows stand beside it.

use crate::optim::second::Sample;
use refit_io::data::Features;
use refit_kernels::{prefetch, vectorized};
use std::ops::Range;

/// Partial sums of a product: two registers of AVX-512, four of AVX2.
const LANES: usize = 16;
/// Rows that are added side by side, so that each sum is loaded and stored once for all.
const ABREAST: usize = 4;
/// Rows that are asked for before they are needed.
const AHEAD: usize = 16;
/// Tables up to this size are taken to lie in the last cache.
const CACHED_BYTES: u64 = 1 << 24;
/// Bytes of the rows of a block, which a second loop finds in the first-level cache.
const BLOCK_BYTES: usize = 1 << 13;
/// Most rows of a block.
pub(super) const MOST_ROWS: usize = 256;

/// Rows per block: as many as stay in the cache.
pub(super) fn rows_per_block(features: &Features) -> usize {
    let bytes = features.size_bytes() as usize / features.len().max(1);
    let rows = BLOCK_BYTES / bytes.max(1) / ABREAST * ABREAST;
    rows.clamp(ABREAST, MOST_ROWS)
}

/// The blocks of `places`.
pub(super) fn blocks(
    features: &Features,
    places: Range<usize>,
) -> impl Iterator<Item = Range<usize>> {
    let size = rows_per_block(features);
    let end = places.end;
    places
        .step_by(size)
        .map(move |start| start..(start + size).min(end))
}

/// The term whose row is asked for ahead of time: one of a list, whose rows lie anywhere, or of a table that no cache
/// holds. Other rows come by themselves.
#[inline(always)]
fn ahead(features: &Features, sample: Sample<'_>, place: usize) -> Option<usize> {
    match sample {
        Sample::All => {
            let far = matches!(features, Features::Dense(rows) if rows.size_bytes() > CACHED_BYTES);
            (far && place < features.len()).then_some(place)
        }
        Sample::Terms(terms) | Sample::Weighted { terms, .. } => {
            terms.get(place).map(|&term| term as usize)
        }
    }
}

/// `products_j = a_j^T v`, for the rows at `places` of a sample.
///
/// # Shapes
/// `v [columns]`, `products [places]`.
pub(super) fn products(
    features: &Features,
    sample: Sample<'_>,
    places: Range<usize>,
    v: &[f64],
    products: &mut [f64],
) {
    vectorized(
        #[inline(always)]
        || match features {
            Features::Dense(rows) => {
                let mut at = places.start;
                let (pairs, last) = products.as_chunks_mut::<2>();
                for pair in pairs {
                    for place in at..at + 2 {
                        if let Some(term) = ahead(features, sample, place + AHEAD) {
                            prefetch(rows.row(term));
                        }
                    }
                    let (one, two) = (rows.row(sample.term(at)), rows.row(sample.term(at + 1)));
                    *pair = dense_products(one, two, v);
                    at += 2;
                }
                if let [last] = last {
                    let row = rows.row(sample.term(at));
                    [*last, _] = dense_products(row, row, v);
                }
            }
            Features::Sparse(rows) => {
                for (place, product) in places.zip(products) {
                    if let Some(term) = ahead(features, sample, place + 2 * AHEAD) {
                        prefetch(&rows.starts()[term..=term]);
                    }
                    if let Some(term) = ahead(features, sample, place + AHEAD) {
                        let row = rows.row(term);
                        prefetch(row.columns);
                        prefetch(row.values);
                    }
                    let row = rows.row(sample.term(place));
                    let mut sums = [0.0; 2];
                    let (pairs, rest) = row.columns.as_chunks::<2>();
                    let (values, last) = row.values.as_chunks::<2>();
                    for (columns, values) in pairs.iter().zip(values) {
                        for i in 0..2 {
                            sums[i] = f64::from(values[i]).mul_add(v[columns[i] as usize], sums[i]);
                        }
                    }
                    for (&column, &value) in rest.iter().zip(last) {
                        sums[0] = f64::from(value).mul_add(v[column as usize], sums[0]);
                    }
                    *product = sums[0] + sums[1];
                }
            }
        },
    );
}

/// Two rows at a time, so that each value of `v` is loaded once for both.
#[inline(always)]
fn dense_products(one: &[f32], two: &[f32], v: &[f64]) -> [f64; 2] {
    let (one, one_rest) = one.as_chunks::<LANES>();
    let (two, two_rest) = two.as_chunks::<LANES>();
    let (v, v_rest) = v.as_chunks::<LANES>();
    let (mut one_sums, mut two_sums) = ([0.0; LANES], [0.0; LANES]);
    for ((one, two), v) in one.iter().zip(two).zip(v) {
        for lane in 0..LANES {
            one_sums[lane] = f64::from(one[lane]).mul_add(v[lane], one_sums[lane]);
        }
        for lane in 0..LANES {
            two_sums[lane] = f64::from(two[lane]).mul_add(v[lane], two_sums[lane]);
        }
    }
    [
        total(one_sums, one_rest, v_rest),
        total(two_sums, two_rest, v_rest),
    ]
}

/// The sum of all lanes and of the products of what is left of a row.
#[inline(always)]
fn total(mut sums: [f64; LANES], row: &[f32], v: &[f64]) -> f64 {
    // Apart: a register that is written in part and read whole is waited for.
    let ((fours, row_rest), (v_fours, v_rest)) = (row.as_chunks::<4>(), v.as_chunks::<4>());
    let mut four = [0.0; 4];
    for (row, v) in fours.iter().zip(v_fours) {
        for lane in 0..4 {
            four[lane] = f64::from(row[lane]).mul_add(v[lane], four[lane]);
        }
    }
    let mut last = 0.0;
    for (&a, &v) in row_rest.iter().zip(v_rest) {
        last = f64::from(a).mul_add(v, last);
    }
    for width in [8, 4] {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    for (four, sum) in four.iter_mut().zip(sums) {
        *four += sum;
    }
    ((four[0] + four[2]) + (four[1] + four[3])) + last
}

/// `out += sum_j c_j a_j`, for the rows at `places` of a sample.
///
/// # Shapes
/// `c [places]`, `out [columns]`.
pub(super) fn add_rows(
    features: &Features,
    sample: Sample<'_>,
    places: Range<usize>,
    c: &[f64],
    out: &mut [f64],
) {
    vectorized(
        #[inline(always)]
        || match features {
            Features::Dense(rows) => {
                let mut at = places.start;
                let (fours, rest) = c.as_chunks::<ABREAST>();
                for four in fours {
                    add_four(
                        std::array::from_fn(|i| rows.row(sample.term(at + i))),
                        *four,
                        out,
                    );
                    at += ABREAST;
                }
                for &c in rest {
                    add_one(rows.row(sample.term(at)), c, out);
                    at += 1;
                }
            }
            Features::Sparse(rows) => {
                for (place, &c) in places.zip(c) {
                    let row = rows.row(sample.term(place));
                    for (&column, &value) in row.columns.iter().zip(row.values) {
                        let out = &mut out[column as usize];
                        *out = f64::from(value).mul_add(c, *out);
                    }
                }
            }
        },
    );
}

#[inline(always)]
fn add_four(rows: [&[f32]; ABREAST], c: [f64; ABREAST], out: &mut [f64]) {
    let [first, second, third, fourth] = rows;
    let rows = first.iter().zip(second).zip(third).zip(fourth);
    for (out, (((&first, &second), &third), &fourth)) in out.iter_mut().zip(rows) {
        let sum = f64::from(first).mul_add(c[0], *out);
        let sum = f64::from(second).mul_add(c[1], sum);
        let sum = f64::from(third).mul_add(c[2], sum);
        *out = f64::from(fourth).mul_add(c[3], sum);
    }
}

#[inline(always)]
fn add_one(row: &[f32], c: f64, out: &mut [f64]) {
    for (out, &a) in out.iter_mut().zip(row) {
        *out = f64::from(a).mul_add(c, *out);
    }
}

/// `products_jk = sum_c a_jc w_ck`: each row times a matrix.
///
/// # Shapes
/// `w [columns, k]` row by row, `products [places, k]`.
pub(super) fn matrix_products(
    features: &Features,
    sample: Sample<'_>,
    places: Range<usize>,
    w: &[f64],
    k: usize,
    products: &mut [f64],
) {
    products.fill(0.0);
    vectorized(
        #[inline(always)]
        || {
            for (place, product) in places.zip(products.chunks_exact_mut(k)) {
                let mut add = |column: usize, value: f32| {
                    add_scaled(product, f64::from(value), &w[column * k..][..k]);
                };
                each_entry(features, sample.term(place), &mut add);
            }
        },
    );
}

/// `out_ck += sum_j a_jc d_jk`: each row times a row of `d`, added up.
///
/// # Shapes
/// `d [places, k]`, `out [columns, k]`.
pub(super) fn add_outer(
    features: &Features,
    sample: Sample<'_>,
    places: Range<usize>,
    d: &[f64],
    k: usize,
    out: &mut [f64],
) {
    vectorized(
        #[inline(always)]
        || {
            for (place, d) in places.zip(d.chunks_exact(k)) {
                let mut add = |column: usize, value: f32| {
                    add_scaled(&mut out[column * k..][..k], f64::from(value), d);
                };
                each_entry(features, sample.term(place), &mut add);
            }
        },
    );
}

/// Calls `f(column, value)` for every stored entry of a row, columns ascending.
#[inline(always)]
pub(super) fn each_entry(features: &Features, row: usize, f: &mut impl FnMut(usize, f32)) {
    match features {
        Features::Dense(rows) => {
            for (column, &value) in rows.row(row).iter().enumerate() {
                f(column, value);
            }
        }
        Features::Sparse(rows) => {
            let row = rows.row(row);
            for (&column, &value) in row.columns.iter().zip(row.values) {
                f(column as usize, value);
            }
        }
    }
}

/// `sum += factor values`, for loops that are [`vectorized`].
#[inline(always)]
pub(super) fn add_scaled(sum: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, &value) in sum.iter_mut().zip(values) {
        *sum = factor.mul_add(value, *sum);
    }
}

/// `|a_j|^2` of every row.
pub(super) fn square_norms(features: &Features) -> Vec<f64> {
    use rayon::prelude::*;
    let of_row = |row: usize| {
        let mut sum = 0.0;
        each_entry(features, row, &mut |_, value| {
            sum += f64::from(value) * f64::from(value);
        });
        sum
    };
    (0..features.len()).into_par_iter().map(of_row).collect()
}

#[cfg(test)]
pub(super) mod tests;
