//! Archives of stored members with checksums that are right, so that what is inside them is reached.

use flate2::Crc;

/// The archive of these members.
pub fn stored(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in members {
        let mut crc = Crc::new();
        crc.update(content);
        let offset = file.len() as u32;
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for word in [crc.sum(), content.len() as u32, content.len() as u32] {
            common.extend(word.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0; 2]);
        file.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\x14\x00".as_slice(), &common, &[0; 10]].concat());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let count = (members.len() as u16).to_le_bytes();
    let end = [(directory.len() as u32), file.len() as u32].map(u32::to_le_bytes);
    let tail = [
        b"PK\x05\x06\0\0\0\0".as_slice(),
        &count,
        &count,
        &end.concat(),
        &[0; 2],
    ];
    [file, directory, tail.concat()].concat()
}
