//! The arrays of an archive as bytes: stored or deflated, checked against size and checksum.

use crate::{
    data::DataError,
    zip::{Archive, DEFLATED, Member, STORED, ZipError},
};
use std::{io::Read, path::Path};

/// A member may always unpack to this much.
const FREE_BYTES: u64 = 16 << 20;
/// Beyond [`FREE_BYTES`], a member may unpack to this many times its packed size. Real images pack by less than 20,
/// deflate itself reaches 1032.
const MOST_EXPANSION: u64 = 100;

/// An archive in memory; messages call it `at`.
pub(super) struct Held<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: &'a Path,
}

impl Archive for Held<'_> {
    type Error = DataError;

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DataError> {
        let start = offset as usize;
        out.copy_from_slice(&self.bytes[start..start + out.len()]);
        Ok(())
    }

    fn refuse(&self, problem: ZipError) -> DataError {
        match problem {
            ZipError::Truncated {
                name,
                needed,
                found,
            } => DataError::Truncated {
                at: self.at.into(),
                what: name,
                needed,
                found,
            },
            problem => DataError::format(self.at, "npz", problem),
        }
    }
}

impl Held<'_> {
    /// The member's bytes, checked against size and checksum.
    pub(super) fn unpack(&self, member: &Member) -> Result<Vec<u8>, DataError> {
        let place = member.place(self)?;
        let packed = &self.bytes[place.start as usize..place.end as usize];
        let limit = FREE_BYTES.max(member.packed.saturating_mul(MOST_EXPANSION));
        if member.unpacked > limit {
            return Err(DataError::TooLarge {
                at: self.at.into(),
                what: member.name.clone(),
                bytes: member.unpacked,
                limit,
            });
        }
        let damaged = |problem| {
            let problem = format_args!("member `{}` {problem}", member.name);
            DataError::format(self.at, "npz", problem)
        };
        let unpacked = match member.method {
            STORED => packed.to_vec(),
            DEFLATED => {
                inflate(packed, member.unpacked).map_err(|_| damaged("does not inflate"))?
            }
            other => {
                let problem = format_args!("compression method {other} is unknown");
                return Err(DataError::format(self.at, "npz", problem));
            }
        };
        if unpacked.len() as u64 != member.unpacked {
            return Err(damaged("has another length than announced"));
        }
        let mut crc = flate2::Crc::new();
        crc.update(&unpacked);
        if crc.sum() != member.crc {
            return Err(damaged("does not match its checksum"));
        }
        Ok(unpacked)
    }
}

/// Inflates at most one byte more than announced, which is enough to see that there is more.
fn inflate(packed: &[u8], announced: u64) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(announced as usize);
    let reader = flate2::read::DeflateDecoder::new(packed);
    reader
        .take(announced.saturating_add(1))
        .read_to_end(&mut out)?;
    Ok(out)
}
