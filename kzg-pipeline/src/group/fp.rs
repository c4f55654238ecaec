//! This file knows arithmetic modulo p, the field of the curve, by 52-bit products, many numbers at a time.
//!
//! A number is eight limbs of 52 bits in Montgomery's form with 2⁴¹⁶. As p has 381 bits, 2⁴¹⁶ ≈ 2³⁵·³·p. There is room
//! enough that sums and differences are never reduced. A product of two numbers below 2¹⁴·p is again below 1.02·p, and
//! so is a sum of two products that is reduced once:
//!
//! ```text
//!   (a·b + c·d + m·p)/2⁴¹⁶ < (2·2²⁸·p/2⁴¹⁶ + 1)·p < (1 + 2⁻⁶·³)·p               m < 2⁴¹⁶
//! ```
//!
//! What must be kept instead is *tightness*. The processor reads the low 52 bits of a factor only, so limbs of factors
//! must be below 2⁵². A [`Loose`] number is one before its carries; [`Loose::tight`] carries. In a `Loose` number made
//! from tight ones
//!
//! - each limb stands for at most 15 of them added (below 2⁵⁶), and at most 15 taken off, of products only (each below
//!   1.02·p);
//! - [`BIAS`], a multiple of p near 1024·p with limbs near 2⁵⁶, is added before anything is taken off, so no limb goes
//!   below zero;
//! - so a number made of products is below 1024·p + 17·p. A sum of such numbers and products, without a product in
//!   between, stays below 2¹⁴·p: twelve times one (`sums.rs`), or one with the bias once more (`membership.rs`).
//!   Nothing larger is made.

#![allow(
    clippy::needless_range_loop,
    clippy::manual_memcpy,
    reason = "limbs of several numbers go together"
)]

use crate::simd::{Group, Multiply52, VectorUnit, Work, cut, join};

/// Limbs of a number.
pub const LIMBS: usize = 8;
/// Bits of a limb.
const BITS: u32 = 52;
const MASK: u64 = (1 << BITS) - 1;

/// A number below 2³⁸⁴ in 64-bit words, lowest first.
pub type Words = [u64; 6];

/// p, the order of the field of coordinates.
pub const P: Words = [
    0xb9fe_ffff_ffff_aaab,
    0x1eab_fffe_b153_ffff,
    0x6730_d2a0_f6b0_f624,
    0x6477_4b84_f385_12bf,
    0x4b1b_a7b6_434b_acd7,
    0x1a01_11ea_397f_e69a,
];

const P_LIMBS: [u64; LIMBS] = cut::<BITS, 6, LIMBS>(&P);

/// −p⁻¹ modulo 2⁵², for Montgomery's reduction.
const P_NEGATIVE_INVERSE: u64 = {
    // Newton's iteration doubles the number of right bits: 3, 6, 12, 24, 48, 96.
    let mut inverse = P[0];
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(P[0].wrapping_mul(inverse)));
        round += 1;
    }
    assert!(inverse.wrapping_mul(P[0]) == 1);
    inverse.wrapping_neg() & MASK
};

/// 1024·p with 2⁵⁶ borrowed by every limb but the top one from the limb above.
const BIAS: [u64; LIMBS] = {
    let mut bias = [0; LIMBS];
    let (mut at, mut carry) = (0, 0);
    while at < LIMBS {
        let sum = P_LIMBS[at] * 1024 + carry;
        bias[at] = if at + 1 < LIMBS { sum & MASK } else { sum };
        carry = sum >> BITS;
        at += 1;
    }
    let mut at = 0;
    while at + 1 < LIMBS {
        bias[at] += 1 << 56;
        bias[at + 1] -= 1 << 4;
        at += 1;
    }
    // Fifteen products, each below 1.02·p, leave the top limb above zero.
    assert!(bias[LIMBS - 1] > 16 * (P_LIMBS[LIMBS - 1] + 1));
    bias
};

/// The power 2^exponent modulo p.
pub const fn power_of_two(exponent: usize) -> Words {
    let mut power: Words = [1, 0, 0, 0, 0, 0];
    let mut doublings = 0;
    while doublings < exponent {
        power = twice(&power);
        doublings += 1;
    }
    power
}

/// Twice a number below p, modulo p.
pub const fn twice(words: &Words) -> Words {
    // p is below 2³⁸¹, so nothing is shifted out.
    let mut sum = *words;
    let mut at = 5;
    while at > 0 {
        sum[at] = sum[at] << 1 | sum[at - 1] >> 63;
        at -= 1;
    }
    sum[0] <<= 1;
    minus_p_if_at_least(&sum)
}

/// `a − b` modulo 2³⁸⁴, and whether it went below zero.
pub const fn subtract(a: &Words, b: &Words) -> (Words, bool) {
    let mut difference = [0; 6];
    let (mut at, mut borrow) = (0, false);
    while at < 6 {
        let (part, first) = a[at].overflowing_sub(b[at]);
        let (part, second) = part.overflowing_sub(borrow as u64);
        difference[at] = part;
        borrow = first || second;
        at += 1;
    }
    (difference, borrow)
}

/// The canonical number, of one below 2p.
pub const fn minus_p_if_at_least(words: &Words) -> Words {
    let (difference, below) = subtract(words, &P);
    if below { *words } else { difference }
}

/// A constant of the field, in every lane, in whatever form its words are.
pub const fn limbs_of(words: &Words) -> [u64; LIMBS] {
    cut::<BITS, 6, LIMBS>(words)
}

/// The canonical words of a lane of a product.
pub fn canonical<const N: usize>(group: &Group<N, LIMBS>, lane: usize) -> Words {
    // A product is below 1.02·p, so its top limb has 17 bits and its words are all there is.
    minus_p_if_at_least(&join::<BITS, LIMBS, 6>(&group.lane(lane)))
}

/// `N` tight numbers below 2¹⁴·p.
#[derive(Clone, Copy)]
pub struct Number<V>([V; LIMBS]);

/// `N` numbers before their carries.
#[derive(Clone, Copy)]
pub struct Loose<V>([V; LIMBS]);

impl<V: Copy> Number<V> {
    #[inline(always)]
    pub fn load<const N: usize, L: VectorUnit<N, Vector = V>>(lanes: L, group: &Group<N, LIMBS>) -> Self {
        Self(group.load(lanes))
    }

    /// The same number in every lane.
    #[inline(always)]
    pub fn splat<const N: usize, L: VectorUnit<N, Vector = V>>(lanes: L, limbs: &[u64; LIMBS]) -> Self {
        let mut number = [lanes.splat(0); LIMBS];
        for limb in 0..LIMBS {
            number[limb] = lanes.splat(limbs[limb]);
        }
        Self(number)
    }

    #[inline(always)]
    pub fn store<const N: usize, L: VectorUnit<N, Vector = V>>(&self, lanes: L, group: &mut Group<N, LIMBS>) {
        group.store(lanes, &self.0);
    }

    /// The product, in a function of its own: a formula of the curve is a dozen of them.
    #[inline(always)]
    pub fn times<const N: usize, L: Multiply52<N, Vector = V>>(&self, lanes: L, other: &Self) -> Self {
        lanes.enter(Product(self, other))
    }

    /// `self·other + third·fourth`, reduced once.
    #[inline(always)]
    pub fn times_and<const N: usize, L: Multiply52<N, Vector = V>>(
        &self,
        lanes: L,
        other: &Self,
        third: &Self,
        fourth: &Self,
    ) -> Self {
        lanes.enter(TwoProducts([self, other, third, fourth]))
    }

    /// The square: 36 products of limbs instead of 64.
    #[inline(always)]
    pub fn squared<const N: usize, L: Multiply52<N, Vector = V>>(&self, lanes: L) -> Self {
        lanes.enter(Square(self))
    }

    /// This number `times` times, `times` at most 15, to add to and to take from.
    #[inline(always)]
    pub fn sum<const N: usize, L: VectorUnit<N, Vector = V>>(&self, lanes: L, times: u64) -> Loose<V> {
        let mut sum = self.0;
        for limb in 0..LIMBS {
            sum[limb] = multiple(lanes, sum[limb], times);
        }
        Loose(sum)
    }
}

impl<V: Copy> Loose<V> {
    #[inline(always)]
    pub fn plus<const N: usize, L: VectorUnit<N, Vector = V>>(mut self, lanes: L, number: &Number<V>) -> Self {
        for limb in 0..LIMBS {
            self.0[limb] = lanes.add(self.0[limb], number.0[limb]);
        }
        self
    }

    /// Makes room to take products off, once.
    #[inline(always)]
    pub fn biased<const N: usize, L: VectorUnit<N, Vector = V>>(mut self, lanes: L) -> Self {
        for limb in 0..LIMBS {
            self.0[limb] = lanes.add(self.0[limb], lanes.splat(BIAS[limb]));
        }
        self
    }

    /// Minus a product, `times` times.
    #[inline(always)]
    pub fn minus<const N: usize, L: VectorUnit<N, Vector = V>>(
        mut self,
        lanes: L,
        product: &Number<V>,
        times: u64,
    ) -> Self {
        for limb in 0..LIMBS {
            self.0[limb] = lanes.sub(self.0[limb], multiple(lanes, product.0[limb], times));
        }
        self
    }

    /// Does the carries, so that each limb is below 2⁵².
    #[inline(always)]
    pub fn tight<const N: usize, L: VectorUnit<N, Vector = V>>(self, lanes: L) -> Number<V> {
        let mut limbs = self.0;
        let mask = lanes.splat(MASK);
        for limb in 0..LIMBS - 1 {
            limbs[limb + 1] = lanes.add(limbs[limb + 1], lanes.down(limbs[limb], BITS));
            limbs[limb] = lanes.and(limbs[limb], mask);
        }
        Number(limbs)
    }
}

/// A small multiple of a limb, by shifts: `times` is a constant once inlined.
#[inline(always)]
fn multiple<const N: usize, L: VectorUnit<N>>(lanes: L, limb: L::Vector, times: u64) -> L::Vector {
    match times {
        1 => limb,
        2 => lanes.add(limb, limb),
        3 => lanes.add(limb, lanes.add(limb, limb)),
        4 => lanes.up(limb, 2),
        8 => lanes.up(limb, 3),
        12 => lanes.add(lanes.up(limb, 3), lanes.up(limb, 2)),
        _ => unreachable!("a multiple that no formula here has"),
    }
}

struct Product<'a, V>(&'a Number<V>, &'a Number<V>);

impl<const N: usize, L: Multiply52<N>> Work<N, L> for Product<'_, L::Vector> {
    type Output = Number<L::Vector>;

    #[inline(always)]
    fn work(self, lanes: L) -> Number<L::Vector> {
        let Self(Number(a), Number(b)) = self;
        let columns = [lanes.splat(0); LIMBS + 1];
        // Written out, as the compiler would leave a loop of eight such rows a loop, and the columns in memory.
        let columns = product_row(lanes, columns, a, b[0]);
        let columns = product_row(lanes, columns, a, b[1]);
        let columns = product_row(lanes, columns, a, b[2]);
        let columns = product_row(lanes, columns, a, b[3]);
        let columns = product_row(lanes, columns, a, b[4]);
        let columns = product_row(lanes, columns, a, b[5]);
        let columns = product_row(lanes, columns, a, b[6]);
        let columns = product_row(lanes, columns, a, b[7]);
        finish(lanes, &columns)
    }
}

struct TwoProducts<'a, V>([&'a Number<V>; 4]);

impl<const N: usize, L: Multiply52<N>> Work<N, L> for TwoProducts<'_, L::Vector> {
    type Output = Number<L::Vector>;

    #[inline(always)]
    fn work(self, lanes: L) -> Number<L::Vector> {
        let [Number(a), Number(b), Number(c), Number(d)] = self.0;
        let columns = [lanes.splat(0); LIMBS + 1];
        let columns = two_products_row(lanes, columns, [a, c], [b[0], d[0]]);
        let columns = two_products_row(lanes, columns, [a, c], [b[1], d[1]]);
        let columns = two_products_row(lanes, columns, [a, c], [b[2], d[2]]);
        let columns = two_products_row(lanes, columns, [a, c], [b[3], d[3]]);
        let columns = two_products_row(lanes, columns, [a, c], [b[4], d[4]]);
        let columns = two_products_row(lanes, columns, [a, c], [b[5], d[5]]);
        let columns = two_products_row(lanes, columns, [a, c], [b[6], d[6]]);
        let columns = two_products_row(lanes, columns, [a, c], [b[7], d[7]]);
        finish(lanes, &columns)
    }
}

/// Adds two limbs, each times a number, and reduces by a limb. Here and below, both halves of a product are added one
/// after the other. By doubles, the low half is made of the high one. Otherwise the high one would be kept in memory
/// until all low halves are done.
#[inline(always)]
fn two_products_row<const N: usize, L: Multiply52<N>>(
    lanes: L,
    mut columns: [L::Vector; LIMBS + 1],
    [a, c]: [&[L::Vector; LIMBS]; 2],
    [b, d]: [L::Vector; 2],
) -> [L::Vector; LIMBS + 1] {
    for limb in 0..LIMBS {
        columns[limb] = lanes.add_low(columns[limb], a[limb], b);
        columns[limb + 1] = lanes.add_high(columns[limb + 1], a[limb], b);
    }
    product_row(lanes, columns, c, d)
}

/// Adds a limb times a number, and reduces by a limb.
#[inline(always)]
fn product_row<const N: usize, L: Multiply52<N>>(
    lanes: L,
    mut columns: [L::Vector; LIMBS + 1],
    a: &[L::Vector; LIMBS],
    b: L::Vector,
) -> [L::Vector; LIMBS + 1] {
    for limb in 0..LIMBS {
        columns[limb] = lanes.add_low(columns[limb], a[limb], b);
        columns[limb + 1] = lanes.add_high(columns[limb + 1], a[limb], b);
    }
    step(lanes, columns)
}

struct Square<'a, V>(&'a Number<V>);

impl<const N: usize, L: Multiply52<N>> Work<N, L> for Square<'_, L::Vector> {
    type Output = Number<L::Vector>;

    /// a² = Σᵢ aᵢ² + Σᵢ aᵢ·2·(the limbs above i): 36 pairs instead of 64. The doubled limbs above i are those of 2a,
    /// but for the lowest of them, which takes no carry. The bit that doubling pushes past 52 is in the next limb;
    /// products do not read it. Row i adds to places from 2i on, so it is early enough when the reduction has come to
    /// place i.
    #[inline(always)]
    fn work(self, lanes: L) -> Number<L::Vector> {
        let Self(Number(a)) = self;
        let (mut plain, mut carried) = (*a, *a);
        for limb in 1..LIMBS {
            plain[limb] = lanes.low_52(lanes.add(a[limb], a[limb]));
            carried[limb] = lanes.or(plain[limb], lanes.down(a[limb - 1], BITS - 1));
        }
        let columns = [lanes.splat(0); LIMBS + 1];
        let columns = square_row::<0, N, L>(lanes, columns, a, &plain, &carried);
        let columns = square_row::<1, N, L>(lanes, columns, a, &plain, &carried);
        let columns = square_row::<2, N, L>(lanes, columns, a, &plain, &carried);
        let columns = square_row::<3, N, L>(lanes, columns, a, &plain, &carried);
        let columns = square_row::<4, N, L>(lanes, columns, a, &plain, &carried);
        let columns = square_row::<5, N, L>(lanes, columns, a, &plain, &carried);
        let columns = square_row::<6, N, L>(lanes, columns, a, &plain, &carried);
        let columns = square_row::<7, N, L>(lanes, columns, a, &plain, &carried);
        finish(lanes, &columns)
    }
}

/// Adds what limb `ROW` has to do with itself and the limbs above, and reduces by a limb.
#[inline(always)]
fn square_row<const ROW: usize, const N: usize, L: Multiply52<N>>(
    lanes: L,
    mut columns: [L::Vector; LIMBS + 1],
    a: &[L::Vector; LIMBS],
    plain: &[L::Vector; LIMBS],
    carried: &[L::Vector; LIMBS],
) -> [L::Vector; LIMBS + 1] {
    columns[ROW] = lanes.add_low(columns[ROW], a[ROW], a[ROW]);
    columns[ROW + 1] = lanes.add_high(columns[ROW + 1], a[ROW], a[ROW]);
    for limb in ROW + 1..LIMBS {
        let doubled = if limb == ROW + 1 { plain[limb] } else { carried[limb] };
        columns[limb] = lanes.add_low(columns[limb], a[ROW], doubled);
        columns[limb + 1] = lanes.add_high(columns[limb + 1], a[ROW], doubled);
    }
    step(lanes, columns)
}

/// One step of Montgomery's reduction: adds the multiple of p that clears the lowest limb, and moves down by one limb.
#[inline(always)]
fn step<const N: usize, L: Multiply52<N>>(lanes: L, columns: [L::Vector; LIMBS + 1]) -> [L::Vector; LIMBS + 1] {
    let m = lanes.add_low(
        lanes.splat(0),
        lanes.low_52(columns[0]),
        lanes.splat(P_NEGATIVE_INVERSE),
    );
    // The low half of m·p₀ is what column₀ lacks to the next multiple of 2⁵²: the carry is a rounding up.
    let over = lanes.down(lanes.add(columns[0], lanes.splat(MASK)), BITS);
    let mut moved = [lanes.splat(0); LIMBS + 1];
    moved[0] = lanes.add(columns[1], over);
    for limb in 2..LIMBS + 1 {
        moved[limb - 1] = columns[limb];
    }
    moved[0] = lanes.add_high(moved[0], m, lanes.splat(P_LIMBS[0]));
    for limb in 1..LIMBS {
        moved[limb - 1] = lanes.add_low(moved[limb - 1], m, lanes.splat(P_LIMBS[limb]));
        moved[limb] = lanes.add_high(moved[limb], m, lanes.splat(P_LIMBS[limb]));
    }
    moved
}

/// The columns of a whole product, each below 2⁵⁸, with carries done.
#[inline(always)]
fn finish<const N: usize, L: Multiply52<N>>(lanes: L, columns: &[L::Vector; LIMBS + 1]) -> Number<L::Vector> {
    let mut limbs = [lanes.splat(0); LIMBS];
    for limb in 0..LIMBS {
        limbs[limb] = columns[limb];
    }
    Loose(limbs).tight(lanes)
}

#[cfg(test)]
mod tests;
