//! Sockets' files: stale ones go, live ones stay, ours is removed.

use std::os::unix::fs::FileTypeExt as _;

use super::*;

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[test]
fn the_sockets_file_is_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nbd.sock");
    let listener = Listener::unix(&path).unwrap();
    assert!(is_socket(&path));
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_dead_servers_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nbd.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(is_socket(&path), "the file stays where nobody removes it");
    let _listener = Listener::unix(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_live_servers_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nbd.sock");
    let first = Listener::unix(&path).unwrap();
    let second = Listener::unix(&path).unwrap_err();
    assert!(matches!(second, ListenError::InUse { .. }), "{second}");
    UnixStream::connect(&path).unwrap();
    drop(first);
}

#[test]
fn another_servers_file_of_the_same_name_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nbd.sock");
    let first = Listener::unix(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let second = Listener::unix(&path).unwrap();
    drop(first);
    UnixStream::connect(&path).unwrap();
    drop(second);
    assert!(!path.exists());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious.img");
    fs::write(&path, b"data").unwrap();
    let error = Listener::unix(&path).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"data");
}

#[test]
fn a_path_that_no_address_holds_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s".repeat(120));
    let error = Listener::unix(&path).unwrap_err().to_string();
    assert!(error.contains("107 bytes"), "{error}");
}

#[test]
fn tcp_is_for_this_machine_only() {
    let listener = Listener::loopback(0).unwrap();
    let address = listener.address().unwrap();
    assert!(address.ip().is_loopback());
    assert_eq!(listener.uri("a b", false), Some(format!("nbd://{address}/a%20b")));
}

#[test]
fn uris_can_be_pasted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a&b c.sock");
    let listener = Listener::unix(&path).unwrap();
    let start = directory.path().display();
    assert_eq!(
        listener.uri("vm/disk 0?", true),
        Some(format!("nbds+unix:///vm/disk%200%3F?socket={start}/a%26b%20c.sock"))
    );
}
