//! One test binary with real mounts, real clients and real peers.

mod mount;
