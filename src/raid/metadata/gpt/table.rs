//! The bytes of a partition table: two headers, two arrays of entries, a protective MBR.
//!
//! Decoding takes either copy where the other is damaged, and says what is wrong with it; encoding makes both. Nothing
//! that a header says about places is believed: both copies stand where they have to for their size.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout,
    little_endian::{U16, U32, U64},
};

use super::{ALIGNMENT, ENTRIES, Gpt, Guid, HEAD_BYTES, Partition, PartitionName, TAIL_BYTES};
use crate::raid::{Sector, metadata::superblock::Area};

const SIGNATURE: [u8; 8] = *b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const ENTRY_BYTES: usize = size_of::<Entry>();
const TABLE_BYTES: usize = ENTRIES * ENTRY_BYTES;
/// Sectors of the entries.
const TABLE_SECTORS: u64 = (TABLE_BYTES / 512) as u64;
const MBR_ENTRY_AT: usize = 446;
const PROTECTIVE: u8 = 0xee;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Header {
    signature: [u8; 8], // 0
    revision: U32,      // 8
    size: U32,          // 12
    crc: U32,           // 16
    reserved: U32,      // 20
    own_place: U64,     // 24
    other_place: U64,   // 32
    first_usable: U64,  // 40
    last_usable: U64,   // 48
    disk: [u8; 16],     // 56
    entries_place: U64, // 72
    entries: U32,       // 80
    entry_bytes: U32,   // 84
    entries_crc: U32,   // 88
}

const _: () = assert!(size_of::<Header>() == 92);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Clone, Copy)]
#[repr(C)]
struct Entry {
    kind: [u8; 16],  // 0
    id: [u8; 16],    // 16
    first: U64,      // 32
    last: U64,       // 40
    attributes: U64, // 48
    name: [U16; 36], // 56
}

const _: () = assert!(size_of::<Entry>() == 128);

/// What is wrong with one copy of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GptDamage {
    /// There is none.
    #[error("no GPT header in sector {sector}")]
    Absent {
        /// Where it was looked for.
        sector: u64,
    },
    /// Header or entries are not what was written.
    #[error("GPT {part} of the header in sector {sector} has CRC {stored:#010x}, but its bytes have {computed:#010x}")]
    Checksum {
        /// `header` or `entries`.
        part: &'static str,
        /// Where the header is.
        sector: u64,
        /// As stored.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A field of a header cannot be right, or is of a table of another shape.
    #[error("GPT header in sector {sector}: {field} is {value}: {reason}")]
    Field {
        /// Where the header is.
        sector: u64,
        /// Its name.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        reason: &'static str,
    },
    /// A partition cannot be where the table has it.
    #[error("GPT partition {number} of sectors {first} to {last} {reason}")]
    Partition {
        /// Its number, from 1.
        number: usize,
        /// First sector.
        first: u64,
        /// Last sector.
        last: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// Both copies are whole but say different things; the first was taken.
    #[error("the two copies of the GPT differ")]
    Differ,
}

/// A table and what is wrong with the copy that it was not taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The table.
    pub gpt: Gpt,
    /// Damage that writing the table back mends.
    pub damage: Option<GptDamage>,
}

/// Both ends of an encoded table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GptBytes {
    /// [`HEAD_BYTES`] for the start of the image.
    pub head: Vec<u8>,
    /// [`TAIL_BYTES`] for its end.
    pub tail: Vec<u8>,
}

/// Sectors that partitions may take on an image of `device` sectors, which holds both copies.
pub(super) fn usable(device: Sector) -> Area {
    let start = 2 + TABLE_SECTORS;
    Area {
        start: Sector(start),
        length: Sector(device.0 - TABLE_SECTORS - 1 - start),
    }
}

impl Gpt {
    /// Decodes the table of an image of `device` sectors from its first [`HEAD_BYTES`] and its last [`TAIL_BYTES`].
    ///
    /// # Errors
    /// [`GptDamage`] of the first copy where neither is whole.
    pub fn decode(head: &[u8], tail: &[u8], device: Sector) -> Result<Found, GptDamage> {
        if head.len() < HEAD_BYTES || tail.len() < TAIL_BYTES || device.0 < 3 * ALIGNMENT.0 {
            return Err(GptDamage::Absent { sector: 1 });
        }
        let boot_code: [u8; 446] = head[..446].try_into().expect("446 bytes");
        let tail = &tail[tail.len() - TAIL_BYTES..];
        let end = device.0 - 1;
        let first = decode_copy(&head[512..1024], &head[1024..HEAD_BYTES], 1, end, 2, device, boot_code);
        let second = decode_copy(
            &tail[TABLE_BYTES..],
            &tail[..TABLE_BYTES],
            end,
            1,
            end - TABLE_SECTORS,
            device,
            boot_code,
        );
        match (first, second) {
            (Ok(gpt), Ok(other)) => Ok(Found {
                damage: (gpt != other).then_some(GptDamage::Differ),
                gpt,
            }),
            (Ok(gpt), Err(damage)) | (Err(damage), Ok(gpt)) => Ok(Found {
                gpt,
                damage: Some(damage),
            }),
            (Err(damage), Err(_)) => Err(damage),
        }
    }

    /// Encodes both copies and the protective MBR.
    pub fn encode(&self) -> GptBytes {
        let entries = self.entry_bytes();
        let end = self.device.0 - 1;
        let mut head = self.mbr();
        head.extend(self.header(1, end, 2, &entries));
        head.extend(&entries);
        let mut tail = entries.clone();
        tail.extend(self.header(end, 1, end - TABLE_SECTORS, &entries));
        GptBytes { head, tail }
    }

    fn entry_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TABLE_BYTES);
        for entry in &self.entries {
            let stored = entry.as_ref().map(|partition| Entry {
                kind: partition.kind.0,
                id: partition.id.0,
                first: partition.area.start.0.into(),
                last: (partition.area.end().0 - 1).into(),
                attributes: partition.attributes.into(),
                name: partition.name.0.map(U16::new),
            });
            bytes.extend(stored.map_or([0; ENTRY_BYTES], |stored| zerocopy::transmute!(stored)));
        }
        bytes
    }

    fn header(&self, own_place: u64, other_place: u64, entries_place: u64, entries: &[u8]) -> [u8; 512] {
        let mut header = Header {
            signature: SIGNATURE,
            revision: REVISION.into(),
            size: 92.into(),
            crc: 0.into(),
            reserved: 0.into(),
            own_place: own_place.into(),
            other_place: other_place.into(),
            first_usable: self.usable.start.0.into(),
            last_usable: (self.usable.end().0 - 1).into(),
            disk: self.disk.0,
            entries_place: entries_place.into(),
            entries: 128.into(),
            entry_bytes: 128.into(),
            entries_crc: crc32fast::hash(entries).into(),
        };
        header.crc = crc32fast::hash(header.as_bytes()).into();
        let mut sector = [0; 512];
        sector[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        sector
    }

    fn mbr(&self) -> Vec<u8> {
        let mut sector = self.boot_code.to_vec();
        sector.resize(512, 0);
        let sectors = u32::try_from(self.device.0 - 1).unwrap_or(u32::MAX);
        let entry = &mut sector[MBR_ENTRY_AT..MBR_ENTRY_AT + 16];
        entry[..8].copy_from_slice(&[0, 0, 2, 0, PROTECTIVE, 0xff, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&1_u32.to_le_bytes());
        entry[12..].copy_from_slice(&sectors.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }
}

/// True where sector 0 holds a partition table of the old kind with a partition in it that is not protective.
pub fn has_dos_partitions(head: &[u8]) -> bool {
    let Some(sector) = head.get(..512).filter(|sector| sector[510..] == [0x55, 0xaa]) else {
        return false;
    };
    let kinds = sector[MBR_ENTRY_AT..510].chunks_exact(16).map(|entry| entry[4]);
    let mut kinds = kinds.filter(|&kind| kind != 0).peekable();
    kinds.peek().is_some() && kinds.all(|kind| kind != PROTECTIVE)
}

fn decode_copy(
    sector: &[u8],
    entries: &[u8],
    own_place: u64,
    other_place: u64,
    entries_place: u64,
    device: Sector,
    boot_code: [u8; 446],
) -> Result<Gpt, GptDamage> {
    let absent = GptDamage::Absent { sector: own_place };
    let Ok((header, _)) = Header::read_from_prefix(sector) else {
        return Err(absent);
    };
    if header.signature != SIGNATURE {
        return Err(absent);
    }
    check_header(&header, sector, own_place)?;
    for (field, found, expected) in [
        ("MyLBA", header.own_place.get(), own_place),
        ("PartitionEntryLBA", header.entries_place.get(), entries_place),
        (
            "NumberOfPartitionEntries",
            u64::from(header.entries.get()),
            ENTRIES as u64,
        ),
        (
            "SizeOfPartitionEntry",
            u64::from(header.entry_bytes.get()),
            ENTRY_BYTES as u64,
        ),
    ] {
        if found != expected {
            return Err(GptDamage::Field {
                sector: own_place,
                field,
                value: found,
                reason: "it is not that of a table of 128 entries at both ends of this image",
            });
        }
    }
    // The first copy of an image that was made larger still names the old end.
    let other = header.other_place.get();
    if other != other_place && (own_place != 1 || other > other_place || other <= header.last_usable.get()) {
        return Err(GptDamage::Field {
            sector: own_place,
            field: "AlternateLBA",
            value: other,
            reason: "the other copy cannot be there",
        });
    }
    let computed = crc32fast::hash(entries);
    if header.entries_crc.get() != computed {
        return Err(GptDamage::Checksum {
            part: "entries",
            sector: own_place,
            stored: header.entries_crc.get(),
            computed,
        });
    }
    let area = check_usable(&header, own_place, device)?;
    Ok(Gpt {
        disk: Guid(header.disk),
        device,
        usable: area,
        boot_code,
        entries: decode_entries(entries, area)?,
    })
}

fn check_header(header: &Header, sector: &[u8], place: u64) -> Result<(), GptDamage> {
    let field = |field, value: u32, reason| {
        Err(GptDamage::Field {
            sector: place,
            field,
            value: value.into(),
            reason,
        })
    };
    if header.revision.get() != REVISION {
        return field("Revision", header.revision.get(), "only 1.0 is known");
    }
    if header.size.get() != 92 {
        return field("HeaderSize", header.size.get(), "it is 92 bytes in revision 1.0");
    }
    let mut zeroed = *header;
    zeroed.crc = 0.into();
    let computed = crc32fast::hash(zeroed.as_bytes());
    if header.crc.get() != computed {
        return Err(GptDamage::Checksum {
            part: "header",
            sector: place,
            stored: header.crc.get(),
            computed,
        });
    }
    if header.reserved.get() != 0 || sector[size_of::<Header>()..].iter().any(|&byte| byte != 0) {
        return field("Reserved", header.reserved.get(), "the rest of the sector is 0");
    }
    Ok(())
}

fn check_usable(header: &Header, place: u64, device: Sector) -> Result<Area, GptDamage> {
    let all = usable(device);
    let (first, last) = (header.first_usable.get(), header.last_usable.get());
    if first < all.start.0 || last >= all.end().0 || first > last {
        return Err(GptDamage::Field {
            sector: place,
            field: "LastUsableLBA",
            value: last,
            reason: "the usable sectors do not lie between the two copies",
        });
    }
    Ok(Area {
        start: Sector(first),
        length: Sector(last + 1 - first),
    })
}

fn decode_entries(bytes: &[u8], usable: Area) -> Result<Vec<Option<Partition>>, GptDamage> {
    let mut entries: Vec<Option<Partition>> = Vec::with_capacity(ENTRIES);
    for (index, bytes) in bytes.chunks_exact(ENTRY_BYTES).enumerate() {
        let entry = Entry::read_from_bytes(bytes).expect("an entry's bytes");
        if Guid(entry.kind).is_zero() {
            entries.push(None);
            continue;
        }
        let (first, last) = (entry.first.get(), entry.last.get());
        let damage = |reason| GptDamage::Partition {
            number: index + 1,
            first,
            last,
            reason,
        };
        if first > last || first < usable.start.0 || last >= usable.end().0 {
            return Err(damage("is not inside the usable sectors"));
        }
        let area = Area {
            start: Sector(first),
            length: Sector(last + 1 - first),
        };
        if entries.iter().flatten().any(|other| other.area.overlaps(area)) {
            return Err(damage("overlaps another"));
        }
        entries.push(Some(Partition {
            kind: Guid(entry.kind),
            id: Guid(entry.id),
            area,
            attributes: entry.attributes.get(),
            name: PartitionName(entry.name.map(U16::get)),
        }));
    }
    Ok(entries)
}
