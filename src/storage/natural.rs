//! The order of names in which people count: `d2` before `d10`.
//!
//! A run of digits counts as the number that it writes, anything else byte by byte. Names that differ in leading zeros only
//! keep the order of their bytes, so that no two names are equal that are not the same.

use std::cmp::Ordering;

/// Compares two names.
#[must_use]
pub fn natural(one: &[u8], other: &[u8]) -> Ordering {
    runs(one).cmp(runs(other)).then_with(|| one.cmp(other))
}

/// Runs of digits and single other bytes, as they compare: a first byte, how many digits, and the bytes.
fn runs(name: &[u8]) -> impl Iterator<Item = (u8, usize, &[u8])> {
    let alike = |one: &u8, other: &u8| one.is_ascii_digit() && other.is_ascii_digit();
    name.chunk_by(alike).map(|run| match run {
        [b'0'..=b'9', ..] => {
            let zeros = run.iter().take_while(|digit| **digit == b'0').count();
            // Of numbers without zeros before them the longer one is the larger.
            (b'0', run.len() - zeros, &run[zeros..])
        }
        _ => (run.first().copied().unwrap_or_default(), 0, run),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count() {
        let sorted = [
            "",
            "!",
            "0",
            "00",
            "01",
            "1",
            "2",
            "010",
            "10",
            "10a",
            "99999999999999999999999",
            "100000000000000000000000",
            ":",
            "d",
            "d-1",
            "d0.img",
            "d1.img",
            "d2.img",
            "d2.img.journal",
            "d10.img",
            "d10b2",
            "d10b10",
            "d010c",
            "dd",
            "e1",
            "é2",
            "é10",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                let found = natural(one.as_bytes(), other.as_bytes());
                assert_eq!(found, at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
    }
}
