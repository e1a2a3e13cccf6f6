//! Headstack: append-only time series as files, RAID arrays over image files, standard dump tapes.
//!
//! A folder is a layer; each `mod.rs` is that layer's overview and glossary. `src/tidy.rs` holds the table of who
//! may import whom as a test. The one binary, `headstack`, is `src/main.rs` over [`cli`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test stops where it fails"))]

pub mod cli;
#[cfg(feature = "console")]
pub mod console;
pub mod controller;
pub mod dump;
pub mod mount;
pub mod nbd;
pub mod raid;
pub mod series;
pub mod storage;
pub mod tape;
pub mod tapefs;
#[cfg(test)]
mod tidy;
