//! One file of simulated storage: what programs see, and what the disk would still have after a power loss.
//!
//! It keeps what is live beside what is durable, sector by sector, and knows what a crash may make of the two.

use std::{collections::BTreeSet, fs::File, io, ops::Range, os::unix::fs::FileExt as _, time::SystemTime};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::Errno,
};

use super::chance::Chance;
use crate::storage::{Access, EntryKind, Mapping, Span, Stat};

/// What a disk writes as a whole.
pub const SECTOR_BYTES: usize = 512;

/// Unit of space.
pub const BLOCK_BYTES: u64 = 4096;

/// Largest file.
pub const SIZE_MAX_BYTES: u64 = 1 << 30;

/// A file.
#[derive(Debug)]
pub(super) struct Contents {
    live: Live,
    durable: Vec<u8>,
    /// Blocks that have space on the disk.
    blocks: BTreeSet<u64>,
    pub modified: SystemTime,
    /// True where a handle holds the advisory lock.
    pub locked: bool,
    claims: Vec<Claim>,
}

/// A range that a handle has claimed.
#[derive(Debug)]
pub(super) struct Claim {
    pub handle: u64,
    pub range: Range<u64>,
    /// True for writing.
    pub alone: bool,
}

/// What programs see. A file that was never mapped needs no descriptor.
#[derive(Debug)]
enum Live {
    Bytes(Vec<u8>),
    /// A memory file, so that mappings see writes and the reverse.
    Shared(File),
}

impl Contents {
    /// An empty file, of which nothing is durable.
    pub fn new(modified: SystemTime) -> Self {
        let (live, durable) = (Live::Bytes(Vec::new()), Vec::new());
        Self {
            live,
            durable,
            blocks: BTreeSet::new(),
            modified,
            locked: false,
            claims: Vec::new(),
        }
    }

    /// A file whose bytes are all durable.
    pub fn durable(bytes: &[u8], modified: SystemTime) -> Self {
        let blocks = blocks_of(0, bytes.len() as u64).collect();
        Self {
            live: Live::Bytes(bytes.to_vec()),
            durable: bytes.to_vec(),
            blocks,
            modified,
            locked: false,
            claims: Vec::new(),
        }
    }

    /// Claims a range for a handle.
    ///
    /// # Errors
    /// `EWOULDBLOCK` where another handle's claim does not go with it.
    pub fn claim(&mut self, claim: Claim) -> io::Result<()> {
        let clashes = |other: &Claim| {
            let overlap = other.range.start < claim.range.end && claim.range.start < other.range.end;
            other.handle != claim.handle && overlap && (other.alone || claim.alone)
        };
        if self.claims.iter().any(clashes) {
            return Err(Errno::WOULDBLOCK.into());
        }
        self.claims.push(claim);
        Ok(())
    }

    /// Gives up what a handle has claimed.
    pub fn release(&mut self, handle: u64) {
        self.claims.retain(|claim| claim.handle != handle);
    }

    pub fn size_bytes(&self) -> io::Result<u64> {
        match &self.live {
            Live::Bytes(bytes) => Ok(bytes.len() as u64),
            Live::Shared(file) => Ok(file.metadata()?.len()),
        }
    }

    /// Reads up to the end of the buffer or of the file.
    pub fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
        let size = self.size_bytes()?;
        let left = usize::try_from(size.saturating_sub(offset_bytes)).map_err(|_| Errno::FBIG)?;
        let length = left.min(buffer.len());
        if length == 0 {
            return Ok(0);
        }
        match &self.live {
            Live::Bytes(bytes) => {
                let start = usize::try_from(offset_bytes).map_err(|_| Errno::FBIG)?;
                buffer[..length].copy_from_slice(&bytes[start..start + length]);
            }
            Live::Shared(file) => file.read_exact_at(&mut buffer[..length], offset_bytes)?,
        }
        Ok(length)
    }

    /// All bytes.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size_bytes()?).map_err(|_| Errno::FBIG)?];
        let length = self.read_at(&mut bytes, 0)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Writes as much as `blocks_free` blocks of space allow.
    ///
    /// # Errors
    /// `ENOSPC` where that is not all; what fits is written.
    pub fn write_all_at(&mut self, bytes: &[u8], offset_bytes: u64, blocks_free: u64) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = checked_end(offset_bytes, bytes.len() as u64)?;
        let fits_bytes = self.allocate(offset_bytes, end, blocks_free) - offset_bytes;
        let fits = usize::try_from(fits_bytes).map_err(|_| Errno::FBIG)?;
        self.write(&bytes[..fits], offset_bytes)?;
        if fits == bytes.len() {
            Ok(())
        } else {
            Err(Errno::NOSPC.into())
        }
    }

    /// Takes space for a range.
    ///
    /// # Errors
    /// `ENOSPC` where there is not enough; space is taken as far as it goes, as on a host.
    pub fn reserve(&mut self, offset_bytes: u64, length_bytes: u64, blocks_free: u64) -> io::Result<()> {
        let end = checked_end(offset_bytes, length_bytes)?;
        if self.allocate(offset_bytes, end, blocks_free) == end {
            Ok(())
        } else {
            Err(Errno::NOSPC.into())
        }
    }

    /// Makes zeros of a range inside the file and gives back the space of the blocks that are wholly in it.
    pub fn punch(&mut self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let end = checked_end(offset_bytes, length_bytes)?.min(self.size_bytes()?);
        if end <= offset_bytes {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(end - offset_bytes).map_err(|_| Errno::FBIG)?];
        self.write(&zeros, offset_bytes)?;
        let whole = offset_bytes.div_ceil(BLOCK_BYTES)..end / BLOCK_BYTES;
        self.blocks.retain(|block| !whole.contains(block));
        Ok(())
    }

    /// What stands at an offset, in whole blocks.
    pub fn span_at(&self, offset_bytes: u64) -> io::Result<Option<Span>> {
        let size_bytes = self.size_bytes()?;
        if offset_bytes >= size_bytes {
            return Ok(None);
        }
        let first = offset_bytes / BLOCK_BYTES;
        let hole = !self.blocks.contains(&first);
        let beyond = if hole {
            self.blocks.range(first..).next().copied()
        } else {
            (first..).find(|block| !self.blocks.contains(block))
        };
        let end_bytes = beyond.map_or(size_bytes, |block| (block * BLOCK_BYTES).min(size_bytes));
        Ok(Some(Span { hole, end_bytes }))
    }

    /// Cuts or extends; space behind the new end is given back.
    pub fn set_size(&mut self, size_bytes: u64) -> io::Result<()> {
        checked_end(size_bytes, 0)?;
        match &mut self.live {
            Live::Bytes(bytes) => bytes.resize(usize::try_from(size_bytes).map_err(|_| Errno::FBIG)?, 0),
            Live::Shared(file) => file.set_len(size_bytes)?,
        }
        let kept = size_bytes.div_ceil(BLOCK_BYTES);
        self.blocks.retain(|block| *block < kept);
        Ok(())
    }

    /// Makes what programs see durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.durable = self.bytes()?;
        Ok(())
    }

    /// Maps the head of the file; from now on it lives in a memory file.
    pub fn map(&mut self, length_bytes: usize, access: Access) -> io::Result<Mapping> {
        if let Live::Bytes(bytes) = &self.live {
            let file = File::from(memfd_create("headstack-sim", MemfdFlags::CLOEXEC)?);
            file.write_all_at(bytes, 0)?;
            self.live = Live::Shared(file);
        }
        match &self.live {
            Live::Shared(file) => Mapping::new(file, length_bytes, access),
            Live::Bytes(_) => unreachable!("a mapped file lives in a memory file"),
        }
    }

    pub fn stat(&self) -> io::Result<Stat> {
        Ok(Stat {
            kind: EntryKind::File,
            size_bytes: self.size_bytes()?,
            allocated_bytes: self.blocks_used() * BLOCK_BYTES,
            modified: self.modified,
        })
    }

    pub fn blocks_used(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// True where bytes were stored through a mapping to a block that has no space: on a full disk they would be lost.
    pub fn has_unreserved_stores(&self) -> io::Result<bool> {
        let bytes = self.bytes()?;
        let blocks = (0..).zip(bytes.chunks(usize::try_from(BLOCK_BYTES).map_err(|_| Errno::FBIG)?));
        let mut unreserved = blocks.filter(|(block, _)| !self.blocks.contains(block));
        Ok(unreserved.any(|(_, bytes)| bytes.iter().any(|byte| *byte != 0)))
    }

    /// The same file on another disk: as it is, nothing more durable than before.
    pub fn copied(&self) -> io::Result<Self> {
        Ok(Self {
            live: Live::Bytes(self.bytes()?),
            durable: self.durable.clone(),
            blocks: self.blocks.clone(),
            modified: self.modified,
            locked: false,
            claims: Vec::new(),
        })
    }

    /// The file after a power loss: each sector and the size come out old or new.
    pub fn crashed(&self, chance: &mut Chance) -> io::Result<Self> {
        let live = self.bytes()?;
        let size = if chance.coin() { live.len() } else { self.durable.len() };
        let coin = chance.loaded_coin();
        let mut bytes = vec![0; size];
        for (number, sector) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
            let range = number * SECTOR_BYTES..number * SECTOR_BYTES + sector.len();
            let (old, new) = (part(&self.durable, &range), part(&live, &range));
            let survivor = if old != new && coin.throw(chance) { new } else { old };
            sector[..survivor.len()].copy_from_slice(survivor);
        }
        let mut crashed = Self::durable(&bytes, self.modified);
        crashed.blocks.extend(&self.blocks);
        Ok(crashed)
    }

    fn write(&mut self, bytes: &[u8], offset_bytes: u64) -> io::Result<()> {
        match &mut self.live {
            Live::Shared(file) => file.write_all_at(bytes, offset_bytes),
            Live::Bytes(_) if bytes.is_empty() => Ok(()),
            Live::Bytes(live) => {
                let start = usize::try_from(offset_bytes).map_err(|_| Errno::FBIG)?;
                let end = start + bytes.len();
                if live.len() < end {
                    live.resize(end, 0);
                }
                live[start..end].copy_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Takes space for a range as far as it goes; returns where the range ends that has it.
    fn allocate(&mut self, offset_bytes: u64, end_bytes: u64, mut blocks_free: u64) -> u64 {
        for block in blocks_of(offset_bytes, end_bytes) {
            if self.blocks.contains(&block) {
                continue;
            }
            if blocks_free == 0 {
                return (block * BLOCK_BYTES).max(offset_bytes);
            }
            self.blocks.insert(block);
            blocks_free -= 1;
        }
        end_bytes
    }
}

/// Blocks that a range touches.
fn blocks_of(offset_bytes: u64, end_bytes: u64) -> Range<u64> {
    offset_bytes / BLOCK_BYTES..end_bytes.div_ceil(BLOCK_BYTES)
}

/// Blocks that contents of a length need.
pub(super) fn blocks_for(length_bytes: usize) -> u64 {
    (length_bytes as u64).div_ceil(BLOCK_BYTES)
}

/// End of a range that a file can have.
fn checked_end(offset_bytes: u64, length_bytes: u64) -> io::Result<u64> {
    let end = offset_bytes
        .checked_add(length_bytes)
        .filter(|end| *end <= SIZE_MAX_BYTES);
    end.ok_or_else(|| Errno::FBIG.into())
}

/// The part of a range that bytes have.
fn part<'a>(bytes: &'a [u8], range: &Range<usize>) -> &'a [u8] {
    &bytes[range.start.min(bytes.len())..range.end.min(bytes.len())]
}
