//! Which colour and which dash a method has, everywhere on the page.

use crate::outcome::{MethodKind, Outcome};

/// Number of colours in the style sheet (`.c0` .. `.c7`), told apart by the colour-blind; grey `.cb` is for bounds.
const COLOURS: usize = 8;

/// Class of series number `index`.
pub(crate) const fn series_class(index: usize) -> &'static str {
    ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"][index % COLOURS]
}

/// Class of a method: grey for bounds, its place among the others for the rest.
pub(crate) fn method_class(outcome: &Outcome, name: &str) -> &'static str {
    outcome
        .methods
        .iter()
        .filter(|m| m.kind != MethodKind::Bound)
        .position(|m| m.name == name)
        .map_or("cb", series_class)
}

/// What the page calls a method: its label, or the name where none is known.
pub(crate) fn label<'a>(outcome: &'a Outcome, name: &'a str) -> &'a str {
    outcome
        .methods
        .iter()
        .find(|m| m.name == name)
        .map_or(name, |m| m.label.as_str())
}
