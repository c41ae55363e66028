//! As much of the zip format as `.npz` needs: the central directory, stored and deflated members, checksums.
//! Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.

use crate::data::DataError;
use std::{
    collections::HashSet,
    io::Read,
    path::{Path, PathBuf},
};

/// A member may always unpack to this much.
const FREE_BYTES: u64 = 16 << 20;
/// Beyond [`FREE_BYTES`], a member may unpack to this many times its packed size. Real images pack by less than 20,
/// deflate itself reaches 1032.
const MOST_EXPANSION: u64 = 100;

const END_SIGNATURE: u32 = 0x0605_4b50;
const END_LEN: usize = 22;
const ENTRY_SIGNATURE: u32 = 0x0201_4b50;
const ENTRY_LEN: usize = 46;
const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
const LOCAL_LEN: usize = 30;
const MOST_COMMENT: usize = 0xffff;

/// One file inside the archive, as the central directory describes it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    method: u16,
    encrypted: bool,
    crc: u32,
    packed: u32,
    unpacked: u32,
    offset: u32,
}

/// The list of members; each lies inside the file.
#[derive(Clone, Debug)]
pub(super) struct Directory(Vec<Member>);

impl Directory {
    /// Reads the central directory at the end of `bytes`.
    pub(super) fn parse(bytes: &[u8], at: &Path) -> Result<Self, DataError> {
        let end = find_end(bytes).ok_or_else(|| not_zip(at, "it has no zip directory"))?;
        let count = u16_at(bytes, end + 10);
        let mut cursor = u32_at(bytes, end + 16) as usize;
        if count == u16::MAX || cursor == u32::MAX as usize {
            return Err(not_zip(at, "64-bit zip archives are not supported"));
        }
        let mut members: Vec<Member> = Vec::new();
        let mut names = HashSet::new();
        for i in 0..count {
            let (member, next) = Member::parse(bytes, cursor, end)
                .ok_or_else(|| not_zip(at, format_args!("directory entry {i} is damaged")))?;
            if !names.insert(member.name.clone()) {
                return Err(not_zip(at, format_args!("`{}` occurs twice", member.name)));
            }
            members.push(member);
            cursor = next;
        }
        Ok(Self(members))
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.0
    }
}

impl Member {
    /// The directory entry at `start`, and where the next one starts; everything lies before `end`.
    fn parse(bytes: &[u8], start: usize, end: usize) -> Option<(Self, usize)> {
        let fixed_end = start.checked_add(ENTRY_LEN).filter(|&e| e <= end)?;
        if u32_at(bytes, start) != ENTRY_SIGNATURE {
            return None;
        }
        let [name, extra, comment] = [28, 30, 32].map(|o| usize::from(u16_at(bytes, start + o)));
        let next = fixed_end + name + extra + comment;
        if next > end {
            return None;
        }
        let name = std::str::from_utf8(&bytes[fixed_end..fixed_end + name])
            .ok()?
            .to_owned();
        let member = Self {
            name,
            encrypted: u16_at(bytes, start + 8) & 1 == 1,
            method: u16_at(bytes, start + 10),
            crc: u32_at(bytes, start + 16),
            packed: u32_at(bytes, start + 20),
            unpacked: u32_at(bytes, start + 24),
            offset: u32_at(bytes, start + 42),
        };
        Some((member, next))
    }

    /// The member's bytes, checked against size and checksum.
    pub(super) fn unpack(&self, archive: &[u8], at: &Path) -> Result<Vec<u8>, DataError> {
        let packed = self.packed_bytes(archive, at)?;
        let limit = FREE_BYTES.max(u64::from(self.packed) * MOST_EXPANSION);
        if u64::from(self.unpacked) > limit {
            let (at, what) = (PathBuf::from(at), self.name.clone());
            return Err(DataError::TooLarge {
                at,
                what,
                bytes: self.unpacked.into(),
                limit,
            });
        }
        let unpacked = match self.method {
            0 => packed.to_vec(),
            8 => self
                .inflate(packed)
                .map_err(|_| self.damaged(at, "does not inflate"))?,
            other => {
                return Err(not_zip(
                    at,
                    format_args!("compression method {other} is unknown"),
                ));
            }
        };
        if unpacked.len() as u64 != u64::from(self.unpacked) {
            return Err(self.damaged(at, "has another length than announced"));
        }
        let mut crc = flate2::Crc::new();
        crc.update(&unpacked);
        if crc.sum() != self.crc {
            return Err(self.damaged(at, "does not match its checksum"));
        }
        Ok(unpacked)
    }

    /// Inflates at most one byte more than announced, which is enough to see that there is more.
    fn inflate(&self, packed: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.unpacked as usize);
        let reader = flate2::read::DeflateDecoder::new(packed);
        reader
            .take(u64::from(self.unpacked) + 1)
            .read_to_end(&mut out)?;
        Ok(out)
    }

    /// The packed bytes, behind the member's local header.
    fn packed_bytes<'a>(&self, archive: &'a [u8], at: &Path) -> Result<&'a [u8], DataError> {
        if self.encrypted || [self.packed, self.unpacked, self.offset].contains(&u32::MAX) {
            return Err(self.damaged(at, "is encrypted or larger than 4 GiB"));
        }
        let start = self.offset as usize;
        let local = archive
            .get(start..)
            .filter(|rest| rest.len() >= LOCAL_LEN && u32_at(rest, 0) == LOCAL_SIGNATURE)
            .ok_or_else(|| self.damaged(at, "has no local header"))?;
        let body = LOCAL_LEN + usize::from(u16_at(local, 26)) + usize::from(u16_at(local, 28));
        let rest = local.get(body..).unwrap_or_default();
        rest.get(..self.packed as usize)
            .ok_or_else(|| DataError::Truncated {
                at: at.into(),
                what: self.name.clone(),
                needed: self.packed.into(),
                found: rest.len() as u64,
            })
    }

    fn damaged(&self, at: &Path, problem: &str) -> DataError {
        not_zip(at, format_args!("member `{}` {problem}", self.name))
    }
}

fn not_zip(at: &Path, problem: impl std::fmt::Display) -> DataError {
    DataError::format(at, "npz", problem)
}

/// Position of the end record: the last one that is followed by exactly its comment.
fn find_end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_LEN)?;
    (last.saturating_sub(MOST_COMMENT)..=last).rev().find(|&i| {
        u32_at(bytes, i) == END_SIGNATURE
            && i + END_LEN + usize::from(u16_at(bytes, i + 20)) == bytes.len()
    })
}

/// Two little-endian bytes; the caller has checked the range.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Four little-endian bytes; the caller has checked the range.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
