//! Reading mappings strictly.

use super::{place::Place, problem::RecipeProblem};
use serde_json::{Map, Value};

/// A mapping whose keys are all known.
pub(super) struct Fields<'a> {
    place: Place,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The mapping `value`, all of whose keys are in `keys`.
    pub(super) fn read(
        value: &'a Value,
        place: Place,
        keys: &[&'static str],
    ) -> Result<Self, RecipeProblem> {
        let map = mapping(value, &place)?;
        if let Some(key) = map.keys().find(|key| !keys.contains(&key.as_str())) {
            return Err(RecipeProblem::unknown_key(&place, key, keys));
        }
        Ok(Self { place, map })
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The value of `key` and its place; a key without a value counts as absent.
    pub(super) fn get(&self, key: &str) -> Option<(&'a Value, Place)> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        Some((value, self.place.key(key)))
    }

    /// The value of a key that must be there.
    pub(super) fn need(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<(&'a Value, Place), RecipeProblem> {
        self.get(key).ok_or_else(|| RecipeProblem::Missing {
            place: self.place.key(key),
            expected,
        })
    }

    /// What `read` makes of the value of `key`, if there is one.
    pub(super) fn map<T>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Value, Place) -> Result<T, RecipeProblem>,
    ) -> Result<Option<T>, RecipeProblem> {
        self.get(key)
            .map(|(value, place)| read(value, place))
            .transpose()
    }

    /// Which of `keys` are there, for a message.
    pub(super) fn which(&self, keys: &[&str]) -> String {
        let found = keys.iter().filter(|key| self.get(key).is_some());
        let found: Vec<String> = found.map(|key| format!("`{key}`")).collect();
        if found.is_empty() {
            return "none".into();
        }
        found.join(" and ")
    }
}

/// The entries of a mapping.
pub(super) fn mapping<'a>(
    value: &'a Value,
    place: &Place,
) -> Result<&'a Map<String, Value>, RecipeProblem> {
    value
        .as_object()
        .ok_or_else(|| RecipeProblem::kind(place, value, "`key: value` pairs"))
}

/// The items of a list of 1 to `most`, each read with its place.
pub(super) fn list<T>(
    value: &Value,
    place: &Place,
    most: usize,
    mut read: impl FnMut(&Value, Place) -> Result<T, RecipeProblem>,
) -> Result<Vec<T>, RecipeProblem> {
    let items = value
        .as_array()
        .ok_or_else(|| RecipeProblem::kind(place, value, "a list"))?;
    if items.is_empty() || items.len() > most {
        return Err(RecipeProblem::Count {
            place: place.clone(),
            found: items.len(),
            most,
        });
    }
    items
        .iter()
        .enumerate()
        .map(|(index, item)| read(item, place.item(index)))
        .collect()
}

/// A text that is not empty.
pub(super) fn text(value: &Value, place: &Place) -> Result<String, RecipeProblem> {
    match value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(RecipeProblem::kind(place, value, "a text")),
    }
}

/// A whole number from 0.
pub(super) fn count(value: &Value, place: &Place) -> Result<usize, RecipeProblem> {
    value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| RecipeProblem::kind(place, value, "a whole number from 0"))
}
