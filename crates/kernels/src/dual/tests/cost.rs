//! What a pass costs whose values carry no tangent.

use super::*;
use crate::dual;
use refit_testkit::{normal, with_threads};
use std::time::Instant;

const WIDTH: usize = 128;

/// Norm, projection, attention, activation: plain functions.
fn plain(x: Tensor<3>, weight: Tensor<2>, scale: Tensor<1>) -> Tensor<3> {
    let h = crate::layer_norm(x.clone(), scale.clone(), scale, 1e-5);
    let h = crate::linear(h, weight, None);
    let mixed = crate::attention(h.clone(), h.clone(), h, 4, 4, crate::AttentionMask::Causal);
    x + crate::gelu(mixed)
}

/// The same over duals.
fn dual(x: Dual<3>, weight: Dual<2>, scale: Dual<1>) -> Dual<3> {
    let h = dual::layer_norm(x.clone(), scale.clone(), scale, 1e-5);
    let h = dual::linear(h, weight, None);
    let mixed = dual::attention(h.clone(), h.clone(), h, 4, 4, crate::AttentionMask::Causal);
    x + dual::gelu(mixed)
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

/// The shortest times of plain and dual passes in seconds; the shortest is the least disturbed.
fn shortest(rounds: usize) -> (f64, f64) {
    let (x, weight, scale) = (
        normal(1, [32, 32, WIDTH]),
        normal(2, [WIDTH, WIDTH]),
        normal(3, [WIDTH]),
    );
    let plain = || seconds(|| plain(x.clone(), weight.clone(), scale.clone()));
    let dual = || {
        seconds(|| {
            dual(
                x.clone().into(),
                weight.clone().into(),
                scale.clone().into(),
            )
        })
    };
    (0..rounds).fold((f64::INFINITY, f64::INFINITY), |best, round| {
        // By turns and in either order, so that the machine is the same for both.
        let (p, d) = if round % 2 == 0 {
            let first = plain();
            (first, dual())
        } else {
            let first = dual();
            (plain(), first)
        };
        (best.0.min(p), best.1.min(d))
    })
}

#[test]
#[ignore = "a timing: `cargo test -p refit-kernels --lib -- --ignored --nocapture without_tangents`"]
fn a_pass_without_tangents_costs_what_the_plain_one_does() {
    let (plain, dual) = with_threads(1, || shortest(1000));
    let ratio = dual / plain;
    println!(
        "plain {:.1} us, dual {:.1} us, ratio {ratio:.4}",
        plain * 1e6,
        dual * 1e6
    );
    assert!(ratio < 1.01, "{ratio}");
}
