//! Drawing from a set and dividing it, class by class.

use super::ImageSet;
use crate::data::{DataError, draw::Draw};
use refit_core::Seed;

impl ImageSet {
    /// Positions of `per_class` images of every class, drawn without repetition, class by class.
    ///
    /// # Errors
    /// [`DataError::TooFew`] names the first class with fewer images.
    pub fn few_shot(&self, per_class: usize, seed: Seed) -> Result<Vec<usize>, DataError> {
        let mut drawn = Vec::with_capacity(per_class * self.class_count());
        for (label, mut members) in self.shuffled_members(seed).into_iter().enumerate() {
            if members.len() < per_class {
                return Err(self.too_few(label, members.len(), per_class));
            }
            members.truncate(per_class);
            drawn.append(&mut members);
        }
        Ok(drawn)
    }

    /// Three parts: the second and third with `shares` of every class, the first with the rest; every part gets at least
    /// one image of every class. The images of a part keep their order.
    ///
    /// # Errors
    /// [`DataError::TooFew`] names the first class with fewer images than parts.
    pub fn stratified_split(&self, shares: [f64; 2], seed: Seed) -> Result<[Self; 3], DataError> {
        let mut parts: [Vec<usize>; 3] = Default::default();
        for (label, members) in self.shuffled_members(seed).into_iter().enumerate() {
            let n = members.len();
            if n < 3 {
                return Err(self.too_few(label, n, 3));
            }
            let [a, b] = shares.map(|s| ((n as f64 * s).round() as usize).clamp(1, n - 2));
            let b = b.min(n - 1 - a);
            parts[1].extend(&members[..a]);
            parts[2].extend(&members[a..a + b]);
            parts[0].extend(&members[a + b..]);
        }
        Ok(parts.map(|part| self.sorted_subset(part)))
    }

    /// Two parts, the second with `share` of every class, but at least one image of it, as has the first.
    ///
    /// # Errors
    /// [`DataError::TooFew`] names the first class with fewer than two images.
    pub fn stratified_halves(&self, share: f64, seed: Seed) -> Result<[Self; 2], DataError> {
        let mut parts: [Vec<usize>; 2] = Default::default();
        for (label, members) in self.shuffled_members(seed).into_iter().enumerate() {
            let n = members.len();
            if n < 2 {
                return Err(self.too_few(label, n, 2));
            }
            let second = ((n as f64 * share).round() as usize).clamp(1, n - 1);
            parts[1].extend(&members[..second]);
            parts[0].extend(&members[second..]);
        }
        Ok(parts.map(|part| self.sorted_subset(part)))
    }

    /// Positions by class, each class in a random order.
    fn shuffled_members(&self, seed: Seed) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.class_count()];
        for (i, &label) in self.labels.iter().enumerate() {
            members[label as usize].push(i);
        }
        for (label, positions) in members.iter_mut().enumerate() {
            seed.fork(format_args!("class/{label}"))
                .rng()
                .shuffle(positions);
        }
        members
    }

    fn sorted_subset(&self, mut indices: Vec<usize>) -> Self {
        indices.sort_unstable();
        self.subset(&indices)
    }

    fn too_few(&self, label: usize, found: usize, needed: usize) -> DataError {
        let class = self.classes[label].clone();
        DataError::TooFew {
            set: self.name.clone(),
            class,
            found,
            needed,
        }
    }
}
