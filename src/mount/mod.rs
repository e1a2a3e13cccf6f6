//! FUSE face of the series engine.
pub mod adapter;
pub mod appending;
pub mod counters;
pub mod errno;
pub mod filesystem;
pub mod kernel;
pub mod nodes;
pub mod offsets;
pub mod options;
pub mod session;
pub mod text;
pub mod view;
