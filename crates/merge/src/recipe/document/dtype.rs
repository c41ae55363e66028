//! Element types as recipes spell them.

use super::{place::Place, problem::RecipeProblem};
use refit_core::{ConfigError, DType};
use serde::Serializer;
use serde_json::Value;

/// Names in the order of the documentation; the first of a type is the one that is written.
const NAMES: &[(&str, DType)] = &[
    ("float32", DType::F32),
    ("float16", DType::F16),
    ("bfloat16", DType::BF16),
    ("float64", DType::F64),
    ("float", DType::F32),
    ("fp32", DType::F32),
    ("f32", DType::F32),
    ("half", DType::F16),
    ("fp16", DType::F16),
    ("f16", DType::F16),
    ("bf16", DType::BF16),
    ("double", DType::F64),
    ("fp64", DType::F64),
    ("f64", DType::F64),
];

/// Reads `bfloat16`, `torch.bfloat16` or `bf16`.
pub(super) fn read(value: &Value, place: &Place) -> Result<DType, RecipeProblem> {
    let expected = "an element type such as `bfloat16`";
    let text = value
        .as_str()
        .ok_or_else(|| RecipeProblem::kind(place, value, expected))?;
    let name = text.strip_prefix("torch.").unwrap_or(text).to_lowercase();
    let found = NAMES.iter().find(|(known, _)| *known == name);
    found.map(|&(_, dtype)| dtype).ok_or_else(|| {
        let names = NAMES.iter().map(|&(name, _)| name);
        RecipeProblem::Name {
            place: place.clone(),
            source: ConfigError::unknown("element type", text, names),
        }
    })
}

/// The name of `dtype` in recipes and in `config.json`.
pub(in crate::recipe) fn name(dtype: DType) -> &'static str {
    let found = NAMES.iter().find(|&&(_, known)| known == dtype);
    found.map_or(dtype.name(), |&(name, _)| name)
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for it"
)]
pub(super) fn serialize<S: Serializer>(dtype: &Option<DType>, to: S) -> Result<S::Ok, S::Error> {
    match dtype {
        Some(dtype) => to.serialize_str(name(*dtype)),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_weight_type_has_a_name_that_is_read_back() {
        for dtype in DType::ALL.into_iter().filter(|dtype| dtype.is_weight()) {
            let read = |text: String| read(&json!(text), &Place::top());
            assert_eq!(read(name(dtype).into()), Ok(dtype));
            assert_eq!(read(format!("torch.{}", name(dtype))), Ok(dtype));
            assert_eq!(read(dtype.name().into()), Ok(dtype));
        }
    }

    #[test]
    fn other_types_are_refused() {
        let problem = read(&json!("float61"), &Place::top().key("dtype")).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "`dtype`: unknown element type `float61`"
        );
        assert!(read(&json!("int64"), &Place::top()).is_err()); // no weight is an integer
        assert!(read(&json!(32), &Place::top()).is_err());
    }
}
