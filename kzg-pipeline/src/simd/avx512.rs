//! This file knows AVX-512: eight numbers side by side, and with IFMA their 52-bit products.
//!
//! There are two proofs, as many processors have no IFMA (Skylake to Cascade Lake). Both do the same with numbers. They
//! differ in what the function of [`enter`](VectorUnit::enter) is compiled for, and in 52-bit products. Without IFMA,
//! those are made of fused multiplications of doubles, whose significands have 53 bits, rounded towards zero. For
//! integers a, b < 2⁵²:
//!
//! ```text
//!   h = a·b + 2¹⁰⁴               below 2¹⁰⁵, its last place is 2⁵²: the low 52 bits of its form are ⌊a·b/2⁵²⌋
//!   l = a·b − (h − 2¹⁰⁴ − 2⁵²)   from 2⁵² to 2⁵³ − 1, exact: the low 52 bits of its form are a·b mod 2⁵²
//! ```

use std::arch::x86_64::*;

use super::{Multiply52, VectorUnit, Work};

/// Proof that this processor has AVX-512's foundation and its byte shuffles.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

impl Avx512 {
    /// The proof, if it has them.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then_some(Self(()))
    }
}

/// Proof that this processor has AVX-512 with 52-bit products.
#[derive(Clone, Copy, Debug)]
pub struct Ifma(());

impl Ifma {
    /// The proof, if it has them.
    pub fn detect() -> Option<Self> {
        (Avx512::detect().is_some() && is_x86_feature_detected!("avx512ifma")).then_some(Self(()))
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw")]
fn enter_avx512<W: Work<8, Avx512>>(avx512: Avx512, work: W) -> W::Output {
    work.work(avx512)
}

// Never inlined: a product of field elements is a kilobyte of code, and a formula has dozens of them.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn enter_ifma<W: Work<8, Ifma>>(ifma: Ifma, work: W) -> W::Output {
    work.work(ifma)
}

// An `Avx512` or `Ifma` exists only where the instructions do, and every method has one: that is the argument of each
// block below. Those that touch memory do it through a reference to as many bytes as the instruction moves, which need
// no alignment.
macro_rules! lanes {
    ($proof:ty, $enter:ident) => {
        impl VectorUnit<8> for $proof {
            type Vector = __m512i;

            #[inline(always)]
            fn enter<W: Work<8, Self>>(self, work: W) -> W::Output {
                // SAFETY: `self` is the proof that the processor has what the function is compiled for.
                unsafe { $enter(self, work) }
            }

            #[inline(always)]
            fn splat(self, number: u64) -> __m512i {
                // SAFETY: `self` is the proof.
                unsafe { _mm512_set1_epi64(number as i64) }
            }

            #[inline(always)]
            fn load(self, numbers: &[u64; 8]) -> __m512i {
                // SAFETY: `self` is the proof; reads the 64 bytes of the array.
                unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
            }

            #[inline(always)]
            fn store(self, vector: __m512i, numbers: &mut [u64; 8]) {
                // SAFETY: `self` is the proof; writes the 64 bytes of the array.
                unsafe { _mm512_storeu_si512(numbers.as_mut_ptr().cast(), vector) }
            }

            #[inline(always)]
            fn add(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: `self` is the proof.
                unsafe { _mm512_add_epi64(a, b) }
            }

            #[inline(always)]
            fn sub(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: `self` is the proof.
                unsafe { _mm512_sub_epi64(a, b) }
            }

            #[inline(always)]
            fn and(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: `self` is the proof.
                unsafe { _mm512_and_si512(a, b) }
            }

            #[inline(always)]
            fn or(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: `self` is the proof.
                unsafe { _mm512_or_si512(a, b) }
            }

            #[inline(always)]
            fn down(self, a: __m512i, bits: u32) -> __m512i {
                // SAFETY: `self` is the proof. The count is a constant once inlined, and becomes part of the
                // instruction.
                unsafe { _mm512_srl_epi64(a, _mm_cvtsi32_si128(bits as i32)) }
            }

            #[inline(always)]
            fn up(self, a: __m512i, bits: u32) -> __m512i {
                // SAFETY: as `down`.
                unsafe { _mm512_sll_epi64(a, _mm_cvtsi32_si128(bits as i32)) }
            }

            #[inline(always)]
            fn larger(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: `self` is the proof.
                unsafe { _mm512_max_epu64(a, b) }
            }

            #[inline(always)]
            fn product32(self, a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: `self` is the proof.
                unsafe { _mm512_mul_epu32(a, b) }
            }

            #[inline(always)]
            fn unzip(self, a: __m512i, b: __m512i) -> [__m512i; 2] {
                // SAFETY: `self` is the proof.
                unsafe {
                    let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
                    let odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
                    [
                        _mm512_permutex2var_epi64(a, even, b),
                        _mm512_permutex2var_epi64(a, odd, b),
                    ]
                }
            }

            #[inline(always)]
            fn pairs(self, chunks: &[[u8; 64]; 8]) -> [[__m512i; 4]; 2] {
                // SAFETY: `self` is the proof; each read is of an array of 64 bytes.
                unsafe {
                    let reverse = _mm512_broadcast_i32x4(_mm_setr_epi8(
                        7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8,
                    ));
                    let mut rows = [_mm512_setzero_si512(); 8];
                    for lane in 0..8 {
                        let bytes = _mm512_loadu_si512(chunks[lane].as_ptr().cast());
                        rows[lane] = _mm512_shuffle_epi8(bytes, reverse);
                    }
                    // A row is a₃ a₂ a₁ a₀ b₃ b₂ b₁ b₀. Unpacking two rows gives words 0, 2, 4, 6 (or 1, 3, 5, 7) of
                    // both, 128 bits a word; two rounds of choosing such parts bring equal words together.
                    let mut words = [_mm512_setzero_si512(); 8];
                    for parity in 0..2 {
                        let mut parts = [_mm512_setzero_si512(); 4];
                        for two in 0..4 {
                            parts[two] = if parity == 0 {
                                _mm512_unpacklo_epi64(rows[2 * two], rows[2 * two + 1])
                            } else {
                                _mm512_unpackhi_epi64(rows[2 * two], rows[2 * two + 1])
                            };
                        }
                        let front = [
                            _mm512_shuffle_i64x2::<0x88>(parts[0], parts[1]),
                            _mm512_shuffle_i64x2::<0xdd>(parts[0], parts[1]),
                        ];
                        let back = [
                            _mm512_shuffle_i64x2::<0x88>(parts[2], parts[3]),
                            _mm512_shuffle_i64x2::<0xdd>(parts[2], parts[3]),
                        ];
                        words[parity] = _mm512_shuffle_i64x2::<0x88>(front[0], back[0]);
                        words[4 + parity] = _mm512_shuffle_i64x2::<0xdd>(front[0], back[0]);
                        words[2 + parity] = _mm512_shuffle_i64x2::<0x88>(front[1], back[1]);
                        words[6 + parity] = _mm512_shuffle_i64x2::<0xdd>(front[1], back[1]);
                    }
                    [
                        [words[3], words[2], words[1], words[0]],
                        [words[7], words[6], words[5], words[4]],
                    ]
                }
            }
        }
    };
}

lanes!(Avx512, enter_avx512);
lanes!(Ifma, enter_ifma);

const MASK_52: u64 = (1 << 52) - 1;
/// 2⁵² as a double.
const TWO_52: u64 = (1023 + 52) << 52;
/// 2¹⁰⁴ as a double.
const TWO_104: u64 = (1023 + 104) << 52;
/// 2¹⁰⁴ + 2⁵² as a double.
const TWO_104_AND_52: u64 = TWO_104 | 1;

impl Avx512 {
    /// The low 52 bits of each number as a double: under the exponent of 2⁵² they are worth themselves and 2⁵².
    #[inline(always)]
    fn double(self, a: __m512i) -> __m512d {
        // SAFETY: `self` is the proof.
        unsafe {
            let under = _mm512_or_si512(self.and(a, self.splat(MASK_52)), self.splat(TWO_52));
            _mm512_sub_pd(_mm512_castsi512_pd(under), _mm512_castsi512_pd(self.splat(TWO_52)))
        }
    }

    #[inline(always)]
    fn high(self, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: `self` is the proof.
        unsafe {
            _mm512_fmadd_round_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(
                a,
                b,
                _mm512_castsi512_pd(self.splat(TWO_104)),
            )
        }
    }
}

impl Multiply52<8> for Avx512 {
    #[inline(always)]
    fn add_low(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        let (a, b) = (self.double(a), self.double(b));
        let high = self.high(a, b);
        // SAFETY: `self` is the proof.
        let low = unsafe {
            let rest = _mm512_sub_pd(_mm512_castsi512_pd(self.splat(TWO_104_AND_52)), high);
            _mm512_castpd_si512(_mm512_fmadd_pd(a, b, rest))
        };
        // The exponent is taken off as a number, so that the compiler gathers the constants of a column.
        self.add(sum, self.sub(low, self.splat(TWO_52)))
    }

    #[inline(always)]
    fn add_high(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        let high = self.high(self.double(a), self.double(b));
        // SAFETY: `self` is the proof.
        let high = unsafe { _mm512_castpd_si512(high) };
        self.add(sum, self.sub(high, self.splat(TWO_104)))
    }

    #[inline(always)]
    fn look_up(self, table: &[u64; 8], index: __m512i) -> __m512i {
        // SAFETY: `self` is the proof; reads the 64 bytes of the array.
        unsafe { _mm512_permutexvar_epi64(index, _mm512_loadu_si512(table.as_ptr().cast())) }
    }
}

impl Multiply52<8> for Ifma {
    #[inline(always)]
    fn add_low(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` is the proof.
        unsafe { _mm512_madd52lo_epu64(sum, a, b) }
    }

    #[inline(always)]
    fn add_high(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` is the proof.
        unsafe { _mm512_madd52hi_epu64(sum, a, b) }
    }

    #[inline(always)]
    fn look_up(self, table: &[u64; 8], index: __m512i) -> __m512i {
        // SAFETY: `self` is the proof; reads the 64 bytes of the array.
        unsafe { _mm512_permutexvar_epi64(index, _mm512_loadu_si512(table.as_ptr().cast())) }
    }
}
