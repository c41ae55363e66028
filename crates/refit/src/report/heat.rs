//! Learned coefficients: layers by tasks.

use super::{format::number, html::Html, palette::label, strip::strip};
use crate::outcome::{CoefficientTable, Outcome};
use refit_core::ParamPath;

/// Tables with more groups than this are averaged by block for reading; the strip still shows every group.
const MAX_ROWS: usize = 16;

/// Appends one panel per table.
pub(crate) fn panels(h: &mut Html, outcome: &Outcome) {
    let limit = limit(&outcome.coefficients);
    scale_legend(h, limit);
    for table in &outcome.coefficients {
        h.el("div", &[("class", &"panel")], |h| {
            h.leaf("h3", &[], label(outcome, &table.method));
            let groups = table.groups.len();
            if groups <= MAX_ROWS {
                readable(h, outcome, &as_rows(table), "Group");
            } else {
                let blocks = by_block(table);
                h.leaf(
                    "p",
                    &[("class", &"note")],
                    format_args!("Mean over the tensors of each block; {groups} coefficients per task were learned."),
                );
                readable(h, outcome, &blocks, "Block");
                h.leaf("p", &[("class", &"note")], "Every group of tensors, from the first layer (left) to the last (right):");
                strip(h, outcome, table, limit);
            }
        });
    }
}

/// The coefficient at full colour: 1, or the largest magnitude where that is more.
fn limit(tables: &[CoefficientTable]) -> f64 {
    tables
        .iter()
        .flat_map(|t| t.values.iter().flatten())
        .filter(|v| v.is_finite())
        .fold(0.0, |limit: f64, v| limit.max(v.abs()))
        .max(0.5)
}

/// A named row of coefficients, one per task.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) values: Vec<f64>,
}

/// The groups of a table.
pub(super) fn as_rows(table: &CoefficientTable) -> Vec<Row> {
    let named = table.groups.iter().zip(&table.values);
    named
        .map(|(name, values)| Row {
            name: name.clone(),
            values: values.clone(),
        })
        .collect()
}

/// Averages the groups of each repeated block, or of each top-level module outside of blocks; first seen, first listed.
fn by_block(table: &CoefficientTable) -> Vec<Row> {
    let mut blocks: Vec<(Row, usize)> = Vec::new();
    for (name, values) in table.groups.iter().zip(&table.values) {
        let path = ParamPath::new(name);
        let top = name.split('.').next().unwrap_or_default();
        let block = path.block().unwrap_or(top);
        let at = blocks
            .iter()
            .position(|(row, _)| row.name == block)
            .unwrap_or_else(|| {
                blocks.push((
                    Row {
                        name: block.into(),
                        values: vec![0.0; values.len()],
                    },
                    0,
                ));
                blocks.len() - 1
            });
        let (row, count) = &mut blocks[at];
        for (sum, value) in row.values.iter_mut().zip(values) {
            *sum += value;
        }
        *count += 1;
    }
    let mean = |(mut row, count): (Row, usize)| {
        row.values.iter_mut().for_each(|v| *v /= count as f64);
        row
    };
    blocks.into_iter().map(mean).collect()
}

/// A table with a number in every cell.
fn readable(h: &mut Html, outcome: &Outcome, rows: &[Row], corner: &str) {
    let limit = limit(&outcome.coefficients);
    h.scroll("Coefficients", |h| {
        h.el("table", &[("class", &"heat")], |h| {
            h.el("thead", &[], |h| {
                h.el("tr", &[], |h| {
                    h.leaf("th", &[("scope", &"col")], corner);
                    for task in &outcome.tasks {
                        h.leaf("th", &[("scope", &"col")], &task.name);
                    }
                });
            });
            h.el("tbody", &[], |h| {
                for row in rows {
                    h.el("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"row")], &row.name);
                        for value in &row.values {
                            cell(h, *value, limit);
                        }
                    });
                }
            });
        });
    });
}

fn cell(h: &mut Html, value: f64, limit: f64) {
    let depth = depth(value, limit);
    let ink = if depth > 0.6 { " on" } else { "" };
    let class = format!("{}{ink}", side(value));
    h.leaf(
        "td",
        &[
            ("class", &class),
            ("style", &format_args!("--v:{depth:.3}")),
        ],
        number(value, 2),
    );
}

/// Colour strength of a coefficient in `[0, 1]`.
pub(super) fn depth(value: f64, limit: f64) -> f64 {
    if value.is_finite() {
        (value.abs() / limit).min(1.0)
    } else {
        0.0
    }
}

/// The class of the colour.
pub(super) const fn side(value: f64) -> &'static str {
    if value < 0.0 { "neg" } else { "pos" }
}

fn scale_legend(h: &mut Html, limit: f64) {
    h.el("p", &[("class", &"legend")], |h| {
        h.el("span", &[], |h| {
            h.text("0");
            h.el("svg", &[("width", &140), ("height", &12), ("role", &"img"), ("aria-label", &"Colour scale")], |h| {
                for i in 0..20_u32 {
                    let strength = number((f64::from(i) + 0.5) / 20.0, 3);
                    h.empty("rect", &[("class", &"pos"), ("x", &(7 * i)), ("y", &0), ("width", &7), ("height", &12), ("fill-opacity", &strength)]);
                }
            });
            h.text(number(limit, 2));
        });
        h.leaf("span", &[], "share of the expert's change that is added; 0 leaves the base as it is, negative values take away");
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_averaged_in_order_of_first_appearance() {
        let table = CoefficientTable {
            method: "m".into(),
            groups: [
                "embed.w",
                "blocks.0.a",
                "blocks.0.b",
                "blocks.1.a",
                "embed.b",
            ]
            .map(String::from)
            .into(),
            values: vec![vec![0.1], vec![0.2], vec![0.4], vec![1.0], vec![0.3]],
        };
        let rows = by_block(&table);
        let names: Vec<_> = rows.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["embed", "blocks.0", "blocks.1"]);
        assert!((rows[0].values[0] - 0.2).abs() < 1e-12 && (rows[1].values[0] - 0.3).abs() < 1e-12);
    }

    #[test]
    fn ragged_and_empty_tables_draw_without_panic() {
        let table = CoefficientTable {
            method: "m".into(),
            groups: (0..900).map(|i| format!("layers.{i}.w")).collect(),
            values: (0..900).map(|i| vec![f64::NAN; i % 3]).collect(),
        };
        let empty = CoefficientTable::default();
        let outcome = Outcome {
            coefficients: vec![table, empty],
            ..Outcome::default()
        };
        let mut h = Html::default();
        panels(&mut h, &outcome);
        assert!(!h.finish().contains("NaN"));
    }
}
