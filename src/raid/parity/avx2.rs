//! Vectors of 32 bytes: AVX2, with and without GFNI.
//!
//! AVX2 alone doubles by a comparison, an addition and a mask, and multiplies by two shuffles in nibble tables; GFNI
//! does either with one bit matrix.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_add_epi8, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_cmpgt_epi8, _mm256_gf2p8affine_epi64_epi8, _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi64, _mm256_storeu_si256,
    _mm256_testz_si256, _mm256_xor_si256,
};

use super::{
    field::{MATRICES, NIBBLES, POLYNOMIAL},
    vector::Vector,
};

/// AVX2.
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256i);

impl Vector for Avx2 {
    const BYTES: usize = 32;
    /// Products with the low and the high nibbles.
    type Factor = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller has AVX2 and 32 readable bytes.
        Self(unsafe { _mm256_loadu_si256(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller has AVX2 and 32 writable bytes.
        unsafe { _mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe { _mm256_or_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe {
            let carries = _mm256_cmpgt_epi8(_mm256_setzero_si256(), self.0);
            let rest = _mm256_and_si256(carries, _mm256_set1_epi8(POLYNOMIAL.cast_signed()));
            _mm256_xor_si256(_mm256_add_epi8(self.0, self.0), rest)
        })
    }

    #[inline(always)]
    unsafe fn factor(factor: u8) -> Self::Factor {
        let table = NIBBLES[usize::from(factor)].as_ptr().cast::<__m128i>();
        // SAFETY: the caller has AVX2; a table is 32 bytes long.
        unsafe {
            (
                _mm256_broadcastsi128_si256(_mm_loadu_si128(table)),
                _mm256_broadcastsi128_si256(_mm_loadu_si128(table.add(1))),
            )
        }
    }

    #[inline(always)]
    unsafe fn times(self, factor: Self::Factor) -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe {
            let nibble = _mm256_set1_epi8(15);
            let low = _mm256_shuffle_epi8(factor.0, _mm256_and_si256(self.0, nibble));
            let high = _mm256_and_si256(_mm256_srli_epi64::<4>(self.0), nibble);
            _mm256_xor_si256(low, _mm256_shuffle_epi8(factor.1, high))
        })
    }

    #[inline(always)]
    unsafe fn is_zero(self) -> bool {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_testz_si256(self.0, self.0) == 1 }
    }
}

/// AVX2 and GFNI.
#[derive(Clone, Copy)]
pub(super) struct Avx2Gfni(Avx2);

impl Vector for Avx2Gfni {
    const BYTES: usize = 32;
    /// The bit matrix, four times.
    type Factor = __m256i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe { Avx2::zero() })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller has AVX2 and 32 readable bytes.
        Self(unsafe { Avx2::load(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller has AVX2 and 32 writable bytes.
        unsafe { self.0.store(to) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe { self.0.xor(other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller has AVX2.
        Self(unsafe { self.0.or(other.0) })
    }

    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: the caller has AVX2 and GFNI.
        unsafe { self.times(Self::factor(2)) }
    }

    #[inline(always)]
    unsafe fn factor(factor: u8) -> Self::Factor {
        // SAFETY: the caller has AVX2.
        unsafe { _mm256_set1_epi64x(MATRICES[usize::from(factor)].cast_signed()) }
    }

    #[inline(always)]
    unsafe fn times(self, factor: Self::Factor) -> Self {
        // SAFETY: the caller has AVX2 and GFNI.
        Self(Avx2(unsafe { _mm256_gf2p8affine_epi64_epi8::<0>(self.0.0, factor) }))
    }

    #[inline(always)]
    unsafe fn is_zero(self) -> bool {
        // SAFETY: the caller has AVX2.
        unsafe { self.0.is_zero() }
    }
}
