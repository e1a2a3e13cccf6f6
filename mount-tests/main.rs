//! One test binary with real mounts, real clients and real peers.
//!
//! `oracle/` holds the engine against the reference library and against golden and damaged databases; [`peer`] finds
//! the other programs. Where a test needs one that is not there, it prints a line that begins `SKIPPED:`.

mod oracle;
mod peer;
mod replay;
