use super::*;
use refit_io::data::{DenseRows, SparseRows};
use refit_testkit::{close, normal_vec};

/// The same rows dense and sparse: a third of the values is 0.
pub(crate) fn both(rows: usize, columns: usize, seed: u64) -> [Features; 2] {
    let values: Vec<f32> = normal_vec(seed, rows * columns)
        .into_iter()
        .map(|v| if v.abs() < 0.43 { 0.0 } else { v as f32 })
        .collect();
    let (mut starts, mut entries) = (vec![0], Vec::new());
    for row in values.chunks_exact(columns) {
        let stored = row.iter().enumerate().filter(|(_, v)| **v != 0.0);
        entries.extend(stored.map(|(column, &value)| (column as u32, value)));
        starts.push(entries.len());
    }
    let (at, stored) = entries.into_iter().unzip();
    [
        Features::Dense(DenseRows::new(values, columns).unwrap()),
        Features::Sparse(SparseRows::new(starts, at, stored, columns).unwrap()),
    ]
}

fn entry(features: &Features, row: usize, column: usize) -> f64 {
    let mut found = 0.0;
    each_entry(features, row, &mut |at, value| {
        if at == column {
            found = f64::from(value);
        }
    });
    found
}

#[test]
fn passes_agree_with_plain_loops_at_every_width() {
    for columns in [1, 7, 8, 9, 16, 31] {
        let terms = [3, 0, 5, 5, 1, 4, 2];
        let v = normal_vec(1, columns * 3);
        for features in both(6, columns, 2) {
            let sample = Sample::Terms(&terms);
            let (mut found, mut sum) = (vec![0.0; 7], vec![1.0; columns]);
            products(&features, sample, 0..7, &v[..columns], &mut found);
            add_rows(&features, sample, 0..7, &v[..7.min(v.len())], &mut sum);
            let (mut many, mut outer) = (vec![9.0; 14], vec![1.0; columns * 2]);
            matrix_products(&features, sample, 0..7, &v[..columns * 2], 2, &mut many);
            add_outer(&features, sample, 0..7, &found.repeat(2), 2, &mut outer);
            for (j, &term) in terms.iter().enumerate() {
                let a = |c: usize| entry(&features, term as usize, c);
                let expected =
                    |of: &dyn Fn(usize) -> f64| (0..columns).map(|c| a(c) * of(c)).sum::<f64>();
                // Some ten products of numbers of order one.
                close(found[j], expected(&|c| v[c]), 1e-14, 1e-14).unwrap();
                close(many[2 * j + 1], expected(&|c| v[2 * c + 1]), 1e-14, 1e-14).unwrap();
            }
            let count = 7.min(v.len());
            for c in 0..columns {
                let a = |j: usize| entry(&features, terms[j] as usize, c);
                let expected: f64 = 1.0 + (0..count).map(|j| a(j) * v[j]).sum::<f64>();
                if count == 7 {
                    close(sum[c], expected, 1e-14, 1e-14).unwrap();
                }
                let d = found.repeat(2);
                let expected: f64 = 1.0 + (0..7).map(|j| a(j) * d[2 * j]).sum::<f64>();
                close(outer[2 * c], expected, 1e-14, 1e-13).unwrap();
            }
        }
    }
}

#[test]
fn a_product_does_not_depend_on_the_rows_beside_it() {
    for features in both(9, 13, 3) {
        let v = normal_vec(4, 13);
        let mut all = vec![0.0; 9];
        products(&features, Sample::All, 0..9, &v, &mut all);
        for (row, expected) in all.iter().enumerate() {
            let mut one = [0.0];
            products(&features, Sample::Terms(&[row as u32]), 0..1, &v, &mut one);
            assert_eq!(one[0].to_bits(), expected.to_bits());
        }
    }
}
