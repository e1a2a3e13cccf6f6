//! A dump as a tree to look into: names, facts and data of any object, read from where they lie.
//!
//! Names come from the directories of the dump, places from the catalogue or a scan; facts of an object are read when
//! they are asked for, with those of all that lie before it in its record, and kept. Data is read a segment at a time
//! behind a cursor, so that a file that is read from its beginning is read once. Nothing here is ever written.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use super::{
    ROOT, TAPE_BLOCK_BYTES,
    attributes::Attribute,
    catalog::{Places, key_of},
    error::{Error, Result},
    reader::{Item, Progress, Reader},
    record::{Header, Node},
    restore::{Catalogue, Space, Target, attributes_of, is_directory},
};

/// How far a search for a hole goes over data: as far as they are kept for who reads them next.
const SEARCH_BYTES: u64 = 4 << 20;

/// Stretches of a file that are kept behind the cursor, which the host may read out of order.
const KEPT_MAX: usize = 16;

/// What is known of an object.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// As the tape tells.
    pub node: Node,
    /// Number of a device, in full where the tape tells it.
    pub device: u64,
    /// What it takes on a disk, in bytes; of a long file with holes at its beginning, what is known of that.
    pub held_bytes: u64,
    /// Extended attributes and access control lists.
    pub attributes: Vec<Attribute>,
}

/// What a search for data or holes gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// They begin here, in bytes from the start of the file.
    At(u64),
    /// There are none any more.
    End,
    /// The file is lost.
    Lost,
}

/// What a read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Bytes; fewer than asked for only at the end.
    Bytes(Vec<u8>),
    /// What was asked for is lost, or not as it was written.
    Lost,
}

/// A dump that is looked into.
#[derive(Debug)]
pub struct Browser {
    space: Space,
    catalogue: Catalogue,
    places: Places,
    reader: Reader,
    /// Facts of objects that are no directories, as far as they were read; none of those that are not on the tape.
    facts: HashMap<u32, Option<Facts>>,
    /// Attributes of objects that stand behind the end of the dump.
    trailing: HashMap<u32, Vec<Attribute>>,
    /// The object that was read last, before what comes next on the tape.
    cursor: Option<Cursor>,
}

/// A file that is being read.
#[derive(Debug)]
struct Cursor {
    number: u32,
    progress: Progress,
    /// Stretches that were read last, by their offsets; what is between them is a hole.
    kept: VecDeque<(u64, Vec<u8>)>,
    /// Up to here nothing is kept any more.
    dropped_to: u64,
}

impl Browser {
    /// Looks into a dump whose names are read from `names`, its table of contents or another reader of the dump itself.
    ///
    /// # Errors
    /// [`Error::WrongTape`] where the two are not of one dump; [`Error::Tape`].
    pub fn new(names: &mut Reader, reader: Reader, places: Places) -> Result<Self> {
        if key_of(names.label()) != key_of(reader.label()) {
            return Err(Error::WrongTape {
                path: reader.path(),
                reason: format!("{} tells of another dump", names.path().display()),
            });
        }
        let mut catalogue = Catalogue::read(names)?;
        let mut troubles = std::mem::take(&mut catalogue.troubles);
        let space = catalogue.reach(&mut troubles);
        catalogue.troubles = troubles;
        let mut browser = Self {
            space,
            catalogue,
            places,
            reader,
            facts: HashMap::new(),
            trailing: HashMap::new(),
            cursor: None,
        };
        browser.read_trailing()?;
        Ok(browser)
    }

    /// Reads what stands behind the end of the dump, by way of all of it where its place is wrong.
    fn read_trailing(&mut self) -> Result<()> {
        let Some(place) = self.places.trailing() else {
            return Ok(());
        };
        for whole in [false, true] {
            let gone = if whole {
                self.reader.rewind()
            } else {
                self.reader.go_to(place)
            };
            if gone.is_err() && !whole {
                continue;
            }
            gone?;
            loop {
                match self.reader.item()? {
                    Item::Trailing(header, block) => {
                        let more = attributes_of(&block, header.number, &mut self.catalogue.troubles);
                        self.trailing.entry(header.number).or_default().extend(more);
                    }
                    Item::End => break,
                    _ if whole => {}
                    // Another copy of the tape has it elsewhere.
                    _ => break,
                }
            }
            if !self.trailing.is_empty() {
                break;
            }
        }
        self.catalogue.troubles.extend(self.reader.take_troubles());
        Ok(())
    }

    /// What is wrong with the names.
    #[must_use]
    pub fn troubles(&self) -> &[super::Trouble] {
        &self.catalogue.troubles
    }

    /// The label of the dump.
    #[must_use]
    pub fn label(&self) -> &Header {
        self.reader.label()
    }

    /// How many objects have a name.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.space.objects()
    }

    /// True for a directory that was reached.
    #[must_use]
    pub fn is_directory(&self, number: u32) -> bool {
        self.space.paths.contains_key(&number)
    }

    /// The directory that a directory is in; the root is in itself.
    #[must_use]
    pub fn parent(&self, number: u32) -> u32 {
        self.space.folder_names.get(&number).map_or(ROOT, |(parent, _)| *parent)
    }

    /// What a directory holds of what is on this tape. An increment names what did not change, and does not hold it.
    pub fn children(&self, number: u32) -> impl Iterator<Item = (&[u8], Target)> {
        let names = self.space.folders.get(&number).into_iter().flatten();
        names
            .filter(|(_, target)| self.is_here(**target))
            .map(|(name, target)| (name.as_slice(), *target))
    }

    /// What a name in a directory stands for.
    #[must_use]
    pub fn child(&self, number: u32, name: &[u8]) -> Option<Target> {
        let target = self.space.folders.get(&number)?.get(name)?;
        self.is_here(*target).then_some(*target)
    }

    fn is_here(&self, target: Target) -> bool {
        let here = &self.catalogue.here;
        self.catalogue.folders.contains_key(&target.number)
            || here.contains(target.number)
            || (here.count() == 0 && !target.is_directory)
    }

    /// Facts about an object; none where the tape has lost it.
    ///
    /// # Errors
    /// [`Error::Tape`] and [`Error::WrongTape`].
    pub fn facts(&mut self, number: u32) -> Result<Option<Facts>> {
        let mut facts = self.facts_with_object(number)?;
        if let (Some(facts), Some(more)) = (&mut facts, self.trailing.get(&number)) {
            facts.attributes.extend(more.iter().cloned());
        }
        Ok(facts)
    }

    /// Facts without the attributes that stand behind the end of the dump.
    fn facts_with_object(&mut self, number: u32) -> Result<Option<Facts>> {
        if self.is_directory(number) {
            let dressing = self.catalogue.dressings.get(&number);
            return Ok(dressing.map(|dressing| Facts {
                node: dressing.node,
                device: 0,
                held_bytes: dressing.node.size_bytes,
                attributes: dressing.attributes.clone(),
            }));
        }
        if let Some(known) = self.facts.get(&number) {
            return Ok(known.clone());
        }
        self.cursor = None;
        let found = self.find(number)?;
        if found.is_some() {
            // What belongs to it stands behind it.
            self.collect(number)?;
        }
        Ok(self.facts.entry(number).or_default().clone())
    }

    /// Type and permissions of an object whose facts were read already.
    #[must_use]
    pub fn known_mode(&self, number: u32) -> Option<u16> {
        Some(self.facts.get(&number)?.as_ref()?.node.mode)
    }

    /// Reads on behind an object until the next one is known, so that its attributes are.
    fn collect(&mut self, number: u32) -> Result<()> {
        loop {
            match self.reader.item()? {
                Item::Attributes(header, block) if header.number == number => {
                    let mut troubles = Vec::new();
                    let more = attributes_of(&block, number, &mut troubles);
                    for trouble in &troubles {
                        log::warn!("{}: {}", trouble.path.display(), trouble.what);
                    }
                    if let Some(Some(facts)) = self.facts.get_mut(&number) {
                        facts.attributes.extend(more);
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    /// Goes to an object; its data comes next then. None where it is not where it should be, nor anywhere else.
    fn find(&mut self, number: u32) -> Result<Option<Header>> {
        let place = self.places.of(number);
        for whole in [false, true] {
            match place {
                Some(place) if !whole => {
                    if self.reader.go_to(place).is_err() {
                        continue;
                    }
                }
                _ => self.reader.rewind()?,
            }
            let mut last = None;
            loop {
                match self.reader.item()? {
                    Item::Object(header) if is_directory(&header.node) => last = None,
                    Item::Object(header) => {
                        self.learn(&header);
                        if header.number == number {
                            self.reader.take_troubles();
                            return Ok(Some(*header));
                        }
                        if header.number > number {
                            break;
                        }
                        last = Some(header.number);
                    }
                    Item::Attributes(header, block) if last == Some(header.number) => {
                        let more = attributes_of(&block, header.number, &mut Vec::new());
                        if let Some(Some(facts)) = self.facts.get_mut(&header.number) {
                            facts.attributes = more;
                        }
                    }
                    Item::End | Item::Trailing(..) => break,
                    Item::Attributes(..) | Item::Used(_) | Item::Here(_) => {}
                }
            }
            if place.is_none() {
                break;
            }
        }
        self.reader.take_troubles();
        Ok(None)
    }

    fn learn(&mut self, header: &Header) {
        let device = header.private.as_ref().map(|private| private.device);
        let facts = Facts {
            node: header.node,
            device: device.unwrap_or_else(|| header.node.device.into()),
            held_bytes: held_bytes(header),
            attributes: Vec::new(),
        };
        self.facts.insert(header.number, Some(facts));
    }

    /// Reads data of a file, or what a symlink says.
    ///
    /// # Errors
    /// As [`Browser::facts`].
    pub fn read(&mut self, number: u32, offset_bytes: u64, length: usize) -> Result<Data> {
        let Some((cursor, reader)) = self.cursor_before(number, offset_bytes)? else {
            return Ok(Data::Lost);
        };
        let end = offset_bytes
            .saturating_add(length as u64)
            .min(cursor.progress.size_bytes());
        while cursor.progress.offset_bytes() < end && cursor.advance(reader, offset_bytes)? {}
        reader.take_troubles();
        Ok(cursor.bytes(offset_bytes..end))
    }

    /// Looks for data, or for a hole, at or behind an offset of a file. What is lost counts as data, and long data may be said
    /// to end before they do.
    ///
    /// # Errors
    /// As [`Browser::facts`].
    pub fn seek(&mut self, number: u32, offset_bytes: u64, data: bool) -> Result<Sought> {
        let Some((cursor, reader)) = self.cursor_before(number, offset_bytes)? else {
            return Ok(Sought::Lost);
        };
        let size = cursor.progress.size_bytes();
        if offset_bytes >= size {
            return Ok(Sought::End);
        }
        loop {
            let (at, known) = (
                cursor.next(offset_bytes, data),
                cursor.progress.offset_bytes().min(size),
            );
            let enough = !data && at >= offset_bytes.saturating_add(SEARCH_BYTES);
            if at < known || (enough && at < size) {
                reader.take_troubles();
                return Ok(Sought::At(at));
            }
            if known == size {
                reader.take_troubles();
                return Ok(if data { Sought::End } else { Sought::At(size) });
            }
            cursor.advance(reader, offset_bytes)?;
        }
    }

    /// The cursor, in or before a place of a file; none where the file is lost.
    fn cursor_before(&mut self, number: u32, offset_bytes: u64) -> Result<Option<(&mut Cursor, &mut Reader)>> {
        let before = |cursor: &Cursor| cursor.number == number && cursor.dropped_to <= offset_bytes;
        if !self.cursor.as_ref().is_some_and(before) {
            self.cursor = None;
            let Some(header) = self.find(number)? else {
                return Ok(None);
            };
            let Some(progress) = self.reader.begin_data() else {
                return Ok(None);
            };
            // Its attributes are behind its data, and asked for again.
            self.facts.remove(&header.number);
            self.cursor = Some(Cursor {
                number,
                progress,
                kept: VecDeque::new(),
                dropped_to: 0,
            });
        }
        Ok(self.cursor.as_mut().map(|cursor| (cursor, &mut self.reader)))
    }
}

/// What an object takes on a disk, as far as its first segment tells.
fn held_bytes(header: &Header) -> u64 {
    let cells = header.cells();
    let held = cells.iter().filter(|cell| **cell != 0).count();
    let size = header.node.size_bytes;
    if held == cells.len() {
        size
    } else {
        size.min((held * TAPE_BLOCK_BYTES) as u64)
    }
}

impl Cursor {
    /// Reads the next segment; what is before `from` is kept while there is room. False where there is no more.
    fn advance(&mut self, reader: &mut Reader, from: u64) -> Result<bool> {
        let (kept, dropped_to) = (&mut self.kept, &mut self.dropped_to);
        let more = reader.advance(&mut self.progress, &mut |offset, piece| {
            // A file that goes back behind what was read is not to be trusted: nothing is kept out of order.
            kept.push_back((offset, piece.to_vec()));
        })?;
        let passed = |(at, piece): &(u64, Vec<u8>)| at + piece.len() as u64 <= from;
        while kept.len() > KEPT_MAX && kept.front().is_some_and(passed) {
            if let Some((at, piece)) = kept.pop_front() {
                *dropped_to = (*dropped_to).max(at + piece.len() as u64);
            }
        }
        Ok(more)
    }

    /// Where data, or a hole, come next in what was read; behind all of it where they do not.
    fn next(&self, from: u64, data: bool) -> u64 {
        let kept = self.kept.iter().map(|(at, piece)| *at..at + piece.len() as u64);
        let mut full: Vec<Range<u64>> = kept.chain(self.progress.lost().iter().cloned()).collect();
        full.sort_by_key(|range| range.start);
        let mut behind = full.into_iter().filter(|range| range.end > from);
        if data {
            return behind.next().map_or(u64::MAX, |range| range.start.max(from));
        }
        behind.fold(from, |at, range| if range.start <= at { at.max(range.end) } else { at })
    }

    /// What was read of a range.
    fn bytes(&self, range: Range<u64>) -> Data {
        let overlaps = |lost: &Range<u64>| lost.start < range.end && range.start < lost.end;
        if self.progress.lost().iter().any(overlaps) {
            return Data::Lost;
        }
        let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(0)];
        for (at, piece) in &self.kept {
            let from = range.start.max(*at);
            let to = range.end.min(at + piece.len() as u64);
            if from < to {
                let of = |offset: u64, base: u64| usize::try_from(offset - base).unwrap_or(0);
                bytes[of(from, range.start)..of(to, range.start)].copy_from_slice(&piece[of(from, *at)..of(to, *at)]);
            }
        }
        Data::Bytes(bytes)
    }
}
