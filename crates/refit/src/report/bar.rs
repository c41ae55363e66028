//! A share as a bar in a cell of a table.

use super::{format::percent, html::Html};

/// Appends a cell with a bar in the colour of `class`; what is no number has no length.
pub(super) fn bar_cell(h: &mut Html, class: &str, share: f64) {
    let share = if share.is_finite() { share } else { 0.0 };
    let width = format!("{}%", percent(share.clamp(0.0, 1.0)));
    h.el("td", &[("class", &"bar")], |h| {
        h.el("svg", &[("class", &"track"), ("aria-hidden", &true)], |h| {
            h.empty(
                "rect",
                &[
                    ("class", &format_args!("fill {class}")),
                    ("x", &0),
                    ("y", &2),
                    ("height", &9),
                    ("width", &width),
                    ("rx", &2),
                ],
            );
        });
    });
}
