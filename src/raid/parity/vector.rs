//! The kernels over vectors of any width: loops that load, add, double and store.
//!
//! A [`Vector`] is one register; `avx2.rs` and `avx512.rs` have the kinds that there are, [`super::kernel`] picks one at
//! run time. Loops take [`WIDE`] vectors at a time, then single ones, and leave the tail to the portable kernels, which
//! they are tested against.

use super::{ladder::Ladder, portable};

/// Vectors worked on at once: enough to hide the latency of doubling.
const WIDE: usize = 4;

/// One register of elements of GF(256).
///
/// # Safety
/// All methods need the instructions of their implementation. Pointers need not be aligned, but [`Vector::BYTES`] bytes
/// there must be readable or writable.
pub(super) trait Vector: Copy {
    /// Its width.
    const BYTES: usize;
    /// What multiplies by a constant.
    type Factor: Copy;

    unsafe fn zero() -> Self;
    unsafe fn load(from: *const u8) -> Self;
    unsafe fn store(self, to: *mut u8);
    unsafe fn xor(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    unsafe fn double(self) -> Self;
    unsafe fn factor(factor: u8) -> Self::Factor;
    unsafe fn times(self, factor: Self::Factor) -> Self;
    unsafe fn is_zero(self) -> bool;
}

/// `N` vectors side by side.
#[inline(always)]
unsafe fn load<V: Vector, const N: usize>(bytes: &[u8], at: usize) -> [V; N] {
    debug_assert!(at + N * V::BYTES <= bytes.len());
    // SAFETY: callers stay `N` vectors inside the buffers, whose lengths `super` has checked to be one.
    unsafe {
        let mut vectors = [V::zero(); N];
        for (lane, vector) in vectors.iter_mut().enumerate() {
            *vector = V::load(bytes.as_ptr().add(at + lane * V::BYTES));
        }
        vectors
    }
}

#[inline(always)]
unsafe fn store<V: Vector, const N: usize>(vectors: [V; N], bytes: &mut [u8], at: usize) {
    debug_assert!(at + N * V::BYTES <= bytes.len());
    for (lane, vector) in vectors.into_iter().enumerate() {
        // SAFETY: as for `load`.
        unsafe { vector.store(bytes.as_mut_ptr().add(at + lane * V::BYTES)) }
    }
}

#[inline(always)]
unsafe fn add<V: Vector, const N: usize>(sum: &mut [V; N], other: [V; N]) {
    for (sum, other) in sum.iter_mut().zip(other) {
        // SAFETY: arithmetic only.
        *sum = unsafe { sum.xor(other) };
    }
}

#[inline(always)]
unsafe fn times<V: Vector, const N: usize>(vectors: [V; N], factor: V::Factor) -> [V; N] {
    // SAFETY: arithmetic only.
    vectors.map(|vector| unsafe { vector.times(factor) })
}

#[inline(always)]
unsafe fn all_zero<V: Vector, const N: usize>(vectors: [V; N]) -> bool {
    // SAFETY: arithmetic only.
    unsafe {
        let mut any = V::zero();
        for vector in vectors {
            any = any.or(vector);
        }
        any.is_zero()
    }
}

/// Runs `step` over wide groups of vectors from `from` on, then over single ones; gives where the tail begins.
macro_rules! stride {
    ($from:expr, $length:expr, |$at:ident| $step:ident($($argument:expr),*)) => {{
        let (mut $at, length) = ($from, $length);
        while $at + WIDE * V::BYTES <= length {
            $step::<V, WIDE>($($argument),*);
            $at += WIDE * V::BYTES;
        }
        while $at + V::BYTES <= length {
            $step::<V, 1>($($argument),*);
            $at += V::BYTES;
        }
        $at
    }};
}

/// As [`stride`], but gives the place of the first step that holds.
macro_rules! find {
    ($from:expr, $length:expr, |$at:ident| $step:ident($($argument:expr),*)) => {{
        let (mut $at, length) = ($from, $length);
        while $at + WIDE * V::BYTES <= length {
            if $step::<V, WIDE>($($argument),*) {
                return Some($at);
            }
            $at += WIDE * V::BYTES;
        }
        while $at + V::BYTES <= length {
            if $step::<V, 1>($($argument),*) {
                return Some($at);
            }
            $at += V::BYTES;
        }
        $at
    }};
}

#[inline(always)]
unsafe fn sum<V: Vector, const N: usize>(mut start: [V; N], sources: &[&[u8]], at: usize) -> [V; N] {
    for source in sources {
        // SAFETY: `at` is `N` vectors before the end of every buffer.
        unsafe { add(&mut start, load::<V, N>(source, at)) }
    }
    start
}

#[inline(always)]
unsafe fn xor_step<V: Vector, const N: usize>(into: &mut [u8], sources: &[&[u8]], more: bool, at: usize) {
    // SAFETY: as for `sum`.
    unsafe {
        let start = if more { load::<V, N>(into, at) } else { [V::zero(); N] };
        store(sum(start, sources, at), into, at);
    }
}

/// [`portable::xor`] by vectors.
#[inline(always)]
pub(super) unsafe fn xor<V: Vector>(into: &mut [u8], sources: &[&[u8]], more: bool) {
    // SAFETY: `stride` stays inside the buffers, which are of one length.
    let tail = unsafe { stride!(0, into.len(), |at| xor_step(into, sources, more, at)) };
    portable::xor(into, sources, more, tail);
}

#[inline(always)]
unsafe fn pq_sums<V: Vector, const N: usize>(data: &[&[u8]], ladder: &Ladder, at: usize) -> ([V; N], [V; N]) {
    // SAFETY: as for `sum`; a ladder has the indices of the data it was made of.
    unsafe {
        let (mut p, mut q) = ([V::zero(); N], [V::zero(); N]);
        for rung in ladder.down() {
            q = q.map(|vector| vector.double());
            if let Some(index) = rung {
                let chunk = load::<V, N>(data[index], at);
                add(&mut p, chunk);
                add(&mut q, chunk);
            }
        }
        (p, q)
    }
}

#[inline(always)]
unsafe fn pq_step<V: Vector, const N: usize>(p: &mut [u8], q: &mut [u8], data: &[&[u8]], ladder: &Ladder, at: usize) {
    // SAFETY: as for `sum`.
    unsafe {
        let sums = pq_sums::<V, N>(data, ladder, at);
        store(sums.0, p, at);
        store(sums.1, q, at);
    }
}

/// [`portable::pq`] by vectors.
#[inline(always)]
pub(super) unsafe fn pq<V: Vector>(p: &mut [u8], q: &mut [u8], data: &[&[u8]], ladder: &Ladder) {
    // SAFETY: `stride` stays inside the buffers, which are of one length.
    let tail = unsafe { stride!(0, p.len(), |at| pq_step(p, q, data, ladder, at)) };
    portable::pq(p, q, data, ladder, tail);
}

#[inline(always)]
unsafe fn combine_step<V: Vector, const N: usize>(into: &mut [u8], sources: &[&[u8]], factors: &[u8], at: usize) {
    // SAFETY: as for `sum`.
    unsafe {
        let mut sum = [V::zero(); N];
        for (source, factor) in sources.iter().zip(factors) {
            add(&mut sum, times(load::<V, N>(source, at), V::factor(*factor)));
        }
        store(sum, into, at);
    }
}

/// [`portable::combine`] by vectors.
#[inline(always)]
pub(super) unsafe fn combine<V: Vector>(into: &mut [u8], sources: &[&[u8]], factors: &[u8]) {
    // SAFETY: `stride` stays inside the buffers, which are of one length.
    let tail = unsafe { stride!(0, into.len(), |at| combine_step(into, sources, factors, at)) };
    portable::combine(into, sources, factors, tail);
}

#[inline(always)]
unsafe fn combine_two_step<V: Vector, const N: usize>(
    into: &mut [&mut [u8]; 2],
    sources: &[&[u8]],
    factors: [&[u8]; 2],
    at: usize,
) {
    // SAFETY: as for `sum`.
    unsafe {
        let mut sums = [[V::zero(); N]; 2];
        for (index, source) in sources.iter().enumerate() {
            let chunk = load::<V, N>(source, at);
            add(&mut sums[0], times(chunk, V::factor(factors[0][index])));
            add(&mut sums[1], times(chunk, V::factor(factors[1][index])));
        }
        store(sums[0], into[0], at);
        store(sums[1], into[1], at);
    }
}

/// [`portable::combine`] twice, by vectors, reading the sources once.
#[inline(always)]
pub(super) unsafe fn combine_two<V: Vector>(into: &mut [&mut [u8]; 2], sources: &[&[u8]], factors: [&[u8]; 2]) {
    // SAFETY: `stride` stays inside the buffers, which are of one length.
    let tail = unsafe { stride!(0, into[0].len(), |at| combine_two_step(into, sources, factors, at)) };
    portable::combine(into[0], sources, factors[0], tail);
    portable::combine(into[1], sources, factors[1], tail);
}

#[inline(always)]
unsafe fn update_step<V: Vector, const N: usize>(
    p: &mut Option<&mut [u8]>,
    q: &mut [u8],
    change: [&[u8]; 2],
    factor: V::Factor,
    at: usize,
) {
    // SAFETY: as for `sum`.
    unsafe {
        let difference = sum(load::<V, N>(change[0], at), &change[1..], at);
        if let Some(p) = p {
            let mut sum = load::<V, N>(p, at);
            add(&mut sum, difference);
            store(sum, p, at);
        }
        let mut sum = load::<V, N>(q, at);
        add(&mut sum, times(difference, factor));
        store(sum, q, at);
    }
}

/// [`portable::update`] by vectors.
#[inline(always)]
pub(super) unsafe fn update<V: Vector>(mut p: Option<&mut [u8]>, q: &mut [u8], change: [&[u8]; 2], factor: u8) {
    // SAFETY: `stride` stays inside the buffers, which are of one length.
    let tail = unsafe {
        let prepared = V::factor(factor);
        stride!(0, q.len(), |at| update_step(&mut p, q, change, prepared, at))
    };
    portable::update(p, q, change, factor, tail);
}

#[inline(always)]
unsafe fn p_differs<V: Vector, const N: usize>(p: &[u8], data: &[&[u8]], at: usize) -> bool {
    // SAFETY: as for `sum`.
    unsafe { !all_zero(sum(load::<V, N>(p, at), data, at)) }
}

/// [`portable::find_p`] by vectors.
#[inline(always)]
pub(super) unsafe fn find_p<V: Vector>(p: &[u8], data: &[&[u8]], from: usize) -> Option<usize> {
    // SAFETY: `find` stays inside the buffers, which are of one length.
    let tail = unsafe { find!(from, p.len(), |at| p_differs(p, data, at)) };
    portable::find_p(p, data, tail)
}

#[inline(always)]
unsafe fn pq_differs<V: Vector, const N: usize>(
    p: &[u8],
    q: &[u8],
    data: &[&[u8]],
    ladder: &Ladder,
    at: usize,
) -> bool {
    // SAFETY: as for `sum`.
    unsafe {
        let mut sums = pq_sums::<V, N>(data, ladder, at);
        add(&mut sums.0, load(p, at));
        add(&mut sums.1, load(q, at));
        !(all_zero(sums.0) && all_zero(sums.1))
    }
}

/// [`portable::find_pq`] by vectors.
#[inline(always)]
pub(super) unsafe fn find_pq<V: Vector>(
    p: &[u8],
    q: &[u8],
    data: &[&[u8]],
    ladder: &Ladder,
    from: usize,
) -> Option<usize> {
    // SAFETY: `find` stays inside the buffers, which are of one length.
    let tail = unsafe { find!(from, p.len(), |at| pq_differs(p, q, data, ladder, at)) };
    portable::find_pq(p, q, data, ladder, tail)
}
