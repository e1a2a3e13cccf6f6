//! Messages against tables of bytes that were written by hand from the protocol document.

use data_encoding::HEXLOWER;

use super::{
    Errno, chunk,
    handshake::{self, Choice, ContextQuery, Greeting, Malformed},
    handshake_flag, info, option, option_reply,
    transmission::{self, BadMagic, Dialect, Request, StatusExtent},
    transmission_flag,
};
use zerocopy::IntoBytes;

/// Bytes from hexadecimal, blanks aside.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    HEXLOWER.decode(digits.as_bytes()).unwrap()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

const REQUEST: Request = Request {
    flags: 0,
    command: 0,
    cookie: 0x1122_3344_5566_7788,
    offset_bytes: 0x0102_0304_0506_0708,
    length_bytes: 0x200,
};

#[test]
fn greeting_is_18_bytes() {
    let greeting = Greeting::new(handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
    let table = hex("4e42444d41474943 49484156454f5054 0003");
    assert_eq!(greeting.as_bytes(), table);
}

#[test]
fn numbers_are_those_of_the_document() {
    assert_eq!(option::GO, 7);
    assert_eq!(option::EXTENDED_HEADERS, 11);
    assert_eq!(option_reply::ERR_UNKNOWN, 0x8000_0006);
    assert_eq!(option_reply::ERR_EXT_HEADER_REQD, 0x8000_000a);
    assert_eq!(transmission_flag::SEND_FAST_ZERO, 0x800);
    assert_eq!(transmission_flag::BLOCK_STATUS_PAYLOAD, 0x1000);
    assert_eq!(chunk::ERROR, 0x8001);
}

#[test]
fn replies_to_options_have_the_documents_bytes() {
    let ack = written(|out| handshake::reply(out, option::LIST, option_reply::ACK, &[]));
    assert_eq!(ack, hex("0003e889045565a9 00000003 00000001 00000000"));

    let server = written(|out| handshake::reply_server(out, option::LIST, "ab", "Xyz"));
    assert_eq!(
        server,
        hex("0003e889045565a9 00000003 00000002 00000009 00000002 6162 58797a")
    );

    let export = written(|out| handshake::reply_info_export(out, option::GO, 0x10_0000, 0x0105));
    let table = "0003e889045565a9 00000007 00000003 0000000c 0000 0000000000100000 0105";
    assert_eq!(export, hex(table));

    let sizes = written(|out| handshake::reply_info_block_size(out, option::INFO, 512, 4096, 32 << 20));
    let table = "0003e889045565a9 00000006 00000003 0000000e 0003 00000200 00001000 02000000";
    assert_eq!(sizes, hex(table));

    let name = written(|out| handshake::reply_info_text(out, option::GO, info::NAME, "a"));
    assert_eq!(name, hex("0003e889045565a9 00000007 00000003 00000003 0001 61"));

    let context = written(|out| handshake::reply_context(out, option::SET_META_CONTEXT, 2, "x:y"));
    assert_eq!(
        context,
        hex("0003e889045565a9 0000000a 00000004 00000007 00000002 783a79")
    );
}

#[test]
fn export_name_is_answered_with_or_without_124_zeros() {
    let mut table = hex("0000000000100000 0105");
    assert_eq!(
        written(|out| handshake::reply_export_name(out, 1 << 20, 0x105, false)),
        table
    );
    table.resize(134, 0);
    assert_eq!(
        written(|out| handshake::reply_export_name(out, 1 << 20, 0x105, true)),
        table
    );
}

#[test]
fn choices_are_decoded() {
    let data = hex("00000002 6162 0002 0003 0001");
    let choice = Choice {
        name: "ab",
        wanted: vec![3, 1],
    };
    assert_eq!(Choice::decode(&data), Ok(choice));
    assert_eq!(
        Choice::decode(&hex("00000000 0000")),
        Ok(Choice {
            name: "",
            wanted: vec![]
        })
    );
}

#[test]
fn choices_whose_lengths_do_not_add_up_are_malformed() {
    for data in [
        "",
        "000000",
        "00000003 6162 0000",
        "ffffffff 6162 0000",
        "00000002 6162",
        "00000002 6162 00",
        "00000002 6162 0001",
        "00000002 6162 0001 00",
        "00000002 6162 0000 00",
        "00000002 6162 ffff 0003",
        "00000002 ff62 0000",
        "00000002 6100 0000",
    ] {
        assert!(Choice::decode(&hex(data)).is_err(), "{data}");
    }
}

#[test]
fn queries_are_decoded() {
    let data = hex("00000001 61 00000002 00000002 783a 00000003 783a79");
    let query = ContextQuery {
        name: "a",
        queries: vec!["x:", "x:y"],
    };
    assert_eq!(ContextQuery::decode(&data), Ok(query));
}

#[test]
fn queries_whose_lengths_do_not_add_up_are_malformed() {
    for data in [
        "",
        "00000001 61",
        "00000001 61 00000001",
        "00000001 61 ffffffff",
        "00000001 61 00000001 00000003 783a",
        "00000001 61 00000000 00",
        "00000001 61 00000001 ffffffff 783a79",
    ] {
        assert!(ContextQuery::decode(&hex(data)).is_err(), "{data}");
    }
}

#[test]
fn names_are_utf_8_without_zero_and_at_most_4096_bytes_long() {
    assert_eq!(handshake::string("a".repeat(4096).as_bytes()).map(str::len), Ok(4096));
    let long = handshake::string(&[b'a'; 4097]).unwrap_err();
    assert_eq!(long, Malformed("a name is longer than 4096 bytes"));
    assert!(handshake::string(b"a\0b").is_err());
    assert!(handshake::string(b"\xc3\x28").is_err());
}

#[test]
fn requests_are_decoded_in_both_forms() {
    let compact = hex("25609513 0001 0006 1122334455667788 0102030405060708 00000200");
    let request = Request {
        flags: 1,
        command: 6,
        ..REQUEST
    };
    for dialect in [Dialect::Simple, Dialect::Structured] {
        assert_eq!(dialect.request_bytes(), 28);
        assert_eq!(Request::decode(dialect, &compact), Ok(Some(request)));
        assert_eq!(Request::decode(dialect, &compact[..27]), Ok(None));
    }
    let extended = hex("21e41c71 0001 0006 1122334455667788 0102030405060708 0000000100000200");
    let request = Request {
        length_bytes: 0x1_0000_0200,
        ..request
    };
    assert_eq!(Dialect::Extended.request_bytes(), 32);
    assert_eq!(Request::decode(Dialect::Extended, &extended), Ok(Some(request)));
    assert_eq!(Request::decode(Dialect::Extended, &extended[..31]), Ok(None));
}

#[test]
fn another_dialects_request_is_no_request() {
    let compact = hex("25609513 0001 0006 1122334455667788 0102030405060708 00000200 00000000");
    let extended = hex("21e41c71 0001 0006 1122334455667788 0102030405060708 0000000000000200");
    assert_eq!(
        Request::decode(Dialect::Extended, &compact),
        Err(BadMagic { found: 0x2560_9513 })
    );
    assert_eq!(
        Request::decode(Dialect::Structured, &extended),
        Err(BadMagic { found: 0x21e4_1c71 })
    );
}

#[test]
fn data_follow_the_head_of_each_dialect() {
    let head = |dialect| written(|out| transmission::reply_data(out, dialect, &REQUEST));
    assert_eq!(head(Dialect::Simple), hex("67446698 00000000 1122334455667788"));
    let table = "668e33ef 0001 0001 1122334455667788 00000208 0102030405060708";
    assert_eq!(head(Dialect::Structured), hex(table));
    let table = "6e8a278c 0001 0001 1122334455667788 0102030405060708 0000000000000208 0102030405060708";
    assert_eq!(head(Dialect::Extended), hex(table));
    assert!(head(Dialect::Extended).len() <= transmission::DATA_HEAD_MAX_BYTES);
}

#[test]
fn success_without_data_has_the_documents_bytes() {
    let reply = |dialect| written(|out| transmission::reply_done(out, dialect, &REQUEST));
    assert_eq!(reply(Dialect::Simple), hex("67446698 00000000 1122334455667788"));
    assert_eq!(
        reply(Dialect::Structured),
        hex("668e33ef 0001 0000 1122334455667788 00000000")
    );
    let table = "6e8a278c 0001 0000 1122334455667788 0102030405060708 0000000000000000";
    assert_eq!(reply(Dialect::Extended), hex(table));
}

#[test]
fn errors_carry_number_and_message() {
    let reply = |dialect| written(|out| transmission::reply_error(out, dialect, &REQUEST, Errno::NoSpace, "no"));
    assert_eq!(reply(Dialect::Simple), hex("67446698 0000001c 1122334455667788"));
    let table = "668e33ef 0001 8001 1122334455667788 00000008 0000001c 0002 6e6f";
    assert_eq!(reply(Dialect::Structured), hex(table));
    let table = "6e8a278c 0001 8001 1122334455667788 0102030405060708 0000000000000008 0000001c 0002 6e6f";
    assert_eq!(reply(Dialect::Extended), hex(table));
}

#[test]
fn messages_are_cut_between_characters() {
    let long = "é".repeat(3000);
    let reply = written(|out| transmission::reply_error(out, Dialect::Structured, &REQUEST, Errno::Io, &long));
    assert_eq!(reply[16..20], 4102_u32.to_be_bytes());
    assert_eq!(reply[24..26], 4096_u16.to_be_bytes());
    let odd = format!("a{long}");
    let reply = written(|out| transmission::reply_error(out, Dialect::Structured, &REQUEST, Errno::Io, &odd));
    assert_eq!(reply[24..26], 4095_u16.to_be_bytes());
    assert!(std::str::from_utf8(&reply[26..]).is_ok());
}

#[test]
fn extents_have_32_bits_or_64() {
    let extents = [
        StatusExtent {
            length_bytes: 0x1000,
            flags: 3,
        },
        StatusExtent {
            length_bytes: 0x200,
            flags: 0,
        },
    ];
    let reply = |dialect| written(|out| transmission::reply_extents(out, dialect, &REQUEST, 1, &extents, false));
    let table = "668e33ef 0000 0005 1122334455667788 00000014 00000001 00001000 00000003 00000200 00000000";
    assert_eq!(reply(Dialect::Structured), hex(table));
    let table = "6e8a278c 0000 0006 1122334455667788 0102030405060708 0000000000000028 00000001 00000002 \
                 0000000000001000 0000000000000003 0000000000000200 0000000000000000";
    assert_eq!(reply(Dialect::Extended), hex(table));
}
