//! Where the rows of an embedding come from.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// For each row of the result, where the value of one model comes from: stretches of rows, in order and without gaps.
///
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowMap {
    runs: Arc<[RowRun]>,
}

/// A stretch of rows whose sources follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRun {
    /// Rows of the result; never empty.
    pub rows: Range<usize>,
    /// Where the first of them comes from. Those behind it come from the rows behind.
    pub source: RowSource,
}

/// Where a row comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// A row of a model, its own or another one.
    Model {
        /// Number of the model, from 0.
        model: usize,
        /// The row.
        row: usize,
    },
    /// The mean of rows of several models: their numbers, and the row of each.
    Mean(Arc<[(usize, usize)]>),
    /// All zeros.
    Zero,
    /// No token: the mean of all rows that are tokens.
    Fill,
}

impl RowMap {
    /// The stretches, in order.
    pub fn runs(&self) -> &[RowRun] {
        &self.runs
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.runs.last().map_or(0, |run| run.rows.end)
    }

    /// Where row `row` comes from; none behind the last row.
    pub fn source(&self, row: usize) -> Option<RowSource> {
        let run = self.runs.get(self.run_of(row))?;
        Some(run.source.behind(row - run.rows.start))
    }

    /// Whether the map leaves an embedding of `rows` rows of model `model` as it is.
    pub fn is_identity(&self, model: usize, rows: usize) -> bool {
        match &*self.runs {
            [] => rows == 0,
            [run] => run.rows.end == rows && run.source == RowSource::Model { model, row: 0 },
            _ => false,
        }
    }

    /// The stretch that row `row` is in.
    pub(super) fn run_of(&self, row: usize) -> usize {
        self.runs.partition_point(|run| run.rows.end <= row)
    }

    /// For each model that is read, how many rows it needs at least.
    pub(super) fn needs(&self) -> BTreeMap<usize, usize> {
        let mut needs = BTreeMap::new();
        for run in &*self.runs {
            let mut place = |&(model, row): &(usize, usize)| {
                let known = needs.entry(model).or_insert(0);
                *known = (row + run.rows.len()).max(*known);
            };
            match &run.source {
                RowSource::Model { model, row } => place(&(*model, *row)),
                RowSource::Mean(places) => places.iter().for_each(place),
                RowSource::Zero | RowSource::Fill => {}
            }
        }
        needs
    }
}

/// A [`RowMap`] while it is made, row after row.
#[derive(Debug, Default)]
pub(super) struct RowMapBuilder {
    runs: Vec<RowRun>,
    rows: usize,
}

impl RowMapBuilder {
    /// Adds rows without tokens until there are `rows`.
    pub(super) fn fill_to(&mut self, rows: usize) {
        if rows > self.rows {
            self.push(rows, RowSource::Fill);
        }
    }

    /// The source of row `row`; rows that were left out before it have no token.
    pub(super) fn set(&mut self, row: usize, source: RowSource) {
        self.fill_to(row);
        self.push(row + 1, source);
    }

    pub(super) fn finish(self) -> RowMap {
        RowMap {
            runs: self.runs.into(),
        }
    }

    fn push(&mut self, end: usize, source: RowSource) {
        match self.runs.last_mut() {
            Some(run) if run.source.reaches(run.rows.len(), &source) => run.rows.end = end,
            _ => self.runs.push(RowRun {
                rows: self.rows..end,
                source,
            }),
        }
        self.rows = end;
    }
}

impl RowSource {
    /// The source `by` rows behind.
    fn behind(&self, by: usize) -> Self {
        match self {
            Self::Model { model, row } => Self::Model {
                model: *model,
                row: row + by,
            },
            Self::Mean(places) => {
                Self::Mean(places.iter().map(|&(m, row)| (m, row + by)).collect())
            }
            Self::Zero | Self::Fill => self.clone(),
        }
    }

    /// Whether `next` lies `by` rows behind.
    fn reaches(&self, by: usize, next: &Self) -> bool {
        match (self, next) {
            (Self::Mean(from), Self::Mean(to)) => {
                let mut pairs = from.iter().zip(&**to);
                from.len() == to.len() && pairs.all(|(a, b)| (a.0, a.1 + by) == *b)
            }
            (Self::Model { model, row }, Self::Model { model: m, row: r }) => {
                (*model, row + by) == (*m, *r)
            }
            _ => self == next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(sources: impl IntoIterator<Item = (usize, RowSource)>, rows: usize) -> RowMap {
        let mut builder = RowMapBuilder::default();
        for (row, source) in sources {
            builder.set(row, source);
        }
        builder.fill_to(rows);
        builder.finish()
    }

    #[test]
    fn sources_that_follow_each_other_are_one_stretch() {
        let model = |model, row| RowSource::Model { model, row };
        let mean = |a, b| RowSource::Mean([(0, a), (1, b)].into());
        let sources = [
            model(0, 0),
            model(0, 1),
            model(1, 2),
            mean(3, 5),
            mean(4, 6),
            mean(5, 6),
            RowSource::Zero,
            RowSource::Zero,
        ];
        let map = map(sources.iter().cloned().enumerate(), 11);
        let rows: Vec<_> = map.runs().iter().map(|run| run.rows.clone()).collect();
        assert_eq!(rows, [0..2, 2..3, 3..5, 5..6, 6..8, 8..11]);
        for (row, source) in sources.into_iter().enumerate() {
            assert_eq!(map.source(row), Some(source));
        }
        assert_eq!(
            (map.source(10), map.source(11)),
            (Some(RowSource::Fill), None)
        );
        assert_eq!(
            map.needs().into_iter().collect::<Vec<_>>(),
            [(0, 6), (1, 7)]
        );
    }

    #[test]
    fn only_the_same_rows_in_the_same_order_are_the_identity() {
        let own = |rows: usize| {
            map(
                (0..rows).map(|row| (row, RowSource::Model { model: 1, row })),
                0,
            )
        };
        assert!(own(3).is_identity(1, 3) && own(0).is_identity(1, 0));
        assert!(
            !own(3).is_identity(0, 3) && !own(3).is_identity(1, 4) && !own(0).is_identity(1, 1)
        );
        let moved = map([(0, RowSource::Model { model: 1, row: 1 })], 0);
        assert!(!moved.is_identity(1, 1));
    }

    proptest! {
        #[test]
        fn stretches_give_back_what_was_set(picks in prop::collection::vec((0usize..4, 0usize..3, 0usize..3), 0..40)) {
            let sources: Vec<_> = picks.iter().map(|&(kind, model, row)| match kind {
                0 => RowSource::Zero,
                1 => RowSource::Fill,
                2 => RowSource::Mean([(model, row), (3, row)].into()),
                _ => RowSource::Model { model, row },
            }).collect();
            let map = map(sources.iter().cloned().enumerate(), 0);
            prop_assert_eq!(map.rows(), sources.len());
            for (row, source) in sources.into_iter().enumerate() {
                prop_assert_eq!(map.source(row), Some(source));
            }
        }
    }
}
