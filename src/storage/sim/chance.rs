//! Chance that a seed decides: which of the things that were not made durable a crash keeps.
//!
//! Every choice of a simulated power loss comes from one seed through here, so that a failing image can be made again.

/// A sequence of coins, the same for the same seed (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A fair coin.
    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// A coin to be thrown many times, of which one side may be rare or missing: all of a thing, none of it and all but
    /// one piece are what finds errors, and a fair coin hardly ever gives them.
    pub fn loaded_coin(&mut self) -> LoadedCoin {
        LoadedCoin {
            of_16: [0, 1, 8, 15, 16][usize::try_from(self.next() % 5).unwrap_or(0)],
        }
    }
}

/// A coin that falls on the true side `of_16` times in sixteen.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadedCoin {
    of_16: u64,
}

impl LoadedCoin {
    pub fn throw(self, chance: &mut Chance) -> bool {
        chance.next() % 16 < self.of_16
    }
}
