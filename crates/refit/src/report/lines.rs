//! Line charts over steps or scales.

use super::{
    frame::{Frame, HEIGHT, WIDTH, is_finite},
    html::Html,
    scale::Scale,
};

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
}
