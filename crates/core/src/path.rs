//! Names of parameters.

use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};

/// The dotted name of a tensor inside a checkpoint, as the checkpoint spells it: `encoder.layer.0.output.bias`.
///
/// Cheap to clone. Order is that of the text, so a sorted list of paths is the same on every machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ParamPath(Arc<str>);

impl ParamPath {
    /// Wraps a name.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(Arc::from(name.as_ref()))
    }

    /// The empty path, from which [`join`](Self::join) starts.
    pub fn root() -> Self {
        Self::new("")
    }

    /// `self.child`, or `child` alone below the root.
    #[must_use]
    pub fn join(&self, child: impl fmt::Display) -> Self {
        if self.0.is_empty() {
            Self::new(child.to_string())
        } else {
            Self::new(format!("{}.{child}", self.0))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its last part: the module that owns the tensor (`""` for a top-level tensor).
    ///
    /// ```
    /// # use refit_core::ParamPath;
    /// assert_eq!(ParamPath::new("blocks.0.norm.weight").module(), "blocks.0.norm");
    /// assert_eq!(ParamPath::new("cls").module(), "");
    /// ```
    pub fn module(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(head, _)| head)
    }

    /// Whether this is `place` or lies below it; everything lies below the root.
    ///
    /// ```
    /// # use refit_core::ParamPath;
    /// let bias = ParamPath::new("pooler.dense.bias");
    /// assert!(bias.is_within(&ParamPath::new("pooler")) && bias.is_within(&bias));
    /// assert!(!bias.is_within(&ParamPath::new("pool")));
    /// ```
    pub fn is_within(&self, place: &Self) -> bool {
        let rest = self.0.strip_prefix(&*place.0);
        rest.is_some_and(|rest| place.0.is_empty() || rest.is_empty() || rest.starts_with('.'))
    }

    /// The name up to and including its first numeric part: the repeated block that owns the tensor, if any.
    ///
    /// ```
    /// # use refit_core::ParamPath;
    /// assert_eq!(ParamPath::new("blocks.11.norm.weight").block(), Some("blocks.11"));
    /// assert_eq!(ParamPath::new("head.weight").block(), None);
    /// ```
    pub fn block(&self) -> Option<&str> {
        let mut end = 0;
        for part in self.0.split('.') {
            end += part.len();
            if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
                return Some(&self.0[..end]);
            }
            end += 1;
        }
        None
    }
}

impl fmt::Display for ParamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ParamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

impl From<&str> for ParamPath {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for ParamPath {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<ParamPath> for String {
    fn from(path: ParamPath) -> Self {
        path.0.as_ref().to_owned()
    }
}

impl AsRef<str> for ParamPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ParamPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_below_the_root_adds_no_dot() {
        assert_eq!(ParamPath::root().join("a").join(3).as_str(), "a.3");
    }

    #[test]
    fn a_block_ends_at_the_first_number() {
        assert_eq!(
            ParamPath::new("layer1.2.conv.3.w").block(),
            Some("layer1.2")
        );
        assert_eq!(ParamPath::new("7.w").block(), Some("7"));
        assert_eq!(ParamPath::new("conv1.weight").block(), None);
        assert_eq!(ParamPath::new("").block(), None);
    }
}
