//! Counts of what the mount was asked and how it went, for `.stats`.
//!
//! Each counter is an atomic of its own, so a reader may see a request counted whose time is not; over many requests
//! that does not matter.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

macro_rules! operations {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// A kind of request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is the system call or FUSE request of that name")]
        pub enum Operation { $($variant),* }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in metrics and messages.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }
        }
    };
}

operations! {
    Lookup "lookup", Forget "forget", GetAttributes "getattr", SetAttributes "setattr", ReadLink "readlink",
    MakeNode "mknod", MakeDirectory "mkdir", Unlink "unlink", RemoveDirectory "rmdir", SymbolicLink "symlink",
    Rename "rename", Link "link", Open "open", Read "read", Write "write", Flush "flush", Release "release",
    Sync "fsync", OpenDirectory "opendir", ReadDirectory "readdir", ReleaseDirectory "releasedir",
    SyncDirectory "fsyncdir", StatFileSystem "statfs", SetAttribute "setxattr", GetAttribute "getxattr",
    ListAttributes "listxattr", RemoveAttribute "removexattr", Create "create", Control "ioctl",
    Allocate "fallocate", Seek "lseek", Copy "copy_file_range",
}

const OPERATIONS: usize = Operation::ALL.len();

#[derive(Debug, Default)]
struct Count {
    requests: AtomicU64,
    errors: AtomicU64,
    nanoseconds: AtomicU64,
}

/// Counters of one mount.
#[derive(Debug)]
pub struct Counters {
    operations: [Count; OPERATIONS],
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    panics: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            operations: std::array::from_fn(|_| Count::default()),
            read_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Counts one request that took so long.
    pub fn count(&self, operation: Operation, failed: bool, took: Duration) {
        let count = &self.operations[operation as usize];
        count.requests.fetch_add(1, Ordering::Relaxed);
        count.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        count.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Counts bytes handed to readers.
    pub fn count_read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes taken from writers.
    pub fn count_written(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a handler that panicked.
    pub fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests of one kind so far.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.operations[operation as usize].requests.load(Ordering::Relaxed)
    }

    /// Errors of one kind so far.
    pub fn errors(&self, operation: Operation) -> u64 {
        self.operations[operation as usize].errors.load(Ordering::Relaxed)
    }

    /// Prometheus text format; `gauges` are further lines of name, help and value.
    pub fn render(&self, gauges: &[(&str, &str, u64)]) -> String {
        let mut out = String::with_capacity(8192);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut family = |name: &str, help: &str, kind: &str, samples: Vec<(String, String)>| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "# HELP headstack_{name} {help}\n# TYPE headstack_{name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(out, "headstack_{name}{labels} {value}");
            }
        };
        let each = |value: &dyn Fn(&Count) -> String| {
            let labelled = |op: &Operation| {
                let labels = format!("{{operation=\"{}\"}}", op.name());
                (labels, value(&self.operations[*op as usize]))
            };
            Operation::ALL.iter().map(labelled).collect::<Vec<_>>()
        };
        let one = |value: u64| vec![(String::new(), value.to_string())];
        let requests = each(&|count| load(&count.requests).to_string());
        family("requests_total", "Requests answered.", "counter", requests);
        let errors = each(&|count| load(&count.errors).to_string());
        family("request_errors_total", "Requests refused.", "counter", errors);
        let seconds = each(&|count| format!("{:.9}", Duration::from_nanos(load(&count.nanoseconds)).as_secs_f64()));
        family("request_seconds_total", "Time spent on requests.", "counter", seconds);
        family(
            "read_bytes_total",
            "Bytes handed to readers.",
            "counter",
            one(load(&self.read_bytes)),
        );
        family(
            "written_bytes_total",
            "Bytes taken from writers.",
            "counter",
            one(load(&self.written_bytes)),
        );
        family(
            "panics_total",
            "Handlers that panicked.",
            "counter",
            one(load(&self.panics)),
        );
        for (name, help, value) in gauges {
            family(name, help, "gauge", one(*value));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_rendered_for_prometheus() {
        let counters = Counters::default();
        counters.count(Operation::Read, false, Duration::from_millis(1500));
        counters.count(Operation::Read, true, Duration::ZERO);
        counters.count_read(7);
        let text = counters.render(&[("nodes", "Nodes held.", 3)]);
        for line in [
            "headstack_requests_total{operation=\"read\"} 2",
            "headstack_request_errors_total{operation=\"read\"} 1",
            "headstack_request_seconds_total{operation=\"read\"} 1.500000000",
            "headstack_requests_total{operation=\"copy_file_range\"} 0",
            "headstack_read_bytes_total 7",
            "# TYPE headstack_nodes gauge",
            "headstack_nodes 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
    }
}
