//! Tape blocks on their way to a tape: gathered into records, numbered, and spread over volumes.
//!
//! A volume begins with a label that says where the dump stands: how many blocks came before, which object is in progress
//! and how many of its blocks are still to come. When the tape gives early warning, the next record goes on the next one.
//! Between two segments the stream can say where it [stands](Standing), and a later process goes on from there.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    TAPE_BLOCK_BYTES,
    catalog::{Entry, Noted, Place, Places, TRAILING, on_tape, with_end},
    error::Result,
    record::{EXTENSION_TRAILING, FLAG_EXTENDED, FLAG_NEW_HEADER, Header, Kind, TapeBlock},
};
use crate::tape::{
    BlockWrite, Position, Room, Volumes,
    volumes::{Behind, IsLeft},
};

/// Where a stream stands between two segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Standing {
    /// Volume, from 1.
    pub(super) volume: u32,
    /// Tape blocks so far.
    pub(super) blocks: u64,
    /// Objects so far.
    pub(super) objects: u64,
    /// Tape file of the first volume, from 1.
    first_file: u32,
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

/// What is noted of a dump while it is written.
#[derive(Default)]
pub(super) struct Notes {
    /// What the index said that stood where the dump begins.
    pub(super) earlier: Vec<u8>,
    /// What stands before the first file; with an end behind it once that is known.
    pub(super) contents: Vec<u8>,
    /// Where files lie; none before the first.
    pub(super) places: Option<Places>,
}

/// What became of a dump.
pub(super) struct Written {
    /// Tape blocks, those of labels too.
    pub(super) blocks: u64,
    /// Volumes.
    pub(super) volumes: u32,
    /// Objects.
    pub(super) objects: u64,
    /// What the catalogue has of it, unless it keeps no history.
    pub(super) noted: Option<Noted>,
    /// True where that stands behind it on the tape.
    pub(super) indexed: bool,
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
    objects: u64,
    /// Tape file that it is in on the first volume, from 1.
    first_file: u32,
    notes: Option<Notes>,
    /// True where a process before may have begun the volumes that come.
    resumed: bool,
}

impl Stream {
    /// Begins a dump on volume 1 of a set; `noting` says whether it is noted what is on it and where.
    pub(super) fn begin(mut volumes: Volumes, label: Header, noting: bool) -> Result<Self> {
        let tape = volumes.append_with_room(1, None)?;
        let notes = if noting {
            let earlier = volumes.index(1)?.unwrap_or_default();
            Some(Notes {
                earlier,
                ..Notes::default()
            })
        } else {
            None
        };
        let first_file = tape.position().file + 1;
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
            objects: 0,
            first_file,
            notes,
            resumed: false,
        };
        stream.begin_volume()?;
        Ok(stream)
    }

    /// What was noted so far.
    pub(super) fn notes(&self) -> Option<&Notes> {
        self.notes.as_ref()
    }

    /// Goes on with a dump where it stood; what is behind that on the tape goes with the first record that is written.
    pub(super) fn resume(volumes: Volumes, label: Header, standing: &Standing, notes: Option<Notes>) -> Result<Self> {
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
            objects: standing.objects,
            first_file: standing.first_file,
            notes,
            resumed: true,
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
            objects: self.objects,
            first_file: self.first_file,
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

    /// The tapes that it goes on.
    pub(super) fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// Name of the tape that is written.
    pub(super) fn tape(&self) -> PathBuf {
        self.volumes.names.of(self.volume).unwrap_or_default()
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
        if header.kind == Kind::Inode && header.flags & FLAG_EXTENDED == 0 {
            self.objects += 1;
            if header.node.mode & 0o170_000 != 0o40_000 {
                self.note(header.number);
            }
        } else if header.extension == EXTENSION_TRAILING {
            self.note(TRAILING);
        }
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

    /// Notes that a file, or what is behind the end, begins in the record that is gathered.
    fn note(&mut self, number: u32) {
        let place = Place {
            volume: self.volume,
            offset_bytes: self.tape.position().offset_bytes,
        };
        self.end_contents();
        if let Some(places) = self.notes.as_mut().and_then(|notes| notes.places.as_mut()) {
            places.note(number, place);
        }
    }

    /// Ends what stands before the first file.
    pub(super) fn end_contents(&mut self) {
        if let Some(notes) = self.notes.as_mut().filter(|notes| notes.places.is_none()) {
            notes.contents = with_end(std::mem::take(&mut notes.contents));
            notes.places = Some(Places::new(self.label.date_s));
        }
    }

    /// Ends the dump, or what stands behind its end: fills the last record, at least one block. `trailing` are the blocks of
    /// attributes that stood before this end, [`super::record::TRAILING_FOLLOW`] where they come.
    pub(super) fn end(&mut self, trailing: u64) -> Result<()> {
        self.end_contents();
        let mut header = self.label.clone();
        header.kind = Kind::End;
        header.count = 0;
        header.number = 0;
        if let Some(private) = &mut header.private {
            private.offset_bytes = trailing;
        }
        self.segment(&mut header, std::iter::empty())?;
        while !self.record.is_empty() {
            self.segment(&mut header, std::iter::empty())?;
        }
        Ok(())
    }

    /// Ends the tape file. Behind it goes the index, of this dump and those that are on the same tape before it; `partial` are
    /// paths of what is not whole on the tape.
    pub(super) fn finish(mut self, partial: Vec<String>) -> Result<Written> {
        self.tape.finish()?;
        let (noted, indexed) = self.index(partial)?;
        Ok(Written {
            blocks: self.blocks,
            volumes: self.volume,
            objects: self.objects,
            noted,
            indexed,
        })
    }

    /// What the catalogue has of the dump, which goes behind it on the tape too.
    fn index(&mut self, partial: Vec<String>) -> Result<(Option<Noted>, bool)> {
        let Some(Notes {
            earlier,
            contents,
            places: Some(places),
        }) = self.notes.take()
        else {
            return Ok((None, false));
        };
        let tapes = (1..=self.volume)
            .filter_map(|number| self.volumes.path_of(number))
            .collect();
        let noted = Noted {
            entry: Entry {
                partial,
                ..Entry::of(&self.label, tapes, self.first_file, self.objects)
            },
            contents,
            places,
        };
        // Dumps that are on the first volume are none of a later one's.
        let earlier = if self.volume == 1 { earlier } else { Vec::new() };
        let bytes = [earlier, on_tape::encode(std::slice::from_ref(&noted))].concat();
        let indexed = self.tape.write_index(&bytes, self.record_bytes)?;
        Ok((Some(noted), indexed))
    }

    /// Goes to the next volume where this one has no room for another record.
    fn make_room(&mut self) -> Result<()> {
        if !self.warned || !self.record.is_empty() {
            return Ok(());
        }
        self.tape.finish()?;
        self.volume += 1;
        let label = volume_label(&self.label, self.volume);
        let is_left: IsLeft<'_> = &|record| begins_volume(record, &label);
        let is_left = self.resumed.then_some(is_left);
        self.tape = self.volumes.append_with_room(self.volume, is_left)?;
        self.begin_volume()
    }

    fn begin_volume(&mut self) -> Result<()> {
        self.warned = false;
        self.last.clear();
        self.behind = None;
        let mut header = volume_label(&self.label, self.volume);
        header.tape_block = self.blocks;
        header.first_block = self.blocks;
        (header.number, header.count) = self.in_progress;
        self.put(&header.encode())
    }

    fn put(&mut self, block: &[u8]) -> Result<()> {
        let block: &TapeBlock = block.try_into().unwrap_or(&[0; TAPE_BLOCK_BYTES]);
        self.record.extend_from_slice(block);
        self.blocks += 1;
        if let Some(notes) = self.notes.as_mut().filter(|notes| notes.places.is_none()) {
            notes.contents.extend_from_slice(block);
        }
        if self.record.len() == self.record_bytes {
            self.warned |= self.tape.write_record(&self.record)? == Room::Little;
            std::mem::swap(&mut self.record, &mut self.last);
            self.record.clear();
        }
        Ok(())
    }
}

/// The label of a volume, before it says where the dump stands.
fn volume_label(label: &Header, volume: u32) -> Header {
    let mut header = label.clone();
    header.kind = Kind::Tape;
    header.flags |= FLAG_NEW_HEADER;
    header.volume = volume;
    header
}

/// True where a record begins the volume of a dump that a label says, wherever the dump stood.
fn begins_volume(record: &[u8], label: &Header) -> bool {
    let told = |bytes: &[u8]| {
        let block = bytes.first_chunk::<TAPE_BLOCK_BYTES>()?;
        let header = Header::decode(block).ok()?;
        Some((
            header.kind,
            header.volume,
            header.date_s,
            header.base_date_s,
            header.label,
        ))
    };
    let own = told(&label.encode());
    own.is_some() && told(record) == own
}
