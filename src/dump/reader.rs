//! A dump as it comes from the tape: label, maps, directories, files, each with its data, across volumes and damage.
//!
//! Whatever the tape says, the reader goes on to the next header that belongs to this dump, and says what was lost on the
//! way: which tape blocks, and of every object which bytes. `blocks.rs` gives tape blocks, `segment.rs` puts those behind a
//! header to their places, `object.rs` puts an object together from its segments.

mod blocks;
mod compressed;
mod object;
mod segment;
mod trailing;

use std::{ops::Range, path::PathBuf};

pub use self::object::Progress;
use self::{
    blocks::{Blocks, Next},
    object::told_offset,
    segment::Gathered,
};
use super::{
    TAPE_BLOCK_BYTES,
    catalog::{Noted, Place, on_tape},
    error::{Error, Result, Trouble},
    inode_map::InodeMap,
    record::{FLAG_COMPRESSED, FLAG_EXTENDED, Header, Kind, TapeBlock},
};
use crate::tape::{Volumes, index};

/// What comes next on a tape.
#[derive(Debug)]
pub enum Item {
    /// Numbers in use when the dump was made.
    Used(InodeMap),
    /// Numbers on this tape.
    Here(InodeMap),
    /// An object; [`Reader::data`] gives its data, or it is passed over. Where its first segment is lost it is a later one.
    Object(Box<Header>),
    /// Extended attributes of the object before, as a block.
    Attributes(Box<Header>, Vec<u8>),
    /// An attribute of any object on the tape, as a block, that was too long to stand with it; these come behind all objects.
    Trailing(Box<Header>, Vec<u8>),
    /// The end of the dump.
    End,
}

/// A dump that is being read.
pub struct Reader {
    blocks: Blocks,
    label: Header,
    label_block: TapeBlock,
    /// True until a header says which block it is.
    astray: bool,
    /// A header that was read too early.
    held: Option<Header>,
    /// Tape blocks that were lost before the header that was read last.
    gap: u64,
    /// True where some of these are not even there, so that nobody knows where they were.
    cut: bool,
    /// The record in which the last search for a header began, where no header was at its first block.
    junk_in: Option<u64>,
    /// The object whose data was not asked for.
    unread: Option<Header>,
    gathered: Gathered,
    troubles: Vec<Trouble>,
    ended: bool,
    /// True where the end that was met is the dump's own.
    complete: bool,
    /// Blocks of attributes behind the end that were read; none before the end, or where none follow.
    trailing: Option<u64>,
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
    /// [`Error::NoDump`] where none begins there, [`Error::Tape`].
    pub fn open(volumes: Volumes, file: u32) -> Result<Self> {
        match Self::begin(Blocks::open(volumes.clone(), file)?) {
            // The beginning of an image may be damaged so that it looks like a stream.
            Err(error @ Error::NoDump { .. }) if file == 0 => {
                Blocks::open_image(volumes).and_then(Self::begin).map_err(|_| error)
            }
            opened => opened,
        }
    }

    /// Finds the first header.
    fn begin(mut blocks: Blocks) -> Result<Self> {
        let mut block = [0; TAPE_BLOCK_BYTES];
        let mut reason = "the tape is empty".to_owned();
        let mut torn = false;
        let label = loop {
            match blocks.next(&mut block)? {
                Next::Block => match Header::decode(&block) {
                    Ok(header) => break header,
                    Err(_) if blocks.ordinal() == 1 && index::begins_with(&block) => {
                        return Err(blocks.no_dump("it is the catalogue of the tape files before it".into()));
                    }
                    Err(flaw) if blocks.ordinal() == 1 => reason = flaw.to_string(),
                    Err(_) => {}
                },
                Next::Lost => torn = true,
                Next::End => return Err(blocks.no_dump(reason)),
            }
        };
        let passed = blocks.ordinal() - 1;
        blocks.count_from(label.tape_block + 1);
        blocks.in_records_of(label.factor);
        if label.kind == Kind::Tape && label.flags & FLAG_COMPRESSED != 0 {
            blocks.unpack(label.factor);
            // What is copied is not.
            let mut plain = label.clone();
            plain.flags &= !FLAG_COMPRESSED;
            block = plain.encode();
        }
        let mut reader = Self {
            blocks,
            held: (label.kind != Kind::Tape).then(|| label.clone()),
            label,
            label_block: block,
            astray: false,
            gap: 0,
            cut: false,
            junk_in: None,
            unread: None,
            gathered: Gathered::default(),
            troubles: Vec::new(),
            ended: false,
            complete: false,
            trailing: None,
        };
        if passed > 0 || torn {
            reader.lose("the tape begins with blocks that make no sense".into());
        } else if reader.label.kind == Kind::Tape && reader.label.volume > 1 {
            let volume = reader.label.volume;
            reader.lose(format!(
                "this is volume {volume} of the dump; those before it are missing"
            ));
        }
        Ok(reader)
    }

    /// Lets volumes that are missing from the set be passed over; what was on them is told as lost.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.blocks.be_lenient();
        self
    }

    /// Number of the volume that is read, from 1.
    #[must_use]
    pub fn volumes(&self) -> u32 {
        self.blocks.volume()
    }

    /// True once the end of the dump was read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Lets somebody be told how much of the tapes was passed since the dump began, in bytes; see [`Reader::most_bytes`].
    #[must_use]
    pub fn telling(mut self, watch: impl FnMut(u64) + Send + 'static) -> Self {
        self.blocks.tell(Box::new(watch));
        self
    }

    /// Keeps what is read, for [`Reader::take_copy`].
    #[must_use]
    pub fn copying(mut self) -> Self {
        self.blocks.keep(&self.label_block);
        self
    }

    /// Everything that was read since [`Reader::copying`], the label first. Nothing is kept any more.
    pub fn take_copy(&mut self) -> Vec<u8> {
        self.blocks.take_copy()
    }

    /// Where the record begins in which the object that [`Reader::item`] just gave begins.
    #[must_use]
    pub fn place(&self) -> Place {
        self.blocks.place()
    }

    /// Goes to a record; the next thing on the tape is the first that begins in it or behind.
    ///
    /// # Errors
    /// [`Error::Tape`].
    pub fn go_to(&mut self, place: Place) -> Result<()> {
        self.leave();
        self.blocks.go_to(place)
    }

    /// Absolute paths of the volumes up to the one that is read.
    #[must_use]
    pub fn tapes(&self) -> Vec<String> {
        self.blocks.tapes(self.volumes())
    }

    /// The catalogue that the tapes have of themselves, at the end of the last one that is there; little of it is read.
    ///
    /// # Errors
    /// [`Error::Tape`].
    pub fn catalogue(&self) -> Result<Vec<Noted>> {
        let last = self.blocks.last_volume();
        let index = self.blocks.index(last)?.unwrap_or_default();
        Ok(on_tape::decode(&index, &self.blocks.tapes(last)))
    }

    /// The most that the dump can take on its tapes, in bytes: what their files hold.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        self.blocks.most_bytes()
    }

    /// What was read of the tapes so far, in bytes.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.blocks.read_bytes()
    }

    /// What the dump takes on its tapes, in bytes. The tapes are read for it, but stand as they stood.
    ///
    /// # Errors
    /// [`Error::Tape`].
    pub fn dump_bytes(&self) -> Result<u64> {
        self.blocks.dump_bytes()
    }

    /// Goes to the beginning of the dump.
    ///
    /// # Errors
    /// [`Error::Tape`].
    pub fn rewind(&mut self) -> Result<()> {
        self.leave();
        self.blocks.rewind()
    }

    /// Forgets what was read, as another place is read from now on.
    fn leave(&mut self) {
        (self.held, self.unread, self.astray) = (None, None, true);
        (self.ended, self.trailing) = (false, None);
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
    /// [`Error::Tape`], [`Error::WrongTape`] where the next volume is not the one that follows. Damage is no error, see
    /// [`Reader::take_troubles`].
    pub fn item(&mut self) -> Result<Item> {
        if let Some(header) = self.unread.take() {
            self.data_of(header, &mut |_, _| ())?;
        }
        while let Some(header) = self.header()? {
            match header.kind {
                Kind::End => {
                    self.complete = true;
                    if self.is_last(&header) {
                        self.ended = true;
                        return Ok(Item::End);
                    }
                }
                Kind::Clear | Kind::Bits => {
                    let map = InodeMap::decode(self.bytes(&header)?);
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
                    return Ok(self.attributes(header, bytes));
                }
                Kind::Inode => {
                    self.unread = Some(header.clone());
                    return Ok(Item::Object(Box::new(header)));
                }
                // The first segment of its object is lost, but where this one belongs is told.
                Kind::Address if told_offset(&header).is_some() => {
                    self.unread = Some(header.clone());
                    return Ok(Item::Object(Box::new(header)));
                }
                // A label of a further volume, or a segment of which nobody knows where it belongs.
                Kind::Tape | Kind::Address => self.pass(&header)?,
            }
        }
        if !self.ended {
            self.ended = true;
            self.lose("the tape ends before the dump does".into());
        }
        Ok(Item::End)
    }

    /// Gives the data of the object that [`Reader::item`] just gave; returns the stretches that are lost or not as they
    /// were written, in order.
    ///
    /// # Errors
    /// As [`Reader::item`].
    pub fn data(&mut self, sink: Sink<'_>) -> Result<Vec<Range<u64>>> {
        match self.unread.take() {
            Some(header) => self.data_of(header, sink),
            None => Ok(Vec::new()),
        }
    }

    /// All data of an object of a length that was checked, such as a symlink's; false where not all is as it was written.
    ///
    /// # Errors
    /// As [`Reader::item`].
    pub fn small_data(&mut self, limit_bytes: usize) -> Result<(Vec<u8>, bool)> {
        let size = self.unread.as_ref().map_or(0, |header| header.node.size_bytes);
        let Some(size) = usize::try_from(size).ok().filter(|size| *size <= limit_bytes) else {
            return Ok((Vec::new(), false));
        };
        let mut bytes: Vec<u8> = Vec::new();
        let lost = self.data(&mut |offset, piece| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
            let to = from.saturating_add(piece.len()).min(size);
            if bytes.len() < to {
                bytes.resize(to, 0);
            }
            bytes[from..to].copy_from_slice(&piece[..to - from]);
        })?;
        let whole = lost.is_empty();
        // What is missing at the end is a hole, but of no more than the tape may claim.
        bytes.resize(if whole { size } else { bytes.len() }, 0);
        Ok((bytes, whole))
    }

    /// All blocks behind a header that are not cells of a file.
    fn bytes(&mut self, header: &Header) -> Result<Vec<u8>> {
        let mut gathered = Gathered::default();
        self.gather(header, &mut gathered)?;
        let told = header.private.as_ref().map(|private| private.checksum);
        let differs = told.is_some_and(|told| told != crc32c::crc32c(gathered.bytes()));
        if differs || !gathered.is_whole() {
            let what = match header.kind {
                Kind::Clear => "the map of numbers in use is damaged".to_owned(),
                Kind::Bits => "the map of what is on the tape is damaged".to_owned(),
                _ => format!("the extended attributes of number {} are damaged", header.number),
            };
            self.lose(what);
        }
        Ok(gathered.into_bytes())
    }

    fn pass(&mut self, header: &Header) -> Result<()> {
        self.gather(header, &mut Gathered::default())
    }

    /// Keeps a header for the next who asks for one.
    fn hold(&mut self, header: Header) {
        self.held = Some(header);
    }

    /// The next block; the first of a further volume has to be that volume's label.
    fn next(&mut self, block: &mut TapeBlock) -> Result<Next> {
        let before = self.blocks.volume();
        let next = self.blocks.next(block)?;
        if self.blocks.volume() == before || !matches!(next, Next::Block) {
            return Ok(next);
        }
        loop {
            let label = match Header::decode(block) {
                Ok(label) => label,
                Err(_) if index::begins_with(block) => {
                    return Err(self.wrong_tape("holds no volume of the dump that is read".into()));
                }
                Err(_) => return Ok(Next::Block),
            };
            if self.is_ours(&label) {
                let wanted = self.label.volume.max(1) + (self.blocks.volume() - 1);
                if label.kind != Kind::Tape || label.volume == wanted || self.blocks.is_lenient() {
                    return Ok(Next::Block);
                }
                let reason = format!("is volume {} of the dump, but volume {wanted} comes here", label.volume);
                return Err(self.wrong_tape(reason));
            }
            // The tape may hold other dumps before this one's.
            if !self.blocks.next_file()? {
                return Err(self.wrong_tape("holds no volume of the dump that is read".into()));
            }
            if !matches!(self.blocks.next(block)?, Next::Block) {
                return Err(self.wrong_tape("holds no volume of the dump that is read".into()));
            }
        }
    }

    fn wrong_tape(&self, reason: String) -> Error {
        Error::WrongTape {
            path: self.path(),
            reason,
        }
    }

    /// The next header of this dump; none at the end of the tape.
    fn header(&mut self) -> Result<Option<Header>> {
        if let Some(header) = self.held.take() {
            return Ok(Some(header));
        }
        let mut block = [0; TAPE_BLOCK_BYTES];
        let from = self.blocks.ordinal();
        let mut torn = false;
        let mut junk = 0;
        self.junk_in = None;
        let found = loop {
            match self.next(&mut block)? {
                Next::Block => {
                    let searching = torn || self.junk_in.is_some();
                    match Header::decode(&block) {
                        // In the data of a dump of its own tape stand headers of blocks before.
                        Ok(header)
                            if self.is_ours(&header) && (!searching || self.astray || header.tape_block >= from) =>
                        {
                            break Some(header);
                        }
                        _ => {
                            junk += 1;
                            self.junk_in = self.junk_in.or(Some(self.blocks.record()));
                        }
                    }
                }
                Next::Lost => torn = true,
                Next::End => break None,
            }
        };
        let to = found.as_ref().map_or(self.blocks.ordinal(), |header| header.tape_block);
        self.gap = to.saturating_sub(from);
        self.cut = !torn && self.gap > junk;
        if let Some(header) = &found {
            self.blocks.count_from(header.tape_block + 1);
        }
        if std::mem::take(&mut self.astray) {
            // Where it went to was in the middle of something.
            (self.gap, self.cut, self.junk_in) = (0, false, None);
        } else if self.gap > 0 {
            let last = to - 1;
            self.lose(format!("tape blocks {from} to {last} are lost"));
        } else if to < from {
            self.troubles.push(Trouble {
                path: self.blocks.path(),
                what: format!("the tape goes back from block {from} to {to}"),
                loss: false,
            });
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
