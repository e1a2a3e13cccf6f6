mod crash;

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{
    BLOCK_BYTES, Checkpoint, Journal, JournalDamage, Kind, Ledger, RING_AT, Range, Record, Replay, Scanned, Stamp,
    replay, scan,
};
use crate::raid::{
    Sector, Slot,
    metadata::{
        identity::{Time, Uuid},
        superblock::Area,
    },
};

const ARRAY: Uuid = Uuid([0xa5; 16]);
const DATA: Area = Area {
    start: Sector(2048),
    length: Sector(4096),
};

fn device(slot: u16) -> Uuid {
    let mut uuid = [0xd0; 16];
    uuid[15] = u8::try_from(slot).unwrap();
    Uuid(uuid)
}

fn stamp(events: u64) -> Stamp {
    Stamp {
        events,
        updated: Time::new(1_795_000_000 + events, 0),
    }
}

fn checkpoint(slot: u16) -> Checkpoint {
    Checkpoint {
        array_uuid: ARRAY,
        device_uuid: device(slot),
        generation: 1,
        epoch: 77,
        tail: 0,
        retired_below: 0,
        now: stamp(10),
        next: stamp(10),
        ring_bytes: 16 * BLOCK_BYTES as u64,
        covers_all: true,
    }
}

fn record(sequence: u64, slot: u16, participants: &[u16]) -> Record {
    Record {
        array_uuid: ARRAY,
        epoch: 77,
        position: 0,
        sequence,
        stripe: 5,
        slot: Slot(slot),
        participants: participants.iter().copied().map(Slot).collect(),
        ranges: vec![Range {
            sector: Sector(2048 + sequence * 8),
            sectors: 8,
            kind: Kind::Data,
        }],
    }
}

fn found(record: Record) -> Scanned {
    let at = usize::try_from(record.position).unwrap() + BLOCK_BYTES;
    Scanned {
        payload: at..at + usize::try_from(record.payload_sectors() * 512).unwrap(),
        record,
    }
}

fn journal(slot: u16, records: &[Record]) -> Journal {
    Journal {
        slot: Slot(slot),
        device_uuid: device(slot),
        data: DATA,
        checkpoint: Some(checkpoint(slot)),
        records: records.iter().cloned().map(found).collect(),
    }
}

fn sequences(plan: &Replay) -> Vec<u64> {
    plan.writes.iter().map(|write| (write.sector.0 - 2048) / 8).collect()
}

#[test]
fn blocks_stand_as_the_table_has_them() {
    let block = checkpoint(3).encode();
    assert_eq!(block.len(), BLOCK_BYTES);
    assert_eq!(block[..8], *b"HSJRNCP\n");
    assert_eq!(block[12..16], [1, 0, 0, 0]);
    let word = |at: usize| u64::from_le_bytes(block[at..at + 8].try_into().unwrap());
    assert_eq!(
        [0x30, 0x38, 0x50, 0x60, 0x70, 0x78].map(word),
        [1, 77, 10, 10, 65536, 1]
    );
    let mut wanted = record(9, 2, &[2, 4]);
    wanted.position = 4096;
    let bytes = wanted.encode(&[0x77; 4096]);
    assert_eq!(bytes.len(), 8192);
    assert_eq!(bytes[..8], *b"HSJRNRC\n");
    assert_eq!(bytes[0x40..0x49], [2, 0, 1, 0, 8, 0, 0, 0, 0b1_0100]);
    assert_eq!(bytes[0x70..0x80], [0x48, 8, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[4096..], [0x77; 4096]);
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    assert_eq!(bytes[12..16], crc32c::crc32c(&[0x77; 4096]).to_le_bytes());
}

#[test]
fn the_newer_whole_checkpoint_counts() {
    let (old, new) = (
        checkpoint(0),
        Checkpoint {
            generation: 2,
            ..checkpoint(0)
        },
    );
    let blocks = |first: &Checkpoint, second: &Checkpoint| [first.encode(), second.encode()].concat();
    assert_eq!(Checkpoint::newest(&blocks(&new, &old)), Ok(new.clone()));
    assert_eq!(Checkpoint::newest(&blocks(&old, &new)), Ok(new.clone()));
    let mut torn = blocks(&old, &new);
    torn[BLOCK_BYTES + 0x60] ^= 1;
    assert_eq!(Checkpoint::newest(&torn), Ok(old.clone()));
    torn[0x60] ^= 1;
    assert_eq!(
        Checkpoint::newest(&torn),
        Err(JournalDamage::Absent { what: "checkpoint" })
    );
    assert!(Checkpoint::newest(&[]).is_err());
    assert_eq!(Checkpoint::newest(&old.encode()), Ok(old));
}

#[test]
fn a_ring_never_wraps_a_record_nor_runs_into_its_tail() {
    let mut ledger = Ledger::new([(Slot(0), 10 * BLOCK_BYTES as u64 + 100)], 5);
    let take = |ledger: &mut Ledger, sectors| {
        let entry = ledger.take(1, &[(Slot(0), sectors)])?;
        ledger.done(entry.sequence);
        Some((entry.places[0].position, entry.places[0].offset_bytes))
    };
    assert_eq!(take(&mut ledger, 16), Some((0, RING_AT)));
    assert_eq!(
        take(&mut ledger, 17),
        Some((12288, RING_AT + 12288)),
        "9 sectors over a block take a whole one"
    );
    assert_eq!(take(&mut ledger, 100), None, "more than what is left");
    assert_eq!(take(&mut ledger, 1), Some((28672, RING_AT + 28672)));
    assert_eq!(
        take(&mut ledger, 1),
        None,
        "one block is left of this lap, and the next is taken"
    );
    assert_eq!(ledger.tail(Slot(0), 6), 12288);
    ledger.release(6);
    assert_eq!(take(&mut ledger, 1), Some((40960, RING_AT)));
    assert_eq!(take(&mut ledger, 1), None);
    ledger.release(ledger.retired_below());
    assert_eq!(take(&mut ledger, 1000), None, "larger than the ring");
    for _ in 0..100 {
        assert!(take(&mut ledger, 32).is_some(), "half the ring");
        ledger.release(ledger.retired_below());
    }
    assert_eq!(ledger.take(1, &[(Slot(1), 1)]), None, "a member without a ring");
    assert_eq!(Ledger::new([(Slot(0), 4095)], 0).take(1, &[(Slot(0), 1)]), None);
}

/// A write that is done stays while an older one is not: to retire it alone would let an older record win.
#[test]
fn retiring_goes_by_number_on_all_members_alike() {
    let mut ledger = Ledger::new([0, 1, 2].map(|slot| (Slot(slot), 1 << 20)), 8);
    let old = ledger.take(3, &[(Slot(0), 8), (Slot(1), 8)]).unwrap();
    let new = ledger.take(4, &[(Slot(1), 8), (Slot(2), 8)]).unwrap();
    assert_eq!((old.sequence, new.sequence, new.places[0].position), (8, 9, 8192));
    ledger.done(9);
    assert_eq!(ledger.retired_below(), 8);
    assert_eq!(
        [0, 1, 2].map(|slot| ledger.tail(Slot(slot), 8)),
        [0; 3],
        "also of the member that has the new one only"
    );
    ledger.release(8);
    assert!(ledger.holds(3) && ledger.holds(4) && !ledger.holds(5));
    ledger.done(8);
    assert_eq!(ledger.retired_below(), 10);
    assert_eq!([0, 1, 2].map(|slot| ledger.tail(Slot(slot), 9)), [8192, 8192, 0]);
    assert_eq!([0, 1, 2].map(|slot| ledger.tail(Slot(slot), 10)), [8192, 16384, 8192]);
    ledger.release(9);
    assert!(!ledger.holds(3) && ledger.holds(4));
    let full = ledger.take(4, &[(Slot(0), 8), (Slot(2), 5000)]);
    assert_eq!((full, ledger.tail(Slot(0), 10)), (None, 8192), "all places or none");
    ledger.lose(Slot(2));
    assert_eq!(ledger.take(4, &[(Slot(2), 1)]), None);
}

#[test]
fn the_newest_checkpoint_is_not_overwritten() {
    let (old, new) = (
        checkpoint(0).encode(),
        Checkpoint {
            generation: 2,
            ..checkpoint(0)
        }
        .encode(),
    );
    let torn = vec![0; BLOCK_BYTES];
    let place = |first: &[u8], second: &[u8]| Checkpoint::place(&[first, second].concat());
    assert_eq!([place(&old, &new), place(&torn, &new), place(&torn, &torn)], [0; 3]);
    assert_eq!([place(&new, &old), place(&new, &torn), place(&old, &[])], [4096; 3]);
}

/// Records on all participants, on some, on none of them: replayed, dropped, never seen.
#[test]
fn a_group_is_replayed_where_every_present_participant_has_it() {
    let both = [0, 1];
    let journals = [
        journal(0, &[record(1, 0, &both), record(2, 0, &both), record(4, 0, &[0, 1, 2])]),
        journal(1, &[record(1, 1, &both), record(3, 1, &both), record(4, 1, &[0, 1, 2])]),
    ];
    let plan = replay(ARRAY, stamp(10), &journals);
    assert_eq!(
        sequences(&plan),
        [1, 1, 4, 4],
        "slot 2 is gone, its bytes follow from the others"
    );
    assert_eq!(plan.dropped, [2, 3]);
    assert_eq!(
        (plan.doubts, plan.void, plan.covers_all, plan.next_sequence),
        (vec![], false, true, 5)
    );
}

#[test]
fn groups_are_replayed_in_the_order_of_their_numbers() {
    let journals = [journal(
        0,
        &[record(9, 0, &[0]), record(3, 0, &[0]), record(7, 0, &[0])],
    )];
    assert_eq!(sequences(&replay(ARRAY, stamp(10), &journals)), [3, 7, 9]);
    let mut later = journals;
    later[0].checkpoint.as_mut().unwrap().retired_below = 8;
    let plan = replay(ARRAY, stamp(10), &later);
    assert_eq!((sequences(&plan), plan.next_sequence), (vec![9], 10));
}

/// What another md did to the array since makes every journal void; so does a checkpoint of another time.
#[test]
fn a_journal_of_another_state_is_void() {
    let journals = [journal(0, &[record(1, 0, &[0])])];
    for found in [
        stamp(11),
        stamp(9),
        Stamp {
            events: 10,
            updated: Time(1),
        },
    ] {
        let plan = replay(ARRAY, found, &journals);
        assert!(plan.void && plan.writes.is_empty() && !plan.covers_all, "{found:?}");
        assert_eq!(plan.next_sequence, 2);
    }
    let mut about = journals;
    about[0].checkpoint.as_mut().unwrap().next = stamp(11);
    assert_eq!(sequences(&replay(ARRAY, stamp(11), &about)), [1]);
    assert_eq!(sequences(&replay(ARRAY, stamp(10), &about)), [1]);
}

#[test]
fn a_lost_journal_leaves_doubts_and_a_foreign_one_counts_as_lost() {
    let two = |change: &dyn Fn(&mut Journal)| {
        let mut journals = [
            journal(0, &[record(1, 0, &[0, 1]), record(2, 0, &[0])]),
            journal(1, &[]),
        ];
        change(&mut journals[1]);
        replay(ARRAY, stamp(10), &journals)
    };
    let whole = two(&|_| {});
    assert_eq!((whole.dropped.as_slice(), sequences(&whole)), ([1].as_slice(), vec![2]));
    let changes: [&dyn Fn(&mut Journal); 3] = [
        &|journal| journal.checkpoint = None,
        &|journal| journal.checkpoint.as_mut().unwrap().device_uuid = device(9),
        &|journal| journal.checkpoint.as_mut().unwrap().array_uuid = device(9),
    ];
    for change in changes {
        let plan = two(change);
        let doubts: Vec<_> = plan
            .doubts
            .iter()
            .map(|doubt| (doubt.sequence, doubt.stripe, doubt.slot))
            .collect();
        assert_eq!((doubts, sequences(&plan)), (vec![(1, 5, Slot(1))], vec![1, 2]));
        assert!(!plan.covers_all && !plan.void);
    }
}

/// A record that would write outside of the member's data, or that contradicts its group, is never replayed.
#[test]
fn records_that_cannot_be_are_dropped() {
    let mut outside = record(1, 0, &[0]);
    outside.ranges[0].sector = Sector(2047);
    let mut beyond = record(2, 0, &[0]);
    beyond.ranges[0].sector = Sector(2048 + 4096 - 7);
    let mut wraps = record(3, 0, &[0]);
    wraps.ranges[0].sector = Sector(u64::MAX - 1);
    let mut other = record(4, 1, &[0, 1]);
    other.stripe = 6;
    let journals = [
        journal(0, &[outside, beyond, wraps, record(4, 0, &[0, 1])]),
        journal(1, &[other, record(5, 0, &[0])]),
    ];
    let plan = replay(ARRAY, stamp(10), &journals);
    assert_eq!(plan.writes, []);
    assert_eq!(plan.dropped, [1, 2, 3, 4]);
}

/// A ring with records of this lap, the lap before, another epoch, a torn head and a torn payload.
#[test]
fn only_whole_records_of_this_lap_are_found() {
    let mut ring = vec![0; 16 * BLOCK_BYTES];
    let mut put = |block: usize, record: Record| {
        let bytes = record.encode(&[u8::try_from(record.sequence).unwrap(); 4096]);
        ring[block * BLOCK_BYTES..][..bytes.len()].copy_from_slice(&bytes);
    };
    let at = |block: u64, lap: u64, sequence| Record {
        position: (lap * 16 + block) * BLOCK_BYTES as u64,
        ..record(sequence, 0, &[0])
    };
    put(0, at(0, 1, 1));
    put(2, at(2, 1, 2));
    put(4, at(4, 1, 3));
    put(6, at(6, 0, 4));
    put(8, at(8, 0, 5));
    put(
        10,
        Record {
            epoch: 76,
            ..at(10, 0, 6)
        },
    );
    put(
        12,
        Record {
            array_uuid: device(1),
            ..at(12, 0, 7)
        },
    );
    put(14, at(13, 0, 8));
    ring[2 * BLOCK_BYTES + 0x30] ^= 1;
    ring[5 * BLOCK_BYTES + 9] ^= 1;
    let checkpoint = Checkpoint {
        tail: 8 * BLOCK_BYTES as u64,
        ..checkpoint(0)
    };
    let found = scan(&ring, &checkpoint);
    let places: Vec<_> = found
        .iter()
        .map(|found| (found.record.sequence, found.payload.start))
        .collect();
    assert_eq!(places, [(1, BLOCK_BYTES), (5, 9 * BLOCK_BYTES)]);
    let later = Checkpoint {
        retired_below: 2,
        ..checkpoint.clone()
    };
    assert_eq!(scan(&ring, &later).len(), 1);
    assert_eq!(scan(&ring[..BLOCK_BYTES], &checkpoint), []);
}

/// A payload that looks like a record is none while its own record is known, torn or not.
#[test]
fn payload_is_not_taken_for_a_record() {
    let inner = Record {
        position: BLOCK_BYTES as u64,
        ..record(2, 0, &[0])
    }
    .encode(&[1; 4096]);
    let mut outer = record(1, 0, &[0]);
    outer.ranges[0].sectors = 16;
    let mut ring = outer.encode(&inner);
    ring.resize(16 * BLOCK_BYTES, 0);
    let numbers = |ring: &[u8]| -> Vec<u64> {
        let found = scan(ring, &checkpoint(0)).into_iter();
        found.map(|found| found.record.sequence).collect()
    };
    assert_eq!(numbers(&ring), [1]);
    ring[3 * BLOCK_BYTES - 1] ^= 1;
    assert!(numbers(&ring).is_empty());
}

#[test]
fn fields_that_cannot_be_are_named() {
    let seal = |block: &mut [u8]| {
        let sum = super::block_checksum(block, 8);
        block[8..12].copy_from_slice(&sum.to_le_bytes());
    };
    for (at, value, wanted) in [
        (0x70, 4095_u64, "ring_bytes"),
        (0x70, 0, "ring_bytes"),
        (0x70, 1 << 41, "ring_bytes"),
        (0x40, 1, "tail"),
        (0x40, 1 << 63, "tail"),
        (0x78, 2, "flags"),
    ] {
        let mut block = checkpoint(0).encode();
        block[at..at + 8].copy_from_slice(&value.to_le_bytes());
        seal(&mut block);
        match Checkpoint::decode(&block) {
            Err(JournalDamage::Field { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
    let mut block = checkpoint(0).encode();
    block[12] = 2;
    seal(&mut block);
    assert_eq!(Checkpoint::decode(&block), Err(JournalDamage::Version { version: 2 }));
    for (at, value, wanted) in [
        (0x40, 1_u8, "slot"),
        (0x42, 0, "ranges"),
        (0x42, 250, "ranges"),
        (0x44, 9, "payload_sectors"),
        (0x78, 0, "sectors"),
        (0x7c, 3, "kind"),
    ] {
        let mut block = record(1, 0, &[0]).encode(&[0; 4096]);
        block[at] = value;
        seal(&mut block[..BLOCK_BYTES]);
        match Record::decode(&block) {
            Err(JournalDamage::Field { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn a_checkpoint_survives_its_bytes(numbers in any::<[u64; 8]>(), ring in 1..1_u64 << 28, covers_all in any::<bool>()) {
        let [generation, epoch, tail, retired_below, a, b, c, d] = numbers;
        let checkpoint = Checkpoint {
            array_uuid: ARRAY,
            device_uuid: device(1),
            generation,
            epoch,
            tail: (tail >> 1) & !4095,
            retired_below,
            now: Stamp { events: a, updated: Time(b) },
            next: Stamp { events: c, updated: Time(d) },
            ring_bytes: ring * 4096,
            covers_all,
        };
        prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
    }

    #[test]
    fn a_record_survives_its_bytes(
        numbers in any::<[u64; 4]>(),
        ranges in proptest::collection::vec((any::<u64>(), 1..20_u32, 0..3_u8), 1..20),
        slots in proptest::collection::btree_set(0..256_u16, 1..20),
    ) {
        let [epoch, position, sequence, stripe] = numbers;
        let kinds = [Kind::Data, Kind::P, Kind::Q];
        let record = Record {
            array_uuid: ARRAY,
            epoch,
            position,
            sequence,
            stripe,
            slot: Slot(*slots.first().unwrap()),
            participants: slots.into_iter().map(Slot).collect(),
            ranges: ranges
                .into_iter()
                .map(|(sector, sectors, kind)| Range { sector: Sector(sector), sectors, kind: kinds[usize::from(kind)] })
                .collect(),
        };
        let payload = vec![0xee; usize::try_from(record.payload_sectors() * 512).unwrap()];
        let bytes = record.encode(&payload);
        let (decoded, checksum) = Record::decode(&bytes).unwrap();
        prop_assert_eq!(checksum, crc32c::crc32c(&payload));
        prop_assert_eq!(decoded, record);
    }

    #[test]
    fn hostile_journals_never_panic(
        changes in proptest::collection::vec((0..18 * BLOCK_BYTES, any::<u8>()), 0..30),
        sealed in any::<bool>(),
    ) {
        let mut bytes = [checkpoint(0).encode(), checkpoint(0).encode()].concat();
        for number in 0..8_u64 {
            let mut record = record(number, 0, &[0]);
            record.position = number * 2 * BLOCK_BYTES as u64;
            bytes.extend(record.encode(&[1; 4096]));
        }
        for (at, value) in changes {
            // Small numbers reach more fields than large ones.
            bytes[if at % 3 == 0 { at } else { at / BLOCK_BYTES * BLOCK_BYTES + at % 0x90 }] = value;
        }
        if sealed {
            for block in bytes.chunks_exact_mut(BLOCK_BYTES) {
                let sum = super::block_checksum(block, 8);
                block[8..12].copy_from_slice(&sum.to_le_bytes());
            }
        }
        let Ok(checkpoint) = Checkpoint::newest(&bytes) else { return Ok(()) };
        let records = scan(&bytes[2 * BLOCK_BYTES..], &checkpoint);
        let journal = Journal { slot: Slot(0), device_uuid: device(0), data: DATA, checkpoint: Some(checkpoint), records };
        let plan = replay(ARRAY, stamp(10), &[journal]);
        for write in plan.writes {
            prop_assert!(write.sector >= DATA.start);
            prop_assert!(write.sector.0 + (write.payload.len() as u64) / 512 <= DATA.end().0);
            prop_assert!(write.payload.end <= 16 * BLOCK_BYTES);
        }
    }
}
