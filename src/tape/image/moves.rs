//! Moves of a drive: by records and files in both directions, to the beginning, to the end of data.
//!
//! Forward moves pass over damage; backward there is nothing to hold on to where a record's last word is lost, so the
//! drive stops there and says so.

use super::TapImage;
use crate::tape::{
    BlockRead as _, Error, Found, Position, Result,
    format::{WORD_BYTES, Word, padded},
    image::objects::Object,
};

impl TapImage {
    /// Goes to the beginning of the tape.
    ///
    /// # Errors
    /// What was gathered cannot be written.
    pub fn rewind(&mut self) -> Result<()> {
        self.end_writing()?;
        self.position = Position::START;
        Ok(())
    }

    /// Goes forward behind `count` tape marks.
    ///
    /// # Errors
    /// [`Error::OutOfTape`] where the tape ends before; it then stands at its end.
    pub fn forward_files(&mut self, count: u32) -> Result<()> {
        self.end_writing()?;
        for moved in 0..count {
            loop {
                match self.pass()? {
                    Passed::Mark => break,
                    Passed::End => return Err(self.out_of_tape(count, moved)),
                    Passed::Record | Passed::Lost => {}
                }
            }
        }
        Ok(())
    }

    /// Goes forward over `count` records.
    ///
    /// # Errors
    /// [`Error::OutOfTape`] at a mark, behind which it then stands, and at the end.
    pub fn forward_records(&mut self, count: u32) -> Result<()> {
        self.end_writing()?;
        let mut moved = 0;
        while moved < count {
            match self.pass()? {
                Passed::Record => moved += 1,
                Passed::Lost => {}
                Passed::Mark | Passed::End => return Err(self.out_of_tape(count, moved)),
            }
        }
        Ok(())
    }

    /// Goes backward before `count` tape marks.
    ///
    /// # Errors
    /// [`Error::OutOfTape`] where the tape begins before; it then stands at the beginning. [`Error::Damaged`].
    pub fn backward_files(&mut self, count: u32) -> Result<()> {
        self.end_writing()?;
        for moved in 0..count {
            loop {
                match self.pass_back()? {
                    Passed::Mark => break,
                    Passed::End => return Err(self.out_of_tape(count, moved)),
                    Passed::Record | Passed::Lost => {}
                }
            }
        }
        Ok(())
    }

    /// Goes backward over `count` records.
    ///
    /// # Errors
    /// [`Error::OutOfTape`] at a mark, before which it then stands, and at the beginning. [`Error::Damaged`].
    pub fn backward_records(&mut self, count: u32) -> Result<()> {
        self.end_writing()?;
        for moved in 0..count {
            match self.pass_back()? {
                Passed::Record | Passed::Lost => {}
                Passed::Mark | Passed::End => return Err(self.out_of_tape(count, moved)),
            }
        }
        Ok(())
    }

    /// Goes to the beginning of a tape file, counted from 0.
    ///
    /// # Errors
    /// As [`TapImage::forward_files`].
    pub fn to_file(&mut self, file: u32) -> Result<()> {
        self.rewind()?;
        self.forward_files(file)
    }

    /// Goes to the end of data, where the next tape file goes: between the two marks at the end, else to the end of the
    /// medium. A torn object at the very end is what a power loss left of a write; the next one takes its place.
    ///
    /// # Errors
    /// What the host says.
    pub fn to_end_of_data(&mut self) -> Result<()> {
        self.rewind()?;
        // Where the last sane object before the end is, and what it is.
        let mut last = (self.position, Passed::End);
        let mut before = Passed::End;
        loop {
            let at = self.position;
            match self.pass()? {
                Passed::End => break,
                passed => {
                    before = last.1;
                    last = (at, passed);
                }
            }
        }
        let ends_in_two_marks = (before, last.1) == (Passed::Mark, Passed::Mark);
        if ends_in_two_marks || last.1 == Passed::Lost {
            self.position = last.0;
        }
        Ok(())
    }

    /// Goes to where the last tape file begins, but for an index, if `is_own` knows its first record; true where it does.
    ///
    /// # Errors
    /// [`Error::Damaged`]; what the host says.
    pub fn to_own_file(&mut self, is_own: impl Fn(&[u8]) -> bool) -> Result<bool> {
        self.to_end_of_data()?;
        let end = self.position;
        let behind = match end.record {
            // No file has begun there.
            Some(0) if end.file > 1 => 1 + u32::from(self.index_before(end.offset_bytes)?.is_some()),
            Some(0) => 1,
            _ => 0,
        };
        let Some(file) = end.file.checked_sub(behind) else {
            return Ok(false);
        };
        self.to_file(file)?;
        let start = self.position;
        let mut record = Vec::new();
        let own = self.read_record(&mut record)? == Found::Record && is_own(&record);
        self.position = start;
        Ok(own)
    }

    /// Passes one object forward, and all that says nothing before it.
    fn pass(&mut self) -> Result<Passed> {
        loop {
            let offset = self.position.offset_bytes;
            match self.object_at(offset)? {
                Object::Record {
                    class: 0 | 8,
                    whole_bytes,
                    ..
                } => {
                    self.position.offset_bytes += whole_bytes;
                    self.position.record = self.position.record.map(|record| record.saturating_add(1));
                    return Ok(Passed::Record);
                }
                Object::Record { whole_bytes, .. } | Object::Nothing { whole_bytes } => {
                    self.position.offset_bytes += whole_bytes;
                }
                Object::Mark => {
                    self.position.offset_bytes += WORD_BYTES;
                    self.position.file = self.position.file.saturating_add(1);
                    self.position.record = Some(0);
                    return Ok(Passed::Mark);
                }
                Object::End => return Ok(Passed::End),
                Object::Torn => {
                    self.position.offset_bytes = self.next_whole(offset)?;
                    return Ok(Passed::Lost);
                }
            }
        }
    }

    /// Passes one object backward.
    fn pass_back(&mut self) -> Result<Passed> {
        loop {
            let offset = self.position.offset_bytes;
            if offset == 0 {
                self.position = Position::START;
                return Ok(Passed::End);
            }
            let before = offset.checked_sub(WORD_BYTES).ok_or_else(|| self.damaged(offset))?;
            let word = self.far_word_at(before)?.ok_or_else(|| self.damaged(offset))?;
            let (start, passed) = match Word::backward(word) {
                Word::Mark => (before, Some(Passed::Mark)),
                Word::Gap { length_bytes } => (offset - length_bytes, None),
                Word::Marker => (before, None),
                Word::End | Word::Illegal => return Err(self.damaged(offset)),
                Word::Record { class, length_bytes } => {
                    let start = self.start_of(offset, word, length_bytes)?;
                    (start, matches!(class, 0 | 8).then_some(Passed::Record))
                }
            };
            self.position.offset_bytes = start;
            match passed {
                Some(Passed::Mark) => {
                    self.position.file = self.position.file.saturating_sub(1);
                    self.position.record = None;
                }
                Some(_) => self.position.record = self.position.record.and_then(|record| record.checked_sub(1)),
                None => continue,
            }
            if start == 0 {
                self.position = Position::START;
            }
            return Ok(passed.unwrap_or(Passed::Lost));
        }
    }

    /// Where the record that ends at an offset begins.
    fn start_of(&mut self, end_bytes: u64, word: [u8; 4], length_bytes: u32) -> Result<u64> {
        for stored in [padded(length_bytes), u64::from(length_bytes)] {
            if let Some(start) = end_bytes.checked_sub(stored + 2 * WORD_BYTES)
                && self.far_word_at(start)? == Some(word)
            {
                return Ok(start);
            }
        }
        Err(self.damaged(end_bytes))
    }

    fn damaged(&self, offset_bytes: u64) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset_bytes,
        }
    }

    fn out_of_tape(&self, asked: u32, moved: u32) -> Error {
        Error::OutOfTape {
            path: self.path.clone(),
            asked: asked.into(),
            moved: moved.into(),
        }
    }
}

/// What a move passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passed {
    Record,
    Mark,
    Lost,
    End,
}
