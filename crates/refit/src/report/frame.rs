//! The frame of a line chart: its axes, and where a point lies.

use super::{
    axis::{Axis, Spacing},
    format::{number, scientific},
    html::Html,
    lines::Series,
};

// The drawing has fixed units and is scaled to its column: small multiples keep their text readable on a phone.
pub(super) const WIDTH: f64 = 400.0;
pub(super) const HEIGHT: f64 = 230.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 38.0;
/// More points than this per line are thinned: the eye sees no more.
const MAX_POINTS: usize = 300;
/// Class of lines that only show where others run.
pub(super) const BEHIND: &str = "behind";
/// Up to this many points get a marker with a text of its own.
const MAX_MARKERS: usize = 24;

/// Scales of both axes, and the factor on values before they are printed.
pub(super) struct Frame {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) y_factor: f64,
    pub(super) spacing: [Spacing; 2],
}

impl Frame {
    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT)
    }

    /// `y` in printed units.
    fn py(&self, y: f64) -> f64 {
        TOP + (1.0 - self.y.at(y)) * (HEIGHT - TOP - BOTTOM)
    }

    pub(super) fn axes(&self, h: &mut Html, x_label: &str) {
        for (tick, text) in self.y.marks(5) {
            let y = coordinate(self.py(tick));
            h.empty(
                "line",
                &[
                    ("class", &"grid"),
                    ("x1", &LEFT),
                    ("x2", &(WIDTH - RIGHT)),
                    ("y1", &y),
                    ("y2", &y),
                ],
            );
            let at = coordinate(self.py(tick) + 4.0);
            h.leaf(
                "text",
                &[("x", &(LEFT - 7.0)), ("y", &at), ("text-anchor", &"end")],
                text,
            );
        }
        for (tick, text) in self.x.marks(5) {
            let x = coordinate(self.px(tick));
            let (y1, y2) = (HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4.0);
            h.empty(
                "line",
                &[
                    ("class", &"tick"),
                    ("x1", &x),
                    ("x2", &x),
                    ("y1", &y1),
                    ("y2", &y2),
                ],
            );
            let y = HEIGHT - BOTTOM + 17.0;
            h.leaf(
                "text",
                &[("x", &x), ("y", &y), ("text-anchor", &"middle")],
                text,
            );
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let y = HEIGHT - 4.0;
        h.leaf(
            "text",
            &[
                ("class", &"axis"),
                ("x", &middle),
                ("y", &y),
                ("text-anchor", &"middle"),
            ],
            x_label,
        );
    }

    /// A line across at `y`, in printed units, with what it means.
    pub(super) fn guide(&self, h: &mut Html, y: f64, meaning: &str) {
        if !self.y.shows(y) {
            return;
        }
        let y = coordinate(self.py(y));
        let attrs: super::html::Attrs<'_> = &[
            ("class", &"guide"),
            ("x1", &LEFT),
            ("x2", &(WIDTH - RIGHT)),
            ("y1", &y),
            ("y2", &y),
        ];
        h.el("line", attrs, |h| {
            h.leaf("title", &[], meaning);
        });
    }

    /// Whether a point has a place.
    pub(super) fn takes(&self, (x, y): (f64, f64)) -> bool {
        let [of_x, of_y] = self.spacing;
        of_x.takes(x) && of_y.takes(y)
    }

    pub(super) fn line(&self, h: &mut Html, series: &Series) {
        let class = format!("line {}", series.class);
        for run in thin(&series.points, MAX_POINTS)
            .split(|p| !self.takes(*p))
            .filter(|run| !run.is_empty())
        {
            let path: Vec<String> = run.iter().map(|p| self.place(*p)).collect();
            h.el(
                "polyline",
                &[("class", &class), ("points", &path.join(" "))],
                |h| {
                    h.leaf("title", &[], &series.label);
                },
            );
        }
        let markers = series.points.len() <= MAX_MARKERS && series.class != BEHIND;
        for point in series.points.iter().filter(|p| markers && self.takes(**p)) {
            self.marker(h, series, *point, 3, "");
        }
        if let Some(point) = series.chosen.filter(|p| self.takes(*p)) {
            self.marker(h, series, point, 6, " (chosen)");
        }
    }

    fn marker(&self, h: &mut Html, series: &Series, (x, y): (f64, f64), radius: u32, remark: &str) {
        let (cx, cy) = (
            coordinate(self.px(x)),
            coordinate(self.py(y * self.y_factor)),
        );
        let kind = if radius > 3 { "ring" } else { "dot" };
        let class = format!("{kind} {}", series.class);
        h.el(
            "circle",
            &[("class", &class), ("cx", &cx), ("cy", &cy), ("r", &radius)],
            |h| {
                let value = match self.spacing[1] {
                    Spacing::Even => number(y * self.y_factor, 2),
                    Spacing::Log => scientific(y * self.y_factor),
                };
                h.leaf(
                    "title",
                    &[],
                    format_args!("{} at {x}: {value}{remark}", series.label),
                );
            },
        );
    }

    fn place(&self, (x, y): (f64, f64)) -> String {
        format!(
            "{},{}",
            coordinate(self.px(x)),
            coordinate(self.py(y * self.y_factor))
        )
    }
}

fn coordinate(value: f64) -> String {
    number(value, 1)
}

/// Every `k`-th point and the last one, at most `most` and one.
pub(super) fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(most).max(1);
    let last = points.len().saturating_sub(1);
    let keep = |i: usize| i.is_multiple_of(every) || i == last;
    points
        .iter()
        .enumerate()
        .filter(|(i, _)| keep(*i))
        .map(|(_, p)| *p)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends() {
        let points: Vec<_> = (0..1001).map(|i| (f64::from(i), 0.0)).collect();
        let kept = thin(&points, MAX_POINTS);
        assert!(kept.len() <= MAX_POINTS + 1);
        assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0.0, 1000.0));
    }
}
