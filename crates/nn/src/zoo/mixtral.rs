//! The mixtures of Mixtral (Jiang et al. 2024, arXiv:2401.04088), in both ways in which Hugging Face names them.

use crate::{
    Init, NnError, Scope,
    blocks::{Activation, DEVIATION, Experts, Linear, Mlp, dense},
};

/// Binds `all` perceptrons of a layer with tokens of width `d`, of which `chosen` read each token. Files hold every map
/// by itself, or those of all perceptrons together as models have them in memory.
pub(super) fn experts(
    layer: &Scope<'_>,
    [d, wide]: [usize; 2],
    [all, chosen]: [usize; 2],
    activation: Activation,
) -> Result<Experts, NnError> {
    let mlp = |gate, up, down| Mlp::new(up, down, activation).gated(gate);
    let together = layer.at("mlp");
    if together.holds("experts.gate_up_proj") {
        let place = together.at("experts");
        let start = Init::Normal(DEVIATION);
        let into = place.stacked("gate_up_proj", [all, 2 * wide, d], start)?;
        let out = place.stacked("down_proj", [all, d, wide], start)?;
        let expert = |i: usize| {
            let into =
                |half, rows| Linear::tied(into.clone().narrow(0, (2 * i + half) * rows, rows));
            let down = Linear::tied(out.clone().narrow(0, i * d, d));
            mlp(into(0, wide), into(1, wide), down)
        };
        let router = dense(&together.at("gate"), d, all, false)?;
        return Ok(Experts::new(router, (0..all).map(expert).collect(), chosen));
    }
    let place = layer.at("block_sparse_moe");
    let expert = |i: usize| {
        let place = place.at("experts").at(i);
        let map = |name, inputs, outputs| dense(&place.at(name), inputs, outputs, false);
        Ok(mlp(
            map("w1", d, wide)?,
            map("w3", d, wide)?,
            map("w2", wide, d)?,
        ))
    };
    let experts = (0..all).map(expert).collect::<Result<_, NnError>>()?;
    Ok(Experts::new(
        dense(&place.at("gate"), d, all, false)?,
        experts,
        chosen,
    ))
}
