//! Fingerprints of input files.

use super::{error::CkptError, reader::RandomFile};
use crate::file::open_file;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
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
    Ok(digest_file(path)?.sha256)
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Number of bytes.
    pub bytes: u64,
    /// Their SHA-256, as [`sha256_file`] has it.
    pub sha256: String,
}

/// Size and SHA-256 of the same bytes: the file is opened once.
///
/// # Errors
/// When the file cannot be read.
pub fn digest_file(path: impl AsRef<Path>) -> Result<FileDigest, CkptError> {
    let (bytes, hash) = read_through(path.as_ref())?;
    let sha256 = hex(hash);
    Ok(FileDigest { bytes, sha256 })
}

/// Stretches of a file that [`sample_file`] reads, and bytes of each.
const SAMPLES: (u64, u64) = (256, 64 << 10);

/// A fingerprint of a file that is too large to be read whole without need: SHA-256 of its size and of 256 stretches of
/// 64 KiB, spread evenly from its first byte to its last. A file of no more than that is read whole, after its size.
///
/// Tells models apart whose training changed most of their weights; not made to withstand intent.
///
/// # Errors
/// When the file cannot be read.
pub fn sample_file(path: impl AsRef<Path>) -> Result<FileDigest, CkptError> {
    let path = path.as_ref();
    let (count, stretch) = SAMPLES;
    let file = RandomFile::open(path)?;
    let (bytes, mut hash) = (file.len(), Sha256::new());
    hash.update(bytes.to_le_bytes());
    if bytes <= count * stretch {
        hash.update(file.read_vec(0..bytes)?);
    } else {
        for at in 0..count {
            // In range: the last stretch ends with the file. The product fits, as files are below 2^63 bytes.
            let start =
                (u128::from(bytes - stretch) * u128::from(at) / u128::from(count - 1)) as u64;
            hash.update(file.read_vec(start..start + stretch)?);
        }
    }
    let sha256 = hex(hash);
    Ok(FileDigest { bytes, sha256 })
}

fn read_through(path: &Path) -> Result<(u64, Sha256), CkptError> {
    let mut file = open_file(path)?;
    let (mut bytes, mut hash) = (0, Sha256::new());
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok((bytes, hash)),
            Ok(n) => {
                bytes += n as u64;
                hash.update(&block[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                let file = path.into();
                return Err(CkptError::Read { file, source });
            }
        }
    }
}

fn hex(hash: Sha256) -> String {
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}"); // writing to a `String` cannot fail
    }
    hex
}

/// What some files of a folder hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderDigest {
    /// Number of files.
    pub files: u64,
    /// Their sizes together.
    pub bytes: u64,
    /// SHA-256 of names and contents, see [`digest_files`].
    pub sha256: String,
}

/// The fingerprint of `files`, which lie below `folder`: equal when the same names hold the same bytes, wherever the
/// folder is and in whatever order the files are given.
///
/// Hashed is, for one file after the other in the order of their names: the length of the name as 8 bytes, lowest first;
/// the name; the 32 bytes of the SHA-256 of the content. A name is the path inside `folder` with `/` between its parts, in
/// the bytes that the system has for it, whether they are text or not.
///
/// # Errors
/// When a file cannot be read.
/// # Cost
/// Reads every byte once, files side by side; keeps names and hashes in memory.
pub fn digest_files(
    folder: impl AsRef<Path>,
    files: &[PathBuf],
) -> Result<FolderDigest, CkptError> {
    let name = |file: &PathBuf| name_inside(folder.as_ref(), file);
    let mut named: Vec<(Vec<u8>, &PathBuf)> = files.iter().map(|f| (name(f), f)).collect();
    named.sort();
    let read = named
        .par_iter()
        .map(|(_, file)| read_through(file))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut bytes, mut hash) = (0, Sha256::new());
    for ((name, _), (size, content)) in named.iter().zip(read) {
        bytes += size;
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(content.finalize());
    }
    Ok(FolderDigest {
        files: files.len() as u64,
        bytes,
        sha256: hex(hash),
    })
}

/// The path of `file` inside `folder`, with `/` between names.
fn name_inside(folder: &Path, file: &Path) -> Vec<u8> {
    let inside = file.strip_prefix(folder).unwrap_or(file);
    let names: Vec<&[u8]> = inside.iter().map(raw).collect();
    names.join(&b'/')
}

#[cfg(unix)]
fn raw(name: &std::ffi::OsStr) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(name)
}

/// Where names are no bytes: UTF-8, and an extension of it for those that are no text either.
#[cfg(not(unix))]
fn raw(name: &std::ffi::OsStr) -> &[u8] {
    name.as_encoded_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Overwrite, write_file};
    use std::fs;

    /// A folder of files with these names and contents, and their paths.
    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let home = tempfile::tempdir().unwrap();
        let put = |&(name, content): &(&str, &str)| {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_file(&path, content.as_bytes(), Overwrite::Replace).unwrap();
            path
        };
        let paths = files.iter().map(put).collect();
        (home, paths)
    }

    fn digest(files: &[(&str, &str)]) -> FolderDigest {
        let (home, paths) = folder(files);
        digest_files(home.path(), &paths).unwrap()
    }

    #[test]
    fn lengths_names_and_hashes_are_hashed_in_the_order_of_names() {
        let found = digest(&[("b/2.png", "two"), ("a.txt", ""), ("b/1.png", "one")]);
        assert_eq!((found.files, found.bytes), (3, 6));
        // Python 3.11: h = sha256(); for n, c in sorted(..): h.update(pack("<Q", len(n)) + n + sha256(c).digest())
        let expected = "e7cc8590bb12a986828cd2023d01eedd89fa775e271fb3f945a67cdfde4260ed";
        assert_eq!(found.sha256, expected);
    }

    #[test]
    fn every_name_and_every_content_counts() {
        let some = [
            digest(&[("a/1", "one")]),
            digest(&[("a/1", "two")]),
            digest(&[("a/1", "one"), ("a/2", "two")]),
            digest(&[("a/1", "one"), ("a/3", "two")]),
            digest(&[]),
        ];
        for (i, a) in some.iter().enumerate() {
            assert!(some[i + 1..].iter().all(|b| a.sha256 != b.sha256));
        }
        assert_eq!(digest(&[("a/1", "one")]), some[0]);
    }

    #[test]
    #[cfg(unix)]
    fn names_that_print_alike_are_told_apart() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let of = |name: &[u8]| {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Some file systems take text only.
            let written = write_file(&path, b"", Overwrite::Refuse).is_ok();
            written.then(|| digest_files(home.path(), &[path]).unwrap().sha256)
        };
        let names = [
            &b"a\xff"[..],
            b"a\xfe",
            "a\u{fffd}".as_bytes(),
            b"a\\n",
            b"a\n",
            b"a/n",
        ];
        let mut found: Vec<_> = names.into_iter().filter_map(of).collect();
        let written = found.len();
        found.sort();
        found.dedup();
        assert!(written >= 4 && found.len() == written);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let missing = PathBuf::from("no/such/file");
        let error = digest_files("no", &[missing]).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `no/such/file`");
    }
}
