//! A tape that is read while it is written: records pass from one thread to another, and none is kept.
//!
//! It holds one tape file and is one volume. Reading waits for the writer; a writer whose reader has gone is told so, a reader
//! whose writer has gone finds the end.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{BlockRead, BlockWrite, Error, Found, Position, Result, Room};

/// Name of the one volume, for messages.
pub const NAME: &str = "pipe";
/// Records that wait for the reader at most.
const WAITING: usize = 32;

/// One end of a pipe, to be taken once; whoever lets go of it leaves the other end alone.
#[derive(Debug, Clone)]
pub struct Pipe {
    end: Arc<Mutex<Option<End>>>,
}

#[derive(Debug)]
enum End {
    Write(Writer),
    Read(Reader),
}

/// Makes a pipe: the end that is written, and the end that is read.
#[must_use]
pub fn pipe() -> (Pipe, Pipe) {
    let (records, waiting) = bounded(WAITING);
    let position = Position::START;
    let of = |end| Pipe {
        end: Arc::new(Mutex::new(Some(end))),
    };
    let read = Reader {
        records: waiting,
        position,
    };
    (of(End::Write(Writer { records, position })), of(End::Read(read)))
}

impl PartialEq for Pipe {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.end, &other.end)
    }
}

impl Eq for Pipe {}

impl Pipe {
    /// What writes to it.
    ///
    /// # Errors
    /// [`Error::NoVolume`] where it was taken already, or is the end that is read.
    pub fn writer(&self) -> Result<Box<dyn BlockWrite>> {
        match self.take() {
            Some(End::Write(writer)) => Ok(Box::new(writer)),
            _ => Err(taken()),
        }
    }

    /// What reads from it.
    ///
    /// # Errors
    /// [`Error::NoVolume`] where it was taken already, or is the end that is written.
    pub fn reader(&self) -> Result<Box<dyn BlockRead>> {
        match self.take() {
            Some(End::Read(reader)) => Ok(Box::new(reader)),
            _ => Err(taken()),
        }
    }

    fn take(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn taken() -> Error {
    Error::NoVolume { number: 1, path: None }
}

/// The end that is written.
#[derive(Debug)]
struct Writer {
    records: Sender<Vec<u8>>,
    position: Position,
}

/// The end that is read.
#[derive(Debug)]
struct Reader {
    records: Receiver<Vec<u8>>,
    position: Position,
}

/// Counts a record.
fn pass(position: &mut Position, record: &[u8]) {
    position.offset_bytes += record.len() as u64;
    position.record = position.record.map(|record| record.saturating_add(1));
}

impl BlockWrite for Writer {
    fn write_record(&mut self, bytes: &[u8]) -> Result<Room> {
        let sent = self.records.send(bytes.to_vec());
        sent.map_err(|_| Error::Io {
            path: PathBuf::from(NAME),
            source: io::ErrorKind::BrokenPipe.into(),
        })?;
        pass(&mut self.position, bytes);
        Ok(Room::Plenty)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn write_index(&mut self, _contents: &[u8], _record_bytes: usize) -> Result<bool> {
        Ok(false)
    }

    fn position(&self) -> Position {
        self.position
    }

    fn has_room(&self, _record_bytes: usize) -> bool {
        true
    }
}

impl BlockRead for Reader {
    fn read_record(&mut self, buffer: &mut Vec<u8>) -> Result<Found> {
        match self.records.recv() {
            Ok(record) => {
                pass(&mut self.position, &record);
                *buffer = record;
                Ok(Found::Record)
            }
            Err(_) => Ok(Found::End),
        }
    }

    fn position(&self) -> Position {
        self.position
    }

    fn seek(&mut self, position: Position) -> Result<()> {
        if position.offset_bytes == self.position.offset_bytes {
            return Ok(());
        }
        Err(Error::OutOfTape {
            path: PathBuf::from(NAME),
            asked: position.offset_bytes,
            moved: self.position.offset_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_in_order_and_an_end_that_is_gone_is_told() {
        let (to, from) = pipe();
        let (mut writer, mut reader) = (to.writer().unwrap(), from.reader().unwrap());
        assert!(matches!(
            to.writer().map(|_| ()),
            Err(Error::NoVolume { number: 1, .. })
        ));
        writer.write_record(b"one").unwrap();
        writer.write_record(b"two, longer").unwrap();
        let mut record = Vec::new();
        assert_eq!(reader.read_record(&mut record).unwrap(), Found::Record);
        assert_eq!((record.as_slice(), reader.position().offset_bytes), (&b"one"[..], 3));
        drop(writer);
        assert_eq!(reader.read_record(&mut record).unwrap(), Found::Record);
        assert_eq!(record, b"two, longer");
        assert_eq!(reader.read_record(&mut record).unwrap(), Found::End);
        assert!(reader.seek(Position::START).is_err(), "what was read is gone");
        let (to, from) = pipe();
        drop(from);
        let failed = to.writer().unwrap().write_record(b"x").map(|_| ());
        assert!(matches!(failed, Err(Error::Io { .. })));
    }
}
