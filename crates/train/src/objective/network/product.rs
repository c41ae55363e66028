//! Products with the Hessian of a network, and with the matrix of Gauss and Newton.

use super::{
    NetworkModel, NetworkState,
    layer::{Split, SplitMut, add_layer, apply_layer, back_layer},
};
use crate::{
    objective::{
        Penalty,
        parts::Parts,
        rows::{add_outer, add_scaled, blocks, matrix_products},
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
            let mut outputs = vec![0.0; k];
            let mut vectors = [vec![0.0; units], vec![0.0; units], vec![0.0; units]];
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
                            let room = (change, &mut outputs[..], &mut vectors);
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
            Penalty::add_product(penalty, v, out);
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
        (change, outputs, vectors): (&mut [f64], &mut [f64], &mut [Vec<f64>; 3]),
        sum: &mut SplitMut<'_>,
    ) {
        let (units, k) = (self.config.hidden, self.classes());
        let (hidden, slopes) =
            state.activations[place * (units + k)..][..units + k].split_at(units);
        let (share, activation) = (state.kept.share(place), self.config.activation);
        let [moved, back, bent] = vectors;
        // Forward: R h = act' R z1, R z2 = V2 h + W2 R h + v_b2.
        let inputs = change.iter_mut().zip(v.b1).zip(hidden);
        for (moved, ((change, bias), &h)) in moved.iter_mut().zip(inputs) {
            *change += bias;
            *moved = activation.derivatives(h).0 * *change;
        }
        outputs.copy_from_slice(v.b2);
        apply_layer(hidden, v.w2, outputs);
        apply_layer(moved, x.w2, outputs);
        let class = self.rows.class(state.kept.sample().term(place));
        self.config.head.curve(slopes, class, outputs);
        add_layer(share, hidden, outputs, sum.w2);
        add_scaled(sum.b2, share, outputs);
        // Backward: delta1 = act' (W2^T delta2), and its change.
        back.fill(0.0);
        bent.fill(0.0);
        back_layer(x.w2, outputs, back);
        if !state.gauss_newton {
            add_layer(share, moved, slopes, sum.w2);
            back_layer(v.w2, slopes, back);
            back_layer(x.w2, slopes, bent);
        }
        let backward = back.iter().zip(&*bent).zip(hidden);
        for (change, ((back, bent), &h)) in change.iter_mut().zip(backward) {
            let (slope, bend) = activation.derivatives(h);
            *change = share * (slope * back + bend * *change * bent);
        }
        add_scaled(sum.b1, 1.0, change);
    }
}
