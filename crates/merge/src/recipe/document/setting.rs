//! Settings: numbers, gradients over depth, and values for some tensors only.

use super::{
    fields::{Fields, list, mapping, text},
    place::Place,
    problem::RecipeProblem,
};
use crate::recipe::MethodSpec;
use serde::Serialize;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Longest gradient and longest list of cases.
const MOST_VALUES: usize = 4096;

/// Where a tensor stands between the first and the last layer of its slice.
///
/// A quotient of whole numbers, so that a gradient with as many values as layers meets each of them exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    at: usize,
    of: usize,
}

impl Depth {
    /// A tensor that belongs to no layer: the start of every gradient.
    pub const OUTSIDE: Self = Self { at: 0, of: 1 };

    /// Layer `index` of `layers`, counted from 0: the share `index / (layers - 1)`; an only layer is the end.
    pub fn layer(index: usize, layers: usize) -> Self {
        match layers {
            0 | 1 => Self { at: 1, of: 1 },
            _ => Self {
                at: index.min(layers - 1),
                of: layers - 1,
            },
        }
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// Yes or no.
    Bool(bool),
    /// A number; whole numbers stay whole.
    Number(Number),
    /// A word.
    Text(String),
}

/// One value for every layer, or a way from the first layer to the last.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Curve {
    /// The same everywhere.
    Constant(Scalar),
    /// Numbers are joined by straight lines; of words and of yes and no, the last one reached holds.
    Gradient(Vec<Scalar>),
}

/// A value for tensors whose name holds a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// The text; none or `*` for every tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The value.
    pub value: Curve,
}

/// What a recipe says about one setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// For every tensor.
    All(Curve),
    /// The first case that fits a tensor holds for it; where none fits, the next wider settings are asked.
    Cases(Vec<Case>),
}

impl Setting {
    fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        let is_case = match value {
            Value::Object(_) => return Ok(Self::Cases(vec![Case::read(value, place)?])),
            Value::Array(items) => items.first().is_some_and(Value::is_object),
            _ => false,
        };
        Ok(if is_case {
            Self::Cases(list(value, &place, MOST_VALUES, Case::read)?)
        } else {
            Self::All(Curve::read(value, &place)?)
        })
    }

    /// The value for the tensor called `tensor`; none where no case fits it.
    ///
    /// Between two numbers of a gradient the value is interpolated and never leaves the interval between them.
    pub fn at(&self, tensor: &str, depth: Depth) -> Option<Value> {
        match self {
            Self::All(curve) => Some(curve.at(depth)),
            Self::Cases(cases) => cases
                .iter()
                .find(|case| case.fits(tensor))
                .map(|case| case.value.at(depth)),
        }
    }
}

impl Case {
    fn read(value: &Value, place: Place) -> Result<Self, RecipeProblem> {
        let fields = Fields::read(value, place, &["filter", "value"])?;
        let (value, at) = fields.need("value", "the value for these tensors")?;
        Ok(Self {
            filter: fields.map("filter", |value, at| text(value, &at))?,
            value: Curve::read(value, &at)?,
        })
    }

    fn fits(&self, tensor: &str) -> bool {
        let filter = self.filter.as_deref();
        filter.is_none_or(|filter| filter == "*" || tensor.contains(filter))
    }
}

impl Curve {
    fn read(value: &Value, place: &Place) -> Result<Self, RecipeProblem> {
        if !value.is_array() {
            return Ok(Self::Constant(Scalar::read(value, place)?));
        }
        let read = |value: &Value, at| Scalar::read(value, &at);
        let values = list(value, place, MOST_VALUES, read)?;
        let number = |scalar: &Scalar| matches!(scalar, Scalar::Number(_));
        if values.iter().any(number) && !values.iter().all(number) {
            let expected = "values of one kind";
            return Err(RecipeProblem::kind(place, value, expected));
        }
        Ok(Self::Gradient(values))
    }

    fn at(&self, depth: Depth) -> Value {
        let values = match self {
            Self::Constant(scalar) => return scalar.value(),
            Self::Gradient(values) => values,
        };
        let steps = values.len() - 1;
        let (at, of) = (depth.at as u128 * steps as u128, depth.of as u128);
        let (below, rest) = ((at / of) as usize, at % of); // `at / of` is at most `steps`
        let (low, high) = (&values[below], &values[(below + 1).min(steps)]);
        match (low, high) {
            (Scalar::Number(low), Scalar::Number(high)) if rest > 0 => {
                between(low, high, rest as f64 / of as f64)
            }
            _ => low.value(),
        }
    }
}

/// The number `share` of the way from `low` to `high`, in the interval between them.
fn between(low: &Number, high: &Number, share: f64) -> Value {
    let (Some(a), Some(b)) = (low.as_f64(), high.as_f64()) else {
        return Value::Number(low.clone()); // never: numbers of JSON are floats
    };
    let mixed = ((1.0 - share) * a + share * b).clamp(a.min(b), a.max(b));
    let whole = !low.is_f64() && !high.is_f64() && mixed.fract() == 0.0;
    if whole && mixed.abs() < 9e15 {
        return Value::from(mixed as i64);
    }
    Value::from(mixed)
}

impl Scalar {
    /// Reads a number, `true`, `false` or a word. A word that spells a number, such as `"1e-5"`, is that number.
    fn read(value: &Value, place: &Place) -> Result<Self, RecipeProblem> {
        match value {
            _ if truth(value).is_some() => Ok(Self::Bool(truth(value) == Some(true))),
            Value::Number(number) if is_huge(number) => {
                Err(RecipeProblem::kind(place, value, SMALLER))
            }
            Value::Number(number) => Ok(Self::Number(number.clone())),
            Value::String(word) if number(word).is_some_and(|number| is_huge(&number)) => {
                Err(RecipeProblem::kind(place, value, SMALLER))
            }
            Value::String(word) if !word.trim().is_empty() && word.len() <= 200 => {
                Ok(number(word).map_or_else(|| Self::Text(word.clone()), Self::Number))
            }
            _ => {
                let expected = "a number, true, false, a word, or a list of these";
                Err(RecipeProblem::kind(place, value, expected))
            }
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
        }
    }
}

/// A truth value, also as YAML 1.1 spells it: `yes`, `on`, `no`, `off`.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(word) => match word.as_str() {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// No setting has a use for more, and sums of them shall stay finite.
const LARGEST: f64 = 1e30;
const SMALLER: &str = "a number below 1e30";

fn is_huge(number: &Number) -> bool {
    number.as_f64().is_none_or(|value| value.abs() > LARGEST)
}

/// The number that a word spells with digits.
fn number(word: &str) -> Option<Number> {
    let digits = word.trim_start_matches(['-', '+', '.']);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None; // `nan` and `infinity` are words
    }
    match word.parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => Number::from_f64(word.parse().ok()?),
    }
}

/// Settings by name.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, Setting>);

/// For what settings are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every model: the recipe, a module, a slice.
    All,
    /// One model.
    Model,
}

impl Settings {
    /// Reads the settings that `method` knows.
    pub(super) fn read(
        value: &Value,
        place: &Place,
        method: &MethodSpec,
        scope: Scope,
    ) -> Result<Self, RecipeProblem> {
        let mut settings = BTreeMap::new();
        for (key, value) in mapping(value, place)? {
            check_key(key, place, method, scope)?;
            settings.insert(key.clone(), Setting::read(value, place.key(key))?);
        }
        Ok(Self(settings))
    }

    /// The setting called `name`.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.0.get(name)
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The setting that every method takes and none looks at.
const IGNORED: &str = "int8_mask";

fn check_key(
    key: &str,
    place: &Place,
    method: &MethodSpec,
    scope: Scope,
) -> Result<(), RecipeProblem> {
    // Recipes carry it on from method to method; it changes nothing in any.
    if method.model_keys.contains(&key) || (scope == Scope::All && key == IGNORED) {
        return Ok(());
    }
    let of_tensor = method.tensor_keys.contains(&key);
    match scope {
        Scope::All if of_tensor => Ok(()),
        Scope::Model if of_tensor => Err(RecipeProblem::NotPerModel {
            place: place.key(key),
        }),
        Scope::All => {
            let keys = [method.model_keys, method.tensor_keys].concat();
            Err(RecipeProblem::unknown_key(place, key, &keys))
        }
        Scope::Model => Err(RecipeProblem::unknown_key(place, key, method.model_keys)),
    }
}

/// The value of setting `name` in the narrowest of `levels` that has one for this tensor.
pub(in crate::recipe) fn resolve<'a>(
    name: &str,
    levels: impl IntoIterator<Item = &'a Settings>,
    tensor: &str,
    depth: Depth,
) -> Option<Value> {
    levels
        .into_iter()
        .find_map(|settings| settings.get(name)?.at(tensor, depth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn setting(value: &Value) -> Setting {
        Setting::read(value, Place::top().key("weight")).unwrap()
    }

    fn over(value: &Value, layers: usize) -> Vec<Value> {
        let setting = setting(value);
        (0..layers)
            .map(|layer| setting.at("w", Depth::layer(layer, layers)).unwrap())
            .collect()
    }

    #[test]
    fn a_gradient_is_a_line_through_its_values() {
        assert_eq!(
            over(&json!([0, 1]), 5),
            [json!(0), json!(0.25), json!(0.5), json!(0.75), json!(1)]
        );
        assert_eq!(
            over(&json!([1, 2, 4]), 5),
            [json!(1), json!(1.5), json!(2), json!(3), json!(4)]
        );
        assert_eq!(over(&json!([0.5, 2.0]), 1), [json!(2.0)]); // one layer is the end
        assert_eq!(
            setting(&json!([3, 5])).at("w", Depth::OUTSIDE),
            Some(json!(3))
        );
    }

    #[test]
    fn words_and_yes_and_no_hold_until_the_next() {
        // mergekit 0.1.5, `normalize: [false, true]` over four layers: true in the last only
        let expected = [false, false, false, true].map(Value::from);
        assert_eq!(over(&json!([false, true]), 4), expected);
        assert_eq!(over(&json!(["sum", "count"]), 2), ["sum", "count"]);
    }

    #[test]
    fn words_that_spell_numbers_are_numbers() {
        assert_eq!(over(&json!(["1e0", "2"]), 2), [json!(1.0), json!(2)]);
        assert_eq!(over(&json!("1e-5"), 1), [json!(1e-5)]);
        assert_eq!(over(&json!("nan"), 1), ["nan"]);
    }

    #[test]
    fn the_first_case_that_fits_holds() {
        let setting = setting(&json!([
            {"filter": "attn", "value": 1},
            {"filter": "*", "value": [2, 3]},
            {"value": 4},
        ]));
        assert_eq!(setting.at("l.attn.w", Depth::OUTSIDE), Some(json!(1)));
        assert_eq!(setting.at("l.mlp.w", Depth::layer(1, 2)), Some(json!(3)));
        let only = Setting::read(&json!({"filter": "x", "value": 1}), Place::top()).unwrap();
        assert_eq!(only.at("w", Depth::OUTSIDE), None);
    }

    #[test]
    fn values_of_other_kinds_are_refused_with_their_place() {
        for (value, text) in [
            (json!(null), "`weight` is empty, expected a number"),
            (json!([]), "`weight` has 0 entries"),
            (
                json!([1, "x"]),
                "`weight` is a list of 2, expected values of one kind",
            ),
            (json!([1, {"value": 2}]), "`weight[1]` is a mapping"),
            (
                json!([{"value": 2}, 1]),
                "`weight[1]` is 1, expected `key: value` pairs",
            ),
            (json!([{"filter": "a"}]), "`weight[0].value` is missing"),
            (json!([[1]]), "`weight[0]` is a list of 1"),
        ] {
            let problem = Setting::read(&value, Place::top().key("weight")).unwrap_err();
            assert!(problem.to_string().starts_with(text), "{problem}");
        }
    }

    proptest! {
        #[test]
        fn a_gradient_stays_between_its_extremes(
            values in prop::collection::vec(-1e30f64..1e30, 1..9), layers in 1usize..70, layer in 0usize..70,
        ) {
            let layer = layer % layers;
            let at = setting(&json!(values)).at("w", Depth::layer(layer, layers)).unwrap();
            let at = at.as_f64().unwrap();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least <= at && at <= most);
        }

        #[test]
        fn a_gradient_with_a_value_per_layer_meets_each(values in prop::collection::vec(-5i64..5, 1..60)) {
            let expected: Vec<Value> = values.iter().map(|&v| json!(v)).collect();
            prop_assert_eq!(over(&json!(values), values.len()), expected);
        }
    }
}
