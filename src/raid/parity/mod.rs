//! Parity: how P and Q are made of the data of a stripe, and the data of them. Pure: bytes in, bytes out.
//!
//! P is the xor of the data chunks; Q is their sum in GF(256), each times 2 to the power of its *exponent*, which
//! [`Stripe::exponent`](super::geometry::Stripe::exponent) gives for md's and DDF's layouts alike. A [`Recovery`] makes
//! any one or two lost parts again, the check functions say where parities are wrong, [`suspect`] which part is.
//!
//! Work is done by kernels chosen once for the processor ([`kernel_name`]); buffers need no alignment.
//! All buffers of a call have one length, or the call panics: they are ours.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod check;
mod field;
mod kernel;
mod ladder;
mod portable;
mod recovery;
#[cfg(target_arch = "x86_64")]
mod vector;

pub use check::{Mismatch, Suspect, check_p, check_pq, suspect};
pub use recovery::{Code, Part, Recovery};

use kernel::best;
use ladder::Ladder;

/// What the kernels on this machine are made of: `AVX-512 and GFNI`, .., `portable`.
pub fn kernel_name() -> &'static str {
    best().name
}

/// Adds `source` to `into` by xor.
pub fn xor_into(into: &mut [u8], source: &[u8]) {
    best().xor(into, &[source], true);
}

/// Makes P: the xor of the data. Also makes one lost chunk, of the others and P.
pub fn p(p: &mut [u8], data: &[&[u8]]) {
    best().xor(p, data, false);
}

/// Makes P and Q. The order of the data is free; each chunk brings its exponent.
pub fn pq(p: &mut [u8], q: &mut [u8], data: &[&[u8]], exponents: &[u8]) {
    best().pq(p, q, data, &Ladder::new(exponents));
}

/// Makes P true again after a data chunk changed from `old` to `new`, for read-modify-write.
pub fn update_p(p: &mut [u8], old: &[u8], new: &[u8]) {
    best().xor(p, &[old, new], true);
}

/// Makes P and Q true again after a data chunk changed from `old` to `new`.
pub fn update_pq(p: &mut [u8], q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
    best().update(Some(p), q, [old, new], field::power(exponent));
}

/// Makes Q true again after a data chunk changed from `old` to `new`, where P is lost.
pub fn update_q(q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
    best().update(None, q, [old, new], field::power(exponent));
}

#[cfg(test)]
mod tests;
