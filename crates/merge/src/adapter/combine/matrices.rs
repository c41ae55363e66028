//! Changes as matrices: their sum side by side, cut to a rank, and TIES in one output space.
//! Sources: Stoica et al. 2024, arXiv:2410.19735 (`KnOTS`); `cat` and `svd` as PEFT names them.

use super::{
    config::KnotsSettings,
    entries::{elected_mean, keep_largest},
    parts::Outward,
};
use crate::{
    adapter::extract::balanced,
    subspace::{Factors, Knots},
};
use refit_core::LowRank;
use refit_math::{MathError, Matrix, Svd, qr, svd};

/// `[B_1 .. B_K] [w_1 s_1 A_1; ..; w_K s_K A_K]`: the sum of changes, to the rounding of the scaled factors.
pub(super) fn cat(parts: &[Outward<'_>]) -> LowRank {
    let (rows, cols) = (parts[0].factors.rows(), parts[0].factors.cols());
    let rank = parts.iter().map(|part| part.factors.rank()).sum();
    let mut left = Vec::with_capacity(rows * rank);
    for row in 0..rows {
        for part in parts {
            let rank = part.factors.rank();
            left.extend_from_slice(&part.factors.left()[row * rank..(row + 1) * rank]);
        }
    }
    let right = parts.iter().flat_map(|part| {
        let factor = part.factor();
        let scaled = move |&v: &f32| (factor * f64::from(v)) as f32;
        part.factors.right().iter().map(scaled)
    });
    let right = right.collect();
    let all = LowRank::new([rows, cols], rank, left, right, 1.0);
    all.expect("invariant: adapters of one tensor have one shape")
}

/// The sum of changes, cut to its `most` largest singular components.
///
/// With `R` the sum of ranks: `O((out + in) R^2 + R^3)`; the changes themselves are never formed.
pub(super) fn cut_sum(parts: &[Outward<'_>], most: usize) -> Result<LowRank, MathError> {
    let (ups, downs) = (
        parts.iter().map(|part| up(part).map(|up| up.transposed())),
        parts.iter().map(|part| {
            let mut down = down(part)?;
            let factor = part.factor();
            down.values_mut().iter_mut().for_each(|v| *v *= factor);
            Ok(down)
        }),
    );
    let ups = Matrix::stacked(ups.collect::<Result<Vec<_>, _>>()?)?;
    let downs = Matrix::stacked(downs.collect::<Result<Vec<_>, MathError>>()?)?;
    cut_product(&ups.transposed(), &downs, most)
}

/// TIES on the blocks of all adapters in one output space.
pub(super) fn knots(parts: &[Outward<'_>], settings: &KnotsSettings) -> Result<LowRank, MathError> {
    let adapters = parts.iter().map(|part| {
        Ok(Factors {
            up: up(part)?,
            down: down(part)?,
            scale: part.factors.scale(),
        })
    });
    let knots = Knots::new(&adapters.collect::<Result<Vec<_>, MathError>>()?)?;
    let blocks = knots.blocks.iter().map(|block| {
        let mut block: Vec<f32> = block.values().iter().map(|&v| v as f32).collect();
        keep_largest(&mut block, settings.density);
        block
    });
    let blocks: Vec<Vec<f32>> = blocks.collect();
    let views: Vec<&[f32]> = blocks.iter().map(Vec::as_slice).collect();
    let weights: Vec<f64> = parts.iter().map(|part| part.weight).collect();
    let merged = elected_mean(&views, &weights, settings.majority_sign_method);
    let merged = Matrix::from_slice(knots.values.len(), parts[0].factors.cols(), &merged)?;
    let merged = knots.factors(merged)?;
    let most = settings.rank.unwrap_or(usize::MAX);
    cut_product(&merged.up, &merged.down, most)
}

/// `up down`, cut to its `most` largest singular components.
fn cut_product(up: &Matrix, down: &Matrix, most: usize) -> Result<LowRank, MathError> {
    let (outer, inner) = (qr(up)?, qr(&down.transposed())?);
    let parts = svd(&outer.upper.times_transposed(&inner.upper)?)?;
    let rank = parts.rank().min(most);
    let parts = parts.head(rank);
    let whole = Svd {
        left: parts.left.times(&outer.basis)?,
        right: parts.right.times(&inner.basis)?,
        values: parts.values,
    };
    Ok(balanced(whole, rank))
}

fn up(part: &Outward<'_>) -> Result<Matrix, MathError> {
    let factors = &part.factors;
    Matrix::from_slice(factors.rows(), factors.rank(), factors.left())
}

fn down(part: &Outward<'_>) -> Result<Matrix, MathError> {
    let factors = &part.factors;
    Matrix::from_slice(factors.rank(), factors.cols(), factors.right())
}
