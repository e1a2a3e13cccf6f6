//! Tape blocks on their way to a tape: gathered into records, numbered, and spread over volumes.
//!
//! A volume begins with a label that says where the dump stands: how many blocks came before, which object is in progress
//! and how many of its blocks are still to come. When the tape gives early warning, the next record goes on the next one.
//! Between two segments the stream can say where it [stands](Standing), and a later process goes on from there.

use serde::{Deserialize, Serialize};

use super::{
    TAPE_BLOCK_BYTES,
    error::Result,
    record::{FLAG_NEW_HEADER, Header, Kind, TapeBlock},
};
use crate::tape::{BlockWrite, Position, Room, Volumes, volumes::Behind};

/// Where a stream stands between two segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Volume, from 1.
    pub(super) volume: u32,
    /// Tape blocks so far.
    pub(super) blocks: u64,
    in_progress: (u32, u32),
    warned: bool,
    offset_bytes: u64,
    file: u32,
    record_number: Option<u32>,
    /// The record before that place; none where the dump begins there.
    behind: Option<Behind>,
    /// What was gathered of the next record.
    #[serde(skip)]
    pub(super) record: Vec<u8>,
}

impl Standing {
    fn position(&self) -> Position {
        Position {
            offset_bytes: self.offset_bytes,
            file: self.file,
            record: self.record_number,
        }
    }
}

/// A dump that is being written.
pub(super) struct Stream {
    volumes: Volumes,
    volume: u32,
    tape: Box<dyn BlockWrite>,
    record: Vec<u8>,
    /// The record that was written last by this process, if any was on this volume.
    last: Vec<u8>,
    /// The same of the process that wrote before.
    behind: Option<Behind>,
    record_bytes: usize,
    /// Facts that every header of the dump has.
    label: Header,
    /// Tape blocks so far, those of labels too.
    blocks: u64,
    /// Object in progress, and how many blocks of its segment are still to come.
    in_progress: (u32, u32),
    /// True once the tape gave early warning.
    warned: bool,
}

impl Stream {
    /// Begins a dump on volume 1 of a set.
    pub(super) fn begin(volumes: Volumes, label: Header) -> Result<Self> {
        let tape = volumes.append(1)?;
        let record_bytes = label.factor as usize * TAPE_BLOCK_BYTES;
        let mut stream = Self {
            volumes,
            volume: 1,
            tape,
            record: Vec::with_capacity(record_bytes),
            last: Vec::with_capacity(record_bytes),
            behind: None,
            record_bytes,
            label,
            blocks: 0,
            in_progress: (0, 0),
            warned: false,
        };
        stream.begin_volume()?;
        Ok(stream)
    }

    /// Goes on with a dump where it stood; what is behind that on the tape goes with the first record that is written.
    pub(super) fn resume(volumes: Volumes, label: Header, standing: &Standing) -> Result<Self> {
        let tape = volumes.resume(standing.volume, standing.position(), standing.behind)?;
        Ok(Self {
            volumes,
            volume: standing.volume,
            tape,
            record: standing.record.clone(),
            last: Vec::new(),
            behind: standing.behind,
            record_bytes: label.factor as usize * TAPE_BLOCK_BYTES,
            label,
            blocks: standing.blocks,
            in_progress: standing.in_progress,
            warned: standing.warned,
        })
    }

    /// Makes everything so far durable, and says where the stream stands.
    pub(super) fn stand(&mut self) -> Result<Standing> {
        self.tape.sync()?;
        let Position {
            offset_bytes,
            file,
            record,
        } = self.tape.position();
        Ok(Standing {
            volume: self.volume,
            blocks: self.blocks,
            in_progress: self.in_progress,
            warned: self.warned,
            offset_bytes,
            file,
            record_number: record,
            behind: match self.last.as_slice() {
                [] => self.behind,
                last => Some(Behind::of(last)),
            },
            record: self.record.clone(),
        })
    }

    /// Volume that is written, from 1.
    pub(super) fn volume(&self) -> u32 {
        self.volume
    }

    /// Tape blocks so far.
    pub(super) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Facts that every header of the dump has.
    pub(super) fn label(&self) -> &Header {
        &self.label
    }

    /// Writes a segment: a header and the tape blocks that belong to it, as many as the header says.
    pub(super) fn segment<'a>(&mut self, header: &mut Header, blocks: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        let count = header.blocks();
        // Before the header is numbered: a label may have to come first.
        self.make_room()?;
        header.volume = self.volume;
        header.tape_block = self.blocks;
        self.put(&header.encode())?;
        let mut left = u32::try_from(count).unwrap_or(u32::MAX);
        for block in blocks {
            self.in_progress = (header.number, left);
            self.make_room()?;
            self.put(block)?;
            left = left.saturating_sub(1);
        }
        assert_eq!(left, 0, "a header of {count} blocks has others behind it");
        self.in_progress = (header.number, 0);
        Ok(())
    }

    /// Ends the dump: fills the last record, at least one block, and ends the tape file.
    pub(super) fn finish(mut self) -> Result<(u64, u32)> {
        let mut header = self.label.clone();
        header.kind = Kind::End;
        header.count = 0;
        header.number = 0;
        loop {
            self.segment(&mut header, std::iter::empty())?;
            if self.record.is_empty() {
                self.tape.finish()?;
                return Ok((self.blocks, self.volume));
            }
        }
    }

    /// Goes to the next volume where this one has no room for another record.
    fn make_room(&mut self) -> Result<()> {
        if !self.warned || !self.record.is_empty() {
            return Ok(());
        }
        self.tape.finish()?;
        self.volume += 1;
        self.tape = self.volumes.append(self.volume)?;
        self.begin_volume()
    }

    fn begin_volume(&mut self) -> Result<()> {
        self.warned = false;
        self.last.clear();
        self.behind = None;
        let mut header = self.label.clone();
        header.kind = Kind::Tape;
        header.flags |= FLAG_NEW_HEADER;
        header.volume = self.volume;
        header.tape_block = self.blocks;
        header.first_block = self.blocks;
        (header.number, header.count) = self.in_progress;
        self.put(&header.encode())
    }

    fn put(&mut self, block: &[u8]) -> Result<()> {
        let block: &TapeBlock = block.try_into().unwrap_or(&[0; TAPE_BLOCK_BYTES]);
        self.record.extend_from_slice(block);
        self.blocks += 1;
        if self.record.len() == self.record_bytes {
            self.warned |= self.tape.write_record(&self.record)? == Room::Little;
            std::mem::swap(&mut self.record, &mut self.last);
            self.record.clear();
        }
        Ok(())
    }
}
