//! Git Re-Basin by weight matching: the order of units in which two models are closest.
//! Source: Ainsworth, Hayase and Srinivasa 2023, arXiv:2209.04836, algorithm 1.

use super::{error::AlignError, places::Places, spec::PermutationSpec};
use crate::tensor_set::TensorSet;
use refit_core::{Seed, StopReason};
use refit_math::{MathError, Matrix, assign};
use std::sync::Arc;

/// How [`match_weights`] searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatchConfig {
    /// Most sweeps over all permutations (authors' code: 100).
    pub sweeps: usize,
    /// Where the order of permutations in a sweep comes from.
    pub seed: Seed,
}

impl MatchConfig {
    /// The default search from `seed`.
    pub const fn new(seed: Seed) -> Self {
        Self { sweeps: 100, seed }
    }
}

/// The order in which one model is closest to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Alignment {
    places: Places,
    orders: Vec<Vec<usize>>,
    /// Whether a sweep changed nothing, or sweeps ran out.
    pub stopped: StopReason,
}

/// Finds the order of hidden units in which `b` is closest to `a`: it raises `sum_t <a_t, P b_t>` over all tensors, one
/// permutation at a time while the others stand, each by linear assignment.
///
/// The result is a local optimum, and depends on the seed where there are several. What lowers the sum is never taken.
///
/// # Errors
/// [`AlignError::Layout`] when models differ, those of a specification that does not fit, [`AlignError::Match`] when
/// weights are not finite.
///
/// # Cost
/// For each permutation of `n` items in each sweep `n` multiply-adds per value of the tensors it acts on, and an
/// assignment, `O(n^3)` at worst.
///
/// # Source
/// arXiv:2209.04836
pub fn match_weights(
    a: &TensorSet,
    b: &TensorSet,
    spec: &PermutationSpec,
    config: &MatchConfig,
) -> Result<Alignment, AlignError> {
    same_layout(a, b)?;
    let places = Places::new(spec, a.layout())?;
    let orders = places.items.iter().map(|&n| (0..n).collect()).collect();
    let mut found = Alignment {
        places,
        orders,
        stopped: StopReason::BudgetExhausted,
    };
    for sweep in 0..config.sweeps {
        let groups = found.places.names.len();
        let mut changed = false;
        for group in config.seed.fork(sweep).sample(groups, groups) {
            let improved = found.improve(group, a, b);
            changed |= improved.map_err(|source| AlignError::Match {
                name: found.places.names[group].clone(),
                source,
            })?;
        }
        if !changed {
            found.stopped = StopReason::Converged;
            break;
        }
    }
    Ok(found)
}

impl Alignment {
    /// Each permutation by name: item `i` of the aligned model is item `order[i]` of the model as it was.
    pub fn orders(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let names = self.places.names.iter().map(String::as_str);
        names.zip(self.orders.iter().map(Vec::as_slice))
    }

    /// The model with its units in the found order. It computes what it computed.
    ///
    /// # Errors
    /// [`AlignError::Layout`] when the model is not of the architecture that was matched.
    pub fn apply(&self, model: &TensorSet) -> Result<TensorSet, AlignError> {
        for place in &self.places.all {
            let entry = model.layout().entries().get(place.tensor);
            if !entry.is_some_and(|entry| place.fits(&entry.shape)) {
                let path = entry.map_or_else(|| "".into(), |entry| entry.path.clone());
                return Err(AlignError::Layout { path });
            }
        }
        let tensors = model.iter().enumerate();
        let tensors = tensors.map(|(tensor, (_, shape, values))| {
            self.places
                .gather(tensor, shape, values, &self.orders, None)
        });
        Ok(TensorSet::from_parts(
            Arc::clone(model.layout()),
            tensors.collect(),
        ))
    }

    /// Puts the items of one permutation into the best order while the others stand; whether that was better.
    fn improve(&mut self, group: usize, a: &TensorSet, b: &TensorSet) -> Result<bool, MathError> {
        let items = self.places.items[group];
        let mut costs = Matrix::zeros(items, items);
        for place in self.places.all.iter().filter(|p| p.group == group) {
            let shape = &a.layout().entries()[place.tensor].shape;
            let (ours, theirs) = (&a.tensors()[place.tensor], &b.tensors()[place.tensor]);
            let others = Some(place);
            let theirs = self
                .places
                .gather(place.tensor, shape, theirs, &self.orders, others);
            let theirs = place.rows(shape, &theirs)?;
            let alike = place.rows(shape, ours)?.times_transposed(&theirs)?;
            for (cost, alike) in costs.values_mut().iter_mut().zip(alike.values()) {
                *cost -= alike;
            }
        }
        let best = assign(&costs)?;
        let before = self.orders[group].iter().enumerate();
        let before: f64 = before.map(|(i, &j)| costs.row(i)[j]).sum();
        // Rounding must not turn units back and forth that are alike.
        let better = before - best.cost > 1e-12 * (before.abs() + best.cost.abs());
        if better {
            self.orders[group] = best.columns;
        }
        Ok(better)
    }
}

/// Merges two aligned models, `(1 - share) a + share b`, and gives the result to `recalibrate`.
///
/// Running statistics of batch normalisation are those of neither model after a merge: `recalibrate` runs data through
/// the network and writes new ones. A model without them takes `Ok`.
///
/// # Errors
/// [`AlignError::Layout`] when models differ, and those of `recalibrate`.
///
/// # Example
/// ```
/// use refit_merge::{TensorSet, align::{AlignError, interpolate}};
/// let model = |w: f32| TensorSet::from_values([("w", vec![1], vec![w])]).unwrap();
/// let mean = interpolate::<AlignError>(&model(1.0), &model(3.0), 0.5, Ok)?;
/// assert_eq!(mean, model(2.0));
/// # Ok::<(), AlignError>(())
/// ```
pub fn interpolate<E: From<AlignError>>(
    a: &TensorSet,
    b: &TensorSet,
    share: f64,
    recalibrate: impl FnOnce(TensorSet) -> Result<TensorSet, E>,
) -> Result<TensorSet, E> {
    same_layout(a, b)?;
    let between =
        |(&a, &b): (&f32, &f32)| ((1.0 - share) * f64::from(a) + share * f64::from(b)) as f32;
    let pairs = a.tensors().iter().zip(b.tensors());
    let values = pairs.map(|(a, b)| a.iter().zip(b).map(between).collect());
    recalibrate(TensorSet::from_parts(
        Arc::clone(a.layout()),
        values.collect(),
    ))
}

fn same_layout(a: &TensorSet, b: &TensorSet) -> Result<(), AlignError> {
    let (a, b) = (a.layout().entries(), b.layout().entries());
    let differs = (0..a.len().max(b.len())).find(|&i| a.get(i) != b.get(i));
    match differs.and_then(|i| a.get(i).or(b.get(i))) {
        Some(entry) => Err(AlignError::Layout {
            path: entry.path.clone(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::Binding;
    use proptest::prelude::*;
    use rand::Rng;

    fn uniform(seed: u64, tensors: &[(&str, &[usize])]) -> TensorSet {
        let draw = |(name, shape): &(&str, &[usize])| {
            let mut rng = Seed::new(seed).fork(name).rng();
            let len: usize = shape.iter().product();
            let values = (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect();
            ((*name).to_owned(), shape.to_vec(), values)
        };
        TensorSet::from_values(tensors.iter().map(draw)).unwrap()
    }

    /// The same network with its units in a random order, as the definition of the specification moves them.
    fn shuffled(model: &TensorSet, spec: &PermutationSpec, seed: u64) -> TensorSet {
        let places = Places::new(spec, model.layout()).unwrap();
        let named = places.names.iter().zip(&places.items);
        let orders = named.map(|(name, &n)| Seed::new(seed).fork(name).sample(n, n));
        let shuffle = Alignment {
            orders: orders.collect(),
            places,
            stopped: StopReason::Done,
        };
        shuffle.apply(model).unwrap()
    }

    fn mlp(seed: u64, widths: &[usize]) -> TensorSet {
        let names: Vec<[String; 2]> = (0..widths.len() - 1)
            .map(|i| ["weight", "bias"].map(|part| format!("layers.{i}.{part}")))
            .collect();
        let shapes: Vec<[usize; 2]> = widths.windows(2).map(|w| [w[1], w[0]]).collect();
        let tensors = names.iter().zip(&shapes).flat_map(|(names, shape)| {
            [
                (names[0].as_str(), &shape[..]),
                (names[1].as_str(), &shape[..1]),
            ]
        });
        uniform(seed, &tensors.collect::<Vec<_>>())
    }

    /// A plain forward pass in double precision.
    fn forward(model: &TensorSet, layers: usize, mut x: Vec<f64>) -> Vec<f64> {
        for i in 0..layers {
            let weight = model.get(&format!("layers.{i}.weight")).unwrap();
            let bias = model.get(&format!("layers.{i}.bias")).unwrap();
            let rows = weight.chunks(x.len()).zip(bias);
            let outputs = rows.map(|(row, &bias)| {
                let dot: f64 = row.iter().zip(&x).map(|(&w, x)| f64::from(w) * x).sum();
                dot + f64::from(bias)
            });
            x = outputs
                .map(|y| if i + 1 < layers { y.max(0.0) } else { y })
                .collect();
        }
        x
    }

    #[test]
    fn a_shuffled_mlp_computes_the_same_and_is_put_back() {
        let (a, spec) = (mlp(1, &[5, 16, 12, 3]), PermutationSpec::mlp(3));
        let b = shuffled(&a, &spec, 2);
        assert_ne!(a, b);
        let x = vec![0.3, -0.8, 0.1, 0.9, -0.2];
        let (ours, theirs) = (forward(&a, 3, x.clone()), forward(&b, 3, x));
        let differ = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-12;
        assert!(!ours.iter().zip(&theirs).any(differ)); // sums in another order
        let found = match_weights(&a, &b, &spec, &MatchConfig::new(Seed::new(3))).unwrap();
        assert_eq!(
            (found.apply(&b).unwrap(), found.stopped),
            (a, StopReason::Converged)
        );
        assert_eq!(
            found.orders().map(|(name, _)| name).collect::<Vec<_>>(),
            ["hidden.0", "hidden.1"]
        );
    }

    #[test]
    fn shuffled_architectures_are_put_back() {
        let conv: &[(&str, &[usize])] = &[
            ("conv1.weight", &[6, 1, 3, 3]),
            ("conv1.bias", &[6]),
            ("conv2.weight", &[8, 6, 3, 3]),
            ("conv2.bias", &[8]),
            ("norm1.weight", &[8]),
            ("norm1.bias", &[8]),
            ("norm1.running_mean", &[8]),
            ("norm1.running_var", &[8]),
            ("fc1.weight", &[10, 32]),
            ("fc1.bias", &[10]),
            ("fc2.weight", &[4, 10]),
            ("fc2.bias", &[4]),
        ];
        let vit: &[(&str, &[usize])] = &[
            (
                "encoder.layer.0.attention.attention.query.weight",
                &[12, 12],
            ),
            ("encoder.layer.0.attention.attention.query.bias", &[12]),
            ("encoder.layer.0.attention.attention.key.weight", &[12, 12]),
            (
                "encoder.layer.0.attention.attention.value.weight",
                &[12, 12],
            ),
            ("encoder.layer.0.attention.output.dense.weight", &[12, 12]),
            ("encoder.layer.0.intermediate.dense.weight", &[20, 12]),
            ("encoder.layer.0.intermediate.dense.bias", &[20]),
            ("encoder.layer.0.output.dense.weight", &[12, 20]),
        ];
        let cases = [
            (conv, PermutationSpec::conv_net(2, 4)),
            (vit, PermutationSpec::vit("", 4)),
        ];
        for (tensors, spec) in cases {
            let a = uniform(4, tensors);
            let b = shuffled(&a, &spec, 5);
            assert_ne!(a, b);
            let found = match_weights(&a, &b, &spec, &MatchConfig::new(Seed::new(6))).unwrap();
            assert_eq!(found.apply(&b).unwrap(), a);
        }
    }

    /// Tensors of a residual network of option A with one block per layer.
    fn resnet(width: usize) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![("conv1.weight".to_owned(), vec![width, 3, 3, 3])];
        let norm = |name: &str, n: usize| {
            ["weight", "bias", "running_mean", "running_var"]
                .map(|part| (format!("{name}.{part}"), vec![n]))
        };
        tensors.extend(norm("bn1", width));
        let mut inputs = width;
        for layer in 0..3 {
            let n = width << layer;
            let name = format!("layer{}.0", layer + 1);
            tensors.push((format!("{name}.conv1.weight"), vec![n, inputs, 3, 3]));
            tensors.extend(norm(&format!("{name}.bn1"), n));
            tensors.push((format!("{name}.conv2.weight"), vec![n, n, 3, 3]));
            tensors.extend(norm(&format!("{name}.bn2"), n));
            inputs = n;
        }
        tensors.push(("linear.weight".into(), vec![10, inputs]));
        tensors.push(("linear.bias".into(), vec![10]));
        tensors
    }

    #[test]
    fn a_shuffled_resnet_is_put_back_and_its_shortcuts_still_fit() {
        let tensors = resnet(4);
        let borrowed: Vec<(&str, &[usize])> = tensors
            .iter()
            .map(|(name, shape)| (name.as_str(), &shape[..]))
            .collect();
        let (a, spec) = (uniform(7, &borrowed), PermutationSpec::cifar_resnet(1, 4));
        let b = shuffled(&a, &spec, 8);
        let found = match_weights(&a, &b, &spec, &MatchConfig::new(Seed::new(9))).unwrap();
        assert_eq!(found.apply(&b).unwrap(), a);
        // Padding adds as many zeros before as behind, so channel c of one layer is c + n/2 of the next: the order of
        // the sum must be the same there.
        let order = |places: &Places, orders: &[Vec<usize>], tensor: &str, n: usize| {
            let at = a
                .layout()
                .paths()
                .position(|p| p.as_str() == tensor)
                .unwrap();
            let numbers: Vec<f32> = (0..n).map(|i| i as f32).collect();
            places.gather(at, &[n], &numbers, orders, None)
        };
        let (first, second) = (
            order(&found.places, &found.orders, "layer1.0.bn2.weight", 4),
            order(&found.places, &found.orders, "layer2.0.bn2.weight", 8),
        );
        let shifted: Vec<f32> = first.iter().map(|i| i + 2.0).collect();
        assert_eq!(second[2..6], shifted);
        assert_ne!(first, [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn aligned_models_are_no_further_apart_than_before() {
        let (a, b, spec) = (
            mlp(1, &[6, 20, 20, 4]),
            mlp(2, &[6, 20, 20, 4]),
            PermutationSpec::mlp(3),
        );
        let apart = |b: &TensorSet| -> f64 {
            let pairs = a
                .tensors()
                .iter()
                .flatten()
                .zip(b.tensors().iter().flatten());
            pairs.map(|(&a, &b)| f64::from(a - b).powi(2)).sum()
        };
        let found = match_weights(&a, &b, &spec, &MatchConfig::new(Seed::new(0))).unwrap();
        let aligned = found.apply(&b).unwrap();
        assert!(apart(&aligned) < 0.9 * apart(&b));
        let again = match_weights(&a, &aligned, &spec, &MatchConfig::new(Seed::new(0))).unwrap();
        assert!(apart(&again.apply(&aligned).unwrap()) <= apart(&aligned));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (a, spec) = (mlp(1, &[3, 4, 2]), PermutationSpec::mlp(2));
        let config = MatchConfig::new(Seed::new(0));
        let other = mlp(1, &[3, 5, 2]);
        let error = match_weights(&a, &other, &spec, &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the models differ in names or shapes, beginning with `layers.0.weight`"
        );
        let found = match_weights(&a, &a, &spec, &config).unwrap();
        assert!(matches!(
            found.apply(&other),
            Err(AlignError::Layout { .. })
        ));
        assert!(interpolate::<AlignError>(&a, &other, 0.5, Ok).is_err());
        let nan = TensorSet::from_values([("w", vec![2], vec![f32::NAN, 0.0])]).unwrap();
        let spec = PermutationSpec {
            bindings: vec![Binding::new("w", 0, "p")],
        };
        let error = match_weights(&nan, &nan, &spec, &config).unwrap_err();
        assert_eq!(error.to_string(), "cannot match the units of `p`");
        let none = MatchConfig {
            sweeps: 0,
            ..config
        };
        let stopped = match_weights(&a, &a, &PermutationSpec::mlp(2), &none)
            .unwrap()
            .stopped;
        assert_eq!(stopped, StopReason::BudgetExhausted);
    }

    #[test]
    fn recalibration_sees_the_merged_model() {
        let (a, b) = (mlp(1, &[2, 2]), mlp(2, &[2, 2]));
        let mut seen = None;
        let merged = interpolate::<AlignError>(&a, &b, 0.25, |model| {
            seen = Some(model.clone());
            Ok(a.clone())
        });
        assert_eq!(merged.unwrap(), a);
        let (seen, a0, b0) = (
            seen.unwrap().tensors()[0][0],
            a.tensors()[0][0],
            b.tensors()[0][0],
        );
        assert!((seen - (0.75 * a0 + 0.25 * b0)).abs() < 1e-7);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn shuffled_models_compute_the_same(seed in any::<u64>(), w in 1usize..9, v in 1usize..9) {
            let (a, spec) = (mlp(seed, &[3, w, v, 2]), PermutationSpec::mlp(3));
            let b = shuffled(&a, &spec, seed ^ 1);
            let (ours, theirs) = (forward(&a, 3, vec![1.0, -0.5, 0.2]), forward(&b, 3, vec![1.0, -0.5, 0.2]));
            for (ours, theirs) in ours.iter().zip(&theirs) {
                prop_assert!((ours - theirs).abs() < 1e-12);
            }
        }
    }
}
