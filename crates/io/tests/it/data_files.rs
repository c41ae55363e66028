//! Files for the reader tests, written byte by byte.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder that is removed at the end of the test.
pub(crate) struct Room(TempDir);

impl Room {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create(&path).unwrap().write_all(bytes).unwrap();
        path
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A gray picture whose pixels all have one value.
    pub(crate) fn picture(&self, name: &str, side: u32, value: u8) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(side, side, image::Luma([value]))
            .save(&path)
            .unwrap();
        path
    }
}

/// A `.npy` file.
pub(crate) fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((text.len() as u16).to_le_bytes());
    file.extend(text.as_bytes());
    file.extend(values);
    file
}

/// One member of a zip archive.
pub(crate) struct Member {
    name: String,
    method: u16,
    packed: Vec<u8>,
    crc: u32,
    /// What the directory says that the member unpacks to.
    pub(crate) unpacked: u32,
}

impl Member {
    pub(crate) fn stored(name: &str, bytes: &[u8]) -> Self {
        Self::new(name, 0, bytes.to_vec(), bytes)
    }

    pub(crate) fn deflated(name: &str, bytes: &[u8]) -> Self {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        Self::new(name, 8, encoder.finish().unwrap(), bytes)
    }

    fn new(name: &str, method: u16, packed: Vec<u8>, bytes: &[u8]) -> Self {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let unpacked = bytes.len() as u32;
        Self {
            name: name.into(),
            method,
            packed,
            crc: crc.sum(),
            unpacked,
        }
    }

    /// Method, (time), checksum and sizes: what local header and directory entry share.
    fn facts(&self) -> Vec<u8> {
        let mut out = [20u16, 0, self.method, 0, 0].map(u16::to_le_bytes).concat();
        out.extend(
            [self.crc, self.packed.len() as u32, self.unpacked]
                .map(u32::to_le_bytes)
                .concat(),
        );
        out.extend([self.name.len() as u16, 0].map(u16::to_le_bytes).concat());
        out
    }
}

/// A zip archive.
pub(crate) fn zip(members: &[Member]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for m in members {
        let offset = file.len() as u32;
        file.extend(b"PK\x03\x04");
        file.extend(m.facts());
        file.extend(m.name.as_bytes());
        file.extend(&m.packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(m.facts());
        directory.extend([0u16, 0, 0, 0, 0].map(u16::to_le_bytes).concat());
        directory.extend(offset.to_le_bytes());
        directory.extend(m.name.as_bytes());
    }
    let (start, count) = (file.len() as u32, members.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06");
    file.extend([0, 0, count, count].map(u16::to_le_bytes).concat());
    file.extend(
        [directory.len() as u32, start]
            .map(u32::to_le_bytes)
            .concat(),
    );
    file.extend([0, 0]);
    file
}

/// An IDX file of unsigned bytes.
pub(crate) fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    file.extend(shape.iter().flat_map(|d| d.to_be_bytes()));
    file.extend(values);
    file
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
