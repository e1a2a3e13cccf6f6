//! Where P, Q and the data chunks of a stripe stand: md's algorithms of RAID 4, 5 and 6, those of DDF among them.
//!
//! Four questions describe them all: which way P turns from stripe to stripe, whether data begins after the parities
//! (symmetric) or at member 0, where Q stands, and how the coefficients of Q are counted. Source: md's raid5 and the
//! SNIA DDF specification, tried against a kernel in every layout (`images/raid`).

use super::{GeometryError, spans::slot_of};
use crate::raid::{Level, Slot};

/// How P moves from stripe to stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// From the last member down.
    Left,
    /// From the first member up.
    Right,
    /// Always on the first member.
    First,
    /// Always after the data.
    Last,
}

/// Where Q stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Q {
    /// There is none.
    None,
    /// On the member after P.
    AfterP,
    /// On the member before P.
    BeforeP,
    /// Always on the last member; the others are a RAID 5.
    Last,
}

/// The arrangement of the parity levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotation {
    slots: u16,
    turn: Turn,
    symmetric: bool,
    q: Q,
    /// True where coefficients of Q are counted by slot, as DDF has it, and not from the member after Q.
    by_slot: bool,
    /// Stripes that P is ahead.
    lead: u64,
}

impl Rotation {
    /// Reads md's layout number of RAID 4 (which has none), 5 or 6.
    pub(super) fn new(level: Level, layout: u32, slots: u16) -> Result<Self, GeometryError> {
        let bare = |turn, symmetric, q| Self {
            slots,
            turn,
            symmetric,
            q,
            by_slot: false,
            lead: 0,
        };
        let ddf = |rotation: Self, lead| Self {
            by_slot: true,
            lead,
            ..rotation
        };
        let turned = |number, q| match number {
            0 => Some(bare(Turn::Left, false, q)),
            1 => Some(bare(Turn::Right, false, q)),
            2 => Some(bare(Turn::Left, true, q)),
            3 => Some(bare(Turn::Right, true, q)),
            4 => Some(bare(Turn::First, false, q)),
            5 => Some(bare(Turn::Last, false, q)),
            _ => None,
        };
        let found = match (level, layout) {
            (Level::Raid4, _) => turned(5, Q::None),
            (Level::Raid5, _) => turned(layout, Q::None),
            (Level::Raid6, 0..=5) => turned(layout, Q::AfterP),
            (Level::Raid6, 8) => Some(ddf(bare(Turn::Right, false, Q::AfterP), 0)),
            (Level::Raid6, 9) => Some(ddf(bare(Turn::Left, false, Q::AfterP), 1)),
            (Level::Raid6, 10) => Some(ddf(bare(Turn::Left, true, Q::BeforeP), 0)),
            (Level::Raid6, 16..=20) => turned(layout - 16, Q::Last),
            _ => None,
        };
        found.ok_or(GeometryError::UnknownLayout {
            level,
            layout,
            remedy: "raid5 has 0 to 5, raid6 has 0 to 5, 8 to 10 and 16 to 20",
        })
    }

    fn parities(self) -> u16 {
        if self.q == Q::None { 1 } else { 2 }
    }

    /// Data chunks of a stripe.
    pub(super) fn data(self) -> u16 {
        self.slots - self.parities()
    }

    /// Members that P turns over.
    fn ring(self) -> u16 {
        if self.q == Q::Last { self.slots - 1 } else { self.slots }
    }

    pub(super) fn p(self, stripe: u64) -> Slot {
        let ring = u64::from(self.ring());
        let turned = (stripe % ring + self.lead) % ring;
        slot_of(match self.turn {
            Turn::Left => ring - 1 - turned,
            Turn::Right => turned,
            Turn::First => 0,
            Turn::Last => u64::from(self.data()),
        })
    }

    pub(super) fn q(self, p: Slot) -> Option<Slot> {
        match self.q {
            Q::None => None,
            Q::AfterP => Some(Slot((p.0 + 1) % self.slots)),
            Q::BeforeP => Some(Slot((p.0 + self.slots - 1) % self.slots)),
            Q::Last => Some(Slot(self.slots - 1)),
        }
    }

    /// Where symmetric data begins: after P, and after Q where Q follows P.
    fn first_data(self, p: Slot) -> u16 {
        p.0 + if self.q == Q::AfterP { 2 } else { 1 }
    }

    /// The member of data chunk `index` of a stripe whose parities are at `p` and `q`.
    pub(super) fn data_slot(self, p: Slot, q: Option<Slot>, index: u16) -> Slot {
        if self.symmetric {
            return Slot((self.first_data(p) + index) % self.ring());
        }
        let q = q.unwrap_or(p);
        let (low, high) = (p.min(q), p.max(q));
        let mut slot = index;
        slot += u16::from(slot >= low.0);
        slot += u16::from(high != low && slot >= high.0);
        Slot(slot)
    }

    /// Which data chunk of the stripe stands on `slot`, which holds no parity: the inverse of [`Self::data_slot`].
    pub(super) fn data_index(self, p: Slot, q: Option<Slot>, slot: Slot) -> u16 {
        if self.symmetric {
            let ring = self.ring();
            return (slot.0 + ring - self.first_data(p) % ring) % ring;
        }
        slot.0 - u16::from(p < slot) - u16::from(q.is_some_and(|q| q < slot))
    }

    /// The power of 2 that the data chunk on `slot` is multiplied by in Q.
    pub(super) fn exponent(self, p: Slot, q: Slot, slot: Slot) -> u16 {
        if self.by_slot {
            return slot.0;
        }
        let steps = |to: Slot| (to.0 + self.slots - (q.0 + 1) % self.slots) % self.slots;
        steps(slot) - u16::from(steps(p) < steps(slot))
    }
}
