//! Tape blocks in order, out of records of any length and over the volumes of a set.
//!
//! It knows no headers, but counts: every block has its ordinal in the dump, which headers tell and whoever reads them
//! corrects here. A volume ends at a tape mark or at its end; the next one begins where the set has it, and with none
//! left the dump ends.

use std::path::PathBuf;

use super::compressed::{Packed, Unpacked};
use crate::{
    dump::{
        TAPE_BLOCK_BYTES,
        catalog::Place,
        error::{Error, Result},
        record::TapeBlock,
    },
    tape::{self, BlockRead, Container, Found, Position, Volumes},
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
    /// What unpacks the records of a dump that is compressed.
    packed: Option<Packed>,
    /// True where something was passed over that does not unpack.
    damaged: bool,
    /// True where the volume has no more than what was not unpacked yet.
    drained: bool,
    /// Where the record begins that blocks come from.
    record_at: u64,
    /// Where the dump begins on its first volume.
    start: Place,
    /// Everything that was read, where it is kept.
    copy: Option<Vec<u8>>,
    /// True where volumes that are not there are passed over.
    lenient: bool,
    /// Is told how much of the volumes was passed since the dump began, in bytes.
    watch: Option<Watch>,
    /// What lies before the volume that is read, in bytes.
    before_bytes: u64,
    /// What the records had that were read, in bytes.
    read_bytes: u64,
}

/// Is told a number of bytes.
pub(super) type Watch = Box<dyn FnMut(u64) + Send>;

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
        let start = Place {
            volume: 1,
            offset_bytes: tape.position().offset_bytes,
        };
        Self {
            volumes,
            volume: 1,
            file,
            start,
            tape,
            record: Vec::new(),
            given: 0,
            factor: 1,
            volume_start: 0,
            ordinal: 0,
            packed: None,
            damaged: false,
            drained: false,
            record_at: 0,
            copy: None,
            lenient: false,
            watch: None,
            before_bytes: 0,
            read_bytes: 0,
        }
    }

    /// Lets somebody be told how much was passed.
    pub(super) fn tell(&mut self, watch: Watch) {
        self.watch = Some(watch);
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
        Error::NoDump {
            path: self.path(),
            reason,
        }
    }

    /// Goes to a record of a volume; what comes next is its first block.
    pub(super) fn go_to(&mut self, place: Place) -> Result<()> {
        if place.volume != self.volume {
            self.tape = self.volumes.open(place.volume)?;
            (self.volume, self.file) = (place.volume, 0);
        }
        self.record.clear();
        self.given = 0;
        if let Some(packed) = &mut self.packed {
            packed.begin();
        }
        Ok(self.tape.seek(Position {
            offset_bytes: place.offset_bytes,
            file: self.file,
            record: None,
        })?)
    }

    /// Absolute paths of so many volumes.
    pub(super) fn tapes(&self, count: u32) -> Vec<String> {
        (1..=count).filter_map(|number| self.volumes.path_of(number)).collect()
    }

    /// Number of the last volume whose file is there.
    pub(super) fn last_volume(&self) -> u32 {
        let is_there = |number: &u32| {
            let name = self.volumes.names.of(*number);
            name.is_some_and(|name| self.volumes.directory.stat(&name).is_ok())
        };
        (1..).take_while(is_there).last().unwrap_or(1)
    }

    /// What the index at the end of a volume says.
    pub(super) fn index(&self, number: u32) -> Result<Option<Vec<u8>>> {
        Ok(self.volumes.index(number)?)
    }

    /// What the files of all volumes hold, in bytes.
    pub(super) fn most_bytes(&self) -> u64 {
        let sizes = (1..)
            .map_while(|number| self.volumes.names.of(number))
            .map(|name| self.volumes.directory.stat(&name));
        let total: u64 = sizes.map_while(|stat| Some(stat.ok()?.size_bytes)).sum();
        total.saturating_sub(self.start.offset_bytes)
    }

    /// What the records had that were read, in bytes, but for those passed over.
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// What the dump takes on all volumes, in bytes.
    pub(super) fn dump_bytes(&self) -> Result<u64> {
        let mut total = 0;
        let mut record = Vec::new();
        for number in 1.. {
            let mut tape = match self.volumes.open(number) {
                Ok(tape) => tape,
                Err(tape::Error::NoVolume { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            if number == 1 {
                tape.seek(Position {
                    offset_bytes: self.start.offset_bytes,
                    file: self.file,
                    record: None,
                })?;
            }
            loop {
                match tape.read_record(&mut record)? {
                    Found::Record | Found::BadRecord => total += record.len() as u64,
                    Found::Lost { length_bytes } => total += length_bytes,
                    Found::Mark | Found::End => break,
                }
            }
        }
        Ok(total)
    }

    /// Goes to the beginning of the dump.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.go_to(self.start)
    }

    /// Unpacks records from the second on, as the label says that was just read.
    pub(super) fn unpack(&mut self, factor: u32) {
        let mut packed = Packed::new(factor.clamp(1, 1024) as usize * TAPE_BLOCK_BYTES);
        // A stream gives more than the first record at once.
        packed.push(&self.record);
        if let Unpacked::Record(record) = packed.take() {
            self.record = record;
        }
        self.packed = Some(packed);
    }

    /// Where the record begins that the last block came from; of a compressed dump only its beginning is a place.
    pub(super) fn place(&self) -> Place {
        if self.packed.is_some() {
            return self.start;
        }
        Place {
            volume: self.volume,
            offset_bytes: self.record_at,
        }
    }

    /// Keeps what is read from now on, behind what is given.
    pub(super) fn keep(&mut self, first: &TapeBlock) {
        self.copy = Some(first.to_vec());
    }

    /// What was kept; nothing is kept any more.
    pub(super) fn take_copy(&mut self) -> Vec<u8> {
        self.copy.take().unwrap_or_default()
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
                if let Some(copy) = &mut self.copy {
                    copy.extend_from_slice(block);
                }
                return Ok(Next::Block);
            }
            // What is left of a record that is no whole count of blocks.
            let torn = self.given < self.record.len();
            self.record.clear();
            self.given = 0;
            if torn {
                return Ok(Next::Lost);
            }
            match self.next_packed() {
                Some(true) => continue,
                Some(false) => return Ok(Next::Lost),
                None => {}
            }
            self.record_at = self.tape.position().offset_bytes;
            if let Some(watch) = &mut self.watch {
                watch((self.before_bytes + self.record_at).saturating_sub(self.start.offset_bytes));
            }
            let found = if std::mem::take(&mut self.drained) {
                Found::End
            } else {
                self.tape.read_record(&mut self.record)?
            };
            self.read_bytes += match found {
                Found::Record | Found::BadRecord => self.record.len() as u64,
                Found::Lost { length_bytes } => length_bytes,
                Found::Mark | Found::End => 0,
            };
            match found {
                Found::Record => {
                    if let Some(packed) = &mut self.packed {
                        packed.push(&std::mem::take(&mut self.record));
                    }
                }
                Found::BadRecord | Found::Lost { .. } => {
                    self.record.clear();
                    return Ok(Next::Lost);
                }
                Found::Mark | Found::End => {
                    self.record.clear();
                    if let Some(packed) = &mut self.packed {
                        if packed.has_rest() {
                            self.drained = true;
                            continue;
                        }
                        packed.begin();
                    }
                    if !self.next_volume()? {
                        return Ok(Next::End);
                    }
                }
            }
        }
    }

    /// The next record of a compressed dump, out of what was read already: true where there is one or more has to be passed
    /// over, false where something was lost before it. None where the tape has to be read.
    fn next_packed(&mut self) -> Option<bool> {
        let packed = self.packed.as_mut()?;
        match packed.take() {
            Unpacked::Record(record) => {
                self.record = record;
                Some(!std::mem::take(&mut self.damaged))
            }
            // What looks like a long record behind damage may be none.
            Unpacked::Short if !(self.drained && packed.has_rest()) => {
                std::mem::take(&mut self.damaged).then_some(false)
            }
            Unpacked::Damaged | Unpacked::Short => {
                packed.skip();
                self.damaged = true;
                Some(true)
            }
        }
    }

    fn next_volume(&mut self) -> Result<bool> {
        let mut next = self.volume + 1;
        loop {
            match self.volumes.open(next) {
                Ok(tape) => {
                    self.before_bytes += self.tape.position().offset_bytes;
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
