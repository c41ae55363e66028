//! How a merge runs, beside what the recipe says.

use refit_core::{ConfigError, Seed};
use refit_merge::NotFinite;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a merge runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MergeOptions {
    /// Where chance comes from.
    pub seed: Seed,
    /// Most bytes of values in memory at once.
    pub memory_bytes: u64,
    /// Most bytes of values per file of the output; `None` writes one file.
    pub shard_bytes: Option<u64>,
    /// What happens to NaN and infinities.
    pub not_finite: NotFinite,
    /// Cache of the hub, in which models are looked for that are no path; not part of what is recorded.
    #[serde(skip)]
    pub cache: Option<PathBuf>,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self {
            seed: Seed::new(0),
            memory_bytes: 512 << 20,
            shard_bytes: Some(5_000_000_000),
            not_finite: NotFinite::Refuse,
            cache: None,
        }
    }
}

/// Units of sizes and their bytes.
const UNITS: [(&str, u64); 8] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
];

/// Reads a size such as `2GiB`, `500MB` or a number of bytes.
///
/// # Errors
/// When it is no such thing, or zero.
///
/// ```
/// use refit::merging::parse_bytes;
/// assert_eq!(parse_bytes("1.5 GiB"), Ok(1_610_612_736));
/// assert_eq!(parse_bytes("4096"), Ok(4096));
/// assert!(parse_bytes("2 apples").is_err());
/// ```
pub fn parse_bytes(text: &str) -> Result<u64, ConfigError> {
    let wrong = || ConfigError::range("size", text, "a size such as 2GiB, 500MB or 4096");
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim().to_ascii_lowercase());
    let unit = match unit.as_str() {
        "" | "b" => 1,
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, bytes)| *bytes)
            .ok_or_else(wrong)?,
    };
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit as f64;
    if bytes >= 1.0 && bytes < 2f64.powi(63) {
        Ok(bytes as u64)
    } else {
        Err(wrong())
    }
}
