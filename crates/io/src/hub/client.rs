//! Downloading a model into the cache.
//!
//! Written here and not taken from the hub's own crate: `hf-hub` 0.4.3 compares no checksum, does not read `HF_TOKEN` or
//! wait as it is told, and brings 121 packages where `ureq` brings 22.

use super::{
    HubEnv, HubError,
    cache::{DEFAULT_REVISION, folder_name},
    name::{check_commit, check_file, check_repo, check_revision},
    select::model_files,
};
use crate::{
    atomic::{Overwrite, write_file},
    ckpt::digest_file,
};
use refit_core::Progress;
use serde::Deserialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use ureq::{
    Body,
    http::{Response, Uri},
};

/// Most redirects of one request; the hub uses two.
const MOST_REDIRECTS: usize = 5;
/// Attempts in a row that brought nothing.
const MOST_ATTEMPTS: u32 = 5;
/// Longest wait that is followed without asking the user.
const MOST_WAIT_SECS: u64 = 120;
/// Longest answer that is no file.
const MAX_ANSWER_BYTES: u64 = 32 << 20;
/// Most files of a model.
const MAX_FILES: usize = 100_000;
/// Bytes moved at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// A hub and how to talk to it. Makes no request before [`download`](Self::download) is called.
#[derive(Debug)]
pub struct Hub {
    agent: ureq::Agent,
    env: HubEnv,
    home: Uri,
    /// First wait after a failure; each further one is twice as long.
    pause: Duration,
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
struct FileInfo {
    /// Checksum of large files, version of small ones.
    etag: String,
    bytes: u64,
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

    /// Downloads into an unfinished file beside `blob`, and renames it when it is whole and right.
    fn fill(
        &self,
        blob: &Path,
        info: &FileInfo,
        name: &str,
        address: &str,
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        let unfinished = blob.with_file_name(format!("{}.incomplete", info.etag));
        let failed = |source| HubError::Cache {
            path: unfinished.clone(),
            source,
        };
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&unfinished);
        let mut file = options.map_err(failed)?;
        file.try_lock().map_err(|_| HubError::Locked {
            path: unfinished.clone(),
        })?;
        let mut have = file.metadata().map_err(failed)?.len();
        if have > info.bytes {
            file.set_len(0).map_err(failed)?;
            have = 0;
        }
        progress.advance(have);
        let mut attempts = 0;
        while have < info.bytes {
            let before = have;
            let answer = self.ask(Method::Get, address, Some(have), name, progress)?;
            if answer.status() != 206 && have > 0 {
                file.set_len(0).map_err(failed)?;
                have = 0;
            }
            file.seek(SeekFrom::Start(have)).map_err(failed)?;
            let end = Stream {
                name,
                bytes: info.bytes,
                progress,
            };
            let moved = end
                .copy(answer, &mut file, &mut have)
                .map_err(|end| match end {
                    End::Disk(source) => failed(source),
                    End::Hub(e) => {
                        // More than was announced is not worth keeping.
                        if matches!(e, HubError::Mismatch { .. }) {
                            let _ = file.set_len(0);
                        }
                        e
                    }
                })?;
            attempts = if have > before { 0 } else { attempts + 1 };
            if let Some(problem) = moved {
                if attempts == MOST_ATTEMPTS {
                    return Err(problem);
                }
                Self::wait(self.pause * 2u32.pow(attempts), name, progress)?;
            }
        }
        file.sync_all().map_err(failed)?;
        check_sum(&unfinished, info, name).inspect_err(|_| {
            let _ = fs::remove_file(&unfinished);
        })?;
        drop(file);
        fs::rename(&unfinished, blob).map_err(failed)
    }

    /// The answer at the end of redirects.
    fn ask(
        &self,
        method: Method,
        address: &str,
        from: Option<u64>,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Response<Body>, HubError> {
        let mut address = address.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.ask_once(method, &address, from, name, progress)?;
            match redirect(&answer, &address) {
                Some(next) => address = next,
                None if answer.status().is_success() => return Ok(answer),
                None => break,
            }
        }
        Err(HubError::Answer {
            name: name.into(),
            problem: "redirects without end, or to no address",
        })
    }

    /// One answer that is a success or a redirect, after waiting as the hub says and trying again when it fails.
    fn ask_once(
        &self,
        method: Method,
        address: &str,
        from: Option<u64>,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Response<Body>, HubError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let last = attempts == MOST_ATTEMPTS;
            let pause = self.pause * 2u32.pow(attempts - 1);
            let wait = match self.send(method, address, from) {
                Err(e) if last => return Err(connection(name, &e)),
                Err(_) => pause,
                Ok(answer) => match answer.status().as_u16() {
                    200..=399 => return Ok(answer),
                    status @ (401 | 403) => {
                        return Err(HubError::Refused {
                            name: name.into(),
                            status,
                        });
                    }
                    404 | 410 => return Err(HubError::NotFound { name: name.into() }),
                    429 | 503 => {
                        let wait_secs = text(&answer, "retry-after").and_then(|t| t.parse().ok());
                        match wait_secs {
                            Some(wait_secs) if last || wait_secs > MOST_WAIT_SECS => {
                                return Err(HubError::Busy { wait_secs });
                            }
                            Some(wait_secs) => Duration::from_secs(wait_secs),
                            None if last => return Err(HubError::Busy { wait_secs: 60 }),
                            None => pause,
                        }
                    }
                    500..=599 if !last => pause,
                    status => {
                        return Err(HubError::Status {
                            name: name.into(),
                            status,
                        });
                    }
                },
            };
            Self::wait(wait, name, progress)?;
        }
    }

    fn send(
        &self,
        method: Method,
        address: &str,
        from: Option<u64>,
    ) -> Result<Response<Body>, ureq::Error> {
        let mut request = match method {
            Method::Get => self.agent.get(address),
            Method::Head => self.agent.head(address),
        };
        if let (Some(token), true) = (&self.env.token, self.is_home(address)) {
            request = request.header("authorization", token.header());
        }
        if let Some(from @ 1..) = from {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call()
    }

    /// Whether the address is on the hub itself, which alone may see the token.
    fn is_home(&self, address: &str) -> bool {
        address.parse::<Uri>().is_ok_and(|uri| {
            uri.scheme() == self.home.scheme() && uri.authority() == self.home.authority()
        })
    }

    fn wait(time: Duration, name: &str, progress: &dyn Progress) -> Result<(), HubError> {
        const STEP: Duration = Duration::from_millis(100);
        let mut left = time;
        while !left.is_zero() {
            if progress.cancelled() {
                return Err(HubError::Cancelled { name: name.into() });
            }
            let step = left.min(STEP);
            thread::sleep(step);
            left -= step;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Head,
}

/// A file of a model, and where it goes.
struct Place<'a> {
    repo: &'a str,
    commit: &'a str,
    file: &'a str,
    folder: &'a Path,
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

/// Where an answer goes.
struct Stream<'a> {
    name: &'a str,
    bytes: u64,
    progress: &'a dyn Progress,
}

/// Why a stream ended for good.
enum End {
    Disk(io::Error),
    Hub(HubError),
}

impl Stream<'_> {
    /// Appends the answer. `Ok(Some(..))`: the connection was cut, another attempt may go on.
    fn copy(
        &self,
        answer: Response<Body>,
        file: &mut File,
        have: &mut u64,
    ) -> Result<Option<HubError>, End> {
        let mut body = answer.into_body().into_reader();
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            if self.progress.cancelled() {
                let name = self.name.into();
                return Err(End::Hub(HubError::Cancelled { name }));
            }
            let n = match body.read(&mut block) {
                Ok(0) if *have == self.bytes => return Ok(None),
                Ok(0) => return Ok(Some(connection(self.name, &"it ended early"))),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Ok(Some(connection(self.name, &e))),
            };
            if n as u64 > self.bytes - *have {
                return Err(End::Hub(HubError::Mismatch {
                    name: self.name.into(),
                    what: "size",
                    found: format!("{} or more", *have + n as u64),
                    expected: self.bytes.to_string(),
                }));
            }
            file.write_all(&block[..n]).map_err(End::Disk)?;
            *have += n as u64;
            self.progress.advance(n as u64);
        }
    }
}

/// Compares the file with the checksum that the hub gives of large files.
fn check_sum(path: &Path, info: &FileInfo, name: &str) -> Result<(), HubError> {
    let is_sha256 = info.etag.len() == 64 && info.etag.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_sha256 {
        return Ok(());
    }
    let found = digest_file(path).map_err(|e| HubError::Cache {
        path: path.into(),
        source: io::Error::other(e),
    })?;
    if found.sha256.eq_ignore_ascii_case(&info.etag) {
        return Ok(());
    }
    Err(HubError::Mismatch {
        name: name.into(),
        what: "SHA-256",
        found: found.sha256,
        expected: info.etag.clone(),
    })
}

/// Gives a blob the name of its file: a link, as other tools make it.
fn link(place: &Place<'_>, etag: &str, target: &Path) -> Result<(), HubError> {
    let failed = |source| HubError::Cache {
        path: target.into(),
        source,
    };
    create_folder(target.parent().unwrap_or(place.folder))?;
    #[cfg(unix)]
    let linked = {
        let up = "../".repeat(2 + place.file.matches('/').count());
        // A link to a blob that is gone is in the way.
        if target.is_symlink() {
            fs::remove_file(target).map_err(failed)?;
        }
        std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), target)
    };
    #[cfg(not(unix))]
    let linked = fs::hard_link(place.folder.join("blobs").join(etag), target);
    linked.map_err(failed)
}

fn create_folder(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(|source| HubError::Cache {
        path: path.into(),
        source,
    })
}

fn text<'a>(answer: &'a Response<Body>, header: &str) -> Option<&'a str> {
    answer.headers().get(header)?.to_str().ok()
}

/// Where the answer of `address` sends us; never from a private connection to an open one.
fn redirect(answer: &Response<Body>, address: &str) -> Option<String> {
    if !answer.status().is_redirection() {
        return None;
    }
    let to = text(answer, "location")?;
    let from = address.parse::<Uri>().ok()?;
    let scheme = from.scheme_str()?;
    let next = if to.starts_with('/') && !to.starts_with("//") {
        format!("{scheme}://{}{to}", from.authority()?)
    } else {
        to.to_owned()
    };
    let next_scheme = next.parse::<Uri>().ok()?.scheme_str()?.to_owned();
    let allowed = next_scheme == "https" || next_scheme == "http" && scheme == "http";
    allowed.then_some(next)
}

fn connection(name: &str, problem: &dyn std::fmt::Display) -> HubError {
    HubError::Connection {
        name: name.into(),
        problem: problem.to_string(),
    }
}
