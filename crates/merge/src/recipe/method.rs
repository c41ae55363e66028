//! The methods of recipes by name.

use crate::{
    average::{
        arcee_fusion::ArceeFusion, karcher::Karcher, linear::Linear, model_stock::ModelStock,
        multislerp::Multislerp, nearswap::Nearswap, nuslerp::Nuslerp, passthrough::Passthrough,
        slerp::Slerp,
    },
    stream::StreamRule,
    subspace::{Consensus, EmrUnified, IsoC, IsoCts, TsvM, Wudi},
    task_vector::{
        general::{
            Breadcrumbs, BreadcrumbsTies, DareLinear, DareTies, Della, DellaLinear, TaskArithmetic,
            Ties,
        },
        ram::{Ram, RamPlus},
        sce::Sce,
    },
};
use refit_core::{Card, ConfigError, ParamPath, Seed, wrong_value};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// What a method does with `base_model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUse {
    /// Nothing; a base that is also listed is a model like the others.
    None,
    /// Merges differences from it where there is one.
    Optional,
    /// Cannot do without it.
    Required,
}

/// The tensor that a rule is made for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Its name in the result.
    pub path: &'a ParamPath,
    /// Its extents.
    pub shape: &'a [usize],
    /// Names of the models in the order of [`Block::models`](crate::stream::Block::models). Where the method uses the
    /// base, the base is not among them.
    pub models: &'a [&'a str],
    /// Whether there is a base.
    pub has_base: bool,
    /// Whether rows are those of a vocabulary (embeddings, output head).
    pub is_embedding: bool,
    /// Where chance comes from; masks fork it by tensor and by model.
    pub seed: Seed,
}

/// A method that recipes name: it reads its settings for one tensor and makes a rule of them.
pub trait RecipeRule: 'static {
    /// What the method says about itself; `CARD.name` is its `merge_method`.
    const CARD: Card;
    /// What it does with the base.
    const BASE: BaseUse;
    /// Fewest and most models beside the base.
    const MODELS: (usize, usize) = (1, usize::MAX);
    /// Names of the fields of [`Self::Tensor`].
    const TENSOR_KEYS: &'static [&'static str];
    /// Names of the fields of [`Self::Model`].
    const MODEL_KEYS: &'static [&'static str];
    /// Settings of the merge of one tensor.
    type Tensor: DeserializeOwned;
    /// Settings of one model in the merge of one tensor.
    type Model: DeserializeOwned;

    /// Checks the settings and makes the rule; `models` are those of [`Target::models`], in order.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that cannot be used.
    fn rule(
        target: &Target<'_>,
        tensor: Self::Tensor,
        models: Vec<Self::Model>,
    ) -> Result<Box<dyn StreamRule>, ConfigError>;
}

/// Where a method has nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoSettings {}

type Build = fn(
    &Target<'_>,
    Map<String, Value>,
    Vec<Map<String, Value>>,
) -> Result<Box<dyn StreamRule>, ConfigError>;

/// A [`RecipeRule`] without its types.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    /// See [`RecipeRule::CARD`].
    pub card: &'static Card,
    /// See [`RecipeRule::BASE`].
    pub base: BaseUse,
    /// See [`RecipeRule::MODELS`].
    pub models: (usize, usize),
    /// See [`RecipeRule::TENSOR_KEYS`].
    pub tensor_keys: &'static [&'static str],
    /// See [`RecipeRule::MODEL_KEYS`].
    pub model_keys: &'static [&'static str],
    build: Build,
}

impl MethodSpec {
    pub(super) const fn of<R: RecipeRule>() -> Self {
        Self {
            card: &R::CARD,
            base: R::BASE,
            models: R::MODELS,
            tensor_keys: R::TENSOR_KEYS,
            model_keys: R::MODEL_KEYS,
            build: build::<R>,
        }
    }

    /// The rule for one tensor from the settings that hold there: one map for the tensor, one for each model.
    ///
    /// # Errors
    /// A setting that is missing, unknown, of another type, or out of range.
    pub fn rule(
        &self,
        target: &Target<'_>,
        tensor: Map<String, Value>,
        models: Vec<Map<String, Value>>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        (self.build)(target, tensor, models)
    }
}

fn build<R: RecipeRule>(
    target: &Target<'_>,
    tensor: Map<String, Value>,
    models: Vec<Map<String, Value>>,
) -> Result<Box<dyn StreamRule>, ConfigError> {
    let read_model = |(at, settings)| {
        let model = target.models.get(at).map(ToString::to_string);
        read(settings, model.as_deref())
    };
    let models = models
        .into_iter()
        .enumerate()
        .map(read_model)
        .collect::<Result<Vec<_>, _>>()?;
    R::rule(target, read(tensor, None)?, models)
}

/// Reads the settings of a tensor, or of `model` for it.
fn read<T: DeserializeOwned>(
    settings: Map<String, Value>,
    model: Option<&str>,
) -> Result<T, ConfigError> {
    let parse = |settings: Map<String, Value>| serde_json::from_value::<T>(settings.into());
    let error = match parse(settings.clone()) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let text = error.to_string();
    let of = model.map_or(String::new(), |name| format!(" for `{name}`"));
    if let Some(key) = text.strip_prefix("missing field `") {
        let key = key.split('`').next().unwrap_or_default().to_owned();
        return Err(ConfigError::conflict(key, format!("is missing{of}")));
    }
    if let Some(rest) = text.strip_prefix("unknown field `") {
        // Serde lists the known ones: "densty`, expected one of `density`, `weight`".
        let mut names = rest.split('`').step_by(2);
        let found = names.next().unwrap_or_default();
        return Err(ConfigError::unknown("setting", found, names));
    }
    // The key without which the settings fail in another way, or not at all.
    let all = settings.clone();
    let culprit = settings.into_iter().find(|(key, _)| {
        let mut others = all.clone();
        others.remove(key);
        parse(others).map_or_else(|other| other.to_string() != text, |_| true)
    });
    let Some((key, value)) = culprit else {
        let problem = format!("cannot be used{of}: {text}");
        return Err(ConfigError::conflict("parameters", problem));
    };
    Err(match wrong_value(key, &value, &error) {
        ConfigError::Range {
            key,
            found,
            expected,
        } => ConfigError::range(key, found, format!("{expected}{of}")),
        other => other,
    })
}

/// Every method that a recipe can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecipeMethod {
    /// Weighted mean of models.
    Linear,
    /// A point on the arc from the base to one model.
    Slerp,
    /// A weighted point on the arc between two models.
    Nuslerp,
    /// Mean direction and mean length of models.
    Multislerp,
    /// Mean of directions on the sphere.
    Karcher,
    /// Towards the mean as far as models agree in direction.
    ModelStock,
    /// Values of a model where they are near those of the base.
    Nearswap,
    /// The few changes of one model that stand out.
    ArceeFusion,
    /// One model as it is.
    Passthrough,
    /// Weighted sum of task vectors.
    TaskArithmetic,
    /// Largest changes, averaged where they agree in sign.
    Ties,
    /// Changes kept at random, summed.
    DareLinear,
    /// Changes kept at random, summed where they agree in sign.
    DareTies,
    /// Changes kept at random by rank, averaged where they agree in sign.
    Della,
    /// Changes kept at random by rank, summed.
    DellaLinear,
    /// Changes without the largest and the smallest, summed.
    Breadcrumbs,
    /// Changes without the largest and the smallest, summed where they agree in sign.
    BreadcrumbsTies,
    /// Changes where models differ most, averaged where they agree in sign.
    Sce,
    /// Changes of one model whole, changes of several averaged.
    Ram,
    /// The same, strengthened where a model shares many.
    RamplusTl,
    /// Strongest singular directions of each task, made orthogonal to the others'.
    TsvM,
    /// Sum of task vectors with every singular value at their mean.
    IsoC,
    /// Common and task-specific directions, all of the same strength.
    IsoCts,
    /// Task vector that disturbs each task least in the inputs it uses.
    Wudi,
    /// Sum of task vectors where enough tasks use it.
    Consensus,
    /// Elected signs with the largest magnitude that agrees.
    Emr,
}

impl RecipeMethod {
    /// Every method, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::Linear,
        Self::Slerp,
        Self::Nuslerp,
        Self::Multislerp,
        Self::Karcher,
        Self::ModelStock,
        Self::Nearswap,
        Self::ArceeFusion,
        Self::Passthrough,
        Self::TaskArithmetic,
        Self::Ties,
        Self::DareLinear,
        Self::DareTies,
        Self::Della,
        Self::DellaLinear,
        Self::Breadcrumbs,
        Self::BreadcrumbsTies,
        Self::Sce,
        Self::Ram,
        Self::RamplusTl,
        Self::TsvM,
        Self::IsoC,
        Self::IsoCts,
        Self::Wudi,
        Self::Consensus,
        Self::Emr,
    ];

    /// What is known of it.
    pub const fn spec(self) -> &'static MethodSpec {
        macro_rules! spec {
            ($rule:ty) => {{
                const SPEC: MethodSpec = MethodSpec::of::<$rule>();
                &SPEC
            }};
        }
        match self {
            Self::Linear => spec!(Linear),
            Self::Slerp => spec!(Slerp),
            Self::Nuslerp => spec!(Nuslerp),
            Self::Multislerp => spec!(Multislerp),
            Self::Karcher => spec!(Karcher),
            Self::ModelStock => spec!(ModelStock),
            Self::Nearswap => spec!(Nearswap),
            Self::ArceeFusion => spec!(ArceeFusion),
            Self::Passthrough => spec!(Passthrough),
            Self::TaskArithmetic => spec!(TaskArithmetic),
            Self::Ties => spec!(Ties),
            Self::DareLinear => spec!(DareLinear),
            Self::DareTies => spec!(DareTies),
            Self::Della => spec!(Della),
            Self::DellaLinear => spec!(DellaLinear),
            Self::Breadcrumbs => spec!(Breadcrumbs),
            Self::BreadcrumbsTies => spec!(BreadcrumbsTies),
            Self::Sce => spec!(Sce),
            Self::Ram => spec!(Ram),
            Self::RamplusTl => spec!(RamPlus),
            Self::TsvM => spec!(TsvM),
            Self::IsoC => spec!(IsoC),
            Self::IsoCts => spec!(IsoCts),
            Self::Wudi => spec!(Wudi),
            Self::Consensus => spec!(Consensus),
            Self::Emr => spec!(EmrUnified),
        }
    }

    /// The method called `name`.
    ///
    /// # Errors
    /// [`ConfigError::Unknown`].
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        let of = |method: &&Self| method.spec().card.name == name;
        Self::ALL.iter().find(of).copied().ok_or_else(|| {
            if ADAPTER_METHODS.contains(&name) {
                let words =
                    format!("`{name}` is for adapters: write `adapter_method` and `adapters`");
                return ConfigError::conflict("merge_method", words);
            }
            let names = Self::ALL.iter().map(|method| method.spec().card.name);
            ConfigError::unknown("merge_method", name, names)
        })
    }
}

/// Methods for adapters alone, which no recipe of this kind can name.
const ADAPTER_METHODS: [&str; 4] = ["cat", "knots", "magnitude_prune", "svd"];

#[cfg(test)]
mod tests {
    use super::*;
    use refit_core::Hint;
    use serde_json::json;

    #[test]
    fn a_setting_that_does_not_fit_is_named_with_its_model() {
        #[derive(Debug, Deserialize)]
        struct Model {
            #[allow(dead_code, reason = "read for its errors")]
            weight: f64,
            #[serde(default)]
            #[allow(dead_code, reason = "read for its errors")]
            count: u32,
        }
        let said = |settings: Value| {
            let Value::Object(settings) = settings else {
                panic!("a mapping")
            };
            read::<Model>(settings, Some("a")).unwrap_err().to_string()
        };
        for (settings, words) in [
            (
                json!({"weight": "x"}),
                "`weight` is \"x\", expected a number for `a`",
            ),
            (
                json!({"weight": 1, "count": -3}),
                "`count` is -3, expected a whole number, 0 or more for `a`",
            ),
            (json!({"count": 1}), "`weight` is missing for `a`"),
        ] {
            assert_eq!(said(settings), words);
        }
    }

    #[test]
    fn every_method_is_found_by_its_name() {
        for &method in RecipeMethod::ALL {
            let name = method.spec().card.name;
            assert_eq!(RecipeMethod::named(name), Ok(method));
            assert_eq!(serde_json::to_value(method).unwrap(), name);
        }
        let hint = |name| {
            let error = RecipeMethod::named(name).unwrap_err();
            error.hint().unwrap().into_owned()
        };
        assert!(hint("magic").starts_with("use one of `linear`, `slerp`"));
        assert_eq!(hint("LINEAR"), "did you mean `linear`?");
        let knots = RecipeMethod::named("knots").unwrap_err().to_string();
        assert!(knots.contains("`adapter_method`"), "{knots}");
    }
}
