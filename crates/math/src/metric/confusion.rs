//! Classes that were told apart.

use super::share;

/// How often each class was taken for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    /// Row: what it is. Column: what was found.
    counts: Vec<u64>,
}

impl Confusion {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * classes],
        }
    }

    /// Counts one answer.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn add(&mut self, expected: usize, found: usize) {
        assert!(expected < self.classes && found < self.classes, "a class");
        self.counts[expected * self.classes + found] += 1;
    }

    /// Answers so far.
    pub fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Answers that are right.
    pub fn correct(&self) -> u64 {
        (0..self.classes)
            .map(|class| self.count(class, class))
            .sum()
    }

    /// Share of answers that are right.
    pub fn accuracy(&self) -> f64 {
        share(self.correct() as f64, self.len() as f64)
    }

    /// Share of the largest class: what constant guessing reaches.
    pub fn majority(&self) -> f64 {
        let most = (0..self.classes).map(|class| self.of_class(class)).max();
        share(most.unwrap_or(0) as f64, self.len() as f64)
    }

    /// Harmonic mean of precision and recall of a class: `2 tp / (2 tp + fp + fn)`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn f1(&self, class: usize) -> f64 {
        let both = self.of_class(class) + self.found(class);
        share(2.0 * self.count(class, class) as f64, both as f64)
    }

    /// Mean of [`f1`](Self::f1) over the classes that occur or were found.
    pub fn macro_f1(&self) -> f64 {
        let there = |&class: &usize| self.of_class(class) + self.found(class) > 0;
        let classes: Vec<usize> = (0..self.classes).filter(there).collect();
        let sum: f64 = classes.iter().map(|&class| self.f1(class)).sum();
        share(sum, classes.len() as f64)
    }

    /// Correlation of what is and what was found, in `[-1, 1]`; for two classes that of Matthews 1975,
    /// `(tp tn - fp fn) / sqrt((tp+fp)(tp+fn)(tn+fp)(tn+fn))`, for more the one of Gorodkin 2004. 0 where one side
    /// holds one class alone.
    ///
    /// # Example
    /// ```
    /// use refit_math::metric::Confusion;
    /// let mut counts = Confusion::new(2);
    /// for (expected, found) in [(0, 0), (0, 0), (0, 1), (1, 1)] {
    ///     counts.add(expected, found);
    /// }
    /// // (1 * 2 - 1 * 0) / sqrt(2 * 1 * 3 * 2)
    /// assert!((counts.matthews() - 2.0 / 12f64.sqrt()).abs() < 1e-15);
    /// ```
    pub fn matthews(&self) -> f64 {
        let total = self.len() as f64;
        let pairs = |a: &dyn Fn(usize) -> u64, b: &dyn Fn(usize) -> u64| -> f64 {
            (0..self.classes)
                .map(|class| a(class) as f64 * b(class) as f64)
                .sum()
        };
        let (is, found) = (|class| self.of_class(class), |class| self.found(class));
        let covariance = self.correct() as f64 * total - pairs(&is, &found);
        let spread = [pairs(&is, &is), pairs(&found, &found)].map(|pairs| total * total - pairs);
        share(covariance, (spread[0] * spread[1]).sqrt())
    }

    fn count(&self, expected: usize, found: usize) -> u64 {
        self.counts[expected * self.classes + found]
    }

    fn of_class(&self, class: usize) -> u64 {
        (0..self.classes)
            .map(|found| self.count(class, found))
            .sum()
    }

    fn found(&self, class: usize) -> u64 {
        (0..self.classes)
            .map(|expected| self.count(expected, class))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::pearson;
    use proptest::prelude::*;

    fn of(answers: &[(usize, usize)], classes: usize) -> Confusion {
        let mut counts = Confusion::new(classes);
        for &(expected, found) in answers {
            counts.add(expected, found);
        }
        counts
    }

    #[test]
    fn a_case_worked_by_hand() {
        // Of three classes the last neither occurs nor is found.
        let counts = of(&[(0, 0), (0, 1), (1, 1), (1, 1)], 3);
        assert_eq!((counts.len(), counts.correct()), (4, 3));
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        close(counts.accuracy(), 0.75);
        close(counts.majority(), 0.5);
        close(counts.f1(0), 2.0 / 3.0);
        close(counts.f1(1), 0.8);
        close(counts.f1(2), 0.0);
        close(counts.macro_f1(), f64::midpoint(2.0 / 3.0, 0.8));
        close(
            of(&[], 2).accuracy() + of(&[], 2).macro_f1() + of(&[], 2).matthews(),
            0.0,
        );
    }

    proptest! {
        /// Of two classes it is the correlation of the two columns of 0 and 1.
        #[test]
        fn matthews_is_a_correlation(answers in prop::collection::vec((0..2usize, 0..2usize), 1..60)) {
            let columns = |of: fn(&(usize, usize)) -> usize| answers.iter().map(|a| of(a) as f64).collect::<Vec<_>>();
            let expected = pearson(&columns(|a| a.0), &columns(|a| a.1));
            prop_assert!((of(&answers, 2).matthews() - expected).abs() < 1e-12);
        }

        #[test]
        fn names_of_classes_do_not_matter(answers in prop::collection::vec((0..4usize, 0..4usize), 1..60)) {
            let turned: Vec<_> = answers.iter().map(|&(a, b)| (3 - a, 3 - b)).collect();
            let (a, b) = (of(&answers, 4), of(&turned, 4));
            prop_assert!((a.matthews() - b.matthews()).abs() < 1e-12 && (a.macro_f1() - b.macro_f1()).abs() < 1e-12);
            prop_assert!(a.matthews().abs() <= 1.0 + 1e-12 && a.accuracy() <= 1.0);
        }
    }
}
