//! A loss and its gradient on the host.

use burn::tensor::Tensor;
use rayon::prelude::*;
use refit_nn::{Role, Weights, to_host};

/// Values per task when a buffer is worked on in parallel; fixed, so that threads do not change results.
pub(crate) const CHUNK: usize = 1 << 14;

/// Gradient with respect to every weight, one host buffer per tensor in layout order; empty for tensors that are not
/// trained, zeros for trained tensors that the loss does not depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradient {
    buffers: Vec<Vec<f32>>,
}

impl Gradient {
    /// One buffer per tensor.
    pub fn buffers(&self) -> &[Vec<f32>] {
        &self.buffers
    }

    /// The buffers themselves.
    pub fn into_buffers(self) -> Vec<Vec<f32>> {
        self.buffers
    }

    /// Adds `other`, tensor by tensor.
    ///
    /// # Panics
    /// If the two belong to different layouts.
    pub fn add(&mut self, other: &Self) {
        assert_eq!(
            self.buffers.len(),
            other.buffers.len(),
            "gradients of one layout"
        );
        for (sum, term) in self.buffers.iter_mut().zip(&other.buffers) {
            assert_eq!(sum.len(), term.len(), "gradients of one layout");
            sum.par_chunks_mut(CHUNK)
                .zip(term.par_chunks(CHUNK))
                .for_each(|(sum, term)| {
                    sum.iter_mut().zip(term).for_each(|(s, t)| *s += t);
                });
        }
    }

    /// Multiplies every entry.
    pub fn scale(&mut self, factor: f32) {
        for buffer in &mut self.buffers {
            buffer
                .par_chunks_mut(CHUNK)
                .for_each(|part| part.iter_mut().for_each(|g| *g *= factor));
        }
    }

    /// Euclidean norm over all tensors, summed in a fixed order.
    pub fn norm(&self) -> f64 {
        let square = |part: &[f32]| {
            part.iter()
                .map(|&g| f64::from(g) * f64::from(g))
                .sum::<f64>()
        };
        self.buffers
            .iter()
            .map(|buffer| {
                let parts: Vec<f64> = buffer.par_chunks(CHUNK).map(square).collect();
                parts.iter().sum::<f64>()
            })
            .sum::<f64>()
            .sqrt()
    }
}

/// Evaluates `loss` on tracked copies of `weights` and differentiates it.
///
/// `loss` returns one value (shape `[1]`) and whatever else the caller wants to keep. Tensors of role
/// [`Role::Buffer`] get no gradient.
///
/// # Errors
/// Those of `loss`.
///
/// # Example
/// ```
/// use burn::tensor::Device;
/// use refit_core::Seed;
/// use refit_nn::{Init, NnError, Weights};
/// let w = Weights::create(Seed::new(0), &Device::flex(), |s| s.tensor("w", [3], Init::Ones))?;
/// let (value, gradient, ()) = refit_train::value_and_gradient(&w, |at| {
///     Ok::<_, NnError>((at.values()[0].value().clone().powf_scalar(2.0).sum(), ()))
/// })?;
/// assert_eq!(value, 3.0);
/// assert_eq!(gradient.buffers()[0], [2.0, 2.0, 2.0]);
/// # Ok::<(), NnError>(())
/// ```
pub fn value_and_gradient<E, R>(
    weights: &Weights,
    loss: impl FnOnce(&Weights) -> Result<(Tensor<1>, R), E>,
) -> Result<(f64, Gradient, R), E> {
    let tracked = weights.tracked();
    let (value, rest) = loss(&tracked)?;
    let mut gradients = value.backward();
    let value = f64::from(to_host(value.inner())[0]);
    let buffers = tracked
        .layout()
        .specs()
        .iter()
        .zip(tracked.values())
        .map(
            |(spec, dual)| match (spec.role, dual.value().grad_remove(&mut gradients)) {
                (Role::Buffer, _) => Vec::new(),
                (Role::Weight, Some(gradient)) => to_host(gradient),
                (Role::Weight, None) => vec![0.0; spec.len()],
            },
        )
        .collect();
    Ok((value, Gradient { buffers }, rest))
}
