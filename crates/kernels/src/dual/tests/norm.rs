use super::*;
use crate::dual;

const EPS: f64 = 1e-5;

#[test]
fn layer_and_rms_norm() {
    for [rows, width] in [[1, 2], [3, 7], [2, 33]] {
        check(&normals([2 * rows * width, width, width]), |p| {
            let x = p[0].clone().reshape([2, rows, width]);
            flat(dual::layer_norm(x, p[1].clone(), p[2].clone(), EPS))
        });
        check(&normals([2 * rows * width, width]), |p| {
            flat(dual::rms_norm(
                p[0].clone().reshape([2, rows, width]),
                p[1].clone(),
                EPS,
            ))
        });
    }
}

#[test]
fn batch_norm_with_stored_statistics() {
    check(&normals([2 * 3 * 5, 3, 3, 3, 3]), |p| {
        let variance = (p[4].clone() * p[4].clone()).add_scalar(0.5);
        let x = p[0].clone().reshape([2, 3, 5]);
        flat(dual::batch_norm(
            x,
            p[1].clone(),
            p[2].clone(),
            p[3].clone(),
            variance,
            EPS,
        ))
    });
}

#[test]
fn batch_norm_with_the_statistics_of_the_batch() {
    check(&normals([4 * 3 * 2 * 3, 3, 3]), |p| {
        let x = p[0].clone().reshape([4, 3, 2, 3]);
        flat(dual::batch_norm_train(x, p[1].clone(), p[2].clone(), EPS).output)
    });
}

#[test]
fn the_statistics_of_a_batch_by_hand() {
    // channel 0: 1, 3; channel 1: 2, 8
    let x = tensor_f64(vec![1.0, 2.0, 3.0, 8.0], [2, 2]);
    let one = || Dual::constant(tensor_f64(vec![1.0; 2], [2]));
    let out = dual::batch_norm_train(Dual::constant(x), one(), one(), 0.0);
    close(out.mean, vec![2.0, 5.0], 0.0, 1e-15).unwrap();
    close(out.variance, vec![1.0, 9.0], 1e-14, 0.0).unwrap();
    close(
        host([out.output.into_value()]),
        vec![0.0, 0.0, 2.0, 2.0],
        0.0,
        1e-14,
    )
    .unwrap();
}
