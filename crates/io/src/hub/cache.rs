//! The folders in which tools of the hub keep models.
//!
//! `models--ORG--NAME/refs/REVISION` holds the name of a commit, `snapshots/COMMIT` its files, mostly as links to
//! `blobs/ETAG`.

use super::{
    HubError,
    name::{check_commit, check_repo, check_revision},
};
use crate::file::read_file;
use std::path::{Path, PathBuf};

/// Branch that is meant when no revision is given.
pub(super) const DEFAULT_REVISION: &str = "main";

/// Longest file that names a commit.
const MAX_REF_BYTES: u64 = 256;

/// The folder or file that `name` stands for: a path that exists, or else a model of the hub (`org/name`) in the cache.
///
/// Links in a snapshot are followed when its files are opened, as caches need it. No request is made.
///
/// # Errors
/// When there is neither, the cache lacks the revision, or a name could lead out of the cache.
/// # Example
/// ```
/// use refit_io::hub::{HubError, resolve_model};
/// let home = tempfile::tempdir()?;
/// let model = home.path().join("models--org--tiny");
/// std::fs::create_dir_all(model.join("snapshots/abc"))?;
/// std::fs::create_dir_all(model.join("refs"))?;
/// refit_io::atomic::write_file(model.join("refs/main"), b"abc", Default::default())?;
///
/// let found = resolve_model("org/tiny", None, Some(home.path()))?;
/// assert_eq!(found, model.join("snapshots/abc"));
/// let absent = resolve_model("org/other", None, Some(home.path()));
/// assert!(matches!(absent, Err(HubError::NotCached { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn resolve_model(
    name: &str,
    revision: Option<&str>,
    cache: Option<&Path>,
) -> Result<PathBuf, HubError> {
    let path = Path::new(name);
    if path.exists() {
        return Ok(path.into());
    }
    check_repo(name)?;
    let cache = cache.ok_or(HubError::NoCache)?;
    let folder = cache.join(folder_name(name));
    if !folder.is_dir() {
        return Err(HubError::NotCached {
            name: name.into(),
            cache: cache.into(),
        });
    }
    let revision = revision.unwrap_or(DEFAULT_REVISION);
    check_revision(revision)?;
    let absent = || HubError::NoRevision {
        name: name.into(),
        revision: revision.into(),
    };
    let commit = match read_file(&folder.join("refs").join(revision), MAX_REF_BYTES) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| absent())?,
        // A commit is named by itself.
        Err(e) if e.is_not_found() && !revision.contains('/') => revision.to_owned(),
        Err(e) if e.is_not_found() => return Err(absent()),
        Err(e) => return Err(e.into()),
    };
    let commit = commit.trim();
    check_commit(commit)?;
    let snapshot = folder.join("snapshots").join(commit);
    if snapshot.is_dir() {
        Ok(snapshot)
    } else {
        Err(absent())
    }
}

/// The folder of a model in the cache.
pub(super) fn folder_name(repo: &str) -> String {
    format!("models--{}", repo.replace('/', "--"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Overwrite, write_file};
    use std::fs;

    fn cache(refs: &[(&str, &str)], snapshots: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        let model = home.path().join("models--org--m");
        fs::create_dir_all(&model).unwrap();
        for (name, commit) in refs {
            let path = model.join("refs").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_file(path, commit.as_bytes(), Overwrite::Refuse).unwrap();
        }
        for commit in snapshots {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        home
    }

    #[test]
    fn branches_commits_and_requests_are_found() {
        let home = cache(
            &[("main", "aa\n"), ("refs/pr/1", "bb")],
            &["aa", "bb", "cc"],
        );
        let find = |revision| resolve_model("org/m", revision, Some(home.path()));
        let ends = |found: Result<PathBuf, HubError>, commit| found.unwrap().ends_with(commit);
        assert!(ends(find(None), "snapshots/aa"));
        assert!(ends(find(Some("refs/pr/1")), "snapshots/bb"));
        assert!(ends(find(Some("cc")), "snapshots/cc"));
        assert!(matches!(find(Some("dd")), Err(HubError::NoRevision { .. })));
        assert!(matches!(find(Some("../m")), Err(HubError::Name { .. })));
    }

    #[test]
    fn a_path_that_exists_wins_and_a_branch_cannot_lead_out_of_the_cache() {
        let home = cache(&[("main", "../../..")], &[]);
        let text = home.path().to_str().unwrap();
        assert_eq!(resolve_model(text, None, None).unwrap(), home.path());
        let found = resolve_model("org/m", None, Some(home.path()));
        assert!(matches!(found, Err(HubError::Name { kind: "commit", .. })));
        assert!(matches!(
            resolve_model("org/m", None, None),
            Err(HubError::NoCache)
        ));
        let found = resolve_model("../org", None, Some(home.path()));
        assert!(matches!(found, Err(HubError::Name { kind: "model", .. })));
    }

    #[cfg(unix)]
    #[test]
    fn links_to_blobs_are_followed() {
        let home = cache(&[("main", "aa")], &["aa"]);
        let model = home.path().join("models--org--m");
        fs::create_dir_all(model.join("blobs")).unwrap();
        write_file(model.join("blobs/1"), b"{}", Overwrite::Refuse).unwrap();
        let snapshot = resolve_model("org/m", None, Some(home.path())).unwrap();
        std::os::unix::fs::symlink("../../blobs/1", snapshot.join("config.json")).unwrap();
        assert_eq!(read_file(&snapshot.join("config.json"), 10).unwrap(), b"{}");
    }
}
