//! What stands at an offset of a `.tap` file, and the search for whole records behind damage.
//!
//! A record counts when both of its length words agree and it lies inside the file. Anything else where an object should
//! begin is damage: the search goes on, two bytes at a time, to the next whole record that something sane follows.

use super::TapImage;
use crate::tape::{
    Found, RECORD_MAX_BYTES, Result,
    format::{WORD_BYTES, Word, padded},
};

/// Longest record that is read, in bytes: what a standard image can have, where a file of holes may claim more.
const LENGTH_MAX_BYTES: u32 = (1 << 24) - 1;
/// How far the first object that says something is looked for, in bytes.
const FIRST_WITHIN_BYTES: u64 = 4 << 20;

/// One object of a tape and how many bytes of the file it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// A record.
    Record {
        /// Class of the record.
        class: u8,
        /// Length of its data.
        data_bytes: u32,
        /// Length with its words and padding.
        whole_bytes: u64,
    },
    Mark,
    /// A gap or a marker without meaning.
    Nothing {
        whole_bytes: u64,
    },
    End,
    /// No object of the container.
    Torn,
}

impl TapImage {
    /// What begins at an offset.
    pub(super) fn object_at(&mut self, offset_bytes: u64) -> Result<Object> {
        let Some(word) = self.word_at(offset_bytes)? else {
            let size = self.size_bytes()?;
            return Ok(if offset_bytes >= size {
                Object::End
            } else {
                Object::Torn
            });
        };
        Ok(match Word::forward(word) {
            Word::Mark => Object::Mark,
            Word::End => Object::End,
            Word::Gap { length_bytes } => Object::Nothing {
                whole_bytes: length_bytes,
            },
            Word::Marker => Object::Nothing {
                whole_bytes: WORD_BYTES,
            },
            Word::Illegal => Object::Torn,
            Word::Record { class, length_bytes } => self.record_at(offset_bytes, word, class, length_bytes)?,
        })
    }

    /// Checks the far word of a record; some writers leave out the padding.
    fn record_at(&mut self, offset_bytes: u64, word: [u8; 4], class: u8, length_bytes: u32) -> Result<Object> {
        for stored in [padded(length_bytes), u64::from(length_bytes)] {
            if self.far_word_at(offset_bytes + WORD_BYTES + stored)? == Some(word) {
                return Ok(Object::Record {
                    class,
                    data_bytes: length_bytes,
                    whole_bytes: stored + 2 * WORD_BYTES,
                });
            }
        }
        Ok(Object::Torn)
    }

    /// What the tape begins with, without reading it; damage is not searched.
    pub(in crate::tape) fn read_first(&mut self) -> Result<Found> {
        let mut offset = 0;
        loop {
            return Ok(match self.object_at(offset)? {
                Object::Torn => Found::Lost { length_bytes: 0 },
                // Zeros at the beginning of a damaged stream look like marks, and a file may have them without an end.
                Object::Mark if offset < FIRST_WITHIN_BYTES => {
                    offset += WORD_BYTES;
                    continue;
                }
                Object::Mark => Found::Mark,
                Object::End => Found::End,
                Object::Record { .. } => Found::Record,
                // Markers and gaps say nothing; text may look like one.
                Object::Nothing { whole_bytes } if offset < FIRST_WITHIN_BYTES => {
                    offset += whole_bytes;
                    continue;
                }
                Object::Nothing { .. } => Found::End,
            });
        }
    }

    /// Reads the object where the tape stands, past all that says nothing.
    pub(super) fn read_forward(&mut self, buffer: &mut Vec<u8>) -> Result<Found> {
        loop {
            let offset = self.position.offset_bytes;
            match self.object_at(offset)? {
                Object::Record {
                    class: 0 | 8,
                    data_bytes,
                    whole_bytes,
                } if data_bytes > LENGTH_MAX_BYTES => {
                    self.position.offset_bytes += whole_bytes;
                    return Ok(Found::Lost {
                        length_bytes: whole_bytes,
                    });
                }
                Object::Record {
                    class: class @ (0 | 8),
                    data_bytes,
                    whole_bytes,
                } => {
                    self.read_data(offset + WORD_BYTES, data_bytes, buffer)?;
                    self.position.offset_bytes += whole_bytes;
                    self.position.record = self.position.record.map(|record| record.saturating_add(1));
                    return Ok(if class == 0 { Found::Record } else { Found::BadRecord });
                }
                Object::Record { whole_bytes, .. } | Object::Nothing { whole_bytes } => {
                    self.position.offset_bytes += whole_bytes;
                }
                Object::Mark => {
                    self.position.offset_bytes += WORD_BYTES;
                    self.position.file = self.position.file.saturating_add(1);
                    self.position.record = Some(0);
                    return Ok(Found::Mark);
                }
                Object::End => return Ok(Found::End),
                Object::Torn => {
                    let next = self.next_whole(offset)?;
                    self.position.offset_bytes = next;
                    return Ok(Found::Lost {
                        length_bytes: next - offset,
                    });
                }
            }
        }
    }

    fn read_data(&mut self, offset_bytes: u64, length_bytes: u32, buffer: &mut Vec<u8>) -> Result<()> {
        let length = length_bytes as usize;
        buffer.clear();
        let held = self.window.get(&*self.storage, offset_bytes, length);
        match held {
            Ok(bytes) => buffer.extend_from_slice(bytes),
            Err(source) => return Err(self.failed(source)),
        }
        Ok(())
    }

    /// Offset of the next whole record behind damage, or the end of the file.
    pub(super) fn next_whole(&mut self, torn_bytes: u64) -> Result<u64> {
        let size = self.size_bytes()?;
        let mut offset = torn_bytes + 2;
        while offset < size {
            if let Some(word) = self.word_at(offset)?
                && let Word::Record { class: 0, length_bytes } = Word::forward(word)
                && length_bytes as usize <= RECORD_MAX_BYTES
                && let Object::Record { whole_bytes, .. } = self.record_at(offset, word, 0, length_bytes)?
                && self.is_sane(offset + whole_bytes)?
            {
                return Ok(offset);
            }
            offset += 2;
        }
        Ok(size)
    }

    fn is_sane(&mut self, offset_bytes: u64) -> Result<bool> {
        let Some(word) = self.far_word_at(offset_bytes)? else {
            return Ok(offset_bytes >= self.size_bytes()?);
        };
        Ok(match Word::forward(word) {
            Word::Record { class, length_bytes } => {
                self.record_at(offset_bytes, word, class, length_bytes)? != Object::Torn
            }
            Word::Illegal => false,
            _ => true,
        })
    }

    /// A word in the order of reading.
    fn word_at(&mut self, offset_bytes: u64) -> Result<Option<[u8; 4]>> {
        match self.window.get(&*self.storage, offset_bytes, 4) {
            Ok(bytes) => Ok(bytes.try_into().ok()),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// A word somewhere else, for which the window is not moved.
    pub(super) fn far_word_at(&mut self, offset_bytes: u64) -> Result<Option<[u8; 4]>> {
        let mut word = [0; 4];
        if let Some(bytes) = self.window.held(offset_bytes, 4) {
            word.copy_from_slice(bytes);
            return Ok(Some(word));
        }
        match self.storage.read_at(&mut word, offset_bytes) {
            Ok(4) => Ok(Some(word)),
            Ok(_) => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }
}
