//! This file knows AVX2: four numbers side by side.

use std::arch::x86_64::*;

use super::{VectorUnit, Work};

/// Proof that this processor has AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if it has it.
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

#[target_feature(enable = "avx2")]
fn enter<W: Work<4, Avx2>>(avx2: Avx2, work: W) -> W::Output {
    work.work(avx2)
}

// An `Avx2` exists only where the instructions do, and every method has one: that is the argument of each block below.
// Those that touch memory do it through a reference to as many bytes as the instruction moves, which need no alignment.
impl VectorUnit<4> for Avx2 {
    type Vector = __m256i;

    #[inline(always)]
    fn enter<W: Work<4, Self>>(self, work: W) -> W::Output {
        // SAFETY: `self` is the proof that the processor has AVX2.
        unsafe { enter(self, work) }
    }

    #[inline(always)]
    fn splat(self, number: u64) -> __m256i {
        // SAFETY: `self` is the proof.
        unsafe { _mm256_set1_epi64x(number as i64) }
    }

    #[inline(always)]
    fn load(self, numbers: &[u64; 4]) -> __m256i {
        // SAFETY: `self` is the proof; reads the 32 bytes of the array.
        unsafe { _mm256_loadu_si256(numbers.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store(self, vector: __m256i, numbers: &mut [u64; 4]) {
        // SAFETY: `self` is the proof; writes the 32 bytes of the array.
        unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), vector) }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` is the proof.
        unsafe { _mm256_add_epi64(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` is the proof.
        unsafe { _mm256_sub_epi64(a, b) }
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` is the proof.
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` is the proof.
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn down(self, a: __m256i, bits: u32) -> __m256i {
        // SAFETY: `self` is the proof. The count is a constant once inlined, and becomes part of the instruction.
        unsafe { _mm256_srl_epi64(a, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn up(self, a: __m256i, bits: u32) -> __m256i {
        // SAFETY: as `down`.
        unsafe { _mm256_sll_epi64(a, _mm_cvtsi32_si128(bits as i32)) }
    }

    #[inline(always)]
    fn larger(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` is the proof.
        unsafe {
            // AVX2 compares signed numbers; with the top bits flipped the order is that of unsigned ones.
            let flip = _mm256_set1_epi64x(i64::MIN);
            let a_is_larger = _mm256_cmpgt_epi64(_mm256_xor_si256(a, flip), _mm256_xor_si256(b, flip));
            _mm256_blendv_epi8(b, a, a_is_larger)
        }
    }

    #[inline(always)]
    fn product32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` is the proof.
        unsafe { _mm256_mul_epu32(a, b) }
    }

    #[inline(always)]
    fn unzip(self, a: __m256i, b: __m256i) -> [__m256i; 2] {
        // SAFETY: `self` is the proof.
        unsafe {
            // Lanes come as a₀ b₀ a₂ b₂; put the second and the third in each other's place.
            [
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpacklo_epi64(a, b)),
                _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpackhi_epi64(a, b)),
            ]
        }
    }

    #[inline(always)]
    fn pairs(self, chunks: &[[u8; 64]; 4]) -> [[__m256i; 4]; 2] {
        let mut sides = [[self.splat(0); 4]; 2];
        for (side, words) in sides.iter_mut().enumerate() {
            // SAFETY: `self` is the proof; reads 32 bytes at 0 or 32 of arrays of 64.
            *words = unsafe {
                let reverse = _mm256_setr_epi8(
                    7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11,
                    10, 9, 8,
                );
                let mut rows = [_mm256_setzero_si256(); 4];
                for lane in 0..4 {
                    let bytes = _mm256_loadu_si256(chunks[lane].as_ptr().add(32 * side).cast());
                    rows[lane] = _mm256_shuffle_epi8(bytes, reverse);
                }
                // Rows are numbers with words from the highest to the lowest; transpose to vectors of one word of each.
                let low = [
                    _mm256_unpacklo_epi64(rows[0], rows[1]),
                    _mm256_unpacklo_epi64(rows[2], rows[3]),
                ];
                let high = [
                    _mm256_unpackhi_epi64(rows[0], rows[1]),
                    _mm256_unpackhi_epi64(rows[2], rows[3]),
                ];
                [
                    _mm256_permute2x128_si256::<0x31>(high[0], high[1]),
                    _mm256_permute2x128_si256::<0x31>(low[0], low[1]),
                    _mm256_permute2x128_si256::<0x20>(high[0], high[1]),
                    _mm256_permute2x128_si256::<0x20>(low[0], low[1]),
                ]
            };
        }
        sides
    }
}
