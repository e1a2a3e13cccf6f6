//! Vectors of 64 bytes: AVX-512 with byte operations, with and without GFNI.
//!
//! As in `avx2.rs`, but comparisons make masks of one bit a byte.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_loadu_si128, _mm512_add_epi8, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512, _mm512_maskz_set1_epi8, _mm512_movepi8_mask, _mm512_or_si512,
    _mm512_set1_epi8, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_srli_epi64,
    _mm512_storeu_si512, _mm512_test_epi64_mask, _mm512_xor_si512,
};

use super::{
    field::{MATRICES, NIBBLES, POLYNOMIAL},
    vector::Vector,
};

/// AVX-512BW.
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512i);

impl Vector for Avx512 {
    const BYTES: usize = 64;
    /// Products with the low and the high nibbles.
    type Factor = (__m512i, __m512i);

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has AVX-512.
        Self(unsafe { _mm512_setzero_si512() })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller has AVX-512 and 64 readable bytes.
        Self(unsafe { _mm512_loadu_si512(from.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller has AVX-512 and 64 writable bytes.
        unsafe { _mm512_storeu_si512(to.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        Self(unsafe { _mm512_or_si512(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: the caller has AVX-512BW.
        Self(unsafe {
            let rest = _mm512_maskz_set1_epi8(_mm512_movepi8_mask(self.0), POLYNOMIAL.cast_signed());
            _mm512_xor_si512(_mm512_add_epi8(self.0, self.0), rest)
        })
    }

    #[inline(always)]
    unsafe fn factor(factor: u8) -> Self::Factor {
        let table = NIBBLES[usize::from(factor)].as_ptr().cast::<__m128i>();
        // SAFETY: the caller has AVX-512; a table is 32 bytes long.
        unsafe {
            (
                _mm512_broadcast_i32x4(_mm_loadu_si128(table)),
                _mm512_broadcast_i32x4(_mm_loadu_si128(table.add(1))),
            )
        }
    }

    #[inline(always)]
    unsafe fn times(self, factor: Self::Factor) -> Self {
        // SAFETY: the caller has AVX-512BW.
        Self(unsafe {
            let nibble = _mm512_set1_epi8(15);
            let low = _mm512_shuffle_epi8(factor.0, _mm512_and_si512(self.0, nibble));
            let high = _mm512_and_si512(_mm512_srli_epi64::<4>(self.0), nibble);
            _mm512_xor_si512(low, _mm512_shuffle_epi8(factor.1, high))
        })
    }

    #[inline(always)]
    unsafe fn is_zero(self) -> bool {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_test_epi64_mask(self.0, self.0) == 0 }
    }
}

/// AVX-512BW and GFNI.
#[derive(Clone, Copy)]
pub(super) struct Avx512Gfni(Avx512);

impl Vector for Avx512Gfni {
    const BYTES: usize = 64;
    /// The bit matrix, eight times.
    type Factor = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has AVX-512.
        Self(unsafe { Avx512::zero() })
    }

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: the caller has AVX-512 and 64 readable bytes.
        Self(unsafe { Avx512::load(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        // SAFETY: the caller has AVX-512 and 64 writable bytes.
        unsafe { self.0.store(to) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        Self(unsafe { self.0.xor(other.0) })
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller has AVX-512.
        Self(unsafe { self.0.or(other.0) })
    }

    #[inline(always)]
    unsafe fn double(self) -> Self {
        // SAFETY: the caller has AVX-512 and GFNI.
        unsafe { self.times(Self::factor(2)) }
    }

    #[inline(always)]
    unsafe fn factor(factor: u8) -> Self::Factor {
        // SAFETY: the caller has AVX-512.
        unsafe { _mm512_set1_epi64(MATRICES[usize::from(factor)].cast_signed()) }
    }

    #[inline(always)]
    unsafe fn times(self, factor: Self::Factor) -> Self {
        // SAFETY: the caller has AVX-512 and GFNI.
        Self(Avx512(unsafe { _mm512_gf2p8affine_epi64_epi8::<0>(self.0.0, factor) }))
    }

    #[inline(always)]
    unsafe fn is_zero(self) -> bool {
        // SAFETY: the caller has AVX-512.
        unsafe { self.0.is_zero() }
    }
}
