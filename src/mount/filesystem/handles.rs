//! Open files and directories.
//!
//! A handle holds what an open file needs until it is closed: its series, the bytes of an entry that is not whole yet,
//! or the text that was made when it was opened. The kernel names it by a number that is never used again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{control::Commands, listing::OpenDirectory, metadata::MetadataBuffer};
use crate::{
    mount::{
        appending::Appending,
        errno::{Refusal, Result},
        nodes::Item,
        offsets::Form,
        view::SeriesView,
    },
    series::{Storage, Timestamp},
};

/// What an open file or directory is.
pub enum Handle {
    /// A directory.
    Listing(OpenDirectory),
    /// A file of entries, open for reading.
    Entries {
        /// Its series.
        view: Arc<SeriesView>,
        /// Which file.
        item: Item,
    },
    /// `raw` or `text`, open for appending and perhaps for reading.
    Appending {
        /// Its series.
        view: Arc<SeriesView>,
        /// Which of the two.
        form: Form,
        /// What it holds.
        state: Mutex<Appending>,
    },
    /// A chunk file.
    Chunk {
        /// Its series.
        view: Arc<SeriesView>,
        /// The file.
        storage: Arc<dyn Storage>,
        /// Part and first timestamp where the chunk is closed.
        closed: Option<(u32, Timestamp)>,
    },
    /// A small file whose bytes were made when it was opened.
    Made(Vec<u8>),
    /// `meta`, open for writing.
    Metadata {
        /// Its series.
        view: Arc<SeriesView>,
        /// What was written.
        buffer: Mutex<MetadataBuffer>,
    },
    /// `ctl`.
    Control {
        /// Its series.
        view: Arc<SeriesView>,
        /// What was written.
        state: Mutex<Commands>,
    },
}

/// All open files and directories of one mount.
#[derive(Default)]
pub struct Handles {
    open: RwLock<HashMap<u64, Arc<Handle>>>,
    next: AtomicU64,
}

impl std::fmt::Debug for Handles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handles")
            .field("open", &self.len())
            .finish_non_exhaustive()
    }
}

impl Handles {
    /// Adds one; returns its number.
    pub fn insert(&self, handle: Handle) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, Arc::new(handle));
        number
    }

    /// Finds one.
    ///
    /// # Errors
    /// It was never opened, or is closed.
    pub fn get(&self, number: u64) -> Result<Arc<Handle>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&number).cloned().ok_or(Refusal::Gone { node: number })
    }

    /// Takes one out.
    pub fn remove(&self, number: u64) -> Option<Arc<Handle>> {
        self.open
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// True where nothing is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
