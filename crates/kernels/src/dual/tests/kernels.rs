use super::*;
use crate::dual;
use refit_testkit::integers;

#[test]
fn linear_maps() {
    for [rows, inner, out] in [[1, 1, 1], [3, 5, 7], [4, 16, 8]] {
        check(&normals([2 * rows * inner, out * inner, out]), |p| {
            let x = p[0].clone().reshape([2, rows, inner]);
            flat(dual::linear(
                x,
                p[1].clone().reshape([out, inner]),
                Some(p[2].clone()),
            ))
        });
    }
    check(&normals([15, 35]), |p| {
        flat(dual::linear(
            p[0].clone().reshape([3, 5]),
            p[1].clone().reshape([7, 5]),
            None,
        ))
    });
}

#[test]
fn softmax_and_its_logarithm() {
    for [rows, width] in [[1, 1], [3, 7], [2, 33]] {
        check(&normals([rows * width]), |p| {
            flat(dual::softmax(p[0].clone().reshape([rows, width])))
        });
        check(&normals([rows * width]), |p| {
            flat(dual::log_softmax(p[0].clone().reshape([rows, width])))
        });
    }
}

#[test]
fn cross_entropy_with_and_without_smoothing() {
    for smoothing in [0.0, 0.1] {
        check(&normals([5 * 7]), |p| {
            dual::cross_entropy(p[0].clone().reshape([5, 7]), integers(1, [5], 7), smoothing)
        });
    }
}

#[test]
fn embeddings_with_repeated_rows() {
    check(&normals([11 * 3]), |p| {
        flat(dual::embedding(
            p[0].clone().reshape([11, 3]),
            integers(1, [2, 9], 11),
        ))
    });
}

#[test]
fn convolutions() {
    // Extents of the image and the kernel, stride, padding.
    let cases = [
        ([5, 5], [3, 3], [1, 1], [1, 1]),
        ([7, 6], [3, 2], [2, 1], [0, 1]),
        ([4, 4], [1, 1], [1, 1], [0, 0]),
    ];
    for ([h, w], [kh, kw], stride, padding) in cases {
        check(&normals([2 * 3 * h * w, 4 * 3 * kh * kw, 4]), |p| {
            let x = p[0].clone().reshape([2, 3, h, w]);
            let weight = p[1].clone().reshape([4, 3, kh, kw]);
            flat(dual::conv2d(x, weight, Some(p[2].clone()), stride, padding))
        });
    }
}

#[test]
fn convolutions_without_bias() {
    check(&normals([2 * 25, 9]), |p| {
        let x = p[0].clone().reshape([2, 1, 5, 5]);
        flat(dual::conv2d(
            x,
            p[1].clone().reshape([1, 1, 3, 3]),
            None,
            [1, 1],
            [1, 1],
        ))
    });
}

#[test]
fn pooling() {
    check(&normals([2 * 3 * 6 * 7]), |p| {
        let x = p[0].clone().reshape([2, 3, 6, 7]);
        flat(dual::max_pool2d(x, [3, 2], [2, 1], [1, 1]))
    });
    check(&normals([2 * 3 * 6 * 7]), |p| {
        let x = p[0].clone().reshape([2, 3, 6, 7]);
        flat(dual::avg_pool2d(x, [3, 2], [2, 1], [1, 1]))
    });
}
