//! The plugin in a real nbdkit: `nbdkit libheadstack.so IMG..`, its clients, its filters, its end.
//!
//! The library is the one that was built beside the binary; nbdkit is a peer like any other.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{
    door::{HEADSTACK, Images, done},
    fixture::{contents, find, libnbd, pattern, run, wait_until},
};

/// The plugin, if nbdkit is there.
fn plugin() -> Option<PathBuf> {
    find("nbdkit")?;
    let library = Path::new(HEADSTACK).with_file_name("libheadstack.so");
    assert!(library.exists(), "{} is not built", library.display());
    Some(library)
}

/// An nbdkit that is killed where a test fails.
struct Nbdkit {
    child: Child,
    socket: String,
}

impl Nbdkit {
    /// Serves images on a socket beside them; `words` are options of nbdkit, `more` parameters of plugin and filters.
    fn start(library: &Path, images: &Images, words: &[&str], more: &[&str]) -> Self {
        let socket = images.at("nbdkit.sock");
        let child = Command::new("nbdkit")
            .args(["--foreground", "--exit-with-parent", "--unix", &socket])
            .args(words)
            .arg(library)
            .args(images.words())
            .args(more)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let nbdkit = Self { child, socket };
        wait_until("nbdkit listens", || Path::new(&nbdkit.socket).exists());
        nbdkit
    }

    fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket)
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Nbdkit {
    fn drop(&mut self) {
        // It has ended where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// R27, R56: nbdkit serves our arrays with all that they can, lists them, and stops them cleanly at its end.
#[test]
fn nbdkit_serves_arrays_with_every_feature_and_stops_them() {
    let Some(library) = plugin() else { return };
    let images = Images::new("5", 4, "16M");
    let nbdkit = Nbdkit::start(&library, &images, &[], &[]);
    let mut nbdinfo = find("nbdinfo").unwrap();
    let info: Value = serde_json::from_str(&run(nbdinfo.args(["--list", "--json", &nbdkit.uri("")]))).unwrap();
    let export = &info["exports"][0];
    assert_eq!(
        (&export["export-name"], &export["description"]),
        (&"a".into(), &"raid5 of 4 members".into())
    );
    for feature in ["cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero"] {
        assert_eq!(export[format!("can_{feature}")], true, "{feature}");
    }
    assert_eq!(
        (&export["block_size_preferred"], &export["block_size_maximum"]),
        (&(64 << 10).into(), &(32 << 20).into())
    );
    let size = usize::try_from(export["export-size"].as_u64().unwrap()).unwrap();
    let (source, target) = (images.at("source"), images.at("target"));
    let bytes = pattern(3, size);
    std::fs::write(&source, &bytes).unwrap();
    run(find("nbdcopy").unwrap().args(["--flush", &source, &nbdkit.uri("a")]));
    run(find("nbdcopy").unwrap().args([&nbdkit.uri(""), &target]));
    assert!(contents(Path::new(&target)) == bytes);
    nbdkit.stop();
    let shown = images.shown();
    assert_eq!((&shown["state"], &shown["dirty"]), (&"Normal".into(), &false.into()));
    assert_eq!(
        done(&["array", "verify", "-H", "a", "--in", images.place()])
            .lines()
            .next(),
        Some("clean\tyes")
    );
}

/// Zeros, holes, trims and errors go through nbdkit as they are; extents never go past the request.
#[test]
fn zeros_holes_and_errors_pass_through_nbdkit() {
    let script = "
import errno
h.add_meta_context('base:allocation')
h.connect_uri(sys.argv[1])
size = h.get_size()
h.pwrite(b'x' * 65536, 131072, nbd.CMD_FLAG_FUA)
h.zero(4096, 131072)
assert h.pread(8192, 131072) == bytes(4096) + b'x' * 4096
h.trim(size - 262144, 262144)
found = []
h.block_status(196608, 65536, lambda context, offset, extents, error: found.extend(extents))
assert sum(found[::2]) <= 196608, found
h.block_status(4096, 0, lambda context, offset, extents, error: found.clear() or found.extend(extents), nbd.CMD_FLAG_REQ_ONE)
assert found == [4096, 3], found
h.cache(65536, 0)
try:
    h.set_strict_mode(0)
    h.pread(512, size)
    raise AssertionError('read past the end')
except nbd.Error as error:
    assert error.errnum == errno.EINVAL, error.errnum
h.flush()
h.shutdown()
";
    let (Some(library), Some(mut python)) = (plugin(), libnbd(script)) else {
        return;
    };
    let images = Images::new("1", 2, "16M");
    let nbdkit = Nbdkit::start(&library, &images, &[], &[]);
    run(python.arg(nbdkit.uri("a")));
    nbdkit.stop();
}

/// Filters of nbdkit stand over the plugin: what is written under `cow` never reaches the images.
#[test]
fn filters_work_over_the_plugin() {
    let Some(library) = plugin() else { return };
    let images = Images::new("6", 4, "16M");
    let before: Vec<Vec<u8>> = images.paths.iter().map(|path| contents(Path::new(path))).collect();
    let nbdkit = Nbdkit::start(
        &library,
        &images,
        &["--filter=stats", "--filter=cow"],
        &["read-only=true", "statsfile=/dev/null"],
    );
    let (source, target) = (images.at("source"), images.at("target"));
    let bytes = pattern(4, 4 << 20);
    std::fs::write(&source, &bytes).unwrap();
    run(find("nbdcopy").unwrap().args(["--flush", &source, &nbdkit.uri("a")]));
    run(find("nbdcopy").unwrap().args([&nbdkit.uri("a"), &target]));
    assert!(contents(Path::new(&target))[..bytes.len()] == bytes);
    nbdkit.stop();
    for (path, before) in images.paths.iter().zip(before) {
        assert!(contents(Path::new(path)) == before, "{path}");
    }
}

/// R28: what is wrong is told before nbdkit serves: an image that is no member, one that is in use, no image at all.
#[test]
fn what_cannot_be_served_is_told_at_the_start() {
    let Some(library) = plugin() else { return };
    let images = Images::new("1", 2, "16M");
    let refused = |words: &[&str]| {
        let output = find("nbdkit")
            .unwrap()
            .args(["--foreground", "--unix", &images.at("refused.sock")])
            .arg(&library)
            .args(words)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&[]).contains("no member image"));
    let blank = images.at("blank.img");
    done(&["disk", "create", "--size", "16M", &blank]);
    assert!(refused(&[&blank]).contains("it is no member"));
    assert!(refused(&[&images.paths[0], "array=none"]).contains("no such array"));
    let nbdkit = Nbdkit::start(&library, &images, &[], &[]);
    let told = refused(&images.words());
    assert!(
        told.contains("in use") && told.contains(&nbdkit.child.id().to_string()),
        "{told}"
    );
    nbdkit.stop();
}
