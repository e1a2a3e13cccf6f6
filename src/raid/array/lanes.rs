//! Locks over an array's address space: a *lane* is a run of it that one writer, rebuild or repair changes at a time.
//!
//! Copies of a block and the parity over it have to be changed as one; two writers of the same block would otherwise leave
//! copies that differ. There is a fixed table of locks, taken in ascending order, which lanes share by their number: to
//! hold one more than needed costs time and nothing else. Reads of a member that is in sync take none.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a lane: of the array for copies, of each chunk of a stripe for parity.
pub(in crate::raid) const LANE_BYTES: u64 = 64 * 1024;

/// Locks in the table.
const LOCKS: usize = 1024;

/// The table.
pub(in crate::raid) struct Lanes(Box<[Mutex<()>]>);

/// Lanes that are held until this is dropped.
pub(in crate::raid) enum Held<'a> {
    /// One lane, as most writes need.
    One {
        /// Its lock.
        _guard: MutexGuard<'a, ()>,
    },
    /// Several.
    Many {
        /// Their locks.
        _guards: Vec<MutexGuard<'a, ()>>,
    },
}

impl Lanes {
    pub(in crate::raid) fn new() -> Self {
        Self((0..LOCKS).map(|_| Mutex::new(())).collect())
    }

    /// Waits for the lanes from `first` to `last`, both included. Whoever holds lanes must not ask for more.
    pub(in crate::raid) fn hold(&self, first: u64, last: u64) -> Held<'_> {
        let lock = |index: usize| self.0[index].lock().unwrap_or_else(PoisonError::into_inner);
        if first == last {
            return Held::One {
                _guard: lock(self.index(first)),
            };
        }
        let count = last.saturating_sub(first).saturating_add(1);
        let _guards = if count >= self.0.len() as u64 {
            (0..self.0.len()).map(lock).collect()
        } else {
            let (from, to) = (self.index(first), self.index(last));
            if from <= to {
                (from..=to).map(lock).collect()
            } else {
                (0..=to).chain(from..self.0.len()).map(lock).collect()
            }
        };
        Held::Many { _guards }
    }

    fn index(&self, lane: u64) -> usize {
        usize::try_from(lane % self.0.len() as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(lanes: &Lanes) -> Vec<usize> {
        (0..LOCKS).filter(|&index| lanes.0[index].try_lock().is_err()).collect()
    }

    #[test]
    fn ranges_hold_each_of_their_locks_once_even_where_the_table_wraps() {
        let lanes = Lanes::new();
        let last = LOCKS as u64 - 1;
        for (range, expected) in [
            ((5, 5), vec![5]),
            ((5, 7), vec![5, 6, 7]),
            ((last, last + 2), vec![0, 1, LOCKS - 1]),
            ((3, u64::MAX), (0..LOCKS).collect()),
            ((3, 3 + last), (0..LOCKS).collect()),
        ] {
            let guard = lanes.hold(range.0, range.1);
            assert_eq!(held(&lanes), expected, "{range:?}");
            drop(guard);
            assert_eq!(held(&lanes), [0; 0]);
        }
    }
}
