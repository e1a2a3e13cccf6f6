//! Full disks and failing operations, on simulated storage: what was acknowledged stays, what was refused is not there.

use std::sync::Arc;

use super::{
    crash::{Random, timestamp, value},
    *,
};
use crate::storage::sim::SimDirectory;

const BLOCK: u32 = 40;

fn both(disk: &SimDirectory) -> (Database, Arc<Series>, Arc<VarlenSeries>) {
    let database = Database::open_on(Arc::new(disk.clone()), OpenOptions::read_write()).unwrap();
    let fixed = SeriesKey::fixed("fixed");
    if !database.keys().unwrap().contains(&fixed) {
        database.create_series("fixed", &parameters(BLOCK, 300)).unwrap();
        let profile = VarlenParameters {
            length_profile: vec![10, 16],
            size_struct: 1,
            entries_per_chunk: 100,
        };
        database.create_varlen_series("varlen", &profile).unwrap();
    }
    let (series, varlen) = (
        database.series("fixed").unwrap(),
        database.varlen_series("varlen").unwrap(),
    );
    (database, series, varlen)
}

/// What has been acknowledged: numbers of entries.
#[derive(Debug, Default)]
struct Acknowledged {
    fixed: Vec<u64>,
    varlen: Vec<u64>,
}

impl Acknowledged {
    fn check(&self, series: &Series, varlen: &VarlenSeries, context: &str) {
        let entries = series.range(Timestamp::MIN, Timestamp::MAX).unwrap().entries();
        let found: Vec<Entry> = entries.collect::<Result<_>>().unwrap();
        let numbers: Vec<u64> = found.iter().map(|entry| (entry.timestamp.0 - 3) / 7).collect();
        assert_eq!(numbers, self.fixed, "{context}");
        for (entry, number) in found.iter().zip(&self.fixed) {
            assert_eq!(entry.value, value(*number, BLOCK as usize), "{context}");
        }
        let entries = varlen.range(Timestamp::MIN, Timestamp::MAX).unwrap();
        let found: Vec<Entry> = entries
            .map(|entry| entry.and_then(|entry| entry.to_entry()))
            .collect::<Result<_>>()
            .unwrap();
        let numbers: Vec<u64> = found.iter().map(|entry| (entry.timestamp.0 - 3) / 7).collect();
        assert_eq!(numbers, self.varlen, "{context}");
        for (entry, number) in found.iter().zip(&self.varlen) {
            assert_eq!(entry.value, value(*number, length(*number)), "{context}");
        }
    }
}

fn length(number: u64) -> usize {
    usize::try_from(number * 29 % 90).unwrap()
}

/// A full disk refuses with `ENOSPC` and without a signal; nothing acknowledged is lost, no part of a refused value is
/// seen, and once there is space again the series goes on.
#[test]
fn a_full_disk_loses_nothing() {
    for spare_blocks in 0..12 {
        let disk = SimDirectory::new();
        let (database, series, varlen) = both(&disk);
        database.sync().unwrap();
        disk.set_space_bytes(Some((20 + spare_blocks) * 4096));
        let mut acknowledged = Acknowledged::default();
        let mut refused = 0;
        for number in 0..900 {
            match series.append(timestamp(number), &value(number, BLOCK as usize)) {
                Ok(()) => acknowledged.fixed.push(number),
                Err(Error::Io { source, .. }) => {
                    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
            match varlen.append(timestamp(number), &value(number, length(number))) {
                Ok(()) => acknowledged.varlen.push(number),
                Err(Error::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::StorageFull),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(refused > 0, "the disk was never full");
        let context = format!("{spare_blocks} blocks to spare");
        acknowledged.check(&series, &varlen, &context);
        assert!(disk.unreserved_stores().unwrap().is_empty(), "{context}");
        disk.set_space_bytes(None);
        for number in 1000..1100 {
            series
                .append(timestamp(number), &value(number, BLOCK as usize))
                .unwrap();
            varlen
                .append(timestamp(number), &value(number, length(number)))
                .unwrap();
            acknowledged.fixed.push(number);
            acknowledged.varlen.push(number);
        }
        acknowledged.check(&series, &varlen, &context);
        database.close().unwrap();
        drop(database);
        let (database, series, varlen) = both(&disk);
        acknowledged.check(&series, &varlen, &context);
        assert_eq!(database.check(None).unwrap(), []);
        database.close().unwrap();
    }
}

/// Operations that fail at random: an append that is refused is not there, one that is acknowledged is, also after the
/// database is opened again.
#[test]
fn failing_operations_lose_nothing() {
    for seed in 1..=60 {
        let disk = SimDirectory::new();
        let (database, series, varlen) = both(&disk);
        database.sync().unwrap();
        let random = std::sync::Mutex::new(Random(seed * 0x1234_5677));
        disk.set_rule(move |operation| {
            use crate::storage::sim::Verb;
            let faulty = matches!(
                operation.verb,
                Verb::Write
                    | Verb::Reserve
                    | Verb::Create
                    | Verb::CreateDirectory
                    | Verb::Rename
                    | Verb::Map
                    | Verb::Open
            );
            (faulty && random.lock().unwrap().below(9) == 0).then_some(libc::EIO)
        });
        let mut acknowledged = Acknowledged::default();
        for number in 0..700 {
            if series.append(timestamp(number), &value(number, BLOCK as usize)).is_ok() {
                acknowledged.fixed.push(number);
            }
            if varlen.append(timestamp(number), &value(number, length(number))).is_ok() {
                acknowledged.varlen.push(number);
            }
        }
        disk.clear_rule();
        let context = format!("seed {seed}");
        assert!(
            !acknowledged.fixed.is_empty() && !acknowledged.varlen.is_empty(),
            "{context}"
        );
        acknowledged.check(&series, &varlen, &context);
        database.close().unwrap();
        drop(database);
        let (database, series, varlen) = both(&disk);
        acknowledged.check(&series, &varlen, &context);
        assert_eq!(database.check(None).unwrap(), [], "{context}");
        database.close().unwrap();
    }
}
