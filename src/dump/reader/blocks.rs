//! Tape blocks in order, out of records of any length and over the volumes of a set.
//!
//! It knows no headers. A volume ends at a tape mark or at its end; the next one begins where the set has it, and with none
//! left the dump ends.

use std::path::PathBuf;

use crate::{
    dump::{
        TAPE_BLOCK_BYTES,
        error::{Error, Result},
        record::TapeBlock,
    },
    tape::{self, BlockRead, Found, Volumes},
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
    tape: Box<dyn BlockRead>,
    record: Vec<u8>,
    /// How much of the record was given.
    given: usize,
}

impl Blocks {
    pub(super) fn open(volumes: Volumes, file: u32) -> Result<Self> {
        let tape = volumes.open_file(1, file)?;
        Ok(Self {
            volumes,
            volume: 1,
            tape,
            record: Vec::new(),
            given: 0,
        })
    }

    /// Number of the volume that is read, from 1.
    pub(super) fn volume(&self) -> u32 {
        self.volume
    }

    pub(super) fn path(&self) -> PathBuf {
        self.volumes.names.of(self.volume).unwrap_or_default()
    }

    pub(super) fn no_dump(&self, reason: String) -> Error {
        (self.path(), reason).into()
    }

    pub(super) fn next(&mut self, block: &mut TapeBlock) -> Result<Next> {
        loop {
            if let Some(bytes) = self.record.get(self.given..self.given + TAPE_BLOCK_BYTES) {
                block.copy_from_slice(bytes);
                self.given += TAPE_BLOCK_BYTES;
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
                    if !self.next_volume()? {
                        return Ok(Next::End);
                    }
                }
            }
        }
    }

    fn next_volume(&mut self) -> Result<bool> {
        match self.volumes.open(self.volume + 1) {
            Ok(tape) => {
                self.tape = tape;
                self.volume += 1;
                Ok(true)
            }
            Err(tape::Error::NoVolume { .. }) => {
                self.record.clear();
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
