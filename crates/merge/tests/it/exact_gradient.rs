//! The gradient of the coefficients by projection is exact: against forward-mode differentiation of the whole
//! chain `lambda -> theta -> logits -> entropy`, and against finite differences, in double precision.

use crate::{
    dual::Dual,
    support::{TinyModel, tasks},
};
use proptest::prelude::*;
use refit_merge::{Group, Grouping, TaskVectors};

const TENSORS: usize = 2; // `unused` has no gradient

/// The loss of `model` with coefficients `lambda[group][expert]`, written out without any of the crate's kernels.
fn loss(
    model: &TinyModel,
    tasks: &TaskVectors<'_>,
    groups: &[Group],
    lambda: &[Vec<Dual>],
) -> Dual {
    let group_of = |t: usize| groups.iter().position(|g| g.tensors.contains(&t)).unwrap();
    let theta: Vec<Vec<Dual>> = (0..TENSORS)
        .map(|t| {
            let mut theta: Vec<Dual> = tasks
                .base()
                .tensor(t)
                .iter()
                .map(|&v| f64::from(v).into())
                .collect();
            for k in 0..tasks.len() {
                for (theta, tau) in theta.iter_mut().zip(tasks.task(k, t)) {
                    *theta = *theta + lambda[group_of(t)][k] * f64::from(tau).into();
                }
            }
            theta
        })
        .collect();
    let mean = |(head, images): (&Vec<f64>, &Vec<f64>)| -> Dual {
        let images: Vec<&[f64]> = images.chunks(model.inputs).collect();
        let n = Dual::from(images.len() as f64);
        images
            .iter()
            .map(|x| entropy(model, head, x, &theta[0], &theta[1]))
            .sum::<Dual>()
            / n
    };
    model.heads.iter().zip(&model.images).map(mean).sum()
}

fn entropy(model: &TinyModel, head: &[f64], x: &[f64], b: &[Dual], w: &[Dual]) -> Dual {
    let feature = |i: usize| {
        let row = &w[i * model.inputs..];
        (b[i] + row.iter().zip(x).map(|(&w, &x)| w * x.into()).sum()).tanh()
    };
    let z: Vec<Dual> = (0..model.width).map(feature).collect();
    let logit = |row: &[f64]| {
        row.iter()
            .zip(&z)
            .map(|(&h, &z)| z * h.into())
            .sum::<Dual>()
    };
    let logits: Vec<Dual> = head.chunks(model.width).map(logit).collect();
    let log_sum = logits.iter().map(|z| z.exp()).sum::<Dual>().ln();
    -logits
        .iter()
        .map(|&z| (z - log_sum).exp() * (z - log_sum))
        .sum::<Dual>()
}

/// The gradient as the crate computes it: the model's gradient in double precision, projected.
fn projected(
    model: &TinyModel,
    tasks: &TaskVectors<'_>,
    groups: &[Group],
    lambda: &[Vec<f64>],
) -> Vec<Vec<f64>> {
    let group_of = |t: usize| groups.iter().position(|g| g.tensors.contains(&t)).unwrap();
    let theta = |t: usize| {
        let mut theta: Vec<f64> = tasks
            .base()
            .tensor(t)
            .iter()
            .map(|&v| f64::from(v))
            .collect();
        for k in 0..tasks.len() {
            let taus = tasks.task(k, t);
            theta.iter_mut().zip(taus).for_each(|(v, tau)| {
                *v += lambda[group_of(t)][k] * f64::from(tau);
            });
        }
        theta
    };
    let (_, db, dw) = model.run(&theta(0), &theta(1));
    tasks.project(groups, &[&db, &dw, &[0.0; 3]]).unwrap()
}

fn with_tangent(lambda: &[Vec<f64>], direction: (usize, usize)) -> Vec<Vec<Dual>> {
    let entry = |g: usize, k: usize, v: f64| Dual(v, f64::from(u8::from((g, k) == direction)));
    let row = |(g, row): (usize, &Vec<f64>)| {
        row.iter()
            .enumerate()
            .map(|(k, &v)| entry(g, k, v))
            .collect()
    };
    lambda.iter().enumerate().map(row).collect()
}

/// Central differences with one step of Richardson's extrapolation: error of fourth order in the step.
fn difference(at: impl Fn(f64) -> f64) -> f64 {
    let central = |h: f64| (at(h) - at(-h)) / (2.0 * h);
    (4.0 * central(5e-4) - central(1e-3)) / 3.0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn projection_agrees_with_forward_mode_and_with_differences(
        seed in 0u64..1000,
        experts in 1usize..5,
        wise in prop::sample::select(vec![Grouping::Task, Grouping::Tensor, Grouping::Module]),
        start in -0.2f64..0.8,
    ) {
        let (base, sets) = TinyModel::weights(seed, experts);
        let (model, tasks) = (TinyModel::new(seed, 3), tasks(&base, &sets));
        let groups = wise.groups(tasks.layout()).unwrap();
        let row = |g: usize| (0..experts).map(|k| start + 0.07 * (g + 2 * k) as f64).collect();
        let lambda: Vec<Vec<f64>> = (0..groups.len()).map(row).collect();
        let ours = projected(&model, &tasks, &groups, &lambda);
        let size = ours.iter().flatten().fold(0.0f64, |m, g| m.max(g.abs()));
        for g in 0..groups.len() {
            for k in 0..experts {
                let Dual(_, exact) = loss(&model, &tasks, &groups, &with_tangent(&lambda, (g, k)));
                prop_assert!((ours[g][k] - exact).abs() <= 1e-12 * size, "{} {exact}", ours[g][k]);
                let moved = |h: f64| {
                    let mut moved = with_tangent(&lambda, (usize::MAX, 0));
                    moved[g][k].0 += h;
                    loss(&model, &tasks, &groups, &moved).0
                };
                let difference = difference(moved);
                prop_assert!((ours[g][k] - difference).abs() <= 1e-9 * size.max(1.0));
            }
        }
    }
}
