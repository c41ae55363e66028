use super::{AttentionMask, Spans, attention};
use crate::testing::{
    battery, flat, host, nan_reaches, normal, same_for_any_thread_count, shaped, tensors,
};
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use refit_testkit::close_in_norm;
use std::ops::Range;

/// `[batch, queries, keys, heads, kv_heads, columns per head]`.
type Size = [usize; 6];

#[derive(Clone, Copy, Debug)]
enum Kind {
    None,
    Causal,
    Padding,
    Additive,
    /// One mask for every batch entry and head.
    Shared,
    Spans,
    /// Spans that all batch entries share, and scores for distances.
    Distances,
}

const KINDS: [Kind; 7] = [
    Kind::None,
    Kind::Causal,
    Kind::Padding,
    Kind::Additive,
    Kind::Shared,
    Kind::Spans,
    Kind::Distances,
];

fn inputs([b, n, m, h, g, d]: Size, kind: Kind) -> Vec<Vec<f64>> {
    let mut inputs = vec![
        normal(1, b * n * h * d),
        normal(2, b * m * g * d),
        normal(3, b * m * g * d),
    ];
    match kind {
        Kind::Additive => inputs.push(normal(4, b * h * n * m)),
        Kind::Shared => inputs.push(normal(4, n * m)),
        Kind::Distances => inputs.push(normal(4, h * (n + m).saturating_sub(1))),
        _ => {}
    }
    inputs
}

/// Whether a padding mask hides key `j` of batch entry `b`.
fn hidden(b: usize, j: usize) -> bool {
    (b + j) % 3 == 1
}

/// The keys that query `i` of batch entry `b` sees: some, none, or all up to the last.
fn span(b: usize, i: usize) -> Range<usize> {
    (b + i / 2) % 4..[2, 0, 5, 9][i % 4] * (i + 1)
}

fn op([b, n, m, h, g, d]: Size, kind: Kind) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
    move |x| {
        let mask = match kind {
            Kind::None => AttentionMask::None,
            Kind::Causal => AttentionMask::Causal,
            Kind::Padding => {
                let values = (0..b * m).map(|i| hidden(i / m, i % m)).collect();
                let data = TensorData::new::<bool, _>(values, [b, m]);
                AttentionMask::Padding(Tensor::<2, Bool>::from_data(data, &x[0].device()))
            }
            Kind::Additive => AttentionMask::Additive(shaped(&x[3], [b, h, n, m])),
            Kind::Shared => AttentionMask::Additive(shaped(&x[3], [1, 1, n, m])),
            Kind::Spans => AttentionMask::Spans(Spans::new([b, n, m], span)),
            Kind::Distances => {
                let scores = shaped(&x[3], [h, (n + m).saturating_sub(1)]);
                AttentionMask::Distances(scores, Spans::new([1, n, m], span))
            }
        };
        let q = shaped(&x[0], [b, n, h * d]);
        let [k, v] = [1, 2].map(|i| shaped(&x[i], [b, m, g * d]));
        flat(attention(q, k, v, h, g, mask))
    }
}

/// The definition, in `f64`.
fn naive([b, n, m, h, g, d]: Size, kind: Kind, x: &[Vec<f64>]) -> Vec<f64> {
    let mut y = vec![0.0; b * n * h * d];
    for (b, i, head) in
        (0..b).flat_map(|b| (0..n).flat_map(move |i| (0..h).map(move |k| (b, i, k))))
    {
        let kv = |t: usize, j: usize, c: usize| x[t][(b * m + j) * g * d + head / (h / g) * d + c];
        let score = |j: usize| {
            let q = |c: usize| x[0][(b * n + i) * h * d + head * d + c];
            let s = (0..d).map(|c| q(c) * kv(1, j, c)).sum::<f64>() / (d as f64).sqrt();
            match kind {
                Kind::Causal if j + n > m + i => f64::NEG_INFINITY,
                Kind::Padding if hidden(b, j) => f64::NEG_INFINITY,
                Kind::Spans if !span(b, i).contains(&j) => f64::NEG_INFINITY,
                Kind::Distances if !span(0, i).contains(&j) => f64::NEG_INFINITY,
                Kind::None | Kind::Causal | Kind::Padding | Kind::Spans => s,
                Kind::Additive => s + x[3][((b * h + head) * n + i) * m + j],
                Kind::Shared => s + x[3][i * m + j],
                Kind::Distances => s + x[3][head * (n + m - 1) + j + n - 1 - i],
            }
        };
        let powers: Vec<f64> = (0..m).map(|j| score(j).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for c in 0..d {
            let mean = (0..m).map(|j| powers[j] * kv(2, j, c)).sum::<f64>() / sum;
            y[(b * n + i) * h * d + head * d + c] = if sum > 0.0 { mean } else { 0.0 };
        }
    }
    y
}

/// Grouped heads, one key, more and fewer keys than queries, several tiles, nothing at all.
const SIZES: [Size; 8] = [
    [1, 1, 1, 1, 1, 1],
    [2, 3, 5, 4, 2, 3],
    [1, 5, 3, 3, 1, 2],
    [2, 7, 7, 2, 2, 5],
    [1, 2, 1, 2, 1, 4],
    [0, 3, 3, 2, 2, 4],
    [2, 0, 3, 2, 2, 4],
    [1, 67, 13, 1, 1, 1],
];

#[test]
fn values_agree_with_the_definition() {
    for size in SIZES
        .into_iter()
        .chain([[2, 3, 0, 2, 2, 4], [1, 131, 129, 2, 1, 8]])
    {
        for kind in KINDS {
            let x = inputs(size, kind);
            let found = host(&op(size, kind)(&tensors(&x, DType::F32, &Device::flex())));
            close_in_norm(found, naive(size, kind, &x), 1e-6, 1e-7)
                .unwrap_or_else(|e| panic!("{size:?} {kind:?}: {e}"));
        }
    }
}

#[test]
fn gradients_agree_with_f64() {
    for size in SIZES {
        for kind in KINDS {
            battery(op(size, kind), &inputs(size, kind), 3e-6);
        }
    }
}

#[test]
fn slices_of_a_joint_projection_are_read_in_place() {
    let op = |x: &[Tensor<1>]| {
        let joint = shaped(&x[0], [2, 5, 3 * 6]);
        let [q, k, v] = [0, 6, 12].map(|at| joint.clone().narrow(2, at, 6));
        flat(attention(q, k, v, 3, 3, AttentionMask::Causal))
    };
    battery(op, &[normal(1, 180)], 3e-6);
}

#[test]
fn views_are_read_in_their_own_order() {
    let op = |x: &[Tensor<1>]| {
        let q = shaped(&x[0], [6, 5, 2]).swap_dims(0, 2);
        let k = shaped(&x[1], [5, 2, 6]).swap_dims(0, 1);
        flat(attention(q, k.clone(), k, 2, 2, AttentionMask::None))
    };
    battery(op, &[normal(1, 60), normal(2, 60)], 3e-6);
}

#[test]
fn a_query_that_sees_nothing_gives_zeros_and_no_gradient() {
    let device = Device::flex().autodiff();
    let x = refit_testkit::normal(1, [1, 4, 6])
        .autodiff()
        .require_grad();
    let nothing = Tensor::<2, Bool>::from_data([[true; 4]], &device);
    let mask = AttentionMask::Padding(nothing);
    let y = attention(x.clone(), x.clone(), x.clone(), 2, 2, mask);
    let grads = y.clone().sum().backward();
    let gradient = x.grad(&grads).unwrap();
    for t in [y.inner(), gradient] {
        assert!(
            t.into_data()
                .try_to_vec::<f32>()
                .unwrap()
                .iter()
                .all(|&v| v.to_bits() == 0)
        );
    }
}

#[test]
fn nan_passes_and_threads_change_nothing() {
    let size = [2, 3, 5, 4, 2, 3];
    for kind in KINDS {
        nan_reaches(op(size, kind), &inputs(size, kind), 0, 2);
    }
    let size = [3, 70, 90, 4, 2, 8];
    for kind in [Kind::None, Kind::Causal, Kind::Shared, Kind::Distances] {
        same_for_any_thread_count(op(size, kind), &inputs(size, kind));
    }
}

#[test]
#[should_panic(expected = "Reshape")]
fn shapes_that_do_not_fit_panic_as_burn_does() {
    let x = refit_testkit::normal(1, [1, 4, 6]);
    let k = refit_testkit::normal(2, [1, 4, 5]);
    let _ = attention(x, k.clone(), k, 2, 2, AttentionMask::None);
}
