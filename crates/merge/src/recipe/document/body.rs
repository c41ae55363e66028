//! What a recipe lays together: whole models, slices of them, or modules.

use super::{
    fields::{Fields, count, list, mapping},
    model_ref::ModelRef,
    place::Place,
    problem::RecipeProblem,
    setting::{Scope, Settings},
};
use crate::recipe::MethodSpec;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use std::ops::Range;

/// Most models in one list.
const MOST_MODELS: usize = 256;
/// Most slices of a model.
const MOST_SLICES: usize = 4096;
/// Most modules.
const MOST_MODULES: usize = 64;

/// What becomes the result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// Whole models, merged layer by layer.
    Models(Vec<ModelEntry>),
    /// Layers of models, stacked in the order of the list and numbered anew.
    Slices(Vec<Slice>),
    /// A body for each module, such as `encoder` and `decoder`.
    #[serde(serialize_with = "modules")]
    Modules(Vec<Module>),
}

/// A model and the settings that hold for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelEntry {
    /// The model.
    pub model: ModelRef,
    /// Settings for this model alone.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub parameters: Settings,
}

/// Layers of the result, merged from as many layers of each source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// Where they come from.
    pub sources: Vec<Source>,
    /// The base of this slice, if it is another than that of the recipe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_model: Option<ModelRef>,
    /// Settings for this slice.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub parameters: Settings,
}

/// Layers of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// The model.
    pub model: ModelRef,
    /// Which layers; the end is the first layer that is not meant.
    #[serde(rename = "layer_range", serialize_with = "range")]
    pub layers: Range<usize>,
    /// Settings for this model in this slice.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub parameters: Settings,
}

/// A part of a model that is merged by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Module {
    /// Its name, such as `decoder`.
    #[serde(skip)]
    pub name: String,
    /// [`Body::Models`] or [`Body::Slices`].
    #[serde(flatten)]
    pub body: Body,
    /// Settings for this module.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub parameters: Settings,
}

impl Body {
    /// Reads the one of `models`, `slices` and `modules` that is there.
    pub(super) fn read(fields: &Fields<'_>, method: &MethodSpec) -> Result<Self, RecipeProblem> {
        let keys = ["models", "slices", "modules"];
        let found = (
            fields.get(keys[0]),
            fields.get(keys[1]),
            fields.get(keys[2]),
        );
        match found {
            (None, None, Some((value, place))) => read_modules(value, &place, method),
            (_, _, None) => Self::read_plain(fields, method, "`models`, `slices`, `modules`"),
            _ => Err(RecipeProblem::OneOf {
                place: fields.place().clone(),
                found: fields.which(&keys),
                expected: "`models`, `slices`, `modules`",
            }),
        }
    }

    /// Reads the one of `models` and `slices` that is there.
    fn read_plain(
        fields: &Fields<'_>,
        method: &MethodSpec,
        expected: &'static str,
    ) -> Result<Self, RecipeProblem> {
        match (fields.get("models"), fields.get("slices")) {
            (Some((value, place)), None) => {
                let read = |value: &_, at| ModelEntry::read(value, at, method);
                Ok(Self::Models(list(value, &place, MOST_MODELS, read)?))
            }
            (None, Some((value, place))) => {
                let read = |value: &_, at| Slice::read(value, at, method);
                Ok(Self::Slices(list(value, &place, MOST_SLICES, read)?))
            }
            _ => Err(RecipeProblem::OneOf {
                place: fields.place().clone(),
                found: fields.which(&["models", "slices"]),
                expected,
            }),
        }
    }

    /// The models in the order in which they are named.
    pub(super) fn models(&self) -> Vec<&ModelRef> {
        match self {
            Self::Models(models) => models.iter().map(|entry| &entry.model).collect(),
            Self::Slices(slices) => slices.iter().flat_map(Slice::models).collect(),
            Self::Modules(modules) => modules.iter().flat_map(|m| m.body.models()).collect(),
        }
    }
}

fn read_modules(value: &Value, place: &Place, method: &MethodSpec) -> Result<Body, RecipeProblem> {
    let map = mapping(value, place)?;
    if map.is_empty() || map.len() > MOST_MODULES {
        return Err(RecipeProblem::Count {
            place: place.clone(),
            found: map.len(),
            most: MOST_MODULES,
        });
    }
    let read =
        |(name, value): (&String, &Value)| Module::read(name, value, place.key(name), method);
    let modules = map.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Body::Modules(modules))
}

impl ModelEntry {
    fn read(value: &Value, place: Place, method: &MethodSpec) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["model", "parameters"])?;
        Ok(Self {
            model: model(&fields)?,
            parameters: parameters(&fields, method, Scope::Model)?,
        })
    }
}

impl Slice {
    fn read(value: &Value, place: Place, method: &MethodSpec) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["sources", "base_model", "parameters"])?;
        let (sources, at) = fields.need("sources", "the list of models and their layers")?;
        let read = |value: &_, at| Source::read(value, at, method);
        Ok(Self {
            sources: list(sources, &at, MOST_MODELS, read)?,
            base_model: fields.map("base_model", ModelRef::read)?,
            parameters: parameters(&fields, method, Scope::All)?,
        })
    }

    fn models(&self) -> impl Iterator<Item = &ModelRef> {
        let sources = self.sources.iter().map(|source| &source.model);
        sources.chain(&self.base_model)
    }
}

impl Source {
    fn read(value: &Value, place: Place, method: &MethodSpec) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["model", "layer_range", "parameters"])?;
        let (layers, at) = fields.need("layer_range", "`layer_range: [first, end]`")?;
        Ok(Self {
            model: model(&fields)?,
            layers: read_range(layers, at)?,
            parameters: parameters(&fields, method, Scope::Model)?,
        })
    }
}

impl Module {
    fn read(
        name: &str,
        value: &Value,
        place: Place,
        method: &MethodSpec,
    ) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["models", "slices", "parameters"])?;
        Ok(Self {
            name: name.to_owned(),
            body: Body::read_plain(&fields, method, "`models`, `slices`")?,
            parameters: parameters(&fields, method, Scope::All)?,
        })
    }
}

fn model(fields: &Fields<'_>) -> Result<ModelRef, RecipeProblem> {
    let (value, place) = fields.need("model", "the path of the model")?;
    ModelRef::read(value, place)
}

fn parameters(
    fields: &Fields<'_>,
    method: &MethodSpec,
    scope: Scope,
) -> Result<Settings, RecipeProblem> {
    let read = |value: &_, at: Place| Settings::read(value, &at, method, scope);
    Ok(fields.map("parameters", read)?.unwrap_or_default())
}

fn read_range(value: &Value, place: Place) -> Result<Range<usize>, RecipeProblem> {
    let ends = match value.as_array().map(Vec::as_slice) {
        Some([start, end]) => (count(start, &place.item(0))?, count(end, &place.item(1))?),
        _ => {
            let expected = "`[first, end]`, where `end` is the first layer that is not meant";
            return Err(RecipeProblem::kind(&place, value, expected));
        }
    };
    match ends {
        (start, end) if start <= end => Ok(start..end),
        (start, end) => Err(RecipeProblem::Range { place, start, end }),
    }
}

fn range<S: Serializer>(range: &Range<usize>, to: S) -> Result<S::Ok, S::Error> {
    [range.start, range.end].serialize(to)
}

fn modules<S: Serializer>(modules: &[Module], to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(modules.len()))?;
    for module in modules {
        map.serialize_entry(&module.name, module)?;
    }
    map.end()
}
