//! This file knows how to fold a polynomial four pairs at a time with AVX2's 32-bit products.
//!
//! A number is nine limbs of 29 bits, one vector a limb, one pair a lane. `vpmuludq` multiplies four pairs of 32-bit numbers into
//! 64 bits; nine products of limbs fit in 64 bits together, so columns are summed without looking at carries, which are the
//! bottleneck of 64-bit code. 9·29 = 261 bits leave room above r (255 bits): 2²⁶¹ ≈ 70.6·r, so sums need no correction either.
//!
//! Bounds, with a *tight* number having limbs below 2²⁹ (the value follows from the limbs below 2²⁶¹):
//!
//! ```text
//!   a, b          tight, below 1.1·r + (level 0: canonical)
//!   U = a − b + K        K = 4r written with limbs in [2²⁹ − 1, 2³⁰), so that no limb goes below zero; limbs < 1.5·2³⁰, U < 5.1·r
//!   T = U·v⁻¹            Montgomery with 2²⁶¹: < 5.1·r·r/2²⁶¹ + r < 1.1·r; columns < 9·1.5·2⁵⁹ + 9·2⁵⁸ + a carry < 2⁶⁴
//!   S = Σⱼ Tⱼ·z₍ⱼ₎, one step  < 9·2²⁹·r/2²⁹ + r = 10r; columns < 9·2⁵⁸ + 2⁵⁸
//!   V = S + a + b        < 12.2·r
//!   V − q·r              q from the top limb of V and a reciprocal: never above V/r, and V/r − q < 1 + 2⁻¹⁸; so < 1.1·r
//! ```

use std::arch::x86_64::*;

use ultramarine_types::limits::BLOB_BYTES;

use crate::field::{Fr, Limbs, R};

/// Limbs of a number.
const LIMBS: usize = 9;
/// Bits of a limb.
const BITS: u32 = 29;
/// Pairs folded at a time.
pub const LANES: usize = 4;
const MASK: u64 = (1 << BITS) - 1;

/// Proof that this processor has AVX2.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, if it has it.
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

/// A number in limbs of 29 bits, lowest first.
type Narrow = [u32; LIMBS];

/// Four numbers, one a lane; 64 bits a limb so that products may be read as they are.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub struct Quad([[u64; LANES]; LIMBS]);

impl Quad {
    /// Four zeros.
    pub const ZERO: Self = Self([[0; LANES]; LIMBS]);

    /// Four numbers.
    pub fn of(numbers: [&Limbs; LANES]) -> Self {
        let mut quad = Self::ZERO;
        for (lane, number) in numbers.into_iter().enumerate() {
            for (limb, place) in to_narrow(number).into_iter().zip(&mut quad.0) {
                place[lane] = u64::from(limb);
            }
        }
        quad
    }

    /// One of the four; its value is below 2²⁵⁶.
    pub fn lane(&self, lane: usize) -> Limbs {
        let mut limbs = [0u64; 4];
        for (position, limb) in self.0.iter().enumerate() {
            let bit = position * BITS as usize;
            limbs[bit / 64] |= limb[lane] << (bit % 64);
            if bit % 64 + BITS as usize > 64 && bit / 64 + 1 < 4 {
                limbs[bit / 64 + 1] |= limb[lane] >> (64 - bit % 64);
            }
        }
        limbs
    }
}

/// A factor made ready: c·2^(29(j+1)) mod r for each limb position j, each limb in all lanes.
#[derive(Clone, Copy)]
pub struct Prepared([Quad; LIMBS]);

impl Prepared {
    /// Of a factor.
    pub fn of(factor: &Fr) -> Self {
        let step = Fr::small(1 << BITS).in_montgomery_form();
        let mut factor = *factor;
        let mut rows = [Quad::ZERO; LIMBS];
        for row in &mut rows {
            factor = factor.montgomery(&step);
            row.0 = to_narrow(factor.limbs()).map(|limb| [u64::from(limb); LANES]);
        }
        Self(rows)
    }
}

/// Four factors in Montgomery's form with 2²⁶¹.
pub fn montgomery_quad(factors: [&Fr; LANES]) -> Quad {
    // 2²⁶¹ = 2⁵ · 2²⁵⁶.
    let form = factors.map(|factor| factor.in_montgomery_form().mul(&Fr::small(32)));
    Quad::of([form[0].limbs(), form[1].limbs(), form[2].limbs(), form[3].limbs()])
}

const fn to_narrow(limbs: &Limbs) -> Narrow {
    let mut narrow = [0; LIMBS];
    let mut position = 0;
    while position < LIMBS {
        let bit = position * BITS as usize;
        let mut limb = limbs[bit / 64] >> (bit % 64);
        if bit % 64 + BITS as usize > 64 && bit / 64 + 1 < 4 {
            limb |= limbs[bit / 64 + 1] << (64 - bit % 64);
        }
        narrow[position] = (limb & MASK) as u32;
        position += 1;
    }
    narrow
}

/// r.
const R_NARROW: Narrow = to_narrow(&R);
/// r is 1 modulo 2²⁹, so −r⁻¹ is −1: the multiple that clears a lowest limb is its negative.
const _: () = assert!(R_NARROW[0] == 1);

/// 4r with every limb but the top one in [2²⁹ − 1, 2³⁰).
const FOUR_R_LOOSE: Narrow = {
    let mut loose = [0u64; LIMBS];
    let mut carry = 0u64;
    let mut at = 0;
    while at < LIMBS {
        let sum = 4 * R_NARROW[at] as u64 + carry;
        loose[at] = if at + 1 < LIMBS { sum & MASK } else { sum };
        carry = sum >> BITS;
        at += 1;
    }
    // Borrow one from each limb for the limb below it.
    let mut at = 0;
    while at + 1 < LIMBS {
        loose[at] += 1 << BITS;
        loose[at + 1] -= 1;
        at += 1;
    }
    let mut narrow = [0u32; LIMBS];
    let mut at = 0;
    while at < LIMBS {
        assert!(loose[at] < 1 << 30);
        narrow[at] = loose[at] as u32;
        at += 1;
    }
    narrow
};

/// 2²⁶¹ − r: adding q of it and dropping what passes 2²⁶¹ takes off q·r.
const COMPLEMENT: Narrow = {
    let mut complement = [0u32; LIMBS];
    let mut at = 0;
    while at < LIMBS {
        // The lowest limb of r is 1, so 2²⁹ − 1 there and the rest is bitwise.
        complement[at] = if at == 0 {
            MASK as u32
        } else {
            MASK as u32 - R_NARROW[at]
        };
        at += 1;
    }
    complement
};

/// ⌊2⁴⁴/(top limb of r + 1)⌋: q = top·this >> 44 is never above the true quotient.
const RECIPROCAL: u64 = (1 << 44) / (R_NARROW[LIMBS - 1] as u64 + 1);
const _: () = assert!(RECIPROCAL < 1 << 32);

/// A vector of 64-bit lanes for each limb.
type Vectors = [__m256i; LIMBS];

/// The first fold: pairs from a blob's bytes, four at a time. Whether every element is surely canonical; `false` asks for an
/// exact look. `inverses` and `values` hold one quad for each four pairs.
pub fn fold_blob(avx2: Avx2, blob: &[u8; BLOB_BYTES], inverses: &[Quad], z: &Prepared, values: &mut [Quad]) -> bool {
    let Avx2(()) = avx2;
    // SAFETY: an `Avx2` exists only where the instructions do.
    unsafe { fold_blob_avx2(blob, inverses, z, values) }
}

/// A later fold, in place: the first half of `values` from all of them. `inverses` has one quad for each two quads of values.
///
/// Values lie in their order, four to a quad, so the pairs of two quads are their even and odd lanes.
pub fn fold_values(avx2: Avx2, values: &mut [Quad], inverses: &[Quad], z: &Prepared) {
    let Avx2(()) = avx2;
    assert_eq!(values.len(), 2 * inverses.len(), "two quads fold to one");
    // SAFETY: an `Avx2` exists only where the instructions do.
    unsafe { fold_values_avx2(values, inverses, z) }
}

#[target_feature(enable = "avx2")]
fn fold_blob_avx2(blob: &[u8; BLOB_BYTES], inverses: &[Quad], z: &Prepared, values: &mut [Quad]) -> bool {
    let (groups, _) = blob.as_chunks::<{ 2 * LANES * 32 }>();
    let bound = _mm256_set1_epi64x(R[3] as i64);
    // All ones where a top word is below r's as a signed number; the sign bits of all top words.
    let (mut below, mut signs) = (_mm256_set1_epi64x(-1), _mm256_setzero_si256());
    for ((group, inverse), value) in groups.iter().zip(inverses).zip(values) {
        let (elements, _) = group.as_chunks::<32>();
        let (a, a_top) = load([&elements[0], &elements[2], &elements[4], &elements[6]]);
        let (b, b_top) = load([&elements[1], &elements[3], &elements[5], &elements[7]]);
        for top in [a_top, b_top] {
            below = _mm256_and_si256(below, _mm256_cmpgt_epi64(bound, top));
            signs = _mm256_or_si256(signs, top);
        }
        store(value, &fold(&a, &b, inverse, z));
    }
    _mm256_movemask_pd(_mm256_castsi256_pd(below)) == 0b1111 && _mm256_movemask_pd(_mm256_castsi256_pd(signs)) == 0
}

#[target_feature(enable = "avx2")]
fn fold_values_avx2(values: &mut [Quad], inverses: &[Quad], z: &Prepared) {
    for (index, inverse) in inverses.iter().enumerate() {
        let (first, second) = (&values[2 * index], &values[2 * index + 1]);
        let (mut a, mut b) = ([_mm256_setzero_si256(); LIMBS], [_mm256_setzero_si256(); LIMBS]);
        for limb in 0..LIMBS {
            let (one, two) = (vector(&first.0[limb]), vector(&second.0[limb]));
            // Even lanes of both and odd lanes of both, in the order 0, 2, 4, 6 and 1, 3, 5, 7.
            a[limb] = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpacklo_epi64(one, two));
            b[limb] = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpackhi_epi64(one, two));
        }
        let folded = fold(&a, &b, inverse, z);
        store(&mut values[index], &folded);
    }
}

/// `(a + b) + z·v⁻¹·(a − b)`; see the bounds above.
#[inline]
#[target_feature(enable = "avx2")]
fn fold(a: &Vectors, b: &Vectors, inverse: &Quad, z: &Prepared) -> Vectors {
    let mut difference = [_mm256_setzero_si256(); LIMBS];
    for limb in 0..LIMBS {
        let loose = _mm256_set1_epi64x(i64::from(FOUR_R_LOOSE[limb]));
        difference[limb] = _mm256_add_epi64(_mm256_sub_epi64(a[limb], b[limb]), loose);
    }
    let turned = montgomery(&difference, inverse);
    let mut sum = times(&turned, z);
    for limb in 0..LIMBS {
        sum[limb] = _mm256_add_epi64(sum[limb], _mm256_add_epi64(a[limb], b[limb]));
    }
    narrow(sum)
}

/// `a·b/2²⁶¹` modulo r, tight.
#[inline]
#[target_feature(enable = "avx2")]
fn montgomery(a: &Vectors, b: &Quad) -> Vectors {
    let mask = _mm256_set1_epi64x(MASK as i64);
    let mut columns = [_mm256_setzero_si256(); LIMBS];
    for row in 0..LIMBS {
        let factor = vector(&b.0[row]);
        for limb in 0..LIMBS {
            columns[limb] = _mm256_add_epi64(columns[limb], _mm256_mul_epu32(a[limb], factor));
        }
        columns = step(columns, mask);
    }
    carry(columns, mask)
}

/// `a·c` modulo r for the factor behind `c`, not tight: `a`'s limbs are below 2²⁹, the result's below 2⁶³.
#[inline]
#[target_feature(enable = "avx2")]
fn times(a: &Vectors, c: &Prepared) -> Vectors {
    let mask = _mm256_set1_epi64x(MASK as i64);
    let mut columns = [_mm256_setzero_si256(); LIMBS];
    for (part, factors) in a.iter().zip(&c.0) {
        for (column, factor) in columns.iter_mut().zip(&factors.0) {
            *column = _mm256_add_epi64(*column, _mm256_mul_epu32(*part, vector(factor)));
        }
    }
    step(columns, mask)
}

/// One step of Montgomery's reduction: adds the multiple of r that clears the lowest limb, and moves down by one limb.
#[inline]
#[target_feature(enable = "avx2")]
fn step(columns: Vectors, mask: __m256i) -> Vectors {
    // −r⁻¹ is −1 modulo 2²⁹, so m = −column₀, and m·r₀ = m clears the low bits by itself.
    let low = _mm256_and_si256(columns[0], mask);
    let m = _mm256_and_si256(_mm256_sub_epi64(_mm256_setzero_si256(), low), mask);
    let over = _mm256_srli_epi64::<29>(_mm256_add_epi64(columns[0], m));
    let mut moved = [_mm256_setzero_si256(); LIMBS];
    for limb in 1..LIMBS {
        let part = _mm256_set1_epi64x(i64::from(R_NARROW[limb]));
        moved[limb - 1] = _mm256_add_epi64(columns[limb], _mm256_mul_epu32(m, part));
    }
    moved[0] = _mm256_add_epi64(moved[0], over);
    moved
}

/// Tight limbs of a number whose value is below 2²⁶¹.
#[inline]
#[target_feature(enable = "avx2")]
fn carry(mut columns: Vectors, mask: __m256i) -> Vectors {
    for limb in 0..LIMBS - 1 {
        columns[limb + 1] = _mm256_add_epi64(columns[limb + 1], _mm256_srli_epi64::<29>(columns[limb]));
        columns[limb] = _mm256_and_si256(columns[limb], mask);
    }
    // What passes 2²⁶¹ is there on purpose: see `COMPLEMENT`.
    columns[LIMBS - 1] = _mm256_and_si256(columns[LIMBS - 1], mask);
    columns
}

/// The same residue, tight and little above r at most, of a number below 2²⁶¹.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow(columns: Vectors) -> Vectors {
    let mask = _mm256_set1_epi64x(MASK as i64);
    let mut tight = carry(columns, mask);
    let reciprocal = _mm256_set1_epi64x(RECIPROCAL as i64);
    let quotient = _mm256_srli_epi64::<44>(_mm256_mul_epu32(tight[LIMBS - 1], reciprocal));
    for limb in 0..LIMBS {
        let part = _mm256_set1_epi64x(i64::from(COMPLEMENT[limb]));
        tight[limb] = _mm256_add_epi64(tight[limb], _mm256_mul_epu32(quotient, part));
    }
    carry(tight, mask)
}

/// Four elements as limbs, and their highest 64-bit words.
#[inline]
#[target_feature(enable = "avx2")]
fn load(elements: [&[u8; 32]; LANES]) -> (Vectors, __m256i) {
    let reverse = _mm256_setr_epi8(
        7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8,
    );
    let mut rows = [_mm256_setzero_si256(); LANES];
    for (row, element) in rows.iter_mut().zip(elements) {
        // SAFETY: reads the 32 bytes of the array; the instruction needs no alignment.
        let bytes = unsafe { _mm256_loadu_si256(element.as_ptr().cast()) };
        *row = _mm256_shuffle_epi8(bytes, reverse);
    }
    // Rows are elements with words from the highest to the lowest; transpose to vectors of one word of each.
    let low = [
        _mm256_unpacklo_epi64(rows[0], rows[1]),
        _mm256_unpacklo_epi64(rows[2], rows[3]),
    ];
    let high = [
        _mm256_unpackhi_epi64(rows[0], rows[1]),
        _mm256_unpackhi_epi64(rows[2], rows[3]),
    ];
    let words = [
        _mm256_permute2x128_si256::<0x31>(high[0], high[1]),
        _mm256_permute2x128_si256::<0x31>(low[0], low[1]),
        _mm256_permute2x128_si256::<0x20>(high[0], high[1]),
        _mm256_permute2x128_si256::<0x20>(low[0], low[1]),
    ];
    let mask = _mm256_set1_epi64x(MASK as i64);
    let limbs = [
        words[0],
        _mm256_srli_epi64::<29>(words[0]),
        _mm256_or_si256(_mm256_srli_epi64::<58>(words[0]), _mm256_slli_epi64::<6>(words[1])),
        _mm256_srli_epi64::<23>(words[1]),
        _mm256_or_si256(_mm256_srli_epi64::<52>(words[1]), _mm256_slli_epi64::<12>(words[2])),
        _mm256_srli_epi64::<17>(words[2]),
        _mm256_or_si256(_mm256_srli_epi64::<46>(words[2]), _mm256_slli_epi64::<18>(words[3])),
        _mm256_srli_epi64::<11>(words[3]),
        _mm256_srli_epi64::<40>(words[3]),
    ];
    let mut masked = limbs;
    for limb in &mut masked {
        *limb = _mm256_and_si256(*limb, mask);
    }
    (masked, words[3])
}

#[inline]
#[target_feature(enable = "avx2")]
fn vector(lanes: &[u64; LANES]) -> __m256i {
    // SAFETY: reads the 32 bytes of the array; the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(quad: &mut Quad, vectors: &Vectors) {
    for (lanes, vector) in quad.0.iter_mut().zip(vectors) {
        // SAFETY: writes the 32 bytes of the array; the instruction needs no alignment.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), *vector) };
    }
}

#[cfg(test)]
mod tests;
