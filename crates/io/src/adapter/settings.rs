//! `adapter_config.json` of an adapter that is written.

use super::{
    AdapterError, AdapterOptions,
    write::{beside_factors, low_rank},
};
use refit_core::{Adapter, AdapterTensor, Change, LowRank, Placement};
use serde::{Serialize, Serializer};
use std::collections::BTreeSet;

/// The settings of the output, in the order in which they are written.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the format's own switches")]
pub(super) struct Settings<'a> {
    peft_type: &'static str,
    base_model_name_or_path: Option<&'a str>,
    task_type: Option<&'a str>,
    r: usize,
    lora_alpha: f64,
    rank_pattern: InOrder<'a, usize>,
    alpha_pattern: InOrder<'a, f64>,
    target_modules: Vec<&'a str>,
    modules_to_save: Option<BTreeSet<&'a str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ensure_weight_tying: bool,
    bias: &'static str,
    lora_bias: bool,
    use_dora: bool,
    use_rslora: bool,
    fan_in_fan_out: bool,
    lora_dropout: f64,
    inference_mode: bool,
}

struct InOrder<'a, T>(Vec<(&'a str, T)>);

impl<T: Serialize> Serialize for InOrder<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl<'a> Settings<'a> {
    pub(super) fn json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self)
            .expect("invariant: text, numbers and lists always serialise");
        json.push(b'\n');
        json
    }

    pub(super) fn new(
        adapter: &'a Adapter,
        options: &'a AdapterOptions,
    ) -> Result<Self, AdapterError> {
        let modules: Vec<_> = low_rank(adapter).collect();
        let r = modules.iter().map(|(_, factors, _)| factors.rank()).max();
        let r = r.unwrap_or(1).max(1);
        let alpha_of = |factors: &LowRank| factors.scale() * factors.rank() as f64;
        let widest = modules.iter().find(|(_, factors, _)| factors.rank() == r);
        let lora_alpha = widest.map_or(r as f64, |(_, factors, _)| alpha_of(factors));
        let refuse = |module: &str, problem| AdapterError::Unwritable {
            tensor: format!("{module}.weight"),
            problem,
        };
        for (module, factors, _) in &modules {
            if factors.rank() == 0 {
                return Err(refuse(module, "its rank is 0"));
            }
            if !factors.scale().is_normal() {
                return Err(refuse(module, "its scale is 0 or not finite"));
            }
        }
        let use_dora = modules.iter().any(|&(.., dora)| dora);
        if let Some((module, ..)) = modules.iter().find(|&&(.., dora)| dora != use_dora) {
            return Err(refuse(
                module,
                "it has no magnitude, while other modules have",
            ));
        }
        let differs = |factors: &LowRank| {
            factors.rank() != r || alpha_of(factors).to_bits() != lora_alpha.to_bits()
        };
        // A module of usual rank is listed too where the key of another is the end of its name.
        let others: BTreeSet<&str> = modules
            .iter()
            .filter(|(_, factors, _)| differs(factors))
            .map(|&(module, ..)| module)
            .collect();
        let ends = |module: &str| {
            let dots = module.match_indices('.').map(|(at, _)| at + 1);
            dots.chain([0]).any(|at| others.contains(&module[at..]))
        };
        let mut listed: Vec<_> = modules.iter().filter(|(module, ..)| ends(module)).collect();
        listed.sort_by_key(|(module, ..)| std::cmp::Reverse(module.len()));
        let ranks = listed.iter().map(|(module, f, _)| (*module, f.rank()));
        let alphas = listed.iter().map(|(module, f, _)| (*module, alpha_of(f)));
        let kinds = || adapter.tensors.iter().map(|tensor| &tensor.change);
        let layers: BTreeSet<&str> = modules.iter().map(|&(module, ..)| module).collect();
        let tensors = || adapter.tensors.iter();
        let inside = |tensor: &&AdapterTensor| beside_factors(&tensor.target, &layers);
        let whole = |tensor: &&AdapterTensor| matches!(tensor.change, Change::Replace(_));
        let replaced = tensors()
            .filter(whole)
            .filter(|tensor| inside(tensor).is_none());
        let replaced = outermost(&replaced.map(|tensor| tensor.target.module()).collect());
        let has_biases = tensors()
            .filter(whole)
            .any(|tensor| inside(&tensor) == Some("bias"));
        let transposed = |change: &Change| {
            matches!(
                change,
                Change::LowRank {
                    placement: Placement::Transposed,
                    ..
                }
            )
        };
        Ok(Self {
            peft_type: "LORA",
            base_model_name_or_path: options.base_model.as_deref(),
            task_type: options.task_type.as_deref(),
            r,
            lora_alpha,
            rank_pattern: InOrder(ranks.collect()),
            alpha_pattern: InOrder(alphas.collect()),
            target_modules: modules.iter().map(|&(module, ..)| module).collect(),
            modules_to_save: (!replaced.is_empty()).then_some(replaced),
            ensure_weight_tying: options.tied,
            bias: if has_biases { "lora_only" } else { "none" },
            lora_bias: kinds().any(|change| matches!(change, Change::Shift(_))),
            use_dora,
            use_rslora: false,
            fan_in_fan_out: kinds().any(transposed),
            lora_dropout: 0.0,
            inference_mode: true,
        })
    }
}

/// Modules that lie in no other; whoever replaces a module replaces what is inside. The model itself is no module.
fn outermost<'a>(modules: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let inside = |module: &str| {
        let dots = module.match_indices('.').map(|(at, _)| at);
        dots.into_iter().any(|at| modules.contains(&module[..at]))
    };
    let outer = modules.iter().filter(|module| !module.is_empty());
    outer.filter(|module| !inside(module)).copied().collect()
}
