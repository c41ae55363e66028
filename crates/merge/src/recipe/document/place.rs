//! Where in a recipe something stands.

use std::fmt;

/// The way from the top of a recipe to one of its values, as people write it: `slices[1].sources[0].weight`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// The recipe itself.
    pub fn top() -> Self {
        Self::default()
    }

    /// The value under `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        // A recipe is a file of people: a key as long as the file would hide the message.
        let key: String = key.chars().take(80).collect();
        Self(if self.0.is_empty() {
            key
        } else {
            format!("{}.{key}", self.0)
        })
    }

    /// Item `index` of the list.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "recipe" } else { &self.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_like_the_recipe() {
        let place = Place::top().key("slices").item(1).key("sources").item(0);
        assert_eq!(place.to_string(), "slices[1].sources[0]");
        assert_eq!(Place::top().to_string(), "recipe");
        assert_eq!(Place::top().key(&"k".repeat(999)).to_string().len(), 80);
    }
}
