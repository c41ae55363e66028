//! Names that become paths and addresses, so they must be names and nothing more.

use super::HubError;

/// Longest part of a name in bytes; the hub allows 96.
const MAX_PART_BYTES: usize = 128;
/// Most folders of a file's name.
const MOST_PARTS: usize = 16;

/// `org/name`, or the bare name of an old model.
pub(super) fn check_repo(repo: &str) -> Result<(), HubError> {
    let parts = repo.split('/').count();
    if parts <= 2 && repo.split('/').all(is_plain) {
        return Ok(());
    }
    Err(HubError::Name {
        kind: "model",
        found: excerpt(repo),
    })
}

/// A branch, a tag, a commit, or `refs/pr/1`.
pub(super) fn check_revision(revision: &str) -> Result<(), HubError> {
    check_path("revision", revision)
}

/// A file of a model, perhaps in folders.
pub(super) fn check_file(file: &str) -> Result<(), HubError> {
    check_path("file", file)
}

/// Forty hexadecimal digits, or any other plain word that a cache uses instead.
pub(super) fn check_commit(commit: &str) -> Result<(), HubError> {
    if is_plain(commit) {
        return Ok(());
    }
    Err(HubError::Name {
        kind: "commit",
        found: excerpt(commit),
    })
}

fn check_path(kind: &'static str, path: &str) -> Result<(), HubError> {
    if path.split('/').count() <= MOST_PARTS && path.split('/').all(is_plain) {
        return Ok(());
    }
    Err(HubError::Name {
        kind,
        found: excerpt(path),
    })
}

/// Letters, digits, `-`, `_`, `.`, `+`, `=`; neither `.` nor `..`.
fn is_plain(part: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.+=".contains(&b);
    (1..=MAX_PART_BYTES).contains(&part.len())
        && part.bytes().all(allowed)
        && !part.bytes().all(|b| b == b'.')
}

fn excerpt(text: &str) -> String {
    let printable = |c: char| {
        if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        }
    };
    text.chars().take(120).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_folder() {
        for good in ["gpt2", "org/name", "a.b/c-d_e.1"] {
            assert!(check_repo(good).is_ok(), "{good}");
        }
        for bad in [
            "", "/", "a/", "/a", "a/b/c", "../a", "a/..", "a\\b", "a b", "a/b\0", "a/b?c", "a/b%2f",
        ] {
            assert!(check_repo(bad).is_err(), "{bad}");
        }
        assert!(check_revision("refs/pr/1").is_ok());
        assert!(check_revision("refs/../../x").is_err());
        assert!(check_file("onnx/model.onnx").is_ok());
        assert!(check_file("/etc/passwd").is_err());
        assert!(check_commit("a/b").is_err());
    }
}
