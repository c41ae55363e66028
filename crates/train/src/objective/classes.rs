//! What objectives over several classes share: a table with its classes.

use super::{ObjectiveError, rows};
use refit_io::data::{Classes, Features, Table, TableError};

/// Refuses a table that nothing can be fitted to.
pub(super) fn check_rows(table: &Table, bias: bool) -> Result<(), ObjectiveError> {
    let name = || table.name().to_owned();
    if table.is_empty() {
        return Err(ObjectiveError::Empty { table: name() });
    }
    if table.features().columns() == 0 && !bias {
        return Err(ObjectiveError::NoParameter { table: name() });
    }
    Ok(())
}

/// Refuses rows that parameters of `features` cannot be scored on.
pub(super) fn check_beside(table: &Table, features: &Features) -> Result<(), ObjectiveError> {
    let name = || table.name().to_owned();
    if table.is_empty() {
        return Err(ObjectiveError::Empty { table: name() });
    }
    let (found, expected) = (table.features().columns(), features.columns());
    if found == expected {
        return Ok(());
    }
    Err(ObjectiveError::Columns {
        table: name(),
        found,
        expected,
    })
}

/// Names the table of labels that are not the classes that are needed.
pub(super) fn labels(table: &Table) -> impl FnOnce(TableError) -> ObjectiveError {
    let table = table.name().to_owned();
    move |source| ObjectiveError::Labels { table, source }
}

/// Rows and the class of each.
#[derive(Clone, Debug)]
pub(super) struct ClassRows {
    pub(super) features: Features,
    pub(super) classes: Classes,
    /// `|a_i|^2 + bias`.
    pub(super) square_norms: Vec<f64>,
}

impl ClassRows {
    /// The rows of `table`; with a bias, each has a 1 more.
    pub(super) fn new(table: Table, bias: bool) -> Result<Self, ObjectiveError> {
        check_rows(&table, bias)?;
        let classes = table.classes().map_err(labels(&table))?;
        Ok(Self::of(table, classes, bias))
    }

    /// Other rows of the same width and classes.
    pub(super) fn beside(&self, table: Table, bias: bool) -> Result<Self, ObjectiveError> {
        check_beside(&table, &self.features)?;
        let classes = table.classes_among(&self.classes).map_err(labels(&table))?;
        Ok(Self::of(table, classes, bias))
    }

    fn of(table: Table, classes: Classes, bias: bool) -> Self {
        let (features, _) = table.into_parts();
        let mut square_norms = rows::square_norms(&features);
        for norm in &mut square_norms {
            *norm += f64::from(u8::from(bias));
        }
        Self {
            features,
            classes,
            square_norms,
        }
    }

    /// Number of classes.
    pub(super) const fn count(&self) -> usize {
        self.classes.count()
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.classes.of_rows().len()
    }

    /// The class of a term.
    #[inline]
    pub(super) fn class(&self, term: usize) -> usize {
        self.classes.of_rows()[term] as usize
    }

    /// [`error_rate`] of outputs of every row.
    pub(super) fn error_rate(&self, outputs: &[f64]) -> f64 {
        error_rate(outputs, self.classes.of_rows(), self.count())
    }
}

/// Share of the rows whose class is not that of the largest output; of equal ones the first counts, and NaN is wrong.
pub(super) fn error_rate(outputs: &[f64], classes: &[u32], count: usize) -> f64 {
    let right = (outputs.chunks_exact(count).zip(classes)).filter(|(outputs, class)| {
        let best = outputs[**class as usize];
        let beats = |(j, z): (usize, &f64)| {
            *z < best || j == **class as usize || *z <= best && j > **class as usize
        };
        outputs.iter().enumerate().all(beats)
    });
    1.0 - right.count() as f64 / classes.len() as f64
}
