use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{Bitmap, BitmapDamage, BitmapHeader, BitmapVersion, PAGE_BYTES, sync_size};
use crate::raid::{Level, Sector, metadata::identity::Uuid};

/// A bitmap's first page as Linux 6.1 wrote it for a RAID 5 of three members: 0x3800 sectors, 64 MiB a bit, events 18.
fn from_linux() -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    page[..8].copy_from_slice(b"bitm\x04\0\0\0");
    page[8..24].copy_from_slice(&Uuid::parse("ca82f23c:a1c3dffe:b0afb9ae:f77091c2").unwrap().0);
    page[24] = 0x12;
    page[32] = 0x12;
    page[41] = 0x38;
    page[55] = 4;
    page[56] = 5;
    page
}

#[test]
fn the_kernel_s_header_is_read_and_written() {
    let bytes = from_linux();
    let bitmap = Bitmap::decode(&bytes).unwrap();
    let header = bitmap.header();
    assert_eq!(header.version, BitmapVersion::Bits);
    assert_eq!((header.events, header.events_cleared), (18, 18));
    assert_eq!(
        (header.sync_size, header.chunk_bytes, header.daemon_sleep_s),
        (Sector(0x3800), 64 << 20, 5)
    );
    assert_eq!((header.bits(), bitmap.count()), (1, 0));
    assert_eq!(bitmap.encode(), bytes);
    assert_eq!(bitmap.page(0).unwrap(), bytes[..]);
    assert_eq!(bitmap.page(1), None);
    assert!(!header.is_stale(18) && header.is_stale(19));
    assert!(header.covers_absence_since(18) && !header.covers_absence_since(17));
    for state in [2, 4, 8] {
        let marked = BitmapHeader {
            state,
            ..header.clone()
        };
        assert!(marked.is_stale(18), "state {state}");
    }
}

#[test]
fn damaged_headers_are_named() {
    let damage = |at: usize, value: &[u8]| {
        let mut bytes = from_linux();
        bytes[at..at + value.len()].copy_from_slice(value);
        Bitmap::decode(&bytes).unwrap_err()
    };
    assert!(matches!(damage(0, b"x"), BitmapDamage::Absent { .. }));
    assert_eq!(damage(4, &[3]), BitmapDamage::Version { version: 3 });
    assert!(matches!(
        damage(40, &[0, 0]),
        BitmapDamage::Field { field: "sync_size", .. }
    ));
    assert!(matches!(
        damage(40, &[0xff; 8]),
        BitmapDamage::Field { field: "sync_size", .. }
    ));
    assert!(matches!(
        damage(52, &[1]),
        BitmapDamage::Field { field: "chunksize", .. }
    ));
    assert!(matches!(
        damage(52, &[0, 1, 0, 0]),
        BitmapDamage::Field { field: "chunksize", .. }
    ));
    let other = Bitmap::decode(&from_linux())
        .unwrap()
        .header()
        .belongs_to(Uuid([1; 16]));
    assert!(matches!(other, Err(BitmapDamage::Foreign { .. })));
    assert!(matches!(
        Bitmap::decode(&from_linux()[..255]),
        Err(BitmapDamage::Absent { .. })
    ));
}

/// Only states 1 (clean) and 7 (unwritten, in sync) of a lockless bitmap are clean.
#[test]
fn a_lockless_bitmap_is_read_as_bits() {
    let mut bytes = from_linux();
    bytes[4] = 6;
    bytes[52..56].copy_from_slice(&(512 * 1024_u32).to_le_bytes());
    bytes[1024..1040].copy_from_slice(&[1, 0, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1, 0xff, 1, 9, 1]);
    let bitmap = Bitmap::decode(&bytes).unwrap();
    assert_eq!(bitmap.header().bits(), 14);
    let set: Vec<u64> = (0..14).filter(|&bit| bitmap.get(bit)).collect();
    assert_eq!(set, [1, 3, 4, 5, 6, 7, 12]);
    assert_eq!(bitmap.header().version, BitmapVersion::Bits);
    bytes.truncate(1024);
    assert!(Bitmap::decode(&bytes).is_err());
}

#[test]
fn what_a_bitmap_covers_goes_by_level() {
    let size = Sector(8192);
    assert_eq!(sync_size(Level::Raid5, 2, size, 4), size);
    assert_eq!(sync_size(Level::Raid1, 0, size, 2), size);
    assert_eq!(sync_size(Level::Raid10, 0x102, size, 4), Sector(16384));
    assert_eq!(sync_size(Level::Raid10, 0x203, size, 5), Sector(6826));
    assert_eq!(sync_size(Level::Raid10, 0, Sector(u64::MAX), 5), Sector(u64::MAX));
}

#[test]
fn regions_join_and_end_with_the_array() {
    let mut bitmap = Bitmap::new(BitmapHeader::new(Uuid([7; 16]), Sector(1000), 64 * 1024));
    assert_eq!(bitmap.bits_of(Sector(0), Sector(1)), 0..1);
    assert_eq!(bitmap.bits_of(Sector(127), Sector(2)), 0..2);
    assert_eq!(bitmap.bits_of(Sector(900), Sector(5000)), 7..8);
    assert_eq!(bitmap.bits_of(Sector(2000), Sector(1)), 15..15);
    for bit in [0, 1, 7] {
        assert!(bitmap.put(bit, true));
        assert!(!bitmap.put(bit, true));
    }
    assert!(!bitmap.put(8, true), "a bit that is not in use");
    assert_eq!(bitmap.regions(), [(Sector(0), Sector(256)), (Sector(896), Sector(104))]);
    assert_eq!(bitmap.count(), 3);
    let grown = bitmap.resized(Sector(1100));
    assert_eq!(grown.regions(), [(Sector(0), Sector(256)), (Sector(896), Sector(204))]);
}

#[test]
fn pages_are_those_of_the_encoded_bitmap() {
    let mut bitmap = Bitmap::new(BitmapHeader::new(Uuid([7; 16]), Sector(8 * 100_000), 4096));
    for bit in (0..100_000).step_by(37) {
        bitmap.put(bit, true);
    }
    let bytes = bitmap.encode();
    for (index, page) in bytes.chunks(PAGE_BYTES).enumerate() {
        assert_eq!(bitmap.page(index).unwrap(), page, "page {index}");
    }
    assert_eq!(bytes.len() / PAGE_BYTES, 4);
    assert_eq!(bitmap.page(4), None);
    assert_eq!(
        (bitmap.page_of(0), bitmap.page_of(30_719), bitmap.page_of(30_720)),
        (0, 0, 1)
    );
}

proptest! {
    #[test]
    fn a_bitmap_survives_its_bytes(
        sectors in 1..100_000_u64,
        shift in 12..20_u32,
        marks in proptest::collection::vec(any::<u64>(), 0..40),
        events in any::<u64>(),
        name in any::<[u8; 32]>(),
    ) {
        let mut header = BitmapHeader::new(Uuid([3; 16]), Sector(sectors), 1 << shift);
        header.cluster_name[..32].copy_from_slice(&name);
        header.events_cleared = events;
        header.version = if events % 2 == 0 { BitmapVersion::Bits } else { BitmapVersion::Clustered };
        let mut bitmap = Bitmap::new(header);
        bitmap.stamp(events, events % 3 == 0);
        for mark in marks {
            bitmap.put(mark % bitmap.header().bits(), true);
        }
        prop_assert_eq!(Bitmap::decode(&bitmap.encode()).unwrap(), bitmap);
    }

    #[test]
    fn hostile_bitmaps_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..5000), keep in any::<bool>()) {
        if keep && bytes.len() >= 256 {
            bytes[..24].copy_from_slice(&from_linux()[..24]);
            bytes[52..56].copy_from_slice(&4096_u32.to_le_bytes());
            bytes[43..48].fill(0);
        }
        if let Ok(bitmap) = Bitmap::decode(&bytes) {
            prop_assert!(bitmap.regions().len() as u64 <= bitmap.header().bits());
            drop(bitmap.resized(Sector(5)));
        }
    }
}
