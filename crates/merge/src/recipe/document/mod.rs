//! A recipe as it is written: read strictly, checked as far as that goes without a model, and written back.

mod body;
mod dtype;
mod fields;
mod model_ref;
mod place;
mod problem;
mod set;
mod setting;
mod tokenizer;

pub use body::{Body, ModelEntry, Module, Slice, Source};
pub use model_ref::{ModelPath, ModelRef};
pub use place::Place;
pub use problem::RecipeProblem;
pub use set::{RecipeSet, Step};
pub use setting::{Case, Curve, Depth, Scalar, Setting, Settings};
pub use tokenizer::{TokenName, TokenOrigin, TokenRule, TokenizerSource, TokenizerSpec};

pub(super) use dtype::name as dtype_name;
pub(super) use setting::resolve;

use super::{MethodSpec, RecipeMethod};
use fields::{Fields, text};
use refit_core::{ConfigError, DType};
use serde::{Serialize, Serializer};
use serde_json::Value;
use setting::Scope;

/// One merge: which models, how they are laid together, by which method, with which settings.
///
/// ```
/// use refit_merge::recipe::Recipe;
/// let recipe = Recipe::parse(&serde_json::json!({
///     "merge_method": "linear",
///     "models": [
///         {"model": "org/chat", "parameters": {"weight": [0.2, 0.8]}},
///         {"model": "org/code@v2", "parameters": {"weight": 0.5}},
///     ],
///     "dtype": "bfloat16",
/// }))?;
/// assert_eq!(recipe.models().len(), 2);
///
/// let slip = Recipe::parse(&serde_json::json!({"merge_method": "linear", "modles": []})).unwrap_err();
/// assert_eq!(slip.to_string(), "unknown key `modles`");
/// # Ok::<(), refit_merge::recipe::RecipeProblem>(())
/// ```
///
/// It serialises to the form it was read from, defaults left out; what is written reads back as the same recipe.
#[derive(Clone, Debug, Serialize)]
pub struct Recipe {
    /// How other recipes of the same file call the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The method.
    #[serde(rename = "merge_method", serialize_with = "method_name")]
    pub method: &'static MethodSpec,
    /// The model from which the others were fine-tuned, where the method asks for it. Its `config.json` is the start
    /// of that of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_model: Option<ModelRef>,
    /// What is laid together.
    #[serde(flatten)]
    pub body: Body,
    /// Settings for every model and tensor that nothing narrower sets.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub parameters: Settings,
    /// Element type of the result, unless [`out_dtype`](Self::out_dtype) names another. Recipe tools also compute in
    /// it; here sums are taken in higher precision and rounded once.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "dtype::serialize"
    )]
    pub dtype: Option<DType>,
    /// Element type of the result.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "dtype::serialize"
    )]
    pub out_dtype: Option<DType>,
    /// The vocabulary; by default the models must share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerSpec>,
    /// `auto`, the name of a template, or a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
}

const KEYS: &[&str] = &[
    "name",
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
];

impl Recipe {
    /// Reads a recipe from a YAML or JSON document.
    ///
    /// # Errors
    /// [`RecipeProblem`] names the first place that cannot be used: an unknown key (with the nearest known one), a
    /// value of another kind, a setting that the method does not know, more entries than any recipe has.
    pub fn parse(document: &Value) -> Result<Self, RecipeProblem> {
        Self::parse_with(document, |name| {
            RecipeMethod::named(name).map(RecipeMethod::spec)
        })
    }

    /// [`parse`](Self::parse) with other methods than those of [`RecipeMethod`].
    pub(crate) fn parse_with(
        document: &Value,
        method: impl FnOnce(&str) -> Result<&'static MethodSpec, ConfigError>,
    ) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(document, Place::top(), KEYS)?;
        let (name, place) = fields.need("merge_method", "the method")?;
        let name = text(name, &place)?;
        let method = method(&name).map_err(|source| RecipeProblem::Name { place, source })?;
        let body = Body::read(&fields, method)?;
        let parameters = fields.map("parameters", |value, at| {
            Settings::read(value, &at, method, Scope::All)
        })?;
        Ok(Self {
            name: fields.map("name", |value, at| set::name(value, &at))?,
            method,
            base_model: fields.map("base_model", ModelRef::read)?,
            body,
            parameters: parameters.unwrap_or_default(),
            dtype: fields.map("dtype", |value, at| dtype::read(value, &at))?,
            out_dtype: fields.map("out_dtype", |value, at| dtype::read(value, &at))?,
            tokenizer: tokenizer(&fields)?,
            chat_template: fields.map("chat_template", |value, at| text(value, &at))?,
        })
    }

    /// Every model that is merged, each once: the base, then the others in the order in which they are named.
    pub fn models(&self) -> Vec<&ModelRef> {
        let named = self.body.models().into_iter();
        distinct(self.base_model.iter().chain(named))
    }

    /// Every model that is named, each once: those of [`models`](Self::models), then those of the tokenizer.
    pub fn references(&self) -> Vec<&ModelRef> {
        let tokenizer = self.tokenizer.iter().flat_map(TokenizerSpec::models);
        distinct(self.models().into_iter().chain(tokenizer))
    }
}

fn distinct<'a>(models: impl Iterator<Item = &'a ModelRef>) -> Vec<&'a ModelRef> {
    let mut seen = std::collections::HashSet::new();
    models.filter(|model| seen.insert(*model)).collect()
}

fn tokenizer(fields: &Fields<'_>) -> Result<Option<TokenizerSpec>, RecipeProblem> {
    let source = fields.map("tokenizer_source", TokenizerSpec::from_source)?;
    let block = fields.map("tokenizer", TokenizerSpec::read)?;
    if source.is_some() && block.is_some() {
        return Err(RecipeProblem::OneOf {
            place: Place::top(),
            found: "both".into(),
            expected: "`tokenizer_source`, `tokenizer`",
        });
    }
    Ok(source.or(block))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn method_name<S: Serializer>(method: &&'static MethodSpec, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(method.card.name)
}

#[cfg(test)]
mod tests;
