//! Rotary positions and how they were stretched to longer texts, from `rope_scaling` or `rope_parameters`.
//! Sources: arXiv:2104.09864 (positions as rotations); arXiv:2306.15595 (`linear`); arXiv:2309.00071 (`yarn`);
//! arXiv:2407.21783 (`llama3`).

use super::settings::Settings;
use crate::blocks::Rotary;
use refit_core::ConfigError;
use serde_json::{Map, Value};
use std::f64::consts::TAU;

const KINDS: [&str; 5] = ["default", "linear", "dynamic", "llama3", "yarn"];

/// The rotation of heads of `width` in a model of so many `positions`, and how many it reaches; `base` is that of a file
/// which names none.
pub(super) fn read(
    settings: Settings<'_>,
    width: usize,
    positions: usize,
    base: f64,
) -> Result<(Rotary, usize), ConfigError> {
    let map = |key| settings.get(key, Map::<String, Value>::new());
    let keys = match map("rope_scaling")? {
        none if none.is_empty() => map("rope_parameters")?,
        keys => keys,
    };
    let inner = Settings(&keys);
    settings.only("partial_rotary_factor", &1.0)?;
    inner.only("partial_rotary_factor", &1.0)?;
    let base = inner.get("rope_theta", settings.get("rope_theta", base)?)?;
    at_least("rope_theta", base, 1.0)?;
    let kind = match inner.find::<String>("rope_type")? {
        None => inner.get("type", "default".to_owned())?,
        Some(kind) => kind,
    };
    let plain = Rotary::new(width, base);
    let needed = |key| match inner.find::<f64>(key)? {
        Some(number) => Ok(number),
        None => {
            let expected = format!("a number, which `{kind}` positions need");
            Err(ConfigError::range(key, "missing", expected))
        }
    };
    let factor = || {
        let factor = needed("factor")?;
        at_least("factor", factor, 1.0)?;
        Ok(factor)
    };
    let original = || {
        const KEY: &str = "original_max_position_embeddings";
        // Beside the map it goes first, as in the reference implementation.
        let original = settings.length(KEY, inner.length(KEY, positions)?)?;
        Ok::<_, ConfigError>(original as f64)
    };
    let rotary = match kind.as_str() {
        "default" => plain,
        // Up to the length it was trained for a dynamic model turns as any other; longer texts are refused.
        "dynamic" => {
            factor()?;
            plain
        }
        "linear" => {
            let factor = factor()?;
            plain.map_rates(|rate| rate / factor)
        }
        "llama3" => {
            let (factor, original) = (factor()?, original()?);
            let (low, high) = (needed("low_freq_factor")?, needed("high_freq_factor")?);
            if !(low > 0.0 && low < high) {
                let expected = format!("a number above 0 and below `high_freq_factor` {high}");
                return Err(ConfigError::range("low_freq_factor", low, expected));
            }
            plain.map_rates(|rate| by_length(rate, factor, [low, high], original))
        }
        "yarn" => {
            let original = original()?;
            // Null means the stretch that the two lengths say.
            let factor = match keys.get("factor") {
                Some(Value::Null) => (positions as f64 / original).max(1.0),
                _ => factor()?,
            };
            let rotary = yarn(inner, plain, [width as f64, base], factor, original)?;
            let reach = (factor * original).min(super::LONGEST as f64) as usize;
            return Ok((rotary, positions.max(reach)));
        }
        _ => return Err(ConfigError::unknown("rope_type", kind, KINDS)),
    };
    Ok((rotary, positions))
}

/// Slow turns are slowed by `factor`, fast ones are left, those between are blended: by how often a pair turns within
/// the `original` length.
fn by_length(rate: f64, factor: f64, [low, high]: [f64; 2], original: f64) -> f64 {
    let turns = original * rate / TAU;
    let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
    kept * rate + (1.0 - kept) * rate / factor
}

fn yarn(
    keys: Settings<'_>,
    plain: Rotary,
    [width, base]: [f64; 2],
    factor: f64,
    original: f64,
) -> Result<Rotary, ConfigError> {
    // The pair that turns so often within the original length.
    let pair = |turns: f64| width * (original / (turns * TAU)).ln() / (2.0 * base.ln());
    let (fast, slow) = (keys.get("beta_fast", 32.0)?, keys.get("beta_slow", 1.0)?);
    at_least("rope_theta", base, 1.001)?;
    at_least("beta_slow", slow, 1e-3)?;
    at_least("beta_fast", fast, slow)?;
    let (mut first, mut last) = (pair(fast), pair(slow));
    if keys.get("truncate", true)? {
        (first, last) = (first.floor(), last.ceil());
    }
    let (first, mut last) = (first.max(0.0), last.min(width - 1.0));
    if last - first == 0.0 {
        last = first + 0.001;
    }
    let mut at = 0.0;
    let stretched = plain.map_rates(|rate| {
        let slowed = ((at - first) / (last - first)).clamp(0.0, 1.0);
        at += 1.0;
        slowed * rate / factor + (1.0 - slowed) * rate
    });
    let scale = |weight: f64| {
        if factor > 1.0 {
            0.1 * weight * factor.ln() + 1.0
        } else {
            1.0
        }
    };
    let gain: f64 = match keys.find("attention_factor")? {
        Some(gain) => gain,
        None => match (
            keys.find::<f64>("mscale")?,
            keys.find::<f64>("mscale_all_dim")?,
        ) {
            (Some(one), Some(all)) if one != 0.0 && all != 0.0 => scale(one) / scale(all),
            _ => scale(1.0),
        },
    };
    if !(gain > 0.0 && gain < 1e6) {
        let expected = "a number above 0 and below 1e6";
        return Err(ConfigError::range("attention_factor", gain, expected));
    }
    Ok(stretched.with_gain(gain))
}

fn at_least(key: &'static str, value: f64, least: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(ConfigError::range(
        key,
        value,
        format!("a finite number of at least {least}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_from(keys: &Value) -> Result<(Rotary, usize), ConfigError> {
        read(Settings(keys.as_object().unwrap()), 16, 80, 1e4)
    }

    #[test]
    fn what_a_kind_needs_is_asked_for_by_name() {
        let whole = json!({
            "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 20,
        });
        for (kind, needs) in [
            ("linear", &["factor"][..]),
            ("dynamic", &["factor"]),
            ("yarn", &["factor"]),
            ("llama3", &["factor", "low_freq_factor", "high_freq_factor"]),
        ] {
            for name in ["rope_type", "type"] {
                let mut keys = whole.clone();
                keys[name] = json!(kind);
                read_from(&json!({ "rope_scaling": keys })).unwrap();
                for &need in needs {
                    let mut keys = keys.clone();
                    keys.as_object_mut().unwrap().remove(need);
                    let error = read_from(&json!({ "rope_scaling": keys })).unwrap_err();
                    let expected =
                        format!("`{need}` is missing, expected a number, which `{kind}`");
                    assert!(error.to_string().starts_with(&expected), "{error}");
                }
            }
        }
    }

    #[test]
    fn an_empty_map_says_nothing_and_a_length_beside_the_map_goes_first() {
        let linear = json!({ "rope_type": "linear", "factor": 2.0 });
        let plain = read_from(&json!({})).unwrap();
        let scaled = read_from(&json!({ "rope_parameters": linear })).unwrap();
        assert_ne!(scaled, plain);
        let both = json!({ "rope_scaling": {}, "rope_parameters": linear });
        assert_eq!(read_from(&both).unwrap(), scaled);
        let yarn = |inner: u64| json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": inner });
        let inside = read_from(&json!({ "rope_scaling": yarn(20) })).unwrap();
        let beside = json!({ "rope_scaling": yarn(40), "original_max_position_embeddings": 20 });
        assert_eq!(read_from(&beside).unwrap(), inside);
        let mut ratio = yarn(20);
        ratio["factor"] = Value::Null; // 80 positions of 20
        assert_eq!(
            read_from(&json!({ "rope_scaling": ratio })).unwrap(),
            inside
        );
    }
}
