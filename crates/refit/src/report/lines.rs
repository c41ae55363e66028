//! Line charts over steps or scales.

use super::{format::number, html::Html, scale::Scale};

/// A line with a name.
pub(crate) struct Series {
    pub(crate) label: String,
    /// Colour class.
    pub(crate) class: &'static str,
    /// Points in order; gaps are values that are no numbers.
    pub(crate) points: Vec<(f64, f64)>,
    /// A point to emphasise, such as the chosen one.
    pub(crate) chosen: Option<(f64, f64)>,
}

/// One chart.
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_label: &'static str,
    /// Factor on the values before they are printed: 100 for shares in percent.
    pub(crate) y_factor: f64,
    /// Ends of the axis, where they have a meaning, in printed units; the data decides otherwise.
    pub(crate) y_ends: Option<(f64, f64)>,
    pub(crate) series: Vec<Series>,
}

// The drawing has fixed units and is scaled to its column: small multiples keep their text readable on a phone.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 38.0;
/// More points than this per line are thinned: the eye sees no more.
const MAX_POINTS: usize = 300;
/// Up to this many points get a marker with a text of its own.
const MAX_MARKERS: usize = 24;

impl Chart {
    /// Appends the chart; nothing if no point is a number.
    pub(crate) fn render(&self, h: &mut Html) {
        let points = || {
            self.series
                .iter()
                .flat_map(|s| s.points.iter())
                .filter(|p| is_finite(**p))
        };
        let Some(around) = Scale::around(points().map(|p| p.1 * self.y_factor)) else {
            return;
        };
        let y = self
            .y_ends
            .map_or(around, |(low, high)| Scale::new(low, high));
        let low = points().map(|p| p.0).fold(f64::INFINITY, f64::min);
        let high = points().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
        let frame = Frame {
            x: Scale::new(low, high),
            y,
            y_factor: self.y_factor,
        };
        let described = format!("{} over {}", self.title, self.x_label);
        h.el("figure", &[("class", &"chart")], |h| {
            h.leaf("figcaption", &[], &self.title);
            let view = format!("0 0 {WIDTH} {HEIGHT}");
            h.el(
                "svg",
                &[
                    ("viewBox", &view),
                    ("role", &"img"),
                    ("aria-label", &described),
                ],
                |h| {
                    frame.axes(h, self.x_label);
                    for series in &self.series {
                        frame.line(h, series);
                    }
                },
            );
        });
    }
}

/// Appends one entry per line.
pub(crate) fn legend(h: &mut Html, series: &[Series]) {
    h.el("p", &[("class", &"legend")], |h| {
        for line in series {
            h.el("span", &[], |h| {
                h.el(
                    "svg",
                    &[("width", &26), ("height", &10), ("aria-hidden", &true)],
                    |h| {
                        let class = format!("line {}", line.class);
                        h.empty(
                            "line",
                            &[
                                ("class", &class),
                                ("x1", &1),
                                ("x2", &25),
                                ("y1", &5),
                                ("y2", &5),
                            ],
                        );
                    },
                );
                h.text(&line.label);
            });
        }
    });
}

struct Frame {
    x: Scale,
    y: Scale,
    y_factor: f64,
}

impl Frame {
    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.at(x) * (WIDTH - LEFT - RIGHT)
    }

    /// `y` in printed units.
    fn py(&self, y: f64) -> f64 {
        TOP + (1.0 - self.y.at(y)) * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, h: &mut Html, x_label: &str) {
        let (ticks, decimals) = self.y.ticks(5);
        for tick in ticks {
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
                number(tick, decimals),
            );
        }
        let (ticks, decimals) = self.x.ticks(5);
        for tick in ticks {
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
                number(tick, decimals),
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

    fn line(&self, h: &mut Html, series: &Series) {
        let class = format!("line {}", series.class);
        for run in thin(&series.points)
            .split(|p| !is_finite(*p))
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
        let markers = series.points.len() <= MAX_MARKERS;
        for point in series.points.iter().filter(|p| markers && is_finite(**p)) {
            self.marker(h, series, *point, 3, "");
        }
        if let Some(point) = series.chosen.filter(|p| is_finite(*p)) {
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
                let value = number(y * self.y_factor, 2);
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

const fn is_finite((x, y): (f64, f64)) -> bool {
    x.is_finite() && y.is_finite()
}

/// Every `k`-th point and the last one, at most [`MAX_POINTS`] and one.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MAX_POINTS).max(1);
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

    fn chart(points: Vec<(f64, f64)>) -> String {
        let series = Series {
            label: "<a>".into(),
            class: "c0",
            points,
            chosen: None,
        };
        let mut h = Html::default();
        Chart {
            title: "loss".into(),
            x_label: "step",
            y_factor: 1.0,
            y_ends: None,
            series: vec![series],
        }
        .render(&mut h);
        h.finish()
    }

    #[test]
    fn a_gap_splits_the_line() {
        let svg = chart(vec![
            (0.0, 1.0),
            (1.0, 2.0),
            (2.0, f64::NAN),
            (3.0, 1.0),
            (4.0, 0.5),
        ]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("&lt;a&gt;") && !svg.contains("NaN") && !svg.contains("<a>"));
    }

    #[test]
    fn nothing_to_draw_draws_nothing() {
        assert_eq!(chart(vec![]), "");
        assert_eq!(chart(vec![(1.0, f64::INFINITY)]), "");
    }

    #[test]
    fn thinning_keeps_the_ends() {
        let points: Vec<_> = (0..1001).map(|i| (f64::from(i), 0.0)).collect();
        let kept = thin(&points);
        assert!(kept.len() <= MAX_POINTS + 1);
        assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0.0, 1000.0));
    }
}
