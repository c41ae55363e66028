//! Text of strangers on its way to a terminal.

/// Names out of files must not move the cursor, change the colours of a terminal, or turn the direction of text. Line
/// breaks and tabs stay.
pub(crate) fn visible(text: &str) -> String {
    escape(text, |c| matches!(c, '\n' | '\t'))
}

/// As [`visible`], for a name inside a line: it cannot begin another line either.
pub(crate) fn visible_name(name: &str) -> String {
    escape(name, |_| false)
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let escape = |c: char| match c {
        c if keep(c) => c.to_string(),
        c if c.is_control() || turns(c) => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_not_obeyed() {
        assert_eq!(visible("b\u{202e}gpj.exe\r"), "b\\u{202e}gpj.exe\\r");
        assert_eq!(visible("größe\t数\n"), "größe\t数\n");
        assert_eq!(visible_name("a\n\u{1b}[2Jé"), "a\\n\\u{1b}[2Jé");
    }
}
