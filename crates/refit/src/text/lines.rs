//! Texts from files.

use super::TextModelError;
use refit_io::file::read_file;
use std::path::Path;

/// More than a million long sentences.
const MAX_BYTES: u64 = 4 << 30;

/// One text per line. The line break, of either kind, does not belong to it; empty lines are empty texts.
///
/// # Errors
/// A file that cannot be read, or a line that is not UTF-8.
pub fn read_lines(path: &Path) -> Result<Vec<String>, TextModelError> {
    let bytes = read_file(path, MAX_BYTES)?;
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop(); // the last line break ends a line and begins none
    }
    let text = |(at, line): (usize, &[u8])| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8(line.to_vec()).map_err(|_| TextModelError::NotText {
            path: path.into(),
            line: at + 1,
        })
    };
    lines.into_iter().enumerate().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::atomic::{Overwrite, write_file};

    #[test]
    fn every_line_is_a_text() {
        let home = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let path = home.path().join(name);
            write_file(&path, bytes, Overwrite::Refuse).unwrap();
            read_lines(&path)
        };
        assert_eq!(read("a", b"one\r\n\ntwo").unwrap(), ["one", "", "two"]);
        assert_eq!(read("b", b"one\n").unwrap(), ["one"]);
        assert!(read("c", b"").unwrap().is_empty());
        let error = read("d", b"one\n\xff\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2 of `"), "{error}");
    }
}
