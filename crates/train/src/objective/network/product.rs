//! Products with the Hessian of a network, and with the matrix of Gauss and Newton.

use super::{
    NetworkModel, NetworkState,
    layer::{Split, SplitMut, add_layer, apply_layer, back_layer},
};
use crate::{
    objective::{
        parts::Parts,
        rows::{add_outer, blocks, matrix_products},
    },
    optim::second::FiniteSum,
};
use refit_kernels::vectorized;

impl NetworkModel {
    /// `out = H v`.
    pub(super) fn product_into(&self, state: &NetworkState, v: &[f64], out: &mut [f64]) {
        let (x, split) = (self.split(&state.x), self.split(v));
        let (units, k, sample) = (self.config.hidden, self.classes(), state.kept.sample());
        let columns = self.features().columns();
        let parts = Parts::new(state.kept.len, self.dim());
        parts.sum(parts.nothing(), out, |places, (), sum| {
            let mut room = self.room(units);
            let (mut outputs, mut moved) = (vec![0.0; k], vec![0.0; units]);
            for block in blocks(self.features(), places) {
                let changes = &mut room[..block.len() * units];
                matrix_products(
                    self.features(),
                    sample,
                    block.clone(),
                    split.w1,
                    units,
                    changes,
                );
                let mut sum = SplitMut::new(sum, columns, units);
                vectorized(
                    #[inline(always)]
                    || {
                        for (place, change) in block.clone().zip(changes.chunks_exact_mut(units)) {
                            let room = [change, &mut outputs, &mut moved];
                            self.product_of_row(state, place, [&x, &split], room, &mut sum);
                        }
                    },
                );
                add_outer(self.features(), sample, block, changes, units, sum.w1);
            }
            0.0
        });
        let out = SplitMut::new(out, columns, units);
        for (penalty, (v, out)) in state
            .penalties
            .iter()
            .zip([(split.w1, out.w1), (split.w2, out.w2)])
        {
            for ((out, curvature), v) in out.iter_mut().zip(penalty).zip(v) {
                *out += curvature * v;
            }
        }
    }

    /// Adds what one row adds to a product; `change` comes as the change of the inputs of the hidden units without
    /// biases, and leaves as that of their derivatives.
    #[inline(always)]
    fn product_of_row(
        &self,
        state: &NetworkState,
        place: usize,
        [x, v]: [&Split<'_>; 2],
        [change, outputs, moved]: [&mut [f64]; 3],
        sum: &mut SplitMut<'_>,
    ) {
        let (units, k) = (self.config.hidden, self.classes());
        let (hidden, slopes) =
            state.activations[place * (units + k)..][..units + k].split_at(units);
        let share = state.kept.share(place);
        // Forward: R h = act' R z1, R z2 = V2^T h + W2^T R h + v_b2.
        for (j, moved) in moved.iter_mut().enumerate() {
            change[j] += v.b1[j];
            *moved = self.config.activation.derivatives(hidden[j]).0 * change[j];
        }
        outputs.copy_from_slice(v.b2);
        apply_layer(hidden, v.w2, outputs);
        apply_layer(moved, x.w2, outputs);
        let class = self.rows.class(state.kept.sample().term(place));
        self.config.head.curve(slopes, class, outputs);
        add_layer(share, hidden, outputs, sum.w2);
        add_layer(share, &[1.0], outputs, sum.b2);
        if !state.gauss_newton {
            add_layer(share, moved, slopes, sum.w2);
        }
        // Backward: delta1 = act' (W2 delta2), and its change.
        for (j, change) in change.iter_mut().enumerate() {
            let (slope, bend) = self.config.activation.derivatives(hidden[j]);
            let mut back = slope * back_layer(x.w2, j, outputs);
            if !state.gauss_newton {
                back += slope * back_layer(v.w2, j, slopes);
                back += bend * *change * back_layer(x.w2, j, slopes);
            }
            *change = share * back;
            sum.b1[j] += *change;
        }
    }
}
