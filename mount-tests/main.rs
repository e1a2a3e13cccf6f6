//! One test binary with real mounts, real clients and real peers.
//!
//! `oracle/` holds the engine against the reference library and against golden and damaged databases, `cli/` runs the
//! binary, `console/` its web pages, `mount/` the file system with coreutils, `nbd/` the NBD server with its clients, `dump/` and `tape/` tapes beside stock tools;
//! [`peer`] finds the other programs. Where a test needs one that is
//! not there, it prints a line that begins `SKIPPED:`.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]
#![expect(
    clippy::print_stderr,
    reason = "seeds and skipped peers are said where the harness looks"
)]

mod cli;
#[cfg(feature = "console")]
mod console;
mod dump;
mod mount;
mod nbd;
mod oracle;
mod peer;
mod raid;
mod replay;
mod tape;
