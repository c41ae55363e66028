//! What objectives over several classes share: a table with its classes, and lists of terms that states keep.

use super::{ObjectiveError, rows};
use crate::optim::second::Sample;
use refit_io::data::{Features, Table};

/// Rows and the class of each.
#[derive(Clone, Debug)]
pub(super) struct ClassRows {
    pub(super) features: Features,
    pub(super) classes: Vec<u32>,
    pub(super) count: usize,
    /// `|a_i|^2 + bias`.
    pub(super) square_norms: Vec<f64>,
}

impl ClassRows {
    /// The rows of `table`; with a bias, each has a 1 more.
    pub(super) fn new(table: Table, bias: bool) -> Result<Self, ObjectiveError> {
        let name = || table.name().to_owned();
        if table.is_empty() {
            return Err(ObjectiveError::Empty { table: name() });
        }
        if table.features().columns() == 0 && !bias {
            return Err(ObjectiveError::NoParameter { table: name() });
        }
        let classes = table.classes().map_err(|source| ObjectiveError::Labels {
            table: name(),
            source,
        })?;
        let (features, _) = table.into_parts();
        let mut square_norms = rows::square_norms(&features);
        for norm in &mut square_norms {
            *norm += f64::from(u8::from(bias));
        }
        Ok(Self {
            features,
            count: classes.count(),
            classes: classes.of_rows().to_vec(),
            square_norms,
        })
    }

    /// The class of a term.
    #[inline]
    pub(super) fn class(&self, term: usize) -> usize {
        self.classes[term] as usize
    }

    /// Share of the rows whose class is not that of the largest output; of equal ones the first counts, and NaN is wrong.
    pub(super) fn error_rate(&self, outputs: &[f64]) -> f64 {
        let pairs = outputs.chunks_exact(self.count).zip(&self.classes);
        let right = pairs.filter(|(outputs, class)| {
            let best = outputs[**class as usize];
            let beats = |(j, z): (usize, &f64)| {
                *z < best || j == **class as usize || *z <= best && j > **class as usize
            };
            outputs.iter().enumerate().all(beats)
        });
        1.0 - right.count() as f64 / self.classes.len() as f64
    }
}

/// The sample that a state was made for, with the weight of each place in the mean.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// `None`: every term.
    terms: Option<Vec<u32>>,
    /// Empty: all the same.
    weights: Vec<f64>,
    pub(super) len: usize,
}

impl Kept {
    pub(super) fn new(sample: Sample<'_>, terms: usize) -> Self {
        let len = sample.len(terms);
        let (terms, weights) = match sample {
            Sample::All => (None, Vec::new()),
            Sample::Terms(terms) => (Some(terms.to_vec()), Vec::new()),
            Sample::Weighted { terms, weights } => (Some(terms.to_vec()), weights.to_vec()),
        };
        Self {
            terms,
            weights,
            len,
        }
    }

    pub(super) fn sample(&self) -> Sample<'_> {
        match &self.terms {
            None => Sample::All,
            Some(terms) if self.weights.is_empty() => Sample::Terms(terms),
            Some(terms) => Sample::Weighted {
                terms,
                weights: &self.weights,
            },
        }
    }

    /// Share of the term at a place in the mean.
    #[inline]
    pub(super) fn share(&self, place: usize) -> f64 {
        self.weights.get(place).copied().unwrap_or(1.0) / self.len as f64
    }
}
