//! Answers in the order in which they were found.

use super::share;

/// How high right answers stand, over all questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranking {
    depth: usize,
    questions: u64,
    recall: f64,
    reciprocal: f64,
    gain: f64,
    first: u64,
}

impl Ranking {
    /// Nothing counted yet; answers beyond the first `depth` count as not found.
    pub fn new(depth: usize) -> Self {
        Self {
            depth,
            questions: 0,
            recall: 0.0,
            reciprocal: 0.0,
            gain: 0.0,
            first: 0,
        }
    }

    /// Counts a question by the places of its right answers, counted from 0, in any order.
    ///
    /// # Example
    /// ```
    /// let mut ranking = refit_math::metric::Ranking::new(10);
    /// ranking.add(&[1]); // the second answer is the right one
    /// assert_eq!(ranking.mean_reciprocal_rank(), 0.5);
    /// assert_eq!((ranking.accuracy(), ranking.recall()), (0.0, 1.0));
    /// ```
    pub fn add(&mut self, places: &[usize]) {
        self.questions += 1;
        let found = || places.iter().filter(|&&place| place < self.depth);
        let gain = |place: usize| ((place + 2) as f64).log2().recip();
        let best: f64 = (0..places.len().min(self.depth)).map(gain).sum();
        self.recall += share(found().count() as f64, places.len() as f64);
        self.gain += share(found().map(|&place| gain(place)).sum(), best);
        if let Some(&first) = found().min() {
            self.reciprocal += ((first + 1) as f64).recip();
            self.first += u64::from(first == 0);
        }
    }

    /// Questions so far.
    pub fn questions(&self) -> u64 {
        self.questions
    }

    /// Share of questions whose first answer is right.
    pub fn accuracy(&self) -> f64 {
        share(self.first as f64, self.questions as f64)
    }

    /// Mean share of the right answers that stand among the first.
    pub fn recall(&self) -> f64 {
        share(self.recall, self.questions as f64)
    }

    /// Mean of one over the place of the first right answer, counted from 1.
    pub fn mean_reciprocal_rank(&self) -> f64 {
        share(self.reciprocal, self.questions as f64)
    }

    /// Mean of `sum 1 / log2(place + 1)` over right answers, against the best order (Järvelin and Kekäläinen 2002).
    pub fn ndcg(&self) -> f64 {
        share(self.gain, self.questions as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_worked_by_hand() {
        let mut ranking = Ranking::new(3);
        ranking.add(&[0, 4]); // one of two, the other too deep
        ranking.add(&[7]); // not found
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        close(ranking.recall(), 0.25);
        close(ranking.mean_reciprocal_rank(), 0.5);
        close(ranking.accuracy(), 0.5);
        // The best order of two right answers has 1 + 1 / log2(3).
        close(ranking.ndcg(), 0.5 / (1.0 + 3f64.log2().recip()));
        close(Ranking::new(3).ndcg(), 0.0);
    }
}
