//! Times passes of objectives beside one plain pass over the same bytes, which no product with a Hessian can beat:
//! `cargo run --release -p refit-train --example time_objectives`. Best of several turns, on all threads.
#![expect(clippy::print_stdout, reason = "a table is what this is for")]

use rayon::prelude::*;
use refit_core::Seed;
use refit_io::data::{DenseRows, Features, SparseRows, Table};
use refit_train::{
    objective::{
        LinearConfig, LinearModel, NetworkConfig, NetworkModel, SoftmaxConfig, SoftmaxModel,
    },
    optim::second::{FiniteSum, Sample},
};
use std::{error::Error, time::Instant};

const TURNS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "{:<30} {:>9} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9}",
        "ms", "pass", "values", "gradient", "product", "x pass", "of 5 %", "matrix"
    );
    for (name, features) in [
        ("dense 1000000 x 100", dense(1_000_000, 100)?),
        ("sparse 32561 x 123, 14 ones", sparse(32_561, 123, 14)?),
        ("sparse 2000000 x 10000, 14", sparse(2_000_000, 10_000, 14)?),
    ] {
        let pass = plain_pass(&features);
        let labels = |classes| (0..features.len()).map(|i| (i % classes) as f32).collect();
        let of = |classes| Table::new(name, features.clone(), labels(classes));
        let linear = LinearModel::new(of(2)?, LinearConfig::default())?;
        row(name, pass, &linear);
        if features.len() < 100_000 {
            let softmax = SoftmaxModel::new(of(10)?, SoftmaxConfig::default())?;
            row("  softmax, 10 classes", pass, &softmax);
            let network = NetworkModel::new(of(2)?, NetworkConfig::default())?;
            row("  16 hidden units", pass, &network);
        }
    }
    Ok(())
}

/// Values spread over (-1/2, 1/2).
fn dense(rows: usize, columns: usize) -> Result<Features, Box<dyn Error>> {
    let value = |i: usize| (hash(i) >> 40) as f32 / (1 << 24) as f32 - 0.5;
    let values = (0..rows * columns).into_par_iter().map(value).collect();
    Ok(Features::Dense(DenseRows::new(values, columns)?))
}

/// Rows of ones, one in each of as many ranges of columns, as categories are.
fn sparse(rows: usize, width: usize, ones: usize) -> Result<Features, Box<dyn Error>> {
    let column = |i: usize| {
        let (group, size) = (i % ones, width / ones);
        (group * size) as u32 + (hash(i) >> 33) as u32 % size as u32
    };
    let columns: Vec<u32> = (0..rows * ones).into_par_iter().map(column).collect();
    let starts = (0..=rows).map(|row| row * ones).collect();
    let values = vec![1.0; columns.len()];
    let rows = SparseRows::new(starts, columns, values, width)?;
    Ok(Features::Sparse(rows))
}

fn hash(i: usize) -> u64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Seconds to read as many bytes once and add them up.
fn plain_pass(features: &Features) -> f64 {
    let words = vec![1u64; features.size_bytes() as usize / 8];
    let add = |words: &[u64]| words.iter().fold(0u64, |sum, word| sum.wrapping_add(*word));
    let mut sum = 0;
    let seconds = best(|| sum += words.par_chunks(1 << 15).map(add).sum::<u64>());
    assert_eq!(sum, (TURNS * words.len()) as u64, "all of it was read");
    seconds
}

fn row<O: FiniteSum<State: Clone>>(name: &str, pass: f64, objective: &O) {
    let (terms, dim) = (objective.terms(), objective.dim());
    let x: Vec<f64> = (0..dim).map(|i| 0.1 * (i as f64).sin()).collect();
    let (mut all, mut out) = (vec![0.0; terms], vec![0.0; dim]);
    let values = best(|| objective.values(&x, Sample::All, &mut all));
    let gradient = best(|| {
        objective.gradient(&x, Sample::All, &mut all, &mut out);
    });
    let state = objective.hessian(&x, Sample::All);
    let product = best(|| objective.product(&state, &x, &mut out));
    // Nothing where an objective forms none.
    let matrix = best(|| objective.prepare(&mut state.clone(), u32::MAX));
    let picked = Seed::new(0).sample(terms, terms / 20);
    let picked: Vec<u32> = picked.into_iter().map(|term| term as u32).collect();
    let state = objective.hessian(&x, Sample::Terms(&picked));
    let sampled = best(|| objective.product(&state, &x, &mut out));
    let [pass, values, gradient, product, sampled, matrix] =
        [pass, values, gradient, product, sampled, matrix].map(|seconds| 1e3 * seconds);
    println!(
        "{name:<30} {pass:9.3} {values:9.3} {gradient:9.3} {product:9.3} {:7.2} {sampled:9.3} {matrix:9.3}",
        product / pass
    );
}

fn best(mut work: impl FnMut()) -> f64 {
    let mut turn = || {
        let started = Instant::now();
        work();
        started.elapsed().as_secs_f64()
    };
    (0..TURNS).map(|_| turn()).fold(f64::INFINITY, f64::min)
}
