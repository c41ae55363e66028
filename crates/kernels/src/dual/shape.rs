//! Moving, copying and adding up entries: linear maps, applied to value and tangent alike.

use super::Dual;
use burn::tensor::{AsIndex, BroadcastArgs, Int, ReshapeArgs, SliceArg, Tensor};

impl<const D: usize> Dual<D> {
    /// The same entries in another shape.
    pub fn reshape<const E: usize>(self, shape: impl ReshapeArgs<E> + Clone) -> Dual<E> {
        Dual {
            value: self.value.reshape(shape.clone()),
            tangent: self.tangent.map(|t| t.reshape(shape)),
        }
    }

    /// Merges the axes from `first` to `last`.
    pub fn flatten<const E: usize>(self, first: impl AsIndex, last: impl AsIndex) -> Dual<E> {
        self.map(|x| x.flatten(first, last))
    }

    /// Exchanges two axes.
    #[must_use]
    pub fn swap_dims(self, a: impl AsIndex, b: impl AsIndex) -> Self {
        self.map(|x| x.swap_dims(a, b))
    }

    /// Exchanges the last two axes.
    #[must_use]
    pub fn transpose(self) -> Self {
        self.map(Tensor::transpose)
    }

    /// Reorders the axes: axis `i` of the result is axis `axes[i]`.
    #[must_use]
    pub fn permute(self, axes: [usize; D]) -> Self {
        self.map(|x| x.permute(axes))
    }

    /// A box of entries, one range per axis.
    #[must_use]
    pub fn slice(self, ranges: impl SliceArg + Clone) -> Self {
        Self {
            value: self.value.slice(ranges.clone()),
            tangent: self.tangent.map(|t| t.slice(ranges)),
        }
    }

    /// The entries `start..start + length` along an axis.
    #[must_use]
    pub fn narrow(self, axis: impl AsIndex, start: usize, length: usize) -> Self {
        self.map(|x| x.narrow(axis, start, length))
    }

    /// Adds axes of extent one in front.
    pub fn unsqueeze<const E: usize>(self) -> Dual<E> {
        self.map(Tensor::unsqueeze)
    }

    /// Adds an axis of extent one at `axis`.
    pub fn unsqueeze_dim<const E: usize>(self, axis: impl AsIndex) -> Dual<E> {
        self.map(|x| x.unsqueeze_dim(axis))
    }

    /// Removes every axis of extent one.
    pub fn squeeze<const E: usize>(self) -> Dual<E> {
        self.map(Tensor::squeeze)
    }

    /// Removes the axis `axis`, which has extent one.
    pub fn squeeze_dim<const E: usize>(self, axis: impl AsIndex) -> Dual<E> {
        self.map(|x| x.squeeze_dim(axis))
    }

    /// Repeats axes of extent one until the shape is reached.
    pub fn expand<const E: usize>(self, shape: impl BroadcastArgs<D, E> + Clone) -> Dual<E> {
        Dual {
            value: self.value.expand(shape.clone()),
            tangent: self.tangent.map(|t| t.expand(shape)),
        }
    }

    /// Repeats the whole tensor, `times[i]` copies along axis `i`.
    #[must_use]
    pub fn repeat(self, times: &[usize]) -> Self {
        self.map(|x| x.repeat(times))
    }

    /// Repeats the whole tensor along one axis.
    #[must_use]
    pub fn repeat_dim(self, axis: impl AsIndex, times: usize) -> Self {
        self.map(|x| x.repeat_dim(axis, times))
    }

    /// Joins along an axis. If one part carries a tangent, those of the others count as zero.
    ///
    /// # Panics
    /// If there is no part, or the other axes differ.
    #[must_use]
    pub fn cat(parts: Vec<Self>, axis: impl AsIndex) -> Self {
        let moves = parts.iter().any(|part| part.tangent.is_some());
        let tangent = moves.then(|| {
            let tangent = |x: &Self| x.tangent.clone().unwrap_or_else(|| x.value.zeros_like());
            Tensor::cat(parts.iter().map(tangent).collect(), axis)
        });
        let values = parts.into_iter().map(Self::into_value).collect();
        Self::new(Tensor::cat(values, axis), tangent)
    }

    /// Entries at places along an axis: `y[i, j] = x[i, at[i, j]]` for axis 1 of two.
    #[must_use]
    pub fn gather(self, axis: usize, at: &Tensor<D, Int>) -> Self {
        self.map(|x| x.gather(axis, at.clone()))
    }

    /// The mean of all entries.
    pub fn mean(self) -> Dual<1> {
        self.map(Tensor::mean)
    }

    /// The sum of all entries.
    pub fn sum(self) -> Dual<1> {
        self.map(Tensor::sum)
    }

    /// The mean along an axis, which keeps extent one.
    #[must_use]
    pub fn mean_dim(self, axis: impl AsIndex) -> Self {
        self.map(|x| x.mean_dim(axis))
    }

    /// The sum along an axis, which keeps extent one.
    #[must_use]
    pub fn sum_dim(self, axis: impl AsIndex) -> Self {
        self.map(|x| x.sum_dim(axis))
    }
}
