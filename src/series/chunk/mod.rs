//! A chunk: one file of consecutive entries.
//!
//! [`mod@format`] is the arithmetic of its bytes and does no I/O, [`reader`] opens a chunk for reading, [`writer`] makes
//! and extends the last one. Readers and the writer share a [`Chunk`]: the writer publishes an entry by raising its
//! count after the entry's bytes are in place; bytes below the count never change again.

pub mod format;
mod reader;
mod verify;
mod writer;

pub(in crate::series) use reader::read_count;
pub use reader::{Chunk, Records};
pub(in crate::series) use verify::verify;
pub(in crate::series) use writer::{ChunkWriter, Placement};
