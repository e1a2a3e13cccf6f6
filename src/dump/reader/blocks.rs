//! Tape blocks in order, out of records of any length and over the volumes of a set.
//!
//! It knows no headers, but counts: every block has its ordinal in the dump, which headers tell and whoever reads them
//! corrects here. A volume ends at a tape mark or at its end; the next one begins where the set has it, and with none
//! left the dump ends.

use std::path::PathBuf;

use crate::{
    dump::{
        TAPE_BLOCK_BYTES,
        error::{Error, Result},
        record::TapeBlock,
    },
    tape::{self, BlockRead, Container, Found, Volumes},
};

/// What comes next.
pub(super) enum Next {
    /// A tape block.
    Block,
    /// A stretch that cannot be read.
    Lost,
    /// Nothing more on any volume.
    End,
}

/// Tape blocks of a set.
pub(super) struct Blocks {
    volumes: Volumes,
    volume: u32,
    /// Tape file of the volume that is read, from 0.
    file: u32,
    tape: Box<dyn BlockRead>,
    record: Vec<u8>,
    /// How much of the record was given.
    given: usize,
    /// Blocks of a record, as the dump tells: a stream does not show where they begin.
    factor: u64,
    /// Ordinal of the first block of the volume.
    volume_start: u64,
    /// Ordinal of the next block in the dump, as far as it is known.
    ordinal: u64,
    /// True where volumes that are not there are passed over.
    lenient: bool,
}

impl Blocks {
    pub(super) fn open(volumes: Volumes, file: u32) -> Result<Self> {
        let tape = volumes.open_file(1, file)?;
        Ok(Self::over(volumes, file, tape))
    }

    /// The first volume as an image, even if it does not look like one.
    pub(super) fn open_image(volumes: Volumes) -> Result<Self> {
        let tape = volumes.open_as(1, Container::Tap)?;
        Ok(Self::over(volumes, 0, tape))
    }

    fn over(volumes: Volumes, file: u32, tape: Box<dyn BlockRead>) -> Self {
        Self {
            volumes,
            volume: 1,
            file,
            tape,
            record: Vec::new(),
            given: 0,
            factor: 1,
            volume_start: 0,
            ordinal: 0,
            lenient: false,
        }
    }

    /// Lets volumes that are not there be passed over.
    pub(super) fn be_lenient(&mut self) {
        self.lenient = true;
    }

    pub(super) fn is_lenient(&self) -> bool {
        self.lenient
    }

    /// Number of the volume that is read, from 1, as the set counts.
    pub(super) fn volume(&self) -> u32 {
        self.volume
    }

    pub(super) fn path(&self) -> PathBuf {
        self.volumes.names.of(self.volume).unwrap_or_default()
    }

    /// Says how many blocks a record has.
    pub(super) fn in_records_of(&mut self, factor: u32) {
        self.factor = u64::from(factor.max(1));
    }

    /// A number for the record that the last block came from, which blocks of the same record of the volume have too.
    pub(super) fn record(&self) -> u64 {
        self.ordinal.saturating_sub(self.volume_start + 1) / self.factor
    }

    /// Ordinal of the next block.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Corrects the count by what a header told.
    pub(super) fn count_from(&mut self, ordinal: u64) {
        self.ordinal = ordinal;
    }

    pub(super) fn no_dump(&self, reason: String) -> Error {
        (self.path(), reason).into()
    }

    /// Reads the volume from its next tape file on; false where it has none.
    pub(super) fn next_file(&mut self) -> Result<bool> {
        match self.volumes.open_file(self.volume, self.file + 1) {
            Ok(tape) => {
                self.tape = tape;
                self.file += 1;
                self.record.clear();
                self.given = 0;
                Ok(true)
            }
            Err(tape::Error::OutOfTape { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn next(&mut self, block: &mut TapeBlock) -> Result<Next> {
        loop {
            if let Some(bytes) = self.record.get(self.given..self.given + TAPE_BLOCK_BYTES) {
                block.copy_from_slice(bytes);
                self.given += TAPE_BLOCK_BYTES;
                self.ordinal += 1;
                return Ok(Next::Block);
            }
            // What is left of a record that is no whole count of blocks.
            let torn = self.given < self.record.len();
            self.record.clear();
            self.given = 0;
            if torn {
                return Ok(Next::Lost);
            }
            match self.tape.read_record(&mut self.record)? {
                Found::Record => {}
                Found::BadRecord | Found::Lost { .. } => {
                    self.record.clear();
                    return Ok(Next::Lost);
                }
                Found::Mark | Found::End => {
                    self.record.clear();
                    if !self.next_volume()? {
                        return Ok(Next::End);
                    }
                }
            }
        }
    }

    fn next_volume(&mut self) -> Result<bool> {
        let mut next = self.volume + 1;
        loop {
            match self.volumes.open(next) {
                Ok(tape) => {
                    self.tape = tape;
                    (self.volume, self.file) = (next, 0);
                    self.volume_start = self.ordinal;
                    return Ok(true);
                }
                Err(tape::Error::NoVolume { path: Some(_), .. }) if self.lenient => next += 1,
                Err(tape::Error::NoVolume { .. }) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }
}
