//! Layouts of headers, byte by byte, and their way to and from [`Header`].
//!
//! A header of the other byte order is first turned around by its layout ([`turned`]), so there is one struct a
//! dialect, little-endian.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{I16, I32, I64, U16, U32, U64},
};

use super::{CELLS_MAX, Dialect, FLAG_NEW_INODE, Flaw, Header, Kind, Label, Node, Private, TapeBlock, Time};

/// All words of a header add up to this.
const SUM: u32 = 84446;
const MAGIC_STANDARD: u32 = 60012;
const MAGIC_OLD: u32 = 60011;
const MAGIC_UFS2: u32 = 0x1954_0119;
/// Flags of `chflags`, by the user and by the administrator, and what `chattr` has for them: immutable, append, nodump.
const FLAGS_UFS2: [(u32, u32); 3] = [(0x2_0002, 0x10), (0x4_0004, 0x20), (1, 0x40)];

/// Header of the standard dialect.
#[derive(Debug, Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Raw {
    /* 0 */ kind: I32,
    /* 4 */ date: I32,
    /* 8 */ base_date: I32,
    /* 12 */ volume: I32,
    /* 16 */ tape_block: U32,
    /* 20 */ number: U32,
    /* 24 */ magic: U32,
    /* 28 */ checksum: U32,
    /* 32 */ mode: U16,
    /* 34 */ links: I16,
    /* 36 */ old_owners: [U16; 2],
    /* 40 */ size: U64,
    /* 48 */ times: [[U32; 2]; 3],
    /* 72 */ device: U32,
    /* 76 */ blocks: [U32; 14],
    /* 132 */ flags_of_inode: U32,
    /* 136 */ blocks_held: [U32; 2],
    /* 144 */ uid: U32,
    /* 148 */ gid: U32,
    /* 152 */ spare: [U32; 2],
    /* 160 */ count: I32,
    /* 164 */ cells: [u8; CELLS_MAX],
    /* 676 */ label: [u8; 16],
    /* 692 */ level: I32,
    /* 696 */ filesystem: [u8; 64],
    /* 760 */ device_name: [u8; 64],
    /* 824 */ host: [u8; 64],
    /* 888 */ flags: U32,
    /* 892 */ first_block: U32,
    /* 896 */ factor: U32,
    /* 900 */ extension: U32,
    /* 904 */ unused: [U32; 6],
    /* 928 */ private: [u8; 96],
}

/// What UFS2 has at 76 to 108 of the inode.
#[derive(Debug, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawUfs2Times {
    /* 76 */ born_ns: U32,
    /* 80 */ born: I64,
    /* 88 */ accessed: I64,
    /* 96 */ modified: I64,
    /* 104 */ extension_bytes: U32,
}

/// What UFS2 has at 896 to 928.
#[derive(Debug, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawUfs2Tail {
    /* 896 */ date: I64,
    /* 904 */ base_date: I64,
    /* 912 */ tape_block: I64,
    /* 920 */ first_block: I64,
}

/// Header of before 4.2BSD.
#[derive(Debug, FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawOld {
    /* 0 */ kind: I32,
    /* 4 */ date: I32,
    /* 8 */ base_date: I32,
    /* 12 */ volume: I32,
    /* 16 */ tape_block: U32,
    /* 20 */ number: U16,
    /* 22 */ padding: U16,
    /* 24 */ magic: U32,
    /* 28 */ checksum: U32,
    /* 32 */ mode: U16,
    /* 34 */ links: U16,
    /* 36 */ uid: U16,
    /* 38 */ gid: U16,
    /* 40 */ size: U32,
    /* 44 */ device: U32,
    /* 48 */ blocks: [u8; 36],
    /* 84 */ times: [I32; 3],
    /* 96 */ count: I32,
    /* 100 */ cells: [u8; 256],
    /* 356 */ rest: [u8; 668],
}

const _: () = assert!(size_of::<Raw>() == 1024 && size_of::<RawOld>() == 1024);
const _: () = assert!(size_of::<RawUfs2Times>() == 32);
const _: () = assert!(size_of::<RawUfs2Tail>() == 32);

/// Adds up the words of a block.
fn sum(block: &TapeBlock) -> u32 {
    let words = block.chunks_exact(4).map(|word| {
        let word: [u8; 4] = word.try_into().unwrap_or_default();
        u32::from_le_bytes(word)
    });
    words.fold(0, u32::wrapping_add)
}

/// Turns every field of `widths` (offsets and widths of runs of numbers) around.
fn turned(block: &TapeBlock, runs: &[(usize, usize, usize)]) -> TapeBlock {
    let mut turned = *block;
    for (from, to, width) in runs {
        let run = turned.get_mut(*from..*to).unwrap_or_default();
        run.chunks_exact_mut(*width).for_each(<[u8]>::reverse);
    }
    turned
}

/// Numbers of the standard layout: from, to, width.
const RUNS: &[(usize, usize, usize)] = &[
    (0, 32, 4),
    (32, 40, 2),
    (40, 48, 8),
    (48, 164, 4),
    (692, 696, 4),
    (888, 928, 4),
];
const RUNS_UFS2: &[(usize, usize, usize)] = &[
    (0, 32, 4),
    (32, 40, 2),
    (40, 48, 8),
    (48, 80, 4),
    (80, 104, 8),
    (104, 164, 4),
    (692, 696, 4),
    (888, 896, 4),
    (896, 928, 8),
];
const RUNS_OLD: &[(usize, usize, usize)] = &[
    (0, 20, 4),
    (20, 24, 2),
    (24, 32, 4),
    (32, 40, 2),
    (40, 48, 4),
    (84, 100, 4),
];

/// True for the magic number of any dialect, in either byte order.
pub(super) fn is_magic(magic: [u8; 4]) -> bool {
    let known = [MAGIC_STANDARD, MAGIC_UFS2, MAGIC_OLD];
    known.contains(&u32::from_le_bytes(magic)) || known.contains(&u32::from_be_bytes(magic))
}

pub(super) fn decode(block: &TapeBlock) -> Result<Header, Flaw> {
    let magic: [u8; 4] = [block[24], block[25], block[26], block[27]];
    let known = |magic| match magic {
        MAGIC_STANDARD => Some((Dialect::Standard, RUNS)),
        MAGIC_UFS2 => Some((Dialect::Ufs2, RUNS_UFS2)),
        MAGIC_OLD => Some((Dialect::Old, RUNS_OLD)),
        _ => None,
    };
    let (little, big) = (u32::from_le_bytes(magic), u32::from_be_bytes(magic));
    let (dialect, runs, big_endian) = match (known(little), known(big)) {
        (Some((dialect, runs)), _) => (dialect, runs, false),
        (None, Some((dialect, runs))) => (dialect, runs, true),
        (None, None) => return Err(Flaw::Magic(little)),
    };
    // A machine adds up words of its own byte order.
    let words = if big_endian {
        turned(block, &[(0, 1024, 4)])
    } else {
        *block
    };
    if sum(&words) != SUM {
        return Err(Flaw::Checksum);
    }
    let block = if big_endian { turned(block, runs) } else { *block };
    let mut header = match dialect {
        Dialect::Old => of_old(&block)?,
        Dialect::Standard | Dialect::Bsd43 | Dialect::Ufs2 => of_standard(&block, dialect)?,
    };
    header.big_endian = big_endian;
    Ok(header)
}

fn kind_of(kind: i32) -> Result<Kind, Flaw> {
    Ok(match kind {
        1 => Kind::Tape,
        2 => Kind::Inode,
        3 => Kind::Bits,
        4 => Kind::Address,
        5 => Kind::End,
        6 => Kind::Clear,
        kind => return Err(Flaw::Kind(kind)),
    })
}

/// Checks a count; that of a map is bounded by the highest number there can be.
fn count_of(kind: Kind, count: i32, cells: usize) -> Result<u32, Flaw> {
    let counted = u32::try_from(count).map_err(|_| Flaw::Count(count))?;
    let limit = match kind {
        Kind::Inode | Kind::Address => cells,
        Kind::Bits | Kind::Clear => (1 << 19) - 1,
        Kind::Tape | Kind::End => return Ok(counted),
    };
    if counted as usize > limit {
        return Err(Flaw::Count(count));
    }
    Ok(counted)
}

fn of_standard(block: &TapeBlock, dialect: Dialect) -> Result<Header, Flaw> {
    let raw = Raw::ref_from_bytes(block).map_err(|_| Flaw::Checksum)?;
    let kind = kind_of(raw.kind.get())?;
    let time = |[seconds, micros]: &[U32; 2]| Time {
        seconds: seconds.get().into(),
        nanoseconds: micros.get().min(999_999) * 1000,
    };
    let [accessed, modified, changed] = &raw.times;
    let private = Private::decode(&raw.private);
    let mut header = Header {
        kind,
        dialect,
        big_endian: false,
        date_s: raw.date.get().into(),
        base_date_s: raw.base_date.get().into(),
        volume: u32::try_from(raw.volume.get()).unwrap_or(0),
        tape_block: raw.tape_block.get().into(),
        number: raw.number.get(),
        node: Node {
            mode: raw.mode.get(),
            links: u16::try_from(raw.links.get()).unwrap_or(0),
            uid: raw.uid.get(),
            gid: raw.gid.get(),
            size_bytes: raw.size.get(),
            accessed: time(accessed),
            modified: time(modified),
            changed: time(changed),
            // ext2 keeps numbers that its old form cannot tell in the next word.
            device: match (raw.device.get(), dialect) {
                (0, Dialect::Standard) => raw.blocks[0].get(),
                (device, _) => device,
            },
            flags: raw.flags_of_inode.get(),
        },
        count: count_of(kind, raw.count.get(), CELLS_MAX)?,
        cells: raw.cells,
        label: Label {
            label: text(&raw.label),
            level: raw.level.get(),
            filesystem: text(&raw.filesystem),
            device: text(&raw.device_name),
            host: text(&raw.host),
        },
        flags: raw.flags.get(),
        first_block: raw.first_block.get().into(),
        factor: raw.factor.get(),
        extension: raw.extension.get(),
        untold_bytes: 0,
        private,
    };
    if dialect == Dialect::Ufs2 {
        add_ufs2(&mut header, block);
    } else if header.flags & FLAG_NEW_INODE == 0 {
        let [uid, gid] = &raw.old_owners;
        header.dialect = Dialect::Bsd43;
        (header.node.uid, header.node.gid, header.node.flags) = (uid.get().into(), gid.get().into(), 0);
    }
    if let Some(private) = &header.private {
        header.node.accessed = Time::of_ns(private.accessed_ns);
        header.node.modified = Time::of_ns(private.modified_ns);
        header.node.changed = Time::of_ns(private.changed_ns);
    }
    Ok(header)
}

/// Takes what UFS2 keeps elsewhere.
fn add_ufs2(header: &mut Header, block: &TapeBlock) {
    let (Ok(times), Ok(tail)) = (
        RawUfs2Times::ref_from_bytes(&block[76..108]),
        RawUfs2Tail::ref_from_bytes(&block[896..928]),
    ) else {
        return;
    };
    let ns_at = |at: usize| U32::ref_from_bytes(&block[at..at + 4]).map_or(0, |ns| ns.get().min(999_999_999));
    header.node.links = 0;
    header.node.accessed = Time {
        seconds: times.accessed.get(),
        nanoseconds: ns_at(52),
    };
    header.node.modified = Time {
        seconds: times.modified.get(),
        nanoseconds: ns_at(60),
    };
    header.node.changed = header.node.modified;
    header.node.flags = FLAGS_UFS2
        .iter()
        .filter(|(theirs, _)| header.node.flags & theirs != 0)
        .fold(0, |flags, (_, ours)| flags | ours);
    header.untold_bytes = times.extension_bytes.get();
    header.date_s = tail.date.get();
    header.base_date_s = tail.base_date.get();
    header.tape_block = u64::try_from(tail.tape_block.get()).unwrap_or(0);
    header.first_block = u64::try_from(tail.first_block.get()).unwrap_or(0);
    // These bytes are part of the dates.
    (header.factor, header.extension) = (0, 0);
}

fn of_old(block: &TapeBlock) -> Result<Header, Flaw> {
    let raw = RawOld::ref_from_bytes(block).map_err(|_| Flaw::Checksum)?;
    let kind = kind_of(raw.kind.get())?;
    let mut header = Header::new(kind);
    let time = |seconds: I32| Time {
        seconds: seconds.get().into(),
        nanoseconds: 0,
    };
    header.dialect = Dialect::Old;
    header.date_s = raw.date.get().into();
    header.base_date_s = raw.base_date.get().into();
    header.volume = u32::try_from(raw.volume.get()).unwrap_or(0);
    header.tape_block = raw.tape_block.get().into();
    header.number = raw.number.get().into();
    header.count = count_of(kind, raw.count.get(), raw.cells.len())?;
    header.cells[..raw.cells.len()].copy_from_slice(&raw.cells);
    header.flags = 0;
    header.node = Node {
        mode: raw.mode.get(),
        links: raw.links.get(),
        uid: raw.uid.get().into(),
        gid: raw.gid.get().into(),
        size_bytes: raw.size.get().into(),
        accessed: time(raw.times[0]),
        modified: time(raw.times[1]),
        changed: time(raw.times[2]),
        device: raw.device.get(),
        flags: 0,
    };
    Ok(header)
}

/// Text up to its zero byte.
fn text(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// Puts text into a field that ends in a zero byte.
fn put_text<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let length = text.len().min(N - 1);
    field[..length].copy_from_slice(&text[..length]);
    field
}

pub(super) fn encode(header: &Header) -> TapeBlock {
    let saturated = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let seconds = |value: i64| i32::try_from(value.clamp(i32::MIN.into(), i32::MAX.into())).unwrap_or(0);
    let time = |time: Time| {
        let seconds = u32::try_from(time.seconds.clamp(0, u32::MAX.into())).unwrap_or(0);
        [U32::from(seconds), U32::from(time.nanoseconds / 1000)]
    };
    let narrow = |id: u32| U16::from(u16::try_from(id).unwrap_or(u16::MAX));
    let node = &header.node;
    let mut raw = Raw {
        kind: I32::from(match header.kind {
            Kind::Tape => 1,
            Kind::Inode => 2,
            Kind::Bits => 3,
            Kind::Address => 4,
            Kind::End => 5,
            Kind::Clear => 6,
        }),
        date: seconds(header.date_s).into(),
        base_date: seconds(header.base_date_s).into(),
        volume: i32::try_from(header.volume).unwrap_or(i32::MAX).into(),
        tape_block: saturated(header.tape_block).into(),
        number: header.number.into(),
        magic: MAGIC_STANDARD.into(),
        checksum: 0.into(),
        mode: node.mode.into(),
        links: i16::try_from(node.links).unwrap_or(i16::MAX).into(),
        old_owners: [narrow(node.uid), narrow(node.gid)],
        size: node.size_bytes.into(),
        times: [time(node.accessed), time(node.modified), time(node.changed)],
        device: node.device.into(),
        blocks: [0.into(); 14],
        flags_of_inode: node.flags.into(),
        blocks_held: [0.into(); 2],
        uid: node.uid.into(),
        gid: node.gid.into(),
        spare: [0.into(); 2],
        count: i32::try_from(header.count).unwrap_or(i32::MAX).into(),
        cells: header.cells,
        label: put_text(&header.label.label),
        level: header.label.level.into(),
        filesystem: put_text(&header.label.filesystem),
        device_name: put_text(&header.label.device),
        host: put_text(&header.label.host),
        flags: header.flags.into(),
        first_block: saturated(header.first_block).into(),
        factor: header.factor.into(),
        extension: header.extension.into(),
        unused: [0.into(); 6],
        private: [0; 96],
    };
    if let Some(private) = header.private.as_ref().map(Private::encode) {
        raw.private = private;
    }
    let mut block = [0; 1024];
    block.copy_from_slice(raw.as_bytes());
    let missing = SUM.wrapping_sub(sum(&block));
    block[28..32].copy_from_slice(&missing.to_le_bytes());
    block
}
