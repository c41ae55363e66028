//! Numbers that carry their derivative: a dense oracle that shares no line with the code under test.

use std::ops::{Add, Div, Mul, Neg, Sub};

/// Value and derivative in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dual(pub(crate) f64, pub(crate) f64);

impl Dual {
    pub(crate) fn exp(self) -> Self {
        Self(self.0.exp(), self.1 * self.0.exp())
    }

    pub(crate) fn ln(self) -> Self {
        Self(self.0.ln(), self.1 / self.0)
    }

    pub(crate) fn tanh(self) -> Self {
        let t = self.0.tanh();
        Self(t, self.1 * (1.0 - t * t))
    }
}

impl From<f64> for Dual {
    fn from(value: f64) -> Self {
        Self(value, 0.0)
    }
}

impl Add for Dual {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        Self(self.0 + b.0, self.1 + b.1)
    }
}

impl Sub for Dual {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        Self(self.0 - b.0, self.1 - b.1)
    }
}

impl Mul for Dual {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        Self(self.0 * b.0, self.1 * b.0 + self.0 * b.1)
    }
}

impl Div for Dual {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        Self(self.0 / b.0, (self.1 * b.0 - self.0 * b.1) / (b.0 * b.0))
    }
}

impl Neg for Dual {
    type Output = Self;
    fn neg(self) -> Self {
        Self(-self.0, -self.1)
    }
}

impl std::iter::Sum for Dual {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self(0.0, 0.0), Add::add)
    }
}
