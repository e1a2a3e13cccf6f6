//! The header that begins everything on a tape, as bytes: no I/O here.
//!
//! | bytes | field | bytes | field |
//! |---|---|---|---|
//! | 0 | type | 132 | inode flags |
//! | 4 | date of this dump, s | 144, 148 | owner, group |
//! | 8 | date of its base, s; 0 at level 0 | 160 | count of cells or blocks that follow |
//! | 12 | volume, from 1 | 164..676 | a byte a cell: 1 data, 0 hole |
//! | 16 | ordinal of this tape block | 676..692 | label |
//! | 20 | number of the inode | 692 | level |
//! | 24 | magic: 60012, 60011, 0x19540119 | 696, 760, 824 | file system, device, host: 64 each |
//! | 28 | checksum: all 256 words add up to 84446 | 888 | flags |
//! | 32, 34 | mode, links | 892 | blocks before this volume |
//! | 40 | size in bytes, u64 | 896 | blocking factor (Linux) |
//! | 48, 56, 64 | times of access, modification, change: s, µs | 900 | kind of extension (Linux) |
//! | 72 | device number | 928..1024 | free in all dialects: ours, see [`Private`] |
//!
//! The byte order is the writer's. UFS2 has 64-bit dates at 80 to 104 and 896 to 928, and nanoseconds; inodes
//! of the old form have their owners at 36 and 38; the format of before 4.2BSD has a layout of its own. Sources: `protocols/dumprestore.h` of dump 0.4b47, FreeBSD 14 and 4.3BSD, and tapes.

mod layout;
mod private;

pub use self::private::{ImageFacts, Private};
use super::TAPE_BLOCK_BYTES;

/// Most cells that one header tells of.
pub const CELLS_MAX: usize = 512;

/// Bit of [`Header::flags`] that every modern header has: inode in the new form.
pub const FLAG_NEW_INODE: u32 = 2;
/// Bit of [`Header::flags`] in the label of a volume: the header is of the newest form.
pub const FLAG_NEW_HEADER: u32 = 1;
/// Bit of [`Header::flags`]: records after the first are compressed.
pub const FLAG_COMPRESSED: u32 = 0x80;
/// Bit of [`Header::flags`]: only the metadata of a file follows.
pub const FLAG_METADATA_ONLY: u32 = 0x100;
/// Bit of [`Header::flags`]: extended attributes follow, not data.
pub const FLAG_EXTENDED: u32 = 0x8000;
/// [`Header::extension`] of a block of extended attributes as ext2 has them.
pub const EXTENSION_ATTRIBUTES: u32 = 3;

/// [`Header::extension`] of a block of one attribute that is too long for that, behind the end of the dump.
pub const EXTENSION_TRAILING: u32 = 0x4853_0001;

/// What [`Private::offset_bytes`] of an end says where such blocks follow; another end behind them says how many they were.
pub const TRAILING_FOLLOW: u64 = u64::MAX;

/// A tape block.
pub type TapeBlock = [u8; TAPE_BLOCK_BYTES];

/// What a header begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A volume.
    Tape,
    /// An object: its first segment.
    Inode,
    /// The map of numbers that are on this tape.
    Bits,
    /// A further segment of the object before it.
    Address,
    /// Nothing: the dump ends.
    End,
    /// The map of numbers that are in use.
    Clear,
}

/// Which program's layout a header has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Magic 60012: 4.4BSD, Linux, ONTAP.
    #[default]
    Standard,
    /// FreeBSD's for UFS2.
    Ufs2,
    /// Magic 60012 with inodes of the old form: 4.2 and 4.3BSD. Owners are 16 bits, directories have no types.
    Bsd43,
    /// Magic 60011: before 4.2BSD.
    Old,
}

/// A moment, as tapes count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
}

impl Time {
    /// A moment of so many nanoseconds since 1970.
    #[must_use]
    pub fn of_ns(ns: i64) -> Self {
        Self {
            seconds: ns.div_euclid(1_000_000_000),
            nanoseconds: u32::try_from(ns.rem_euclid(1_000_000_000)).unwrap_or(0),
        }
    }

    /// Nanoseconds since 1970; the nearest that can be told.
    #[must_use]
    pub fn ns(self) -> i64 {
        let seconds = self.seconds.saturating_mul(1_000_000_000);
        seconds.saturating_add(self.nanoseconds.into())
    }

    /// True where a tape's 32 bits of seconds hold it.
    #[must_use]
    pub fn is_tellable(self) -> bool {
        u32::try_from(self.seconds).is_ok()
    }
}

/// Facts about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Node {
    /// Type and permissions, as `st_mode` has them.
    pub mode: u16,
    /// Count of names.
    pub links: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Last access.
    pub accessed: Time,
    /// Last modification.
    pub modified: Time,
    /// Last change of the inode; not in UFS2.
    pub changed: Time,
    /// Number of a device, the low 32 bits of what the C library makes of major and minor.
    pub device: u32,
    /// Flags of the inode, as `chattr` or `chflags` has them.
    pub flags: u32,
}

/// What a volume says of its dump.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// Name of the dump, at most 15 bytes.
    pub label: Vec<u8>,
    /// Level.
    pub level: i32,
    /// Mount point of what was dumped, at most 63 bytes.
    pub filesystem: Vec<u8>,
    /// Device it is on.
    pub device: Vec<u8>,
    /// Host it is on.
    pub host: Vec<u8>,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it begins.
    pub kind: Kind,
    /// Layout that it had.
    pub dialect: Dialect,
    /// True where it was written by a machine of the other byte order.
    pub big_endian: bool,
    /// Date of the dump, in seconds since 1970.
    pub date_s: i64,
    /// Date of its base; 0 at level 0.
    pub base_date_s: i64,
    /// Volume, from 1.
    pub volume: u32,
    /// Ordinal of this tape block in the dump.
    pub tape_block: u64,
    /// Number of the object; of a volume, the one that is in progress; of a map, the highest.
    pub number: u32,
    /// Facts about the object.
    pub node: Node,
    /// Cells of a segment, blocks of a map; of a volume, blocks that the object in progress still has.
    pub count: u32,
    /// A byte a cell; what is behind `count` means nothing.
    pub cells: [u8; CELLS_MAX],
    /// What a volume says of its dump.
    pub label: Label,
    /// See the constants.
    pub flags: u32,
    /// Blocks of the dump before this volume.
    pub first_block: u64,
    /// Blocking factor; 0 where it is not told.
    pub factor: u32,
    /// What follows where [`FLAG_EXTENDED`] is set.
    pub extension: u32,
    /// Bytes of extended attributes behind the data, in a form that is not read: UFS2's.
    pub untold_bytes: u32,
    /// Our own facts; none on tapes of others.
    pub private: Option<Private>,
}

/// Why a tape block is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It has no known magic number.
    #[error("magic number {0:#x}")]
    Magic(u32),
    /// Its words do not add up.
    #[error("the checksum is wrong")]
    Checksum,
    /// It begins nothing that is known.
    #[error("type {0}")]
    Kind(i32),
    /// It tells of more or fewer cells than can be.
    #[error("{0} cells")]
    Count(i32),
    /// No file is so long.
    #[error("a size of {0} bytes")]
    Size(u64),
}

impl Header {
    /// A header of the standard dialect without facts.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            dialect: Dialect::Standard,
            big_endian: false,
            date_s: 0,
            base_date_s: 0,
            volume: 1,
            tape_block: 0,
            number: 0,
            node: Node::default(),
            count: 0,
            cells: [0; CELLS_MAX],
            label: Label::default(),
            flags: FLAG_NEW_INODE,
            first_block: 0,
            factor: 0,
            extension: 0,
            untold_bytes: 0,
            private: None,
        }
    }

    /// Reads a header of any dialect and byte order.
    ///
    /// # Errors
    /// The first [`Flaw`] of a block that is none.
    pub fn decode(block: &TapeBlock) -> Result<Self, Flaw> {
        let header = layout::decode(block)?;
        let sized = matches!(header.kind, Kind::Inode | Kind::Address);
        if sized && i64::try_from(header.node.size_bytes).is_err() {
            return Err(Flaw::Size(header.node.size_bytes));
        }
        Ok(header)
    }

    /// True where these four bytes at offset 24 of a block may be those of a header.
    #[must_use]
    pub fn is_magic(magic: [u8; 4]) -> bool {
        layout::is_magic(magic)
    }

    /// The header as bytes of the standard dialect, little-endian, with its checksum. Texts and times that are too long
    /// for it are cut.
    #[must_use]
    pub fn encode(&self) -> TapeBlock {
        layout::encode(self)
    }

    /// How many tape blocks follow that belong to this header.
    #[must_use]
    pub fn blocks(&self) -> usize {
        let count = self.count as usize;
        match self.kind {
            Kind::Bits | Kind::Clear => count,
            Kind::Inode | Kind::Address if self.flags & FLAG_EXTENDED != 0 => count,
            Kind::Inode | Kind::Address => self.cells().iter().filter(|cell| **cell != 0).count(),
            Kind::Tape | Kind::End => 0,
        }
    }

    /// The cells it tells of.
    #[must_use]
    pub fn cells(&self) -> &[u8] {
        self.cells.get(..self.count as usize).unwrap_or(&self.cells)
    }
}

#[cfg(test)]
mod tests;
