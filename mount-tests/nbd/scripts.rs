//! Scripts of a few hundred requests, played by qemu-io over every way in, against what the array must hold after each.
//!
//! qemu's own tests and the tester of the NBD project work so; neither comes in a package, and what a foreign server can be
//! asked of them is here: writes of all kinds and lengths with a pattern each, read back in other pieces, on a RAID 5.

use std::{
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use headstack::{
    nbd::{Exports, Listener, Server, Settings},
    raid::{
        Array, Level,
        assemble::Image,
        create::{Initialisation, NewImage, Wish, create},
        metadata::identity::{Time, Uuid},
        scrub::Repair,
    },
    storage::HostDirectory,
};

use super::{
    fixture::{export, find, run},
    sessions::{certificates, offered},
};

const IMAGE_BYTES: u64 = 3 << 20;
/// Unit of what is written: an array has to take any.
const UNIT: usize = 512;

/// A RAID 5 of four images.
fn array(folder: &Path) -> Arc<Array> {
    let directory = Arc::new(HostDirectory::open(folder).unwrap());
    let member = |n: u8| {
        let name = PathBuf::from(format!("m{n}"));
        File::create_new(folder.join(&name))
            .unwrap()
            .set_len(IMAGE_BYTES)
            .unwrap();
        let directory = directory.clone();
        let image = Image { directory, name };
        let uuid = Uuid([n + 1; 16]);
        Some(NewImage { image, uuid })
    };
    let wish = Wish {
        name: "disk".to_owned(),
        uuid: Uuid([9; 16]),
        created: Time::new(1_700_000_000, 0),
        level: Level::Raid5,
        layout: 2,
        chunk_bytes: 64 << 10,
        initialisation: Initialisation::Background,
        member_bytes: None,
        bitmap_chunk_bytes: Some(0),
        overwrite: false,
    };
    let members: Vec<_> = (0..4).map(member).collect();
    Arc::new(create(&wish, &members, &[]).unwrap())
}

/// Requests, and reads that check what they leave in `model`: the pattern of each unit.
fn script(seed: u64, model: &mut [u8]) -> Vec<String> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut commands = Vec::new();
    for _ in 0..150 {
        // Mostly small, now and then more than a row of chunks.
        let longest = if chance.u8(..8) == 0 { 800 } else { 40 };
        let length = chance.usize(1..longest);
        let start = chance.usize(0..model.len() - length);
        let (at, bytes, pattern) = (start * UNIT, length * UNIT, chance.u8(1..));
        let half = bytes / UNIT / 2 * UNIT;
        let (command, pattern) = match chance.u8(..8) {
            0 => (format!("write -P {pattern} -f {at} {bytes}"), pattern),
            1 => (format!("aio_write -P {pattern} {at} {bytes}"), pattern),
            2 if half > 0 => (format!("writev -P {pattern} {at} {half} {}", bytes - half), pattern),
            3 => (format!("write -z {at} {bytes}"), 0),
            4 => (format!("write -z -u {at} {bytes}"), 0),
            _ => (format!("write -P {pattern} {at} {bytes}"), pattern),
        };
        let waits = command.starts_with("aio");
        commands.push(command);
        commands.extend(waits.then(|| "aio_flush".to_owned()));
        model[start..start + length].fill(pattern);
        if chance.u8(..4) == 0 {
            commands.push("flush".to_owned());
        }
        // A look at whatever is there, run by run.
        let from = chance.usize(0..model.len() - 60);
        let mut rest = from..from + 60;
        while !rest.is_empty() {
            let same = model[rest.clone()]
                .iter()
                .take_while(|pattern| **pattern == model[rest.start])
                .count();
            commands.push(format!(
                "read -P {} {} {}",
                model[rest.start],
                rest.start * UNIT,
                same * UNIT
            ));
            rest.start += same;
        }
    }
    commands
}

/// Over unix and TCP sockets, in the clear and over TLS, an array holds what the requests so far make of it, with parity
/// that goes with it.
#[test]
fn scripts_hold_over_every_way_in() {
    let folder = tempfile::tempdir().unwrap();
    if find("qemu-io").is_none() || !certificates(folder.path()) {
        return;
    }
    let array = array(folder.path());
    let mut model = vec![0; usize::try_from(array.size_bytes()).unwrap() / UNIT];
    let socket = folder.path().join("s");
    let keys = folder.path().display();
    for (seed, (tcp, secure)) in (1..).zip([(false, false), (true, false), (false, true), (true, true)]) {
        let settings = Settings {
            tls: if secure {
                offered(Some(folder.path()), true, None)
            } else {
                Settings::default().tls
            },
            ..Settings::default()
        };
        let exports = Exports::default();
        exports.add(export("disk", Arc::clone(&array)));
        let (listener, place) = if tcp {
            let listener = Listener::loopback(0).unwrap();
            let uri = listener.uri("disk", false).unwrap();
            let port = uri
                .rsplit(':')
                .next()
                .and_then(|rest| rest.split('/').next())
                .unwrap()
                .to_owned();
            (
                listener,
                format!("server.type=inet,server.host=127.0.0.1,server.port={port}"),
            )
        } else {
            (
                Listener::unix(&socket).unwrap(),
                format!("server.type=unix,server.path={}", socket.display()),
            )
        };
        let server = Server::start(exports, settings, vec![listener]).unwrap();
        let mut qemu = find("qemu-io").unwrap();
        let tls = if secure {
            qemu.arg("--object")
                .arg(format!("tls-creds-x509,id=keys,dir={keys},endpoint=client"));
            ",tls-creds=keys,tls-hostname=localhost"
        } else {
            ""
        };
        for command in script(seed, &mut model) {
            qemu.args(["-c", &command]);
        }
        let said = run(qemu
            .arg("--image-opts")
            .arg(format!("driver=nbd,export=disk,discard=unmap,{place}{tls}")));
        assert!(!said.contains("failed"), "seed {seed}: {said}");
        drop(server);
    }
    let mut found = vec![0; model.len() * UNIT];
    array.read_at(&mut found, 0).unwrap();
    let differs = found
        .chunks(UNIT)
        .zip(&model)
        .position(|(unit, pattern)| unit.iter().any(|byte| byte != pattern));
    assert_eq!(differs, None, "unit");
    let report = array
        .verify(Repair::Report, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert!(report.is_clean());
}
