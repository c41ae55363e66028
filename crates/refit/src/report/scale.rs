//! From values to positions, and the round numbers of an axis.

/// A straight map of values onto `[0, 1]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Covers `low..=high`, widened where both are one.
    pub(crate) fn new(low: f64, high: f64) -> Self {
        if high > low {
            Self { low, high }
        } else {
            Self {
                low: low - 0.5,
                high: low + 0.5,
            }
        }
    }

    /// Covers all finite `values` and a margin of 4 % on both sides; `None` if there are none.
    pub(crate) fn around(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (low, high) = values
            .into_iter()
            .filter(|v| v.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
                (l.min(v), h.max(v))
            });
        let margin = 0.04 * (high - low);
        (low <= high).then(|| Self::new(low - margin, high + margin))
    }

    /// The ends.
    pub(crate) const fn ends(self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Where `value` lies: 0 at the low end, 1 at the high end.
    pub(crate) fn at(self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// Round numbers inside the range, at most `count + 1` of them, and the decimals they need.
    pub(crate) fn ticks(self, count: usize) -> (Vec<f64>, usize) {
        let rough = (self.high - self.low) / count.max(1) as f64;
        let power = rough.log10().floor();
        let unit = 10_f64.powf(power);
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|m| m * unit)
            .into_iter()
            .find(|step| *step >= rough * (1.0 - 1e-9))
            .unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (self.low / step - 1e-9).ceil();
        let ticks = (0..=count)
            .map(|i| (first + i as f64) * step)
            .take_while(|tick| *tick <= self.high + 1e-9 * step)
            .collect();
        (ticks, decimals)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "positions of round numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn ends_map_to_zero_and_one_and_a_point_is_widened() {
        let scale = Scale::new(10.0, 20.0);
        assert_eq!(
            (scale.at(10.0), scale.at(15.0), scale.at(20.0)),
            (0.0, 0.5, 1.0)
        );
        assert_eq!(Scale::new(3.0, 3.0).at(3.0), 0.5);
        assert!(Scale::around([f64::NAN]).is_none());
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let (ticks, decimals) = Scale::new(0.58, 0.91).ticks(4);
        assert_eq!(decimals, 1);
        assert!(
            ticks.len() == 4 && (ticks[0] - 0.6).abs() < 1e-12,
            "{ticks:?}"
        );
        let (ticks, decimals) = Scale::new(0.0, 500.0).ticks(5);
        assert_eq!(
            (ticks.as_slice(), decimals),
            ([0.0, 100.0, 200.0, 300.0, 400.0, 500.0].as_slice(), 0)
        );
        let (ticks, _) = Scale::new(-1e-9, 1e-9).ticks(4);
        assert!(!ticks.is_empty() && ticks.len() <= 5);
    }
}
