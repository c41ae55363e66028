//! Downloading a model into the cache.
//!
//! Written here and not taken from the hub's own crate: `hf-hub` 0.4.3 compares no checksum, does not read `HF_TOKEN` or
//! wait as it is told, and brings 121 packages where `ureq` brings 22.

use super::{
    HubEnv, HubError,
    cache::{DEFAULT_REVISION, folder_name},
    name::{check_commit, check_file, check_repo, check_revision},
    request::{MOST_REDIRECTS, Method, connection, redirect, text},
    select::model_files,
    transfer::{create_folder, link},
};
use crate::atomic::{Overwrite, write_file};
use refit_core::Progress;
use serde::Deserialize;
use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};
use ureq::http::Uri;

/// Longest answer that is no file.
const MAX_ANSWER_BYTES: u64 = 32 << 20;
/// Most files of a model.
const MAX_FILES: usize = 100_000;

/// A hub and how to talk to it. Makes no request before [`download`](Self::download) is called.
#[derive(Debug)]
pub struct Hub {
    pub(super) agent: ureq::Agent,
    pub(super) env: HubEnv,
    pub(super) home: Uri,
    /// First wait after a failure; each further one is twice as long.
    pub(super) pause: Duration,
}

/// What the hub says about a model.
#[derive(Deserialize)]
struct ModelInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// What the hub says about a file.
#[derive(Debug)]
pub(super) struct FileInfo {
    /// Checksum of large files, version of small ones.
    pub(super) etag: String,
    pub(super) bytes: u64,
}

impl Hub {
    /// The hub of this environment.
    ///
    /// # Errors
    /// When its address is no address.
    pub fn new(env: HubEnv) -> Result<Self, HubError> {
        let home = env.endpoint.parse::<Uri>().ok();
        let home = home.filter(|uri| uri.host().is_some() && uri.scheme().is_some());
        let home = home.ok_or_else(|| HubError::Name {
            kind: "hub",
            found: env.endpoint.clone(),
        })?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_mins(1)))
            .user_agent(concat!("refit/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            agent: config.into(),
            env,
            home,
            pause: Duration::from_secs(1),
        })
    }

    /// How long to wait after a first failure (default: 1 s; each further wait is twice as long).
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Brings what a model is made of into the cache, and returns its folder: weights in one format (safetensors, else
    /// PyTorch archives, else a single GGUF file), adapters, configuration and tokenizer.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub fn download_model(
        &self,
        repo: &str,
        revision: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        self.bring(repo, revision, model_files, progress)
    }

    /// Brings the files of the model `repo` that `wanted` accepts into the cache, and returns their folder.
    ///
    /// Files that are there are left alone; one that was cut goes on where it ended. Each appears under its name when
    /// size and, for large files, SHA-256 are those that the hub announced; small files are compared by size.
    ///
    /// # Errors
    /// When a name is no name, the hub refuses or does not answer after some attempts, or the disk refuses. What
    /// was downloaded stays for the next attempt.
    pub fn download(
        &self,
        repo: &str,
        revision: Option<&str>,
        wanted: impl Fn(&str) -> bool,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        let choose = |files: &[String]| {
            let files = files.iter().filter(|file| wanted(file));
            files.cloned().collect()
        };
        self.bring(repo, revision, choose, progress)
    }

    /// Brings the files that `choose` takes from the list of all.
    fn bring(
        &self,
        repo: &str,
        revision: Option<&str>,
        choose: impl FnOnce(&[String]) -> Vec<String>,
        progress: &dyn Progress,
    ) -> Result<PathBuf, HubError> {
        check_repo(repo)?;
        let revision = revision.unwrap_or(DEFAULT_REVISION);
        check_revision(revision)?;
        let cache = self.env.cache.as_deref().ok_or(HubError::NoCache)?;
        let escaped = revision.replace('/', "%2F");
        let address = format!("{}/api/models/{repo}/revision/{escaped}", self.env.endpoint);
        let info = self.model_info(repo, &address, progress)?;
        check_commit(&info.sha)?;
        let folder = cache.join(folder_name(repo));
        let snapshot = folder.join("snapshots").join(&info.sha);
        create_folder(&snapshot)?;
        create_folder(&folder.join("blobs"))?;
        let listed: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
        for file in &choose(&listed) {
            check_file(file)?;
            let place = Place {
                repo,
                commit: &info.sha,
                file,
                folder: &folder,
            };
            self.fetch(&place, progress)?;
        }
        if revision != info.sha {
            let branch = folder.join("refs").join(revision);
            create_folder(branch.parent().unwrap_or(&folder))?;
            write_file(&branch, info.sha.as_bytes(), Overwrite::Replace)?;
        }
        Ok(snapshot)
    }

    fn model_info(
        &self,
        repo: &str,
        address: &str,
        progress: &dyn Progress,
    ) -> Result<ModelInfo, HubError> {
        let mut answer = self.ask(Method::Get, address, None, repo, progress)?;
        let mut text = Vec::new();
        let limit = MAX_ANSWER_BYTES + 1;
        let read = answer
            .body_mut()
            .as_reader()
            .take(limit)
            .read_to_end(&mut text);
        read.map_err(|e| connection(repo, &e))?;
        let wrong = |problem| HubError::Answer {
            name: repo.into(),
            problem,
        };
        if text.len() as u64 == limit {
            return Err(wrong("is longer than 33554432 bytes"));
        }
        let info: ModelInfo = serde_json::from_slice(&text)
            .map_err(|_| wrong("does not list the commit and the files"))?;
        if info.siblings.len() > MAX_FILES {
            return Err(wrong("lists more than 100000 files"));
        }
        Ok(info)
    }

    /// Brings one file into the cache.
    fn fetch(&self, place: &Place<'_>, progress: &dyn Progress) -> Result<(), HubError> {
        let target = place.target();
        if target.exists() {
            return Ok(());
        }
        let name = place.name();
        let address = format!(
            "{}/{}/resolve/{}/{}",
            self.env.endpoint, place.repo, place.commit, place.file
        );
        let info = self.file_info(&name, &address, progress)?;
        let blob = place.folder.join("blobs").join(&info.etag);
        let whole = fs::metadata(&blob).is_ok_and(|found| found.len() == info.bytes);
        if !whole {
            progress.begin(place.file, Some(info.bytes));
            self.fill(&blob, &info, &name, &address, progress)?;
        }
        link(place, &info.etag, &target)
    }

    /// Checksum and size of a file. Only redirects inside the hub are followed: the place where large files lie knows
    /// neither.
    fn file_info(
        &self,
        name: &str,
        address: &str,
        progress: &dyn Progress,
    ) -> Result<FileInfo, HubError> {
        let mut answer = self.ask_once(Method::Head, address, None, name, progress)?;
        for _ in 0..MOST_REDIRECTS {
            let next = redirect(&answer, address);
            match next.filter(|next| self.is_home(next) && text(&answer, "x-linked-etag").is_none())
            {
                Some(next) => {
                    answer = self.ask_once(Method::Head, &next, None, name, progress)?;
                }
                None => break,
            }
        }
        let wrong = |problem| HubError::Answer {
            name: name.into(),
            problem,
        };
        let etag = text(&answer, "x-linked-etag").or_else(|| text(&answer, "etag"));
        let etag = etag.ok_or_else(|| wrong("has no checksum"))?;
        let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
        check_commit(&etag).map_err(|_| wrong("has a checksum that is no name"))?;
        let bytes = text(&answer, "x-linked-size").or_else(|| text(&answer, "content-length"));
        let bytes = bytes.and_then(|text| text.parse().ok());
        Ok(FileInfo {
            etag,
            bytes: bytes.ok_or_else(|| wrong("has no size"))?,
        })
    }
}

/// A file of a model, and where it goes.
pub(super) struct Place<'a> {
    pub(super) repo: &'a str,
    pub(super) commit: &'a str,
    pub(super) file: &'a str,
    pub(super) folder: &'a Path,
}

impl Place<'_> {
    fn target(&self) -> PathBuf {
        self.folder
            .join("snapshots")
            .join(self.commit)
            .join(self.file)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.repo, self.file)
    }
}
