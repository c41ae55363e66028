//! What is minimised: a mean of many terms, of which any sample can be asked.

/// Which terms of a sum are meant, in which order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample<'a> {
    /// Every term once, in order: no list of numbers is made or read.
    All,
    /// These terms, each of the same weight. A sample without replacement is a list of different ones.
    Terms(&'a [u32]),
    /// Draws with replacement: the mean is `(1/m) sum_j weights_j f_(terms_j)`, with `weights_j = 1 / (n p_(terms_j))`
    /// where `p_i` is the probability of term `i` in one draw.
    Weighted {
        /// The terms drawn, repeats included.
        terms: &'a [u32],
        /// One weight for each draw.
        weights: &'a [f64],
    },
}

impl Sample<'_> {
    /// Number of terms, of a sum of `terms`.
    pub fn len(&self, terms: usize) -> usize {
        match self {
            Self::All => terms,
            Self::Terms(list) | Self::Weighted { terms: list, .. } => list.len(),
        }
    }

    /// Term at place `at` of the sample.
    ///
    /// # Panics
    /// When there is no such place in a list.
    #[inline]
    pub fn term(&self, at: usize) -> usize {
        match self {
            Self::All => at,
            Self::Terms(list) | Self::Weighted { terms: list, .. } => list[at] as usize,
        }
    }

    /// Weight of the term at place `at`.
    ///
    /// # Panics
    /// When there is no such place in a weighted list.
    #[inline]
    pub fn weight(&self, at: usize) -> f64 {
        match self {
            Self::Weighted { weights, .. } => weights[at],
            _ => 1.0,
        }
    }
}

/// A [`Sample`] that a state keeps, with the weight of each place in the mean.
#[derive(Clone, Debug)]
pub(crate) struct OwnedSample {
    /// `None`: every term.
    terms: Option<Vec<u32>>,
    /// Empty: all the same.
    weights: Vec<f64>,
    /// Number of places.
    pub(crate) len: usize,
}

impl OwnedSample {
    /// Of a sum of `terms`.
    pub(crate) fn new(sample: Sample<'_>, terms: usize) -> Self {
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

    pub(crate) fn sample(&self) -> Sample<'_> {
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
    pub(crate) fn share(&self, place: usize) -> f64 {
        self.weights.get(place).copied().unwrap_or(1.0) / self.len as f64
    }
}

/// Numbers that hold for every term and every point; what theory asks for to name the size of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// `G >= |grad f_i(x)|`.
    pub gradient: f64,
    /// `K >= |Hess f_i(x)|`.
    pub hessian: f64,
    /// `L`: the Hessian of the mean is `L`-Lipschitz.
    pub lipschitz: f64,
}

/// `F(x) = (1/n) sum_i f_i(x)`, of which any sample of terms can be asked.
///
/// Vectors are in double precision, whatever the data are. A result is a function of its arguments alone: it has the
/// same bits for any number of threads, and the value of a term has the same bits whatever sample it is part of (a
/// resumed run relies on both). Nothing is counted here: the solvers do that, in one place for every objective. What
/// cannot be computed is a NaN: a step that leads there is taken back.
pub trait FiniteSum: Sync {
    /// What a point keeps on a sample so that a product with the Hessian there costs two passes per term instead of
    /// four: activations, or second derivatives of the losses.
    type State: Send + Sync;

    /// Number of parameters.
    fn dim(&self) -> usize;

    /// Number of terms `n`.
    fn terms(&self) -> usize;

    /// `out_j = f_(sample_j)(x)`, one value for each place of the sample, not weighted.
    fn values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]);

    /// `out = ` the mean gradient over the sample, and the values of its terms, which come with it and have the bits of
    /// [`values`](Self::values).
    ///
    /// Returns `sum_j |grad f_(sample_j)(x)|^2` where that is cheap, as for generalised linear models. An objective
    /// always knows it or never does; where it does not, the spread is estimated from groups of terms.
    fn gradient(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<f64>;

    /// What products with the mean Hessian over the sample at `x` need.
    fn hessian(&self, x: &[f64], sample: Sample<'_>) -> Self::State;

    /// `out = H v`, `H` being the mean Hessian of the sample and the point that `state` was made for.
    fn product(&self, state: &Self::State, v: &[f64], out: &mut [f64]);

    /// Passes per term of one product: 2 where a state keeps activations, 4 where each product computes them anew.
    fn product_passes(&self) -> u64 {
        2
    }

    /// Told before a product with `state` how many there were, or how many its neighbour was asked for: an objective may
    /// form the matrix once that pays, and round in another way from then on.
    fn prepare(&self, state: &mut Self::State, products: u32) {
        let _ = (state, products);
    }

    /// [`gradient`](Self::gradient) and [`hessian`](Self::hessian) on the same sample in one pass, for objectives whose
    /// forward pass serves both; `None` in place of a state: there is no such pass, and nothing was computed.
    fn gradient_and_hessian(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<(Option<f64>, Self::State)> {
        let _ = (x, sample, values, out);
        None
    }

    /// Like [`hessian`](Self::hessian), for the Gauss-Newton matrix: the part of the Hessian without second derivatives
    /// of the model, never indefinite for convex losses. `None`: the objective has no such part.
    fn gauss_newton(&self, x: &[f64], sample: Sample<'_>) -> Option<Self::State> {
        let _ = (x, sample);
        None
    }

    /// `out_i = |Hess f_i(x)|` or an upper bound that is as cheap as a forward pass, for draws in proportion to it; for
    /// `f_i = phi_i(a_i^T x)` that is `|phi_i''| |a_i|^2`. False: it is not known, and nothing was written.
    fn curvatures(&self, x: &[f64], out: &mut [f64]) -> bool {
        let _ = (x, out);
        false
    }

    /// Bounds on every term, if there are any.
    fn bounds(&self) -> Option<Bounds> {
        None
    }

    /// Relative rounding error of the value of one term; differences of values below it are noise.
    fn precision(&self) -> f64 {
        f64::EPSILON
    }
}
