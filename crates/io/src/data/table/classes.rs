//! Labels as classes.

use super::TableError;

/// Different labels in ascending order, and which of them each row has.
///
/// ```
/// use refit_io::data::{DenseRows, Features, Table};
/// let rows = Features::Dense(DenseRows::new(vec![0.0; 4], 1)?);
/// let classes = Table::new("toy", rows, vec![3.0, 1.0, 2.0, 1.0])?.classes()?;
/// assert_eq!(classes.labels(), [1.0, 2.0, 3.0]);
/// assert_eq!(classes.of_rows(), [2, 0, 1, 0]);
/// assert_eq!(classes.counts(), [2, 1, 1]);
/// # Ok::<(), refit_io::data::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Classes {
    labels: Vec<f32>,
    of_rows: Vec<u32>,
}

impl Classes {
    /// Most classes; more different labels are taken for numbers.
    pub const MOST: usize = 10_000;

    /// The classes of finite labels.
    pub(super) fn of(all: &[f32]) -> Result<Self, TableError> {
        let mut labels: Vec<f32> = Vec::new();
        for &label in all {
            if label.abs() >= EXACT {
                return Err(TableError::LargeLabel { found: label });
            }
            if let Err(at) = place(&labels, label) {
                if labels.len() == Self::MOST {
                    return Err(TableError::NotClasses);
                }
                labels.insert(at, label + 0.0); // -0 is 0
            }
        }
        match labels[..] {
            [] => Err(TableError::Empty),
            [found] => Err(TableError::OneClass { found }),
            _ => Self::among(all, labels),
        }
    }

    /// The classes of labels of which each is one of `labels`, which ascend.
    pub(super) fn among(all: &[f32], labels: Vec<f32>) -> Result<Self, TableError> {
        let of_row = |(row, &label): (usize, &f32)| match place(&labels, label) {
            Ok(class) => Ok(class as u32),
            Err(_) => Err(TableError::OtherClass { row, found: label }),
        };
        let of_rows = all.iter().enumerate().map(of_row);
        Ok(Self {
            of_rows: of_rows.collect::<Result<_, _>>()?,
            labels,
        })
    }

    /// The classes alone, for whoever has the rows elsewhere.
    #[must_use]
    pub fn without_rows(self) -> Self {
        Self {
            of_rows: Vec::new(),
            ..self
        }
    }

    /// The label of each class, ascending.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// Number of classes, at least two.
    pub const fn count(&self) -> usize {
        self.labels.len()
    }

    /// The class of each row.
    pub fn of_rows(&self) -> &[u32] {
        &self.of_rows
    }

    /// Number of rows of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.count()];
        for &class in &self.of_rows {
            counts[class as usize] += 1;
        }
        counts
    }
}

/// Whole numbers from here on are not all there in single precision.
const EXACT: f32 = 16_777_216.0;

/// Where a label stands, or would stand.
fn place(labels: &[f32], label: f32) -> Result<usize, usize> {
    labels.binary_search_by(|known| known.total_cmp(&(label + 0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_pairs_become_zero_and_one() {
        for labels in [[-1.0, 1.0], [0.0, 1.0], [1.0, 2.0]] {
            let classes = Classes::of(&[labels[1], labels[0], labels[1]]).unwrap();
            assert_eq!(classes.labels(), labels);
            assert_eq!(classes.of_rows(), [1, 0, 1]);
        }
    }

    #[test]
    fn classes_of_other_rows_keep_their_numbers() {
        let known = Classes::of(&[3.0, 1.0, 2.0]).unwrap();
        let table = |labels: Vec<f32>| {
            let rows = super::super::DenseRows::new(vec![0.0; labels.len()], 1).unwrap();
            super::super::Table::new("t", super::super::Features::Dense(rows), labels).unwrap()
        };
        // One class alone is enough: nothing is learned from these rows.
        let found = table(vec![2.0, 2.0]).classes_among(&known).unwrap();
        assert_eq!((found.of_rows(), found.count()), ([1, 1].as_slice(), 3));
        let e = table(vec![2.0, 4.0]).classes_among(&known).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the label of row 2, counted from 1, is 4, which is none of the known classes"
        );
    }

    #[test]
    fn labels_that_are_kept_as_one_are_no_classes() {
        let e = Classes::of(&[16_777_215.0, 16_777_216.0]).unwrap_err();
        let words = "the label 16777216 cannot be told from its neighbours, expected classes below 16777216";
        assert_eq!(e.to_string(), words);
    }

    #[test]
    fn both_zeros_are_one_class() {
        let classes = Classes::of(&[-0.0, 1.0, 0.0]).unwrap();
        assert_eq!(classes.of_rows(), [0, 1, 0]);
    }

    #[test]
    fn one_class_none_and_too_many_are_refused() {
        let e = Classes::of(&[2.0, 2.0]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "every label is 2, expected at least two classes"
        );
        assert_eq!(Classes::of(&[]).unwrap_err(), TableError::Empty);
        let many: Vec<f32> = (0..=Classes::MOST).map(|i| i as f32).collect();
        assert_eq!(Classes::of(&many).unwrap_err(), TableError::NotClasses);
        assert_eq!(Classes::of(&many[1..]).unwrap().count(), Classes::MOST);
    }
}
