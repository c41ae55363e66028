//! Random numbers by position: draw `i` of a stream is a function of `i` and the seed alone, so a mask is the same
//! however a tensor is cut and whichever thread draws it.
//!
//! The function is a 32-bit mixer of full avalanche, with one key before it and one inside it. Constants: Wellons,
//! hash-prospector, `triple32` (public domain). It is no cryptographic generator.

use crate::simd::kernel;
use refit_core::Seed;

/// A stream of draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws {
    seed: u64,
}

impl Draws {
    /// The stream of this seed.
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed: seed.get() }
    }

    /// Writes draws `start..start + out.len()`, uniform over all 32-bit numbers.
    pub(crate) fn fill(self, start: usize, out: &mut [u32]) {
        self.each_run(start, out, |keys, first, out| fill(out, first, keys));
    }

    /// Zeroes the values whose draw is not below `bound`; the first value belongs to draw `start`.
    pub(crate) fn keep_below(self, bound: u32, start: usize, values: &mut [f32]) {
        self.each_run(start, values, |keys, first, values| {
            keep_drawn(values, first, keys, bound);
        });
    }

    /// Cuts positions where their upper half changes, each of which has keys of its own.
    fn each_run<T>(
        self,
        start: usize,
        mut values: &mut [T],
        mut then: impl FnMut([u32; 2], u32, &mut [T]),
    ) {
        let mut start = start as u64;
        while !values.is_empty() {
            let room = (1u64 << 32) - (start & u64::from(u32::MAX));
            let (run, rest) = values.split_at_mut(values.len().min(room as usize));
            let keys = split_mix(self.seed ^ split_mix(start >> 32));
            then([keys as u32, (keys >> 32) as u32], start as u32, run);
            (values, start) = (rest, start + room);
        }
    }
}

/// The bound below which a draw falls with this probability.
pub(crate) fn bound(probability: f64) -> u32 {
    (probability * 2f64.powi(32)) as u32 // saturates
}

/// A mixer of 64 bits; Steele et al. 2014, doi:10.1145/2660193.2660195.
fn split_mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[inline(always)]
fn draw(position: u32, [before, inside]: [u32; 2]) -> u32 {
    let x = position ^ before;
    let x = (x ^ (x >> 17)).wrapping_mul(0xed5a_d4bb);
    let x = (x ^ (x >> 11))
        .wrapping_add(inside)
        .wrapping_mul(0xac4c_1b51);
    let x = (x ^ (x >> 15)).wrapping_mul(0x3184_8bab);
    x ^ (x >> 14)
}

kernel! {
    /// Draws `first..`.
    fn fill(out: &'a mut [u32], first: u32, keys: [u32; 2]) {
        let mut position = first;
        for out in out {
            *out = draw(position, keys);
            position = position.wrapping_add(1);
        }
    }
}

kernel! {
    /// Zeroes the values whose draw is not below `bound`.
    fn keep_drawn(values: &'a mut [f32], first: u32, keys: [u32; 2], bound: u32) {
        let mut position = first;
        for value in values {
            *value = if draw(position, keys) < bound { *value } else { 0.0 };
            position = position.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 1 << 20;

    fn draws(seed: Seed, start: usize, len: usize) -> Vec<u32> {
        let mut out = vec![0; len];
        Draws::new(seed).fill(start, &mut out);
        out
    }

    /// Chi-square statistic of 256 bins, in standard deviations from its mean.
    fn excess(draws: impl Iterator<Item = u8>) -> f64 {
        let mut bins = [0.0; 256];
        draws.for_each(|bin| bins[usize::from(bin)] += 1.0);
        let expected = bins.iter().sum::<f64>() / 256.0;
        let chi: f64 = bins
            .iter()
            .map(|n| (n - expected) * (n - expected) / expected)
            .sum();
        (chi - 255.0) / (2.0f64 * 255.0).sqrt()
    }

    #[test]
    fn every_byte_is_uniform() {
        for seed in 0..4 {
            let draws = draws(Seed::new(seed), 0, N);
            for shift in [0, 8, 16, 24] {
                let found = excess(draws.iter().map(|d| (d >> shift) as u8));
                assert!(found.abs() < 5.0, "seed {seed}, byte at {shift}: {found}");
            }
        }
    }

    #[test]
    fn neighbours_and_streams_are_independent() {
        // pairs of upper nibbles: of neighbours, of far neighbours, and of streams whose seeds differ in one bit
        let one = draws(Seed::new(6), 0, N);
        let pair = |a: u32, b: u32| (a >> 28 << 4 | b >> 28) as u8;
        for step in [1, 2, 64, 4096] {
            let found = excess(one.iter().zip(&one[step..]).map(|(&a, &b)| pair(a, b)));
            assert!(found.abs() < 5.0, "step {step}: {found}");
        }
        for seed in [7, 4, 2, Seed::new(6).fork("x").get()] {
            let found = excess(
                one.iter()
                    .zip(draws(Seed::new(seed), 0, N))
                    .map(|(&a, b)| pair(a, b)),
            );
            assert!(found.abs() < 5.0, "seed {seed}: {found}");
        }
    }

    #[test]
    fn a_stretch_is_part_of_the_whole_across_the_border_of_keys() {
        let border = 1usize << 32;
        let whole = draws(Seed::new(3), border - 50, 100);
        for (start, len) in [(0, 7), (43, 14), (60, 40)] {
            assert_eq!(
                draws(Seed::new(3), border - 50 + start, len),
                whole[start..start + len]
            );
        }
        assert_ne!(draws(Seed::new(3), 0, 50), whole[50..]);
    }

    #[test]
    fn the_share_of_kept_values_is_the_probability() {
        for probability in [0.0, 0.1, 0.5, 0.999] {
            let mut ones = vec![1.0; N];
            Draws::new(Seed::new(1)).keep_below(bound(probability), 0, &mut ones);
            let share = ones.iter().map(|&v| f64::from(v)).sum::<f64>() / N as f64;
            let deviation = (probability * (1.0 - probability) / N as f64).sqrt();
            assert!(
                (share - probability).abs() <= 4.0 * deviation,
                "{probability}: {share}"
            );
        }
        assert_eq!([bound(0.0), bound(0.5), bound(1.0)], [0, 1 << 31, u32::MAX]);
    }
}
