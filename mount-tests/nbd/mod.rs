//! The NBD server before real clients and hostile ones.
//!
//! Each test has a server of its own in this process, over files in a directory of its own; peers are looked up.

mod door;
mod fixture;
mod guest;
mod hostile;
mod kernel;
mod peers;
mod plugin;
mod raw;
mod scripts;
mod sessions;
mod started;
