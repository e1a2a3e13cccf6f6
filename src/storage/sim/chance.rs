//! Chance that a seed decides: which of the things that were not made durable a crash keeps.
//!
//! Every choice of a simulated power loss comes from one seed through here, so that a failing image can be made again.

/// A sequence of coins, the same for the same seed.
#[derive(Debug)]
pub(super) struct Chance(fastrand::Rng);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A fair coin.
    pub fn coin(&mut self) -> bool {
        self.0.bool()
    }

    /// A coin to be thrown many times, of which one side may be rare or missing: all of a thing, none of it and all but
    /// one piece are what finds errors, and a fair coin hardly ever gives them.
    pub fn loaded_coin(&mut self) -> LoadedCoin {
        LoadedCoin {
            of_16: [0, 1, 8, 15, 16][self.0.usize(..5)],
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
        chance.0.u64(..16) < self.of_16
    }
}
