//! The order in which data chunks enter Q by Horner's rule: from the highest exponent down, doubling at every rung.
//!
//! md's usual layouts have a chunk on every rung; DDF's have gaps where P and Q stand, and md's asymmetric ones another
//! order than that of the data. A ladder is made for every call, without allocating.

/// Data chunks by their exponents.
pub(super) struct Ladder {
    /// Number of the chunk at an exponent, plus 1; 0 where there is none.
    rungs: [u8; 256],
    /// Rungs in use.
    height: usize,
    /// Chunks on them.
    chunks: usize,
}

impl Ladder {
    /// Orders chunks by exponent.
    ///
    /// # Panics
    /// Where an exponent comes twice or is 255: then Q could not tell chunks apart.
    pub(super) fn new(exponents: &[u8]) -> Self {
        let mut rungs = [0; 256];
        let mut height = 0;
        for (number, &exponent) in (1..=255_u8).zip(exponents) {
            assert!(
                exponent < 255 && rungs[usize::from(exponent)] == 0,
                "exponent {exponent} cannot be told apart"
            );
            rungs[usize::from(exponent)] = number;
            height = height.max(usize::from(exponent) + 1);
        }
        assert!(exponents.len() <= 255, "{} data chunks in a Q", exponents.len());
        Self {
            rungs,
            height,
            chunks: exponents.len(),
        }
    }

    /// Makes sure that the ladder is of so many chunks, and so gives no other index.
    pub(super) fn check(&self, chunks: usize) {
        assert_eq!(self.chunks, chunks, "an exponent for every data chunk");
    }

    /// From the highest exponent to 0: the index of the chunk there.
    #[inline(always)]
    pub(super) fn down(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        let rungs = self.rungs[..self.height].iter().rev();
        rungs.map(|&number| usize::from(number).checked_sub(1))
    }
}
