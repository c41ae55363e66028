//! Line charts over steps or scales.

use super::{
    axis::{Axis, Spacing},
    frame::{Frame, HEIGHT, WIDTH},
    html::Html,
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
    /// How both axes are spaced, across and up.
    pub(crate) spacing: [Spacing; 2],
    /// A value to draw a line at, in printed units, and what it means.
    pub(crate) guide: Option<(f64, &'static str)>,
    pub(crate) series: Vec<Series>,
}

impl Chart {
    /// Appends the chart; nothing if no point is a number.
    pub(crate) fn render(&self, h: &mut Html) {
        let [of_x, of_y] = self.spacing;
        let points = || {
            let all = self.series.iter().flat_map(|s| s.points.iter());
            all.filter(|p| of_x.takes(p.0) && of_y.takes(p.1))
        };
        let guide = points().next().and(self.guide).map(|guide| guide.0);
        let values = points().map(|p| p.1 * self.y_factor).chain(guide);
        let (Some(around), Some(x)) = (
            Axis::around(of_y, values),
            Axis::over(of_x, points().map(|p| p.0)),
        ) else {
            return;
        };
        let y = self
            .y_ends
            .map_or(around, |(low, high)| Axis::new(of_y, low, high));
        let frame = Frame {
            x,
            y,
            y_factor: self.y_factor,
            spacing: self.spacing,
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
                    if let Some((y, meaning)) = self.guide {
                        frame.guide(h, y, meaning);
                    }
                    for series in &self.series {
                        frame.line(h, series);
                    }
                },
            );
        });
    }
}

/// Even both ways.
pub(crate) const EVEN: [Spacing; 2] = [Spacing::Even; 2];

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
            spacing: EVEN,
            guide: None,
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
