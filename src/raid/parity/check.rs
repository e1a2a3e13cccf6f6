//! Looking for stripes whose parity is wrong, and for the part that is to blame.
//!
//! A mismatch says only that something is wrong. With Q there is more: if just one part is wrong, its place follows
//! from the two differences. That is a suspicion, not a proof, so nothing here repairs.

use super::{Part, field, kernel::best, ladder::Ladder, portable};

/// A stretch of a stripe whose parity is not that of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it begins, from the start of the buffers: a multiple of the granule.
    pub offset_bytes: usize,
    /// A granule, or what was left at the end.
    pub length_bytes: usize,
    /// P is not the xor of the data.
    pub p: bool,
    /// Q is not the sum of the data.
    pub q: bool,
}

/// Who may be to blame for a mismatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspect {
    /// Nothing is wrong.
    Nobody,
    /// All differences are explained by this one part.
    One(Part),
    /// No one part explains them.
    Several,
}

/// Where P is wrong, by granules: multiples of 512 bytes, so that a mismatch never hides another.
pub fn check_p(p: &[u8], data: &[&[u8]], granule_bytes: usize) -> Vec<Mismatch> {
    by_granules(
        p.len(),
        granule_bytes,
        |from| best().find_p(p, data, from),
        |_| (true, false),
    )
}

/// Where P or Q is wrong, by granules: multiples of 512 bytes.
pub fn check_pq(p: &[u8], q: &[u8], data: &[&[u8]], exponents: &[u8], granule_bytes: usize) -> Vec<Mismatch> {
    let ladder = Ladder::new(exponents);
    let which = |range: std::ops::Range<usize>| {
        range.fold((false, false), |found, at| {
            let (in_p, in_q) = portable::syndromes(p, q, data, &ladder, at);
            (found.0 | (in_p != 0), found.1 | (in_q != 0))
        })
    };
    by_granules(
        p.len(),
        granule_bytes,
        |from| best().find_pq(p, q, data, &ladder, from),
        which,
    )
}

fn by_granules(
    length: usize,
    granule_bytes: usize,
    find: impl Fn(usize) -> Option<usize>,
    which: impl Fn(std::ops::Range<usize>) -> (bool, bool),
) -> Vec<Mismatch> {
    // Kernels look at 512 bytes at a time at most and begin at a granule, so what they find lies in one granule.
    assert!(
        granule_bytes > 0 && granule_bytes.is_multiple_of(512),
        "a granule of {granule_bytes} bytes"
    );
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = find(from) {
        let offset_bytes = at - at % granule_bytes;
        let end = length.min(offset_bytes + granule_bytes);
        let (p, q) = which(offset_bytes..end);
        found.push(Mismatch {
            offset_bytes,
            length_bytes: end - offset_bytes,
            p,
            q,
        });
        from = end;
    }
    found
}

/// The part that alone can explain what is wrong with a stretch of a stripe. Parts are numbered as the data are given.
pub fn suspect(p: &[u8], q: &[u8], data: &[&[u8]], exponents: &[u8]) -> Suspect {
    let ladder = Ladder::new(exponents);
    assert!(
        q.len() == p.len() && data.iter().all(|chunk| chunk.len() == p.len()),
        "buffers of one length"
    );
    let mut verdict = Suspect::Nobody;
    for at in 0..p.len() {
        let here = match portable::syndromes(p, q, data, &ladder, at) {
            (0, 0) => continue,
            (_, 0) => Some(Part::P),
            (0, _) => Some(Part::Q),
            (in_p, in_q) => {
                let exponent = field::logarithm(field::multiply(in_q, field::inverse(in_p)));
                let chunk = (0..).zip(exponents).find(|(_, other)| **other == exponent);
                chunk.map(|(index, _)| Part::Data(index))
            }
        };
        verdict = match (verdict, here) {
            (Suspect::Nobody, Some(part)) => Suspect::One(part),
            (Suspect::One(one), Some(part)) if one == part => verdict,
            _ => return Suspect::Several,
        };
    }
    verdict
}
