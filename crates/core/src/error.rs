//! Errors that every crate shares, and hints.

use std::{borrow::Cow, fmt};

/// An error that knows what its reader should do next.
pub trait Hint: std::error::Error {
    /// The next step, as an imperative sentence without a final period; the front end prints `hint: ...`.
    fn hint(&self) -> Option<Cow<'static, str>> {
        None
    }
}

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value outside its range (NaN is outside every range).
    #[error("`{key}` is {found}, expected {expected}")]
    Range {
        /// The setting.
        key: Cow<'static, str>,
        /// Its value.
        found: String,
        /// What would be accepted.
        expected: Cow<'static, str>,
    },
    /// A name that means nothing here.
    #[error("unknown {kind} `{found}`")]
    Unknown {
        /// What was named, such as `method`.
        kind: &'static str,
        /// The name.
        found: String,
        /// What was probably meant, or could have been.
        valid: Valid,
    },
    /// Two settings that exclude each other, or one that needs another.
    #[error("`{key}` {problem}")]
    Conflict {
        /// The setting.
        key: Cow<'static, str>,
        /// What is wrong with it, as the rest of the sentence.
        problem: String,
    },
}

impl ConfigError {
    /// A value out of range.
    pub fn range(
        key: impl Into<Cow<'static, str>>,
        found: impl fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Range {
            key: key.into(),
            found: short(found.to_string()),
            expected: expected.into(),
        }
    }

    /// An unknown name, with the nearest of `valid`; where none is near, with all of them unless they are many.
    ///
    /// ```
    /// # use refit_core::{ConfigError, Hint};
    /// let e = ConfigError::unknown("method", "teis", ["ties", "dare"]);
    /// assert_eq!(e.to_string(), "unknown method `teis`");
    /// assert_eq!(e.hint().unwrap(), "did you mean `ties`?");
    /// let e = ConfigError::unknown("method", "magic", ["ties", "dare"]);
    /// assert_eq!(e.hint().unwrap(), "use one of `ties`, `dare`");
    /// ```
    pub fn unknown<'a>(
        kind: &'static str,
        found: impl fmt::Display,
        valid: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let found = found.to_string();
        let valid: Vec<&str> = valid.into_iter().collect();
        let named = valid.iter().map(|name| format!("`{name}`"));
        let valid = match nearest(&found, valid.iter().copied()) {
            Some(name) => Valid::Nearest(name.into()),
            None => Valid::OneOf(named.collect::<Vec<_>>().join(", ").into()),
        };
        Self::Unknown {
            kind,
            found: short(found),
            valid,
        }
    }

    /// A setting that does not go with another.
    pub fn conflict(key: impl Into<Cow<'static, str>>, problem: impl fmt::Display) -> Self {
        Self::Conflict {
            key: key.into(),
            problem: short(problem.to_string()),
        }
    }
}

/// The names that an unknown one could stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Valid {
    /// The closest, which is close.
    Nearest(Box<str>),
    /// All of them.
    OneOf(Box<str>),
}

/// Most characters of valid names that a hint lists.
const MOST_LISTED: usize = 600;

/// Most characters of a foreign text in a message; a file of settings may hold a value as long as itself.
const MOST_SHOWN: usize = 400;

/// The beginning of a text that is longer than a message should be.
fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MOST_SHOWN) {
        let more = text[end..].chars().count();
        text.truncate(end);
        text += &format!(".. and {more} more characters");
    }
    text
}

impl Hint for ConfigError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Unknown { valid, .. } => match valid {
                Valid::Nearest(name) => Some(format!("did you mean `{name}`?").into()),
                Valid::OneOf(names) if names.is_empty() || names.len() > MOST_LISTED => None,
                Valid::OneOf(names) => Some(format!("use one of {names}").into()),
            },
            _ => None,
        }
    }
}

/// The entry of `valid` closest to `found` by edit distance, if it is close enough to be a slip of the finger, or else the
/// shortest that begins as `found` does or that `found` begins with; large and small letters are the same.
pub fn nearest<'a>(found: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (found.chars().count() / 3).max(2);
    let found = found.to_lowercase();
    let (mut near, mut begins) = (None, None);
    for name in valid {
        let known = name.to_lowercase();
        let distance = strsim::damerau_levenshtein(&found, &known);
        if distance <= limit && near.is_none_or(|(least, _)| distance < least) {
            near = Some((distance, name));
        }
        let begin = known.starts_with(&found) || found.starts_with(&known);
        if begin
            && known.len().min(found.len()) >= LEAST_BEGIN
            && begins.is_none_or(|(least, _)| known.len() < least)
        {
            begins = Some((known.len(), name));
        }
    }
    near.or(begins).map(|(_, name)| name)
}

/// Fewest letters of a beginning that tells something.
const LEAST_BEGIN: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_nonsense_is_not() {
        assert_eq!(
            nearest("task-arithmetc", ["ties", "task-arithmetic"]),
            Some("task-arithmetic")
        );
        assert_eq!(nearest("TIES", ["ties", "dare"]), Some("ties"));
        assert_eq!(nearest("zzzzzz", ["ties", "dare"]), None);
        let methods = ["dare_ties_long", "dare_linear", "emr"];
        assert_eq!(nearest("dare", methods), Some("dare_linear"));
        assert_eq!(nearest("emr_merging", methods), Some("emr"));
        assert_eq!(nearest("em", ["emr_merging"]), None);
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let exact = "é".repeat(MOST_SHOWN);
        assert_eq!(short(exact.clone()), exact);
        let cut = ConfigError::unknown("key", format!("{exact}éé"), ["keep"]);
        let expected = format!("unknown key `{exact}.. and 2 more characters`");
        assert_eq!(cut.to_string(), expected);
    }

    #[test]
    fn nan_reads_as_found() {
        let e = ConfigError::range("keep", f32::NAN, "a share in (0, 1]");
        assert_eq!(e.to_string(), "`keep` is NaN, expected a share in (0, 1]");
    }
}
