//! Which numbered list of tensors is that of the layers.

use super::known::{COUNTS, DEFAULT, KNOWN, Known, ROOTS, SHARED};
use std::collections::BTreeMap;

/// Fewest tensors of a layer in a list that no family is known for: fewer are the weight and bias of a plain layer.
const FEWEST_PER_LAYER: usize = 4;

/// The modules of a model and the lists of their layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::recipe) struct Structure {
    modules: Vec<ModuleShape>,
}

/// A part of a model that recipes can treat by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::recipe) struct ModuleShape {
    /// How recipes call it.
    pub(in crate::recipe) name: &'static str,
    /// What stands before the number of a layer; none where there are no layers.
    pub(in crate::recipe) prefix: Option<String>,
    /// Keys of `config.json` that may hold the number of layers.
    pub(in crate::recipe) counts: &'static [&'static str],
}

impl Structure {
    /// Reads the structure from the names of all tensors.
    ///
    /// Lists of known families come first. Without one, a list counts as that of the layers when it holds more than
    /// half of all tensors and at least four per layer; everything else is one module without layers.
    pub(in crate::recipe) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        let has = |known: &&Known| {
            names
                .iter()
                .any(|name| number(name, known.prefix).is_some())
        };
        let found: Vec<&Known> = KNOWN.iter().filter(has).collect();
        match found.as_slice() {
            [] => Self::only(likeliest(&names), COUNTS),
            [known] => Self::only(Some(known.prefix.to_owned()), known.counts),
            several => Self::several(several, &names),
        }
    }

    fn only(prefix: Option<String>, counts: &'static [&'static str]) -> Self {
        let module = ModuleShape {
            name: DEFAULT,
            prefix,
            counts,
        };
        Self {
            modules: vec![module],
        }
    }

    fn several(found: &[&Known], names: &[&str]) -> Self {
        let mut modules: Vec<ModuleShape> = vec![];
        for known in found {
            if modules.iter().all(|module| module.name != known.module) {
                modules.push(ModuleShape {
                    name: known.module,
                    prefix: Some(known.prefix.to_owned()),
                    counts: known.counts,
                });
            }
        }
        let mut structure = Self { modules };
        for name in names {
            if structure.module(name).is_none() {
                structure.modules.push(ModuleShape {
                    name: owner(name),
                    prefix: None,
                    counts: &[],
                });
            }
        }
        structure
    }

    /// The modules, in a fixed order.
    pub(in crate::recipe) fn modules(&self) -> &[ModuleShape] {
        &self.modules
    }

    /// The module of a tensor.
    pub(in crate::recipe) fn module(&self, name: &str) -> Option<usize> {
        if let [_] = self.modules.as_slice() {
            return Some(0);
        }
        let by_layer = |module: &ModuleShape| module.layer(name).is_some();
        let at = |wanted| self.modules.iter().position(|module| module.name == wanted);
        self.modules
            .iter()
            .position(by_layer)
            .or_else(|| at(owner(name)))
            .or_else(|| at(SHARED))
    }
}

impl ModuleShape {
    /// The number of the layer that owns a tensor, and the name behind the number.
    pub(in crate::recipe) fn layer<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        number(name, self.prefix.as_deref()?)
    }

    /// The name of a tensor of layer `index`; `rest` is what [`layer`](Self::layer) gave.
    pub(in crate::recipe) fn name(&self, index: usize, rest: &str) -> String {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        if prefix.is_empty() {
            return format!("{index}.{rest}");
        }
        format!("{prefix}.{index}.{rest}")
    }

    /// How many layers there are from the first on without a gap.
    pub(in crate::recipe) fn count<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> usize {
        let mut numbers: Vec<usize> = names
            .into_iter()
            .filter_map(|name| Some(self.layer(name)?.0))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let in_order = |&(at, &number): &(usize, &usize)| at == number;
        numbers.iter().enumerate().take_while(in_order).count()
    }
}

/// The module whose beginning fits a name best.
fn owner(name: &str) -> &'static str {
    ROOTS
        .iter()
        .filter(|(root, _)| name.starts_with(root))
        .max_by_key(|(root, _)| root.len())
        .map_or(SHARED, |&(_, module)| module)
}

/// `prefix.12.rest` as `(12, rest)`.
fn number<'n>(name: &'n str, prefix: &str) -> Option<(usize, &'n str)> {
    let behind = if prefix.is_empty() {
        name
    } else {
        name.strip_prefix(prefix)?.strip_prefix('.')?
    };
    let (number, rest) = behind.split_once('.')?;
    let plain =
        number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    plain.then(|| Some((number.parse().ok()?, rest)))?
}

/// The numbered list that holds most of a model of no known family.
fn likeliest(names: &[&str]) -> Option<String> {
    let mut lists: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        let parts = name.match_indices('.').map(|(at, _)| &name[..at]);
        if let Some(prefix) = parts
            .into_iter()
            .find(|prefix| number(name, prefix).is_some())
        {
            *lists.entry(prefix).or_default() += 1;
        }
    }
    let (prefix, tensors) = lists.into_iter().max_by_key(|&(_, tensors)| tensors)?;
    let module = ModuleShape {
        name: DEFAULT,
        prefix: Some(prefix.to_owned()),
        counts: COUNTS,
    };
    let layers = module.count(names.iter().copied());
    let fits = 2 * tensors > names.len() && layers > 0 && tensors >= FEWEST_PER_LAYER * layers;
    fits.then(|| prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(layers: usize, parts: &[&str], others: &[&str]) -> Vec<String> {
        let layers = (0..layers).flat_map(|i| {
            parts
                .iter()
                .map(move |part| part.replace("{i}", &i.to_string()))
        });
        layers
            .chain(others.iter().map(ToString::to_string))
            .collect()
    }

    fn structure(names: &[String]) -> Structure {
        Structure::of(names.iter().map(String::as_str))
    }

    #[test]
    fn a_known_list_of_layers_is_the_only_module() {
        let names = names(
            3,
            &[
                "model.layers.{i}.block_sparse_moe.experts.0.w1.weight",
                "model.layers.{i}.norm.weight",
            ],
            &["model.embed_tokens.weight", "lm_head.weight"],
        );
        let structure = structure(&names);
        let [module] = structure.modules() else {
            panic!("one module")
        };
        assert_eq!(
            (module.name, module.count(names.iter().map(String::as_str))),
            ("default", 3)
        );
        let rest = "block_sparse_moe.experts.0.w1.weight";
        assert_eq!(module.layer(&names[0]), Some((0, rest)));
        assert_eq!(
            module.name(7, rest),
            "model.layers.7.block_sparse_moe.experts.0.w1.weight"
        );
        assert_eq!(module.layer("model.layers.01.x"), None);
        assert_eq!(module.layer("model.layers.99999999999999999999.x"), None);
        assert_eq!(structure.module("anything"), Some(0));
    }

    #[test]
    fn encoders_and_decoders_are_modules_and_the_rest_is_shared() {
        let parts = [
            "encoder.block.{i}.layer.0.q.weight",
            "decoder.block.{i}.layer.0.q.weight",
        ];
        let names = names(
            2,
            &parts,
            &[
                "shared.weight",
                "decoder.final_layer_norm.weight",
                "lm_head.weight",
            ],
        );
        let structure = structure(&names);
        let modules: Vec<&str> = structure.modules().iter().map(|m| m.name).collect();
        assert_eq!(modules, ["encoder", "decoder", "shared"]);
        let of = |name| structure.module(name).map(|at| modules[at]);
        assert_eq!(of("decoder.final_layer_norm.weight"), Some("decoder"));
        assert_eq!(of("encoder.block.1.layer.0.q.weight"), Some("encoder"));
        assert_eq!(of("lm_head.weight"), Some("shared"));
    }

    #[test]
    fn models_of_text_and_images_fall_into_three_modules() {
        let parts = [
            "visual.blocks.{i}.norm1.weight",
            "model.layers.{i}.norm.weight",
        ];
        let others = [
            "visual.merger.mlp.0.weight",
            "visual.patch_embed.proj.weight",
            "lm_head.weight",
        ];
        let names = names(2, &parts, &others);
        let structure = structure(&names);
        let modules: Vec<&str> = structure.modules().iter().map(|m| m.name).collect();
        assert_eq!(
            modules,
            ["text_decoder", "vision_tower", "multi_modal_projector"]
        );
        assert_eq!(structure.module("lm_head.weight"), Some(0));
        assert_eq!(structure.module("visual.merger.mlp.0.weight"), Some(2));
    }

    #[test]
    fn an_unknown_list_counts_when_it_is_most_of_the_model() {
        let parts = [
            "net.stage.{i}.a",
            "net.stage.{i}.b",
            "net.stage.{i}.c.w",
            "net.stage.{i}.d",
        ];
        let most = structure(&names(3, &parts, &["stem.weight"]));
        assert_eq!(most.modules()[0].prefix.as_deref(), Some("net.stage"));
        let perceptron = structure(&names(3, &["layers.{i}.weight", "layers.{i}.bias"], &[]));
        assert_eq!(perceptron.modules()[0].prefix, None);
        let blocks = [
            "layer1.{i}.a",
            "layer1.{i}.b",
            "layer1.{i}.c",
            "layer1.{i}.d",
        ];
        let twin: Vec<String> = blocks
            .iter()
            .map(|b| b.replace("layer1", "layer2"))
            .collect();
        let twin: Vec<&str> = blocks
            .iter()
            .copied()
            .chain(twin.iter().map(String::as_str))
            .collect();
        assert_eq!(
            structure(&names(2, &twin, &["fc.weight"])).modules()[0].prefix,
            None
        ); // ResNet
        assert_eq!(structure(&[]).modules()[0].prefix, None);
    }

    #[test]
    fn layers_behind_a_gap_do_not_count() {
        let module = &structure(&names(2, &["transformer.h.{i}.w"], &[])).modules()[0].clone();
        assert_eq!(module.count(["transformer.h.0.w", "transformer.h.2.w"]), 1);
        assert_eq!(module.count(["transformer.h.4000000000.w"]), 0);
    }
}
