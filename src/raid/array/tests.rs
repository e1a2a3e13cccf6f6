//! The whole array on simulated storage: random operations, faults, kills and power losses against a plain byte vector.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering as Atomic},
    },
};

use super::*;
use crate::{
    raid::{
        Slot,
        add::Added,
        assemble::{Assembly, Image, assemble},
        create::{Initialisation, NewImage, Wish, create},
        geometry::Cell,
        metadata::identity::Time,
        rebuild::Ending,
        reshape::Plan,
        scrub::{Repair, Suspect},
    },
    storage::{
        Access, Directory, SimDirectory,
        sim::{Operation, Verb},
    },
};

const IMAGE_BYTES: u64 = (1 << 20) + (160 << 10);
const SECTOR: usize = 512;

/// A sequence that a seed decides (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    level: Level,
    layout: u32,
    members: u16,
    chunk_bytes: u64,
    bitmap: bool,
}

const fn shape(level: Level, layout: u32, members: u16, chunk_kib: u64, bitmap: bool) -> Shape {
    Shape {
        level,
        layout,
        members,
        chunk_bytes: chunk_kib << 10,
        bitmap,
    }
}

const SHAPES: &[Shape] = &[
    shape(Level::Linear, 0, 2, 0, false),
    shape(Level::Raid0, 1, 3, 4, false),
    shape(Level::Raid1, 0, 2, 0, true),
    shape(Level::Raid1, 0, 3, 0, false),
    shape(Level::Raid10, 0x102, 4, 4, true),
    shape(Level::Raid10, 0x201, 4, 8, true),
    shape(Level::Raid10, 0x1_0201, 3, 4, true),
    shape(Level::Raid4, 0, 3, 4, true),
    shape(Level::Raid5, 2, 3, 8, true),
    shape(Level::Raid5, 0, 4, 64, false),
    shape(Level::Raid6, 2, 4, 4, true),
    shape(Level::Raid6, 8, 5, 16, true),
    shape(Level::Raid6, 18, 5, 4, false),
];

/// Values that a sector may have after a power loss, beside the one that it has.
type Old = BTreeMap<usize, Vec<Vec<u8>>>;

/// What an array is reshaped to: level, chunk in KiB, members more than before.
type Way = (Level, u64, u16);

struct World {
    shape: Shape,
    way: Option<Way>,
    seed: u64,
    chance: Chance,
    directory: SimDirectory,
    images: Vec<PathBuf>,
    image_bytes: u64,
    array: Option<Array>,
    now: Vec<u8>,
    old: Old,
    clock: u64,
    log: Vec<String>,
}

fn uuid(number: usize) -> Uuid {
    let mut bytes = [7; 16];
    bytes[..8].copy_from_slice(&(number as u64 + 1).to_le_bytes());
    Uuid(bytes)
}

fn image(directory: &SimDirectory, name: &Path) -> Image {
    Image {
        directory: Arc::new(directory.clone()),
        name: name.to_path_buf(),
    }
}

fn new_image(directory: &SimDirectory, number: usize, bytes: u64) -> PathBuf {
    let name = PathBuf::from(format!("m{number}"));
    let file = directory.create(&name, &mut |file| file.set_size(bytes)).unwrap();
    file.sync().unwrap();
    directory.sync_directory(Path::new("")).unwrap();
    name
}

impl World {
    fn new(shape: Shape, seed: u64) -> Self {
        let directory = SimDirectory::new();
        let images: Vec<PathBuf> = (0..usize::from(shape.members))
            .map(|n| new_image(&directory, n, IMAGE_BYTES))
            .collect();
        let mut chance = Chance(seed);
        let initialisation = [Initialisation::Keep, Initialisation::Quick, Initialisation::Foreground][chance.index(3)];
        let wish = Wish {
            name: "model".to_owned(),
            uuid: uuid(999),
            created: Time::new(1000, 0),
            level: shape.level,
            layout: shape.layout,
            chunk_bytes: shape.chunk_bytes,
            initialisation,
            member_bytes: None,
            bitmap_chunk_bytes: shape.bitmap.then_some(4096),
            overwrite: false,
        };
        let of = |(number, name): (usize, &PathBuf)| {
            Some(NewImage {
                image: image(&directory, name),
                uuid: uuid(number),
            })
        };
        let members: Vec<Option<NewImage>> = images.iter().enumerate().map(of).collect();
        let array = create(&wish, &members, &[]).unwrap();
        let now = vec![0; usize::try_from(array.size_bytes()).unwrap()];
        let mut world = Self {
            shape,
            way: None,
            seed,
            chance,
            directory,
            images,
            image_bytes: IMAGE_BYTES,
            array: Some(array),
            now,
            old: Old::new(),
            clock: 1000,
            log: vec![format!("{initialisation:?}")],
        };
        world.array().flush().unwrap();
        world.check_all("a new array is zeros");
        world
    }

    fn array(&self) -> &Array {
        self.array.as_ref().unwrap()
    }

    fn time(&mut self) -> Time {
        self.clock += 1;
        Time::new(self.clock, 0)
    }

    fn fail(&self, what: &str) -> ! {
        let tail = self.log.len().saturating_sub(25);
        panic!(
            "{:?} seed {}: {what}\n{}",
            self.shape,
            self.seed,
            self.log[tail..].join("\n")
        );
    }

    /// Compares all of the array.
    fn check_all(&mut self, what: &str) {
        let mut bytes = vec![0xee; self.now.len()];
        if let Err(error) = self.array().read_at(&mut bytes, 0) {
            self.fail(&format!("{what}: {error}"));
        }
        if let Some(at) = (0..bytes.len()).find(|&at| bytes[at] != self.now[at]) {
            self.fail(&format!(
                "{what}: byte {at} is {:#x}, not {:#x}",
                bytes[at], self.now[at]
            ));
        }
    }

    fn range(&mut self) -> (usize, usize) {
        let size = self.now.len();
        let longest = [1, 512, 4096, 20_000, 300_000][self.chance.index(5)].min(size);
        let mut start = self.chance.index(size);
        let mut length = 1 + self.chance.index(longest);
        if self.chance.below(2) == 0 {
            start -= start % 4096;
            length = length.next_multiple_of(4096);
        }
        (start, length.min(size - start))
    }

    /// Notes what a change that is acknowledged leaves possible after a power loss.
    fn change(&mut self, start: usize, bytes: &[u8]) {
        self.remember(start, bytes.len());
        self.now[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn remember(&mut self, start: usize, length: usize) {
        for sector in start / SECTOR..(start + length).div_ceil(SECTOR) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.now.len());
            self.old.entry(sector).or_default().push(self.now[range].to_vec());
        }
    }

    fn slot_to_lose(&mut self) -> Option<Slot> {
        let roster = self.array().roster();
        let slots: Vec<Slot> = roster.members().map(|(slot, _)| slot).collect();
        let slot = slots[self.chance.index(slots.len())];
        let rest = roster.without(roster.occupant(slot).unwrap());
        let settled = self.array().intent().next_unsynced(0).is_none();
        (settled && rest.is_readable()).then_some(slot)
    }

    fn path_of(&self, slot: Slot) -> PathBuf {
        let roster = self.array().roster();
        PathBuf::from(roster.occupant(slot).unwrap().path().file_name().unwrap())
    }

    /// A change of the contents; returns what it may leave behind if it does not come to its end.
    fn change_something(&mut self) -> (usize, Vec<u8>) {
        let (start, length) = self.range();
        let kind = self.chance.below(8);
        let fua = self.chance.below(8) == 0;
        let bytes: Vec<u8> = match kind {
            0 | 1 => vec![0; length],
            _ => {
                let first = self.chance.below(256);
                (0..length as u64)
                    .map(|n| u8::try_from((first + n * 7 + n / 251) % 256).unwrap())
                    .collect()
            }
        };
        self.log.push(format!("change {kind} {start}+{length} fua {fua}"));
        let (at, size) = (start as u64, length as u64);
        let how = Zeroes {
            may_trim: kind == 0,
            fast_only: false,
            fua,
        };
        let result = if kind < 2 {
            self.array().write_zeroes(at, size, how)
        } else {
            self.array().write_at(&bytes, at, fua)
        };
        if let Err(error) = result {
            self.fail(&format!("write: {error}"));
        }
        self.change(start, &bytes);
        if fua {
            self.old.clear();
        }
        (start, bytes)
    }

    fn read_something(&mut self) {
        let (start, length) = self.range();
        let mut bytes = vec![0xee; length];
        self.log.push(format!("read {start}+{length}"));
        if let Err(error) = self.array().read_at(&mut bytes, start as u64) {
            self.fail(&format!("read: {error}"));
        }
        if bytes != self.now[start..start + length] {
            let at = (0..length).find(|&n| bytes[n] != self.now[start + n]).unwrap();
            self.fail(&format!(
                "byte {} is {:#x}, not {:#x}",
                start + at,
                bytes[at],
                self.now[start + at]
            ));
        }
    }

    fn flush(&mut self) {
        self.log.push("flush".to_owned());
        self.array().flush().unwrap();
        self.old.clear();
    }

    fn tick(&mut self) {
        let time = self.time();
        self.log.push("tick".to_owned());
        self.array().tick(time).unwrap();
    }

    /// Lets one member fail for a while, in one kind of operation.
    fn with_faults(&mut self) {
        let Some(slot) = self.slot_to_lose() else { return };
        let path = self.path_of(slot);
        let verb = [Verb::Read, Verb::Write, Verb::Sync, Verb::Punch][self.chance.index(4)];
        self.log.push(format!("fault: member {slot} {verb:?}"));
        let every = 1 + self.chance.below(3);
        let count = AtomicU64::new(0);
        self.directory.set_rule(move |operation: &Operation| {
            let hit = operation.verb == verb && operation.path == path;
            (hit && count.fetch_add(1, Atomic::Relaxed).is_multiple_of(every)).then_some(libc::EIO)
        });
        for _ in 0..3 {
            self.change_something();
            self.read_something();
        }
        self.array().flush().unwrap();
        self.old.clear();
        self.directory.clear_rule();
        self.check_all("after faults");
    }

    fn lose_member(&mut self) {
        if let Some(slot) = self.slot_to_lose() {
            self.log.push(format!("fail member {slot}"));
            self.array().fail_member(slot).unwrap();
        }
    }

    /// Adds a new image or one that was a member before, and rebuilds, perhaps in part.
    fn add_member(&mut self) {
        let roster = self.array().roster();
        let empty = (0..roster.slots()).any(|slot| roster.seat(Slot(slot)).is_none());
        if self.array().level().is_bare() || !empty || roster.moving().is_some() {
            return;
        }
        let gone: Vec<PathBuf> = self
            .images
            .iter()
            .filter(|name| !roster.members().any(|(_, member)| member.path().ends_with(name)))
            .cloned()
            .collect();
        let (name, number) = if self.chance.below(2) == 0 && !gone.is_empty() {
            (gone[self.chance.index(gone.len())].clone(), 500 + self.images.len())
        } else {
            let number = self.images.len();
            let name = new_image(&self.directory, number, self.image_bytes);
            self.images.push(name.clone());
            (name, number)
        };
        self.clock += 1;
        let identity = uuid(number + 1000 * usize::try_from(self.clock).unwrap());
        let added = self.array().add(&image(&self.directory, &name), identity);
        self.log.push(format!("add {}: {added:?}", name.display()));
        if !matches!(added, Ok(Added::Rebuild(_) | Added::Return(_))) {
            self.fail("it was not added");
        }
        self.rebuild();
    }

    fn rebuild(&mut self) {
        let steps = [0, 1, 5, 1000][self.chance.index(4)];
        self.log.push(format!("rebuild {steps} steps"));
        let mut step = 0;
        let ending = self.array().rebuild(&mut |_| {
            step += 1;
            if step > steps {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.log.push(format!("{ending:?}"));
        if ending.is_err() {
            self.fail("the rebuild failed");
        }
        // Where something was done it was made durable with all before.
        if step > 0 {
            self.old.clear();
        }
    }

    fn resync(&mut self) {
        if self.array().roster().moving().is_some() {
            return;
        }
        self.log.push("resync".to_owned());
        match self.array().resync(&mut |_| ControlFlow::Continue(())) {
            Ok(Ending::Complete) => {}
            other => self.fail(&format!("resync: {other:?}")),
        }
    }

    /// Changes a block of a member behind the array's back: a verify names exactly it, or says that it cannot know.
    fn corrupt(&mut self) {
        let roster = self.array().roster();
        if roster.is_degraded() || roster.moving().is_some() {
            return;
        }
        let seats: Vec<_> = roster
            .members()
            .map(|(slot, member)| (slot, member.path().to_path_buf()))
            .collect();
        let (slot, path) = seats[self.chance.index(seats.len())].clone();
        let data_offset = self.array().control().devices.iter().find_map(|device| {
            let is = device.member.path() == path;
            is.then_some(device.superblock.data_offset.0 * SECTOR as u64)
        });
        let used = self.array().geometry().used_bytes(slot);
        let at = self.chance.below(used / 4096) * 4096;
        let place = data_offset.unwrap() + at + self.chance.below(4096);
        let file = self
            .directory
            .open(Path::new(path.file_name().unwrap()), Access::ReadWrite)
            .unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, place).unwrap();
        self.log.push(format!("corrupt member {slot} at {at}"));
        file.write_all_at(&[byte[0] ^ 0x40], place).unwrap();
        let cell = self.array().geometry().cell(slot, at);
        let copies = self.array().geometry().copies();
        let provable = copies > 2 || self.array().level().parities() > 1;
        let redundant = copies > 1 || self.array().level().parities() > 0;
        let unused = matches!(cell, Cell::Unused) || !redundant;
        let suspect = Suspect { slot, offset_bytes: at };
        for repair in [Repair::Report, Repair::Provable] {
            // What waits for a resync must not be resynced after the damage: it would take it for the truth.
            let report = self.array().verify(repair, &mut |_| ControlFlow::Continue(()));
            let report = report.unwrap_or_else(|error| self.fail(&format!("verify: {error}")));
            let right = match report.mismatches.as_slice() {
                [] => unused,
                [one] => {
                    let known = if provable { vec![suspect] } else { one.suspects.clone() };
                    let at_array = match cell {
                        Cell::Data { array_offset_bytes, .. } if provable || copies > 1 => array_offset_bytes,
                        _ => one.array_offset_bytes,
                    };
                    let placed = one.array_offset_bytes == at_array && one.length_bytes == 4096;
                    let repaired = one.repaired == (provable && repair == Repair::Provable);
                    !unused && placed && repaired && one.suspects == known && one.suspects.contains(&suspect)
                }
                _ => false,
            };
            if !right || report.is_clean() != (unused || (provable && repair == Repair::Provable)) {
                self.fail(&format!("{repair:?}: {cell:?}: {report:?}"));
            }
        }
        if !provable || unused {
            file.write_all_at(&byte, place).unwrap();
            file.sync().unwrap();
        }
        let report = self.array().verify(Repair::Report, &mut |_| ControlFlow::Continue(()));
        assert!(report.unwrap().is_clean());
        self.array().flush().unwrap();
        self.old.clear();
        self.check_all("after a verify");
    }

    fn restart(&mut self) {
        let time = self.time();
        self.check_all("before a stop");
        self.log.push("stop and assemble".to_owned());
        self.array().stop(time).unwrap();
        self.old.clear();
        self.array = None;
        self.assemble();
        self.check_all("after a stop");
    }

    fn assemble(&mut self) {
        let images: Vec<Image> = self.images.iter().map(|name| image(&self.directory, name)).collect();
        match assemble(&images, Assembly::default()) {
            Ok(array) => self.array = Some(array),
            Err(error) => self.fail(&format!("assembly: {error}")),
        }
    }

    /// Runs something, and lets the machine die at one of its operations on storage.
    fn die(&mut self) {
        let power = self.chance.below(2) == 0;
        let at = self.chance.below(30);
        let seed = self.chance.below(1 << 40);
        let taken: Arc<Mutex<Option<SimDirectory>>> = Arc::default();
        let (disk, place, count) = (self.directory.clone(), Arc::clone(&taken), AtomicU64::new(0));
        self.directory.set_rule(move |operation: &Operation| {
            let changes = matches!(operation.verb, Verb::Write | Verb::Punch | Verb::Sync);
            if changes && count.fetch_add(1, Atomic::Relaxed) == at {
                let image = if power { disk.crash(seed) } else { disk.killed() };
                *place.lock().unwrap() = Some(image.unwrap());
            }
            None
        });
        self.log.push(format!("die at change {at}, power {power} {seed}"));
        let before = self.now.clone();
        let old_before = self.old.clone();
        let moves = self.way.is_some() && self.chance.below(3) > 0;
        let enlarges = self.chance.below(8) == 0;
        let (start, bytes) = if moves {
            self.reshape();
            (0, Vec::new())
        } else if enlarges {
            self.enlarge();
            (0, Vec::new())
        } else {
            self.change_something()
        };
        self.directory.clear_rule();
        let Some(image) = taken.lock().unwrap().take() else {
            self.log.push("too late".to_owned());
            return;
        };
        self.array = None;
        self.directory = image;
        let mut after = std::mem::replace(&mut self.now, before);
        self.old = old_before;
        self.assemble();
        // A reshape may have come to its end: what is new is zeros.
        let size = usize::try_from(self.array().size_bytes()).unwrap();
        let size_before = self.now.len();
        self.now.resize(size, 0);
        after.resize(size, 0);
        let mut found = vec![0; self.now.len()];
        if let Err(error) = self.array().read_at(&mut found, 0) {
            self.fail(&format!("after death: {error}"));
        }
        if enlarges && !moves {
            self.now[size_before..].copy_from_slice(&found[size_before..]);
        }
        let written = start / SECTOR..(start + bytes.len()).div_ceil(SECTOR);
        for sector in 0..self.now.len() / SECTOR {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            let is = &found[range.clone()];
            let inside = written.contains(&sector) && mixes(is, &self.now[range.clone()], &after[range.clone()]);
            let lost = power && self.old.get(&sector).is_some_and(|old| old.iter().any(|old| old == is));
            if is != &self.now[range] && !inside && !lost {
                self.fail(&format!("sector {sector} changed by a death (written: {written:?})"));
            }
        }
        if power {
            self.old.clear();
        } else {
            self.remember(start, bytes.len());
        }
        self.now = found;
        self.check_all("read again");
        if self.array().level().parities() > 0 && self.chance.below(2) == 0 {
            self.resync_past_a_bad_sector();
        } else {
            self.resync();
        }
        self.check_all("after the resync");
    }

    /// Resyncs while a member has a sector that cannot be read until it is written: what parity alone could give where the
    /// death may have torn a stripe is an error from then on, and never a wrong byte.
    fn resync_past_a_bad_sector(&mut self) {
        let roster = self.array().roster();
        if roster.is_degraded() || roster.moving().is_some() {
            return self.resync();
        }
        let slot = Slot(u16::try_from(self.chance.index(usize::from(roster.slots()))).unwrap());
        let at = self.chance.below(self.array().geometry().used_bytes(slot) / 4096) * 4096;
        let place = roster.seat(slot).unwrap().data_offset_bytes() + at + self.chance.below(4096);
        let (path, healed) = (self.path_of(slot), std::sync::atomic::AtomicBool::new(false));
        self.log.push(format!("bad sector of member {slot} at {at}"));
        self.directory.set_rule(move |one: &Operation| {
            let end = one.offset_bytes + one.length_bytes;
            let hit = one.path == path && one.offset_bytes <= place && place < end;
            healed.fetch_or(hit && one.verb == Verb::Write, Atomic::AcqRel);
            (hit && one.verb == Verb::Read && !healed.load(Atomic::Acquire)).then_some(libc::EIO)
        });
        if self.chance.below(2) == 0 {
            self.compare_pages("before the resync");
        }
        self.resync();
        self.directory.clear_rule();
        for page in self.compare_pages("after the resync") {
            let bytes = self.now[page..page + 4096].to_vec();
            self.array().write_at(&bytes, page as u64, true).unwrap();
        }
        self.array().flush().unwrap();
        self.old.clear();
        assert!(!self.array().roster().members().any(|(_, member)| member.has_flaws()));
    }

    /// Reads page by page; those that cannot be read, which may be one.
    fn compare_pages(&self, what: &str) -> Vec<usize> {
        let mut unread = Vec::new();
        for page in (0..self.now.len()).step_by(4096) {
            let mut bytes = vec![0xee; 4096.min(self.now.len() - page)];
            match self.array().read_at(&mut bytes, page as u64) {
                Ok(()) if bytes == self.now[page..page + bytes.len()] => {}
                Ok(()) => self.fail(&format!("{what}: page {page} is wrong")),
                Err(Error::Unreadable { .. }) => unread.push(page),
                Err(error) => self.fail(&format!("{what}: page {page}: {error}")),
            }
        }
        if unread.len() > 1 {
            self.fail(&format!("{what}: one bad sector took the pages {unread:?}"));
        }
        unread
    }

    /// Lets all images grow, those that are away too, and uses what is new where the level can.
    fn enlarge(&mut self) {
        let roster = self.array().roster();
        let settled = self.array().intent().next_unsynced(0).is_none();
        if roster.is_degraded() || roster.moving().is_some() || !settled || self.image_bytes >= 2 * IMAGE_BYTES {
            return;
        }
        self.image_bytes += 64 << 10;
        for name in &self.images {
            let file = self.directory.open(name, Access::ReadWrite).unwrap();
            file.set_size(self.image_bytes).unwrap();
            file.sync().unwrap();
        }
        let grown = self.array().grow_members(None);
        self.log.push(format!("enlarge: {grown:?}"));
        match grown {
            Ok(size) => {
                self.resync();
                // What is new is whatever the members had there.
                let old = self.now.len();
                self.now.resize(usize::try_from(size).unwrap(), 0);
                let (array, now) = (self.array.as_ref().unwrap(), &mut self.now[old..]);
                array.read_at(now, old as u64).unwrap();
            }
            Err(Error::BadParameter { .. }) => {}
            Err(error) => self.fail(&format!("enlarge: {error}")),
        }
    }

    /// Begins the reshape if it has not begun, and moves it on a few steps.
    fn reshape(&mut self) {
        let Some((level, chunk_kib, more)) = self.way else {
            return;
        };
        let steps = [1, 2, 5, 1000][self.chance.index(4)];
        let roster = self.array().roster();
        if roster.moving().is_none() {
            let geometry = self.array().geometry();
            let there = geometry.level() == level && geometry.chunk_bytes() == chunk_kib << 10;
            let settled = !roster.is_degraded() && roster.intent().next_unsynced(0).is_none();
            if !settled || there && geometry.slots() == self.shape.members + more {
                return;
            }
            drop(roster);
            self.begin(level, chunk_kib, more);
        }
        let mut step = 0;
        let ended = self.array().reshape(&mut |_| {
            step += 1;
            if step >= steps {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.log.push(format!("reshape {steps} steps: {ended:?}"));
        if ended.is_err() {
            self.fail("the reshape failed");
        }
        let size = usize::try_from(self.array().size_bytes()).unwrap();
        self.now.resize(size, 0);
    }

    fn begin(&mut self, level: Level, chunk_kib: u64, more: u16) {
        let mut plan = Plan {
            level: Some(level),
            chunk_bytes: (level != Level::Raid1).then_some(chunk_kib << 10),
            // The least room: every step is a narrow one.
            room_bytes: Some(0),
            ..Plan::default()
        };
        let gone = self.shape.members;
        for _ in 0..more {
            let number = self.images.len();
            let name = new_image(&self.directory, number, self.image_bytes);
            self.clock += 1;
            let identity = uuid(number + 1000 * usize::try_from(self.clock).unwrap());
            plan.images.push(NewImage {
                image: image(&self.directory, &name),
                uuid: identity,
            });
            self.images.push(name);
        }
        let begun = self.array().begin_reshape(&plan);
        self.log.push(format!(
            "reshape of {gone} members to {level} with {more} more: {begun:?}"
        ));
        if begun.is_err() {
            self.fail("the reshape did not begin");
        }
    }

    fn step(&mut self) {
        if self.way.is_some() && self.chance.below(6) == 0 {
            return self.reshape();
        }
        match self.chance.below(26) {
            0..8 => drop(self.change_something()),
            8..12 => self.read_something(),
            12 => self.flush(),
            13 | 14 => self.tick(),
            15 | 16 => self.with_faults(),
            17 => self.lose_member(),
            18 => self.add_member(),
            19 => self.rebuild(),
            20 => self.resync(),
            21 => self.restart(),
            22 => {
                self.resync();
                self.corrupt();
            }
            23 => self.enlarge(),
            _ => self.die(),
        }
    }
}

/// True where a sector is the old one, the new one, or a mix of the two: a sector that is written in part.
fn mixes(is: &[u8], old: &[u8], new: &[u8]) -> bool {
    is.iter()
        .zip(old)
        .zip(new)
        .all(|((is, old), new)| is == old || is == new)
}

fn run(shape: Shape, way: Option<Way>, seeds: std::ops::Range<u64>, steps: usize) {
    for seed in seeds {
        let mut world = World::new(shape, seed);
        world.way = way;
        for _ in 0..steps {
            world.step();
        }
        world.check_all("at the end");
        drop(world.directory.take_operations());
    }
}

macro_rules! models {
    ($($name:ident: $index:literal,)*) => {
        $(
            #[test]
            fn $name() {
                run(SHAPES[$index], None, 0..12, 60);
            }
        )*
    };
}

models! {
    linear_keeps_its_bytes: 0,
    raid0_keeps_its_bytes: 1,
    raid1_keeps_its_bytes: 2,
    raid1_of_three_without_bitmap_keeps_its_bytes: 3,
    raid10_near_keeps_its_bytes: 4,
    raid10_far_keeps_its_bytes: 5,
    raid10_offset_of_three_keeps_its_bytes: 6,
    raid4_keeps_its_bytes: 7,
    raid5_keeps_its_bytes: 8,
    raid5_asymmetric_without_bitmap_keeps_its_bytes: 9,
    raid6_keeps_its_bytes: 10,
    raid6_ddf_keeps_its_bytes: 11,
    raid6_with_q_last_keeps_its_bytes: 12,
}

macro_rules! reshapes {
    ($($name:ident: $shape:expr => $way:expr,)*) => {
        $(
            /// R59: nothing that happens while an array is reshaped changes a byte: reads, writes, lost members, kills and power
            /// losses at any point, after which it goes on from its checkpoint.
            #[test]
            fn $name() {
                run($shape, Some($way), 0..16, 60);
            }
        )*
    };
}

reshapes! {
    raid5_grows_by_a_member: shape(Level::Raid5, 2, 3, 4, true) => (Level::Raid5, 4, 1),
    raid5_grows_by_two_members: shape(Level::Raid5, 0, 3, 8, false) => (Level::Raid5, 8, 2),
    raid6_grows_by_a_member: shape(Level::Raid6, 2, 4, 4, true) => (Level::Raid6, 4, 1),
    raid4_grows_by_a_member: shape(Level::Raid4, 0, 3, 4, true) => (Level::Raid4, 4, 1),
    raid0_grows_by_a_member: shape(Level::Raid0, 0, 2, 4, false) => (Level::Raid0, 4, 1),
    raid10_grows_by_a_member: shape(Level::Raid10, 0x102, 4, 4, true) => (Level::Raid10, 4, 1),
    raid10_of_three_grows_by_two: shape(Level::Raid10, 0x1_0201, 3, 4, true) => (Level::Raid10, 4, 2),
    raid0_becomes_raid5: shape(Level::Raid0, 0, 2, 4, false) => (Level::Raid5, 4, 1),
    raid0_becomes_a_larger_raid5: shape(Level::Raid0, 0, 2, 4, false) => (Level::Raid5, 4, 2),
    raid1_becomes_raid5: shape(Level::Raid1, 0, 2, 0, true) => (Level::Raid5, 32, 1),
    raid4_becomes_raid5: shape(Level::Raid4, 0, 3, 4, true) => (Level::Raid5, 4, 0),
    raid5_becomes_raid6: shape(Level::Raid5, 2, 3, 4, true) => (Level::Raid6, 4, 1),
    raid5_becomes_a_larger_raid6: shape(Level::Raid5, 2, 3, 4, true) => (Level::Raid6, 4, 2),
    raid5_takes_larger_chunks: shape(Level::Raid5, 2, 4, 4, true) => (Level::Raid5, 16, 0),
    raid6_takes_smaller_chunks: shape(Level::Raid6, 2, 4, 16, true) => (Level::Raid6, 4, 0),
}
