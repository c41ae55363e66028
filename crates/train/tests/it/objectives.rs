//! Objectives on real data.

use refit_io::data::{Features, LibsvmOptions, SparseRows, Table, npz::Npz, read_libsvm};
use refit_testkit::{close, close_in_norm, differences, norm, normal_vec, real_data};
use refit_train::{
    objective::{LinearConfig, LinearModel, NetworkConfig, NetworkModel},
    optim::second::{FiniteSum, Sample},
};

/// Mean value and gradient over all terms.
fn at(sum: &impl FiniteSum, x: &[f64]) -> (f64, Vec<f64>) {
    let (mut values, mut gradient) = (vec![0.0; sum.terms()], vec![0.0; sum.dim()]);
    sum.gradient(x, Sample::All, &mut values, &mut gradient);
    (values.iter().sum::<f64>() / values.len() as f64, gradient)
}

/// A product with the Hessian is the change of the gradient along a direction.
fn products_are_changes_of_gradients(sum: &impl FiniteSum, x: &[f64]) {
    let v = normal_vec(2, sum.dim());
    let expected = differences::directional(|x| at(sum, x).1, x, &v);
    let mut found = vec![0.0; sum.dim()];
    sum.product(&sum.hessian(x, Sample::All), &v, &mut found);
    // Richardson differences of functions that vary over distances of order one.
    close_in_norm(&found, &expected, 1e-7, 1e-9).unwrap();
}

#[test]
fn a9a_has_the_loss_bounds_and_derivatives_of_its_rows() {
    let Some(path) = real_data("libsvm_a9a.txt.gz") else {
        return;
    };
    let table = read_libsvm(path, &LibsvmOptions::default()).unwrap();
    let sum = LinearModel::new(table, LinearConfig::default()).unwrap();
    assert_eq!((sum.terms(), sum.dim()), (32_561, 124));
    let zeros = vec![0.0; 124];
    close(at(&sum, &zeros).0, 0.25, 1e-13, 0.0).unwrap();
    // At most 14 ones in a row, and the bias.
    close(
        sum.bounds().unwrap().gradient,
        8.0 / 27.0 * 15f64.sqrt(),
        1e-14,
        0.0,
    )
    .unwrap();
    // Everyone is on the side of the larger class: 24.1 % have the other label.
    let mut small = zeros;
    small[123] = -1.0;
    assert!((sum.error_rate(&small) - 0.241).abs() < 5e-4);
    let x: Vec<f64> = normal_vec(1, 124).iter().map(|v| 0.3 * v).collect();
    products_are_changes_of_gradients(&sum, &x);
}

/// All of MNIST, black and white.
fn mnist(part: &str) -> Option<Table> {
    let npz = Npz::open(real_data("img28_mnist_binary_full.npz")?).unwrap();
    let bits = npz.array(&format!("{part}_bits")).unwrap();
    let labels = npz.array(&format!("{part}_y")).unwrap();
    let (mut starts, mut columns) = (vec![0], Vec::new());
    for row in bits.bytes().chunks_exact(98) {
        let set = (0..784u32).filter(|j| row[*j as usize / 8] >> (7 - j % 8) & 1 == 1);
        columns.extend(set);
        starts.push(columns.len());
    }
    let values = vec![1.0; columns.len()];
    let rows = SparseRows::new(starts, columns, values, 784).unwrap();
    let labels = labels
        .bytes()
        .iter()
        .map(|&label| f32::from(label))
        .collect();
    Some(Table::new(part, Features::Sparse(rows), labels).unwrap())
}

#[test]
#[ignore = "an experiment of a minute"]
fn a_hidden_layer_learns_binarised_mnist() {
    let (Some(train), Some(test)) = (mnist("train"), mnist("test")) else {
        return;
    };
    let config = NetworkConfig::default();
    let sum = NetworkModel::new(train, config).unwrap();
    let test = NetworkModel::new(test, config).unwrap();
    let mut x: Vec<f64> = normal_vec(0, sum.dim()).iter().map(|v| 0.1 * v).collect();
    products_are_changes_of_gradients(&sum, &x);
    // Steepest descent: the step is doubled after each success and halved until the loss falls.
    let (mut value, mut gradient) = at(&sum, &x);
    let mut step = 1.0;
    for _ in 0..60 {
        loop {
            let trial: Vec<f64> = x.iter().zip(&gradient).map(|(x, g)| x - step * g).collect();
            let (lower, next) = at(&sum, &trial);
            if lower < value {
                (x, value, gradient, step) = (trial, lower, next, 2.0 * step);
                break;
            }
            step *= 0.5;
        }
    }
    let error = test.error_rate(&x);
    println!(
        "loss {value:.4}, gradient {:.2e}, test error {error:.4}",
        norm(&gradient)
    );
    // A linear classifier of raw pixels has 8 %.
    assert!(error < 0.2, "{error}");
}
