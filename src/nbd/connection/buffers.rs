//! Buffers for the data of requests, kept for the next ones: a fresh buffer costs more than what is done with it.
//!
//! Six shelves of sizes from 4 KiB to 4 MiB, each of which keeps a few; larger buffers are made and thrown away.

use std::sync::LazyLock;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Sizes of the shelves in bytes, and how many buffers each keeps: at most 33 MiB in all.
const SHELVES: [(usize, usize); 6] = [
    (4 << 10, 512),
    (16 << 10, 128),
    (64 << 10, 64),
    (256 << 10, 36),
    (1 << 20, 8),
    (4 << 20, 2),
];

type Shelf = (Sender<Box<[u8]>>, Receiver<Box<[u8]>>);

static KEPT: LazyLock<[Shelf; SHELVES.len()]> = LazyLock::new(|| SHELVES.map(|(_, count)| bounded(count)));

/// Bytes of one request; what they hold at first is not defined.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` bytes.
    pub(super) fn take(length: usize) -> Self {
        let shelf = SHELVES.iter().position(|(size, _)| *size >= length);
        let kept = shelf.and_then(|shelf| KEPT[shelf].1.try_recv().ok());
        let bytes = kept.unwrap_or_else(|| {
            let size = shelf.map_or(length, |shelf| SHELVES[shelf].0);
            vec![0; size].into_boxed_slice()
        });
        Self { bytes, length }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(shelf) = SHELVES.iter().position(|(size, _)| *size == self.bytes.len()) {
            // A full shelf lets the buffer go.
            let _ = KEPT[shelf].0.try_send(std::mem::take(&mut self.bytes));
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
            assert_eq!(buffer.bytes().len(), length);
            assert_eq!(buffer.bytes_mut().len(), length);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let kept: usize = SHELVES.iter().map(|(size, count)| size * count).sum();
        assert!(kept <= 33 << 20, "{kept}");
    }
}
