//! A dump as it comes from the tape: label, maps, directories, files, each with its data, across volumes and damage.
//!
//! Whatever the tape says, the reader goes on to the next header that belongs to this dump, and says what was lost on the
//! way: tape blocks that made no sense, segments whose checksum is wrong, objects that end too early.

mod blocks;

use std::path::PathBuf;

use self::blocks::{Blocks, Next};
use super::{
    TAPE_BLOCK_BYTES,
    error::{Error, Result, Trouble},
    inode_map::InodeMap,
    record::{FLAG_COMPRESSED, FLAG_EXTENDED, Header, Kind, TapeBlock},
};
use crate::tape::Volumes;

/// What comes next on a tape.
#[derive(Debug)]
pub enum Item {
    /// Numbers in use when the dump was made.
    Used(InodeMap),
    /// Numbers on this tape.
    Here(InodeMap),
    /// An object; [`Reader::data`] gives its data, or it is passed over.
    Object(Box<Header>),
    /// Extended attributes of the object before, as a block.
    Attributes(Box<Header>, Vec<u8>),
    /// The end of the dump.
    End,
}

/// A dump that is being read.
pub struct Reader {
    blocks: Blocks,
    label: Header,
    /// A header that was read too early.
    held: Option<Header>,
    /// The object whose data was not asked for.
    unread: Option<Header>,
    troubles: Vec<Trouble>,
    ended: bool,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// Data of an object, in order: a stretch without holes.
pub type Sink<'a> = &'a mut dyn FnMut(u64, &[u8]);

impl Reader {
    /// Opens the dump in a tape file, counted from 0, of a set's first volume.
    ///
    /// # Errors
    /// [`Error::NoDump`] where none begins there or it is compressed, [`Error::Tape`].
    pub fn open(volumes: Volumes, file: u32) -> Result<Self> {
        let mut blocks = Blocks::open(volumes, file)?;
        let mut block = [0; TAPE_BLOCK_BYTES];
        let mut reason = "the tape is empty".to_owned();
        let mut passed = 0_u64;
        let label = loop {
            match blocks.next(&mut block)? {
                Next::Block => match Header::decode(&block) {
                    Ok(header) => break header,
                    Err(flaw) if passed == 0 => reason = flaw.to_string(),
                    Err(_) => {}
                },
                Next::Lost => {}
                Next::End => return Err(blocks.no_dump(reason)),
            }
            passed += 1;
        };
        if label.kind == Kind::Tape && label.flags & FLAG_COMPRESSED != 0 {
            return Err(blocks.no_dump("its records are compressed by dump -z or -j".into()));
        }
        let mut reader = Self {
            blocks,
            held: (label.kind != Kind::Tape).then(|| label.clone()),
            label,
            unread: None,
            troubles: Vec::new(),
            ended: false,
        };
        if passed > 0 {
            reader.lose(format!("the tape begins with {passed} blocks that make no sense"));
        }
        Ok(reader)
    }

    /// What the first volume says of the dump.
    #[must_use]
    pub fn label(&self) -> &Header {
        &self.label
    }

    /// Volume that is read, for messages.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.blocks.path()
    }

    /// What was lost so far; the list is empty then.
    pub fn take_troubles(&mut self) -> Vec<Trouble> {
        std::mem::take(&mut self.troubles)
    }

    /// The next thing on the tape; what was left of the one before is passed over.
    ///
    /// # Errors
    /// [`Error::Tape`]. Damage is no error, see [`Reader::take_troubles`].
    pub fn item(&mut self) -> Result<Item> {
        if let Some(header) = self.unread.take() {
            self.data_of(header, &mut |_, _| ())?;
        }
        while let Some(header) = self.header()? {
            match header.kind {
                Kind::End => {
                    self.ended = true;
                    return Ok(Item::End);
                }
                // A label of a further volume, or a segment whose object was lost.
                Kind::Tape | Kind::Address => self.pass(&header)?,
                Kind::Clear | Kind::Bits => {
                    let bytes = self.bytes(&header)?;
                    let map = InodeMap::decode(bytes);
                    return Ok(if header.kind == Kind::Clear {
                        Item::Used(map)
                    } else {
                        Item::Here(map)
                    });
                }
                Kind::Inode if header.flags & FLAG_EXTENDED != 0 => {
                    let mut bytes = self.bytes(&header)?;
                    let size = usize::try_from(header.node.size_bytes).unwrap_or(usize::MAX);
                    bytes.truncate(size);
                    return Ok(Item::Attributes(Box::new(header), bytes));
                }
                Kind::Inode => {
                    self.unread = Some(header.clone());
                    return Ok(Item::Object(Box::new(header)));
                }
            }
        }
        if !self.ended {
            self.ended = true;
            self.lose("the tape ends before the dump does".into());
        }
        Ok(Item::End)
    }

    /// Gives the data of the object that [`Reader::item`] just gave; false where not all of it is as it was dumped.
    ///
    /// # Errors
    /// [`Error::Tape`].
    pub fn data(&mut self, sink: Sink<'_>) -> Result<bool> {
        match self.unread.take() {
            Some(header) => self.data_of(header, sink),
            None => Ok(true),
        }
    }

    /// All data of an object of a length that was checked, such as a directory's.
    ///
    /// # Errors
    /// [`Error::Tape`].
    pub fn small_data(&mut self, limit_bytes: usize) -> Result<(Vec<u8>, bool)> {
        let size = self.unread.as_ref().map_or(0, |header| header.node.size_bytes);
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= limit_bytes) else {
            return Ok((Vec::new(), false));
        };
        let mut bytes: Vec<u8> = Vec::new();
        let whole = self.data(&mut |offset, piece| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
            let to = from.saturating_add(piece.len()).min(size);
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(&piece[..to - from]);
        })?;
        // What is missing at the end is a hole, but of no more than the tape may claim.
        bytes.resize(if whole { size } else { bytes.len() }, 0);
        Ok((bytes, whole))
    }

    fn data_of(&mut self, mut header: Header, sink: Sink<'_>) -> Result<bool> {
        let number = header.number;
        let size = header.node.size_bytes;
        let mut offset = 0;
        let mut whole = true;
        loop {
            let (intact, cells) = self.segment(&header, offset, size, sink)?;
            whole &= intact;
            offset += cells * TAPE_BLOCK_BYTES as u64;
            if offset >= size || cells == 0 && !intact {
                break;
            }
            // A device has a size on some tapes, and no data on any.
            if header.kind == Kind::Inode && header.count == 0 {
                whole &= !matches!(header.node.mode & 0o170_000, 0o40_000 | 0o100_000 | 0o120_000);
                break;
            }
            match self.header()? {
                Some(next) if next.kind == Kind::Address && next.number == number => header = next,
                // The label of a volume stands in the middle of an object.
                Some(next) if next.kind == Kind::Tape => self.pass(&next)?,
                next => {
                    self.held = next;
                    whole = false;
                    break;
                }
            }
            if offset > size {
                break;
            }
        }
        Ok(whole)
    }

    /// Reads the cells behind a header; says whether all came and how many there were.
    fn segment(&mut self, header: &Header, start: u64, size: u64, sink: Sink<'_>) -> Result<(bool, u64)> {
        let mut run: Vec<u8> = Vec::new();
        let mut run_at = start;
        let mut checksum = 0;
        let mut block = [0; TAPE_BLOCK_BYTES];
        let mut left = header.blocks();
        let mut give = |run: &mut Vec<u8>, at: u64| {
            let end = size.saturating_sub(at);
            let length = run.len().min(usize::try_from(end).unwrap_or(usize::MAX));
            if length > 0 {
                sink(at, &run[..length]);
            }
            run.clear();
        };
        for (cell, offset) in header.cells().iter().zip((start..).step_by(TAPE_BLOCK_BYTES)) {
            if *cell == 0 {
                give(&mut run, run_at);
                continue;
            }
            if !self.data_block(&mut block)? {
                give(&mut run, run_at);
                return Ok((false, 0));
            }
            left -= 1;
            checksum = crc32c::crc32c_append(checksum, &block);
            if run.is_empty() {
                run_at = offset;
            }
            run.extend_from_slice(&block);
        }
        give(&mut run, run_at);
        let told = header.private.as_ref().map(|private| private.checksum);
        Ok((
            told.is_none_or(|told| told == checksum) && left == 0,
            header.cells().len() as u64,
        ))
    }

    /// All blocks behind a header that are not cells of a file.
    fn bytes(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut block = [0; TAPE_BLOCK_BYTES];
        for _ in 0..header.blocks() {
            if !self.data_block(&mut block)? {
                break;
            }
            bytes.extend_from_slice(&block);
        }
        let told = header.private.as_ref().map(|private| private.checksum);
        if told.is_some_and(|told| told != crc32c::crc32c(&bytes)) {
            let kind = header.kind;
            self.lose(format!(
                "what belongs to the {kind:?} header of number {} is damaged",
                header.number
            ));
        }
        Ok(bytes)
    }

    fn pass(&mut self, header: &Header) -> Result<()> {
        let mut block = [0; TAPE_BLOCK_BYTES];
        for _ in 0..header.blocks() {
            if !self.data_block(&mut block)? {
                break;
            }
        }
        Ok(())
    }

    /// The next block of data, past the label of a volume; false where it is lost.
    fn data_block(&mut self, block: &mut TapeBlock) -> Result<bool> {
        let fresh = self.blocks.volume();
        if !matches!(self.blocks.next(block)?, Next::Block) {
            return Ok(false);
        }
        if self.blocks.volume() != fresh && Header::decode(block).is_ok_and(|header| header.kind == Kind::Tape) {
            return Ok(matches!(self.blocks.next(block)?, Next::Block));
        }
        Ok(true)
    }

    /// The next header of this dump; none at the end of the tape.
    fn header(&mut self) -> Result<Option<Header>> {
        if let Some(header) = self.held.take() {
            return Ok(Some(header));
        }
        let mut block = [0; TAPE_BLOCK_BYTES];
        let mut lost = 0_u64;
        let mut torn = false;
        let found = loop {
            match self.blocks.next(&mut block)? {
                Next::Block => match Header::decode(&block) {
                    Ok(header) if self.is_ours(&header) => break Some(header),
                    _ => lost += 1,
                },
                Next::Lost => torn = true,
                Next::End => break None,
            }
        };
        if lost > 0 {
            self.lose(format!("{lost} tape blocks make no sense"));
        } else if torn {
            self.lose("a part of the tape cannot be read".into());
        }
        Ok(found)
    }

    /// True where a header belongs to this dump, not to one that is left over or spliced in.
    fn is_ours(&self, header: &Header) -> bool {
        let identity = |header: &Header| header.private.as_ref().map(|private| private.dump);
        header.date_s == self.label.date_s && identity(header) == identity(&self.label)
    }

    fn lose(&mut self, what: String) {
        self.troubles.push(Trouble {
            path: self.blocks.path(),
            what,
            loss: true,
        });
    }
}

impl From<(PathBuf, String)> for Error {
    fn from((path, reason): (PathBuf, String)) -> Self {
        Self::NoDump { path, reason }
    }
}
