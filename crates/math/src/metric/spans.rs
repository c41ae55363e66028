//! Spans that tags mark: names in sentences.

use super::share;
use std::collections::HashSet;

/// Words `first..end` of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// First word.
    pub first: usize,
    /// The word after the last.
    pub end: usize,
    /// What the tags call it.
    pub kind: String,
}

/// The spans of tags `B-kind`, `I-kind` and `O`. A span goes on while `I-` of its kind follows; an `I-` that follows
/// nothing of its kind begins one, as the `CoNLL` script and those after it have it. `E-` and `L-` end a span, `S-` and
/// `U-` are one by themselves.
///
/// # Example
/// ```
/// use refit_math::metric::spans;
/// let found = spans(&["B-person", "I-person", "O", "I-place"]);
/// assert_eq!((found[0].first, found[0].end), (0, 2));
/// assert_eq!(found[1].kind, "place");
/// ```
pub fn spans(tags: &[impl AsRef<str>]) -> Vec<Span> {
    let mut found: Vec<Span> = Vec::new();
    let mut open = false;
    for (at, tag) in tags.iter().enumerate() {
        let tag = tag.as_ref();
        let (mark, kind) = tag.split_once('-').unwrap_or((tag, ""));
        if !matches!(mark, "B" | "I" | "E" | "L" | "S" | "U") {
            open = false;
            continue;
        }
        let begins = matches!(mark, "B" | "S" | "U");
        match found.last_mut() {
            Some(last) if open && !begins && last.kind == kind => last.end = at + 1,
            _ => found.push(Span {
                first: at,
                end: at + 1,
                kind: kind.to_owned(),
            }),
        }
        open = matches!(mark, "B" | "I");
    }
    found
}

/// Spans over all sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// Spans that are there.
    pub expected: u64,
    /// Spans that were found, right or wrong.
    pub found: u64,
    /// Spans that were found with the same words and kind.
    pub correct: u64,
}

impl SpanCounts {
    /// Counts one sentence.
    pub fn add(&mut self, expected: &[impl AsRef<str>], found: &[impl AsRef<str>]) {
        let expected: HashSet<Span> = spans(expected).into_iter().collect();
        let found: HashSet<Span> = spans(found).into_iter().collect();
        self.expected += expected.len() as u64;
        self.found += found.len() as u64;
        self.correct += expected.intersection(&found).count() as u64;
    }

    /// Share of found spans that are right.
    pub fn precision(&self) -> f64 {
        share(self.correct as f64, self.found as f64)
    }

    /// Share of spans that were found.
    pub fn recall(&self) -> f64 {
        share(self.correct as f64, self.expected as f64)
    }

    /// Harmonic mean of precision and recall.
    pub fn f1(&self) -> f64 {
        share(
            2.0 * self.correct as f64,
            (self.expected + self.found) as f64,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(tags: &[&str]) -> Vec<(usize, usize, String)> {
        let of = |span: Span| (span.first, span.end, span.kind);
        spans(tags).into_iter().map(of).collect()
    }

    #[test]
    fn tags_mark_spans_in_every_dialect() {
        let of = |first, end, kind: &str| (first, end, kind.to_owned());
        assert_eq!(
            short(&["B-a", "B-a", "I-a", "I-b"]),
            [of(0, 1, "a"), of(1, 3, "a"), of(3, 4, "b")]
        );
        assert_eq!(
            short(&["O", "I-a", "I-a", "O", "I-a"]),
            [of(1, 3, "a"), of(4, 5, "a")]
        );
        assert_eq!(
            short(&["B-a", "E-a", "I-a", "S-a", "U-b", "L-b"]),
            [
                of(0, 2, "a"),
                of(2, 3, "a"),
                of(3, 4, "a"),
                of(4, 5, "b"),
                of(5, 6, "b")
            ]
        );
        assert_eq!(
            short(&["B-creative-work", "I-creative-work"]),
            [of(0, 2, "creative-work")]
        );
        assert!(spans(&["O", "", "X"]).is_empty());
    }

    #[test]
    fn a_span_counts_when_words_and_kind_are_right() {
        let mut counts = SpanCounts::default();
        counts.add(&["B-a", "I-a", "O", "B-b"], &["B-a", "I-a", "B-b", "B-c"]);
        counts.add(&["B-a"], &["O"]);
        assert_eq!((counts.expected, counts.found, counts.correct), (3, 3, 1));
        assert!((counts.f1() - 1.0 / 3.0).abs() < 1e-15);
        assert!(SpanCounts::default().f1().abs() < 1e-15);
    }
}
