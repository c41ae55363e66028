//! Several recipes in one file, some of which merge the results of others.

use super::{ModelRef, Place, Recipe, RecipeProblem, fields::text};
use serde_json::Value;
use std::collections::HashMap;

/// Most recipes in one file.
const MOST_RECIPES: usize = 256;

/// The recipes of a file in an order in which each finds what it needs.
///
/// A recipe with a `name` can be used as a model by the others: `model: that-name`. Recipes that do not wait for each
/// other keep the order of the file.
///
/// ```
/// use refit_merge::recipe::RecipeSet;
/// use serde_json::json;
/// let documents = [
///     json!({"merge_method": "linear", "models": [{"model": "inner"}, {"model": "c"}], "parameters": {"weight": 1}}),
///     json!({"name": "inner", "merge_method": "linear", "models": [{"model": "a"}], "parameters": {"weight": 1}}),
/// ];
/// let set = RecipeSet::parse(&documents)?;
/// assert_eq!(set.steps()[0].recipe.name.as_deref(), Some("inner"));
/// assert_eq!(set.steps()[1].needs, [0]);
/// # Ok::<(), refit_merge::recipe::RecipeProblem>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecipeSet {
    steps: Vec<Step>,
}

/// One recipe of a [`RecipeSet`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The recipe.
    pub recipe: Recipe,
    /// Earlier steps whose results it names as models, in ascending order.
    pub needs: Vec<usize>,
}

impl RecipeSet {
    /// Reads the documents of a file.
    ///
    /// # Errors
    /// Those of [`Recipe::parse`]; [`RecipeProblem::SameName`] and [`RecipeProblem::Cycle`].
    pub fn parse(documents: &[Value]) -> Result<Self, RecipeProblem> {
        if documents.is_empty() || documents.len() > MOST_RECIPES {
            return Err(RecipeProblem::Count {
                place: Place::top(),
                found: documents.len(),
                most: MOST_RECIPES,
            });
        }
        let recipes = documents.iter().map(Recipe::parse);
        Self::order(recipes.collect::<Result<_, _>>()?)
    }

    fn order(recipes: Vec<Recipe>) -> Result<Self, RecipeProblem> {
        let needs = needs(&recipes)?;
        let mut order: Vec<usize> = vec![];
        let mut done = vec![false; recipes.len()];
        while order.len() < recipes.len() {
            let ready = |&at: &usize| !done[at] && needs[at].iter().all(|&need| done[need]);
            let Some(next) = (0..recipes.len()).find(ready) else {
                return Err(cycle(&recipes, &needs, &done));
            };
            done[next] = true;
            order.push(next);
        }
        let mut place = vec![0; recipes.len()];
        for (step, &at) in order.iter().enumerate() {
            place[at] = step;
        }
        let mut recipes: Vec<Option<Recipe>> = recipes.into_iter().map(Some).collect();
        let step = |at: usize| {
            let mut needs: Vec<usize> = needs[at].iter().map(|&need| place[need]).collect();
            needs.sort_unstable();
            let recipe = recipes[at].take()?; // `order` names every recipe once
            Some(Step { recipe, needs })
        };
        Ok(Self {
            steps: order.into_iter().filter_map(step).collect(),
        })
    }

    /// The recipes, each after those that it needs.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The earlier step whose result `model` is, if it is one.
    pub fn result(&self, model: &ModelRef) -> Option<usize> {
        let name = Some(model.model.path.as_str());
        self.steps
            .iter()
            .position(|step| step.recipe.name.as_deref() == name)
    }
}

/// For each recipe, those whose results it names.
fn needs(recipes: &[Recipe]) -> Result<Vec<Vec<usize>>, RecipeProblem> {
    let mut at = HashMap::new();
    for (index, recipe) in recipes.iter().enumerate() {
        if at.insert(recipe.name.as_deref(), index).is_some() {
            return Err(RecipeProblem::SameName {
                document: index + 1,
                name: recipe.name.clone().unwrap_or_default(),
            });
        }
    }
    let needs = |recipe: &Recipe| {
        let named = recipe.references().into_iter();
        let mut needs: Vec<usize> = named
            .filter_map(|model| at.get(&Some(model.model.path.as_str())).copied())
            .collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    };
    Ok(recipes.iter().map(needs).collect())
}

/// The circle that is met when waiting recipes are followed from the first.
fn cycle(recipes: &[Recipe], needs: &[Vec<usize>], done: &[bool]) -> RecipeProblem {
    let mut way = vec![];
    let mut at = done.iter().position(|&done| !done).unwrap_or(0);
    while !way.contains(&at) {
        way.push(at);
        // Each waiting recipe needs another that waits, or it would have been next.
        at = needs[at]
            .iter()
            .copied()
            .find(|&need| !done[need])
            .unwrap_or(at);
    }
    let start = way.iter().position(|&step| step == at).unwrap_or(0);
    let name = |&at: &usize| recipes[at].name.clone().unwrap_or_default();
    let names = way[start..].iter().chain([&at]).map(name).collect();
    RecipeProblem::Cycle { names }
}

/// A name that can also be that of a folder.
pub(super) fn name(value: &Value, place: &Place) -> Result<String, RecipeProblem> {
    let name = text(value, place)?;
    let fits = name.len() <= 100
        && !name.starts_with('.')
        && !name.contains(|c: char| c.is_control() || "/\\:@+".contains(c));
    if fits {
        return Ok(name);
    }
    let expected = "a name of at most 100 bytes without `/`, `\\`, `:`, `@`, `+` or a leading dot";
    Err(RecipeProblem::kind(place, value, expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recipe(name: Option<&str>, models: &[&str]) -> Value {
        let models: Vec<Value> = models.iter().map(|m| json!({ "model": m })).collect();
        json!({"name": name, "merge_method": "linear", "models": models, "parameters": {"weight": 1}})
    }

    #[test]
    fn results_come_before_those_who_use_them_and_the_rest_keeps_its_order() {
        let set = RecipeSet::parse(&[
            recipe(None, &["x", "y@main+z"]),
            recipe(Some("y"), &["x", "a"]),
            recipe(Some("free"), &["a"]),
            recipe(Some("x"), &["a"]),
        ]);
        let set = set.unwrap();
        let names: Vec<_> = set
            .steps()
            .iter()
            .map(|s| s.recipe.name.as_deref())
            .collect();
        assert_eq!(names, [Some("free"), Some("x"), Some("y"), None]);
        let needs: Vec<_> = set.steps().iter().map(|s| s.needs.clone()).collect();
        assert_eq!(needs, [vec![], vec![], vec![1], vec![1, 2]]);
        assert_eq!(set.result(&"y@main+z".parse().unwrap()), Some(2));
        assert_eq!(set.result(&"a".parse().unwrap()), None);
    }

    #[test]
    fn circles_are_refused_and_told() {
        let documents = [
            recipe(Some("a"), &["b"]),
            recipe(Some("b"), &["c"]),
            recipe(Some("c"), &["b", "m"]),
        ];
        let problem = RecipeSet::parse(&documents).unwrap_err();
        let text = "recipes need each other's results: b needs c needs b";
        assert_eq!(problem.to_string(), text);
        let own = RecipeSet::parse(&[recipe(Some("a"), &["a"])]).unwrap_err();
        assert_eq!(
            own.to_string(),
            "recipes need each other's results: a needs a"
        );
    }

    #[test]
    fn names_are_distinct_and_fit_a_folder() {
        let twice = [recipe(Some("a"), &["m"]), recipe(Some("a"), &["n"])];
        assert!(matches!(
            RecipeSet::parse(&twice),
            Err(RecipeProblem::SameName { document: 2, .. })
        ));
        let unnamed = [recipe(None, &["m"]), recipe(None, &["n"])];
        assert!(matches!(
            RecipeSet::parse(&unnamed),
            Err(RecipeProblem::SameName { .. })
        ));
        for bad in ["../a", "a/b", ".", "a@b"] {
            assert!(
                RecipeSet::parse(&[recipe(Some(bad), &["m"])]).is_err(),
                "{bad}"
            );
        }
        assert!(RecipeSet::parse(&[]).is_err());
    }
}
