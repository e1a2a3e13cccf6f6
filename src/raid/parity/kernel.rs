//! Which kernels this machine runs: chosen once, by what the processor says it has.
//!
//! A [`Kernels`] is a table of functions that all do the same as those of `portable.rs`. Callers in [`super`] check the
//! lengths of buffers; here it is only made sure that no function is called whose instructions are missing.

use std::sync::OnceLock;

use super::{ladder::Ladder, portable};

/// One way to do the arithmetic.
///
/// Every function is safe to call with buffers of one length, where the processor has the instructions: only
/// [`available`] hands out tables, and it asks the processor first.
#[expect(clippy::type_complexity, reason = "a table of functions says their types once, here")]
pub(super) struct Kernels {
    /// What it is made of.
    pub(super) name: &'static str,
    xor: unsafe fn(&mut [u8], &[&[u8]], bool),
    pq: unsafe fn(&mut [u8], &mut [u8], &[&[u8]], &Ladder),
    combine: unsafe fn(&mut [u8], &[&[u8]], &[u8]),
    combine_two: unsafe fn(&mut [&mut [u8]; 2], &[&[u8]], [&[u8]; 2]),
    update: unsafe fn(Option<&mut [u8]>, &mut [u8], [&[u8]; 2], u8),
    find_p: unsafe fn(&[u8], &[&[u8]], usize) -> Option<usize>,
    find_pq: unsafe fn(&[u8], &[u8], &[&[u8]], &Ladder, usize) -> Option<usize>,
}

impl Kernels {
    /// Xor of the sources, written to `into`, or added to it with `more`.
    pub(super) fn xor(&self, into: &mut [u8], sources: &[&[u8]], more: bool) {
        check_lengths(into.len(), sources);
        // SAFETY: the table came from `available`; the lengths are one.
        unsafe { (self.xor)(into, sources, more) }
    }

    /// P and Q of the data that the ladder orders.
    pub(super) fn pq(&self, p: &mut [u8], q: &mut [u8], data: &[&[u8]], ladder: &Ladder) {
        check_lengths(p.len(), data);
        check_lengths(q.len(), data);
        ladder.check(data.len());
        // SAFETY: the table came from `available`; the lengths are one, and the ladder is of these data.
        unsafe { (self.pq)(p, q, data, ladder) }
    }

    /// Sum of the sources, each multiplied by its factor.
    pub(super) fn combine(&self, into: &mut [u8], sources: &[&[u8]], factors: &[u8]) {
        check_lengths(into.len(), sources);
        assert_eq!(sources.len(), factors.len(), "a factor for every source");
        // SAFETY: the table came from `available`; the lengths are one.
        unsafe { (self.combine)(into, sources, factors) }
    }

    /// [`Self::combine`] twice, reading the sources once.
    pub(super) fn combine_two(&self, into: &mut [&mut [u8]; 2], sources: &[&[u8]], factors: [&[u8]; 2]) {
        for (into, factors) in into.iter().zip(factors) {
            check_lengths(into.len(), sources);
            assert_eq!(sources.len(), factors.len(), "a factor for every source");
        }
        // SAFETY: the table came from `available`; the lengths are one.
        unsafe { (self.combine_two)(into, sources, factors) }
    }

    /// Adds the difference of two chunks to P, if it is there, and that times `factor` to Q.
    pub(super) fn update(&self, p: Option<&mut [u8]>, q: &mut [u8], change: [&[u8]; 2], factor: u8) {
        check_lengths(q.len(), &change);
        assert!(p.as_ref().is_none_or(|p| p.len() == q.len()), "P and Q of one length");
        // SAFETY: the table came from `available`; the lengths are one.
        unsafe { (self.update)(p, q, change, factor) }
    }

    /// The first place from `from` on, to a few vectors' accuracy, where P is not the xor of the data.
    pub(super) fn find_p(&self, p: &[u8], data: &[&[u8]], from: usize) -> Option<usize> {
        check_lengths(p.len(), data);
        assert!(from <= p.len(), "a start inside the buffers");
        // SAFETY: the table came from `available`; the lengths are one.
        unsafe { (self.find_p)(p, data, from) }
    }

    /// The first place from `from` on, to a few vectors' accuracy, where P or Q is not what the data make it.
    pub(super) fn find_pq(&self, p: &[u8], q: &[u8], data: &[&[u8]], ladder: &Ladder, from: usize) -> Option<usize> {
        check_lengths(p.len(), data);
        check_lengths(q.len(), data);
        ladder.check(data.len());
        assert!(from <= p.len(), "a start inside the buffers");
        // SAFETY: the table came from `available`; the lengths are one, and the ladder is of these data.
        unsafe { (self.find_pq)(p, q, data, ladder, from) }
    }
}

fn check_lengths(length: usize, sources: &[&[u8]]) {
    assert!(
        sources.iter().all(|source| source.len() == length),
        "all buffers have {length} bytes"
    );
}

/// Defines a table of the vector loops over one kind of vector.
#[cfg(target_arch = "x86_64")]
macro_rules! table {
    ($module:ident, $features:literal, $file:ident::$vector:ident, $name:literal) => {
        mod $module {
            use super::super::{ladder::Ladder, vector, $file};
            use super::Kernels;

            type Chosen = $file::$vector;

            #[target_feature(enable = $features)]
            unsafe fn xor(into: &mut [u8], sources: &[&[u8]], more: bool) {
                // SAFETY: the features are those of the vector; the caller keeps the rest.
                unsafe { vector::xor::<Chosen>(into, sources, more) }
            }

            #[target_feature(enable = $features)]
            unsafe fn pq(p: &mut [u8], q: &mut [u8], data: &[&[u8]], ladder: &Ladder) {
                // SAFETY: as above.
                unsafe { vector::pq::<Chosen>(p, q, data, ladder) }
            }

            #[target_feature(enable = $features)]
            unsafe fn combine(into: &mut [u8], sources: &[&[u8]], factors: &[u8]) {
                // SAFETY: as above.
                unsafe { vector::combine::<Chosen>(into, sources, factors) }
            }

            #[target_feature(enable = $features)]
            unsafe fn combine_two(into: &mut [&mut [u8]; 2], sources: &[&[u8]], factors: [&[u8]; 2]) {
                // SAFETY: as above.
                unsafe { vector::combine_two::<Chosen>(into, sources, factors) }
            }

            #[target_feature(enable = $features)]
            unsafe fn update(p: Option<&mut [u8]>, q: &mut [u8], change: [&[u8]; 2], factor: u8) {
                // SAFETY: as above.
                unsafe { vector::update::<Chosen>(p, q, change, factor) }
            }

            #[target_feature(enable = $features)]
            unsafe fn find_p(p: &[u8], data: &[&[u8]], from: usize) -> Option<usize> {
                // SAFETY: as above.
                unsafe { vector::find_p::<Chosen>(p, data, from) }
            }

            #[target_feature(enable = $features)]
            unsafe fn find_pq(p: &[u8], q: &[u8], data: &[&[u8]], ladder: &Ladder, from: usize) -> Option<usize> {
                // SAFETY: as above.
                unsafe { vector::find_pq::<Chosen>(p, q, data, ladder, from) }
            }

            pub(super) static KERNELS: Kernels = Kernels {
                name: $name,
                xor,
                pq,
                combine,
                combine_two,
                update,
                find_p,
                find_pq,
            };
        }
    };
}

#[cfg(target_arch = "x86_64")]
table!(by_avx2, "avx2", avx2::Avx2, "AVX2");
#[cfg(target_arch = "x86_64")]
table!(by_avx2_gfni, "avx2,gfni", avx2::Avx2Gfni, "AVX2 and GFNI");
#[cfg(target_arch = "x86_64")]
table!(by_avx512, "avx512f,avx512bw", avx512::Avx512, "AVX-512");
#[cfg(target_arch = "x86_64")]
table!(
    by_avx512_gfni,
    "avx512f,avx512bw,gfni",
    avx512::Avx512Gfni,
    "AVX-512 and GFNI"
);

static PORTABLE: Kernels = Kernels {
    name: "portable",
    xor: |into, sources, more| portable::xor(into, sources, more, 0),
    pq: |p, q, data, ladder| portable::pq(p, q, data, ladder, 0),
    combine: |into, sources, factors| portable::combine(into, sources, factors, 0),
    combine_two: |into, sources, factors| {
        portable::combine(into[0], sources, factors[0], 0);
        portable::combine(into[1], sources, factors[1], 0);
    },
    update: |p, q, change, factor| portable::update(p, q, change, factor, 0),
    find_p: portable::find_p,
    find_pq: portable::find_pq,
};

/// All that this processor runs, the best first, the portable one last.
pub(super) fn available() -> Vec<&'static Kernels> {
    let mut found: Vec<&'static Kernels> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected;
        let gfni = is_x86_feature_detected!("gfni");
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
            if gfni {
                found.push(&by_avx512_gfni::KERNELS);
            }
            found.push(&by_avx512::KERNELS);
        }
        if is_x86_feature_detected!("avx2") {
            if gfni {
                found.push(&by_avx2_gfni::KERNELS);
            }
            found.push(&by_avx2::KERNELS);
        }
    }
    found.push(&PORTABLE);
    found
}

/// The best that this processor runs.
pub(super) fn best() -> &'static Kernels {
    static BEST: OnceLock<&'static Kernels> = OnceLock::new();
    BEST.get_or_init(|| available()[0])
}
