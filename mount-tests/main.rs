//! One test binary with real mounts, real clients and real peers.

#[cfg(test)]
mod cli;
#[cfg(test)]
mod mount;
