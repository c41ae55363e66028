//! Weights in memory, by name.

use crate::{
    error::{MergeError, ModelName, NameList},
    layout::Layout,
    weights::Weights,
};
use refit_core::{ParamPath, Source};
use std::{collections::HashSet, sync::Arc};

/// Named tensors in single precision, in one fixed order.
///
/// ```
/// use refit_merge::TensorSet;
/// let set = TensorSet::from_values([("a.weight", vec![1, 2], vec![1.0, 2.0]), ("a.bias", vec![1], vec![0.5])]).unwrap();
/// assert_eq!(set.get("a.bias").unwrap(), [0.5]);
/// assert_eq!(set.layout().values(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSet {
    layout: Arc<Layout>,
    values: Vec<Vec<f32>>,
}

impl TensorSet {
    /// Collects `(name, shape, values)`.
    ///
    /// # Errors
    /// [`MergeError::Size`] when values do not fill their shape, [`MergeError::Names`] when a name comes twice.
    pub fn from_values<P: Into<ParamPath>>(
        tensors: impl IntoIterator<Item = (P, Vec<usize>, Vec<f32>)>,
    ) -> Result<Self, MergeError> {
        let (mut entries, mut values, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for (path, shape, tensor) in tensors {
            let path = path.into();
            let expected = shape.iter().product();
            if tensor.len() != expected {
                let (model, found) = (ModelName::Plain("tensor set".into()), tensor.len());
                return Err(MergeError::Size {
                    path,
                    model,
                    found,
                    expected,
                    unit: "values",
                });
            }
            if !seen.insert(path.clone()) {
                return Err(MergeError::Names {
                    what: "repeated names in a tensor set".into(),
                    missing: NameList::default(),
                    unexpected: NameList(vec![path.to_string()]),
                });
            }
            entries.push((path, shape));
            values.push(tensor);
        }
        Ok(Self {
            layout: Arc::new(Layout::new(entries)),
            values,
        })
    }

    /// Reads every weight of `source` in single precision; tensors that are no weights are left out.
    ///
    /// # Errors
    /// Those of [`Weights::open`].
    pub fn from_source<S: Source>(name: impl AsRef<str>, source: &S) -> Result<Self, MergeError> {
        Ok(Weights::open(name, source)?.to_set())
    }

    pub(crate) fn from_parts(layout: Arc<Layout>, values: Vec<Vec<f32>>) -> Self {
        debug_assert!(
            layout
                .entries()
                .iter()
                .map(|e| e.len)
                .eq(values.iter().map(Vec::len))
        );
        Self { layout, values }
    }

    pub(crate) fn into_parts(self) -> (Arc<Layout>, Vec<Vec<f32>>) {
        (self.layout, self.values)
    }

    /// Names and shapes.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The values, tensor by tensor in the order of [`layout`](Self::layout).
    pub fn tensors(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// The values, given away tensor by tensor.
    pub fn into_tensors(self) -> Vec<Vec<f32>> {
        self.values
    }

    /// The tensor called `path`; looks through the list.
    pub fn get(&self, path: &str) -> Option<&[f32]> {
        let at = self.layout.paths().position(|p| p.as_str() == path)?;
        Some(&self.values[at])
    }

    /// Each name with its shape and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ParamPath, &[usize], &[f32])> {
        let entries = self.layout.entries().iter();
        entries
            .zip(&self.values)
            .map(|(e, v)| (&e.path, e.shape.as_slice(), v.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_fill_their_shape_and_names_are_unique() {
        let short = TensorSet::from_values([("a", vec![2, 2], vec![0.0; 3])]).unwrap_err();
        assert!(short.to_string().contains("`a`") && short.to_string().contains("holds 3 values"));
        let twice = TensorSet::from_values([("a", vec![], vec![0.0]), ("a", vec![], vec![1.0])]);
        assert!(twice.unwrap_err().to_string().contains("`a`"));
    }
}
