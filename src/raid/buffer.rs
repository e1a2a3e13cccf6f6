//! Buffers for bytes on their way, kept for the next ones: a fresh one costs more than what is done with it, because the
//! host hands its pages out one by one and zeroed.
//!
//! Five shelves of sizes from 64 KiB to 4 MiB, each of which keeps a few; smaller and larger buffers are made and thrown
//! away, the small ones because the allocator does that as well. The engine keeps rows of stripes in them, its doors the
//! data of requests.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Sizes of the shelves in bytes, and how many buffers each keeps: at most 48 MiB in all.
const SHELVES: [(usize, usize); 5] = [
    (64 << 10, 64),
    (256 << 10, 48),
    (512 << 10, 32),
    (1 << 20, 8),
    (4 << 20, 2),
];

/// Longest buffer that is not kept, in bytes.
const SMALL_BYTES: usize = 16 << 10;

/// The last one back is the first one out: its bytes are still in the processor's cache.
type Shelf = Mutex<Vec<Box<[u8]>>>;

static KEPT: [Shelf; SHELVES.len()] = [const { Mutex::new(Vec::new()) }; SHELVES.len()];

fn shelf(number: usize) -> MutexGuard<'static, Vec<Box<[u8]>>> {
    KEPT[number].lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run of bytes; what they are at first is not defined.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` bytes, of whatever value.
    pub fn take(length: usize) -> Self {
        let number = SHELVES
            .iter()
            .position(|(size, _)| *size >= length && length > SMALL_BYTES);
        let kept = number.and_then(|number| shelf(number).pop());
        let bytes = kept.unwrap_or_else(|| {
            let size = number.map_or(length, |number| SHELVES[number].0);
            vec![0; size].into_boxed_slice()
        });
        Self { bytes, length }
    }

    /// A buffer of `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let mut buffer = Self::take(length);
        buffer.fill(0);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(number) = SHELVES.iter().position(|(size, _)| *size == self.bytes.len()) else {
            return;
        };
        let mut kept = shelf(number);
        // A full shelf lets the buffer go.
        if kept.len() < SHELVES[number].1 {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_long_as_was_asked_for() {
        for length in [0, 1, 4096, 4097, 1 << 20, (4 << 20) + 1] {
            let mut buffer = Buffer::take(length);
            assert_eq!(buffer.len(), length);
            buffer.fill(7);
            drop(buffer);
            assert_eq!(*Buffer::zeros(length), vec![0; length]);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept: usize = SHELVES.iter().map(|(size, count)| size * count).sum();
        assert!(kept <= 48 << 20, "{kept}");
    }
}
