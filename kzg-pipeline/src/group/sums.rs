//! This file knows how to sum multiples of points by buckets, sixteen windows of the scalars in step.
//!
//! Pippenger's method cuts each 128-bit scalar into windows of `c` bits. In each window a point is added to the bucket
//! that its digit names, and Σ digit·bucket is the window's sum. Here each lane is a window: one addition in sixteen
//! lanes adds one point to sixteen buckets.
//!
//! ```text
//!   c = 8:   16 windows, one round of n additions, 255 buckets        n + 510 additions in sixteen lanes
//!   c = 4:   32 windows, two rounds, 15 buckets                       2·(n + 30)
//! ```
//!
//! *Additions are complete* (Renes, Costello, Batina 2016, algorithms 7 and 8 for a = 0, homogeneous coordinates X/Z,
//! Y/Z with 3·b = 12). They are right for equal, opposite and infinite operands, because the curve has odd order. So no
//! input is exceptional, even if an attacker chose it.

#![allow(clippy::needless_range_loop, reason = "lanes of several numbers go together")]

use super::fp::{LIMBS, Number, Words, canonical, limbs_of, power_of_two};
use super::membership::FROM_BLST;
use crate::simd::{Group, Multiply52, Work};

/// Windows that are summed in step.
const LANES: usize = 16;

/// A point in homogeneous coordinates, our form.
#[derive(Clone, Copy)]
struct Projective<V> {
    x: Number<V>,
    y: Number<V>,
    z: Number<V>,
}

/// The same in memory: limbs of x, of y, of z.
type Bucket = [u64; 3 * LIMBS];

/// Infinity: (0 : 1 : 0).
const INFINITY: Bucket = {
    let mut bucket = [0; 3 * LIMBS];
    let one = limbs_of(&power_of_two(416));
    let mut limb = 0;
    while limb < LIMBS {
        bucket[LIMBS + limb] = one[limb];
        limb += 1;
    }
    bucket
};

/// A window's sum as (X : Y : Z), each in blst's form.
pub type WindowSum = [Words; 3];

/// Bits of a window that make the fewest additions.
pub const fn window_bits(terms: usize) -> u32 {
    if terms + 510 < 2 * (terms + 30) { 8 } else { 4 }
}

/// The sums of sixteen windows of `BITS` bits, from window `first` on, the lowest first.
pub struct Windows<'a, const BITS: u32> {
    /// Affine coordinates in our form; see [`EnterForm`].
    pub points: &'a [[u64; 2 * LIMBS]],
    /// Little-endian, one for each point.
    pub scalars: &'a [[u8; 16]],
    /// The number of the first window.
    pub first: usize,
}

impl<const BITS: u32, L: Multiply52<LANES>> Work<LANES, L> for Windows<'_, BITS> {
    type Output = [WindowSum; LANES];

    #[inline(always)]
    fn work(self, lanes: L) -> [WindowSum; LANES] {
        let count = 1usize << BITS;
        // Lane after lane, a bucket for each digit; those of digit 0 are never read.
        let mut buckets = vec![INFINITY; LANES * count];
        for (point, scalar) in self.points.iter().zip(self.scalars) {
            let scalar = u128::from_le_bytes(*scalar);
            let mut indices = [0; LANES];
            for lane in 0..LANES {
                let digit = scalar >> (BITS as usize * (self.first + lane)) & (count as u128 - 1);
                indices[lane] = lane * count + digit as usize;
            }
            let sum = plus_affine(lanes, &gather(lanes, &buckets, &indices), point);
            scatter(lanes, &sum, &mut buckets, &indices);
        }
        // Σ digit·bucket: the sum of the sums of all buckets from each digit on.
        let infinity = gather(lanes, &[INFINITY], &[0; LANES]);
        let (mut from_here, mut total) = (infinity, infinity);
        for digit in (1..count).rev() {
            let mut indices = [0; LANES];
            for lane in 0..LANES {
                indices[lane] = lane * count + digit;
            }
            from_here = plus(lanes, &from_here, &gather(lanes, &buckets, &indices));
            total = plus(lanes, &total, &from_here);
        }
        let to_blst = Number::splat(lanes, &limbs_of(&power_of_two(384)));
        let mut out = [Group::ZERO; 3];
        total.x.times(lanes, &to_blst).store(lanes, &mut out[0]);
        total.y.times(lanes, &to_blst).store(lanes, &mut out[1]);
        total.z.times(lanes, &to_blst).store(lanes, &mut out[2]);
        let mut sums = [[[0; 6]; 3]; LANES];
        for lane in 0..LANES {
            for coordinate in 0..3 {
                sums[lane][coordinate] = canonical(&out[coordinate], lane);
            }
        }
        sums
    }
}

/// Turns coordinates out of blst's form into ours, sixteen points at a time.
pub struct EnterForm<'a>(pub &'a [[Words; 2]]);

impl<L: Multiply52<LANES>> Work<LANES, L> for EnterForm<'_> {
    type Output = Vec<[u64; 2 * LIMBS]>;

    #[inline(always)]
    fn work(self, lanes: L) -> Vec<[u64; 2 * LIMBS]> {
        let from_blst = Number::splat(lanes, &FROM_BLST);
        let mut points = vec![[0; 2 * LIMBS]; self.0.len()];
        for (from, to) in self.0.chunks(LANES).zip(points.chunks_mut(LANES)) {
            for coordinate in 0..2 {
                let mut limbs = [[0; LIMBS]; LANES];
                for lane in 0..from.len() {
                    limbs[lane] = limbs_of(&from[lane][coordinate]);
                }
                let mut group = Group::of(&limbs);
                Number::load(lanes, &group)
                    .times(lanes, &from_blst)
                    .store(lanes, &mut group);
                for lane in 0..from.len() {
                    to[lane][coordinate * LIMBS..(coordinate + 1) * LIMBS].copy_from_slice(&group.lane(lane));
                }
            }
        }
        points
    }
}

#[inline(always)]
fn gather<L: Multiply52<LANES>>(lanes: L, buckets: &[Bucket], indices: &[usize; LANES]) -> Projective<L::Vector> {
    let mut groups = [Group::<LANES, LIMBS>::ZERO; 3];
    for lane in 0..LANES {
        let bucket = &buckets[indices[lane]];
        for coordinate in 0..3 {
            for limb in 0..LIMBS {
                groups[coordinate].0[limb][lane] = bucket[coordinate * LIMBS + limb];
            }
        }
    }
    Projective {
        x: Number::load(lanes, &groups[0]),
        y: Number::load(lanes, &groups[1]),
        z: Number::load(lanes, &groups[2]),
    }
}

#[inline(always)]
fn scatter<L: Multiply52<LANES>>(
    lanes: L,
    point: &Projective<L::Vector>,
    buckets: &mut [Bucket],
    indices: &[usize; LANES],
) {
    let mut groups = [Group::<LANES, LIMBS>::ZERO; 3];
    point.x.store(lanes, &mut groups[0]);
    point.y.store(lanes, &mut groups[1]);
    point.z.store(lanes, &mut groups[2]);
    for lane in 0..LANES {
        let bucket = &mut buckets[indices[lane]];
        for coordinate in 0..3 {
            for limb in 0..LIMBS {
                bucket[coordinate * LIMBS + limb] = groups[coordinate].0[limb][lane];
            }
        }
    }
}

/// Algorithm 8: an affine point, the same in each lane, not infinity.
#[inline(always)]
fn plus_affine<L: Multiply52<LANES>>(
    lanes: L,
    left: &Projective<L::Vector>,
    right: &[u64; 2 * LIMBS],
) -> Projective<L::Vector> {
    let (front, _) = right.as_chunks::<LIMBS>();
    let (x, y) = (Number::splat(lanes, &front[0]), Number::splat(lanes, &front[1]));
    let xx = left.x.times(lanes, &x);
    let yy = left.y.times(lanes, &y);
    let both = left.x.sum(lanes, 1).plus(lanes, &left.y).tight(lanes);
    let both = both.times(lanes, &x.sum(lanes, 1).plus(lanes, &y).tight(lanes));
    let xz = left.z.times(lanes, &x);
    let yz = left.z.times(lanes, &y);
    let cross = Cross {
        xy: less(lanes, &both, [&xx, &yy]),
        yz: yz.sum(lanes, 1).plus(lanes, &left.y).tight(lanes),
        xz: xz.sum(lanes, 1).plus(lanes, &left.x).tight(lanes),
        xz_negative: zero_sum(lanes)
            .minus(lanes, &xz, 1)
            .minus(lanes, &left.x, 1)
            .tight(lanes),
    };
    finish(lanes, &xx, &yy, &left.z, &cross)
}

/// Algorithm 7: two points, each in its lane.
#[inline(always)]
fn plus<L: Multiply52<LANES>>(
    lanes: L,
    left: &Projective<L::Vector>,
    right: &Projective<L::Vector>,
) -> Projective<L::Vector> {
    let xx = left.x.times(lanes, &right.x);
    let yy = left.y.times(lanes, &right.y);
    let zz = left.z.times(lanes, &right.z);
    let xy = sum_product(lanes, [&left.x, &left.y], [&right.x, &right.y]);
    let yz = sum_product(lanes, [&left.y, &left.z], [&right.y, &right.z]);
    let xz = sum_product(lanes, [&left.x, &left.z], [&right.x, &right.z]);
    let cross = Cross {
        xy: less(lanes, &xy, [&xx, &yy]),
        yz: less(lanes, &yz, [&yy, &zz]),
        xz: less(lanes, &xz, [&xx, &zz]),
        xz_negative: xx
            .sum(lanes, 1)
            .plus(lanes, &zz)
            .biased(lanes)
            .minus(lanes, &xz, 1)
            .tight(lanes),
    };
    finish(lanes, &xx, &yy, &zz, &cross)
}

/// X₁Y₂ + X₂Y₁ and so on.
struct Cross<V> {
    xy: Number<V>,
    yz: Number<V>,
    xz: Number<V>,
    xz_negative: Number<V>,
}

/// The part that both algorithms share: three sums of two products, each reduced once.
///
/// ```text
///   t = 3·xx    d = yy − 12·zz    s = yy + 12·zz    w = 12·xz
///   X = xy·d − yz·w    Y = d·s + t·w    Z = s·yz + t·xy
/// ```
#[inline(always)]
fn finish<L: Multiply52<LANES>>(
    lanes: L,
    xx: &Number<L::Vector>,
    yy: &Number<L::Vector>,
    zz: &Number<L::Vector>,
    cross: &Cross<L::Vector>,
) -> Projective<L::Vector> {
    let t = xx.sum(lanes, 3).tight(lanes);
    let s = zz.sum(lanes, 12).plus(lanes, yy).tight(lanes);
    let d = yy.sum(lanes, 1).biased(lanes).minus(lanes, zz, 12).tight(lanes);
    let w = cross.xz.sum(lanes, 12).tight(lanes);
    let w_negative = cross.xz_negative.sum(lanes, 12).tight(lanes);
    Projective {
        x: cross.xy.times_and(lanes, &d, &cross.yz, &w_negative),
        y: d.times_and(lanes, &s, &t, &w),
        z: s.times_and(lanes, &cross.yz, &t, &cross.xy),
    }
}

#[inline(always)]
fn sum_product<L: Multiply52<LANES>>(
    lanes: L,
    left: [&Number<L::Vector>; 2],
    right: [&Number<L::Vector>; 2],
) -> Number<L::Vector> {
    let left = left[0].sum(lanes, 1).plus(lanes, left[1]).tight(lanes);
    let right = right[0].sum(lanes, 1).plus(lanes, right[1]).tight(lanes);
    left.times(lanes, &right)
}

/// A product less two others.
#[inline(always)]
fn less<L: Multiply52<LANES>>(
    lanes: L,
    product: &Number<L::Vector>,
    others: [&Number<L::Vector>; 2],
) -> Number<L::Vector> {
    let room = product.sum(lanes, 1).biased(lanes);
    room.minus(lanes, others[0], 1).minus(lanes, others[1], 1).tight(lanes)
}

/// Zero, with room to take products off.
#[inline(always)]
fn zero_sum<L: Multiply52<LANES>>(lanes: L) -> super::fp::Loose<L::Vector> {
    Number::splat(lanes, &[0; LIMBS]).sum(lanes, 1).biased(lanes)
}
