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

    /// Nearly standard normal, between -3.45 and 3.45: the sum of four uniform bytes. Cheap enough for every pixel.
    fn rough_normal(&mut self) -> f32 {
        /// Standard deviation of the sum of four independent uniform bytes, `sqrt(4 (256^2 - 1) / 12)`.
        const DEVIATION: f32 = 147.800_1;
        let bytes = self.next_u32().to_le_bytes();
        let sum: u32 = bytes.into_iter().map(u32::from).sum();
        (sum as f32 - 510.0) / DEVIATION
    }

    /// Puts `items` into a random order.
    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

impl<R: RngCore + ?Sized> Draw for R {}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_core::Seed;

    #[test]
    fn both_normals_have_mean_0_and_deviation_1() {
        let mut rng = Seed::new(0).rng();
        let kinds: [fn(&mut rand_chacha::ChaCha8Rng) -> f32; 2] =
            [|rng| rng.normal(), |rng| rng.rough_normal()];
        for draw in kinds {
            let values: Vec<f64> = (0..40_000).map(|_| f64::from(draw(&mut rng))).collect();
            let mean = values.iter().sum::<f64>() / 4e4;
            let square = values.iter().map(|v| v * v).sum::<f64>() / 4e4;
            // Four standard errors.
            assert!(
                mean.abs() < 0.02 && (square - 1.0).abs() < 0.03,
                "{mean} {square}"
            );
        }
    }

    #[test]
    fn whole_numbers_are_even() {
        let mut rng = Seed::new(1).rng();
        let mut counts = [0_u32; 7];
        (0..70_000).for_each(|_| counts[rng.below(7)] += 1);
        assert!(
            counts.iter().all(|c| c.abs_diff(10_000) < 500),
            "{counts:?}"
        );
    }
}
