//! Against a naive `f64` loop, finite differences and Burn's own operator.

use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;
use refit_testkit::{
    close, close_in_norm, differences, norm, normal, normal_vec, tensor, with_threads,
};

use super::conv2d;

/// Sizes of a case; the kernel fits the padded image.
#[derive(Clone, Copy, Debug)]
struct Case {
    x: [usize; 4],
    /// Output channels and kernel.
    weight: [usize; 3],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Case {
    const fn new(
        x: [usize; 4],
        weight: [usize; 3],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Self {
        Self {
            x,
            weight,
            stride,
            padding,
        }
    }

    fn weight(&self) -> [usize; 4] {
        let [out, rows, cols] = self.weight;
        [out, self.x[1], rows, cols]
    }

    fn output(&self) -> [usize; 4] {
        let side = |i: usize| {
            (self.x[2 + i] + 2 * self.padding[i] - self.weight[1 + i]) / self.stride[i] + 1
        };
        [self.x[0], self.weight[0], side(0), side(1)]
    }
}

fn len(shape: [usize; 4]) -> usize {
    shape.iter().product()
}

/// Calls `f(output, input, weight)` with the flat index of every product of the definition.
fn for_each_product(case: &Case, mut f: impl FnMut(usize, usize, usize)) {
    let ([_, channels, height, width], [_, _, rows, cols]) = (case.x, case.weight());
    let [batch, out, out_h, out_w] = case.output();
    let source = |i: usize, k: usize, axis: usize, side: usize| {
        (i * case.stride[axis] + k)
            .checked_sub(case.padding[axis])
            .filter(|&at| at < side)
    };
    for y in 0..batch * out * out_h * out_w {
        let (j, i) = (y % out_w, y / out_w % out_h);
        let (o, b) = (y / (out_w * out_h) % out, y / (out_w * out_h * out));
        for tap in 0..channels * rows * cols {
            let (c, u, v) = (tap / (rows * cols), tap / cols % rows, tap % cols);
            if let (Some(h), Some(w)) = (source(i, u, 0, height), source(j, v, 1, width)) {
                f(
                    y,
                    ((b * channels + c) * height + h) * width + w,
                    o * channels * rows * cols + tap,
                );
            }
        }
    }
}

/// Values and gradients of `sum(y dy)`.
#[derive(Clone, Debug)]
struct Passes {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
    db: Vec<f64>,
}

fn naive(case: &Case, x: &[f64], w: &[f64], b: &[f64], dy: &[f64]) -> Passes {
    let (plane, out) = (case.output()[2] * case.output()[3], case.output()[1]);
    let channel = |y: usize| y / plane % out;
    let mut db = vec![0.0; out];
    dy.iter()
        .enumerate()
        .for_each(|(y, dy)| db[channel(y)] += dy);
    let y = (0..dy.len()).map(|y| b[channel(y)]).collect();
    let mut passes = Passes {
        y,
        dx: vec![0.0; x.len()],
        dw: vec![0.0; w.len()],
        db,
    };
    for_each_product(case, |iy, ix, iw| {
        passes.y[iy] += x[ix] * w[iw];
        passes.dx[ix] += dy[iy] * w[iw];
        passes.dw[iw] += dy[iy] * x[ix];
    });
    passes
}

fn host<const D: usize>(t: Tensor<D>) -> Vec<f64> {
    t.try_into_vec_as().unwrap()
}

fn leaf<const D: usize>(values: &[f64], shape: [usize; D], dtype: DType) -> Tensor<D> {
    tensor(values.to_vec(), shape, dtype, &Device::flex().autodiff()).require_grad()
}

/// The operator under test, through the graph.
fn fused(case: &Case, x: &[f64], w: &[f64], b: &[f64], dy: &[f64], dtype: DType) -> Passes {
    let (tx, tw) = (leaf(x, case.x, dtype), leaf(w, case.weight(), dtype));
    let tb = leaf(b, [b.len()], dtype);
    let y = conv2d(
        tx.clone(),
        tw.clone(),
        Some(tb.clone()),
        case.stride,
        case.padding,
    );
    assert_eq!((y.dims(), y.dtype()), (case.output(), dtype));
    let dy = tensor(
        dy.to_vec(),
        case.output(),
        dtype,
        &Device::flex().autodiff(),
    );
    let grads = (y.clone() * dy).sum().backward();
    Passes {
        y: host(y),
        dx: host(tx.grad(&grads).unwrap()),
        dw: host(tw.grad(&grads).unwrap()),
        db: host(tb.grad(&grads).unwrap()),
    }
}

/// Inputs that are exact in `f32`, so that both sides start from the same numbers.
fn inputs(case: &Case, seed: u64) -> [Vec<f64>; 4] {
    let sizes = [
        len(case.x),
        len(case.weight()),
        case.weight[0],
        len(case.output()),
    ];
    let mut salt = 0;
    sizes.map(|n| {
        salt += 1;
        normal_vec(4 * seed + salt, n)
            .into_iter()
            .map(|v| f64::from(v as f32))
            .collect()
    })
}

fn check(case: &Case, seed: u64) -> Result<(), refit_testkit::Mismatch> {
    let [x, w, b, dy] = inputs(case, seed);
    let found = fused(case, &x, &w, &b, &dy, DType::F32);
    let expected = naive(case, &x, &w, &b, &dy);
    // Rounding is relative to the sum of the absolute values of the terms.
    let [x, w, b, dy] = [x, w, b, dy].map(|v| v.into_iter().map(f64::abs).collect::<Vec<_>>());
    let terms = naive(case, &x, &w, &b, &dy);
    close_in_norm(found.y, expected.y, 0.0, 5e-7 * norm(&terms.y))?;
    close_in_norm(found.dx, expected.dx, 0.0, 5e-7 * norm(&terms.dx))?;
    close_in_norm(found.dw, expected.dw, 0.0, 5e-7 * norm(&terms.dw))?;
    close_in_norm(found.db, expected.db, 0.0, 5e-7 * norm(&terms.db))
}

const ODD: [Case; 18] = [
    Case::new([1, 1, 1, 1], [1, 1, 1], [1, 1], [0, 0]),
    Case::new([2, 3, 1, 1], [5, 3, 3], [1, 1], [1, 1]), // kernel larger than the image
    Case::new([1, 2, 2, 3], [3, 7, 7], [1, 1], [3, 3]),
    Case::new([2, 7, 11, 13], [17, 3, 3], [1, 1], [0, 0]), // primes
    Case::new([3, 5, 9, 7], [4, 3, 3], [1, 1], [1, 1]),
    Case::new([2, 4, 11, 13], [17, 3, 5], [2, 3], [1, 2]),
    Case::new([2, 3, 8, 8], [4, 1, 1], [2, 2], [0, 0]), // some inputs are never read
    Case::new([2, 3, 8, 9], [40, 1, 1], [1, 1], [0, 0]),
    Case::new([3, 5, 4, 4], [6, 2, 2], [3, 3], [2, 1]),
    Case::new([2, 2, 10, 6], [9, 5, 5], [1, 2], [2, 0]),
    Case::new([1, 3, 16, 15], [8, 7, 7], [2, 2], [3, 3]),
    Case::new([2, 9, 20, 21], [32, 3, 3], [2, 2], [0, 0]),
    Case::new([70, 3, 4, 4], [8, 3, 3], [1, 1], [1, 1]), // many images in a strip
    Case::new([1, 2, 60, 70], [3, 3, 3], [1, 1], [1, 1]), // many strips in an image
    Case::new([1, 33, 6, 6], [33, 3, 3], [1, 1], [1, 1]),
    Case::new([2, 1, 5, 40], [1, 1, 9], [1, 1], [0, 4]),
    Case::new([2, 2, 5, 5], [3, 2, 3], [1, 1], [4, 5]), // padding beyond the kernel
    Case::new([2, 2, 9, 9], [3, 2, 2], [4, 3], [0, 0]), // stride beyond the kernel
];

#[test]
fn odd_shapes_agree_with_the_definition() {
    for (i, case) in ODD.iter().enumerate() {
        check(case, i as u64).unwrap_or_else(|miss| panic!("{case:?}: {miss}"));
    }
}

#[test]
fn a_hand_case() {
    // [1 2; 3 4] with kernel [1 10] and padding 1 in the rows' direction only.
    let device = Device::flex();
    let x = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &device);
    let w = Tensor::<4>::from_floats([[[[1.0, 10.0]]]], &device);
    let y = conv2d(
        x,
        w,
        Some(Tensor::from_floats([0.5], &device)),
        [1, 1],
        [0, 1],
    );
    let expected = [10.5, 21.5, 2.5, 30.5, 43.5, 4.5];
    y.into_data().assert_eq(
        &TensorData::new(expected.to_vec(), [1, 1, 2, 3]).convert::<f32>(),
        true,
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn any_shape_agrees_with_the_definition(
        seed in 0u64..1000,
        (batch, channels, out) in (1usize..5, 1usize..8, 1usize..20),
        side in prop::array::uniform2(1usize..14),
        kernel in prop::array::uniform2(1usize..6),
        stride in prop::array::uniform2(1usize..4),
        padding in prop::array::uniform2(0usize..4),
    ) {
        let kernel = [0, 1].map(|i| kernel[i].min(side[i] + 2 * padding[i]));
        let x = [batch, channels, side[0], side[1]];
        check(&Case::new(x, [out, kernel[0], kernel[1]], stride, padding), seed)?;
    }
}

#[test]
fn an_empty_batch_gives_empty_results() {
    let case = Case::new([0, 3, 5, 5], [4, 3, 3], [1, 1], [1, 1]);
    let [x, w, b, dy] = inputs(&case, 1);
    let found = fused(&case, &x, &w, &b, &dy, DType::F32);
    assert_eq!((found.y.len(), found.dx.len()), (0, 0));
    assert!(found.dw.iter().chain(&found.db).all(|&v| v == 0.0));
    assert_eq!((found.dw.len(), found.db.len()), (4 * 3 * 9, 4));
}

#[test]
fn double_precision_takes_burns_operators_and_agrees_with_finite_differences() {
    let case = Case::new([2, 3, 6, 5], [4, 3, 2], [2, 1], [1, 1]);
    let [x, w, b, dy] = inputs(&case, 5);
    let found = fused(&case, &x, &w, &b, &dy, DType::F64);
    let loss = |x: &[f64], w: &[f64], b: &[f64]| {
        let y = naive(&case, x, w, b, &dy).y;
        y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>()
    };
    let expected = naive(&case, &x, &w, &b, &dy);
    close(found.y, expected.y, 1e-12, 1e-12).unwrap();
    close(
        found.dx,
        differences::gradient(|x| loss(x, &w, &b), &x),
        1e-9,
        1e-9,
    )
    .unwrap();
    close(
        found.dw,
        differences::gradient(|w| loss(&x, w, &b), &w),
        1e-9,
        1e-9,
    )
    .unwrap();
    close(
        found.db,
        differences::gradient(|b| loss(&x, &w, b), &b),
        1e-9,
        1e-9,
    )
    .unwrap();
    // The same derivatives from the single-precision kernels.
    let single = fused(&case, &x, &w, &b, &dy, DType::F32);
    close_in_norm(single.dx, expected.dx, 1e-6, 0.0).unwrap();
    close_in_norm(single.dw, expected.dw, 1e-6, 0.0).unwrap();
}

#[test]
fn a_nan_reaches_exactly_the_results_that_read_it() {
    let nans = |v: &[f64]| v.iter().map(|v| v.is_nan()).collect::<Vec<_>>();
    for case in ODD.iter().filter(|case| len(case.x) > 1) {
        let [x, w, b, dy] = inputs(case, 2);
        let found = fused(case, &poison(&x), &w, &b, &dy, DType::F32);
        let expected = naive(case, &poison(&x), &w, &b, &dy);
        assert_eq!(nans(&found.y), nans(&expected.y), "{case:?}");
        assert_eq!(nans(&found.dw), nans(&expected.dw), "{case:?}");
        assert_eq!(
            (nans(&found.dx), nans(&found.db)),
            (nans(&expected.dx), nans(&expected.db))
        );
        let found = fused(case, &x, &w, &b, &poison(&dy), DType::F32);
        let expected = naive(case, &x, &w, &b, &poison(&dy));
        assert_eq!(nans(&found.dx), nans(&expected.dx), "{case:?}");
        assert_eq!(nans(&found.db), nans(&expected.db), "{case:?}");
        // Padding is a zero that takes part, and zero times NaN is NaN: more, but never less.
        let mut dw = found.dw.iter().zip(&expected.dw);
        assert!(
            dw.all(|(found, expected)| found.is_nan() || !expected.is_nan()),
            "{case:?}"
        );
    }
}

#[test]
fn a_nan_in_a_weight_reaches_its_channels() {
    let case = Case::new([2, 3, 6, 6], [5, 3, 3], [1, 1], [1, 1]);
    let [x, w, b, dy] = inputs(&case, 2);
    let found = fused(&case, &x, &poison(&w), &b, &dy, DType::F32); // output 2, input 1
    let nans = |v: &[f64]| {
        v.chunks(36)
            .map(|plane| plane.iter().all(|v| v.is_nan()))
            .collect::<Vec<_>>()
    };
    assert_eq!(nans(&found.y), [false, false, true, false, false].repeat(2));
    assert_eq!(nans(&found.dx), [false, true, false].repeat(2));
}

fn poison(values: &[f64]) -> Vec<f64> {
    let mut values = values.to_vec();
    let at = values.len() / 2;
    values[at] = f64::NAN;
    values
}

#[test]
fn views_are_read_in_their_own_order() {
    let case = Case::new([2, 3, 7, 6], [4, 3, 2], [1, 2], [1, 0]);
    let [x, w, b, dy] = inputs(&case, 3);
    let dtype = DType::F32;
    let expected = fused(&case, &x, &w, &b, &dy, dtype);
    let device = Device::flex().autodiff();
    // The same numbers, stored with rows and columns exchanged, and the weight with channels exchanged.
    let stored = tensor(x, case.x, dtype, &device).swap_dims(2, 3);
    let tx = Tensor::<4>::from_data(stored.into_data(), &device).require_grad();
    let tw = tensor(w, case.weight(), dtype, &device).swap_dims(0, 1);
    let tw = Tensor::<4>::from_data(tw.into_data(), &device).require_grad();
    let tb = tensor(b, [4], dtype, &device);
    let y = conv2d(
        tx.clone().swap_dims(2, 3),
        tw.clone().swap_dims(0, 1),
        Some(tb),
        [1, 2],
        [1, 0],
    );
    // A gradient that is a view, too.
    let mut wide = case.output();
    wide[3] *= 2;
    let spread = dy.iter().flat_map(|&v| [v, 7.0]).collect::<Vec<_>>();
    let dy = tensor(spread, wide, dtype, &device).slice_dim(3, burn::tensor::s![0..;2]);
    let grads = (y.clone() * dy).sum().backward();
    assert_eq!(host(y), expected.y);
    assert_eq!(host(tx.grad(&grads).unwrap().swap_dims(2, 3)), expected.dx);
    assert_eq!(host(tw.grad(&grads).unwrap().swap_dims(0, 1)), expected.dw);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let stack = Case::new([13, 9, 44, 44], [32, 3, 3], [2, 2], [0, 0]);
    for case in ODD.iter().chain([&stack]) {
        let [x, w, b, dy] = inputs(case, 4);
        let run = |threads| with_threads(threads, || fused(case, &x, &w, &b, &dy, DType::F32));
        let one = run(1);
        for threads in [2, 3] {
            let more = run(threads);
            assert_eq!((&one.y, &one.dx), (&more.y, &more.dx), "{case:?}");
            assert_eq!((&one.dw, &one.db), (&more.dw, &more.db), "{case:?}");
        }
    }
}

#[test]
fn only_what_is_asked_for_gets_a_gradient() {
    let case = Case::new([2, 3, 6, 6], [4, 3, 3], [1, 1], [1, 1]);
    let [x, w, b, dy] = inputs(&case, 6);
    let full = fused(&case, &x, &w, &b, &dy, DType::F32);
    let device = Device::flex().autodiff();
    for asked in 1..8 {
        let ask = |bit: usize| asked & (1 << bit) != 0;
        let [tx, tw] = [(&x, case.x), (&w, case.weight())]
            .map(|(v, s)| tensor(v.clone(), s, DType::F32, &device));
        let tb = tensor(b.clone(), [4], DType::F32, &device);
        let tx = if ask(0) { tx.require_grad() } else { tx };
        let tw = if ask(1) { tw.require_grad() } else { tw };
        let tb = if ask(2) { tb.require_grad() } else { tb };
        let y = conv2d(tx.clone(), tw.clone(), Some(tb.clone()), [1, 1], [1, 1]);
        let seed = tensor(dy.clone(), case.output(), DType::F32, &device);
        let grads = (y * seed).sum().backward();
        assert_eq!(tx.grad(&grads).map(host), ask(0).then(|| full.dx.clone()));
        assert_eq!(tw.grad(&grads).map(host), ask(1).then(|| full.dw.clone()));
        let db = tb.grad(&grads).map(host);
        assert_eq!(db.is_some(), ask(2));
        if let Some(db) = db {
            close_in_norm(db, full.db.clone(), 1e-6, 0.0).unwrap();
        }
    }
}

#[test]
fn gradients_survive_checkpointing() {
    let case = Case::new([2, 3, 8, 8], [3, 3, 3], [1, 1], [1, 1]);
    let [x, w, ..] = inputs(&case, 7);
    let gradient = |device: Device| {
        let x = tensor(x.clone(), case.x, DType::F32, &device).require_grad();
        let w = tensor(w.clone(), case.weight(), DType::F32, &device).require_grad();
        let mut y = x.clone();
        for _ in 0..3 {
            y = burn::tensor::activation::relu(conv2d(y, w.clone(), None, [1, 1], [1, 1]));
        }
        let grads = y.sum().backward();
        (host(x.grad(&grads).unwrap()), host(w.grad(&grads).unwrap()))
    };
    let device = Device::flex().autodiff();
    assert_eq!(
        gradient(device.clone()),
        gradient(device.gradient_checkpointing())
    );
}

#[test]
fn large_values_and_zeros_pass() {
    let case = Case::new([1, 2, 5, 5], [3, 3, 3], [1, 1], [1, 1]);
    let zeros = vec![0.0; len(case.x)];
    let [_, w, b, dy] = inputs(&case, 8);
    let found = fused(&case, &zeros, &w, &b, &dy, DType::F32);
    let expected = naive(&case, &zeros, &w, &b, &dy);
    close(found.y, expected.y, 0.0, 0.0).unwrap();
    assert!(found.dw.iter().all(|&v| v == 0.0));
    let y = conv2d(
        normal(1, case.x) * 1e30,
        normal(2, case.weight()) * 1e30,
        None,
        [1, 1],
        [1, 1],
    );
    assert!(host(y).iter().any(|v| v.is_infinite()));
}
