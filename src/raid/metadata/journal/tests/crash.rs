//! Crashes at any point of many stripe writes, in a model of members with a volatile cache.
//!
//! Every member holds one byte value for each stripe, written as 8 sectors; what is not flushed survives a crash whole,
//! in part or not at all. After the replay each stripe must hold exactly its contents before or after the write that
//! was under way, after it where the write was acknowledged; contents of missing members follow from the parity.

use proptest::prelude::{any, proptest};

use super::{ARRAY, DATA, device};
use crate::raid::{
    Sector, Slot,
    metadata::journal::{
        BLOCK_BYTES, Checkpoint, Journal, Kind, Ledger, Place, RING_AT, Range, Record, Stamp, replay, scan,
    },
};

const STRIPES: u64 = 6;
const RING_BLOCKS: u64 = 13;
const STRIPE_BYTES: usize = 4096;

/// Random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn index(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll(sides as u64)).unwrap()
    }
}

/// Product in the field of the second parity.
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = a << 1 ^ if a >> 7 == 1 { 0x1d } else { 0 };
        b >>= 1;
    }
    product
}

/// A stripe: data values, then P, then Q where there are two parities.
fn with_parity(data: &[u8], parities: usize) -> Vec<u8> {
    let mut power = 1;
    let (mut p, mut q) = (0, 0);
    for &value in data {
        p ^= value;
        q ^= times(power, value);
        power = times(power, 2);
    }
    let mut all = data.to_vec();
    all.extend(&[p, q][..parities]);
    all
}

/// A member: its data and its journal, each durable bytes and writes that are still in its cache.
struct Member {
    data: Vec<u8>,
    journal: Vec<u8>,
    cache: Vec<(bool, usize, Vec<u8>)>,
    generation: u64,
    lost: bool,
}

impl Member {
    fn new() -> Self {
        Self {
            data: vec![0; usize::try_from(STRIPES).unwrap() * STRIPE_BYTES],
            journal: vec![0; usize::try_from(RING_AT).unwrap() + usize::try_from(RING_BLOCKS).unwrap() * BLOCK_BYTES],
            cache: Vec::new(),
            generation: 0,
            lost: false,
        }
    }

    fn write(&mut self, journal: bool, at: usize, bytes: Vec<u8>) {
        self.cache.push((journal, at, bytes));
    }

    fn flush(&mut self) {
        for (journal, at, bytes) in std::mem::take(&mut self.cache) {
            let place = if journal { &mut self.journal } else { &mut self.data };
            place[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    /// Keeps of each cached write all sectors, some or none.
    fn crash(&mut self, dice: &mut Dice) {
        for (journal, at, bytes) in std::mem::take(&mut self.cache) {
            let fate = dice.roll(3);
            let place = if journal { &mut self.journal } else { &mut self.data };
            for (index, sector) in bytes.chunks(512).enumerate() {
                if fate == 0 || fate == 1 && dice.roll(2) == 0 {
                    place[at + index * 512..at + index * 512 + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

fn slot_of(slot: usize) -> Slot {
    Slot(u16::try_from(slot).unwrap())
}

/// A stripe write under way.
struct Write {
    sequence: u64,
    stripe: u64,
    new: Vec<u8>,
    /// Places of the records on the members that change.
    places: Vec<Place>,
    step: u8,
}

struct Model {
    dice: Dice,
    members: Vec<Member>,
    parities: usize,
    /// Contents of each stripe that a reader may find.
    allowed: Vec<Vec<Vec<u8>>>,
    writes: Vec<Write>,
    ledger: Ledger,
    epoch: u64,
    stamp: Stamp,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed | 1);
        let parities = 1 + dice.index(2);
        let data = 2 + dice.index(3);
        let mut model = Self {
            members: (0..data + parities).map(|_| Member::new()).collect(),
            parities,
            allowed: vec![vec![vec![0; data]]; usize::try_from(STRIPES).unwrap()],
            writes: Vec::new(),
            ledger: Ledger::new([], 0),
            epoch: 0,
            stamp: super::stamp(1),
            dice,
        };
        for _ in 0..model.dice.index(parities + 1) {
            model.lose();
        }
        model.start(0);
        model
    }

    fn lost(&self) -> usize {
        self.members.iter().filter(|member| member.lost).count()
    }

    fn lose(&mut self) {
        let slot = self.dice.index(self.members.len());
        if self.lost() < self.parities {
            self.members[slot].lost = true;
        }
    }

    /// Begins a new epoch with empty rings.
    fn start(&mut self, sequence: u64) {
        self.epoch = self.dice.roll(u64::MAX);
        let slots = (0..self.members.len()).filter(|&slot| !self.members[slot].lost);
        self.ledger = Ledger::new(
            slots.map(|slot| (slot_of(slot), RING_BLOCKS * BLOCK_BYTES as u64)),
            sequence,
        );
        for slot in 0..self.members.len() {
            self.checkpoint(slot, 0, sequence);
            self.members[slot].flush();
        }
    }

    fn checkpoint(&mut self, slot: usize, tail: u64, retired_below: u64) {
        let member = &mut self.members[slot];
        member.generation += 1;
        let checkpoint = Checkpoint {
            array_uuid: ARRAY,
            device_uuid: device(u16::try_from(slot).unwrap()),
            generation: member.generation,
            epoch: self.epoch,
            tail,
            retired_below,
            now: self.stamp,
            next: self.stamp,
            ring_bytes: RING_BLOCKS * BLOCK_BYTES as u64,
            covers_all: true,
        };
        let at = usize::try_from(Checkpoint::place(&member.journal[..2 * BLOCK_BYTES])).unwrap();
        member.write(true, at, checkpoint.encode());
    }

    /// What stands in a stripe when nothing is under way.
    fn settled(&self, stripe: u64) -> &Vec<u8> {
        let allowed = &self.allowed[usize::try_from(stripe).unwrap()];
        assert_eq!(allowed.len(), 1, "stripe {stripe} is not settled");
        &allowed[0]
    }

    /// Begins a write of some data of a stripe that has no other under way.
    fn begin(&mut self) {
        let stripe = self.dice.roll(STRIPES);
        if self.writes.iter().any(|write| write.stripe == stripe) {
            return;
        }
        let old = self.settled(stripe).clone();
        let mut new = old.clone();
        for _ in 0..=self.dice.index(old.len()) {
            let index = self.dice.index(new.len());
            new[index] = u8::try_from(self.dice.roll(256)).unwrap();
        }
        let (before, after) = (with_parity(&old, self.parities), with_parity(&new, self.parities));
        let changed: Vec<usize> = (0..before.len())
            .filter(|&slot| before[slot] != after[slot] && !self.members[slot].lost)
            .collect();
        if changed.is_empty() {
            return;
        }
        let payloads: Vec<(Slot, u32)> = changed.iter().map(|&slot| (slot_of(slot), 8)).collect();
        let Some(entry) = self.ledger.take(stripe, &payloads) else {
            return self.retire();
        };
        for place in &entry.places {
            let value = after[usize::from(place.slot.0)];
            let bytes = self
                .record(entry.sequence, stripe, place, &entry.places)
                .encode(&[value; STRIPE_BYTES]);
            let at = usize::try_from(place.offset_bytes).unwrap();
            self.members[usize::from(place.slot.0)].write(true, at, bytes);
        }
        self.allowed[usize::try_from(stripe).unwrap()].push(new);
        self.writes.push(Write {
            sequence: entry.sequence,
            stripe,
            new: after,
            places: entry.places,
            step: 0,
        });
    }

    fn record(&self, sequence: u64, stripe: u64, place: &Place, places: &[Place]) -> Record {
        Record {
            array_uuid: ARRAY,
            epoch: self.epoch,
            position: place.position,
            sequence,
            stripe,
            slot: place.slot,
            participants: places.iter().map(|place| place.slot).collect(),
            ranges: vec![Range {
                sector: Sector(DATA.start.0 + stripe * 8),
                sectors: 8,
                kind: Kind::Data,
            }],
        }
    }

    /// Takes one write a step further: flush records and acknowledge, write in place, flush.
    fn advance(&mut self) {
        if self.writes.is_empty() {
            return;
        }
        let index = self.dice.index(self.writes.len());
        let Write { step, stripe, .. } = self.writes[index];
        let places = self.writes[index].places.iter();
        let slots: Vec<usize> = places.map(|place| usize::from(place.slot.0)).collect();
        match step {
            0 => {
                slots.iter().for_each(|&slot| self.members[slot].flush());
                let allowed = &mut self.allowed[usize::try_from(stripe).unwrap()];
                allowed.drain(..allowed.len() - 1);
            }
            1 => {
                let at = usize::try_from(stripe).unwrap() * STRIPE_BYTES;
                for slot in slots {
                    let bytes = vec![self.writes[index].new[slot]; STRIPE_BYTES];
                    self.members[slot].write(false, at, bytes);
                }
            }
            _ => {
                slots.iter().for_each(|&slot| self.members[slot].flush());
                let write = self.writes.remove(index);
                self.ledger.done(write.sequence);
                return;
            }
        }
        self.writes[index].step += 1;
    }

    /// Retires what is done: first durably in the checkpoints, then the rings have room again.
    fn retire(&mut self) {
        let below = self.ledger.retired_below();
        for slot in 0..self.members.len() {
            self.checkpoint(slot, self.ledger.tail(slot_of(slot), below), below);
        }
        if self.dice.roll(8) == 0 {
            return self.crash();
        }
        self.members.iter_mut().for_each(Member::flush);
        self.ledger.release(below);
    }

    fn journals(&self) -> Vec<Journal> {
        let present = self.members.iter().enumerate().filter(|(_, member)| !member.lost);
        present
            .map(|(slot, member)| {
                let (blocks, ring) = member.journal.split_at(usize::try_from(RING_AT).unwrap());
                let checkpoint = Checkpoint::newest(blocks).ok();
                let records = checkpoint.as_ref().map(|checkpoint| scan(ring, checkpoint));
                let slot = u16::try_from(slot).unwrap();
                Journal {
                    slot: Slot(slot),
                    device_uuid: device(slot),
                    data: DATA,
                    checkpoint,
                    records: records.unwrap_or_default(),
                }
            })
            .collect()
    }

    /// Power fails, perhaps a member or a journal with it; then the journals are replayed, twice, and all is looked at.
    fn crash(&mut self) {
        for member in &mut self.members {
            member.crash(&mut self.dice);
        }
        if self.dice.roll(3) == 0 {
            self.lose();
        }
        let wiped = self.dice.roll(6) == 0 && self.lost() < self.parities;
        if wiped {
            let slot = self.dice.index(self.members.len());
            self.members[slot].journal.fill(0);
        }
        let plan = replay(ARRAY, self.stamp, &self.journals());
        assert!(
            !plan.void && (wiped || plan.doubts.is_empty() && plan.covers_all),
            "{plan:?}"
        );
        for round in 0..2 {
            for write in &plan.writes {
                let member = &mut self.members[usize::from(write.slot.0)];
                let bytes = member.journal[usize::try_from(RING_AT).unwrap()..][write.payload.clone()].to_vec();
                let at = usize::try_from((write.sector.0 - DATA.start.0) * 512).unwrap();
                member.write(false, at, bytes);
                if round == 0 && self.dice.roll(16) == 0 {
                    member.crash(&mut self.dice);
                }
            }
        }
        self.members.iter_mut().for_each(Member::flush);
        self.writes.clear();
        for stripe in 0..STRIPES {
            let doubted: Vec<usize> = plan
                .doubts
                .iter()
                .filter(|doubt| doubt.stripe == stripe)
                .map(|doubt| usize::from(doubt.slot.0))
                .collect();
            self.check(stripe, &doubted);
        }
        let before = self.ledger.retired_below();
        assert!(wiped || plan.next_sequence >= before, "{plan:?} of {before}");
        self.start(plan.next_sequence.max(before));
    }

    /// The present members of a stripe hold what is allowed, which tells the missing ones too; doubted ones are rebuilt
    /// from the others.
    fn check(&mut self, stripe: u64, doubted: &[usize]) {
        let at = usize::try_from(stripe).unwrap();
        let bytes = at * STRIPE_BYTES..(at + 1) * STRIPE_BYTES;
        let holds = |contents: &Vec<u8>| {
            let all = with_parity(contents, self.parities);
            let mut members = self.members.iter().zip(all).enumerate();
            members.all(|(slot, (member, value))| {
                let unknown = member.lost || doubted.contains(&slot);
                unknown || member.data[bytes.clone()].iter().all(|&byte| byte == value)
            })
        };
        let found = self.allowed[at].iter().find(|contents| holds(contents)).cloned();
        let Some(found) = found else {
            let first: Vec<_> = self
                .members
                .iter()
                .map(|member| (member.lost, member.data[bytes.start]))
                .collect();
            panic!("stripe {stripe} holds {first:?}, allowed are {:?}", self.allowed[at]);
        };
        let all = with_parity(&found, self.parities);
        for &slot in doubted {
            self.members[slot].data[bytes.clone()].fill(all[slot]);
        }
        self.allowed[at] = vec![found];
    }
}

proptest! {
    /// R19: no write hole at one or two parities, whole or degraded, whatever of each write a crash leaves.
    #[test]
    fn no_stripe_is_ever_half_written(seed in any::<u64>()) {
        let mut model = Model::new(seed);
        for _ in 0..120 {
            match model.dice.roll(16) {
                0 => model.crash(),
                1 => model.retire(),
                2..8 => model.begin(),
                _ => model.advance(),
            }
        }
        model.crash();
    }
}
