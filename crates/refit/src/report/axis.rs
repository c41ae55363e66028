//! Axes of charts: even or logarithmic, with the marks they are labelled by.

use super::{
    format::{number, power_of_ten, scientific},
    scale::Scale,
};

/// How values are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spacing {
    Even,
    /// By their logarithms: values above 0 only.
    Log,
}

impl Spacing {
    /// Whether a value has a place.
    pub(crate) fn takes(self, value: f64) -> bool {
        value.is_finite() && (self == Self::Even || value > 0.0)
    }

    fn of(self, value: f64) -> f64 {
        match self {
            Self::Even => value,
            Self::Log => value.log10(),
        }
    }
}

/// A map of values onto `[0, 1]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    spacing: Spacing,
    /// Of values, or of their logarithms.
    scale: Scale,
}

impl Axis {
    /// Covers `low..=high`.
    pub(crate) fn new(spacing: Spacing, low: f64, high: f64) -> Self {
        let scale = Scale::new(spacing.of(low), spacing.of(high));
        Self { spacing, scale }
    }

    /// Covers all values that have a place, and a margin; `None` if there are none.
    pub(crate) fn around(spacing: Spacing, values: impl Iterator<Item = f64>) -> Option<Self> {
        let values = values.filter(|&v| spacing.takes(v)).map(|v| spacing.of(v));
        let scale = Scale::around(values)?;
        Some(Self { spacing, scale })
    }

    /// Covers all values that have a place, without a margin; `None` if there are none.
    pub(crate) fn over(spacing: Spacing, values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = values
            .filter(|&v| spacing.takes(v))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        (low <= high).then(|| Self::new(spacing, low, high))
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(crate) fn at(self, value: f64) -> f64 {
        self.scale.at(self.spacing.of(value))
    }

    /// Whether a value lies between the ends.
    pub(crate) fn shows(self, value: f64) -> bool {
        self.spacing.takes(value) && (0.0..=1.0).contains(&self.at(value))
    }

    /// Values to mark, about `count` of them, with their texts.
    pub(crate) fn marks(self, count: usize) -> Vec<(f64, String)> {
        let (ticks, decimals) = self.scale.ticks(count);
        if self.spacing == Spacing::Even {
            let mark = |tick| (tick, number(tick, decimals));
            return ticks.into_iter().map(mark).collect();
        }
        let powers = ticks
            .iter()
            .filter(|tick| (*tick - tick.round()).abs() < 1e-9);
        let powers: Vec<f64> = powers.map(|tick| tick.round()).collect();
        if powers.len() > 1 {
            let mark = |power: f64| (10_f64.powf(power), power_of_ten(power as i32));
            return powers.into_iter().map(mark).collect();
        }
        self.within_a_decade(count)
    }

    /// `1, 2, 5` times powers of ten, or even steps where those are too few.
    fn within_a_decade(self, count: usize) -> Vec<(f64, String)> {
        let (low, high) = self.scale.ends();
        let powers = (low.floor() as i32)..=(high.ceil() as i32);
        let round = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10_f64.powi(power)));
        let round: Vec<f64> = round.filter(|&v| self.shows(v)).collect();
        if round.len() > 2 {
            return round.into_iter().map(|v| (v, short(v))).collect();
        }
        let even = Scale::new(10_f64.powf(low), 10_f64.powf(high));
        let (ticks, _) = even.ticks(count.min(4));
        ticks
            .into_iter()
            .filter(|&v| self.shows(v))
            .map(|v| (v, short(v)))
            .collect()
    }
}

/// A round number without trailing zeros.
fn short(value: f64) -> String {
    if (1e-3..1e5).contains(&value) {
        format!("{}", (value * 1e6).round() / 1e6)
    } else {
        scientific(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(low: f64, high: f64) -> Vec<String> {
        let axis = Axis::new(Spacing::Log, low, high);
        axis.marks(5).into_iter().map(|mark| mark.1).collect()
    }

    #[test]
    fn decades_are_marked_and_thinned() {
        assert_eq!(texts(1e-3, 1.0), ["10⁻³", "10⁻²", "10⁻¹", "1"]);
        assert_eq!(texts(1e-12, 1.0), ["10⁻¹⁰", "10⁻⁵", "1"]);
        assert_eq!(texts(30.0, 600.0), ["50", "100", "200", "500"]);
        assert_eq!(texts(0.21, 0.24), ["0.21", "0.22", "0.23", "0.24"]);
    }

    #[test]
    fn logarithms_have_no_place_for_zero() {
        assert!(Axis::around(Spacing::Log, [0.0, -1.0, f64::NAN].into_iter()).is_none());
        let axis = Axis::over(Spacing::Log, [0.0, 1.0, 100.0].into_iter()).unwrap();
        assert!((axis.at(10.0) - 0.5).abs() < 1e-12);
        assert!(!axis.shows(0.0) && axis.shows(1.0) && !axis.shows(101.0));
    }
}
