//! Adam on a handful of coefficients, in single precision like the reference.
//! Source: Kingma and Ba 2015, arXiv:1412.6980; clamp modes after arXiv:2310.02575.

use super::adamerging::{AdaMergingConfig, Clamp};

/// What the optimiser keeps for one group: raw coefficients and both moments, one entry per expert.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupState {
    pub(crate) raw: Vec<f32>,
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

impl GroupState {
    pub(crate) fn new(start: f32, experts: usize) -> Self {
        Self {
            raw: vec![start; experts],
            first: vec![0.0; experts],
            second: vec![0.0; experts],
        }
    }

    pub(crate) fn is_finite(&self) -> bool {
        [&self.raw, &self.first, &self.second]
            .into_iter()
            .flatten()
            .all(|v| v.is_finite())
    }

    /// The coefficients that the forward pass sees.
    pub(crate) fn coefficients(&self, clamp: Clamp) -> Vec<f32> {
        match clamp {
            Clamp::Off => self.raw.clone(),
            Clamp::Forward | Clamp::Projected => {
                self.raw.iter().map(|raw| raw.clamp(0.0, 1.0)).collect()
            }
        }
    }
}

/// One step of Adam, with its bias corrections worked out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamStep {
    clamp: Clamp,
    beta1: f64,
    beta2: f64,
    epsilon: f32,
    /// `learning rate / (1 - beta1^t)`.
    step_size: f32,
    /// `sqrt(1 - beta2^t)`.
    correction: f32,
}

impl AdamStep {
    /// The `t`-th step, counted from 1.
    pub(crate) fn new(config: &AdaMergingConfig, t: u64) -> Self {
        // Repeated products: `powi` may round differently from machine to machine.
        let power = |beta: f64| (0..t).fold(1.0, |power, _| power * beta);
        Self {
            clamp: config.clamp,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon as f32,
            step_size: (config.learning_rate / (1.0 - power(config.beta1))) as f32,
            correction: (1.0 - power(config.beta2)).sqrt() as f32,
        }
    }

    /// Moves `state` against `gradient`, which is taken with respect to the coefficients of the forward pass.
    pub(crate) fn apply(&self, state: &mut GroupState, gradient: &[f64]) {
        let (decay1, decay2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let (keep2, clamp) = (self.beta2 as f32, self.clamp);
        let GroupState { raw, first, second } = state;
        for (((raw, first), second), &gradient) in
            raw.iter_mut().zip(first).zip(second).zip(gradient)
        {
            // Chain rule of the clamp: no gradient outside [0, 1], only leftover momentum.
            let passes = clamp != Clamp::Forward || (0.0..=1.0).contains(raw);
            let gradient = if passes { gradient as f32 } else { 0.0 };
            *first += decay1 * (gradient - *first);
            *second = keep2 * *second + decay2 * gradient * gradient;
            *raw -= self.step_size * *first / (second.sqrt() / self.correction + self.epsilon);
            if clamp == Clamp::Projected {
                *raw = raw.clamp(0.0, 1.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(clamp: Clamp) -> AdaMergingConfig {
        AdaMergingConfig {
            clamp,
            ..Default::default()
        }
    }

    #[test]
    fn the_first_step_has_the_length_of_the_learning_rate() {
        let mut state = GroupState::new(0.3, 2);
        AdamStep::new(&config(Clamp::Forward), 1).apply(&mut state, &[5.0, -0.01]);
        assert!((state.raw[0] - 0.299).abs() < 1e-6 && (state.raw[1] - 0.301).abs() < 1e-6);
    }

    #[test]
    fn a_second_step_worked_by_hand() {
        // g = 1, then 0: m = 0.1 -> 0.09, v = 0.001 -> 0.000999;
        // m^ = 0.09 / 0.19, v^ = 0.000999 / 0.001999; step 1e-3 * 0.473684 / 0.706930 = 6.70059e-4
        let mut state = GroupState::new(0.5, 1);
        AdamStep::new(&config(Clamp::Off), 1).apply(&mut state, &[1.0]);
        AdamStep::new(&config(Clamp::Off), 2).apply(&mut state, &[0.0]);
        assert!(
            (f64::from(state.raw[0]) - (0.499 - 6.700_59e-4)).abs() < 1e-7,
            "{state:?}"
        );
    }

    #[test]
    fn outside_the_unit_interval_only_momentum_moves_a_clamped_coefficient() {
        let step = |clamp| {
            let mut state = GroupState::new(-0.1, 1);
            AdamStep::new(&config(clamp), 1).apply(&mut state, &[-1.0]);
            state
        };
        let forward = step(Clamp::Forward);
        assert_eq!((forward.raw[0], forward.first[0]), (-0.1, 0.0));
        assert_eq!(forward.coefficients(Clamp::Forward), [0.0]);
        assert!((step(Clamp::Off).raw[0] + 0.099).abs() < 1e-6);
        assert_eq!(step(Clamp::Projected).raw, [0.0]);
    }
}
