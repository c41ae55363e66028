//! The four operations, with Burn's broadcasting, and the matrix product.

use super::{Dual, sum};
use burn::tensor::Tensor;
use std::ops::{Add, Div, Mul, Neg, Sub};

impl<const D: usize> Add for Dual<D> {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let value = self.value + other.value;
        let tangent = sum([self.tangent, other.tangent], value.dims());
        Self::new(value, tangent)
    }
}

impl<const D: usize> Sub for Dual<D> {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        let value = self.value - other.value;
        let tangent = sum([self.tangent, other.tangent.map(Tensor::neg)], value.dims());
        Self::new(value, tangent)
    }
}

impl<const D: usize> Mul for Dual<D> {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        self.product(other, Tensor::mul)
    }
}

impl<const D: usize> Div for Dual<D> {
    type Output = Self;

    /// `(a / b)' = (a' - (a / b) b') / b`.
    fn div(self, other: Self) -> Self {
        if self.tangent.is_none() && other.tangent.is_none() {
            return Self::constant(self.value / other.value);
        }
        let (b, db) = other.into_parts();
        let value = self.value / b.clone();
        let falls = db.map(|db| (value.clone() * db).neg());
        let tangent = sum([self.tangent, falls], value.dims()).map(|rise| rise / b);
        Self::new(value, tangent)
    }
}

impl<const D: usize> Neg for Dual<D> {
    type Output = Self;

    fn neg(self) -> Self {
        self.map(Tensor::neg)
    }
}

impl<const D: usize> Dual<D> {
    /// The matrix product over the last two axes.
    #[must_use]
    pub fn matmul(self, other: Self) -> Self {
        self.product(other, Tensor::matmul)
    }

    /// Multiplies every entry.
    #[must_use]
    pub fn mul_scalar(self, factor: f64) -> Self {
        self.map(|x| x.mul_scalar(factor))
    }

    /// Adds to every entry.
    #[must_use]
    pub fn add_scalar(self, offset: f64) -> Self {
        Self {
            value: self.value.add_scalar(offset),
            tangent: self.tangent,
        }
    }

    /// A product that is linear in either factor: `(a b)' = a' b + a b'`.
    fn product(self, other: Self, times: impl Fn(Tensor<D>, Tensor<D>) -> Tensor<D>) -> Self {
        let ((a, da), (b, db)) = (self.into_parts(), other.into_parts());
        if da.is_none() && db.is_none() {
            return Self::constant(times(a, b));
        }
        let left = da.map(|da| times(da, b.clone()));
        let right = db.map(|db| times(a.clone(), db));
        let value = times(a, b);
        let tangent = sum([left, right], value.dims());
        Self::new(value, tangent)
    }
}
