//! The table of methods in the documentation is made from what the methods say about themselves.

use refit_core::Card;
use refit_merge::MergeConfig;
use std::{fmt::Write, fs, path::Path};

const PAGE: &str = "docs/methods/README.md";
const BEGIN: &str = "<!-- cards: begin (cargo xtask cards --write) -->\n";
const END: &str = "<!-- cards: end -->\n";

/// Fails when the page is stale.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let page = read(root)?;
    if renew(&page)? == page {
        return Ok(());
    }
    Err(format!("{PAGE} is stale: run `cargo xtask cards --write`"))
}

/// Renews the page.
pub(crate) fn write(root: &Path) -> Result<(), String> {
    let page = renew(&read(root)?)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "a tracked file, with git as its safety net"
    )]
    fs::write(root.join(PAGE), page).map_err(|e| format!("cannot write {PAGE}: {e}"))
}

fn read(root: &Path) -> Result<String, String> {
    fs::read_to_string(root.join(PAGE)).map_err(|e| format!("cannot read {PAGE}: {e}"))
}

/// The page with a fresh table between its marks.
fn renew(page: &str) -> Result<String, String> {
    let missing = |mark: &str| format!("{PAGE} has no `{}`", mark.trim());
    let (head, rest) = page.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, tail) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok(format!("{head}{BEGIN}{}{END}{tail}", table()))
}

fn table() -> String {
    let mut text =
        "| method | what it does | of the model | of data | source |\n|---|---|---|---|---|\n"
            .to_owned();
    for config in MergeConfig::all() {
        let Card {
            name,
            summary,
            model,
            data,
            source,
            ..
        } = config.card();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| [`{name}`](../../recipes/{name}.yaml) | {summary} | {model} | {data} | {source} |"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_fresh() {
        check(&crate::root()).unwrap();
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("# A\n{BEGIN}old\n{END}after\n");
        let fresh = renew(&page).unwrap();
        assert!(fresh.starts_with("# A\n") && fresh.ends_with("after\n") && !fresh.contains("old"));
        assert_eq!(renew(&fresh).unwrap(), fresh);
        assert!(fresh.contains("| [`ties`](../../recipes/ties.yaml) |"));
        assert!(renew("no marks").is_err());
    }
}
