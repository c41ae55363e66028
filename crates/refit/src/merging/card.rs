//! The model card of a merge.

use refit_merge::recipe::{ModelRef, RecipeSet};

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
    let mut text = String::from(
        "---\nlibrary_name: transformers\ntags:\n- merge\n- refit\n---\n\n# Merged model\n\n",
    );
    text += &format!(
        "Made of {} models by `{}` ({}; {}).\n\n",
        models.len(),
        card.name,
        card.summary,
        card.source
    );
    for model in models {
        let is_base = last.base_model.as_ref() == Some(model);
        let role = if is_base { " (base)" } else { "" };
        text += &format!("- `{}`{role}\n", one_line(&model.to_string()));
    }
    text += "\nThe recipe, which makes it again with `refit merge`:\n\n";
    let fence = fence(recipe);
    text += &format!("{fence}yaml\n{}\n{fence}\n", recipe.trim_end());
    text
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
                "models": [{"model": "a"}, {"model": "b`c"}]}),
            json!({"merge_method": "slerp", "base_model": "a", "parameters": {"t": 0.5},
                "models": [{"model": "a"}, {"model": "inner"}]}),
        ];
        let set = RecipeSet::parse(&documents).unwrap();
        let text = text(&set, "x: 1\n```\n# out\n");
        assert!(text.contains("Made of 2 models by `slerp`"));
        assert!(text.contains("- `a` (base)\n- `b c`\n"));
        assert!(text.contains("````yaml\nx: 1\n```\n# out\n````\n"));
    }
}
