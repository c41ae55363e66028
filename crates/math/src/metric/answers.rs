//! Short texts that answer a question.

use super::share;
use std::collections::HashMap;

/// Whether two answers are the same but for case, punctuation, articles and spaces.
///
/// Source: Rajpurkar et al. 2016, arXiv:1606.05250, as its evaluation has it.
///
/// # Example
/// ```
/// use refit_math::metric::exact_match;
/// assert!(exact_match("The Loire.", "loire"));
/// assert!(!exact_match("Loire river", "loire"));
/// ```
pub fn exact_match(found: &str, expected: &str) -> bool {
    words(found) == words(expected)
}

/// Harmonic mean of the shares of words that two answers share, counted as often as they occur; 1 for two answers
/// without words.
///
/// # Example
/// ```
/// use refit_math::metric::token_f1;
/// // Two of three words, and two of two.
/// assert!((token_f1("the long Loire river", "Loire river") - 0.8).abs() < 1e-15);
/// ```
pub fn token_f1(found: &str, expected: &str) -> f64 {
    let (found, expected) = (words(found), words(expected));
    if found.is_empty() || expected.is_empty() {
        return f64::from(u8::from(found == expected));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &expected {
        *left.entry(word).or_default() += 1;
    }
    let shared = found.iter().filter(|word| {
        let count = left.get_mut(word.as_str()).filter(|count| **count > 0);
        count.map(|count| *count -= 1).is_some()
    });
    share(
        2.0 * shared.count() as f64,
        (found.len() + expected.len()) as f64,
    )
}

/// Words in small letters, without punctuation and articles.
fn words(text: &str) -> Vec<String> {
    let plain = |c: &char| !c.is_ascii_punctuation();
    let text: String = text.to_lowercase().chars().filter(plain).collect();
    let words = text.split_whitespace();
    let words = words.filter(|word| !matches!(*word, "a" | "an" | "the"));
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_as_often_as_they_occur() {
        assert!((token_f1("b b", "b") - 2.0 / 3.0).abs() < 1e-15);
        assert!((token_f1("b b", "b b") - 1.0).abs() < 1e-15);
        assert!(token_f1("", "b").abs() < 1e-15);
        assert!((token_f1("the", "an") - 1.0).abs() < 1e-15); // articles are no words
    }
}
