//! Single files, each restored from where it lies: what is between them is not read.
//!
//! Places come from a catalogue, which may be of another copy of the tape: what is not where it should be is looked for
//! from the beginning.

use std::collections::BTreeSet;

use super::Files;
use crate::dump::{
    catalog::{Place, Places},
    error::Result,
    reader::{Item, Reader},
    record::{Header, Kind},
    restore::{Catalogue, Space, is_directory},
};

impl Files<'_> {
    /// Restores all files that have a name in `space`, each from where it lies. Those that are not there, as on a copy of the tape
    /// in another container, are looked for on the whole tape, once for all of them.
    pub(in crate::dump::restore) fn restore_placed(
        &mut self,
        reader: &mut Reader,
        places: &Places,
        catalogue: &mut Catalogue,
        space: &Space,
    ) -> Result<()> {
        let wanted = space.file_names.keys().copied();
        let mut next = None;
        let mut missed = BTreeSet::new();
        for number in wanted.filter(|number| catalogue.here.contains(*number)) {
            if let Some(place) = places.of(number).filter(|place| *place > reader.place()) {
                if reader.go_to(place).is_err() {
                    missed.insert(number);
                    continue;
                }
                next = None;
            }
            if !self.find(reader, number, space, &mut next)? {
                // What was met there says nothing about the tape.
                reader.take_troubles();
                missed.insert(number);
            }
            self.dress_last();
        }
        if !missed.is_empty() {
            reader.rewind()?;
            self.find_all(reader, &missed, space)?;
        }
        for number in missed {
            if !self.seen.contains(&number) {
                for path in space.paths_of(number) {
                    self.lose_data(&path, Vec::new());
                }
            }
        }
        if let Some(place) = places.trailing() {
            self.find_trailing(reader, place, catalogue)?;
            self.take_trailing(reader, catalogue, space)?;
        }
        self.restored.troubles.extend(reader.take_troubles());
        Ok(())
    }

    /// Goes to what stands behind the end of the dump; where its place is wrong, by way of all that is before.
    fn find_trailing(&mut self, reader: &mut Reader, place: Place, catalogue: &mut Catalogue) -> Result<()> {
        let found = reader.go_to(place).and_then(|()| reader.item());
        catalogue.next = match found {
            Ok(found @ Item::Trailing(..)) => Some(found),
            _ => {
                reader.take_troubles();
                reader.rewind()?;
                loop {
                    match reader.item()? {
                        Item::End => break None,
                        found @ Item::Trailing(..) => break Some(found),
                        _ => {}
                    }
                }
            }
        };
        Ok(())
    }

    /// Reads on to an object and restores it with what belongs to it; false where what comes is of higher numbers, or where its
    /// first segment does not come.
    fn find(
        &mut self,
        reader: &mut Reader,
        number: u32,
        space: &Space,
        next: &mut Option<Box<Header>>,
    ) -> Result<bool> {
        loop {
            let header = match next.take() {
                Some(header) => header,
                None => match reader.item()? {
                    Item::Object(header) => header,
                    Item::Attributes(header, block) => {
                        self.belongs(&header, &block);
                        continue;
                    }
                    Item::Used(_) | Item::Here(_) => continue,
                    Item::Trailing(..) | Item::End => return Ok(self.seen.contains(&number)),
                },
            };
            self.dress_last();
            if !is_directory(&header.node) && header.number > number {
                *next = Some(header);
                return Ok(self.seen.contains(&number));
            }
            if header.number == number && header.kind == Kind::Inode && self.seen.insert(number) {
                self.object(reader, &header, space)?;
            }
        }
    }

    /// Reads the tape to its end, or until all of these objects are restored; what is left of one stands for it.
    fn find_all(&mut self, reader: &mut Reader, numbers: &BTreeSet<u32>, space: &Space) -> Result<()> {
        let mut left = numbers.len();
        loop {
            match reader.item()? {
                Item::Object(header) => {
                    self.dress_last();
                    if left == 0 {
                        return Ok(());
                    }
                    let wanted = numbers.contains(&header.number) && !is_directory(&header.node);
                    if wanted && self.seen.insert(header.number) {
                        left -= 1;
                        self.object(reader, &header, space)?;
                    }
                }
                Item::Attributes(header, block) => self.belongs(&header, &block),
                Item::Used(_) | Item::Here(_) => {}
                Item::Trailing(..) | Item::End => break,
            }
        }
        self.dress_last();
        Ok(())
    }
}
