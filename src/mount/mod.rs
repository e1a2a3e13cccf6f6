//! FUSE face of the series engine: a mounted database is a tree of series, each a directory of files that any program
//! reads and appends to.
//!
//! ```text
//! NAME/  varlen/NAME/     a series; mkdir makes one, rmdir removes an empty one, mv renames it
//!     raw  text           all entries, packed and as lines: read anywhere, append at the end
//!     latest  stats       the newest entry; facts
//!     meta                the user's metadata as JSON, overwritten as a whole
//!     chunks/             chunk files as they are on disk, and as text; removing the oldest one trims
//!     range/A-B.text      entries by timestamp, found by name
//!     ctl                 commands
//!     .snapshot/          hidden: links to this series in every snapshot
//! .snapshot/NAME/         a snapshot: the same tree, frozen
//! .stats                  counters of the mount
//! ```
//!
//! A request takes this way:
//!
//! ```text
//! kernel -> adapter -> filesystem -> view -> series::Series
//!              |           |- nodes     which file a number is
//!              |           |- appending  bytes of an entry that is not whole yet
//!              |           `- offsets
//!              `- notices   what the kernel must forget before it is answered
//! ```
//!
//! [`adapter`] and [`session`] alone know the crate fuser; [`filesystem`] is tested without a mount. [`errno`] alone
//! chooses errnos, [`kernel`] alone mounts and unmounts.
//!
//! Glossary: a *place* is what a file is, a *node* is the number that the kernel holds it by, a *file id* is what
//! `st_ino` shows. A *form* is how entries are shown: `raw` or `text`; a *line* is an entry's text form. A *view* is one
//! series of one *tree*, live or frozen. *Closed* is what no append can change. An entry that a write has begun and not
//! finished is *held*. What the kernel keeps and is not true any more is *stale*. A *refusal* is a file system's error.

pub mod adapter;
pub mod appending;
pub mod counters;
pub mod errno;
pub mod filesystem;
pub mod kernel;
pub mod nodes;
pub mod offsets;
pub mod options;
mod pressure;
pub mod session;
pub mod view;
