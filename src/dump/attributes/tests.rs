//! Attributes held to a tape of stock dump, whose blocks the kernel wrote, and to hostile bytes.

use std::{collections::BTreeSet, fs, path::Path};

use proptest::prelude::*;

use super::*;
use crate::dump::record::{FLAG_EXTENDED, Header};

fn attribute(name: &str, value: &[u8]) -> Attribute {
    Attribute {
        name: name.into(),
        value: value.to_vec(),
    }
}

/// All blocks of attributes on the golden tape.
fn golden() -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("images/tape/little-dump-0.4b47/level0.dump");
    let tape = fs::read(path).unwrap();
    let mut at = 0;
    let mut found = Vec::new();
    while at < tape.len() {
        let header = Header::decode(tape[at..at + 1024].try_into().unwrap()).unwrap();
        let end = at + 1024 * (1 + header.blocks());
        if header.flags & FLAG_EXTENDED != 0 {
            found.push(tape[at + 1024..end].to_vec());
        }
        at = end;
    }
    found
}

/// What `fill.sh` set, as `getfattr` gives it; its `chmod 4755` moved the mask of the list.
fn set() -> BTreeSet<Attribute> {
    let acl = |entries: &[(u16, u16, u32)]| {
        let mut value = vec![2, 0, 0, 0];
        for (tag, permissions, id) in entries {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&permissions.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    };
    const NOBODY: u32 = u32::MAX;
    BTreeSet::from([
        attribute("user.k1", b"value one"),
        attribute("user.big", &[b'v'; 900]),
        attribute("trusted.t", b"tt"),
        attribute("security.foo", b"bar"),
        attribute("user.dirx", b"dx"),
        attribute(
            "system.posix_acl_access",
            &acl(&[
                (1, 7, NOBODY),
                (2, 6, 1000),
                (2, 0, 1002),
                (4, 4, NOBODY),
                (8, 4, 1001),
                (16, 5, NOBODY),
                (32, 5, NOBODY),
            ]),
        ),
        attribute(
            "system.posix_acl_default",
            &acl(&[
                (1, 7, NOBODY),
                (2, 7, 1000),
                (4, 5, NOBODY),
                (8, 5, 1001),
                (16, 7, NOBODY),
                (32, 5, NOBODY),
            ]),
        ),
    ])
}

/// D16: attributes and access control lists are read as the kernel put them on the disk.
#[test]
fn blocks_of_stock_dump_are_read() {
    let blocks = golden();
    let read: BTreeSet<Attribute> = blocks.iter().flat_map(|block| decode(block).unwrap()).collect();
    assert_eq!(read, set());
    let magics: BTreeSet<u8> = blocks.iter().map(|block| block[0]).collect();
    assert_eq!(magics, BTreeSet::from([0, 1]), "in a block and inside inodes");
}

#[test]
fn entries_are_written_as_the_kernel_writes_them() {
    let blocks = golden();
    let outside: Vec<&Vec<u8>> = blocks.iter().filter(|block| block[0] == 0).collect();
    assert!(!outside.is_empty());
    for block in outside {
        let attributes = decode(block).unwrap();
        let ours = encode(&attributes).unwrap();
        assert_eq!(ours[..4], block[..4]);
        assert_eq!(decode(&ours).unwrap(), attributes);
        let [theirs, ours] = [&block[..], &ours[..]].map(|block| {
            let offset = u16::from_le_bytes([block[34], block[35]]);
            // The block is shorter here, so values lie elsewhere, as far from its end.
            (
                block.len() - usize::from(offset),
                block[32..34].to_vec(),
                block[36..64].to_vec(),
            )
        });
        assert_eq!(ours, theirs, "distance from the end, head, sizes, hash and name");
    }
}

#[test]
fn what_has_no_place_is_refused() {
    for name in [
        "system.nfs4_acl",
        "user.",
        "btrfs.compression",
        "system.posix_acl_access2",
    ] {
        let refused = encode(&[attribute(name, b"x")]);
        assert_eq!(refused, Err(Flaw::Name { name: name.into() }), "{name}");
    }
    assert!(matches!(
        encode(&[attribute("system.posix_acl_access", b"\x02\0\0\0abc")]),
        Err(Flaw::Acl { .. })
    ));
    let long = encode(&[attribute("user.x", &[0; 4096])]);
    assert!(matches!(long, Err(Flaw::TooLong { length_bytes: 4152 })), "{long:?}");
    assert_eq!(encode(&[attribute("user.x", &[0; 4040])]).unwrap().len(), 4096);
}

/// D16: 503 named entries of an access control list fit, as measured with stock restore; one more does not.
#[test]
fn a_list_of_503_named_entries_fits() {
    let list = |named: u32| {
        let mut value = vec![2, 0, 0, 0];
        let owners = [(1_u16, u32::MAX), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)];
        let named = (0..named).map(|id| (2_u16, 1000 + id));
        for (tag, id) in owners.into_iter().chain(named) {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&[4, 0]);
            value.extend_from_slice(&id.to_le_bytes());
        }
        attribute("system.posix_acl_access", &value)
    };
    let fitting = encode(&[list(503)]).unwrap();
    assert_eq!((fitting.len(), decode(&fitting).unwrap()), (4096, vec![list(503)]));
    assert!(matches!(encode(&[list(504)]), Err(Flaw::TooLong { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 4..600), inode in any::<bool>(), small in any::<bool>()) {
        bytes[..4].copy_from_slice(&(0xEA02_0000 + u32::from(inode)).to_le_bytes());
        if small {
            bytes.iter_mut().skip(4).for_each(|byte| *byte %= 9);
        }
        if let Ok(attributes) = decode(&bytes) {
            prop_assert!(attributes.iter().all(|attribute| attribute.name.contains(&b'.')));
        }
    }

    #[test]
    fn what_was_written_is_read(values in proptest::collection::btree_map("(user|trusted|security)\\.[a-z]{1,40}", proptest::collection::vec(any::<u8>(), 0..300), 0..9)) {
        let attributes: Vec<Attribute> = values.iter().map(|(name, value)| attribute(name, value)).collect();
        let block = encode(&attributes).unwrap();
        prop_assert_eq!(block.len() % 1024, 0);
        let read: BTreeSet<Attribute> = decode(&block).unwrap().into_iter().collect();
        prop_assert_eq!(read, attributes.into_iter().collect::<BTreeSet<_>>());
    }
}
