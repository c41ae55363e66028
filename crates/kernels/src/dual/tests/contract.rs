//! What a caller may rely on beside the numbers.

use super::*;
use crate::dual;

#[test]
fn a_loss_without_parameters_has_no_derivatives() {
    let x = [tensor_f64(vec![1.0, 2.0], [2])];
    let constant = |_: &[Dual<1>]| Dual::constant(tensor_f64(vec![4.0], [1]));
    let (gradient, product) = hvp(constant, &x, &x);
    close(&gradient[0], vec![0.0; 2], 0.0, 0.0).unwrap();
    close(&product[0], vec![0.0; 2], 0.0, 0.0).unwrap();
    close(jvp(constant, &x, &x).1, vec![0.0], 0.0, 0.0).unwrap();
}

#[test]
fn a_parameter_without_influence_has_zero_derivatives() {
    let x = [tensor_f64(vec![3.0], [1]), tensor_f64(vec![1.0; 4], [4])];
    let (gradient, product) = hvp(|p| p[0].clone().powf_scalar(2.0), &x, &x);
    close(&gradient[0], vec![6.0], 0.0, 0.0).unwrap();
    close(&product[0], vec![6.0], 0.0, 0.0).unwrap();
    close(&gradient[1], vec![0.0; 4], 0.0, 0.0).unwrap();
    close(&product[1], vec![0.0; 4], 0.0, 0.0).unwrap();
}

#[test]
fn parameters_may_come_with_a_graph_of_their_own() {
    let leaf = tensor_f64(vec![3.0], [1]).autodiff().require_grad();
    let x = [leaf * 2.0];
    let (gradient, product) = hvp(|p| p[0].clone().powf_scalar(3.0), &x, &x);
    close(&gradient[0], vec![108.0], 1e-15, 0.0).unwrap();
    close(&product[0], vec![216.0], 1e-15, 0.0).unwrap();
    assert!(!gradient[0].is_autodiff() && !product[0].is_autodiff());
}

#[test]
fn detaching_cuts_both_modes() {
    let x = tensor_f64(vec![3.0], [1]).autodiff().require_grad();
    let y = Dual::with_tangent(x.clone() * 2.0, x).detach();
    assert!(y.tangent().is_none() && !y.value().is_tracked());
}

#[test]
#[should_panic(expected = "a tangent has the shape of its value")]
fn a_tangent_of_another_shape_is_refused() {
    let _ = Dual::with_tangent(tensor_f64(vec![0.0; 2], [2]), tensor_f64(vec![0.0], [1]));
}

#[test]
fn tangents_have_the_element_type_of_their_value() {
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let dual = |seed, len| {
            let draw = |seed| refit_testkit::tensor(normal_vec(seed, len), [len], dtype, &device());
            Dual::with_tangent(draw(seed), draw(seed + 50))
        };
        let x = dual::linear(
            dual(1, 6).reshape([2, 3]),
            dual(2, 12).reshape([4, 3]),
            Some(dual(3, 4)),
        );
        let x = dual::layer_norm(dual::gelu(x), dual(4, 4), dual(5, 4), 1e-5);
        let x = x.reshape([1, 2, 4]);
        let y = dual::attention(x.clone(), x.clone(), x, 2, 2, dual::AttentionMask::Causal);
        let (value, tangent) = dual::log_softmax(y).mean().into_parts();
        let tangent = tangent.expect("every input moves");
        assert_eq!((value.dtype(), tangent.dtype()), (dtype, dtype));
        assert!(
            host([value, tangent]).iter().all(|v| v.is_finite()),
            "{dtype:?}"
        );
    }
}

#[test]
fn empty_batches_have_empty_tangents() {
    let none = || tensor_f64(vec![], [0, 3, 4]);
    let moving = |seed, shape: [usize; 2]| {
        let draw = |seed| refit_testkit::normal_f64(seed, shape);
        Dual::with_tangent(draw(seed), draw(seed + 50))
    };
    let vector = |seed| moving(seed, [1, 4]).squeeze::<1>();
    for x in [Dual::constant(none()), Dual::with_tangent(none(), none())] {
        let x = dual::linear(x, moving(1, [4, 4]), Some(vector(2)));
        let x = dual::softmax(dual::gelu(dual::layer_norm(x, vector(3), vector(4), 1e-5)));
        let y = dual::attention(x.clone(), x.clone(), x, 2, 2, dual::AttentionMask::Causal);
        assert_eq!(y.tangent().map(Tensor::dims), Some([0, 3, 4]));
    }
}
