use super::*;
use crate::objective::{
    LinearConfig, LinearModel, Loss,
    rows::tests::both,
    testing::{check, gradient, product},
};
use refit_testkit::{close, normal_vec};

fn models(rows: usize, columns: usize, classes: usize, config: SoftmaxConfig) -> [SoftmaxModel; 2] {
    both(rows, columns, 4).map(|features| {
        let labels = (0..rows).map(|i| (i / 2 % classes) as f32).collect();
        let table = Table::new("toy", features, labels).unwrap();
        SoftmaxModel::new(table, config).unwrap()
    })
}

#[test]
fn derivatives_samples_and_bits() {
    let penalty = Penalty {
        ridge: 0.1,
        alpha: 0.2,
        beta: 1.5,
    };
    for head in [Head::Softmax, Head::Square] {
        for (bias, penalty) in [
            (true, Penalty::default()),
            (false, penalty),
            (true, penalty),
        ] {
            let config = SoftmaxConfig {
                head,
                penalty,
                bias,
            };
            for sum in models(260, 5, 5, config) {
                check(&sum, 7, 0.5);
            }
        }
    }
}

#[test]
fn two_classes_are_the_logistic_model_of_the_difference() {
    let [sum, _] = models(50, 3, 2, SoftmaxConfig::default());
    let labels: Vec<f32> = (0..50).map(|i| (i / 2 % 2) as f32).collect();
    let table = Table::new("toy", sum.features().clone(), labels).unwrap();
    let config = LinearConfig {
        loss: Loss::Logistic,
        ..LinearConfig::default()
    };
    let logistic = LinearModel::new(table, config).unwrap();
    let w = normal_vec(1, 4);
    let pairs: Vec<f64> = w.iter().flat_map(|&w| [0.0, w]).collect();
    let (values, g, _) = gradient(&sum, &pairs, Sample::All);
    let (expected, slopes, _) = gradient(&logistic, &w, Sample::All);
    close(values, expected, 1e-13, 1e-14).unwrap();
    let second: Vec<f64> = g.iter().skip(1).step_by(2).copied().collect();
    close(second, slopes, 1e-12, 1e-14).unwrap();
    assert!((sum.error_rate(&pairs) - logistic.error_rate(&w)).abs() < 1e-12);
    let hv = product(&sum, &sum.hessian(&pairs, Sample::All), &pairs);
    let expected = product(&logistic, &logistic.hessian(&w, Sample::All), &w);
    let second: Vec<f64> = hv.iter().skip(1).step_by(2).copied().collect();
    close(second, expected, 1e-12, 1e-14).unwrap();
}
