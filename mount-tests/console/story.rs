//! The guide's recovery story in a real browser: headless Chromium clicks through every page.
//!
//! The steps are `tools/peers/browser/story.py`'s, over the browser's debugging port. It fails where a page logs an error
//! or asks another host for something.

use std::process::Command;

use super::{HEADSTACK, PASSWORD, Served};
use crate::peer::{skip, top};

/// R06, R26, R28, R31, R32, R45, R46, R51, R60, R61: a disk fails and the first page shows it at the top, an operator gives
/// the array another, the rebuild is drawn, all is well again; and every page is there.
#[test]
fn a_browser_replaces_a_disk_that_failed() {
    let missing = |program: &str| Command::new(program).arg("--version").output().is_err();
    let python = "/usr/bin/python3";
    let module = Command::new(python).args(["-c", "import websocket"]).output();
    if missing("chromium") || !module.is_ok_and(|output| output.status.success()) {
        return skip("peer chromium (with python3-websocket)");
    }
    // Large enough that the rebuild can be watched.
    let served = Served::with_array_of(5, "256M");
    let output = Command::new(python)
        .arg(top().join("tools/peers/browser/story.py"))
        .args([&served.link(), &served.store(), HEADSTACK, PASSWORD])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(served.status()["state"], "Normal");
}
