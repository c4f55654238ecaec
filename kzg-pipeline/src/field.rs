//! This file knows arithmetic modulo r, the order of the group: in portable code, fast where evaluation needs it.
//!
//! r has 255 bits: r ≈ 0.4528·2²⁵⁶, so four limbs hold any number below 2.208·r.
//!
//! There are two kinds of product. [`Fr::mul`] is Montgomery's, for products that are made a few times a blob. A
//! [`Prepared`] factor c is for those that are made thousands of times. With c₍ⱼ₎ = c·2^(64(j+1)) mod r held for each
//! limb position j,
//!
//! ```text
//!   a·c·2⁶⁴ ≡ Σⱼ aⱼ·c₍ⱼ₎          aⱼ the limbs of a: 16 word products, all at the same four positions
//!   a·c     ≡ (Σⱼ aⱼ·c₍ⱼ₎ + m·r)/2⁶⁴   one step of Montgomery's reduction, m chosen so that the lowest limb is zero
//! ```
//!
//! 16 + 1 + 4 word products instead of 36, and no conversion into Montgomery's form: a may be a blob's raw integer. The
//! result is below 4r + r = 5r, five limbs; [`narrow`] brings it back to four by taking off a multiple of r that it
//! looks up.

use crate::wellformed::MODULUS;

/// A number in four 64-bit limbs, lowest first.
pub type Limbs = [u64; 4];

/// r, the order of the group, lowest limb first.
pub const R: Limbs = [
    0xffff_ffff_0000_0001,
    0x53bd_a402_fffe_5bfe,
    0x3339_d808_09a1_d805,
    0x73ed_a753_299d_7d48,
];

/// −r⁻¹ modulo 2⁶⁴, for Montgomery's reduction.
const R_NEGATIVE_INVERSE: u64 = 0xffff_fffe_ffff_ffff;

/// 2²⁵⁶ modulo r: one in Montgomery's form.
const TWO_256: Limbs = [
    0x0000_0001_ffff_fffe,
    0x5884_b7fa_0003_4802,
    0x998c_4fef_ecbc_4ff5,
    0x1824_b159_acc5_056f,
];

/// 2r, to be added to a difference below zero.
const TWO_R: Limbs = [
    R[0] << 1,
    R[1] << 1 | R[0] >> 63,
    R[2] << 1 | R[1] >> 63,
    R[3] << 1 | R[2] >> 63,
];

const _: () = assert!(R[0].wrapping_mul(R_NEGATIVE_INVERSE) == u64::MAX);

/// A field element, always below r.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fr(Limbs);

impl Fr {
    pub const ZERO: Self = Self([0; 4]);
    pub const ONE: Self = Self([1, 0, 0, 0]);

    pub const fn small(value: u64) -> Self {
        Self([value, 0, 0, 0])
    }

    /// The number with these limbs modulo r.
    pub fn reduced(limbs: Limbs) -> Self {
        // 2²⁵⁶ < 3r, so two subtractions are enough.
        Self(minus_r_if_at_least(minus_r_if_at_least(limbs)))
    }

    /// A 256-bit big-endian number modulo r, as the specification's `hash_to_bls_field` takes a hash.
    pub fn from_hash(bytes: &[u8; 32]) -> Self {
        Self::reduced(limbs_of(bytes))
    }

    pub fn from_u128(value: u128) -> Self {
        Self([value as u64, (value >> 64) as u64, 0, 0])
    }

    /// The limbs of the canonical number, below r.
    pub const fn limbs(&self) -> &Limbs {
        &self.0
    }

    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        // Both are below r, so the sum is below 2²⁵⁶.
        Self(minus_r_if_at_least(add(&self.0, &other.0).0))
    }

    /// r minus this; zero for zero.
    #[must_use]
    pub fn negate(&self) -> Self {
        if *self == Self::ZERO {
            Self::ZERO
        } else {
            Self(sub(&R, &self.0).0)
        }
    }

    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        // Two steps of Montgomery: a·b/2²⁵⁶, then times 2⁵¹² / 2²⁵⁶.
        self.montgomery(other).montgomery(&Self::two_512())
    }

    /// The power, by squaring.
    #[must_use]
    pub fn power(&self, exponent: &Limbs) -> Self {
        let mut result = Self::ONE;
        for bit in (0..256).rev() {
            result = result.mul(&result);
            if exponent[bit / 64] >> (bit % 64) & 1 == 1 {
                result = result.mul(self);
            }
        }
        result
    }

    /// The inverse by Fermat; zero for zero. For tables, not for hot paths.
    #[must_use]
    pub fn inverse(&self) -> Self {
        self.power(&[R[0] - 2, R[1], R[2], R[3]])
    }

    /// Makes this factor ready for many products.
    pub fn prepare(&self) -> Prepared {
        let step = two_64_and_256();
        let mut factors = [[0; 4]; 4];
        let mut factor = *self;
        for digit in &mut factors {
            factor = factor.montgomery(&step);
            *digit = factor.0;
        }
        Prepared(factors)
    }

    /// `self · 2²⁵⁶` modulo r: Montgomery's form.
    #[must_use]
    pub fn in_montgomery_form(&self) -> Self {
        self.montgomery(&Self::two_512())
    }

    /// `self · other / 2²⁵⁶` modulo r.
    #[must_use]
    pub fn montgomery(&self, other: &Self) -> Self {
        let mut sum = [0u64; 5];
        for limb in self.0 {
            let mut carry = 0;
            for (digit, factor) in sum.iter_mut().zip(other.0) {
                (*digit, carry) = multiply_add(*digit, limb, factor, carry);
            }
            let (high, over) = sum[4].overflowing_add(carry);
            let m = sum[0].wrapping_mul(R_NEGATIVE_INVERSE);
            let (_, mut carry) = multiply_add(sum[0], m, R[0], 0);
            for digit in 1..4 {
                (sum[digit - 1], carry) = multiply_add(sum[digit], m, R[digit], carry);
            }
            let (high, over_again) = high.overflowing_add(carry);
            sum[3] = high;
            sum[4] = u64::from(over) + u64::from(over_again);
        }
        // Below 2r because both factors are below r, so the fifth limb is zero.
        Self(minus_r_if_at_least([sum[0], sum[1], sum[2], sum[3]]))
    }

    fn two_512() -> Self {
        static MADE: std::sync::OnceLock<Fr> = std::sync::OnceLock::new();
        *MADE.get_or_init(|| doubled(Self(TWO_256), 256))
    }
}

/// 2⁶⁴·2²⁵⁶ mod r: multiplying by it in Montgomery's way multiplies by 2⁶⁴.
fn two_64_and_256() -> Fr {
    static MADE: std::sync::OnceLock<Fr> = std::sync::OnceLock::new();
    *MADE.get_or_init(|| doubled(Fr(TWO_256), 64))
}

fn doubled(mut value: Fr, times: usize) -> Fr {
    for _ in 0..times {
        value = value.add(&value);
    }
    value
}

/// A factor that is ready for many products: c·2^(64(j+1)) mod r for j = 0..4.
#[derive(Clone, Copy, Debug)]
pub struct Prepared([Limbs; 4]);

/// A number in five limbs.
pub type Wide = [u64; 5];

/// How to multiply by a prepared factor: what differs between processors.
pub trait Multiply: Copy {
    /// `a·c` modulo r, below 5r, for the `c` behind `factor`; `a` is any four limbs.
    fn times(&self, factor: &Prepared, a: &Limbs) -> Wide;
}

/// By the compiler's own instructions.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Multiply for Portable {
    #[inline(always)]
    fn times(&self, factor: &Prepared, a: &Limbs) -> Wide {
        let mut sum = [0u64; 4];
        // Each row carries at most one limb out; four of them fit easily.
        let mut high = 0u128;
        for (limb, row) in a.iter().zip(&factor.0) {
            let mut carry = 0;
            for (digit, part) in sum.iter_mut().zip(row) {
                (*digit, carry) = multiply_add(*digit, *limb, *part, carry);
            }
            high = high.wrapping_add(u128::from(carry));
        }
        let m = sum[0].wrapping_mul(R_NEGATIVE_INVERSE);
        let (_, carry) = multiply_add(sum[0], m, R[0], 0);
        let (first, carry) = multiply_add(sum[1], m, R[1], carry);
        let (second, carry) = multiply_add(sum[2], m, R[2], carry);
        let (third, carry) = multiply_add(sum[3], m, R[3], carry);
        high = high.wrapping_add(u128::from(carry));
        [first, second, third, high as u64, (high >> 64) as u64]
    }
}

/// One multiple of r for each value of the top eight bits of a 258-bit number: ⌊i·2²⁵⁰/r⌋·r, low four limbs.
static MULTIPLES: [Limbs; 256] = multiples();

/// The same residue below r + 2²⁵⁰ (1.0345·r); `wide` is below 2²⁵⁸ (8.8·r).
///
/// With i = ⌊wide/2²⁵⁰⌋ and q = ⌊i·2²⁵⁰/r⌋, 0 ≤ wide − q·r < r + 2²⁵⁰; so the result fits four limbs, and the fifth
/// need not be computed.
#[inline(always)]
pub fn narrow(wide: &Wide) -> Limbs {
    debug_assert!(wide[4] < 4, "below 2^258");
    let index = (wide[4] << 6 | wide[3] >> 58) as usize & 255;
    sub(&[wide[0], wide[1], wide[2], wide[3]], &MULTIPLES[index]).0
}

const fn multiples() -> [Limbs; 256] {
    let mut table = [[0; 4]; 256];
    // q·r, and (q+1)·r in five limbs to compare with.
    let (mut multiple, mut next): (Wide, Wide) = ([0; 5], [R[0], R[1], R[2], R[3], 0]);
    let mut index = 0;
    while index < 256 {
        let bound: Wide = [0, 0, 0, (index as u64) << 58, (index as u64) >> 6];
        while at_least(&bound, &next) {
            multiple = next;
            next = plus_r(&next);
        }
        table[index] = [multiple[0], multiple[1], multiple[2], multiple[3]];
        index += 1;
    }
    table
}

const fn at_least(left: &Wide, right: &Wide) -> bool {
    let mut at = 5;
    while at > 0 {
        at -= 1;
        if left[at] != right[at] {
            return left[at] > right[at];
        }
    }
    true
}

const fn plus_r(value: &Wide) -> Wide {
    let mut sum = *value;
    let (mut at, mut carry) = (0, false);
    while at < 4 {
        let (part, first) = sum[at].overflowing_add(R[at]);
        let (part, second) = part.overflowing_add(carry as u64);
        sum[at] = part;
        carry = first || second;
        at += 1;
    }
    sum[4] += carry as u64;
    sum
}

/// `a + b` for a, b below 1.04·r: no carry, as the sum is below 2²⁵⁶.
#[inline(always)]
pub fn add_narrow(a: &Limbs, b: &Limbs) -> Limbs {
    let (sum, carry) = add(a, b);
    debug_assert!(!carry, "both are narrow");
    sum
}

/// `a − b` modulo r for a, b below 1.04·r: the difference, or that plus 2r if it is negative; below 2r.
#[inline(always)]
pub fn sub_narrow(a: &Limbs, b: &Limbs) -> Limbs {
    let (difference, borrow) = sub(a, b);
    let mask = u64::from(borrow).wrapping_neg();
    add(
        &difference,
        &[TWO_R[0] & mask, TWO_R[1] & mask, TWO_R[2] & mask, TWO_R[3] & mask],
    )
    .0
}

/// `wide + limbs`, which fits five limbs for what evaluation adds: below 5r + 2.1r.
#[inline(always)]
pub fn add_wide(wide: &Wide, limbs: &Limbs) -> Wide {
    let (sum, carry) = add(&[wide[0], wide[1], wide[2], wide[3]], limbs);
    [sum[0], sum[1], sum[2], sum[3], wide[4].wrapping_add(u64::from(carry))]
}

/// Whether the number is below r.
#[inline(always)]
pub fn is_canonical(limbs: &Limbs) -> bool {
    sub(limbs, &R).1
}

/// The limbs of 32 big-endian bytes.
#[inline(always)]
pub fn limbs_of(bytes: &[u8; 32]) -> Limbs {
    let (words, _) = bytes.as_chunks::<8>();
    [
        u64::from_be_bytes(words[3]),
        u64::from_be_bytes(words[2]),
        u64::from_be_bytes(words[1]),
        u64::from_be_bytes(words[0]),
    ]
}

fn minus_r_if_at_least(limbs: Limbs) -> Limbs {
    let (difference, below) = sub(&limbs, &R);
    if below { limbs } else { difference }
}

/// `accumulator + a·b + carry` as (low, high): at most (2⁶⁴−1)² + 2(2⁶⁴−1) = 2¹²⁸ − 1.
#[inline(always)]
fn multiply_add(accumulator: u64, a: u64, b: u64, carry: u64) -> (u64, u64) {
    let sum = u128::from(a)
        .wrapping_mul(u128::from(b))
        .wrapping_add(u128::from(accumulator))
        .wrapping_add(u128::from(carry));
    (sum as u64, (sum >> 64) as u64)
}

#[inline(always)]
fn add(a: &Limbs, b: &Limbs) -> (Limbs, bool) {
    let (first, carry) = a[0].overflowing_add(b[0]);
    let (second, carry) = carrying_add(a[1], b[1], carry);
    let (third, carry) = carrying_add(a[2], b[2], carry);
    let (fourth, carry) = carrying_add(a[3], b[3], carry);
    ([first, second, third, fourth], carry)
}

#[inline(always)]
fn sub(a: &Limbs, b: &Limbs) -> (Limbs, bool) {
    let (first, borrow) = a[0].overflowing_sub(b[0]);
    let (second, borrow) = borrowing_sub(a[1], b[1], borrow);
    let (third, borrow) = borrowing_sub(a[2], b[2], borrow);
    let (fourth, borrow) = borrowing_sub(a[3], b[3], borrow);
    ([first, second, third, fourth], borrow)
}

#[inline(always)]
fn carrying_add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

#[inline(always)]
fn borrowing_sub(a: u64, b: u64, borrow: bool) -> (u64, bool) {
    let (difference, first) = a.overflowing_sub(b);
    let (difference, second) = difference.overflowing_sub(u64::from(borrow));
    (difference, first | second)
}

/// r as bytes and r as limbs are one number.
const _: () = {
    let mut at = 0;
    while at < 32 {
        assert!(MODULUS[31 - at] == (R[at / 8] >> (8 * (at % 8))) as u8);
        at += 1;
    }
};

#[allow(unsafe_code)]
mod mulx;
pub use mulx::Mulx;

#[cfg(test)]
mod tests;
