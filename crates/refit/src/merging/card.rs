//! The model card of a merge.

use refit_merge::recipe::{ModelRef, RecipeSet};
use std::path::Path;

/// `README.md` of an output: what it is made of, by which method, and the recipe that makes it again.
pub(super) fn text(set: &RecipeSet, recipe: &str) -> String {
    let steps = set.steps();
    let last = &steps[steps.len() - 1].recipe;
    let card = last.method.card;
    let mut models: Vec<&ModelRef> = Vec::new();
    for step in steps {
        for model in step.recipe.models() {
            if set.result(model).is_none() && !models.contains(&model) {
                models.push(model);
            }
        }
    }
    let is_base = |model: &ModelRef| last.base_model.as_ref() == Some(model);
    let mut text = String::from("---\nlibrary_name: transformers\n");
    let named: Vec<&str> = models.iter().filter_map(|model| on_hub(model)).collect();
    if !named.is_empty() {
        text += "base_model:\n";
        for name in named {
            text += &format!("- {name}\n");
        }
        text += "base_model_relation: merge\n";
    }
    text += "tags:\n- merge\n- refit\n---\n\n# Merged model\n\n";
    let merged = models.iter().filter(|model| !is_base(model)).count();
    let plural = if merged == 1 { "model" } else { "models" };
    let base = if merged < models.len() {
        " and their base"
    } else {
        ""
    };
    text += &format!(
        "Made of {merged} {plural}{base} by `{}` ({}; {}).\n\n",
        card.name, card.summary, card.source
    );
    for model in models {
        let role = if is_base(model) { " (base)" } else { "" };
        text += &format!("- `{}`{role}\n", one_line(&model.to_string()));
    }
    text += "\nThe recipe, which makes it again with `refit merge`:\n\n";
    let fence = fence(recipe);
    text += &format!("{fence}yaml\n{}\n{fence}\n", recipe.trim_end());
    text
}

/// The name of a model on the hub, `org/name`; `None` where it may be a path.
fn on_hub(model: &ModelRef) -> Option<&str> {
    let name = model.model.path.as_str();
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

    #[test]
    fn a_card_names_every_model_once_and_cannot_be_broken_out_of() {
        let documents = [
            json!({"name": "inner", "merge_method": "linear", "parameters": {"weight": 1},
                "models": [{"model": "a"}, {"model": "b`c"}, {"model": "org/tuned-7B"}]}),
            json!({"merge_method": "slerp", "base_model": "a", "parameters": {"t": 0.5},
                "models": [{"model": "a"}, {"model": "inner"}]}),
        ];
        let set = RecipeSet::parse(&documents).unwrap();
        let text = text(&set, "x: 1\n```\n# out\n");
        assert!(
            text.contains("Made of 2 models and their base by `slerp`"),
            "{text}"
        );
        assert!(text.contains("- `a` (base)\n- `b c`\n"));
        assert!(text.starts_with("---\nlibrary_name: transformers\nbase_model:\n- org/tuned-7B\n"));
        assert!(text.contains("````yaml\nx: 1\n```\n# out\n````\n"));
    }
}
