//! Keys and values of tokens that were read before.

use refit_kernels::dual::Dual;

/// Keys and values of one layer, `[n, tokens so far, heads * width]`.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    seen: Option<(Dual<3>, Dual<3>)>,
}

impl Cache {
    /// Tokens so far.
    pub fn len(&self) -> usize {
        self.seen.as_ref().map_or(0, |(keys, _)| keys.dims()[1])
    }

    /// Whether no token was read.
    pub fn is_empty(&self) -> bool {
        self.seen.is_none()
    }

    /// Adds those of new tokens; all of them.
    pub(super) fn extend(&mut self, keys: Dual<3>, values: Dual<3>) -> (Dual<3>, Dual<3>) {
        let all = match self.seen.take() {
            None => (keys, values),
            Some((old_keys, old_values)) => (
                Dual::cat(vec![old_keys, keys], 1),
                Dual::cat(vec![old_values, values], 1),
            ),
        };
        self.seen = Some(all.clone());
        all
    }
}
