//! Answers to options, without a socket; expected bytes are written by hand from the protocol document.

use std::path::Path;

use super::*;
use crate::{
    raid::{
        Array, Level,
        assemble::Image,
        create::{Initialisation, NewImage, Wish, create},
        metadata::identity::{Time, Uuid},
    },
    storage::{Directory as _, SimDirectory},
};

/// One image of 2 MiB, half of which is the array's.
fn array(name: &str) -> Array {
    let directory = Arc::new(SimDirectory::new());
    let fill = &mut |file: &dyn crate::storage::Storage| file.set_size(2 << 20);
    directory.create(Path::new("image"), fill).unwrap();
    let wish = Wish {
        name: name.to_owned(),
        uuid: Uuid([1; 16]),
        created: Time::new(1, 0),
        level: Level::Linear,
        layout: 0,
        chunk_bytes: 0,
        initialisation: Initialisation::Keep,
        member_bytes: None,
        bitmap_chunk_bytes: None,
        overwrite: false,
    };
    let image = Image {
        directory,
        name: "image".into(),
    };
    let uuid = Uuid([2; 16]);
    create(&wish, &[Some(NewImage { image, uuid })], &[]).unwrap()
}

fn exports(names: &[&str]) -> Exports {
    let exports = Exports::default();
    for name in names {
        let export = Export::new(name, Arc::new(array("sets"))).unwrap();
        exports.add(export.with_description(&format!("the {name}")));
    }
    exports
}

fn flags() -> u32 {
    u32::from(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES)
}

/// Kinds and data of the replies in `out`, which are all for `option`.
fn replies(option: u32, mut out: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut found = Vec::new();
    while !out.is_empty() {
        assert_eq!(out[..8], [0, 0x03, 0xe8, 0x89, 0x04, 0x55, 0x65, 0xa9]);
        assert_eq!(out[8..12], option.to_be_bytes());
        let kind = u32::from_be_bytes(out[12..16].try_into().unwrap());
        let length = u32::from_be_bytes(out[16..20].try_into().unwrap()) as usize;
        found.push((kind, out[20..20 + length].to_vec()));
        out = &out[20 + length..];
    }
    found
}

struct Talk<'a>(Negotiation<'a>);

impl<'a> Talk<'a> {
    fn new(exports: &'a Exports, tls: &'a Tls) -> Self {
        Self(Negotiation::new(exports, tls, 32 << 20, flags()).unwrap())
    }

    fn say(&mut self, option: u32, data: &[u8]) -> (Next, Vec<(u32, Vec<u8>)>) {
        let mut out = Vec::new();
        let next = self.0.answer(option, data, &mut out);
        (next, replies(option, &out))
    }

    /// The kind of the last reply.
    fn last(&mut self, option: u32, data: &[u8]) -> u32 {
        self.say(option, data).1.last().unwrap().0
    }
}

fn choice(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&[0, 0, 0, length], name.as_bytes(), &[0, 0]].concat()
}

fn query(name: &str, queries: &[&str]) -> Vec<u8> {
    let count = u8::try_from(queries.len()).unwrap();
    let length = u8::try_from(name.len()).unwrap();
    let mut data = [&[0, 0, 0, length], name.as_bytes(), &[0, 0, 0, count]].concat();
    for query in queries {
        data.extend([0, 0, 0, u8::try_from(query.len()).unwrap()]);
        data.extend(query.as_bytes());
    }
    data
}

#[test]
fn flags_that_are_not_newstyle_end_the_session() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    for flags in [4, 1 << 31, u32::MAX] {
        assert!(Negotiation::new(&exports, &tls, 32 << 20, flags).is_none());
    }
    assert!(Negotiation::new(&exports, &tls, 32 << 20, 0).is_some());
}

#[test]
fn go_tells_size_flags_and_block_sizes_in_the_documents_bytes() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    let (next, replies) = Talk::new(&exports, &tls).say(option::GO, &choice("a"));
    assert!(matches!(next, Next::Transmit(_)));
    let export = [0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0x0f, 0x6d].to_vec();
    let sizes = [0, 3, 0, 0, 0, 1, 0, 0, 0x10, 0, 2, 0, 0, 0].to_vec();
    assert_eq!(replies, [(3, export), (3, sizes), (1, vec![])]);
}

#[test]
fn names_and_descriptions_are_told_who_asks() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    let data = b"\0\0\0\0\0\x02\0\x01\0\x02";
    let (next, replies) = Talk::new(&exports, &tls).say(option::INFO, data);
    assert!(matches!(next, Next::Option));
    assert!(replies.contains(&(3, b"\0\x01a".to_vec())));
    assert!(replies.contains(&(3, b"\0\x02the a".to_vec())));
}

#[test]
fn the_only_export_is_the_default_and_of_several_the_one_that_was_set() {
    let tls = Tls::default();
    let one = exports(&["a"]);
    assert_eq!(Talk::new(&one, &tls).last(option::GO, &choice("")), option_reply::ACK);
    let two = exports(&["a", "b"]);
    assert_eq!(
        Talk::new(&two, &tls).last(option::GO, &choice("")),
        option_reply::ERR_UNKNOWN
    );
    two.set_default(Some("b"));
    let (next, _) = Talk::new(&two, &tls).say(option::GO, &choice(""));
    assert!(matches!(next, Next::Transmit(agreement) if agreement.export.name() == "b"));
    let none = exports(&[]);
    assert_eq!(
        Talk::new(&none, &tls).last(option::GO, &choice("")),
        option_reply::ERR_UNKNOWN
    );
}

#[test]
fn the_list_has_every_export_and_its_description() {
    let (exports, tls) = (exports(&["b", "a"]), Tls::default());
    let (_, replies) = Talk::new(&exports, &tls).say(option::LIST, b"");
    let table = [
        (2, b"\0\0\0\x01athe a".to_vec()),
        (2, b"\0\0\0\x01bthe b".to_vec()),
        (1, vec![]),
    ];
    assert_eq!(replies, table);
}

#[test]
fn garbage_is_answered_and_the_next_option_understood() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    let mut talk = Talk::new(&exports, &tls);
    for option in [0, 4, 12, 99, u32::MAX] {
        assert_eq!(talk.last(option, b"garbage"), option_reply::ERR_UNSUP);
    }
    for option in [option::LIST, option::STRUCTURED_REPLY, option::EXTENDED_HEADERS] {
        assert_eq!(talk.last(option, b"x"), option_reply::ERR_INVALID);
    }
    for option in [
        option::INFO,
        option::GO,
        option::LIST_META_CONTEXT,
        option::SET_META_CONTEXT,
    ] {
        assert_eq!(talk.last(option, b"\xff\xff\xff\xffx"), option_reply::ERR_INVALID);
    }
    assert_eq!(talk.last(option::STARTTLS, b""), option_reply::ERR_POLICY);
    assert_eq!(talk.last(option::GO, &choice("a")), option_reply::ACK);
}

#[test]
fn abort_is_acknowledged() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    let (next, replies) = Talk::new(&exports, &tls).say(option::ABORT, b"ignored");
    assert!(matches!(next, Next::End));
    assert_eq!(replies, [(1, vec![])]);
}

#[test]
fn an_unknown_export_name_can_only_be_hung_up_on() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    for name in [&b"b"[..], b"\xff", b"a\0"] {
        let (next, replies) = Talk::new(&exports, &tls).say(option::EXPORT_NAME, name);
        assert!(matches!(next, Next::End));
        assert!(replies.is_empty());
    }
}

#[test]
fn contexts_are_listed_by_name_namespace_and_all() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    let mut talk = Talk::new(&exports, &tls);
    let mut list = |queries: &[&str]| {
        let (_, mut replies) = talk.say(option::LIST_META_CONTEXT, &query("a", queries));
        assert_eq!(replies.pop(), Some((1, vec![])));
        let names = replies.iter().map(|(kind, data)| {
            assert_eq!((*kind, &data[..4]), (4, &[0; 4][..]));
            String::from_utf8(data[4..].to_vec()).unwrap()
        });
        names.collect::<Vec<_>>()
    };
    let all = ["base:allocation", "headstack:health", "headstack:stripe"];
    assert_eq!(list(&[]), all);
    assert_eq!(list(&["base:"]), all[..1]);
    assert_eq!(list(&["headstack:"]), all[1..]);
    assert_eq!(list(&["headstack:stripe", "qemu:"]), all[2..]);
    assert_eq!(list(&["base:nonsense", "qemu:dirty-bitmap:x"]), [""; 0]);
}

#[test]
fn contexts_are_chosen_by_name_only_and_for_one_export() {
    let (exports, tls) = (exports(&["a", "b"]), Tls::default());
    let mut talk = Talk::new(&exports, &tls);
    let both = query("a", &["base:allocation", "headstack:health", "headstack:", "base:"]);
    let needs_structured = talk.last(option::SET_META_CONTEXT, &both);
    assert_eq!(needs_structured, option_reply::ERR_INVALID);
    assert_eq!(talk.last(option::STRUCTURED_REPLY, b""), option_reply::ACK);
    let (_, replies) = talk.say(option::SET_META_CONTEXT, &both);
    let table = [
        (4, b"\0\0\0\x01base:allocation".to_vec()),
        (4, b"\0\0\0\x02headstack:health".to_vec()),
        (1, vec![]),
    ];
    assert_eq!(replies, table);
    let contexts = |talk: &Talk<'_>, name| talk.0.agree(exports.find(name).unwrap()).contexts;
    assert_eq!(contexts(&talk, "a"), [Context::Allocation, Context::Health]);
    assert_eq!(contexts(&talk, "b"), []);
    let failed = talk.last(option::SET_META_CONTEXT, &query("a", &["colonless"]));
    assert_eq!(failed, option_reply::ERR_INVALID);
    assert_eq!(
        contexts(&talk, "a"),
        [],
        "a choice that fails takes the earlier one with it"
    );
}

#[test]
fn extended_headers_take_the_place_of_structured_replies() {
    let (exports, tls) = (exports(&["a"]), Tls::default());
    let mut talk = Talk::new(&exports, &tls);
    assert_eq!(talk.last(option::EXTENDED_HEADERS, b""), option_reply::ACK);
    assert_eq!(
        talk.last(option::STRUCTURED_REPLY, b""),
        option_reply::ERR_EXT_HEADER_REQD
    );
    assert!(matches!(talk.say(option::EXPORT_NAME, b"a").0, Next::End));
    let (next, _) = talk.say(option::GO, &choice("a"));
    assert!(matches!(next, Next::Transmit(agreement) if agreement.dialect == Dialect::Extended));
}
