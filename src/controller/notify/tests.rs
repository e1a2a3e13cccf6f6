use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    time::Instant,
};

use jiff::tz::TimeZone;

use super::{
    link::Bounds,
    queue::EVENTS_MAX,
    settings::{Recipient, Secret, Security, SmtpChange, Webhook},
    *,
};
use crate::controller::clock::SetClock;

/// Keeps what it carries, or fails as it is told.
#[derive(Default)]
struct Hand {
    carried: Mutex<Vec<Parcel>>,
    fails: Mutex<Option<Failure>>,
}

impl Carrier for Arc<Hand> {
    fn carry(&self, parcel: &Parcel) -> std::result::Result<(), Failure> {
        if let Some(failure) = self.fails.lock().unwrap().clone() {
            return Err(failure);
        }
        self.carried.lock().unwrap().push(parcel.clone());
        Ok(())
    }
}

/// A notifier without threads, whose clock stands.
struct Bench {
    _place: tempfile::TempDir,
    store: Store,
    clock: Arc<SetClock>,
    mail: Arc<Hand>,
    web: Arc<Hand>,
    notifier: Notifier,
    now_s: i64,
}

const BEGIN_S: i64 = 1_800_000_000;

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let store = Store::create(&place.path().join("s")).unwrap();
        let begin = Timestamp::from_second(BEGIN_S).unwrap();
        let clock = Arc::new(SetClock::new(begin, TimeZone::UTC));
        let (mail, web) = (Arc::<Hand>::default(), Arc::<Hand>::default());
        let notifier = Notifier::new(
            &store,
            clock.clone(),
            Box::new(Arc::clone(&mail)),
            Box::new(Arc::clone(&web)),
        );
        let bench = Self {
            _place: place,
            store,
            clock,
            mail,
            web,
            notifier,
            now_s: BEGIN_S,
        };
        let smtp = SmtpChange {
            enabled: Some(true),
            server: Some("mail.example.com".to_owned()),
            from: Some("nas@example.com".to_owned()),
            ..SmtpChange::default()
        };
        bench.notifier.answer(NotifyAsk::Smtp(smtp)).unwrap();
        bench
    }

    /// The same store with a new notifier, as after a kill.
    fn killed(&mut self) {
        let boxed = |hand: &Arc<Hand>| Box::new(Arc::clone(hand));
        self.notifier = Notifier::new(&self.store, self.clock.clone(), boxed(&self.mail), boxed(&self.web));
    }

    fn add(&self, address: &str, levels: &[Level]) {
        let recipient = Recipient {
            address: address.to_owned(),
            name: String::new(),
            levels: levels.to_vec(),
        };
        self.notifier.answer(NotifyAsk::AddRecipient(recipient)).unwrap();
        self.notifier.own_events();
    }

    fn happens(&self, level: Level, text: &str) {
        let mut event = Event::new(Name::TestMessage, text).with_level(level);
        event.time_us = u64::try_from(self.now_s * 1_000_000).unwrap();
        self.notifier.take(&event);
    }

    /// Lets time pass and carries what is due then; returns what was carried, by recipient.
    fn after(&mut self, seconds: i64) -> Vec<(String, Vec<String>)> {
        self.now_s += seconds;
        self.clock.set(Timestamp::from_second(self.now_s).unwrap());
        for _ in 0..50 {
            self.notifier.shared.step(Way::Mail, false);
            self.notifier.shared.step(Way::Web, false);
        }
        let mut carried = std::mem::take(&mut *self.mail.carried.lock().unwrap());
        carried.append(&mut self.web.carried.lock().unwrap());
        let texts = |events: Vec<Event>| events.into_iter().map(|event| event.text).collect();
        carried
            .into_iter()
            .map(|parcel| (parcel.to, texts(parcel.events)))
            .collect()
    }
}

fn told(to: &str, texts: &[&str]) -> (String, Vec<String>) {
    (to.to_owned(), texts.iter().map(|text| (*text).to_owned()).collect())
}

/// R42: each recipient hears of the chosen levels only, and of nothing while mail is not enabled.
#[test]
fn recipients_get_their_levels_only() {
    let mut bench = Bench::new();
    bench.happens(Level::Error, "before anybody wants to hear of it");
    bench.add("all@example.com", &Level::ALL);
    bench.add("errors@example.com", &[Level::Error]);
    bench.add("middle@example.com", &[Level::Information, Level::Warning]);
    for level in Level::ALL {
        bench.happens(level, level.name());
    }
    let all = ["Information", "Warning", "Error"];
    let expected = [
        told("all@example.com", &all),
        told("errors@example.com", &all[2..]),
        told("middle@example.com", &all[..2]),
    ];
    assert_eq!(bench.after(SETTLE_S), expected);
    assert!(bench.after(86_400).is_empty(), "nothing is told twice");
    let off = SmtpChange {
        enabled: Some(false),
        ..SmtpChange::default()
    };
    bench.notifier.answer(NotifyAsk::Smtp(off)).unwrap();
    bench.happens(Level::Error, "nobody is told");
    assert!(bench.after(86_400).is_empty());
}

/// R43: the first event goes at once, others are gathered; what is worse does not wait.
#[test]
fn a_flood_becomes_a_digest() {
    let mut bench = Bench::new();
    bench.add("op@example.com", &Level::ALL);
    bench.happens(Level::Information, "one");
    assert!(bench.after(0).is_empty(), "what belongs together goes together");
    bench.happens(Level::Information, "two");
    assert_eq!(bench.after(SETTLE_S), [told("op@example.com", &["one", "two"])]);
    bench.happens(Level::Information, "three");
    assert!(bench.after(200).is_empty());
    bench.happens(Level::Error, "four");
    assert_eq!(bench.after(SETTLE_S), [told("op@example.com", &["three", "four"])]);
    for number in 0..EVENTS_MAX + 1 {
        bench.happens(Level::Error, &number.to_string());
    }
    assert!(bench.after(SETTLE_S).is_empty());
    let carried = bench.after(300);
    assert_eq!(carried.len(), 1);
    assert_eq!(carried[0].1.last().unwrap(), &EVENTS_MAX.to_string());
    bench.killed();
    bench.happens(Level::Error, "after a restart");
    assert!(bench.after(100).is_empty(), "a restart begins no new flood");
    assert_eq!(bench.after(200).len(), 1);
}

/// R41: what cannot be told is told once, is tried again ever less often, and survives a kill.
#[test]
fn a_failure_is_told_once_and_loses_nothing() {
    let mut bench = Bench::new();
    bench.add("a@example.com", &Level::ALL);
    bench.add("b@example.com", &[Level::Error]);
    let down = Failure::of_server("it is down".to_owned());
    *bench.mail.fails.lock().unwrap() = Some(down);
    bench.happens(Level::Error, "one");
    let mut own = Vec::new();
    for _ in 0..600 {
        assert!(bench.after(60).is_empty());
        for event in bench.notifier.own_events() {
            bench.notifier.take(&event);
            own.push(event);
        }
    }
    assert_eq!(own.len(), 1, "{own:?}");
    assert_eq!(own[0].event, Name::NotifyFailed);
    assert_eq!(own[0].level, Level::Warning);
    bench.killed();
    bench.after(60);
    assert!(bench.notifier.own_events().is_empty(), "nor again after a restart");
    *bench.mail.fails.lock().unwrap() = None;
    let expected = [
        told("a@example.com", &["one", &own[0].text]),
        told("b@example.com", &["one"]),
    ];
    assert_eq!(bench.after(RETRY_MAX_S), expected);
    let one = Failure::of_one("no such user".to_owned());
    *bench.mail.fails.lock().unwrap() = Some(one);
    bench.happens(Level::Warning, "two");
    bench.after(3600);
    let own = bench.notifier.own_events();
    assert!(own.len() == 1 && own[0].text.contains("a@example.com"), "{own:?}");
}

#[test]
fn the_webhook_gets_each_event_by_itself_and_at_once() {
    let mut bench = Bench::new();
    let webhook = Webhook {
        url: "http://127.0.0.1:1/x".to_owned(),
        levels: vec![Level::Warning, Level::Error],
    };
    bench.notifier.answer(NotifyAsk::Webhook(Some(webhook))).unwrap();
    for (level, text) in [
        (Level::Error, "one"),
        (Level::Information, "no"),
        (Level::Warning, "two"),
    ] {
        bench.happens(level, text);
    }
    assert_eq!(bench.after(0), [told("", &["one"]), told("", &["two"])]);
}

/// R41: the box of the guide: its fields, the ports 25 and 465, and the password that is never shown again.
#[test]
fn the_mail_server_is_set_field_by_field() {
    let place = tempfile::tempdir().unwrap();
    let store = Store::create(&place.path().join("s")).unwrap();
    let clock = SetClock::new(Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let ask = |ask| answer_alone(&store, &clock, ask);
    let set = |change| ask(NotifyAsk::Smtp(change));
    let shown = || ask(NotifyAsk::Show).unwrap()["smtp"].clone();
    assert_eq!(shown()["port"], 25);
    assert_eq!(shown()["enabled"], false);
    let early = SmtpChange {
        enabled: Some(true),
        ..SmtpChange::default()
    };
    assert_eq!(set(early).unwrap_err().judge().0, Kind::Usage);
    set(SmtpChange {
        enabled: Some(true),
        server: Some("192.0.2.1".to_owned()),
        from: Some("nas@example.com".to_owned()),
        login: Some("nas".to_owned()),
        password: Some(Secret("hunter2".to_owned())),
        security: Some(Security::Ssl),
        ..SmtpChange::default()
    })
    .unwrap();
    assert_eq!(shown()["port"], 465);
    assert_eq!(shown()["password_set"], true);
    assert!(!shown().to_string().contains("hunter2"));
    let path = place.path().join("s/state/notify.json");
    assert!(std::fs::read_to_string(&path).unwrap().contains("hunter2"));
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    set(SmtpChange {
        port: Some(2525),
        ..SmtpChange::default()
    })
    .unwrap();
    assert_eq!(shown()["port"], 2525);
    assert_eq!(shown()["login"], "nas", "what is not named stays");
    for (server, from, login) in [
        ("a b", "n@example.com", ""),
        ("mail\r\nRSET", "n@example.com", ""),
        ("", "n@example.com", ""),
        ("mail", "n@example.com\r\nBcc: x@example.com", ""),
        ("mail", "nobody", ""),
        ("mail", "n@example.com", "x\r\n"),
    ] {
        let wrong = SmtpChange {
            server: Some(server.to_owned()),
            from: Some(from.to_owned()),
            login: Some(login.to_owned()),
            ..SmtpChange::default()
        };
        assert_eq!(
            set(wrong).unwrap_err().judge().0,
            Kind::Usage,
            "{server:?} {from:?} {login:?}"
        );
    }
    for url in ["ftp://x/", "x", "http://u:p@x/", "http:///x", "http://x y/"] {
        let levels = vec![Level::Error];
        let url = url.to_owned();
        let refused = ask(NotifyAsk::Webhook(Some(Webhook { url, levels })));
        assert_eq!(refused.unwrap_err().judge().0, Kind::Usage);
    }
}

/// Serves one client with a script of bytes; an empty one means that nothing is said.
fn lying(script: impl FnOnce(std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || script(listener.accept().unwrap().0));
    port
}

/// How a mail fails that may take little.
fn carry_to(port: u16, security: Security) -> Failure {
    let bounds = Bounds {
        whole: Duration::from_millis(700),
        received_bytes: 64 << 10,
        ..Bounds::default()
    };
    carry_within(bounds, port, security)
}

fn carry_within(bounds: Bounds, port: u16, security: Security) -> Failure {
    let mut wishes = Wishes::default();
    wishes.smtp.server = "127.0.0.1".to_owned();
    wishes.smtp.port = Some(port);
    wishes.smtp.from = "nas@example.com".to_owned();
    wishes.smtp.security = security;
    wishes.recipients.push(Recipient {
        address: "op@example.com".to_owned(),
        name: String::new(),
        levels: Level::ALL.to_vec(),
    });
    let parcel = Parcel {
        to: "op@example.com".to_owned(),
        wishes,
        origin: Origin::of(std::path::Path::new("/srv")),
        events: vec![Event::new(Name::Fail, "one")],
        left_out: 0,
    };
    let began = Instant::now();
    let failure = smtp::Mail { bounds }.carry(&parcel).unwrap_err();
    assert!(began.elapsed() < 2 * Bounds::default().whole, "{failure:?}");
    assert!(failure.reason.len() < 1000 && !failure.reason.contains(char::is_control));
    failure
}

/// R41: a server that hangs, floods, drips, lies or leaves comes to an end, and so does one that does not exist.
#[test]
fn no_server_holds_a_mail_for_ever() {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert!(carry_to(closed, Security::Auto).of_server);
    for security in [Security::Auto, Security::Ssl] {
        carry_to(lying(|mut stream| drop(stream.read_to_end(&mut Vec::new()))), security);
        carry_to(
            lying(|mut stream| while stream.write_all(&[b'2'; 4096]).is_ok() {}),
            security,
        );
        carry_to(lying(drop), security);
    }
    let drip = |mut stream: std::net::TcpStream| {
        let pause = Duration::from_millis(50);
        stream.set_read_timeout(Some(pause)).unwrap();
        while stream.write_all(b"2").is_ok() {
            let _ = stream.read(&mut [0; 64]);
        }
    };
    carry_to(lying(drip), Security::Auto);
    let says = |text: &'static [u8]| {
        move |mut stream: std::net::TcpStream| {
            let _ = stream.write_all(text);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    };
    carry_to(lying(says(b"\xff\xfe\0\r\n")), Security::Auto);
    carry_to(lying(says(b"HTTP/1.1 200 OK\r\n\r\n")), Security::Auto);
    let refusing = lying(says(b"554 \x1b[2Jgo away\r\n"));
    let refuses = carry_within(Bounds::default(), refusing, Security::Auto);
    assert!(refuses.reason.contains("go away"), "{refuses:?}");
}
