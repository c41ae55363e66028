//! What an extraction kept of every tensor.

use super::{
    bar::bar_cell,
    cost::head,
    format::{count, number, percent, scientific},
    html::Html,
};
use crate::merging::{ExtractedPart, ExtractionList};

/// Most tensors in the table: those that lost most.
const MOST: usize = 40;

/// Appends what became of the change as a whole, and a table of the tensors that lost most.
pub(crate) fn tensors(h: &mut Html, found: &ExtractionList) {
    let parts = format!(
        "{} as factors, {} as shifts of biases, {} whole, {} unchanged",
        found.low_rank, found.shifts, found.whole, found.unchanged
    );
    h.el("dl", &[], |h| {
        let residual = format!("{} % of the length of the change", percent(found.residual));
        for (name, value) in [
            ("Tensors", parts),
            ("Largest rank", found.rank.to_string()),
            ("Lost", residual),
        ] {
            h.leaf("dt", &[], name).leaf("dd", &[], value);
        }
    });
    let mut listed: Vec<_> = found.tensors.iter().collect();
    listed.sort_by(|a, b| b.residual.total_cmp(&a.residual));
    listed.truncate(MOST);
    if listed.is_empty() {
        return;
    }
    let title = match found.tensors.len() {
        all if all > MOST => format!("The {MOST} of {} tensors that lost most", count(all as u64)),
        _ => "Tensors that changed".to_owned(),
    };
    h.scroll(&title, |h| {
        h.el("table", &[], |h| {
            head(
                h,
                &[
                    "Tensor",
                    "Becomes",
                    "Rank",
                    "Length of the change",
                    "Lost, %",
                    "",
                ],
            );
            h.el("tbody", &[], |h| {
                for part in &listed {
                    row(h, part);
                }
            });
        });
    });
}

/// A length in the shorter of two ways to write it.
fn length(norm: f64) -> String {
    if (1e-2..1e4).contains(&norm) {
        number(norm, 3)
    } else {
        scientific(norm)
    }
}

fn row(h: &mut Html, tensor: &ExtractedPart) {
    let rank = tensor
        .rank
        .map_or_else(String::new, |rank| rank.to_string());
    h.el("tr", &[], |h| {
        h.leaf("th", &[("scope", &"row")], &tensor.path);
        h.leaf("td", &[], &tensor.part).leaf("td", &[], rank);
        h.leaf("td", &[], length(tensor.norm));
        h.leaf("td", &[], number(100.0 * tensor.residual, 1));
        bar_cell(h, "cb", tensor.residual);
    });
}
