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

use crate::raid::{Sector, metadata::gpt::has_dos_partitions};

/// Bytes to read from the start of an image.
pub const HEAD_BYTES: usize = 128 << 10;
/// Bytes to read from the end of an image.
pub const TAIL_BYTES: usize = 132 << 10;

const MD_MAGIC: [u8; 4] = [0xfc, 0x4e, 0x2b, 0xa9];
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
    if is_ddf(tail) {
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

/// True where a superblock of version 0.90 stands where this format has it.
fn is_md090(tail: &[u8], device: Sector) -> bool {
    let place = (device.0 & !127).checked_sub(128);
    let from_end = place.map(|place| (device.0 - place) * 512);
    let at = from_end
        .and_then(|bytes| usize::try_from(bytes).ok())
        .and_then(|bytes| tail.len().checked_sub(bytes));
    let magic = |at: usize| tail.get(at..at + 8) == Some(&[&MD_MAGIC[..], &[0; 4]].concat()[..]);
    at.is_some_and(magic)
}

fn is_ddf(tail: &[u8]) -> bool {
    let at = |sectors: usize| tail.len().checked_sub(sectors * 512);
    [1, 257]
        .into_iter()
        .filter_map(at)
        .any(|at| tail[at..].starts_with(&DDF_MAGIC))
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
    fn images_of_any_length_are_looked_at() {
        for length in [0_usize, 1, 511, 512, 513, 4096, 70_000, 131_072, 140_000] {
            for byte in [0_u8, 0x11, 0xde, 0xff] {
                let image = vec![byte; length];
                let device = Sector(length as u64 / 512);
                let _ = foreign(
                    &image[..length.min(HEAD_BYTES)],
                    &image[length.saturating_sub(TAIL_BYTES)..],
                    device,
                );
            }
        }
    }
}
