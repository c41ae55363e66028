//! One line: a label, entries `index:value` with ascending indices, and perhaps a comment.

use super::{
    MOST_FEATURES,
    problem::{LineProblem, shown},
};

/// The part of a line before its comment, without white space around it.
pub(super) fn content(line: &[u8]) -> &[u8] {
    // `contains` looks at several bytes at a time, and most lines have no comment.
    let end = if line.contains(&b'#') {
        line.iter().position(|&byte| byte == b'#')
    } else {
        None
    };
    line[..end.unwrap_or(line.len())].trim_ascii()
}

/// What one line adds to the size of a table, guessed without reading its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Entries it can have at most.
    pub(super) entries: usize,
    /// One beyond its last column.
    pub(super) columns: usize,
}

/// Measures the content of a line by its colons and its last index. Lines with mistakes are measured somehow; reading
/// them later tells what is wrong.
pub(super) fn measure(content: &[u8], first: u64) -> Result<Extent, LineProblem> {
    let entries = content.iter().map(|&byte| usize::from(byte == b':')).sum();
    let last = content.rsplit(u8::is_ascii_whitespace).next();
    let index = last.and_then(|word| word.split(|&byte| byte == b':').next());
    let columns = match index.map(|word| (word, integer(word))) {
        _ if entries == 0 => 0,
        Some((word, Some(index))) => (index + 1).saturating_sub(first).min(limit(word, index)?),
        _ => 0,
    };
    Ok(Extent {
        entries,
        columns: columns as usize,
    })
}

fn limit(word: &[u8], index: u64) -> Result<u64, LineProblem> {
    let found = || shown(word);
    let refused = || LineProblem::TooManyFeatures { found: found() };
    (index <= MOST_FEATURES)
        .then_some(MOST_FEATURES)
        .ok_or_else(refused)
}

/// Reads the content of a line: calls `entry(column, value)` for each entry and returns the label.
pub(super) fn parse(
    content: &[u8],
    first: u64,
    columns: usize,
    mut entry: impl FnMut(u32, f32),
) -> Result<f32, LineProblem> {
    let mut words = content
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let label = label(words.next().unwrap_or_default())?;
    let mut least = first;
    for word in words {
        let (index, value) = split(word)?;
        if index < least {
            return Err(out_of_order(index, least, first));
        }
        let column = index - first;
        if column >= columns as u64 {
            let most = (columns as u64 + first).saturating_sub(1);
            return Err(LineProblem::Beyond { index, most });
        }
        let value = number(value).ok_or_else(|| LineProblem::Entry { found: shown(word) })?;
        if !value.is_finite() {
            let found = shown(&word[word.iter().position(|&b| b == b':').unwrap_or(0) + 1..]);
            return Err(LineProblem::NotFinite { index, found });
        }
        entry(column as u32, value);
        least = index + 1;
    }
    Ok(label)
}

fn label(word: &[u8]) -> Result<f32, LineProblem> {
    match number(word) {
        Some(label) if label.is_finite() => Ok(label),
        Some(_) => Err(LineProblem::LabelNotFinite { found: shown(word) }),
        None => Err(LineProblem::Label { found: shown(word) }),
    }
}

/// Index and value of an entry.
fn split(word: &[u8]) -> Result<(u64, &[u8]), LineProblem> {
    let at = word.iter().position(|&byte| byte == b':');
    let Some((index, value)) = at.map(|at| (&word[..at], &word[at + 1..])) else {
        return Err(LineProblem::Entry { found: shown(word) });
    };
    match integer(index) {
        Some(number) => limit(index, number).map(|_| (number, value)),
        None if index == b"qid" => Err(LineProblem::Query { found: shown(word) }),
        None => Err(LineProblem::Entry { found: shown(word) }),
    }
}

/// `index` is below `least`, which is the first index, or one more than the index before it.
fn out_of_order(index: u64, least: u64, first: u64) -> LineProblem {
    match least - 1 {
        _ if index < first => LineProblem::IndexZero,
        before if before == index => LineProblem::Duplicate { index },
        before => LineProblem::Order { index, before },
    }
}

/// A whole number without sign; one that is too large for the type becomes the largest.
fn integer(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    digits.then(|| {
        word.iter().fold(0u64, |number, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        })
    })
}

/// A decimal number, rounded once to single precision; infinite when it is too large.
fn number(word: &[u8]) -> Option<f32> {
    short_decimal(word).or_else(|| std::str::from_utf8(word).ok()?.parse().ok())
}

/// A number of few digits without exponent: digits and power of ten are exact, so that their quotient is rounded once.
fn short_decimal(word: &[u8]) -> Option<f32> {
    const POWERS: [f32; 11] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
    let (sign, digits) = match word {
        [b'-', digits @ ..] => (-1.0, digits),
        [b'+', digits @ ..] | digits => (1.0, digits),
    };
    let (mut mantissa, mut after_point, mut count) = (0u32, None, 0);
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = 10 * mantissa + u32::from(byte - b'0');
                after_point = after_point.map(|places| places + 1);
                count += 1;
            }
            b'.' if after_point.is_none() => after_point = Some(0),
            _ => return None,
        }
        if mantissa >= 1 << 24 {
            return None;
        }
    }
    let power = POWERS.get(after_point.unwrap_or(0))?;
    (count > 0).then_some(sign * (mantissa as f32 / power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str, first: u64, columns: usize) -> Result<(f32, Vec<(u32, f32)>), String> {
        let mut entries = Vec::new();
        let label = parse(content(line.as_bytes()), first, columns, |column, value| {
            entries.push((column, value));
        });
        label
            .map(|label| (label, entries))
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_line_is_a_label_and_entries() {
        let (label, entries) = read("+1 1:0.5\t3:-2e-1 \r\n", 1, 3).unwrap();
        assert_eq!((label, entries), (1.0, vec![(0, 0.5), (2, -0.2)]));
        let (label, entries) = read("-1.5 0:7 # 9:9", 0, 1).unwrap();
        assert_eq!((label, entries), (-1.5, vec![(0, 7.0)]));
        assert_eq!(read("3", 1, 0).unwrap(), (3.0, vec![]));
    }

    #[test]
    fn every_mistake_is_named() {
        for (line, problem) in [
            ("one 1:1", "has the label `one`, expected one number"),
            ("1,2 1:1", "has the label `1,2`, expected one number"),
            ("nan 1:1", "has the label `nan`, expected a finite number"),
            ("1 1", "has the entry `1`, expected `index:value`"),
            ("1 1:", "has the entry `1:`, expected `index:value`"),
            ("1 :1", "has the entry `:1`, expected `index:value`"),
            ("1 1:2:3", "has the entry `1:2:3`, expected `index:value`"),
            ("1 -1:2", "has the entry `-1:2`, expected `index:value`"),
            ("1 1.0:2", "has the entry `1.0:2`, expected `index:value`"),
            (
                "1 qid:4 1:1",
                "has a query `qid:4`, expected a label and entries",
            ),
            (
                "1 2:NaN",
                "has the value `NaN` at index 2, expected a finite number",
            ),
            (
                "1 2:1e39",
                "has the value `1e39` at index 2, expected a finite number",
            ),
            ("1 0:1", "has index 0, expected indices from 1"),
            ("1 1:1 1:1", "has index 1 twice"),
            (
                "1 3:1 2:1",
                "has index 2 after index 3, expected ascending indices",
            ),
            (
                "1 2:1 1:1",
                "has index 1 after index 2, expected ascending indices",
            ),
            ("1 5:1", "has index 5, expected at most 4"),
            (
                "1 99999999999999999999:1",
                "has index 99999999999999999999, at most 134217728 features are accepted",
            ),
        ] {
            assert_eq!(read(line, 1, 4).unwrap_err(), problem, "{line}");
        }
        assert_eq!(read("1 0:1 0:1", 0, 4).unwrap_err(), "has index 0 twice");
    }

    #[test]
    fn a_line_is_measured_without_reading_its_values() {
        let of = |line: &str, first| measure(content(line.as_bytes()), first).unwrap();
        let extent = |entries, columns| Extent { entries, columns };
        assert_eq!(of("1 1:x 7:y", 1), extent(2, 7));
        assert_eq!(of("1 0:x 7:y ", 0), extent(2, 8));
        assert_eq!(of("1", 1), extent(0, 0));
        assert_eq!(of("1 :::", 1), extent(3, 0));
        assert_eq!(of("1 0:3", 1), extent(1, 0));
        assert!(measure(b"1 134217729:1", 1).is_err());
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_library(text in "[+-]?[0-9]{0,9}[.]?[0-9]{0,12}(e[+-]?[0-9]{1,2})?") {
            let expected = text.parse::<f32>().ok().map(f32::to_bits);
            prop_assert_eq!(number(text.as_bytes()).map(f32::to_bits), expected, "{}", text);
        }
    }
}
