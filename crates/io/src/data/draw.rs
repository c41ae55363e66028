//! Random numbers that are the same on every machine.
//!
//! `rand`'s own distributions may change between versions and the system's `libm` differs between platforms, so the
//! handful needed here are written out on top of the raw generator and of the `libm` crate.

use rand::RngCore;

/// Draws on top of any generator.
pub(crate) trait Draw: RngCore {
    /// Uniform in `[0, 1)`, a multiple of `2^-24`.
    fn unit(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in `[low, high)`.
    fn range(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `[-reach, reach)`.
    fn around(&mut self, reach: f32) -> f32 {
        self.range(-reach, reach)
    }

    /// True with probability `p`.
    fn chance(&mut self, p: f32) -> bool {
        self.unit() < p
    }

    /// Uniform in `0..n`; `n` fits 32 bits (the bias is below `n / 2^32`).
    fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.next_u32()) * n as u64) >> 32) as usize
    }

    /// One of `items`, which must not be empty.
    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f32 {
        let radius = libm::sqrtf(-2.0 * libm::logf(1.0 - self.unit()));
        radius * libm::cosf(std::f32::consts::TAU * self.unit())
    }

    /// Puts `items` into a random order.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

impl<R: RngCore + ?Sized> Draw for R {}
