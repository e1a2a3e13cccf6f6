//! Virtual tapes: records and tape marks in a file, in the container that SIMH made common, or a flat stream.
//!
//! [`mod@format`] knows the words between the records, [`image`] is a drive over one `.tap` file, [`flat`] the same over a
//! plain stream of bytes, [`volumes`] names the files of a set, [`mod@index`] is a last tape file about those before it,
//! [`remembered`] keeps what outlives a command, [`mod@pipe`] is a tape that
//! is read while it is written. What is in the records is the business of `dump`.
//!
//! Glossary: a *record* is what one write put on the tape and one read gets back; a *tape mark* ends a *tape file*, the
//! records between two marks; the *end of data* is where the next tape file will go; a *gap* is a stretch without
//! records; a *volume* is one tape of a set; *early warning* is given when little room is left, as drives do, so that
//! the writer can end the volume in good order.

mod error;
pub mod flat;
pub mod format;
pub mod image;
pub mod index;
pub mod pipe;
pub mod remembered;
pub mod volumes;
mod window;

pub use self::{
    error::{Error, Result},
    flat::FlatStream,
    image::TapImage,
    volumes::{Container, Names, Volumes},
};

/// Longest record that is written, in bytes: the limit of standard images, and far above what dumps use.
pub const RECORD_MAX_BYTES: usize = 1 << 20;

/// Where a tape stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Offset in the file that holds the tape.
    pub offset_bytes: u64,
    /// Tape marks passed since the beginning of the tape.
    pub file: u32,
    /// Records passed since the last mark; none after moving backward over a mark.
    pub record: Option<u32>,
}

impl Position {
    /// The beginning of the tape.
    pub const START: Self = Self {
        offset_bytes: 0,
        file: 0,
        record: Some(0),
    };
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A record, now in the buffer.
    Record,
    /// A record that the drive marked as bad: the buffer has what could be read of it, perhaps nothing.
    BadRecord,
    /// A stretch that holds no record of any kind: the tape is damaged there. Reading goes on behind it.
    Lost {
        /// Length of the stretch in bytes.
        length_bytes: u64,
    },
    /// A tape mark.
    Mark,
    /// The end of the medium; nothing is behind it.
    End,
}

/// What is left after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// More than the early warning asks for.
    Plenty,
    /// Early warning: the volume should be ended now.
    Little,
}

/// How much a tape takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Length of the medium in bytes of the file that holds it; none where it is without end.
    pub capacity_bytes: Option<u64>,
    /// Room left at which [`Room::Little`] is said.
    pub early_warning_bytes: u64,
}

impl Limits {
    /// What to say of a medium that is used up to `end_bytes`.
    fn room(&self, end_bytes: u64) -> Room {
        match self.capacity_bytes {
            Some(capacity) if capacity.saturating_sub(end_bytes) < self.early_warning_bytes => Room::Little,
            _ => Room::Plenty,
        }
    }

    /// True where `end_bytes` is on the medium.
    fn hold(&self, end_bytes: u64) -> bool {
        self.capacity_bytes.is_none_or(|capacity| end_bytes <= capacity)
    }
}

/// A tape that is read from the front to the back.
pub trait BlockRead: Send {
    /// Reads the next object; a record replaces what is in `buffer`.
    ///
    /// # Errors
    /// What the host says. Damage is no error, see [`Found::Lost`].
    fn read_record(&mut self, buffer: &mut Vec<u8>) -> Result<Found>;

    /// Where the tape stands.
    fn position(&self) -> Position;

    /// Goes to a place that [`BlockRead::position`] gave.
    ///
    /// # Errors
    /// [`Error::OutOfTape`] where the place is behind the end.
    fn seek(&mut self, position: Position) -> Result<()>;
}

/// A tape that is written from where it stands; what was behind is lost, as on a real one.
pub trait BlockWrite: Send {
    /// Writes a record.
    ///
    /// # Errors
    /// [`Error::Full`] where it does not fit: nothing was written then. [`Error::WriteProtected`],
    /// [`Error::BadLength`] and what the host says: what was not yet synced may be lost, and the tape ends before it.
    fn write_record(&mut self, bytes: &[u8]) -> Result<Room>;

    /// Makes everything so far durable without ending the tape file.
    ///
    /// # Errors
    /// As [`BlockWrite::write_record`].
    fn sync(&mut self) -> Result<()>;

    /// Ends the tape file and makes it durable; the tape stands where the next one goes.
    ///
    /// # Errors
    /// As [`BlockWrite::write_record`].
    fn finish(&mut self) -> Result<()>;

    /// Writes an [`mod@index`] behind a tape file that was ended, in records of a length; false where it does not fit or the
    /// container holds one tape file only, and nothing was written.
    ///
    /// # Errors
    /// As [`BlockWrite::write_record`].
    fn write_index(&mut self, contents: &[u8], record_bytes: usize) -> Result<bool>;

    /// True where a record of a length fits and leaves more than the early warning asks for, or is the first on the tape.
    fn has_room(&self, record_bytes: usize) -> bool;

    /// Where the tape stands.
    fn position(&self) -> Position;
}
