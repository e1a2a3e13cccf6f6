//! Signatures of what an image may hold that is no member of ours: file systems, partition tables, other RAID formats.
//!
//! Bytes in, a name out; no I/O. It is there so that nothing is overwritten by mistake and so that a message can say what
//! an image is, not to read any of these formats. Places (bytes from the start, where nothing else is said):
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0, 3, 54, 82 | `XFSB`, `LUKS`, `QFI`, `hsqs`; `NTFS`, `EXFAT`; `FAT` | file systems, containers |
//! | 512 | `EFI PART`, `LABELONE` | GPT, LVM |
//! | 1080, 4086, 32769, 65600 | 53 ef, `SWAPSPACE2`, `CD001`, `_BHRfS_M` | ext, swap, ISO 9660, btrfs |
//! | 64 KiB aligned, 64 to 128 KiB before the end | fc 4e 2b a9, version 0 | md 0.90 |
//! | last sector, or 257th from the end | de 11 de 11 | DDF |
//!
//! Sources: the magic numbers of `blkid`'s manual pages and of the formats' own documents.

use std::ops::Range;

use super::superblock::Version;
use crate::raid::{Sector, metadata::gpt::has_dos_partitions};

/// Bytes to read from the start of an image.
pub const HEAD_BYTES: usize = 128 << 10;
/// Bytes to read from the end of an image.
pub const TAIL_BYTES: usize = 132 << 10;

const MD_MAGIC: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
const MD090_MAGIC: [u8; 8] = [0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0];
const DDF_MAGIC: [u8; 4] = [0xde, 0x11, 0xde, 0x11];

/// File systems and the like: place, bytes, name.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"XFSB", "XFS"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"QFI\xfb", "qcow2"),
    (0, b"hsqs", "squashfs"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (54, b"FAT1", "FAT"),
    (82, b"FAT32", "FAT"),
    (512, b"LABELONE", "LVM"),
    (536, b"LVM2 001", "LVM"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (1080, b"\x53\xef", "ext2, ext3 or ext4"),
    (4086, b"SWAPSPACE2", "swap"),
    (32_769, b"CD001", "ISO 9660"),
    (65_600, b"_BHRfS_M", "btrfs"),
];

/// What an image holds beside an md superblock of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// A file system, or a container of one.
    FileSystem(&'static str),
    /// A partition table of the old kind.
    DosPartitions,
    /// A GUID partition table, whole or not.
    Gpt,
    /// A member of an md array with a superblock of version 0.90, which is not served.
    Md090,
    /// A member of a DDF container, which is not served.
    Ddf,
}

/// The first signature in an image of `device` sectors, from its first [`HEAD_BYTES`] and its last [`TAIL_BYTES`], either
/// all of the image where it is shorter.
pub fn foreign(head: &[u8], tail: &[u8], device: Sector) -> Option<Foreign> {
    let has = |at: usize, bytes: &[u8]| head.get(at..at + bytes.len()) == Some(bytes);
    if is_md090(tail, device) {
        return Some(Foreign::Md090);
    }
    if is_ddf(tail, device) {
        return Some(Foreign::Ddf);
    }
    if has(512, b"EFI PART") {
        return Some(Foreign::Gpt);
    }
    let found = SIGNATURES.iter().find(|(at, bytes, _)| has(*at, bytes));
    match found {
        Some((_, _, name)) => Some(Foreign::FileSystem(name)),
        None if has_dos_partitions(head) => Some(Foreign::DosPartitions),
        None => None,
    }
}

/// Byte ranges of an image that make others take it for what it was: what a new array on it has to zero, so that nobody finds
/// two things in one image. What is given is as for [`foreign`].
pub fn signatures(head: &[u8], tail: &[u8], device: Sector) -> Vec<Range<u64>> {
    let tail_at = (device.0 * 512).saturating_sub(tail.len() as u64);
    let has = |at: u64, bytes: &[u8]| {
        let within = |part: &[u8], at: u64| {
            let at = usize::try_from(at).ok()?;
            Some(part.get(at..)?.starts_with(bytes))
        };
        within(head, at) == Some(true) || at.checked_sub(tail_at).and_then(|at| within(tail, at)) == Some(true)
    };
    let mut found = Vec::new();
    // Of partitions, of a GPT's protection, or of a boot loader.
    if has(510, &[0x55, 0xaa]) {
        found.push(0..512);
    }
    let last = device.0.saturating_sub(1) * 512;
    let tables = [512, last].map(|at| (at, &b"EFI PART"[..], 512));
    let ddf = ddf_places(device).map(|at| (at, &DDF_MAGIC[..], 512));
    let old = md090_place(device).map(|at| (at, &MD090_MAGIC[..], 4096));
    let version_1 = Version::ALL.into_iter().filter_map(|version| version.place(device));
    let version_1 = version_1.map(|place| (place.0 * 512, &MD_MAGIC[..], 4096));
    for (at, bytes, length) in tables.into_iter().chain(ddf).chain(old).chain(version_1) {
        if has(at, bytes) {
            found.push(at..(at + length).min(device.0 * 512));
        }
    }
    let known = SIGNATURES.iter().map(|(at, bytes, _)| (*at as u64, *bytes));
    found.extend(
        known
            .filter(|(at, bytes)| has(*at, bytes))
            .map(|(at, bytes)| at..at + bytes.len() as u64),
    );
    found
}

/// Byte at which a superblock of version 0.90 stands.
fn md090_place(device: Sector) -> Option<u64> {
    (device.0 & !127).checked_sub(128).map(|place| place * 512)
}

/// Bytes at which the header of DDF stands.
fn ddf_places(device: Sector) -> impl Iterator<Item = u64> {
    [1, 257]
        .into_iter()
        .filter_map(move |sectors| Some(device.0.checked_sub(sectors)? * 512))
}

fn is_at(tail: &[u8], device: Sector, place: u64, magic: &[u8]) -> bool {
    let from_end = usize::try_from(device.0 * 512 - place).ok();
    let at = from_end.and_then(|bytes| tail.len().checked_sub(bytes));
    at.is_some_and(|at| tail[at..].starts_with(magic))
}

/// True where a superblock of version 0.90 stands where this format has it.
fn is_md090(tail: &[u8], device: Sector) -> bool {
    md090_place(device).is_some_and(|place| is_at(tail, device, place, &MD090_MAGIC))
}

fn is_ddf(tail: &[u8], device: Sector) -> bool {
    ddf_places(device).any(|place| is_at(tail, device, place, &DDF_MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Sector = Sector(2048 + 3);

    fn of(at: usize, bytes: &[u8]) -> Option<Foreign> {
        let mut image = vec![0; usize::try_from(DEVICE.0 * 512).unwrap()];
        image[at..at + bytes.len()].copy_from_slice(bytes);
        foreign(&image[..HEAD_BYTES], &image[image.len() - TAIL_BYTES..], DEVICE)
    }

    #[test]
    fn signatures_are_found_where_their_formats_have_them() {
        assert_eq!(of(0, b""), None);
        assert_eq!(
            of(0x438, &[0x53, 0xef]),
            Some(Foreign::FileSystem("ext2, ext3 or ext4"))
        );
        assert_eq!(of(0, b"XFSB"), Some(Foreign::FileSystem("XFS")));
        assert_eq!(of(0x10040, b"_BHRfS_M"), Some(Foreign::FileSystem("btrfs")));
        assert_eq!(of(0x200, b"EFI PART"), Some(Foreign::Gpt));
        // 1025.5 KiB rounded down to 64 KiB, less 64 KiB.
        assert_eq!(
            of((1024 - 64) << 10, &[0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0]),
            Some(Foreign::Md090)
        );
        assert_eq!(of((1024 - 64) << 10, &[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]), None);
        assert_eq!(of((2048 + 2) * 512, &[0xde, 0x11, 0xde, 0x11]), Some(Foreign::Ddf));
        let mut sector = [0; 512];
        sector[446 + 4] = 0x83;
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(of(0, &sector), Some(Foreign::DosPartitions));
    }

    #[test]
    fn all_signatures_are_found_at_once() {
        let mut image = vec![0; usize::try_from(DEVICE.0 * 512).unwrap()];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        put(512, b"EFI PART");
        put(0x438, &[0x53, 0xef]);
        put(4096, &[0xfc, 0x4e, 0x2b, 0xa9, 1]);
        put((1024 - 64) << 10, &[0xfc, 0x4e, 0x2b, 0xa9, 0, 0, 0, 0]);
        // 1025.5 KiB less 8 KiB, rounded down to 4 KiB.
        put(1016 << 10, &[0xfc, 0x4e, 0x2b, 0xa9, 1]);
        put((2048 + 2) * 512, b"EFI PART");
        let mut found = signatures(&image[..HEAD_BYTES], &image[image.len() - TAIL_BYTES..], DEVICE);
        found.sort_by_key(|range| range.start);
        let starts: Vec<u64> = found.iter().map(|range| range.start).collect();
        assert_eq!(starts, [512, 0x438, 4096, 960 << 10, 1016 << 10, 2050 * 512]);
        for range in found {
            image[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].fill(0);
        }
        assert!(image.iter().all(|byte| *byte == 0), "a signature is left");
    }

    #[test]
    fn images_of_any_length_are_looked_at() {
        for length in [0_usize, 1, 511, 512, 513, 4096, 70_000, 131_072, 140_000] {
            for byte in [0_u8, 0x11, 0xde, 0xff] {
                let image = vec![byte; length];
                let device = Sector(length as u64 / 512);
                let head = &image[..length.min(HEAD_BYTES)];
                let tail = &image[length.saturating_sub(TAIL_BYTES)..];
                let _ = foreign(head, tail, device);
                let inside = |range: &Range<u64>| range.start < range.end && range.end <= device.0 * 512;
                assert!(signatures(head, tail, device).iter().all(inside), "{length}");
            }
        }
    }
}
