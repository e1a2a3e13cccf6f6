//! How a database is opened, and what it tells of itself.
//!
//! The limits here are the engine's promise of bounded memory, mappings and descriptors; the cache and the context keep it.

use crate::series::Recovery;

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is written, no lock is taken; the state at opening is seen, and what the file system shows later.
    ReadOnly,
    /// One process at a time; opening a series repairs what a crash left.
    ReadWrite,
}

/// What an open database may hold at most, whatever the number of series and chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Closed chunks kept open: each takes one mapping, or one descriptor where it cannot be mapped.
    pub open_chunks: usize,
    /// Last chunks kept open for appending: each takes one mapping and one descriptor.
    pub open_writers: usize,
    /// Chunks are shared memory where that can be had; else descriptors are used.
    pub mapped: bool,
    /// Address space that a growing chunk is given at once, in bytes, unless its file is half as large already.
    pub window_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_chunks: 256,
            open_writers: 128,
            mapped: true,
            window_bytes: 256 << 20,
        }
    }
}

/// How to open a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOptions {
    /// For reading only, or for writing too.
    pub mode: Mode,
    /// Bounds on what is held open.
    pub limits: Limits,
    /// What others are told who find the database locked, for example `process 12, mounted at /mnt`.
    pub holder: String,
}

impl OpenOptions {
    /// For reading only.
    pub fn read_only() -> Self {
        Self {
            mode: Mode::ReadOnly,
            limits: Limits::default(),
            holder: String::new(),
        }
    }

    /// For reading and writing, held by this process.
    pub fn read_write() -> Self {
        Self {
            mode: Mode::ReadWrite,
            holder: format!("process {}", std::process::id()),
            ..Self::read_only()
        }
    }
}

/// What an open database holds and has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Series that are open.
    pub open_series: usize,
    /// Closed chunks that are open.
    pub open_chunks: usize,
    /// Last chunks that are open for appending.
    pub open_writers: usize,
    /// Bytes of the files of all closed chunks that are open and mapped.
    pub mapped_bytes: u64,
    /// Entries appended since the database was opened.
    pub appended: u64,
    /// What opening had to repair.
    pub recovered: Vec<Recovery>,
}
