//! Fingerprints of input files.

use super::error::CkptError;
use crate::file::open_file;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// The SHA-256 of a file as 64 lower-case hexadecimal digits, read block by block.
///
/// # Errors
/// When the file cannot be read.
/// # Example
/// ```
/// use refit_io::{atomic, ckpt};
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("abc");
/// atomic::write_file(&file, b"abc", atomic::Overwrite::Refuse)?;
/// let hex = ckpt::sha256_file(&file)?; // FIPS 180-2, appendix B.1
/// assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sha256_file(path: impl AsRef<Path>) -> Result<String, CkptError> {
    let path = path.as_ref();
    let mut file = open_file(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(n) => hash.update(&block[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(path)(e)),
        }
    }
    Ok(hex(hash))
}

fn hex(hash: Sha256) -> String {
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}"); // writing to a `String` cannot fail
    }
    hex
}

/// Most files of one folder: more is no set of data that is read whole.
const MOST_FILES: usize = 1 << 20;
/// Most folders inside each other; links that lead back end here.
const MOST_DEPTH: usize = 16;

/// What a folder holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderDigest {
    /// Number of files below it.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// SHA-256 of the lines `<SHA-256 of the file>  <path inside the folder>`, sorted by path.
    pub sha256: String,
}

/// The fingerprint of a folder: names and contents of all files below it, links followed, hidden ones left out. It is
/// what `find -L * -type f | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum` prints inside a folder without hidden
/// files.
///
/// # Errors
/// When a file cannot be read, there are more than a million, or folders nest deeper than 16.
/// # Cost
/// Reads every byte once, files side by side; keeps names and hashes in memory.
pub fn sha256_folder(path: impl AsRef<Path>) -> Result<FolderDigest, CkptError> {
    let folder = path.as_ref();
    let mut files = Vec::new();
    add_below(folder, MOST_DEPTH, &mut files)?;
    // As text, so that the order is the same wherever `/` and `\\` part names.
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|file| (name_inside(folder, &file), file))
        .collect();
    named.sort();
    let hashed = named
        .par_iter()
        .map(|(name, file)| {
            let bytes = open_file(file)?.metadata().map_err(failed(file))?.len();
            Ok((bytes, format!("{}  {name}\n", sha256_file(file)?)))
        })
        .collect::<Result<Vec<(u64, String)>, CkptError>>()?;
    let mut hash = Sha256::new();
    for (_, line) in &hashed {
        hash.update(line);
    }
    Ok(FolderDigest {
        files: hashed.len() as u64,
        bytes: hashed.iter().map(|(bytes, _)| bytes).sum(),
        sha256: hex(hash),
    })
}

fn failed(file: &Path) -> impl Fn(io::Error) -> CkptError {
    move |source| CkptError::Read {
        file: file.into(),
        source,
    }
}

/// The path of `file` inside `folder`, with `/` between names.
fn name_inside(folder: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(folder).unwrap_or(file);
    let names: Vec<_> = inside.iter().map(|name| name.to_string_lossy()).collect();
    names.join("/")
}

/// Appends every regular file below `folder`.
fn add_below(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CkptError> {
    let refuse = |words: String| failed(folder)(io::Error::other(words));
    if depth == 0 {
        return Err(refuse(format!("folders nest deeper than {MOST_DEPTH}")));
    }
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        // A link to nowhere is no file.
        match fs::metadata(&path) {
            Ok(found) if found.is_dir() => add_below(&path, depth - 1, files)?,
            Ok(found) if found.is_file() => files.push(path),
            _ => {}
        }
        if files.len() > MOST_FILES {
            return Err(refuse(format!("there are more than {MOST_FILES} files")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Overwrite, write_file};

    fn put(path: &Path, content: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_file(path, content.as_bytes(), Overwrite::Replace).unwrap();
    }

    #[test]
    fn the_digest_of_a_folder_is_that_of_the_usual_tools() {
        let home = tempfile::tempdir().unwrap();
        for (name, content) in [("b/2.png", "two"), ("b/1.png", "one"), ("a.txt", "")] {
            put(&home.path().join(name), content);
        }
        put(&home.path().join("b/.hidden"), "x");
        put(&home.path().join(".git/x"), "x");
        let digest = sha256_folder(home.path()).unwrap();
        // coreutils 9.1, in that folder: sha256sum a.txt b/1.png b/2.png | sha256sum
        let expected = "69606d927637cffb2d9929c3ebb866706df10d03cb2dbb60b7f4806593579b59";
        assert_eq!((digest.files, digest.bytes), (3, 6));
        assert_eq!(digest.sha256, expected);
    }

    #[test]
    fn every_name_and_every_content_counts() {
        let home = tempfile::tempdir().unwrap();
        let digest = || sha256_folder(home.path()).unwrap().sha256;
        put(&home.path().join("a/1"), "one");
        let first = digest();
        put(&home.path().join("a/1"), "two");
        let changed = digest();
        put(&home.path().join("a/2"), "two");
        let added = digest();
        fs::rename(home.path().join("a/2"), home.path().join("a/3")).unwrap();
        let renamed = digest();
        let all = [&first, &changed, &added, &renamed];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
        put(&home.path().join("a/1"), "one");
        fs::remove_file(home.path().join("a/3")).unwrap();
        assert_eq!(digest(), first);
    }

    #[test]
    #[cfg(unix)]
    fn links_that_lead_back_and_pipes_do_not_hang_it() {
        let home = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(home.path().join("pipe"))
            .status();
        assert!(made.unwrap().success());
        assert_eq!(sha256_folder(home.path()).unwrap().files, 0);
        std::os::unix::fs::symlink(".", home.path().join("again")).unwrap();
        let error = sha256_folder(home.path()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "folders nest deeper than 16");
    }
}
