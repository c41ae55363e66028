use super::*;
use crate::objective::{
    Activation, Head, NetworkConfig, NetworkModel,
    testing::{gradient, product, values},
};
use refit_core::Seed;
use refit_io::data::{DenseRows, Features, Table};
use refit_nn::{Scope, blocks::Linear};
use refit_testkit::{close, close_in_norm, norm, normal_vec, with_threads};

const COLUMNS: usize = 5;
const HIDDEN: usize = 4;
const CLASSES: usize = 3;

/// A network with one hidden layer, the two maps of which are called `first` and `second`.
#[derive(Debug)]
struct Network {
    rows: Vec<f32>,
    lengths: bool,
}

fn bind(scope: &Scope<'_>) -> Result<(Linear, Linear), NnError> {
    let first = Linear::bind(&scope.at("first"), COLUMNS, HIDDEN)?;
    let second = Linear::bind(&scope.at("second"), HIDDEN, CLASSES)?;
    Ok((first, second))
}

impl Outputs for Network {
    fn terms(&self) -> usize {
        self.rows.len() / COLUMNS
    }

    fn classes(&self) -> usize {
        CLASSES
    }

    fn class(&self, term: usize) -> usize {
        term / 2 % CLASSES
    }

    fn length(&self, term: usize) -> usize {
        if self.lengths { term * 7 % 4 } else { 1 }
    }

    fn outputs(&self, at: &Weights, terms: &[u32]) -> Result<Dual<2>, NnError> {
        let (first, second) = at.bind(bind)?;
        let row = |&term: &u32| &self.rows[term as usize * COLUMNS..][..COLUMNS];
        let rows: Vec<f32> = terms.iter().flat_map(row).copied().collect();
        let rows = TensorData::new(rows, [terms.len(), COLUMNS]);
        let rows = Dual::constant(Tensor::<2>::from_data(rows, &at.device()));
        Ok(second.forward(first.forward(rows).tanh()))
    }
}

fn rows(count: usize) -> Vec<f32> {
    let values = normal_vec(3, count * COLUMNS);
    values.into_iter().map(|value| value as f32).collect()
}

fn model(count: usize, lengths: bool, config: DualConfig) -> DualModel<Network> {
    let rows = rows(count);
    let weights = Weights::create(Seed::new(5), &Device::flex(), bind).unwrap();
    DualModel::new(Network { rows, lengths }, weights, |_| true, config).unwrap()
}

/// Parameters in the order of [`NetworkModel`]: its first layer is stored the other way round.
fn turned(x: &[f64]) -> Vec<f64> {
    let mut out = x.to_vec();
    for unit in 0..HIDDEN {
        for column in 0..COLUMNS {
            out[column * HIDDEN + unit] = x[unit * COLUMNS + column];
        }
    }
    out
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn a_network_is_the_one_in_closed_form() {
    for head in [Head::Softmax, Head::Square] {
        let config = DualConfig {
            head,
            batch: 7,
            ..DualConfig::default()
        };
        let sum = model(40, true, config);
        let labels = (0..40).map(|i| (i / 2 % CLASSES) as f32).collect();
        let features = Features::Dense(DenseRows::new(rows(40), COLUMNS).unwrap());
        let table = Table::new("toy", features, labels).unwrap();
        let config = NetworkConfig {
            hidden: HIDDEN,
            activation: Activation::Tanh,
            head,
            ..NetworkConfig::default()
        };
        let exact = NetworkModel::new(table, config).unwrap();
        assert_eq!(sum.dim(), exact.dim());
        // Parameters that single precision holds, so that both are at the same point.
        let single = |seed| {
            let values = normal_vec(seed, sum.dim()).into_iter();
            values.map(|v| f64::from(v as f32)).collect::<Vec<f64>>()
        };
        let (x, u, v) = (single(1), single(2), single(8));
        let terms: Vec<u32> = (0..40).rev().step_by(3).collect();
        let weights: Vec<f64> = terms.iter().map(|&term| 0.5 + f64::from(term)).collect();
        let weighted = Sample::Weighted {
            terms: &terms,
            weights: &weights,
        };
        for sample in [Sample::All, Sample::Terms(&terms), weighted] {
            let (found, g, squares) = gradient(&sum, &x, sample);
            let (expected, exact_g, _) = gradient(&exact, &turned(&x), sample);
            assert_eq!(
                found,
                values(&sum, &x, sample),
                "values come with gradients"
            );
            assert_eq!(squares, None);
            let largest = expected.iter().copied().fold(0.0, f64::max);
            close(&found, &expected, 0.0, sum.precision() * largest).unwrap();
            // A few dozen roundings in single precision of each entry.
            close_in_norm(turned(&g), &exact_g, 2e-6, 1e-7).unwrap();
            let states = [
                (sum.hessian(&x, sample), exact.hessian(&turned(&x), sample)),
                (
                    sum.gauss_newton(&x, sample).unwrap(),
                    exact.gauss_newton(&turned(&x), sample).unwrap(),
                ),
            ];
            for (state, exact_state) in states {
                let (hu, hv) = (product(&sum, &state, &u), product(&sum, &state, &v));
                let expected = product(&exact, &exact_state, &turned(&v));
                close_in_norm(turned(&hv), &expected, 4e-6, 1e-7).unwrap();
                let size = norm(&u) * norm(&hv) + norm(&v) * norm(&hu);
                close(dot(&u, &hv), dot(&v, &hu), 0.0, 1e-6 * size).unwrap();
            }
        }
        let found = sum.error_rate(&x);
        assert_eq!(found.to_bits(), exact.error_rate(&turned(&x)).to_bits());
    }
}

#[test]
fn a_ridge_adds_half_the_squared_length() {
    let plain = model(9, true, DualConfig::default());
    let ridge = DualConfig {
        ridge: 0.25,
        ..DualConfig::default()
    };
    let sum = model(9, true, ridge);
    let (x, v) = (normal_vec(1, sum.dim()), normal_vec(2, sum.dim()));
    let added = 0.125 * dot(&x, &x);
    let (found, g, _) = gradient(&sum, &x, Sample::All);
    let (expected, plain_g, _) = gradient(&plain, &x, Sample::All);
    let expected: Vec<f64> = expected.iter().map(|value| value + added).collect();
    // The squared length may be summed in another order.
    close(&found, &expected, 0.0, 1e-13).unwrap();
    assert_eq!(found, values(&sum, &x, Sample::All));
    let moved = plain_g.iter().zip(&x).map(|(g, x)| g + 0.25 * x);
    close(&g, moved.collect::<Vec<_>>(), 0.0, 1e-14).unwrap();
    let of = |sum: &DualModel<Network>| product(sum, &sum.hessian(&x, Sample::All), &v);
    let moved = of(&plain).into_iter().zip(&v).map(|(h, v)| h + 0.25 * v);
    close(of(&sum), moved.collect::<Vec<_>>(), 0.0, 1e-14).unwrap();
    let wrong = DualConfig {
        ridge: -1.0,
        ..DualConfig::default()
    };
    let weights = Weights::create(Seed::new(5), &Device::flex(), bind).unwrap();
    let network = Network {
        rows: rows(2),
        lengths: false,
    };
    assert!(DualModel::new(network, weights, |_| true, wrong).is_err());
}

#[test]
fn products_are_differences_of_gradients() {
    let sum = model(30, false, DualConfig::default());
    let (x, v) = (normal_vec(4, sum.dim()), normal_vec(6, sum.dim()));
    let state = sum.hessian(&x, Sample::All);
    // The rounding of gradients (1e-7) over the step, and the square of the step: 3e-5 and 2e-5.
    let step = 4e-3;
    let at = |sign: f64| {
        let x: Vec<f64> = x.iter().zip(&v).map(|(x, v)| x + sign * step * v).collect();
        gradient(&sum, &x, Sample::All).1
    };
    let (up, down) = (at(1.0), at(-1.0));
    let expected = up.iter().zip(&down).map(|(a, b)| (a - b) / (2.0 * step));
    let expected: Vec<f64> = expected.collect();
    close_in_norm(product(&sum, &state, &v), &expected, 2e-4, 1e-5).unwrap();
    // Linear in the direction, however small it is.
    let small: Vec<f64> = v.iter().map(|v| v * 2f64.powi(-160)).collect();
    let found: Vec<f64> = product(&sum, &state, &small)
        .iter()
        .map(|h| h * 2f64.powi(160))
        .collect();
    assert_eq!(found, product(&sum, &state, &v));
    assert_eq!(
        product(&sum, &state, &vec![0.0; sum.dim()]),
        vec![0.0; sum.dim()]
    );
}

#[test]
fn a_sample_is_the_mean_of_its_rows_and_a_row_has_one_value() {
    for lengths in [false, true] {
        let config = DualConfig {
            batch: 6,
            ..DualConfig::default()
        };
        let sum = model(23, lengths, config);
        let x = normal_vec(9, sum.dim());
        let all = || gradient(&sum, &x, Sample::All);
        let (together, g, _) = with_threads(1, all);
        assert_eq!(with_threads(3, all), (together.clone(), g.clone(), None));
        let mut mean = vec![0.0; sum.dim()];
        for term in 0..23 {
            let (value, one, _) = gradient(&sum, &x, Sample::Terms(&[term]));
            assert_eq!(value[0].to_bits(), together[term as usize].to_bits());
            mean.iter_mut().zip(one).for_each(|(m, g)| *m += g / 23.0);
        }
        close_in_norm(&g, &mean, 1e-6, 1e-8).unwrap();
    }
}

#[test]
fn weights_that_are_not_chosen_stay_what_they_are() {
    let network = || Network {
        rows: rows(6),
        lengths: false,
    };
    let weights = Weights::create(Seed::new(5), &Device::flex(), bind).unwrap();
    let second = |spec: &ParamSpec| spec.path.as_str().starts_with("second.");
    let config = DualConfig::default();
    let sum = DualModel::new(network(), weights.clone(), second, config).unwrap();
    assert_eq!(sum.dim(), HIDDEN * CLASSES + CLASSES);
    let all = DualModel::new(network(), weights.clone(), |_| true, config).unwrap();
    let start = sum.start();
    assert_eq!(all.start()[all.dim() - sum.dim()..], start);
    let (_, g, _) = gradient(&all, &all.start(), Sample::All);
    let (_, part, _) = gradient(&sum, &start, Sample::All);
    assert_eq!(g[all.dim() - sum.dim()..], part);
    let moved = sum.weights(&vec![0.5; sum.dim()]).to_host();
    let before = weights.to_host();
    assert_eq!(moved[..2], before[..2]);
    assert!(
        moved[2..]
            .iter()
            .flatten()
            .all(|value| value.to_bits() == 0.5f32.to_bits())
    );
}

#[test]
fn what_cannot_be_a_sum_is_refused() {
    let weights = || Weights::create(Seed::new(5), &Device::flex(), bind).unwrap();
    let network = |count| Network {
        rows: rows(count),
        lengths: false,
    };
    let none = DualModel::new(network(3), weights(), |_| false, DualConfig::default());
    let said = none.unwrap_err().to_string();
    assert_eq!(said, "no weight was chosen, expected one of 4");
    let empty = DualModel::new(network(0), weights(), |_| true, DualConfig::default());
    assert!(matches!(empty, Err(DualError::NoRow)));
    let config = DualConfig {
        batch: 0,
        ..DualConfig::default()
    };
    let batch = DualModel::new(network(3), weights(), |_| true, config);
    assert!(matches!(batch, Err(DualError::Config(_))));
    let other = Weights::create(Seed::new(0), &Device::flex(), |scope| {
        Linear::bind(scope, 2, 2)
    });
    let unfit = DualModel::new(network(3), other.unwrap(), |_| true, DualConfig::default());
    assert!(matches!(unfit, Err(DualError::Model(_))));
}

#[test]
fn what_a_model_cannot_read_is_no_number() {
    let sum = model(3, false, DualConfig::default());
    let x = vec![f64::INFINITY; sum.dim()];
    let (values, g, _) = gradient(&sum, &x, Sample::All);
    assert!(values.iter().all(|value| !value.is_finite()));
    assert!(g.iter().any(|g| !g.is_finite()));
}
