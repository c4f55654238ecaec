//! This file knows how to read many compressed points at a time. The square roots take most of that time.
//!
//! y = (x³ + 4)^((p+1)/4) is a root if there is one, as p is 3 modulo 4; the square tells. The exponent has 379 bits:
//! 378 squarings and a product for each window of five bits that begins and ends with a one.

#![allow(clippy::needless_range_loop, reason = "lanes of several numbers go together")]

use super::fp::{LIMBS, Number, P, Words, canonical, limbs_of, minus_p_if_at_least, power_of_two, subtract};
use super::membership::are_zero;
use crate::simd::{Group, Multiply52, Work};

/// (p + 1)/4, the exponent that takes a square root.
const EXPONENT: Words = {
    let mut exponent = P;
    // The lowest word of p ends in …aaab, so adding one carries nowhere.
    exponent[0] += 1;
    let mut at = 0;
    while at < 6 {
        let above = if at < 5 { exponent[at + 1] } else { 0 };
        exponent[at] = exponent[at] >> 2 | above << 62;
        at += 1;
    }
    exponent
};

/// (p − 1)/2: what is above is the larger of two roots.
const HALF: Words = {
    let mut half = P;
    let mut at = 0;
    while at < 6 {
        let above = if at < 5 { P[at + 1] } else { 0 };
        half[at] = P[at] >> 1 | above << 63;
        at += 1;
    }
    half
};

/// What 48 bytes ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encoding {
    /// The point at infinity.
    Infinity,
    /// The point with this x, below p and not zero, and the larger y or the smaller.
    Point {
        /// The x coordinate, as the bytes hold it.
        x: Words,
        /// Whether y is the larger root.
        larger: bool,
    },
    /// The bytes ask for no point.
    Invalid,
}

impl Encoding {
    /// Reads the flags and x. As in blst, x = 0 is refused here: (0, ±2) are points of order three.
    pub fn of(bytes: &[u8; 48]) -> Self {
        let [compressed, infinite, larger] = [0x80, 0x40, 0x20].map(|flag| bytes[0] & flag != 0);
        let (chunks, _) = bytes.as_chunks::<8>();
        let mut x: Words = std::array::from_fn(|word| u64::from_be_bytes(chunks[5 - word]));
        x[5] &= u64::MAX >> 3;
        match (compressed, infinite) {
            (false, _) => Self::Invalid,
            (true, true) if x == [0; 6] && !larger => Self::Infinity,
            (true, true) => Self::Invalid,
            (true, false) if x != [0; 6] && subtract(&x, &P).1 => Self::Point { x, larger },
            (true, false) => Self::Invalid,
        }
    }
}

/// A point's coordinates as blst holds them: times 2³⁸⁴, canonical.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Coordinates {
    pub x: Words,
    pub y: Words,
}

/// Finds the points with these x, each with the larger y or not; `None` where the curve has no such x.
pub struct Lift<const N: usize> {
    /// The x coordinates, each below p.
    pub x: [Words; N],
    /// Whether the larger y is wanted.
    pub larger: [bool; N],
}

impl<const N: usize, L: Multiply52<N>> Work<N, L> for Lift<N> {
    type Output = [Option<Coordinates>; N];

    #[inline(always)]
    fn work(self, lanes: L) -> [Option<Coordinates>; N] {
        let mut limbs = [[0; LIMBS]; N];
        for lane in 0..N {
            limbs[lane] = limbs_of(&self.x[lane]);
        }
        let plain = Number::load(lanes, &Group::of(&limbs));
        let x = plain.times(lanes, &Number::splat(lanes, &limbs_of(&power_of_two(832))));
        let four = Number::splat(lanes, &limbs_of(&power_of_two(418)));
        let cube = x.squared(lanes).times(lanes, &x);
        let square = cube.sum(lanes, 1).plus(lanes, &four).tight(lanes);
        let y = root(lanes, &square);
        let off = square
            .sum(lanes, 1)
            .biased(lanes)
            .minus(lanes, &y.squared(lanes), 1)
            .tight(lanes);
        let is_root = are_zero(lanes, &off);

        // Out of our form into blst's and, for the sign, into none.
        let to_blst = Number::splat(lanes, &limbs_of(&power_of_two(384)));
        let mut one = [0; LIMBS];
        one[0] = 1;
        let mut out = [Group::ZERO; 3];
        x.times(lanes, &to_blst).store(lanes, &mut out[0]);
        y.times(lanes, &to_blst).store(lanes, &mut out[1]);
        y.times(lanes, &Number::splat(lanes, &one)).store(lanes, &mut out[2]);
        let mut points = [None; N];
        for lane in 0..N {
            if is_root[lane] {
                let is_larger = subtract(&HALF, &canonical(&out[2], lane)).1;
                let y = canonical(&out[1], lane);
                // y is not zero: −4 has no cube root, as the order of the curve is odd. Were it, p would become zero
                // again.
                let negated = minus_p_if_at_least(&subtract(&P, &y).0);
                points[lane] = Some(Coordinates {
                    x: canonical(&out[0], lane),
                    y: if is_larger == self.larger[lane] { y } else { negated },
                });
            }
        }
        points
    }
}

/// The power to [`EXPONENT`].
#[inline(always)]
fn root<const N: usize, L: Multiply52<N>>(lanes: L, square: &Number<L::Vector>) -> Number<L::Vector> {
    // Odd powers 1, 3 .. 31.
    let twice = square.squared(lanes);
    let mut odd = [*square; 16];
    for power in 1..16 {
        odd[power] = odd[power - 1].times(lanes, &twice);
    }
    let bit = |at: usize| EXPONENT[at / 64] >> (at % 64) & 1;
    // Until the first window has set the result, there is nothing to square.
    let (mut at, mut result, mut begun) = (379, *square, false);
    while at > 0 {
        if bit(at - 1) == 0 {
            if begun {
                result = result.squared(lanes);
            }
            at -= 1;
            continue;
        }
        // A window of at most five bits from a one down to a one.
        let mut low = at.saturating_sub(5);
        while bit(low) == 0 {
            low += 1;
        }
        let mut window = 0;
        for position in (low..at).rev() {
            window = window << 1 | bit(position);
            if begun {
                result = result.squared(lanes);
            }
        }
        let factor = &odd[window as usize / 2];
        result = if begun { result.times(lanes, factor) } else { *factor };
        begun = true;
        at = low;
    }
    result
}

#[cfg(test)]
mod tests;
