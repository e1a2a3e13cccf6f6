//! Faults of a disk, set up on purpose: what each does to a request, and how it is written.
//!
//! | written | what it does |
//! |---|---|
//! | `bad-sector@OFFSET[+LENGTH]` | reads there fail until the place is written |
//! | `read-error[:N]`, `write-error[:N]` | every Nth read or write fails; every one by default |
//! | `bit-flip@OFFSET` | one bit of the image is turned over, now, and nobody is told |
//! | `torn-write` | the next write stores only its first sector and fails |
//! | `lost-flush` | flushes say yes and do nothing: what was written since is lost when the disk is pulled |
//! | `slow:MS` | every request takes so many milliseconds more |
//! | `hang` | requests do not end until the disk is healed or pulled |
//!
//! Sizes take K, M, G and T. Counting makes them deterministic: the same requests meet the same faults.

use std::{
    collections::VecDeque,
    fmt, io,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::storage::{Access, Directory, Storage, size};

/// Smallest part of a disk that fails or is stored by itself.
const SECTOR_BYTES: u64 = 512;
/// Bytes of old contents that a disk without flushes remembers at most; older ones it counts as durable.
const CACHE_BYTES: usize = 64 << 20;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Reads of the range fail until it is written.
    BadSector {
        /// Where it begins, in bytes of the image.
        offset_bytes: u64,
        /// How long it is.
        length_bytes: u64,
    },
    /// Every so many reads one fails.
    ReadError {
        /// How many.
        every: u64,
    },
    /// Every so many writes one fails.
    WriteError {
        /// How many.
        every: u64,
    },
    /// A bit of the image is turned over when the fault is set up.
    BitFlip {
        /// The byte of the image.
        offset_bytes: u64,
    },
    /// The next write is stored in part and fails.
    TornWrite,
    /// Flushes do nothing.
    LostFlush,
    /// Requests take longer.
    Slow {
        /// By how much.
        ms: u64,
    },
    /// Requests do not end.
    Hang,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSector {
                offset_bytes,
                length_bytes,
            } => write!(f, "bad-sector@{offset_bytes}+{length_bytes}"),
            Self::ReadError { every } => write!(f, "read-error:{every}"),
            Self::WriteError { every } => write!(f, "write-error:{every}"),
            Self::BitFlip { offset_bytes } => write!(f, "bit-flip@{offset_bytes}"),
            Self::TornWrite => f.write_str("torn-write"),
            Self::LostFlush => f.write_str("lost-flush"),
            Self::Slow { ms } => write!(f, "slow:{ms}"),
            Self::Hang => f.write_str("hang"),
        }
    }
}

/// A text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no fault; they are bad-sector@OFFSET+LENGTH, read-error:N, write-error:N, bit-flip@OFFSET, torn-write, \
     lost-flush, slow:MS and hang"
)]
pub struct NoFault(String);

impl FromStr for Fault {
    type Err = NoFault;

    fn from_str(text: &str) -> Result<Self, NoFault> {
        let wrong = || NoFault(text.to_owned());
        let size = |text: &str| size::parse(text).map_err(|_| wrong());
        if let Some((name, place)) = text.split_once('@') {
            let (offset, length) = match place.split_once('+') {
                Some((offset, length)) => (offset, Some(length)),
                None => (place, None),
            };
            let offset_bytes = size(offset)?;
            return match (name, length) {
                ("bad-sector", length) => Ok(Self::BadSector {
                    offset_bytes,
                    length_bytes: length.map_or(Ok(SECTOR_BYTES), size)?.max(1),
                }),
                ("bit-flip", None) => Ok(Self::BitFlip { offset_bytes }),
                _ => Err(wrong()),
            };
        }
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => (name, Some(number.parse::<u64>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match (name, number) {
            ("read-error", every) => Ok(Self::ReadError {
                every: every.unwrap_or(1).max(1),
            }),
            ("write-error", every) => Ok(Self::WriteError {
                every: every.unwrap_or(1).max(1),
            }),
            ("slow", Some(ms)) => Ok(Self::Slow { ms }),
            ("torn-write", None) => Ok(Self::TornWrite),
            ("lost-flush", None) => Ok(Self::LostFlush),
            ("hang", None) => Ok(Self::Hang),
            _ => Err(wrong()),
        }
    }
}

/// The faults of one disk.
pub(super) struct Faults {
    directory: Arc<dyn Directory>,
    image: PathBuf,
    state: Mutex<State>,
    healed: Condvar,
}

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    reads: u64,
    writes: u64,
    /// Contents before writes that no flush made durable, the oldest first; none where flushes work.
    undo: Option<VecDeque<(u64, Vec<u8>)>>,
    undo_bytes: usize,
    /// True while it is pulled.
    unpowered: bool,
}

/// What becomes of a write.
pub(super) enum Write {
    /// It is done.
    Whole,
    /// So many bytes are stored, then it fails.
    Torn(usize),
}

impl Faults {
    pub(super) fn new(directory: Arc<dyn Directory>, image: PathBuf) -> Self {
        Self {
            directory,
            image,
            state: Mutex::default(),
            healed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file beneath, without faults.
    fn image(&self) -> io::Result<Arc<dyn Storage>> {
        self.directory.open(&self.image, Access::ReadWrite)
    }

    pub(super) fn hangs(&self) -> bool {
        self.lock().faults.contains(&Fault::Hang)
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.lock().faults.iter().map(ToString::to_string).collect()
    }

    pub(super) fn add(&self, fault: Fault) {
        if let Fault::BitFlip { offset_bytes } = fault {
            if let Err(error) = self.flip(offset_bytes) {
                log::warn!("{}: no bit was turned over: {error}", self.image.display());
            }
            return;
        }
        let mut state = self.lock();
        if fault == Fault::LostFlush {
            state.undo.get_or_insert_default();
        }
        state.faults.push(fault);
    }

    fn flip(&self, offset_bytes: u64) -> io::Result<()> {
        let image = self.image()?;
        let mut byte = [0];
        if image.read_at(&mut byte, offset_bytes)? == 1 {
            byte[0] ^= 1;
            image.write_all_at(&byte, offset_bytes)?;
        }
        Ok(())
    }

    /// Takes all faults away.
    pub(super) fn clear(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.undo = None;
        state.undo_bytes = 0;
        self.healed.notify_all();
    }

    /// The disk has power again.
    pub(super) fn power_on(&self) {
        self.lock().unpowered = false;
    }

    /// The disk loses its power: what hangs fails, what was not durable is as it was before.
    pub(super) fn power_cut(&self) {
        let mut state = self.lock();
        state.unpowered = true;
        self.healed.notify_all();
        let Some(undo) = &mut state.undo else { return };
        let undo = std::mem::take(undo);
        state.undo_bytes = 0;
        drop(state);
        let undone = self.image().and_then(|image| {
            let mut newest_first = undo.iter().rev();
            newest_first.try_for_each(|(offset, bytes)| image.write_all_at(bytes, *offset))
        });
        if let Err(error) = undone {
            log::warn!("{}: what was not durable is not lost: {error}", self.image.display());
        }
    }

    /// Waits as long as a request has to.
    fn delay(&self) -> io::Result<()> {
        let state = self.lock();
        let slow = state.faults.iter().filter_map(|fault| match fault {
            Fault::Slow { ms } => Some(*ms),
            _ => None,
        });
        let pause = Duration::from_millis(slow.sum());
        let hangs = |state: &mut State| !state.unpowered && state.faults.contains(&Fault::Hang);
        let waited = self.healed.wait_while(state, hangs);
        if waited.unwrap_or_else(PoisonError::into_inner).unpowered {
            return Err(super::unplugged());
        }
        std::thread::sleep(pause);
        Ok(())
    }

    /// Lets a read wait or fail.
    pub(super) fn read(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        self.delay()?;
        let mut state = self.lock();
        state.reads += 1;
        let fails = state.faults.iter().any(|fault| match fault {
            Fault::BadSector {
                offset_bytes: start,
                length_bytes: length,
            } => *start < offset_bytes + length_bytes && offset_bytes < start + length,
            Fault::ReadError { every } => state.reads.is_multiple_of(*every),
            _ => false,
        });
        if fails { Err(medium_error()) } else { Ok(()) }
    }

    /// Lets a write wait, fail or be torn; what it overwrites is remembered where flushes are lost.
    pub(super) fn write(&self, bytes: &[u8], offset_bytes: u64) -> io::Result<Write> {
        self.delay()?;
        let mut state = self.lock();
        state.writes += 1;
        let writes = state.writes;
        let fails = |fault: &Fault| matches!(fault, Fault::WriteError { every } if writes.is_multiple_of(*every));
        if state.faults.iter().any(fails) {
            return Err(medium_error());
        }
        self.remember(&mut state, bytes.len(), offset_bytes)?;
        if let Some(at) = state.faults.iter().position(|fault| *fault == Fault::TornWrite) {
            state.faults.remove(at);
            let first = usize::try_from(SECTOR_BYTES).unwrap_or(usize::MAX);
            return Ok(Write::Torn(first.min(bytes.len())));
        }
        let end = offset_bytes + bytes.len() as u64;
        state.faults.retain_mut(|fault| match fault {
            Fault::BadSector {
                offset_bytes: start,
                length_bytes,
            } => !(offset_bytes <= *start && *start + *length_bytes <= end),
            _ => true,
        });
        Ok(Write::Whole)
    }

    /// Remembers what stands where something is going to be written.
    fn remember(&self, state: &mut State, length: usize, offset_bytes: u64) -> io::Result<()> {
        if state.undo.is_none() {
            return Ok(());
        }
        let mut old = vec![0; length];
        let read = self.image()?.read_at(&mut old, offset_bytes)?;
        old.truncate(read);
        state.undo_bytes += read;
        if let Some(undo) = &mut state.undo {
            undo.push_back((offset_bytes, old));
            while state.undo_bytes > CACHE_BYTES {
                let Some((_, durable)) = undo.pop_front() else { break };
                state.undo_bytes -= durable.len();
            }
        }
        Ok(())
    }

    /// Lets a flush wait; false where it is to do nothing.
    pub(super) fn flush(&self) -> io::Result<bool> {
        self.delay()?;
        Ok(!self.lock().faults.contains(&Fault::LostFlush))
    }
}

/// What a disk answers that cannot read or write a place.
fn medium_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_written_and_read() {
        for text in [
            "bad-sector@1048576+4096",
            "read-error:3",
            "write-error:1",
            "bit-flip@7",
            "torn-write",
            "lost-flush",
            "slow:20",
            "hang",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!(
            "bad-sector@1M".parse::<Fault>().unwrap().to_string(),
            "bad-sector@1048576+512"
        );
        assert_eq!("read-error".parse::<Fault>().unwrap(), Fault::ReadError { every: 1 });
        for text in [
            "",
            "x",
            "slow",
            "hang:1",
            "bad-sector",
            "bad-sector@x",
            "bit-flip@1+1",
            "bit-flip@99999999999G",
        ] {
            assert!(text.parse::<Fault>().is_err(), "{text:?}");
        }
    }
}
