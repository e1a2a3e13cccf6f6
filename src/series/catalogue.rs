//! Numbers of series and snapshots.
//!
//! Stand-in.

use super::{Result, SeriesId, SeriesKey};
use crate::storage::Directory;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Catalogue.
pub struct Catalogue(Mutex<(BTreeMap<SeriesKey, SeriesId>, u32, u32)>);

impl Catalogue {
    /// Opens.
    pub fn open(_d: Arc<dyn Directory>, _w: bool, present: &[SeriesKey]) -> Result<Self> {
        let map: BTreeMap<_, _> = present.iter().cloned().zip((1..).map(SeriesId)).collect();
        let n = u32::try_from(map.len()).unwrap_or(0);
        Ok(Self(Mutex::new((map, n, 0))))
    }
    /// Id.
    pub fn id(&self, key: &SeriesKey) -> Option<SeriesId> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .get(key)
            .copied()
    }
    /// Key.
    pub fn key(&self, id: SeriesId) -> Option<SeriesKey> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .iter()
            .find(|(_, i)| **i == id)
            .map(|(k, _)| k.clone())
    }
    /// Add.
    pub fn add(&self, key: &SeriesKey) -> Result<SeriesId> {
        let mut s = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        s.1 += 1;
        let id = SeriesId(s.1);
        s.0.insert(key.clone(), id);
        Ok(id)
    }
    /// Rename.
    pub fn rename(&self, old: &SeriesKey, new: &SeriesKey) -> Result<()> {
        let mut s = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = s.0.remove(old) {
            s.0.insert(new.clone(), id);
        }
        Ok(())
    }
    /// Forget.
    pub fn forget(&self, key: &SeriesKey) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.remove(key);
        Ok(())
    }
    /// Next.
    pub fn next_snapshot(&self) -> Result<u32> {
        let mut s = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        s.2 += 1;
        Ok(s.2)
    }
}
