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

    /// `count` images, or all if there are fewer, with the shares of the classes as in the whole set; every class is
    /// there as soon as `count` reaches their number. The images keep their order, and a smaller sample of the same
    /// seed is part of a larger one.
    ///
    /// ```
    /// use refit_core::Seed;
    /// use refit_io::data::{ImageSet, ImageShape};
    /// let shape = ImageShape { channels: 1, height: 1, width: 1 };
    /// let classes = ["a".to_owned(), "b".to_owned()];
    /// // Sorted by class, as folders are read.
    /// let set = ImageSet::new("toy", classes, shape, vec![0; 9], vec![0, 0, 0, 0, 0, 0, 1, 1, 1]).unwrap();
    /// assert_eq!(set.sample_stratified(3, Seed::new(0)).labels(), [0, 0, 1]);
    /// ```
    #[must_use]
    pub fn sample_stratified(&self, count: usize, seed: Seed) -> Self {
        let mut members = self.shuffled_members(seed);
        seed.fork("classes").rng().shuffle(&mut members);
        // Place `j` of `n` lies at the share `j / n` of its class; the least shares are taken, whatever their class.
        let mut places: Vec<(f64, usize)> = members
            .iter()
            .flat_map(|of_class| {
                let n = of_class.len() as f64;
                let share = move |(j, &i): (usize, &usize)| (j as f64 / n, i);
                of_class.iter().enumerate().map(share)
            })
            .collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable: ties in the order of the shuffled classes
        places.truncate(count);
        self.sorted_subset(places.into_iter().map(|(_, i)| i).collect())
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
