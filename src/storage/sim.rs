//! Host file system.
