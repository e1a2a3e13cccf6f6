//! Simulated storage.

/// A directory in memory.
#[derive(Debug)]
pub struct SimDirectory;
