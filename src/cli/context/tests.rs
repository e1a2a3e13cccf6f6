use std::path::PathBuf;

use super::{facts, list_text, show_text};
use crate::{
    dump::{
        context::{Context, Snapshot},
        selection::Selection,
        writer::{Order, Scope},
    },
    storage::SimDirectory,
    tape::{Container, Limits, Names, Volumes},
};

/// A dump of a filer, as the manual that the listings were taken from has it.
fn context(host: &str, id: &str) -> Context {
    let identity = data_encoding::HEXLOWER.decode(id.replace('-', "").as_bytes()).unwrap();
    let order = Order {
        level: 0,
        now_s: 1_460_624_800,
        factor: 10,
        label: "none".into(),
        host: host.into(),
        honour_nodump_from: 1,
        identity: identity.try_into().unwrap(),
        path: "/vol/vol1".into(),
        update: true,
        scope: Scope::Store,
        history: true,
        selection: Selection::default(),
    };
    let volumes = Volumes {
        directory: std::sync::Arc::new(SimDirectory::new()),
        names: Names::Listed(vec!["t.tap".into()]),
        container: Container::Tap,
        record_bytes: 10240,
        limits: Limits::default(),
    };
    let volume = PathBuf::from(format!("/{host}/vol1"));
    let mut context = Context::new(order, volume.clone(), &volumes);
    context.pass = 4;
    context.snapshot = Some(Snapshot {
        volume,
        database: "/db".into(),
        name: "snapshot_for_backup.1".into(),
        automatic: true,
    });
    context
}

const IDS: [(&str, &str); 3] = [
    ("vserver1", "330e6739-0179-11e6-a299-005056bb4bc9"),
    ("vserver1", "481025c1-0179-11e6-a299-005056bb4bc9"),
    ("vserver2", "5cf10132-0179-11e6-a299-005056bb4bc9"),
];

/// D42, D44: the list has the words and columns of filers, and gets shorter as contexts are removed.
#[test]
fn contexts_are_listed_as_filers_list_them() {
    let mut contexts: Vec<Context> = IDS.iter().map(|(host, id)| context(host, id)).collect();
    assert_eq!(
        list_text(&contexts),
        "\
Vserver     Context Identifier                   Is Cleanup Pending?
----------- ------------------------------------ -------------------
vserver1    330e6739-0179-11e6-a299-005056bb4bc9 false
vserver1    481025c1-0179-11e6-a299-005056bb4bc9 false
vserver2    5cf10132-0179-11e6-a299-005056bb4bc9 false
3 entries were displayed.
"
    );
    contexts.remove(1);
    contexts.remove(0);
    contexts[0].cleanup_pending = true;
    let text = list_text(&contexts);
    assert!(text.ends_with("bb4bc9 true\n1 entry was displayed.\n"), "{text}");
}

/// D43: everything that filers tell of a context, in their order; its snapshot is not there, so it cannot go on.
#[test]
fn a_context_is_shown_as_filers_show_it() {
    let (host, id) = IDS[0];
    let context = context(host, id);
    assert_eq!(context.id(), id);
    assert_eq!(
        show_text(&facts(&context, false, 1_460_624_875)),
        "\
Vserver: vserver1
Context Identifier: 330e6739-0179-11e6-a299-005056bb4bc9
Volume Name: /vserver1/vol1
Is Cleanup Pending?: false
Backup Engine Type: dump
Is Snapshot Copy Auto-created?: true
Dump Path: /vol/vol1
Incremental Backup Level ID: 0
Dump Name: /vserver1/vol1
Context Last Updated Time: 1460624875
Has Offset Map?: true
Offset Verify: true
Is Context Restartable?: false
Is Context Busy?: false
Restart Pass: 4
Status of Backup: 2
Snapshot Copy Name: snapshot_for_backup.1
State of the Context: 7
"
    );
}
