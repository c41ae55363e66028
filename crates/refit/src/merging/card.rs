//! The model card of a merge.

use refit_core::Card;
use refit_merge::recipe::{ModelPath, ModelRef, RecipeSet};
use std::path::Path;

/// `README.md` of an output: what it is made of, by which methods, and the recipe that makes it again.
pub(super) fn text(set: &RecipeSet, recipe: &str, for_transformers: bool) -> String {
    let made_of = MadeOf::new(set);
    let mut text = String::from("---\n");
    if for_transformers {
        text += "library_name: transformers\n";
    }
    let named = made_of.on_hub();
    if !named.is_empty() {
        text += "base_model:\n";
        for name in named {
            text += &format!("- {name}\n");
        }
        text += "base_model_relation: merge\n";
    }
    text += "tags:\n- merge\n- refit\n---\n\n# Merged model\n\n";
    text += &made_of.sentence();
    for (model, is_base) in &made_of.models {
        let role = if *is_base { " (base)" } else { "" };
        text += &format!("- `{}`{role}\n", one_line(&model.to_string()));
    }
    for adapter in &made_of.adapters {
        text += &format!("- the adapter `{}`\n", one_line(&adapter.to_string()));
    }
    text += "\nThe recipe, which makes it again with `refit merge`:\n\n";
    let fence = fence(recipe);
    text += &format!("{fence}yaml\n{}\n{fence}\n", recipe.trim_end());
    text
}

/// What a result is made of, each once.
struct MadeOf<'a> {
    /// Models that are there before the merge, and whether a recipe takes them as its base.
    models: Vec<(&'a ModelRef, bool)>,
    /// Adapters on results of earlier recipes of the file; others stand with their model.
    adapters: Vec<&'a ModelPath>,
    /// Methods in the order in which they run.
    methods: Vec<&'static Card>,
}

impl<'a> MadeOf<'a> {
    fn new(set: &'a RecipeSet) -> Self {
        let (mut models, mut adapters): (Vec<(&ModelRef, bool)>, Vec<_>) = Default::default();
        let mut methods: Vec<&'static Card> = Vec::new();
        for step in set.steps() {
            let recipe = &step.recipe;
            if !methods
                .iter()
                .any(|card| card.name == recipe.method.card.name)
            {
                methods.push(recipe.method.card);
            }
            for model in recipe.models() {
                let is_base = recipe.base_model.as_ref() == Some(model);
                if set.result(model).is_some() {
                    let new = model.adapter.iter().filter(|a| !adapters.contains(a));
                    adapters.extend(new.collect::<Vec<_>>());
                } else if let Some((_, base)) = models.iter_mut().find(|(m, _)| *m == model) {
                    *base |= is_base;
                } else {
                    models.push((model, is_base));
                }
            }
        }
        Self {
            models,
            adapters,
            methods,
        }
    }

    /// `Made of 2 models and their base by `ties` (..).`
    fn sentence(&self) -> String {
        let merged = self.models.iter().filter(|(_, is_base)| !is_base).count();
        let bases = self.models.len() - merged;
        let parts = [
            (merged, "model", "models"),
            (bases, "base", "bases"),
            (self.adapters.len(), "adapter", "adapters"),
        ];
        let parts = parts.iter().filter(|(count, ..)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
            .collect();
        let made = match parts.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, before)) => format!("{} and {last}", before.join(", ")),
            None => String::from("nothing"),
        };
        if let [card] = self.methods.as_slice() {
            let (name, summary, source) = (card.name, card.summary, card.source);
            return format!("Made of {made} by `{name}` ({summary}; {source}).\n\n");
        }
        let mut text = format!("Made of {made} in several steps:\n\n");
        for card in &self.methods {
            text += &format!("- `{}` ({}; {})\n", card.name, card.summary, card.source);
        }
        text + "\nIts parts:\n\n"
    }

    /// Names on the hub, of models and adapters.
    fn on_hub(&self) -> Vec<&'a str> {
        let models = self.models.iter().flat_map(|(model, _)| {
            [Some(&model.model), model.adapter.as_ref()]
                .into_iter()
                .flatten()
        });
        let places = models.chain(self.adapters.iter().copied());
        let mut names: Vec<&str> = Vec::new();
        for name in places.filter_map(on_hub) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// The name of a model on the hub, `org/name`; `None` where it may be a path.
fn on_hub(place: &ModelPath) -> Option<&str> {
    let name = place.path.as_str();
    let (org, rest) = name.split_once('/')?;
    let plain = |part: &str| {
        let mut letters = part.chars();
        letters.next().is_some_and(|c| c.is_ascii_alphanumeric())
            && letters.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    (plain(org) && plain(rest) && !Path::new(name).exists()).then_some(name)
}

/// A fence that the text does not close.
fn fence(text: &str) -> String {
    let longest = text.lines().map(|line| {
        let line = line.trim_start();
        line.len() - line.trim_start_matches('`').len()
    });
    "`".repeat(longest.max().unwrap_or(0).max(2) + 1)
}

fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() || c == '`' { ' ' } else { c };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(documents: &[serde_json::Value]) -> RecipeSet {
        RecipeSet::parse(documents).unwrap()
    }

    #[test]
    fn a_card_names_every_model_once_and_cannot_be_broken_out_of() {
        let set = set(&[
            json!({"name": "inner", "merge_method": "linear", "parameters": {"weight": 1},
                "models": [{"model": "a"}, {"model": "b`c"}, {"model": "org/tuned-7B"}]}),
            json!({"merge_method": "slerp", "base_model": "a", "parameters": {"t": 0.5},
                "models": [{"model": "a"}, {"model": "inner"}]}),
        ]);
        let text = text(&set, "x: 1\n```\n# out\n", true);
        let made = "Made of 2 models and 1 base in several steps:\n\n- `linear` (";
        assert!(text.contains(made), "{text}");
        assert!(text.contains("\n- `slerp` ("));
        assert!(text.contains("- `a` (base)\n- `b c`\n"));
        assert!(text.starts_with("---\nlibrary_name: transformers\nbase_model:\n- org/tuned-7B\n"));
        assert!(text.contains("````yaml\nx: 1\n```\n# out\n````\n"));
    }

    #[test]
    fn a_card_names_adapters_and_says_transformers_only_where_they_can_load_it() {
        let set = set(&[
            json!({"name": "inner", "merge_method": "linear", "parameters": {"weight": 1},
                "models": [{"model": "org/m+org/first"}, {"model": "other"}]}),
            json!({"merge_method": "linear", "parameters": {"weight": 1},
                "models": [{"model": "inner+org/second"}, {"model": "inner"}]}),
        ]);
        let text = text(&set, "x", false);
        let start =
            "---\nbase_model:\n- org/m\n- org/first\n- org/second\nbase_model_relation: merge\n";
        assert!(text.starts_with(start), "{text}");
        assert!(
            text.contains("Made of 2 models and 1 adapter by `linear` ("),
            "{text}"
        );
        assert!(text.contains("- `org/m+org/first`\n- `other`\n- the adapter `org/second`\n"));
    }
}
