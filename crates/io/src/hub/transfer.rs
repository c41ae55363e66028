//! From an answer to a file of the cache: unfinished until it is whole and right.

use super::{
    Hub, HubError,
    client::FileInfo,
    line::Heard,
    request::{MOST_ATTEMPTS, Method},
};
use crate::ckpt::digest_file;
use refit_core::Progress;
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};
use ureq::{Body, http::Response};

/// Bytes moved at a time.
const BLOCK_BYTES: usize = 256 << 10;

impl Hub {
    /// Downloads into an unfinished file beside `blob`, and renames it when it is whole and right.
    pub(super) fn fill(
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
            let answer = match self.ask(Method::Get, address, Some(have), name, progress) {
                // What is there is not the beginning of what the hub has.
                Err(HubError::Status { status: 416, .. }) if have > 0 => {
                    file.set_len(0).map_err(failed)?;
                    have = 0;
                    continue;
                }
                answer => answer?,
            };
            if answer.status() != 206 && have > 0 {
                file.set_len(0).map_err(failed)?;
                have = 0;
            }
            file.seek(SeekFrom::Start(have)).map_err(failed)?;
            let end = Stream {
                hub: self,
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
}

/// Where an answer goes.
struct Stream<'a> {
    hub: &'a Hub,
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
        let mut body = Heard::new(&self.hub.line, answer.into_body().into_reader());
        let lost = |problem: &dyn fmt::Display| self.hub.lost(self.name, problem, self.progress);
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            if self.progress.cancelled() {
                let name = self.name.into();
                return Err(End::Hub(HubError::Cancelled { name }));
            }
            let n = match body.read(&mut block) {
                Ok(0) if *have == self.bytes => return Ok(None),
                Ok(0) => return Ok(Some(lost(&"it ended early"))),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Ok(Some(lost(&e))),
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

/// Gives a blob the name of its file in a snapshot: a link, as other tools make it.
pub(super) fn link(blob: &Path, snapshot: &Path, file: &str) -> Result<(), HubError> {
    let target = &snapshot.join(file);
    let failed = |source| HubError::Cache {
        path: target.into(),
        source,
    };
    create_folder(target.parent().unwrap_or(snapshot))?;
    // A link to a blob that is gone, or a file that lost its end, is in the way.
    if target.symlink_metadata().is_ok() {
        fs::remove_file(target).map_err(failed)?;
    }
    #[cfg(unix)]
    let linked = {
        let up = "../".repeat(2 + file.matches('/').count());
        let etag = blob.file_name().unwrap_or_default();
        let to = Path::new(&up).join("blobs").join(etag);
        std::os::unix::fs::symlink(to, target)
    };
    #[cfg(not(unix))]
    let linked = fs::hard_link(blob, target);
    linked.map_err(failed)
}

pub(super) fn create_folder(path: &Path) -> Result<(), HubError> {
    fs::create_dir_all(path).map_err(|source| HubError::Cache {
        path: path.into(),
        source,
    })
}
