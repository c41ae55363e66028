//! How well answers fit: classes, numbers, tagged words, short texts, rankings.
//!
//! Shares are in `[0, 1]`. Where a definition divides by nothing the value is 0, as the field's tools have it, unless its
//! documentation says otherwise.

mod answers;
mod confusion;
mod correlation;
mod ranking;
mod spans;

pub use answers::{exact_match, token_f1};
pub use confusion::Confusion;
pub use correlation::{pearson, spearman};
pub use ranking::Ranking;
pub use spans::{Span, SpanCounts, spans};

/// `part / whole`, or 0 of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
