//! How far each series is known to be durable.
//!
//! Stand-in.

use super::{Result, SeriesId, Timestamp};
use crate::storage::Directory;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// How the last writer of a database ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviousEnd {
    /// Closed.
    Clean,
    /// Killed.
    Killed,
    /// Crashed.
    Crashed,
}

/// Marks.
pub struct Marks(Mutex<HashMap<SeriesId, Timestamp>>);

impl Marks {
    /// Opens.
    pub fn open(_directory: Arc<dyn Directory>, _writable: bool) -> Result<(Self, PreviousEnd)> {
        Ok((Self(Mutex::default()), PreviousEnd::Killed))
    }
    /// Durable.
    pub fn durable(&self, id: SeriesId) -> Option<Timestamp> {
        self.0.lock().ok()?.get(&id).copied()
    }
    /// Sets.
    pub fn set_durable(&self, id: SeriesId, timestamp: Timestamp) -> Result<()> {
        if let Ok(mut map) = self.0.lock() {
            map.insert(id, timestamp);
        }
        Ok(())
    }
    /// Clears.
    pub fn clear(&self, id: SeriesId) -> Result<()> {
        if let Ok(mut map) = self.0.lock() {
            map.remove(&id);
        }
        Ok(())
    }
    /// Closes.
    pub fn close_clean(&self) -> Result<()> {
        Ok(())
    }
}
