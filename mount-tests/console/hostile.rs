//! What must not get in, and what must not bring the console down: forged requests, bursts, the slow and the many.
//!
//! Each ends with a look at what must not have changed: the arrays, the spare pool, the pages of those who behave.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{LIMIT, PASSWORD, Served, reply, wait_until};

#[test]
fn requests_for_other_hosts_are_turned_away() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let (port, cookie) = (served.port, browser.cookie.clone().unwrap());
    let ask = |line: &str, hosts: &str| {
        served
            .send(&format!(
                "GET {line} HTTP/1.1\r\n{hosts}Cookie: {cookie}\r\nConnection: close\r\n\r\n"
            ))
            .status
    };
    assert_eq!(ask("/", &format!("Host: localhost:{port}\r\n")), 200);
    for hosts in [
        "Host: evil.example\r\n".to_owned(),
        format!("Host: evil.example:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        format!("Host: 127.0.0.1:{port}.evil.example\r\n"),
        format!("Host: localhost:{port}\r\nHost: evil.example\r\n"),
        "Host: \r\n".to_owned(),
    ] {
        assert!([400, 421].contains(&ask("/", &hosts)), "{hosts}");
    }
    assert_eq!(ask("http://evil.example/", &format!("Host: localhost:{port}\r\n")), 421);
    assert_eq!(ask("/assets/console.js", "Host: evil.example\r\n"), 421);
}

#[test]
fn changes_of_other_sites_and_without_the_token_change_nothing() {
    let served = Served::with_array(4);
    let browser = served.browser("anna", "admin");
    let (port, token) = (served.port, browser.token.clone());
    let before = served.status()["spares"].clone();
    let fields = [("token", token.as_str()), ("verb", "add"), ("disk", "d3.img")];
    let path = "/logical/spares";
    for forged in [
        "Origin: http://evil.example\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        format!("Origin: https://127.0.0.1:{port}\r\n"),
        format!("Origin: http://127.0.0.1:{port}\r\nOrigin: http://evil.example\r\n"),
        "Sec-Fetch-Site: cross-site\r\n".to_owned(),
        "Sec-Fetch-Site: same-site\r\n".to_owned(),
    ] {
        assert_eq!(browser.post_with(path, &fields, &forged).status, 403, "{forged}");
    }
    for wrong in ["", "0", &token[1..], &format!("{token}0"), &"0".repeat(token.len())] {
        let fields = [("token", wrong), ("verb", "add"), ("disk", "d3.img")];
        assert_eq!(browser.post_with(path, &fields, "").status, 403, "{wrong}");
    }
    let bare = browser.head("POST", path, "Content-Type: application/json\r\nContent-Length: 2\r\n");
    assert_eq!(served.send(&format!("{bare}\r\n{{}}")).status, 415);
    assert_eq!(
        served
            .send(&format!("{}\r\n", browser.head("DELETE", "/logical", "")))
            .status,
        405
    );
    assert_eq!(served.stranger().post(path, &fields).status, 401);
    // What asks for a change in the way of a look changes nothing either.
    browser.get("/logical/spares?verb=add&disk=d3.img").ends(200);
    assert_eq!(served.status()["spares"], before);
    let own = format!("Origin: http://127.0.0.1:{port}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(browser.post_with(path, &fields, &own).status, 303);
    assert_eq!(served.status()["spares"][0], "d3.img");
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "view");
    for path in ["/", "/login", "/assets/console.js", "/nowhere"] {
        let reply = browser.get(path);
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (tag, source) in [("script", "script-src"), ("style", "style-src")] {
            let named = policy.split(source).nth(1).unwrap().split(';').next().unwrap();
            let begins = format!("<{tag}>");
            let inside = reply.body.split(&begins).skip(1);
            for text in inside.map(|rest| rest.split("</").next().unwrap()) {
                let digest = data_encoding::BASE64.encode(&openssl::sha::sha256(text.as_bytes()));
                assert!(named.contains(&digest), "{path} {tag}: {policy}");
            }
        }
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
    }
    let cookie = served.stranger().log_in("anna", PASSWORD);
    let cookie = cookie.header("set-cookie").unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
}

#[test]
fn a_burst_of_wrong_passwords_has_to_wait() {
    let served = Served::with_array(3);
    served.set_password("anna", "admin");
    let mut burst = Vec::new();
    for _ in 0..8 {
        burst.push(served.stranger().log_in("anna", "wrong horse"));
    }
    let refused: Vec<&super::Reply> = burst.iter().filter(|reply| reply.status == 429).collect();
    assert!(refused.len() >= 4, "{burst:#?}");
    assert!(burst[..3].iter().all(|reply| reply.status == 401));
    let wait: u64 = refused[0].header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    // Nobody else has to wait, and the wait ends.
    served.set_password("bert", "view");
    served.stranger().log_in("bert", PASSWORD).ends(303);
    wait_until("the end of the wait", || {
        served.stranger().log_in("anna", PASSWORD).status == 303
    });
}

#[test]
fn what_is_too_long_or_too_slow_is_dropped() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let long = browser.head("POST", "/rescan", &format!("{form}Content-Length: 10000000000\r\n"));
    assert_eq!(served.send(&format!("{long}\r\n")).status, 413);
    let big = "x=".to_owned() + &"a".repeat(70_000);
    let chunked = browser.head("POST", "/rescan", &format!("{form}Transfer-Encoding: chunked\r\n"));
    assert_eq!(
        served
            .send(&format!("{chunked}\r\n{:x}\r\n{big}\r\n0\r\n\r\n", big.len()))
            .status,
        413
    );
    let head = browser.head("GET", "/", &format!("X-Long: {}\r\n", "a".repeat(100_000)));
    assert!([0, 400, 431].contains(&served.send(&format!("{head}\r\n")).status));
    // Three dawdle at the same time: in the head, in the form, and before the next request.
    let start = Instant::now();
    let slow = browser.head("POST", "/rescan", &format!("{form}Content-Length: 10\r\n"));
    let begun = [slow[..30].to_owned(), format!("{slow}\r\ntok"), String::new()];
    let mut open: Vec<TcpStream> = begun
        .iter()
        .map(|begun| {
            let mut stream = served.connect();
            stream.write_all(begun.as_bytes()).unwrap();
            stream
        })
        .collect();
    for stream in &mut open {
        let mut bytes = Vec::new();
        // Whether it ends with an answer or without one, it ends.
        let _ = stream.read_to_end(&mut bytes);
        assert!([0, 408].contains(&reply(&bytes).status));
    }
    assert!(start.elapsed() < LIMIT);
    browser.get("/").ends(200);
}

/// Opens a stream of events; gives its status and what more it says.
fn stream(served: &Served, head: &str) -> (u16, BufReader<TcpStream>) {
    let mut stream = served.connect();
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let mut first = String::new();
    // One who is turned away at once may find the connection reset.
    let _ = lines.read_line(&mut first);
    (
        first
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0),
        lines,
    )
}

#[test]
fn a_thousand_streams_leave_room_for_pages_and_arrays() {
    let served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let head = browser.head("GET", "/live", "").replace("Connection: close\r\n", "");
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..1000 {
        let (status, lines) = stream(&served, &head);
        match status {
            200 => open.push(lines),
            // What is refused is not kept: a browser would not, either.
            _ => refused += 1,
        }
    }
    assert!(
        open.len() >= 64 && refused >= 500,
        "{} open, {refused} refused",
        open.len()
    );
    browser.get("/").ends(200);
    assert_eq!(served.status()["state"], "Normal");
    let stranger = served.stranger().get("/live");
    assert_eq!(stranger.status, 401);
    drop(open);
    wait_until("a stream has room again", || stream(&served, &head).0 == 200);
}

/// Two operators ask for what only one can have: one gets it, the other a clear refusal, and nothing is half done.
#[test]
fn two_operators_at_once_do_not_spoil_an_array() {
    let served = Served::with_array(3);
    let (one, other) = (served.browser("anna", "admin"), served.browser("bert", "admin"));
    let rename =
        |browser: &super::Browser<'_>, new: &str| browser.post("/logical/array/r5/rename", &[("new", new)]).status;
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| rename(&one, "first"));
        let second = scope.spawn(|| rename(&other, "second"));
        (first.join().unwrap(), second.join().unwrap())
    });
    let name = served.status()["arrays"][0]["name"].as_str().unwrap().to_owned();
    let won = [first, second].iter().filter(|status| **status == 303).count();
    assert_eq!(won, 1, "{first} {second}: the array is {name}");
    assert!(
        [first, second].iter().all(|status| [303, 404, 409].contains(status)),
        "{first} {second}"
    );
    assert_eq!(name, if first == 303 { "first" } else { "second" });
    assert_eq!(served.status()["state"], "Normal");
}

#[test]
fn an_open_page_learns_that_the_controller_ends() {
    let mut served = Served::with_array(3);
    let browser = served.browser("anna", "admin");
    let head = browser.head("GET", "/live", "");
    let (status, mut lines) = stream(&served, &head);
    assert_eq!(status, 200);
    kill_process(Pid::from_child(&served.controller), Signal::TERM).unwrap();
    let mut rest = String::new();
    // The stream ends, in whatever way.
    let _ = lines.read_to_string(&mut rest);
    assert!(rest.contains("event: hello"), "{rest}");
    assert_eq!(served.controller.wait().unwrap().code(), Some(0));
}
