//! Samples in the order of the rows in memory.
//!
//! Rows of a random list cost several times as much as rows in order: each waits for memory that no processor guesses.
//! Sorting the list costs less than one such pass.

use crate::optim::second::Sample;
use rayon::prelude::*;

/// A sample with its terms ascending.
#[derive(Debug)]
pub(super) struct Order<'a> {
    given: Sample<'a>,
    sorted: Option<Sorted>,
}

#[derive(Debug)]
struct Sorted {
    terms: Vec<u32>,
    /// Empty: all the same.
    weights: Vec<f64>,
    /// Where each term stood.
    places: Vec<u32>,
}

impl<'a> Order<'a> {
    pub(super) fn new(given: Sample<'a>) -> Self {
        let (terms, weights): (&[u32], &[f64]) = match given {
            Sample::All => (&[], &[]),
            Sample::Terms(terms) => (terms, &[]),
            Sample::Weighted { terms, weights } => (terms, weights),
        };
        let sorted = (!terms.is_sorted()).then(|| Sorted::new(terms, weights));
        Self { given, sorted }
    }

    /// The sample, ascending.
    pub(super) fn sample(&self) -> Sample<'_> {
        match &self.sorted {
            None => self.given,
            Some(sorted) if sorted.weights.is_empty() => Sample::Terms(&sorted.terms),
            Some(sorted) => Sample::Weighted {
                terms: &sorted.terms,
                weights: &sorted.weights,
            },
        }
    }

    /// The terms in ascending order; `None`: all of them.
    pub(super) fn into_terms(self) -> Option<Vec<u32>> {
        match (self.sorted, self.given) {
            (Some(sorted), _) => Some(sorted.terms),
            (None, Sample::All) => None,
            (None, Sample::Terms(terms) | Sample::Weighted { terms, .. }) => Some(terms.to_vec()),
        }
    }

    /// Brings one value for each place into the order that the sample was given in.
    pub(super) fn restore(&self, values: &mut [f64]) {
        if let Some(sorted) = &self.sorted {
            let ascending = values.to_vec();
            for (&place, value) in sorted.places.iter().zip(ascending) {
                values[place as usize] = value;
            }
        }
    }
}

impl Sorted {
    fn new(terms: &[u32], weights: &[f64]) -> Self {
        let pair = |(place, &term): (usize, &u32)| u64::from(term) << 32 | place as u64;
        let mut pairs: Vec<u64> = terms.iter().enumerate().map(pair).collect();
        // No two are equal, so that there is one order.
        pairs.par_sort_unstable();
        let places: Vec<u32> = pairs.iter().map(|&pair| pair as u32).collect();
        let in_order = |&place: &u32| weights[place as usize];
        Self {
            terms: pairs.iter().map(|&pair| (pair >> 32) as u32).collect(),
            weights: if weights.is_empty() {
                Vec::new()
            } else {
                places.iter().map(in_order).collect()
            },
            places,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_sorted_with_its_weights_and_values_come_back() {
        let (terms, weights) = ([5, 1, 5, 0], [0.5, 1.5, 2.5, 3.5]);
        let given = Sample::Weighted {
            terms: &terms,
            weights: &weights,
        };
        let order = Order::new(given);
        let expected = Sample::Weighted {
            terms: &[0, 1, 5, 5],
            weights: &[3.5, 1.5, 0.5, 2.5],
        };
        assert_eq!(order.sample(), expected);
        let mut values = vec![0.0, 1.0, 2.0, 3.0];
        order.restore(&mut values);
        assert_eq!(values, [2.0, 1.0, 3.0, 0.0]);
        assert_eq!(order.into_terms(), Some(vec![0, 1, 5, 5]));
    }

    #[test]
    fn what_ascends_is_left_alone() {
        for given in [
            Sample::All,
            Sample::Terms(&[0, 3, 3, 7]),
            Sample::Terms(&[]),
        ] {
            let order = Order::new(given);
            assert!(order.sorted.is_none());
            assert_eq!(order.sample(), given);
            let mut values = vec![1.0, 2.0];
            order.restore(&mut values);
            assert_eq!(values, [1.0, 2.0]);
        }
        assert_eq!(Order::new(Sample::All).into_terms(), None);
    }
}
