//! FUSE face of the series engine.
pub mod appending;
pub mod errno;
pub mod kernel;
pub mod nodes;
pub mod offsets;
pub mod options;
pub mod text;
