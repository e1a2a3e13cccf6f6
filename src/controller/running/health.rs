//! The health of the disks over all of their life, as series of the store's database: a page of SMART a sample.
//!
//! A series is named for its disk. Its last page, with what was counted since the controller began, is the health now; so
//! counters go on over restarts. A page is stored each minute in which something was asked of the disk, and at the end.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::Inner;
use crate::{
    controller::{
        disk::{
            Disk,
            counters::Counts,
            smart::{PAGE_BYTES, Smart},
        },
        telemetry::{PREFIX, ensured},
    },
    series::{self, Database, FixedParameters, Series, SeriesKey, Timestamp},
};

/// How often the health is stored.
const PERIOD: Duration = Duration::from_secs(60);

/// What is known of the disks.
#[derive(Default)]
pub(super) struct Health {
    /// Health before the controller began.
    earlier: BTreeMap<String, Smart>,
    stored: BTreeMap<String, Counts>,
    last: Option<Instant>,
}

impl Health {
    /// Takes note that the controller begins: a start for each disk.
    pub(super) fn begin(&mut self, inner: &Inner) {
        self.last = Some(Instant::now());
        for disk in inner.disks.all() {
            self.meet(inner, &disk);
        }
    }

    fn meet(&mut self, inner: &Inner, disk: &Disk) {
        if self.earlier.contains_key(disk.name()) {
            return;
        }
        let Some(database) = inner.telemetry.database() else {
            return;
        };
        let mut smart = match last_page(&database, disk) {
            Ok(smart) => smart.unwrap_or_default(),
            Err(error) => return log::warn!("{error}"),
        };
        smart.power_cycles += 1;
        self.earlier.insert(disk.name().to_owned(), smart);
    }

    /// The health of a disk now.
    pub(super) fn of(&self, inner: &Inner, disk: &Disk) -> Smart {
        let earlier = self.earlier.get(disk.name()).copied().unwrap_or_default();
        earlier.after(&disk.counters.counts(), inner.began.elapsed().as_secs())
    }

    /// Stores the health where it is time.
    pub(super) fn tick(&mut self, inner: &Inner) {
        if self.last.is_none_or(|last| last.elapsed() >= PERIOD) {
            self.last = Some(Instant::now());
            self.store(inner, false);
        }
    }

    /// Stores the health at the end.
    pub(super) fn end(&mut self, inner: &Inner) {
        self.store(inner, true);
    }

    fn store(&mut self, inner: &Inner, all: bool) {
        let Some(database) = inner.telemetry.database() else {
            return;
        };
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let now_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX - 1);
        for disk in inner.disks.all() {
            self.meet(inner, &disk);
            let counts = disk.counters.counts();
            if !all && self.stored.get(disk.name()) == Some(&counts) {
                continue;
            }
            let page = self.of(inner, &disk).encode();
            let stored = series_of(&database, &disk).and_then(|series| append(&series, now_us, &page));
            match stored {
                Ok(()) => {
                    self.stored.insert(disk.name().to_owned(), counts);
                }
                Err(error) => return inner.telemetry.failed(&error),
            }
        }
    }
}

/// A name of a series for the health of a disk.
pub(super) fn key(disk: &Disk) -> SeriesKey {
    SeriesKey::fixed(format!("{PREFIX}disk.{}", disk.name()))
}

fn series_of(database: &Database, disk: &Disk) -> series::Result<Arc<Series>> {
    let parameters = FixedParameters {
        block_size: u32::try_from(PAGE_BYTES).unwrap_or(u32::MAX),
        entries_per_chunk: 1 << 14,
        page_size: 4096,
    };
    ensured(
        database,
        &key(disk),
        |name| database.series(name),
        |name| database.create_series(name, &parameters),
    )
}

fn append(series: &Series, now_us: u64, page: &[u8]) -> series::Result<()> {
    let last = series.contents().last_timestamp()?.map_or(0, |last| last.0);
    series.append(Timestamp(now_us.max(last + 1)), page)
}

fn last_page(database: &Database, disk: &Disk) -> series::Result<Option<Smart>> {
    if !database.keys()?.contains(&key(disk)) {
        return Ok(None);
    }
    let latest = database.series(&key(disk).name)?.contents().latest()?;
    Ok(latest.and_then(|entry| Smart::decode(&entry.value)))
}
