//! Downloading models into the cache.
//!
//! Written here and not taken from the hub's own crate: `hf-hub` 0.4.3 compares no checksum, does not read `HF_TOKEN` or
//! wait as it is told, and brings 121 packages where `ureq` brings 22.

use super::{
    HubEnv, HubError,
    cache::{DEFAULT_REVISION, folder_name, resolve_model},
    line::{Heard, Line},
    name::{check_commit, check_file, check_repo, check_revision},
    request::{MOST_REDIRECTS, Method, redirect, text},
    select::model_files,
    transfer::{create_folder, link},
};
use crate::atomic::{Overwrite, check_room, write_file};
use refit_core::Progress;
use serde::Deserialize;
use std::{
    collections::HashSet,
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

/// A hub and how to talk to it. Makes no request before it is asked to download.
#[derive(Debug)]
pub struct Hub {
    pub(super) line: Line,
    pub(super) env: HubEnv,
    pub(super) home: Uri,
    /// First wait after a failure; each further one is twice as long.
    pub(super) pause: Duration,
}

/// A model that was asked for, in the cache.
#[derive(Debug)]
pub struct Brought {
    /// Its folder.
    pub folder: PathBuf,
    /// Why the hub could not be asked whether this is its newest state.
    pub unasked: Option<HubError>,
}

/// A model of the hub at one commit.
struct Found<'a> {
    repo: &'a str,
    revision: &'a str,
    commit: String,
    folder: PathBuf,
    files: Vec<Sibling>,
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
    /// Bytes, where the hub tells.
    size: Option<u64>,
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
    /// When its address is no address, or the token no token.
    pub fn new(env: HubEnv) -> Result<Self, HubError> {
        let home = env.endpoint.parse::<Uri>().ok();
        let home = home.filter(|uri| {
            uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        let home = home.ok_or_else(|| HubError::Endpoint {
            found: env.endpoint.chars().take(128).collect(),
        })?;
        if env.token_is_malformed {
            return Err(HubError::Token);
        }
        Ok(Self {
            line: Line::new(),
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

    /// How long a connection may say nothing before another attempt is made (default: 30 s).
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.line.patience = patience;
        self
    }

    /// Brings what models are made of into the cache: weights in one format (safetensors, else PyTorch archives, else a
    /// single GGUF file), adapters, configuration and tokenizer. Models are a name and, perhaps, a revision.
    ///
    /// The hub is asked for every model, and the disk for room, before the first byte is brought. Where the hub does not
    /// answer, or `HF_HUB_OFFLINE` is set, a model that is in the cache is taken as it is.
    ///
    /// # Errors
    /// As [`download`](Self::download).
    pub fn download_models(
        &self,
        models: &[(&str, Option<&str>)],
        progress: &dyn Progress,
    ) -> Result<Vec<Brought>, HubError> {
        self.line.watched(progress, || {
            let cache = self.env.cache.as_deref().ok_or(HubError::NoCache)?;
            let found = models
                .iter()
                .map(|(repo, revision)| self.find_or_take(repo, *revision, cache, progress));
            let found = found.collect::<Result<Vec<_>, _>>()?;
            let missing = found.iter().flatten().map(Found::missing_bytes);
            let missing = missing.fold(0, u64::saturating_add);
            check_room(&cache.join("models"), missing)?;
            let bring = |found: Result<Found<'_>, Brought>| match found {
                Ok(found) => Ok(Brought {
                    folder: self.bring(&found, progress)?,
                    unasked: None,
                }),
                Err(brought) => Ok(brought),
            };
            found.into_iter().map(bring).collect()
        })
    }

    /// Finds a model at the hub; takes what the cache has where the hub does not answer or must not be asked.
    fn find_or_take<'a>(
        &self,
        repo: &'a str,
        revision: Option<&'a str>,
        cache: &Path,
        progress: &dyn Progress,
    ) -> Result<Result<Found<'a>, Brought>, HubError> {
        let unasked = if self.env.offline {
            HubError::Offline { name: repo.into() }
        } else {
            match self.find(repo, revision, model_files, progress) {
                Err(error) if error.is_silence() => error,
                found => return found.map(Ok),
            }
        };
        match resolve_model(repo, revision, Some(cache)) {
            Ok(folder) => Ok(Err(Brought {
                folder,
                unasked: Some(unasked),
            })),
            Err(_) => Err(unasked),
        }
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
        self.line.watched(progress, || {
            let found = self.find(repo, revision, choose, progress)?;
            check_room(&found.folder, found.missing_bytes())?;
            self.bring(&found, progress)
        })
    }

    /// Asks for a model and the files that `choose` takes from the list of all.
    fn find<'a>(
        &self,
        repo: &'a str,
        revision: Option<&'a str>,
        choose: impl FnOnce(&[String]) -> Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Found<'a>, HubError> {
        check_repo(repo)?;
        let revision = revision.unwrap_or(DEFAULT_REVISION);
        check_revision(revision)?;
        let cache = self.env.cache.as_deref().ok_or(HubError::NoCache)?;
        let escaped = revision.replace('/', "%2F");
        let endpoint = &self.env.endpoint;
        let address = format!("{endpoint}/api/models/{repo}/revision/{escaped}?blobs=true");
        let info = self.model_info(repo, &address, progress)?;
        check_commit(&info.sha)?;
        let listed: Vec<String> = info.siblings.iter().map(|s| s.rfilename.clone()).collect();
        let chosen: HashSet<String> = choose(&listed).into_iter().collect();
        chosen.iter().try_for_each(|file| check_file(file))?;
        let mut files = info.siblings;
        files.retain(|file| chosen.contains(&file.rfilename));
        Ok(Found {
            repo,
            revision,
            commit: info.sha,
            folder: cache.join(folder_name(repo)),
            files,
        })
    }

    /// Brings the files of a model.
    fn bring(&self, found: &Found<'_>, progress: &dyn Progress) -> Result<PathBuf, HubError> {
        let (folder, snapshot) = (&found.folder, found.snapshot());
        create_folder(&snapshot)?;
        create_folder(&folder.join("blobs"))?;
        for file in &found.files {
            self.fetch(found, file, progress)?;
        }
        if found.revision != found.commit {
            let branch = folder.join("refs").join(found.revision);
            create_folder(branch.parent().unwrap_or(folder))?;
            write_file(&branch, found.commit.as_bytes(), Overwrite::Replace)?;
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
        let body = Heard::new(&self.line, answer.body_mut().as_reader());
        let read = body.take(limit).read_to_end(&mut text);
        read.map_err(|e| self.lost(repo, &e, progress))?;
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
    fn fetch(
        &self,
        found: &Found<'_>,
        file: &Sibling,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        if found.has(file) {
            return Ok(());
        }
        let (repo, path) = (found.repo, &file.rfilename);
        let name = format!("{repo}/{path}");
        let endpoint = &self.env.endpoint;
        let address = format!("{endpoint}/{repo}/resolve/{}/{path}", found.commit);
        let info = self.file_info(&name, &address, progress)?;
        let blob = found.folder.join("blobs").join(&info.etag);
        let whole = fs::metadata(&blob).is_ok_and(|found| found.len() == info.bytes);
        if !whole {
            progress.begin(&name, Some(info.bytes));
            self.fill(&blob, &info, &name, &address, progress)?;
        }
        link(&blob, &found.snapshot(), path)
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

impl Found<'_> {
    fn snapshot(&self) -> PathBuf {
        self.folder.join("snapshots").join(&self.commit)
    }

    /// Whether a file is there, with all its bytes.
    fn has(&self, file: &Sibling) -> bool {
        let there = fs::metadata(self.snapshot().join(&file.rfilename));
        there.is_ok_and(|there| file.size.is_none_or(|bytes| there.len() == bytes))
    }

    /// Bytes of the files that are not there.
    fn missing_bytes(&self) -> u64 {
        let missing = self.files.iter().filter(|file| !self.has(file));
        missing
            .filter_map(|file| file.size)
            .fold(0, u64::saturating_add)
    }
}
