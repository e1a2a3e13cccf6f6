use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

use super::*;
use crate::{
    dump::{
        context::mark::{Trailing, Within},
        error::Trouble,
        record::{Header, Kind},
        selection::Selection,
        stream::Standing,
        tree::{Identity, Status},
        walker::{Folder, Object, Walk},
        writer::Scope,
    },
    storage::SimDirectory,
    tape::{Container, Limits, Names},
};

fn context(identity: u8) -> Context {
    let order = Order {
        level: 1,
        now_s: 1_700_000_000,
        factor: 10,
        label: "none".into(),
        host: "here".into(),
        honour_nodump_from: 1,
        identity: [identity; 16],
        path: "/srv".into(),
        update: true,
        scope: Scope::Group,
        history: true,
        selection: Selection::default(),
    };
    let volumes = Volumes {
        directory: Arc::new(SimDirectory::new()),
        names: Names::Numbered("v".into()),
        container: Container::Flat,
        record_bytes: 10240,
        limits: Limits {
            capacity_bytes: Some(1 << 30),
            early_warning_bytes: 4096,
        },
    };
    Context::new(order, PathBuf::from(OsStr::from_bytes(b"/srv/\xFF")), &volumes)
}

/// D39, D41: a context is found again by whoever comes after, once nobody has it, until it is removed.
#[test]
fn a_context_is_kept_until_it_is_removed() {
    let directory = SimDirectory::new();
    let contexts = Contexts::of(Arc::new(directory.clone()));
    let mut keeper = contexts.begin(context(0xAB)).unwrap();
    keeper.change(|context| context.pass = 4).unwrap();
    let kept = keeper.context().clone();
    let id = kept.id();
    assert_eq!(id, "abababab-abab-abab-abab-abababababab");
    assert!(contexts.is_busy(&kept).unwrap());
    assert!(matches!(contexts.take(&id), Err(Error::Busy { .. })));
    drop(keeper);
    let again = Contexts::of(Arc::new(directory.clone()));
    assert_eq!(again.all().unwrap(), std::slice::from_ref(&kept));
    assert!(!again.is_busy(&kept).unwrap());
    again.take(&id).unwrap().remove().unwrap();
    assert_eq!(again.all().unwrap(), []);
    assert!(directory.list(Path::new("")).unwrap().is_empty(), "no file is left");
    for id in ["", "../x", "abababab-abab-abab-abab-abababababab"] {
        assert!(matches!(again.get(id), Err(Error::NoContext { .. })), "{id}");
    }
}

/// D40: three conditions, and a refusal of its own for each.
#[test]
fn what_cannot_go_on_says_why() {
    let mut context = context(1);
    context.snapshot = Some(Snapshot {
        volume: "/m".into(),
        database: "/db".into(),
        name: "snapshot_for_backup.0".into(),
        automatic: true,
    });
    for pass in 1..=3 {
        context.pass = pass;
        assert_eq!(context.hindrance(true), Some(Hindrance::Pass { pass }));
    }
    context.pass = 4;
    assert_eq!(context.hindrance(true), None);
    let name = "snapshot_for_backup.0".to_owned();
    assert_eq!(context.hindrance(false), Some(Hindrance::Snapshot { name }));
    context.order.history = false;
    assert_eq!(context.hindrance(true), Some(Hindrance::History));
}

#[test]
fn a_damaged_context_is_named() {
    let directory = SimDirectory::new();
    let contexts = Contexts::of(Arc::new(directory.clone()));
    let keeper = contexts.begin(context(2)).unwrap();
    let id = keeper.context().id();
    drop(keeper);
    let path = name(&id, "json");
    for contents in [&b"{}"[..], b"rubbish", b""] {
        directory.replace(&path, contents).unwrap();
        let error = contexts.get(&id).unwrap_err();
        assert!(matches!(&error, Error::DamagedState { path, .. } if path.ends_with(format!("context-{id}.json"))));
    }
}

fn object(folder: usize, name: &[u8], entered: Option<usize>, number: u32) -> Object {
    let mut status = Status::default();
    status.node.mode = 0o100_644;
    status.identity = Identity {
        inode: u64::MAX - u64::from(number),
        born_ns: -5,
        kind: 0o100_000,
    };
    Object {
        number,
        status,
        folder,
        name: name.into(),
        entered,
        chosen: true,
    }
}

fn plan() -> Plan {
    let folder = |object, parent| Folder {
        object,
        parent,
        entries: Vec::new(),
        unread: false,
    };
    let walk = Walk {
        objects: vec![
            object(0, b"", Some(0), 2),
            object(0, b"d", Some(1), 3),
            object(1, &[0xFF; 255], None, 9),
            object(0, b"f", None, 4),
        ],
        folders: vec![folder(0, 0), folder(1, 0)],
        troubles: Vec::new(),
    };
    Plan {
        walk,
        files: vec![3, 2],
    }
}

#[test]
fn a_plan_is_read_back_in_its_order_or_refused() {
    let bytes = plan().encode();
    let read = Plan::decode(&bytes).unwrap();
    let told: Vec<_> = read
        .files
        .iter()
        .map(|at| {
            let object = &read.walk.objects[*at];
            (
                object.number,
                object.status.identity.inode,
                read.walk.path_of_object(object),
            )
        })
        .collect();
    let long = Path::new("d").join(OsStr::from_bytes(&[0xFF; 255]));
    assert_eq!(told, [(4, u64::MAX - 4, "f".into()), (9, u64::MAX - 9, long)]);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(Plan::decode(&damaged).is_err(), "byte {at}");
        assert!(Plan::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    // A checksum does not make sense of a parent that comes behind its child.
    let mut bytes = bytes[..bytes.len() - 4].to_vec();
    bytes[16..20].copy_from_slice(&7_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    assert!(Plan::decode(&bytes).is_err());
}

#[test]
fn a_mark_is_read_back_or_refused() {
    let mut header = Header::new(Kind::Address);
    header.number = 9;
    let mut standing: Standing = serde_json::from_str(
        r#"{"volume":2,"blocks":77,"objects":8,"first_file":1,"in_progress":[9,0],"warned":false,"offset_bytes":4096,"file":1,"record_number":3,
            "behind":{"length_bytes":10240,"checksum":5}}"#,
    )
    .unwrap();
    standing.record = vec![0, 1, 0, 2];
    let mark = Mark {
        files: 3,
        within: Some(Within::new(1 << 40, &header)),
        places: 8,
        troubles: vec![Trouble {
            path: PathBuf::from(OsStr::from_bytes(b"a/\xFE")),
            what: "is lost".into(),
            loss: true,
        }],
        again: [7].into(),
        trailing: vec![Trailing {
            number: 12,
            inode: (4711, 0o100_000),
            path: "a/b".into(),
        }],
        standing,
    };
    let bytes = mark.encode();
    let read = Mark::decode(&bytes).unwrap();
    assert_eq!(read, mark);
    assert_eq!(
        read.within
            .and_then(|within| within.header())
            .map(|header| header.number),
        Some(9)
    );
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(Mark::decode(&damaged).is_err(), "byte {at}");
    }
}
