use super::*;

/// Two factors and two shapes that broadcast against each other both ways.
fn pair(p: &[Dual<1>]) -> (Dual<3>, Dual<3>) {
    (
        p[0].clone().reshape([2, 1, 5]),
        p[1].clone().reshape([1, 3, 5]),
    )
}

fn check_pair(f: impl Fn(Dual<3>, Dual<3>) -> Dual<3>) {
    check(&normals([10, 15]), |p| {
        let (a, b) = pair(p);
        flat(f(a, b))
    });
}

#[test]
fn sums_and_differences() {
    check_pair(|a, b| a + b);
    check_pair(|a, b| a - b);
}

#[test]
fn products_and_quotients() {
    check_pair(|a, b| a * b);
    check_pair(|a, b| a / (b.clone() * b).add_scalar(0.5));
}

#[test]
fn negation_and_scalars() {
    check(&normals([7]), |p| {
        (-p[0].clone()).mul_scalar(1.7).add_scalar(-0.3)
    });
}

#[test]
fn matrix_products_of_odd_extents() {
    for [m, k, n] in [[1, 1, 1], [2, 3, 5], [7, 1, 3]] {
        check(&normals([2 * m * k, 2 * k * n]), |p| {
            let a = p[0].clone().reshape([2, m, k]);
            flat(a.matmul(p[1].clone().reshape([2, k, n])))
        });
    }
}

#[test]
fn the_product_rule_by_hand() {
    // (3 * 5)' = 2 * 5 + 3 * 7
    let dual =
        |x: f64, dx: f64| Dual::with_tangent(tensor_f64(vec![x], [1]), tensor_f64(vec![dx], [1]));
    let y = dual(3.0, 2.0) * dual(5.0, 7.0);
    close(y.value(), vec![15.0], 0.0, 0.0).unwrap();
    close(y.tangent().unwrap(), vec![31.0], 0.0, 0.0).unwrap();
}
