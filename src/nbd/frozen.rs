//! What an array held at a moment, for whoever reads it slowly while clients go on writing.
//!
//! A [`Frozen`] begins between two writes. Before a write changes a stretch for the first time since, what stands there is
//! copied to a file; a reader takes from there what was copied and from the array what was not. The moment is that of a
//! power cut: what was written until then is there, durable or not.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, Weak},
};

use crate::raid::{Array, ExtentKind, buffer::Buffer};

/// Length of a stretch, in bytes.
const STRETCH_BYTES: u64 = 64 << 10;
/// Range in which the next data are looked for at once, in bytes.
const WINDOW_BYTES: u64 = 1 << 30;

/// Which stretches were copied.
#[derive(Default)]
struct Copied {
    stretches: Vec<u64>,
    /// Why copies are not whole: nothing can be read any more.
    failed: Option<String>,
}

impl Copied {
    fn has(&self, stretch: u64) -> bool {
        let word = usize::try_from(stretch / 64).unwrap_or(usize::MAX);
        self.stretches
            .get(word)
            .is_some_and(|word| word >> (stretch % 64) & 1 == 1)
    }

    fn add(&mut self, stretch: u64) {
        let word = usize::try_from(stretch / 64).unwrap_or(usize::MAX);
        if let Some(word) = self.stretches.get_mut(word) {
            *word |= 1 << (stretch % 64);
        }
    }
}

/// An array as it was at a moment.
pub struct Frozen {
    array: Arc<Array>,
    size_bytes: u64,
    file: File,
    copied: Mutex<Copied>,
}

impl Frozen {
    /// An array as it is, with a file for what is about to change. It counts from [`Freezer::freeze`] on.
    #[must_use]
    pub fn new(array: Arc<Array>, file: File) -> Self {
        let size_bytes = array.size_bytes();
        let words = size_bytes.div_ceil(STRETCH_BYTES).div_ceil(64);
        let copied = Copied {
            stretches: vec![0; usize::try_from(words).unwrap_or(0)],
            failed: None,
        };
        Self {
            array,
            size_bytes,
            file,
            copied: Mutex::new(copied),
        }
    }

    /// Length, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn copied(&self) -> MutexGuard<'_, Copied> {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies what a write is about to change. A write is never refused for it: a copy that fails ends the reading.
    fn keep(&self, offset_bytes: u64, length_bytes: u64) {
        let end = offset_bytes.saturating_add(length_bytes).min(self.size_bytes);
        let mut copied = self.copied();
        for stretch in offset_bytes / STRETCH_BYTES..end.div_ceil(STRETCH_BYTES) {
            if copied.failed.is_some() {
                return;
            }
            if copied.has(stretch) {
                continue;
            }
            let at = stretch * STRETCH_BYTES;
            let length = STRETCH_BYTES.min(self.size_bytes - at);
            let mut buffer = Buffer::take(usize::try_from(length).unwrap_or(0));
            let kept = self.array.read_at(&mut buffer, at).map_err(io::Error::other);
            match kept.and_then(|()| self.file.write_all_at(&buffer, at)) {
                Ok(()) => copied.add(stretch),
                Err(error) => copied.failed = Some(error.to_string()),
            }
        }
    }

    /// Reads all of `buffer`.
    ///
    /// # Errors
    /// The array cannot be read, or what was changed could not be copied before.
    pub fn read_at(&self, buffer: &mut [u8], offset_bytes: u64) -> io::Result<()> {
        let mut at = offset_bytes;
        let mut rest = buffer;
        while !rest.is_empty() {
            let stretch = at / STRETCH_BYTES;
            let left = usize::try_from((stretch + 1) * STRETCH_BYTES - at).unwrap_or(rest.len());
            let length = left.min(rest.len());
            let (piece, behind) = rest.split_at_mut(length);
            // Nobody writes to a stretch that is not copied while this is held.
            let copied = self.copied();
            if let Some(failed) = &copied.failed {
                let message = format!("what clients changed meanwhile could not be kept: {failed}");
                return Err(io::Error::other(message));
            }
            if copied.has(stretch) {
                self.file.read_exact_at(piece, at)?;
            } else {
                self.array.read_at(piece, at).map_err(io::Error::other)?;
            }
            drop(copied);
            at += length as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Offset of the next bytes at or behind an offset that are no hole; none where there are no more. A stretch that was
    /// copied counts as no hole.
    ///
    /// # Errors
    /// As [`Frozen::read_at`].
    pub fn next_data(&self, offset_bytes: u64) -> io::Result<Option<u64>> {
        let copied = self.copied();
        let next = next_data(&self.array, offset_bytes, self.size_bytes)?;
        let end = next.unwrap_or(self.size_bytes);
        let stretches = offset_bytes / STRETCH_BYTES..end.div_ceil(STRETCH_BYTES);
        let changed = stretches.into_iter().find(|stretch| copied.has(*stretch));
        let changed = changed.map(|stretch| (stretch * STRETCH_BYTES).max(offset_bytes));
        Ok(changed.into_iter().chain(next).min())
    }
}

/// Offset of the next bytes of an array at or behind an offset that are no hole; none where there are none before `end`.
///
/// # Errors
/// The array cannot tell.
pub fn next_data(array: &Array, offset_bytes: u64, end: u64) -> io::Result<Option<u64>> {
    let mut at = offset_bytes;
    while at < end {
        let extents = array.block_status(at, WINDOW_BYTES.min(end - at));
        let before = at;
        for extent in extents.map_err(io::Error::other)? {
            if extent.kind == ExtentKind::Data {
                return Ok(Some(at));
            }
            at += extent.length_bytes;
        }
        if at == before {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Lets an array that is served be frozen.
#[derive(Default)]
pub struct Freezer {
    frozen: RwLock<Vec<Weak<Frozen>>>,
}

impl Freezer {
    /// Lets a moment of the array begin, once the writes that are under way are done; it ends when nobody has it any more.
    pub fn freeze(&self, frozen: &Arc<Frozen>) {
        let mut all = self.frozen.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(Arc::downgrade(frozen));
    }

    /// Lets a write begin; held until it is done.
    pub(super) fn enter(&self, offset_bytes: u64, length_bytes: u64) -> RwLockReadGuard<'_, Vec<Weak<Frozen>>> {
        let all = self.frozen.read().unwrap_or_else(PoisonError::into_inner);
        for frozen in all.iter().filter_map(Weak::upgrade) {
            frozen.keep(offset_bytes, length_bytes);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raid::{
        Level,
        rig::{Make, Rig, contents},
    };

    /// D19: what is read of a moment is what was there, whatever is written while it is read.
    #[test]
    fn a_moment_stays_as_it_was_while_others_write() {
        let (_rig, array, before) = Rig::filled(Make::new(Level::Raid5, 3, 64));
        let array = Arc::new(array);
        let freezer = Freezer::default();
        let frozen = Arc::new(Frozen::new(Arc::clone(&array), tempfile::tempfile().unwrap()));
        freezer.freeze(&frozen);
        let write = |at: u64, length: usize| {
            let _under_way = freezer.enter(at, length as u64);
            array.write_at(&vec![0xEE; length], at, false).unwrap();
        };
        let mut read = vec![0; before.len()];
        let half = before.len() / 2;
        write(1000, 70_000);
        frozen.read_at(&mut read[..half], 0).unwrap();
        write(0, before.len());
        frozen.read_at(&mut read[half..], half as u64).unwrap();
        assert!(read == before, "the moment");
        assert!(contents(&array).iter().all(|byte| *byte == 0xEE), "the array");
    }

    /// A copy that cannot be kept ends the reading, not the write.
    #[test]
    fn a_write_is_not_refused_where_nothing_can_be_kept() {
        let (_rig, array, before) = Rig::filled(Make::new(Level::Raid1, 2, 64));
        let array = Arc::new(array);
        let freezer = Freezer::default();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let frozen = Arc::new(Frozen::new(Arc::clone(&array), full));
        freezer.freeze(&frozen);
        drop(freezer.enter(0, 4096));
        array.write_at(&[1; 4096], 0, false).unwrap();
        let read = frozen.read_at(&mut [0; 512], 0);
        assert!(read.is_err_and(|error| error.to_string().contains("could not be kept")));
        assert_eq!(contents(&array)[4096..], before[4096..]);
    }
}
