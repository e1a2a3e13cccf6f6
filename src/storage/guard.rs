//! Guarded shared mappings.

/// A window of shared memory onto a file.
#[derive(Debug)]
pub struct Mapping;
