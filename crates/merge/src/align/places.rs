//! A specification applied to the tensors of a model: where each permutation acts.

use super::{
    error::AlignError,
    spec::{Binding, PermutationSpec},
};
use crate::layout::{Entry, Layout};
use refit_math::{MathError, Matrix};
use std::collections::BTreeMap;

/// One axis of one tensor that a permutation moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Position of the permutation in [`Places::names`].
    pub(super) group: usize,
    /// Position of the tensor in the layout.
    pub(super) tensor: usize,
    pub(super) axis: usize,
    /// Length of a period.
    period: usize,
    repeats: usize,
    start: usize,
    unit: usize,
    items: usize,
}

/// Where each permutation acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Names of permutations, sorted.
    pub(super) names: Vec<String>,
    /// Items of each permutation.
    pub(super) items: Vec<usize>,
    pub(super) all: Vec<Place>,
}

impl Places {
    pub(super) fn new(spec: &PermutationSpec, layout: &Layout) -> Result<Self, AlignError> {
        let mut found = BTreeMap::<String, Vec<Place>>::new();
        for binding in &spec.bindings {
            let mut any = false;
            for (tensor, entry) in layout.entries().iter().enumerate() {
                if let Some(name) = binding.permutation_of(entry.path.as_str()) {
                    any = true;
                    found
                        .entry(name)
                        .or_default()
                        .push(place(binding, tensor, entry)?);
                }
            }
            if !any && !binding.optional {
                let pattern = binding.tensor.clone();
                return Err(AlignError::NoTensor { pattern });
            }
        }
        let (mut names, mut items, mut places) = (vec![], vec![], Vec::<Place>::new());
        for (group, (name, group_places)) in found.into_iter().enumerate() {
            let expected = group_places.first().map_or(0, |place| place.items);
            for place in group_places {
                let path = &layout.entries()[place.tensor].path;
                let axis = place.axis;
                if place.items != expected {
                    return Err(AlignError::Items {
                        path: path.clone(),
                        axis,
                        name,
                        found: place.items,
                        expected,
                    });
                }
                if places.iter().any(|other| other.overlaps(&place)) {
                    let path = path.clone();
                    return Err(AlignError::Overlap { path, axis });
                }
                places.push(Place { group, ..place });
            }
            names.push(name);
            items.push(expected);
        }
        Ok(Self {
            names,
            items,
            all: places,
        })
    }

    /// The tensor with every axis in the order of `orders`, without the place `except`: entry `i` of an axis is the
    /// old entry that the order names.
    pub(super) fn gather(
        &self,
        tensor: usize,
        shape: &[usize],
        values: &[f32],
        orders: &[Vec<usize>],
        except: Option<&Place>,
    ) -> Vec<f32> {
        let mut values = values.to_vec();
        for (axis, &len) in shape.iter().enumerate() {
            let mut from: Vec<usize> = (0..len).collect();
            let here = |place: &&Place| {
                (place.tensor, place.axis) == (tensor, axis) && Some(*place) != except
            };
            for place in self.all.iter().filter(here) {
                place.write_sources(&orders[place.group], &mut from);
            }
            if from.iter().enumerate().any(|(i, &from)| i != from) {
                values = take(&values, shape, axis, &from);
            }
        }
        values
    }
}

fn place(binding: &Binding, tensor: usize, entry: &Entry) -> Result<Place, AlignError> {
    let (path, axis) = (&entry.path, binding.axis);
    let Some(&len) = entry.shape.get(axis) else {
        return Err(AlignError::Axis {
            path: path.clone(),
            rank: entry.shape.len(),
            axis,
        });
    };
    let &Binding {
        unit,
        repeats,
        start,
        ..
    } = binding;
    let cut = || {
        let period = len
            .checked_rem(repeats)
            .filter(|rest| *rest == 0)
            .map(|_| len / repeats)?;
        let room = period.checked_sub(start)?;
        let items = match binding.items {
            Some(items) => items,
            None => room
                .checked_rem(unit)
                .filter(|rest| *rest == 0)
                .map(|_| room / unit)?,
        };
        let fits = unit > 0 && items.checked_mul(unit)? <= room;
        fits.then_some(Place {
            group: 0,
            tensor,
            axis,
            period,
            repeats,
            start,
            unit,
            items,
        })
    };
    cut().ok_or_else(|| AlignError::Extent {
        path: path.clone(),
        axis,
        found: len,
    })
}

impl Place {
    fn overlaps(&self, other: &Self) -> bool {
        let end = |place: &Self| place.start + place.items * place.unit;
        (self.tensor, self.axis) == (other.tensor, other.axis)
            // Of different periods only those side by side are told apart; the others are refused.
            && (self.period != other.period || (self.start < end(other) && other.start < end(self)))
    }

    /// Calls `then` with each item and where one of its stretches of `unit` entries begins.
    fn each_stretch(&self, len: usize, mut then: impl FnMut(usize, usize)) {
        for period in (0..len).step_by(self.period.max(1)) {
            for item in 0..self.items {
                then(item, period + self.start + item * self.unit);
            }
        }
    }

    /// Whether a tensor of `shape` has the axis that this place was made for.
    pub(super) fn fits(&self, shape: &[usize]) -> bool {
        shape.get(self.axis) == Some(&(self.period * self.repeats))
    }

    /// Writes down from which entry of the axis each entry comes.
    fn write_sources(&self, order: &[usize], from: &mut [usize]) {
        let len = from.len();
        self.each_stretch(len, |item, at| {
            let source = at - item * self.unit + order[item] * self.unit;
            for i in 0..self.unit {
                from[at + i] = source + i;
            }
        });
    }

    /// `[items, everything else]`: row `i` holds all values that move with item `i`.
    pub(super) fn rows(&self, shape: &[usize], values: &[f32]) -> Result<Matrix, MathError> {
        let len = shape[self.axis];
        let inner: usize = shape[self.axis + 1..].iter().product();
        let mut rows = vec![Vec::new(); self.items];
        for block in values.chunks(len * inner.max(1)) {
            self.each_stretch(len, |item, at| {
                let stretch = &block[at * inner..(at + self.unit) * inner];
                rows[item].extend(stretch.iter().map(|&v| f64::from(v)));
            });
        }
        let cols = rows.first().map_or(0, Vec::len);
        Matrix::new(self.items, cols, rows.concat())
    }
}

/// Entry `i` of `axis` is the old entry `from[i]`.
fn take(values: &[f32], shape: &[usize], axis: usize, from: &[usize]) -> Vec<f32> {
    let inner: usize = shape[axis + 1..].iter().product();
    let mut out = Vec::with_capacity(values.len());
    for block in values.chunks(from.len() * inner.max(1)) {
        for &from in from {
            out.extend_from_slice(&block[from * inner..(from + 1) * inner]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(tensors: &[(&str, &[usize])]) -> Layout {
        Layout::new(
            tensors
                .iter()
                .map(|(name, shape)| ((*name).into(), shape.to_vec())),
        )
    }

    fn spec(bindings: &[Binding]) -> PermutationSpec {
        PermutationSpec {
            bindings: bindings.to_vec(),
        }
    }

    #[test]
    fn units_periods_and_stretches_move_as_wholes() {
        // Two periods of 5: one entry that stays, then two items of two.
        let binding = Binding {
            repeats: 2,
            ..Binding::new("w", 1, "p").in_units_of(2).within(1, 2)
        };
        let layout = layout(&[("w", &[1, 10])]);
        let places = Places::new(&spec(&[binding]), &layout).unwrap();
        let values: Vec<f32> = (0..10u8).map(f32::from).collect();
        let moved = places.gather(0, &[1, 10], &values, &[vec![1, 0]], None);
        assert_eq!(moved, [0.0, 3.0, 4.0, 1.0, 2.0, 5.0, 8.0, 9.0, 6.0, 7.0]);
        let rows = places.all[0].rows(&[1, 10], &values).unwrap();
        assert_eq!(rows.row(1), [3.0, 4.0, 8.0, 9.0]);
    }

    #[test]
    fn bindings_that_cannot_work_are_refused() {
        let layout = layout(&[("w", &[4, 6]), ("b", &[3])]);
        let refused = |bindings: &[Binding]| Places::new(&spec(bindings), &layout).unwrap_err();
        let text = refused(&[Binding::new("x", 0, "p")]).to_string();
        assert_eq!(text, "no tensor is called `x`, expected at least one");
        assert!(Places::new(&spec(&[Binding::new("x", 0, "p").optional()]), &layout).is_ok());
        assert!(matches!(
            refused(&[Binding::new("w", 2, "p")]),
            AlignError::Axis { .. }
        ));
        let zero = Binding {
            repeats: 0,
            ..Binding::new("w", 0, "p")
        };
        for bad in [
            Binding::new("w", 0, "p").in_units_of(3),
            Binding::new("w", 0, "p").in_units_of(0),
            Binding::new("w", 0, "p").within(2, 3),
            Binding::new("w", 0, "p").within(9, 0),
            Binding::new("w", 0, "p")
                .in_units_of(usize::MAX)
                .within(0, 2),
            zero,
        ] {
            assert!(matches!(refused(&[bad]), AlignError::Extent { .. }));
        }
        let unequal = [Binding::new("w", 0, "p"), Binding::new("b", 0, "p")];
        let text = refused(&unequal).to_string();
        assert_eq!(
            text,
            "axis 0 of `b` has 3 items of permutation `p`, others have 4"
        );
        let twice = [
            Binding::new("w", 0, "p"),
            Binding::new("w", 0, "q").within(3, 1),
        ];
        assert!(matches!(refused(&twice), AlignError::Overlap { .. }));
    }
}
