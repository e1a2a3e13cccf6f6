//! `headstack rmt`: a tape drive for programs that reach theirs through rsh, as stock dump and restore do.
//!
//! | command | does | answer |
//! |---|---|---|
//! | `O` path, mode | opens a tape where it stands; one to write is made if it is not there | `A0` |
//! | `C` path | closes it and remembers where it stands | `A0` |
//! | `R` n | reads a record | `A` length, then its bytes; `A0` at a tape mark |
//! | `W` n, bytes | writes a record | `A` n |
//! | `L` offset, whence | goes to an offset of the file, or tells where it is | `A` offset |
//! | `I` operation, count | moves, marks or erases, with the numbers of `MTIOCTOP` | `A` count |
//! | `S` | tells of the drive | `A` length, then a `struct mtget` |
//!
//! Words end in a newline. `E` errno and a text answer what failed. Source: rmt(8) of Linux and 4.3BSD.

use std::{
    io::{BufRead as _, Read as _},
    path::PathBuf,
};

use anyhow::{Context, Result};
use clap::Args;
use rustix::io::Errno;

use super::{exit::Code, output::Data, reels::StateArgument, tape::Drive};
use crate::tape::{BlockRead, BlockWrite as _, Error, Found, Position, RECORD_MAX_BYTES, Room};

/// Be the drive at the other end of rmt, for stock dump and restore
///
/// RSH names a program that dump and restore run in place of rsh; one that runs this verb gives them tape images, with the
/// host's name before the path ignored. A tape is not rewound when it is closed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  headstack rmt
      exec headstack rmt
      as a script drive.sh, then: RSH=./drive.sh dump -0 -f vt:/srv/full.tap /srv/data")]
pub struct Arguments {
    #[command(flatten)]
    state: StateArgument,
}

/// A session with one program.
struct Session {
    state: StateArgument,
    drive: Option<Drive>,
    /// True while what was written last is a record, behind which no mark is.
    open_file: bool,
}

/// What is answered.
enum Answer {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Arguments {
    /// Answers until there are no more commands.
    ///
    /// # Errors
    /// Standard input or output.
    pub fn run(self) -> Result<Code> {
        let mut input = std::io::stdin().lock();
        let mut output = Data::open()?;
        let mut session = Session {
            state: self.state,
            drive: None,
            open_file: false,
        };
        let mut letter = [0];
        while input.read(&mut letter).context("standard input")? > 0 {
            let mut word = || -> Result<String> {
                let mut line = Vec::new();
                input
                    .by_ref()
                    .take(4096)
                    .read_until(b'\n', &mut line)
                    .context("standard input")?;
                Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
            };
            let answer = match letter[0] {
                b'O' => {
                    let (path, mode) = (word()?, word()?);
                    session.open(path.into(), &mode)
                }
                b'C' => {
                    word()?;
                    session.close()
                }
                b'R' => session.read(number(&word()?)),
                b'W' => {
                    let length = number(&word()?);
                    let mut bytes = Vec::new();
                    let limit = RECORD_MAX_BYTES as u64 + 1;
                    input
                        .by_ref()
                        .take(length.min(limit))
                        .read_to_end(&mut bytes)
                        .context("standard input")?;
                    session.write(&bytes)
                }
                b'L' => {
                    let (offset, whence) = (word()?, word()?);
                    session.seek(number(&offset), &whence)
                }
                b'I' => {
                    let (operation, count) = (word()?, word()?);
                    session.operate(&operation, number(&count))
                }
                b'S' => {
                    word()?;
                    session.status()
                }
                b'\n' => continue,
                _ => {
                    word()?;
                    Err(Errno::INVAL)
                }
            };
            output.write(&told(answer))?;
            output.flush()?;
        }
        // A program that was killed leaves its tape as it is.
        let _ = session.close();
        Ok(Code::Success)
    }
}

/// A count, 0 where it makes no sense.
fn number(word: &str) -> u64 {
    word.trim().parse().unwrap_or(0)
}

/// An answer as it is sent.
fn told(answer: Result<Answer, Errno>) -> Vec<u8> {
    match answer {
        Ok(Answer::Number(number)) => format!("A{number}\n").into_bytes(),
        Ok(Answer::Bytes(bytes)) => [format!("A{}\n", bytes.len()).as_bytes(), &bytes].concat(),
        Err(errno) => format!("E{}\n{errno}\n", errno.raw_os_error()).into_bytes(),
    }
}

/// What a program of tapes expects for a failure.
fn errno_of(error: &Error) -> Errno {
    match error {
        Error::Io { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
        Error::WriteProtected { .. } => Errno::ROFS,
        Error::Full { .. } => Errno::NOSPC,
        Error::BadLength { .. } => Errno::INVAL,
        Error::Exists { .. } => Errno::EXIST,
        _ => Errno::IO,
    }
}

impl Session {
    fn drive(&mut self) -> Result<&mut Drive, Errno> {
        self.drive.as_mut().ok_or(Errno::BADF)
    }

    fn open(&mut self, path: PathBuf, mode: &str) -> Result<Answer, Errno> {
        let _ = self.close();
        let mode = mode.split_whitespace().next().map_or(0, number);
        let writes = mode & 3 != 0;
        let opened = Drive::open(path, &self.state, writes);
        self.drive = Some(opened.map_err(|error| {
            let known = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
            known.map_or(Errno::NOENT, errno_of)
        })?);
        Ok(Answer::Number(0))
    }

    /// Ends what was written and remembers where the tape stands.
    fn close(&mut self) -> Result<Answer, Errno> {
        let ended = self.end_file();
        if let Some(drive) = self.drive.take() {
            drive.keep().map_err(|_| Errno::IO)?;
        }
        ended.map(|()| Answer::Number(0))
    }

    fn end_file(&mut self) -> Result<(), Errno> {
        if std::mem::take(&mut self.open_file) {
            self.drive()?.image.finish().map_err(|error| errno_of(&error))?;
        }
        Ok(())
    }

    fn read(&mut self, length: u64) -> Result<Answer, Errno> {
        let mut record = Vec::new();
        let found = self
            .drive()?
            .image
            .read_record(&mut record)
            .map_err(|error| errno_of(&error))?;
        match found {
            // As drives do: who asks for less than a record gets nothing of it.
            Found::Record if record.len() as u64 > length => Err(Errno::NOMEM),
            Found::Record => Ok(Answer::Bytes(record)),
            Found::BadRecord | Found::Lost { .. } => Err(Errno::IO),
            Found::Mark | Found::End => Ok(Answer::Number(0)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<Answer, Errno> {
        let drive = self.drive()?;
        if drive.warned {
            return Err(Errno::NOSPC);
        }
        let room = drive.image.write_record(bytes).map_err(|error| errno_of(&error))?;
        drive.warned = room == Room::Little;
        self.open_file = true;
        Ok(Answer::Number(bytes.len() as u64))
    }

    fn seek(&mut self, offset_bytes: u64, whence: &str) -> Result<Answer, Errno> {
        self.end_file()?;
        let drive = self.drive()?;
        match (number(whence), offset_bytes) {
            (0, offset_bytes) => {
                let position = Position {
                    offset_bytes,
                    file: 0,
                    record: None,
                };
                drive.image.seek(position).map_err(|error| errno_of(&error))?;
            }
            (1, 0) => {}
            _ => return Err(Errno::INVAL),
        }
        Ok(Answer::Number(BlockRead::position(&drive.image).offset_bytes))
    }

    /// Does what `MTIOCTOP` of Linux does.
    fn operate(&mut self, operation: &str, count: u64) -> Result<Answer, Errno> {
        let operation = number(operation);
        if operation != 5 {
            self.end_file()?;
        }
        let many = u32::try_from(count).map_err(|_| Errno::INVAL)?;
        let image = &mut self.drive()?.image;
        let done = match operation {
            1 => image.forward_files(many),
            2 => image.backward_files(many),
            3 => image.forward_records(many),
            4 => image.backward_records(many),
            5 => (0..many).try_for_each(|_| image.write_mark().map(drop)),
            6 | 7 => image.rewind(),
            8 => Ok(()),
            12 => image.to_end_of_data(),
            13 => image.erase(),
            _ => return Err(Errno::INVAL),
        };
        done.map_err(|error| errno_of(&error))?;
        if operation == 5 {
            self.open_file = false;
        }
        Ok(Answer::Number(count))
    }

    /// The drive as `MTIOCGET` of Linux tells of one.
    fn status(&mut self) -> Result<Answer, Errno> {
        const SCSI_2: i64 = 0x72;
        const ONLINE: i64 = 0x0100_0000;
        const PROTECTED: i64 = 0x0400_0000;
        const BEGINNING: i64 = 0x4000_0000;
        let image = &self.drive()?.image;
        let position = BlockRead::position(image);
        let mut state = ONLINE;
        if image.write_protected() {
            state |= PROTECTED;
        }
        if position == Position::START {
            state |= BEGINNING;
        }
        let mut bytes = Vec::new();
        for word in [SCSI_2, 0, 0, state, 0] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        let place = |number: Option<u32>| number.and_then(|number| i32::try_from(number).ok()).unwrap_or(-1);
        for number in [place(Some(position.file)), place(position.record)] {
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        Ok(Answer::Bytes(bytes))
    }
}
