//! GF(256) arithmetic over rows, with md's polynomial 0x11d and generator 2, in plain code.
//!
//! It stands here only as long as the kernels of [`crate::raid::parity`] are not used by [`super::rows`].

/// 2 to a power.
pub(super) fn power(exponent: u8) -> u8 {
    (0..exponent).fold(1, |value, _| double(value))
}

fn double(value: u8) -> u8 {
    value << 1 ^ if value & 0x80 == 0 { 0 } else { 0x1d }
}

fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b > 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

/// What a factor, which is not 0, is multiplied by to give 1.
pub(super) fn inverse(factor: u8) -> u8 {
    (1..=255)
        .find(|&candidate| multiply(factor, candidate) == 1)
        .unwrap_or(0)
}

fn table(factor: u8) -> [u8; 256] {
    std::array::from_fn(|value| multiply(u8::try_from(value).unwrap_or(0), factor))
}

/// Adds a row to another.
pub(super) fn xor(to: &mut [u8], row: &[u8]) {
    for (to, from) in to.iter_mut().zip(row) {
        *to ^= from;
    }
}

/// Adds a row times a factor to another.
pub(super) fn add_scaled(to: &mut [u8], row: &[u8], factor: u8) {
    let table = table(factor);
    for (to, from) in to.iter_mut().zip(row) {
        *to ^= table[usize::from(*from)];
    }
}

/// Multiplies a row by a factor.
pub(super) fn scale(row: &mut [u8], factor: u8) {
    let table = table(factor);
    for byte in row {
        *byte = table[usize::from(*byte)];
    }
}
