//! Keys and values of tokens that were read before.

use burn::tensor::Tensor;
use refit_kernels::dual::Dual;

/// Keys and values of one layer, `[n, tokens so far, heads * width]`.
///
/// Room is made for twice as many tokens whenever it runs out, so a token is written once and seldom moved.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// Keys and values with room behind them.
    seen: Option<[Dual<3>; 2]>,
    tokens: usize,
}

impl Cache {
    /// Tokens so far.
    pub fn len(&self) -> usize {
        self.tokens
    }

    /// Whether no token was read.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    /// Adds those of new tokens; all of them.
    pub(super) fn extend(&mut self, keys: Dual<3>, values: Dual<3>) -> (Dual<3>, Dual<3>) {
        let (first, new) = (self.tokens, keys.dims()[1]);
        self.tokens += new;
        let all = match self.seen.take() {
            None => [keys, values],
            Some(seen) => {
                let mut new_ones = [keys, values].into_iter();
                seen.map(|seen| {
                    // Invariant: as many as there were seen.
                    let new = new_ones.next().expect("keys and values");
                    put(seen, new, first)
                })
            }
        };
        let [keys, values] = all.clone().map(|all| all.narrow(1, 0, self.tokens));
        self.seen = Some(all);
        (keys, values)
    }
}

/// `seen` with `new` behind its first `first` tokens, in room that is there or made.
fn put(seen: Dual<3>, new: Dual<3>, first: usize) -> Dual<3> {
    let [n, room, d] = seen.dims();
    let tokens = first + new.dims()[1];
    if seen.tangent().is_some() || new.tangent().is_some() {
        return Dual::cat(vec![seen.narrow(1, 0, first), new], 1);
    }
    let (seen, new) = (seen.into_value(), new.into_value());
    let seen = if tokens <= room {
        seen
    } else {
        let larger = Tensor::<3>::zeros([n, 2 * tokens, d], (&seen.device(), seen.dtype()));
        larger.slice_assign([0..n, 0..first, 0..d], seen.narrow(1, 0, first))
    };
    seen.slice_assign([0..n, first..tokens, 0..d], new).into()
}
