//! What is refused, and with which number, against the protocol document's wishes.

use super::*;

fn terms() -> Terms {
    Terms {
        dialect: Dialect::Structured,
        size_bytes: 1 << 20,
        read_only: false,
        write_through: false,
        minimum_block_bytes: 1,
        maximum_request_bytes: 64 << 10,
        contexts: vec![Context::Allocation, Context::Health],
    }
}

fn request(command: u16, flags: u16, offset_bytes: u64, length_bytes: u64) -> Request {
    Request {
        flags,
        command,
        cookie: 1,
        offset_bytes,
        length_bytes,
    }
}

fn refused(terms: &Terms, command: u16, flags: u16, offset_bytes: u64, length_bytes: u64) -> Option<Errno> {
    let checked = terms.check(&request(command, flags, offset_bytes, length_bytes));
    checked.err().map(|refusal| refusal.errno)
}

const RANGED: [(u16, Errno); 6] = [
    (command::READ, Errno::Invalid),
    (command::WRITE, Errno::NoSpace),
    (command::TRIM, Errno::Invalid),
    (command::CACHE, Errno::Invalid),
    (command::WRITE_ZEROES, Errno::NoSpace),
    (command::BLOCK_STATUS, Errno::Invalid),
];

#[test]
fn a_range_past_the_end_is_refused_with_the_commands_own_number() {
    for (command, errno) in RANGED {
        assert_eq!(refused(&terms(), command, 0, 0, 4096), None, "{command}");
        assert_eq!(refused(&terms(), command, 0, (1 << 20) - 4096, 4096), None, "{command}");
        for (offset, length) in [
            (1 << 20, 1),
            ((1 << 20) - 1, 2),
            (u64::MAX, 1),
            (u64::MAX - 1, 4096),
            (1, 1 << 20),
        ] {
            let found = refused(&terms(), command, 0, offset, length);
            let expected = if command == command::WRITE && length > 64 << 10 {
                Errno::Invalid
            } else {
                errno
            };
            assert_eq!(found, Some(expected), "{command} {offset} {length}");
        }
    }
}

#[test]
fn a_read_only_export_refuses_what_would_change_it() {
    let terms = Terms {
        read_only: true,
        ..terms()
    };
    for command in [command::WRITE, command::TRIM, command::WRITE_ZEROES] {
        assert_eq!(refused(&terms, command, 0, 0, 512), Some(Errno::Perm));
        assert_eq!(refused(&terms, command, 0, u64::MAX, 512), Some(Errno::Perm));
    }
    assert_eq!(refused(&terms, command::READ, 0, 0, 512), None);
    assert_eq!(refused(&terms, command::FLUSH, 0, 0, 0), None);
}

#[test]
fn requests_longer_than_the_largest_are_refused() {
    assert_eq!(refused(&terms(), command::READ, 0, 0, 64 << 10), None);
    assert_eq!(
        refused(&terms(), command::READ, 0, 0, (64 << 10) + 1),
        Some(Errno::Overflow)
    );
    assert_eq!(refused(&terms(), command::WRITE, 0, 0, 64 << 10), None);
    assert_eq!(
        refused(&terms(), command::WRITE, 0, 0, (64 << 10) + 1),
        Some(Errno::Invalid)
    );
    for command in [
        command::TRIM,
        command::WRITE_ZEROES,
        command::CACHE,
        command::BLOCK_STATUS,
    ] {
        assert_eq!(
            refused(&terms(), command, 0, 0, 1 << 20),
            None,
            "{command} carries no data"
        );
    }
}

#[test]
fn unaligned_requests_are_refused_where_sectors_are_whole() {
    let terms = Terms {
        minimum_block_bytes: 512,
        ..terms()
    };
    for (command, _) in RANGED {
        assert_eq!(refused(&terms, command, 0, 512, 1024), None);
        assert_eq!(refused(&terms, command, 0, 511, 1024), Some(Errno::Invalid));
        assert_eq!(refused(&terms, command, 0, 512, 1023), Some(Errno::Invalid));
    }
}

#[test]
fn each_command_has_its_flags_and_no_others() {
    let known = [
        (command::READ, FUA | DF),
        (command::WRITE, FUA),
        (command::FLUSH, FUA),
        (command::TRIM, FUA),
        (command::CACHE, FUA),
        (command::WRITE_ZEROES, FUA | NO_HOLE | FAST_ZERO),
        (command::BLOCK_STATUS, FUA | REQ_ONE),
    ];
    for (command, flags) in known {
        let length = if command == command::FLUSH { 0 } else { 512 };
        for bit in 0..16 {
            let refused = refused(&terms(), command, 1 << bit, 0, length);
            let expected = (flags & (1 << bit) == 0).then_some(Errno::Invalid);
            assert_eq!(refused, expected, "command {command} bit {bit}");
        }
    }
    let simple = Terms {
        dialect: Dialect::Simple,
        ..terms()
    };
    assert_eq!(refused(&simple, command::READ, DF, 0, 512), Some(Errno::Invalid));
}

#[test]
fn unknown_commands_and_ranged_flushes_are_refused() {
    for command in [9, 100, u16::MAX] {
        assert_eq!(refused(&terms(), command, 0, 0, 0), Some(Errno::Invalid));
    }
    assert_eq!(refused(&terms(), command::FLUSH, 0, 0, 1), Some(Errno::Invalid));
    assert_eq!(refused(&terms(), command::FLUSH, 0, 1, 0), Some(Errno::Invalid));
}

#[test]
fn block_status_needs_a_context_and_a_range() {
    let none = Terms {
        contexts: Vec::new(),
        ..terms()
    };
    assert_eq!(refused(&none, command::BLOCK_STATUS, 0, 0, 512), Some(Errno::Invalid));
    assert_eq!(refused(&terms(), command::BLOCK_STATUS, 0, 0, 0), Some(Errno::Invalid));
}

#[test]
fn payload_is_what_writes_have_and_what_extended_requests_announce() {
    let payload =
        |dialect, command, flags| Terms { dialect, ..terms() }.payload_bytes(&request(command, flags, 0, 512));
    assert_eq!(payload(Dialect::Simple, command::WRITE, 0), 512);
    assert_eq!(payload(Dialect::Structured, command::READ, PAYLOAD_LEN), 0);
    assert_eq!(payload(Dialect::Extended, command::READ, 0), 0);
    assert_eq!(payload(Dialect::Extended, command::READ, PAYLOAD_LEN), 512);
    assert_eq!(payload(Dialect::Extended, command::WRITE, PAYLOAD_LEN), 512);
    // As qemu 10.0 sends it.
    assert_eq!(payload(Dialect::Extended, command::WRITE, 0), 512);
}

#[test]
fn a_status_payload_names_contexts_that_were_agreed_on_each_once() {
    let table: &[(&[u8], Option<usize>)] = &[
        (b"\0\0\0\0\0\0\x02\0\0\0\0\x01", Some(1)),
        (b"\0\0\0\0\0\0\x02\0\0\0\0\x02\0\0\0\x01", Some(2)),
        (b"\0\0\0\0\0\0\x02\0\0\0\0\x01\0\0\0\x01", None),
        (b"\0\0\0\0\0\0\x02\0\0\0\0\x03", None),
        (b"\0\0\0\0\0\0\x02\0\0\0\0", None),
        (b"\0\0\0\0\0\0\x02\0", None),
        (b"\0\0\0\0\0\0\0\0\0\0\0\x01", None),
        (b"\0\0\0\0\0\x20\0\0\0\0\0\x01", None),
        (b"\0\0\0", None),
    ];
    for (payload, expected) in table {
        let found = terms().check_status_payload(0, payload);
        assert_eq!(found.ok().map(|(_, contexts)| contexts.len()), *expected, "{payload:?}");
    }
}

/// R19: under write-through each write, trim and zeroing asks for what FUA asks for.
#[test]
fn write_through_makes_every_write_durable() {
    let terms = Terms {
        write_through: true,
        ..terms()
    };
    for (command, fua) in [
        (command::WRITE, true),
        (command::TRIM, true),
        (command::WRITE_ZEROES, true),
    ] {
        let operation = terms.check(&request(command, 0, 0, 512)).unwrap();
        let asked = match operation {
            Operation::Write { fua, .. } | Operation::Trim { fua, .. } | Operation::Zeroes { fua, .. } => fua,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked, fua);
    }
}
