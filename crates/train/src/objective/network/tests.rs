use super::*;
use crate::objective::{
    Head, Penalty,
    rows::tests::both,
    testing::{check, gradient, product, values},
};
use refit_io::data::DenseRows;
use refit_testkit::{close, normal_vec};

fn models(rows: usize, columns: usize, classes: usize, config: NetworkConfig) -> [NetworkModel; 2] {
    both(rows, columns, 6).map(|features| {
        let labels = (0..rows).map(|i| (i / 2 % classes) as f32).collect();
        let table = Table::new("toy", features, labels).unwrap();
        NetworkModel::new(table, config).unwrap()
    })
}

#[test]
fn a_case_worked_by_hand() {
    // One feature 2, one hidden unit, classes 0 and 1, squared loss: h = tanh(2 w + b), z = h u + c.
    let rows = Features::Dense(DenseRows::new(vec![2.0, 2.0], 1).unwrap());
    let table = Table::new("t", rows, vec![0.0, 1.0]).unwrap();
    let config = NetworkConfig {
        hidden: 1,
        head: Head::Square,
        ..NetworkConfig::default()
    };
    let sum = NetworkModel::new(table, config).unwrap();
    // w = 0, b = 0: h = 0, outputs are the biases (1/2, 0).
    let x = [0.0, 0.0, 3.0, -1.0, 0.5, 0.0];
    // (z - e_0)^2 / 2 = 1/8; (z - e_1)^2 / 2 = (1/4 + 1) / 2.
    assert_eq!(values(&sum, &x, Sample::All), [0.125, 0.625]);
    // Mean slope of the outputs (0, -1/2); delta1 = 3 * 0 + 1/2, w: times 2.
    let (_, g, _) = gradient(&sum, &x, Sample::All);
    assert_eq!(g, [1.0, 0.5, 0.0, 0.0, 0.0, -0.5]);
    // Along b: h' = 1, z' = (3, -1), delta2' = z', delta1' = 3 * 3 + 1 = 10; W2' = h' delta2 = (0, -1/2).
    let hv = product(
        &sum,
        &sum.hessian(&x, Sample::All),
        &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    );
    assert_eq!(hv, [20.0, 10.0, 0.0, -0.5, 3.0, -1.0]);
    let state = sum.gauss_newton(&x, Sample::All).unwrap();
    let gauss_newton = product(&sum, &state, &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(gauss_newton, [20.0, 10.0, 0.0, 0.0, 3.0, -1.0]);
}

#[test]
fn derivatives_samples_and_bits() {
    let penalty = Penalty {
        ridge: 0.05,
        alpha: 0.1,
        beta: 1.5,
    };
    for activation in [Activation::Tanh, Activation::Sigmoid] {
        for head in [Head::Softmax, Head::Square] {
            for (penalty, classes) in [(Penalty::default(), 3), (penalty, 2)] {
                let config = NetworkConfig {
                    hidden: 4,
                    activation,
                    head,
                    penalty,
                };
                for sum in models(150, 6, classes, config) {
                    check(&sum, 3, 0.5);
                }
            }
        }
    }
}

#[test]
fn a_network_that_only_passes_on_is_linear_in_its_last_layer() {
    // Along the last layer alone the Hessian is that of a convex problem: equal to Gauss and Newton's.
    let [sum, _] = models(80, 5, 3, NetworkConfig::default());
    let x = normal_vec(1, sum.dim());
    let mut v = normal_vec(2, sum.dim());
    v[..6 * 16].fill(0.0);
    let hessian = product(&sum, &sum.hessian(&x, Sample::All), &v);
    let gauss_newton = product(&sum, &sum.gauss_newton(&x, Sample::All).unwrap(), &v);
    close(&hessian[6 * 16..], &gauss_newton[6 * 16..], 1e-13, 1e-15).unwrap();
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let [features, _] = both(2, 3, 1);
    let with = |hidden| {
        let table = Table::new("toy", features.clone(), vec![0.0, 1.0]).unwrap();
        let config = NetworkConfig {
            hidden,
            ..NetworkConfig::default()
        };
        NetworkModel::new(table, config).map(|_| ())
    };
    assert_eq!(
        with(0).unwrap_err().to_string(),
        "`hidden` is 0, expected a number in 1..=65536"
    );
    assert!(with(usize::MAX).is_err() && with(1).is_ok());
}

#[test]
fn errors_are_counted_by_the_largest_output() {
    let [sum, _] = models(30, 4, 3, NetworkConfig::default());
    let mut x = vec![0.0; sum.dim()];
    let last = x.len() - 1;
    x[last] = 1.0; // every row gets class 2
    let others = (0..30).filter(|i| i / 2 % 3 != 2).count();
    assert_eq!(others, 20);
    assert!((sum.error_rate(&x) - others as f64 / 30.0).abs() < 1e-12);
}
