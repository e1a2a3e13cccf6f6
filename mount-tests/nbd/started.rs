//! Arrays that are started in the background and stopped, by verbs alone.
//!
//! A server that a failing test leaves behind is stopped all the same, by the verb with force.

use std::{fs, process::Stdio};

use super::{
    door::{Door, Images, done, get, headstack, put},
    fixture::{find, libnbd, pattern, wait_until},
};

/// An array that is being served in the background.
struct Started<'a> {
    images: &'a Images,
    uri: String,
}

impl<'a> Started<'a> {
    fn new(images: &'a Images) -> Self {
        let told = done(&["array", "start", "a", "--in", images.place()]);
        let uri = told.trim_end().to_owned();
        assert!(uri.starts_with("nbd+unix:///a?socket="), "{told}");
        Self { images, uri }
    }

    fn stop(&self, more: &[&str]) -> (i32, String, String) {
        let mut words = vec!["array", "stop", "a", "--in", self.images.place()];
        words.extend(more);
        headstack(&words)
    }
}

impl Drop for Started<'_> {
    fn drop(&mut self) {
        self.stop(&["--disconnect"]);
    }
}

/// R27: an array is served in the background until it is stopped, which leaves it clean and its images free; whoever has it
/// is not cut off without a word, and the next start serves the same bytes.
#[test]
fn an_array_is_started_and_stopped() {
    let Some(mut client) = libnbd("h.connect_uri(sys.argv[1])\nprint('here', flush=True)\nsys.stdin.read()") else {
        return;
    };
    if find("nbdcopy").is_none() {
        return;
    }
    let images = Images::new("5", 3, "16M");
    let started = Started::new(&images);
    let bytes = pattern(7, 8 << 20);
    let source = images.at("source");
    fs::write(&source, &bytes).unwrap();
    put(source.as_ref(), &started.uri);
    assert_eq!(images.shown()["served"], true);
    let (code, _, err) = headstack(&["array", "start", "a", "--in", images.place()]);
    assert!(code == 75 && err.contains("is being served already"), "{code}: {err}");
    let mut client = client
        .arg(&started.uri)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    std::io::Read::read_exact(client.stdout.as_mut().unwrap(), &mut word).unwrap();
    let (code, _, err) = started.stop(&[]);
    assert!(
        code == 75 && err.contains("1 clients") && err.contains("--disconnect"),
        "{code}: {err}"
    );
    assert_eq!(started.stop(&["--disconnect"]).0, 0);
    drop(client.stdin.take());
    client.wait().unwrap();
    let shown = images.shown();
    assert_eq!((&shown["served"], &shown["dirty"]), (&false.into(), &false.into()));
    assert!(!fs::exists(images.at("a.sock")).unwrap(), "its socket is left");
    assert!(
        !fs::exists(images.at("a.sock.control")).unwrap(),
        "its control socket is left"
    );
    let (code, _, err) = started.stop(&[]);
    assert!(code == 69 && err.contains("is not being served"), "{code}: {err}");
    let again = Started::new(&images);
    assert!(
        get(&again.uri, images.at("target").as_ref())[..bytes.len()] == bytes,
        "other bytes"
    );
    assert_eq!(again.stop(&[]).0, 0);
}

/// What hinders a start is said where the verb was typed, with the exit code that the server would have.
#[test]
fn a_start_that_fails_says_why() {
    let images = Images::new("5", 3, "16M");
    fs::remove_file(&images.paths[0]).unwrap();
    fs::remove_file(&images.paths[1]).unwrap();
    let (code, out, err) = headstack(&["array", "start", "a", "--in", images.place()]);
    assert_eq!((code, out.as_str()), (65, ""), "{err}");
    assert!(err.contains("members 0, 1"), "{err}");
    let taken = images.at("taken");
    fs::write(&taken, b"no socket").unwrap();
    let images = Images::new("1", 2, "16M");
    let (code, _, err) = headstack(&["array", "start", "a", "--in", images.place(), "--socket", &taken]);
    assert!(code == 73 && err.contains("no socket"), "{code}: {err}");
}

/// A server of several arrays goes on with the others when one is stopped, and ends with the last.
#[test]
fn a_server_ends_with_its_last_array() {
    if find("nbdinfo").is_none() {
        return;
    }
    let images = Images::new("1", 2, "16M");
    let more = [images.at("b0.img"), images.at("b1.img")];
    done(&["disk", "create", "--size", "16M", &more[0], &more[1]]);
    done(&["array", "create", "b", "--level", "0", &more[0], &more[1]]);
    let socket = images.at("s");
    let door = Door::open(&["--socket", &socket, images.place()], 2);
    done(&["array", "stop", "b", "--socket", &socket]);
    let place = ["array", "show", "b", "--check", "--in", images.place()];
    done(&place);
    done(&["array", "delete", "b", "--yes", "--in", images.place()]);
    let (code, _, err) = headstack(&["array", "stop", "b", "--socket", &socket]);
    assert!(code == 66 && err.contains("it serves a"), "{code}: {err}");
    done(&["array", "stop", "a", "--socket", &socket]);
    assert_eq!(door.ended(), 0);
    wait_until("its socket is gone", || !fs::exists(&socket).unwrap());
}
