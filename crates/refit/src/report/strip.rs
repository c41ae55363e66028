//! Every coefficient at once: one thin column per group of tensors, one row per task.

use super::{
    format::number,
    heat::{Row, as_rows, depth, side},
    html::Html,
};
use crate::outcome::{CoefficientTable, Outcome};
use refit_core::ParamPath;

/// Strips wider than this are averaged over neighbours.
const MAX_COLUMNS: usize = 400;
const CELL: f64 = 16.0;
const NAME: f64 = 92.0;
const WIDTH: f64 = 960.0;

/// Appends the strip of a table; `limit` is the coefficient at full colour.
pub(super) fn strip(h: &mut Html, outcome: &Outcome, table: &CoefficientTable, limit: f64) {
    let columns = pooled(table);
    let width = (WIDTH - NAME) / columns.len() as f64;
    let tasks = outcome.tasks.len();
    let height = CELL * tasks as f64 + 18.0;
    let view = format!("0 0 {WIDTH} {height}");
    let described = format!(
        "Coefficients of {} groups for {tasks} tasks",
        table.groups.len()
    );
    h.scroll("All coefficients", |h| {
        h.el(
            "svg",
            &[
                ("class", &"strip"),
                ("viewBox", &view),
                ("role", &"img"),
                ("aria-label", &described),
            ],
            |h| {
                for (k, task) in outcome.tasks.iter().enumerate() {
                    let y = CELL * (k as f64 + 0.75);
                    let name: String = task.name.chars().take(14).collect();
                    h.leaf(
                        "text",
                        &[("x", &(NAME - 6.0)), ("y", &y), ("text-anchor", &"end")],
                        name,
                    );
                }
                for (i, column) in columns.iter().enumerate() {
                    let x = NAME + width * i as f64;
                    h.el("g", &[], |h| {
                        h.leaf("title", &[], describe(outcome, column));
                        for (k, value) in column.values.iter().enumerate() {
                            strip_cell(h, x, CELL * k as f64, width, *value, limit);
                        }
                    });
                }
                block_names(h, &columns, width, height);
            },
        );
    });
}

fn strip_cell(h: &mut Html, x: f64, y: f64, width: f64, value: f64, limit: f64) {
    let (x, y) = (number(x, 2), number(y + 0.5, 1));
    let (width, height) = (number(width, 2), CELL - 1.0);
    let strength = number(depth(value, limit), 3);
    h.empty(
        "rect",
        &[
            ("class", &side(value)),
            ("x", &x),
            ("y", &y),
            ("width", &width),
            ("height", &height),
            ("fill-opacity", &strength),
        ],
    );
}

fn describe(outcome: &Outcome, column: &Row) -> String {
    let pairs = outcome.tasks.iter().zip(&column.values);
    let values: Vec<String> = pairs
        .map(|(task, v)| format!("{} {}", task.name, number(*v, 2)))
        .collect();
    format!("{}\n{}", column.name, values.join("\n"))
}

/// The groups, or averages of neighbours where there are too many to draw.
fn pooled(table: &CoefficientTable) -> Vec<Row> {
    let rows = as_rows(table);
    let every = rows.len().div_ceil(MAX_COLUMNS).max(1);
    let pool = |chunk: &[Row]| {
        let n = chunk.len() as f64;
        let width = chunk[0].values.len();
        let mean = |k: usize| {
            chunk
                .iter()
                .map(|r| r.values.get(k).copied().unwrap_or(f64::NAN))
                .sum::<f64>()
                / n
        };
        Row {
            name: chunk[0].name.clone(),
            values: (0..width).map(mean).collect(),
        }
    };
    rows.chunks(every).map(pool).collect()
}

/// A line and a short name below the strip where a new block begins.
fn block_names(h: &mut Html, columns: &[Row], width: f64, height: f64) {
    let mut last_text = f64::NEG_INFINITY;
    let mut last_block = None;
    for (i, column) in columns.iter().enumerate() {
        let path = ParamPath::new(&column.name);
        let block = path.block().map(str::to_owned);
        if block == last_block {
            continue;
        }
        let x = NAME + width * i as f64;
        if i > 0 {
            let at = number(x, 2);
            h.empty(
                "line",
                &[
                    ("class", &"cut"),
                    ("x1", &at),
                    ("x2", &at),
                    ("y1", &0),
                    ("y2", &(height - 18.0)),
                ],
            );
        }
        if let Some(name) = &block
            && x > last_text + 9.0
        {
            let short = name.rsplit('.').next().unwrap_or(name);
            h.leaf(
                "text",
                &[("x", &number(x + 2.0, 1)), ("y", &(height - 5.0))],
                short,
            );
            last_text = x + 7.0 * short.len() as f64;
        }
        last_block = block;
    }
}
