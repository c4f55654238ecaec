//! This file knows which points of the curve are in the subgroup, many at a time, exactly.
//!
//! φ(x, y) = (βx, y), β³ = 1, satisfies φ² + φ + 1 = 0 on the whole curve, and multiplies points of the subgroup by
//! λ = u² − 1, where λ² + λ + 1 = r. A point P is in the subgroup exactly if [u²]P = −φ²(P) (Scott 2021):
//!
//! - in the subgroup, −φ²(P) = P + φ(P) = P + [u² − 1]P = [u²]P;
//! - if the equation holds anywhere, P + φ(P) = [u²]P, so φ(P) = [λ]P, φ²(P) = [λ²]P and 0 = [λ² + λ + 1]P = [r]P.
//!
//! [u²]P is [|u|][|u|]P: twice 63 doublings and 5 additions in Jacobian coordinates (X/Z², Y/Z³), Z = 0 for infinity.
//!
//! *Exceptional cases.* The addition formula is wrong for infinity and for equal points. But it gives Z = Z₁·Z₂·(a
//! factor that is zero for equal and for opposite points), and doubling gives Z = 2·Y·Z₁. So once Z is zero, it stays
//! zero. It becomes zero only where an addition meets a point that it is not made for, or where the sum is infinity.
//! For P of the subgroup, not infinity, neither happens. Both ladders add [k]P' and P' for 2 ≤ k < 2⁶⁴, where P' is P
//! or [|u|]P. As P' has the prime order r > 2²⁵⁴, [k]P' and [k ± 1]P' are not infinity. So P is refused if Z = 0,
//! rightly. If Z ≠ 0, no addition was exceptional and the result is [u²]P. (Doubling meets no point of order two: the
//! order of the curve is odd.) Infinity itself is judged before.

#![allow(clippy::needless_range_loop, reason = "lanes of several numbers go together")]

use super::fp::{LIMBS, Number, P, Words, limbs_of, power_of_two};
use crate::simd::{Group, Multiply52, Work};

/// β² for the β of λ, in Montgomery's form with 2⁴¹⁶.
pub type BetaSquared = [u64; LIMBS];

/// |u|, where u is the BLS parameter.
const PARAMETER: u64 = 0xd201_0000_0001_0000;

/// A constant that turns x·2³⁸⁴, blst's form, into x·2⁴¹⁶, ours: 2⁴⁴⁸ modulo p.
pub const FROM_BLST: [u64; LIMBS] = limbs_of(&power_of_two(448));

/// Coordinates of `N` affine points, in blst's form.
pub struct Affine<const N: usize> {
    pub x: Group<N, LIMBS>,
    pub y: Group<N, LIMBS>,
}

/// Judges `N` points of the curve, none of them infinity.
pub struct MembershipTest<'a, const N: usize>(pub &'a Affine<N>, pub &'a BetaSquared);

impl<const N: usize, L: Multiply52<N>> Work<N, L> for MembershipTest<'_, N> {
    type Output = [bool; N];

    #[inline(always)]
    fn work(self, lanes: L) -> [bool; N] {
        let from_blst = Number::splat(lanes, &FROM_BLST);
        let x = Number::load(lanes, &self.0.x).times(lanes, &from_blst);
        let y = Number::load(lanes, &self.0.y).times(lanes, &from_blst);
        let one = Number::splat(lanes, &limbs_of(&power_of_two(416)));
        let once = times_parameter(lanes, &Jacobian { x, y, z: one });
        let twice = times_parameter(lanes, &once);
        // X = β²·x·Z² and Y = −y·Z³.
        let z_squared = twice.z.squared(lanes);
        let z_cubed = z_squared.times(lanes, &twice.z);
        let image_x = x.times(lanes, &Number::splat(lanes, self.1)).times(lanes, &z_squared);
        let image_y = y.times(lanes, &z_cubed);
        let x_off = twice
            .x
            .sum(lanes, 1)
            .biased(lanes)
            .minus(lanes, &image_x, 1)
            .tight(lanes);
        let y_off = twice.y.sum(lanes, 1).plus(lanes, &image_y).tight(lanes);
        let [x_equal, y_equal, infinite] = [
            are_zero(lanes, &x_off),
            are_zero(lanes, &y_off),
            are_zero(lanes, &twice.z),
        ];
        let mut judged = [false; N];
        for lane in 0..N {
            judged[lane] = x_equal[lane] && y_equal[lane] && !infinite[lane];
        }
        judged
    }
}

/// Which numbers are zero modulo p.
#[inline(always)]
pub fn are_zero<const N: usize, L: Multiply52<N>>(lanes: L, number: &Number<L::Vector>) -> [bool; N] {
    // number/2⁴¹⁶ modulo p is (number + m·p)/2⁴¹⁶ with number < 2¹⁴·p and m < 2⁴¹⁶: an integer from 0 to p, so zero or
    // p for zero.
    let mut group = Group::ZERO;
    let mut one = [0; LIMBS];
    one[0] = 1;
    number
        .times(lanes, &Number::splat(lanes, &one))
        .store(lanes, &mut group);
    let p = limbs_of(&P);
    let mut zero = [false; N];
    for lane in 0..N {
        let limbs = group.lane(lane);
        zero[lane] = limbs == [0; LIMBS] || limbs == p;
    }
    zero
}

/// Points as (X/Z², Y/Z³).
struct Jacobian<V> {
    x: Number<V>,
    y: Number<V>,
    z: Number<V>,
}

/// [|u|]·point, from the highest bit down.
#[inline(always)]
fn times_parameter<const N: usize, L: Multiply52<N>>(lanes: L, point: &Jacobian<L::Vector>) -> Jacobian<L::Vector> {
    let z_squared = point.z.squared(lanes);
    let z_cubed = z_squared.times(lanes, &point.z);
    let mut sum = Jacobian { ..*point };
    for bit in (0..63).rev() {
        sum = doubled(lanes, &sum);
        if PARAMETER >> bit & 1 == 1 {
            sum = plus(lanes, &sum, point, &z_squared, &z_cubed);
        }
    }
    sum
}

/// dbl-2009-l of the Explicit-Formulas Database, with 4·X·B for its D/2. It takes off products only:
///
/// ```text
///   A = X²    B = Y²    F = (3A)²    S = X·B
///   X' = F − 8S    Y' = 3A·(4S − X') − 8B² = 3A·(12S − F) − 8B²    Z' = 2·Y·Z
/// ```
#[inline(always)]
fn doubled<const N: usize, L: Multiply52<N>>(lanes: L, point: &Jacobian<L::Vector>) -> Jacobian<L::Vector> {
    let slope = point.x.squared(lanes).sum(lanes, 3).tight(lanes);
    let b = point.y.squared(lanes);
    let z = point.y.times(lanes, &point.z).sum(lanes, 2).tight(lanes);
    let s = point.x.times(lanes, &b);
    let f = slope.squared(lanes);
    let b_squared = b.squared(lanes);
    let x = f.sum(lanes, 1).biased(lanes).minus(lanes, &s, 8).tight(lanes);
    let rest = s.sum(lanes, 12).biased(lanes).minus(lanes, &f, 1).tight(lanes);
    let y = slope.times(lanes, &rest).sum(lanes, 1).biased(lanes);
    let y = y.minus(lanes, &b_squared, 8).tight(lanes);
    Jacobian { x, y, z }
}

/// `left + right`, where `z_squared` and `z_cubed` are powers of the right one's z.
///
/// ```text
///   U = X₁Z₂²    S = Y₁Z₂³    H = U − X₂Z₁²    R = S − Y₂Z₁³    W = H³    V = U·H²
///   X' = R² + W − 2V    Y' = R·(V − X') − S·W    Z' = Z₁Z₂H
/// ```
///
/// H and R are the negatives of the textbook's, so that only products are taken off. (It makes Y and Z negative, which
/// is the same point.)
#[inline(always)]
fn plus<const N: usize, L: Multiply52<N>>(
    lanes: L,
    left: &Jacobian<L::Vector>,
    right: &Jacobian<L::Vector>,
    z_squared: &Number<L::Vector>,
    z_cubed: &Number<L::Vector>,
) -> Jacobian<L::Vector> {
    let left_squared = left.z.squared(lanes);
    let left_cubed = left_squared.times(lanes, &left.z);
    let u = left.x.times(lanes, z_squared);
    let s = left.y.times(lanes, z_cubed);
    let u_right = right.x.times(lanes, &left_squared);
    let s_right = right.y.times(lanes, &left_cubed);
    let h = u.sum(lanes, 1).biased(lanes).minus(lanes, &u_right, 1).tight(lanes);
    let r = s.sum(lanes, 1).biased(lanes).minus(lanes, &s_right, 1).tight(lanes);
    let h_squared = h.squared(lanes);
    let w = h_squared.times(lanes, &h);
    let v = u.times(lanes, &h_squared);
    let r_squared = r.squared(lanes);
    let x = r_squared.sum(lanes, 1).plus(lanes, &w).biased(lanes);
    let x = x.minus(lanes, &v, 2).tight(lanes);
    let rest = v.sum(lanes, 3).biased(lanes).minus(lanes, &r_squared, 1);
    let rest = rest.minus(lanes, &w, 1).tight(lanes);
    let y = r.times(lanes, &rest).sum(lanes, 1).biased(lanes);
    let y = y.minus(lanes, &s.times(lanes, &w), 1).tight(lanes);
    let z = left.z.times(lanes, &right.z).times(lanes, &h);
    Jacobian { x, y, z }
}

/// β² in our form, from canonical words in blst's form: times 2³².
pub fn beta_squared(words: &Words) -> BetaSquared {
    let mut words = *words;
    for _ in 0..32 {
        words = super::fp::twice(&words);
    }
    limbs_of(&words)
}
