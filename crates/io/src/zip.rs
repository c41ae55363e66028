//! As much of the zip format as numpy and PyTorch write: the central directory and where its members lie, with 64-bit
//! sizes. Source: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3.

use std::{collections::HashSet, ops::Range};

const END_SIGNATURE: u32 = 0x0605_4b50;
const END_LEN: usize = 22;
const END64_SIGNATURE: u32 = 0x0606_4b50;
const END64_LEN: usize = 56;
const LOCATOR_SIGNATURE: u32 = 0x0706_4b50;
const LOCATOR_LEN: usize = 20;
const ENTRY_SIGNATURE: u32 = 0x0201_4b50;
const ENTRY_LEN: usize = 46;
const LOCAL_SIGNATURE: u32 = 0x0403_4b50;
const LOCAL_LEN: usize = 30;
const MOST_COMMENT: usize = 0xffff;
/// Kind of the extra field that holds 64-bit sizes.
const WIDE_SIZES: u16 = 1;

/// Longest directory that is read. Ours: more than half a million members with names of usual length.
const MOST_DIRECTORY_BYTES: u64 = 64 << 20;

/// A member that is stored as it is.
pub(crate) const STORED: u16 = 0;
/// A member that is packed by deflate.
pub(crate) const DEFLATED: u16 = 8;

/// What is wrong with an archive, as the rest of a sentence that begins with its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("it has no zip directory")]
    NoDirectory,
    #[error("its zip directory takes {found} bytes, at most 67108864 are accepted")]
    LongDirectory { found: u64 },
    #[error("directory entry {index} is damaged")]
    Entry { index: u64 },
    #[error("`{name}` occurs twice")]
    Twice { name: String },
    #[error("member `{name}` is encrypted")]
    Encrypted { name: String },
    #[error("member `{name}` has no local header")]
    NoLocalHeader { name: String },
    #[error("member `{name}` needs {needed} bytes, {found} are left")]
    Truncated {
        name: String,
        needed: u64,
        found: u64,
    },
}

/// Bytes that are read by position, wherever they are.
pub(crate) trait Archive {
    type Error;

    fn len(&self) -> u64;

    /// Fills `out`; the caller has checked the range against [`len`](Self::len).
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), Self::Error>;

    /// The error that says which archive is wrong.
    fn refuse(&self, problem: ZipError) -> Self::Error;
}

/// One file inside the archive, as the central directory describes it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) method: u16,
    pub(crate) crc: u32,
    pub(crate) packed: u64,
    pub(crate) unpacked: u64,
    encrypted: bool,
    offset: u64,
}

/// The list of members; names are unique.
#[derive(Clone, Debug)]
pub(crate) struct Directory(Vec<Member>);

impl Directory {
    /// Reads the central directory at the end of `archive`.
    pub(crate) fn read<A: Archive>(archive: &A) -> Result<Self, A::Error> {
        let (count, range) = find_directory(archive)?;
        let found = range.end - range.start;
        if found > MOST_DIRECTORY_BYTES {
            return Err(archive.refuse(ZipError::LongDirectory { found }));
        }
        let bytes = read_vec(archive, range)?;
        let (mut members, mut names) = (Vec::new(), HashSet::new());
        let mut rest = bytes.as_slice();
        for index in 0..count {
            let (member, after) =
                entry(rest).ok_or_else(|| archive.refuse(ZipError::Entry { index }))?;
            rest = after;
            if !names.insert(member.name.clone()) {
                return Err(archive.refuse(ZipError::Twice { name: member.name }));
            }
            members.push(member);
        }
        Ok(Self(members))
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.0
    }
}

impl Member {
    /// Where the packed bytes lie, behind the member's local header and inside the archive.
    pub(crate) fn place<A: Archive>(&self, archive: &A) -> Result<Range<u64>, A::Error> {
        let name = || self.name.clone();
        if self.encrypted {
            return Err(archive.refuse(ZipError::Encrypted { name: name() }));
        }
        let missing = || archive.refuse(ZipError::NoLocalHeader { name: name() });
        let fixed = self.offset.checked_add(LOCAL_LEN as u64);
        let fixed = fixed
            .filter(|&end| end <= archive.len())
            .ok_or_else(missing)?;
        let mut local = [0; LOCAL_LEN];
        archive.read_at(self.offset, &mut local)?;
        if u32_at(&local, 0) != LOCAL_SIGNATURE {
            return Err(missing());
        }
        let start = fixed + u64::from(u16_at(&local, 26)) + u64::from(u16_at(&local, 28));
        let found = archive.len().saturating_sub(start);
        if self.packed > found {
            return Err(archive.refuse(ZipError::Truncated {
                name: name(),
                needed: self.packed,
                found,
            }));
        }
        Ok(start..start + self.packed)
    }
}

/// The directory entry at the start of `bytes`, and what follows it.
fn entry(bytes: &[u8]) -> Option<(Member, &[u8])> {
    let (fixed, rest) = bytes.split_at_checked(ENTRY_LEN)?;
    if u32_at(fixed, 0) != ENTRY_SIGNATURE {
        return None;
    }
    let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(u16_at(fixed, at)));
    let (name, rest) = rest.split_at_checked(name)?;
    let (extra, rest) = rest.split_at_checked(extra)?;
    let (_, rest) = rest.split_at_checked(comment)?;
    // Sizes that do not fit stand in the extra field, in this order.
    let mut sizes = [24, 20, 42].map(|at| u64::from(u32_at(fixed, at)));
    if sizes.contains(&u64::from(u32::MAX)) {
        let mut wide = extra_field(extra, WIDE_SIZES)?.as_chunks::<8>().0.iter();
        for size in sizes.iter_mut().filter(|s| **s == u64::from(u32::MAX)) {
            *size = u64::from_le_bytes(*wide.next()?);
        }
    }
    let member = Member {
        name: std::str::from_utf8(name).ok()?.to_owned(),
        encrypted: u16_at(fixed, 8) & 1 == 1,
        method: u16_at(fixed, 10),
        crc: u32_at(fixed, 16),
        unpacked: sizes[0],
        packed: sizes[1],
        offset: sizes[2],
    };
    Some((member, rest))
}

/// The content of the extra field of this kind.
fn extra_field(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (head, rest) = bytes.split_at_checked(4)?;
        let (content, after) = rest.split_at_checked(usize::from(u16_at(head, 2)))?;
        if u16_at(head, 0) == kind {
            return Some(content);
        }
        bytes = after;
    }
}

/// How many entries the directory has, and the bytes they may take.
fn find_directory<A: Archive>(archive: &A) -> Result<(u64, Range<u64>), A::Error> {
    let absent = || archive.refuse(ZipError::NoDirectory);
    let tail_len = archive.len().min((END_LEN + MOST_COMMENT) as u64);
    let tail_start = archive.len() - tail_len;
    let tail = read_vec(archive, tail_start..archive.len())?;
    let at = find_end(&tail).ok_or_else(absent)?;
    let end = tail_start + at as u64;
    let (count, start) = (u16_at(&tail, at + 10), u32_at(&tail, at + 16));
    if count < u16::MAX && start < u32::MAX && u32_at(&tail, at + 12) < u32::MAX {
        let start = u64::from(start);
        return in_order(count.into(), start..end).ok_or_else(absent);
    }
    wide_directory(archive, end)?.ok_or_else(absent)
}

/// The same from the 64-bit record, whose place stands right before the end record at `end`.
fn wide_directory<A: Archive>(
    archive: &A,
    end: u64,
) -> Result<Option<(u64, Range<u64>)>, A::Error> {
    let Some(at) = end.checked_sub(LOCATOR_LEN as u64) else {
        return Ok(None);
    };
    let mut locator = [0; LOCATOR_LEN];
    archive.read_at(at, &mut locator)?;
    let record_at = u64_at(&locator, 8);
    let fits = record_at
        .checked_add(END64_LEN as u64)
        .is_some_and(|e| e <= at);
    if u32_at(&locator, 0) != LOCATOR_SIGNATURE || !fits {
        return Ok(None);
    }
    let mut record = [0; END64_LEN];
    archive.read_at(record_at, &mut record)?;
    if u32_at(&record, 0) != END64_SIGNATURE {
        return Ok(None);
    }
    Ok(in_order(
        u64_at(&record, 32),
        u64_at(&record, 48)..record_at,
    ))
}

fn in_order(count: u64, range: Range<u64>) -> Option<(u64, Range<u64>)> {
    (range.start <= range.end).then_some((count, range))
}

/// Position of the end record: the last one that is followed by exactly its comment.
fn find_end(tail: &[u8]) -> Option<usize> {
    let last = tail.len().checked_sub(END_LEN)?;
    (0..=last).rev().find(|&i| {
        u32_at(tail, i) == END_SIGNATURE
            && i + END_LEN + usize::from(u16_at(tail, i + 20)) == tail.len()
    })
}

/// The bytes in `range`, which lies inside the archive.
fn read_vec<A: Archive>(archive: &A, range: Range<u64>) -> Result<Vec<u8>, A::Error> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    archive.read_at(range.start, &mut bytes)?;
    Ok(bytes)
}

/// Two little-endian bytes; the caller has checked the range.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Four little-endian bytes; the caller has checked the range.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Eight little-endian bytes; the caller has checked the range.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Held(Vec<u8>);

    impl Archive for Held {
        type Error = ZipError;
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), ZipError> {
            out.copy_from_slice(&self.0[offset as usize..][..out.len()]);
            Ok(())
        }
        fn refuse(&self, problem: ZipError) -> ZipError {
            problem
        }
    }

    /// One stored member `a` of two bytes whose sizes and place stand in 64-bit fields.
    fn wide() -> Vec<u8> {
        let mut file = b"PK\x03\x04".to_vec();
        file.extend([0; 22]);
        file.extend([1, 0, 0, 0, b'a', 7, 8]);
        let directory = file.len() as u64;
        file.extend(b"PK\x01\x02");
        file.extend([0; 16]);
        file.extend([0xff; 8]); // packed, unpacked
        file.extend([1, 0, 28 + 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        file.extend([0xff; 4]); // offset
        file.push(b'a');
        file.extend([9, 9, 1, 0, 0]); // a field of another kind
        file.extend([1, 0, 24, 0]);
        file.extend([2u64, 2, 0].map(u64::to_le_bytes).concat());
        let record = file.len() as u64;
        file.extend(b"PK\x06\x06");
        file.extend([0; 20]);
        file.extend(
            [1u64, 1, record - directory, directory]
                .map(u64::to_le_bytes)
                .concat(),
        );
        file.extend(b"PK\x06\x07\0\0\0\0");
        file.extend(record.to_le_bytes());
        file.extend([1, 0, 0, 0]);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend([0xff; 12]);
        file.extend([0, 0]);
        file
    }

    #[test]
    fn sizes_of_64_bits_are_read() {
        let archive = Held(wide());
        let directory = Directory::read(&archive).unwrap();
        let member = &directory.members()[0];
        assert_eq!(
            (member.name.as_str(), member.unpacked, member.method),
            ("a", 2, STORED)
        );
        assert_eq!(member.place(&archive).unwrap(), 31..33);
        assert_eq!(archive.0[31..33], [7, 8]);
    }

    #[test]
    fn any_cut_and_any_changed_byte_is_an_error_or_a_member_inside_the_file() {
        let whole = wide();
        for len in 0..whole.len() {
            let cut = Held(whole[..len].to_vec());
            assert!(Directory::read(&cut).is_err(), "{len}");
        }
        for i in 0..whole.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[i] = value;
                let archive = Held(bytes);
                let Ok(directory) = Directory::read(&archive) else {
                    continue;
                };
                for member in directory.members() {
                    let inside = member.place(&archive);
                    assert!(inside.is_err() || inside.unwrap().end <= archive.len());
                }
            }
        }
    }
}
