use super::*;
use crate::objective::{
    Loss, Penalty,
    rows::tests::both,
    testing::{check, gradient, product, values},
};
use proptest::prelude::*;
use refit_core::Hint;
use refit_io::data::{DenseRows, LibsvmOptions};
use refit_testkit::{close, normal_vec};

const LOSSES: [Loss; 6] = [
    Loss::SigmoidSquare,
    Loss::Logistic,
    Loss::Square,
    Loss::SmoothHuber { scale: 0.5 },
    Loss::Cauchy { scale: 0.5 },
    Loss::GemanMcclure { scale: 0.5 },
];

fn table(features: Features, seed: u64, loss: Loss) -> Table {
    let labels = normal_vec(seed, features.len());
    let label = |(i, y): (usize, &f64)| {
        if loss.is_binary() {
            // Both classes occur.
            f32::from(i8::from(*y > 0.0 && i > 0 || i == 1))
        } else {
            *y as f32
        }
    };
    let labels = labels.iter().enumerate().map(label).collect();
    Table::new("toy", features, labels).unwrap()
}

fn models(rows: usize, columns: usize, seed: u64, config: LinearConfig) -> [LinearModel; 2] {
    both(rows, columns, seed)
        .map(|features| LinearModel::new(table(features, seed, config.loss), config).unwrap())
}

#[test]
fn a_case_worked_by_hand() {
    // One row a = (3, 4) with label 0 beside one with label 1; w = 0, bias 0: s = 1/2.
    let rows = Features::Dense(DenseRows::new(vec![3.0, 4.0, 0.0, 0.0], 2).unwrap());
    let table = Table::new("t", rows, vec![5.0, 7.0]).unwrap();
    let sum = LinearModel::new(table, LinearConfig::default()).unwrap();
    assert_eq!((sum.dim(), sum.terms()), (3, 2));
    let (values, g, squares) = gradient(&sum, &[0.0; 3], Sample::All);
    assert_eq!(values, [0.25, 0.25]);
    // phi' = 2 (s - b) s (1 - s) = 1/4 and -1/4; the biases cancel.
    assert_eq!(g, [0.375, 0.5, 0.0]);
    // 26 / 16 + 1 / 16.
    assert_eq!(squares, Some(27.0 / 16.0));
    // phi'' = 2 s^2 (1 - s)^2 = 1/8 for both: (1/2) (1/8) (25 + 1, ..).
    let state = sum.hessian(&[0.0; 3], Sample::All);
    assert_eq!(
        product(&sum, &state, &[1.0, 0.0, 0.0]),
        [9.0 / 16.0, 0.75, 3.0 / 16.0]
    );
    let bounds = sum.bounds().unwrap();
    close(bounds.gradient, 8.0 / 27.0 * 26f64.sqrt(), 1e-15, 0.0).unwrap();
    assert!((sum.error_rate(&[1.0, 0.0, -1.0]) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn derivatives_samples_and_bits_for_every_loss() {
    for (seed, loss) in LOSSES.into_iter().enumerate() {
        let seed = 10 * seed as u64;
        let penalty = Penalty {
            ridge: 0.1,
            alpha: 0.2,
            beta: 1.5,
        };
        for (bias, penalty) in [
            (true, Penalty::default()),
            (false, penalty),
            (true, penalty),
        ] {
            let config = LinearConfig {
                loss,
                penalty,
                bias,
            };
            for sum in models(300, 11, seed, config) {
                check(&sum, seed + 5, 0.5);
            }
        }
    }
}

#[test]
fn dense_and_sparse_rows_give_the_same() {
    let [dense, sparse] = models(200, 19, 3, LinearConfig::default());
    let (x, v) = (normal_vec(1, 20), normal_vec(2, 20));
    let (a, b) = (
        gradient(&dense, &x, Sample::All),
        gradient(&sparse, &x, Sample::All),
    );
    close(&a.0, &b.0, 1e-13, 1e-13).unwrap();
    close(&a.1, &b.1, 1e-12, 1e-13).unwrap();
    let hv = |sum: &LinearModel| product(sum, &sum.hessian(&x, Sample::All), &v);
    close(hv(&dense), hv(&sparse), 1e-12, 1e-13).unwrap();
}

#[test]
fn a_matrix_is_formed_where_it_is_soon_paid_for() {
    let formed = |rows, columns, products| {
        models(rows, columns, 1, LinearConfig::default()).map(|sum| {
            let mut state = sum.hessian(&vec![0.0; columns + 1], Sample::All);
            sum.prepare(&mut state, products);
            assert_eq!(state.matrix.is_none(), !state.coefficients.is_empty());
            state.matrix.is_some()
        })
    };
    assert_eq!(formed(300, 30, 16), [false, true]);
    assert_eq!(formed(300, 30, 0), [false, false]);
    // Fewer entries than the matrix has, and more columns than a cache holds.
    assert_eq!(formed(20, 30, 16), [false, false]);
    assert_eq!(formed(400, 300, 16), [false, false]);
}

#[test]
fn sums_of_a_million_small_terms_are_exact_to_double_precision() {
    // Each term adds 0.1 in single precision; a sum in single precision would be off by percents.
    let n = 1 << 20;
    let rows = Features::Dense(DenseRows::new(vec![0.1; n], 1).unwrap());
    let table = Table::new("t", rows, vec![1.0; n]).unwrap();
    let config = LinearConfig {
        loss: Loss::Square,
        bias: false,
        ..LinearConfig::default()
    };
    let sum = LinearModel::new(table, config).unwrap();
    let state = sum.hessian(&[0.0], Sample::All);
    let expected = f64::from(0.1f32).powi(2);
    // Parts of 2^14 terms, each of which rounds the sum once, by 2^-53 at most: 2^-39.
    close(product(&sum, &state, &[1.0]), vec![expected], 2e-12, 0.0).unwrap();
}

#[test]
fn a_point_far_away_and_a_nan_are_no_panic() {
    let [sum, _] = models(9, 4, 1, LinearConfig::default());
    let far = vec![1e300; 5];
    assert!(
        values(&sum, &far, Sample::All)
            .iter()
            .all(|v| v.is_finite() || v.is_nan())
    );
    assert!(
        values(&sum, &[f64::NAN; 5], Sample::All)
            .iter()
            .all(|v| v.is_nan())
    );
}

#[test]
fn one_row_no_feature_and_an_empty_sample_are_problems_too() {
    let rows = Features::Dense(DenseRows::new(vec![2.0], 1).unwrap());
    let config = LinearConfig {
        loss: Loss::Cauchy { scale: 1.0 },
        ..LinearConfig::default()
    };
    let sum = LinearModel::new(Table::new("t", rows, vec![3.0]).unwrap(), config).unwrap();
    check(&sum, 1, 1.0);
    let (values, g, squares) = gradient(&sum, &[1.0, 1.0], Sample::Terms(&[]));
    assert_eq!((values.len(), g, squares), (0, vec![0.0; 2], Some(0.0)));
    let none = refit_io::data::parse_libsvm(b"1\n2\n", "none", &LibsvmOptions::default()).unwrap();
    let sum = LinearModel::new(none.clone(), LinearConfig::default()).unwrap();
    assert_eq!(sum.dim(), 1);
    check(&sum, 2, 1.0);
    let without = LinearConfig {
        bias: false,
        ..LinearConfig::default()
    };
    let e = LinearModel::new(none, without).unwrap_err();
    assert_eq!(
        e.to_string(),
        "`none` has no feature, expected one or a bias"
    );
    assert_eq!(e.hint().unwrap(), "fit a bias");
}

#[test]
fn labels_and_settings_that_do_not_fit_are_refused() {
    let rows = || Features::Dense(DenseRows::new(vec![1.0, 2.0, 3.0], 1).unwrap());
    let with = |labels: [f32; 3], loss| {
        let table = Table::new("toy", rows(), labels.to_vec()).unwrap();
        let config = LinearConfig {
            loss,
            ..LinearConfig::default()
        };
        LinearModel::new(table, config).map(|_| ()).unwrap_err()
    };
    let e = with([1.0, 2.0, 3.0], Loss::Logistic);
    assert_eq!(
        e.to_string(),
        "the labels of `toy` are 3 classes, expected two"
    );
    assert!(e.hint().unwrap().contains("softmax"));
    let e = with([1.0; 3], Loss::SigmoidSquare);
    assert_eq!(e.to_string(), "`toy` cannot be classified");
    let e = with([1.0; 3], Loss::Cauchy { scale: 0.0 });
    assert_eq!(
        e.to_string(),
        "`scale` is 0, expected a finite number above 0"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_size_has_the_right_derivatives(rows in 2usize..400, columns in 1usize..40, seed in 0u64..1000) {
        for sum in models(rows, columns, seed, LinearConfig::default()) {
            let (x, v) = (normal_vec(seed, columns + 1), normal_vec(seed + 1, columns + 1));
            let expected = refit_testkit::differences::directional(
                |x| gradient(&sum, x, Sample::All).1, &x, &v);
            let found = product(&sum, &sum.hessian(&x, Sample::All), &v);
            refit_testkit::close_in_norm(&found, &expected, 1e-6, 1e-8)?;
        }
    }
}

#[test]
fn test_rows_are_scored_by_the_classes_of_the_rows_that_were_fitted() {
    let rows = |values: Vec<f32>, labels: Vec<f32>| {
        let features = Features::Dense(DenseRows::new(values, 1).unwrap());
        Table::new("t", features, labels).unwrap()
    };
    let sum = LinearModel::new(
        rows(vec![1.0, 2.0], vec![-1.0, 1.0]),
        LinearConfig::default(),
    )
    .unwrap();
    // Of its own, `+1` would be the class 0 of a table that has no other.
    let test = sum.beside(rows(vec![5.0, -5.0], vec![1.0, 1.0])).unwrap();
    assert!((test.error_rate(&[1.0, 0.0]) - 0.5).abs() < 1e-15);
    let error = |table| sum.beside(table).unwrap_err();
    let other = error(rows(vec![1.0], vec![2.0]));
    assert_eq!(other.to_string(), "`t` cannot be classified");
    let wide = Features::Dense(DenseRows::new(vec![1.0, 2.0], 2).unwrap());
    let wide = error(Table::new("wide", wide, vec![1.0]).unwrap());
    assert_eq!(wide.to_string(), "`wide` has 2 features, expected 1");
}
