//! Texts from files.

use super::TextModelError;
use refit_io::data::read_unpacked;
use std::path::Path;

/// One text per line of a file, plain or gzipped. The line break, of either kind, does not belong to it; empty lines are empty texts.
///
/// # Errors
/// A file that cannot be read, or a line that is not UTF-8.
pub fn read_lines(path: &Path) -> Result<Vec<String>, TextModelError> {
    let bytes = read_unpacked(path)?;
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

/// Running text from a file, plain or gzipped, as it stands there.
///
/// # Errors
/// A file that cannot be read, or a line that is not UTF-8.
pub fn read_running(path: &Path) -> Result<String, TextModelError> {
    String::from_utf8(read_unpacked(path)?).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        TextModelError::NotText {
            path: path.into(),
            line: before.split(|&byte| byte == b'\n').count(),
        }
    })
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
