//! This file knows how to give points to lanes: how many at a time, what fills the last lanes, and which points need
//! none.

use blst::{blst_fp, blst_p1_affine};

use super::fp::{Words, limbs_of};
use super::membership::{Affine, BetaSquared, MembershipTest, beta_squared};
use super::roots::{Coordinates, Encoding, Lift};
use super::sums::{self, EnterForm, Windows};
use super::{Beta, Point, Sum};
use crate::simd::{Doubled, Group, Multiply52, VectorUnit};

/// Points to which two vectors in step give one answer sooner than one vector twice.
const DOUBLED_MIN: usize = 9;
/// Numbers of points from which eight lanes are faster than blst one by one.
#[derive(Clone, Copy, Debug)]
pub struct Minimum {
    /// From this number on, lanes find roots faster.
    pub roots: usize,
    /// From this number on, lanes judge membership faster.
    pub judged: usize,
}

/// Reads each compressed point; see [`PointPath::decompress_all`](super::PointPath::decompress_all).
pub fn decompress_all<L: Multiply52<8>>(lanes: L, minimum: Minimum, encodings: &[&[u8; 48]]) -> Vec<Option<Point>> {
    let mut read: Vec<Option<Point>> = vec![None; encodings.len()];
    let mut wanted = Vec::with_capacity(encodings.len());
    for (index, bytes) in encodings.iter().enumerate() {
        match Encoding::of(bytes) {
            Encoding::Infinity => read[index] = Some(Point::default()),
            Encoding::Point { x, larger } => wanted.push(Wanted { index, x, larger }),
            Encoding::Invalid => {}
        }
    }
    for group in wanted.chunks(16) {
        if group.len() >= DOUBLED_MIN {
            lift::<16, _>(Doubled(lanes), group, &mut read);
        } else if group.len() >= minimum.roots {
            lift::<8, _>(lanes, group, &mut read);
        } else {
            for wanted in group {
                read[wanted.index] = Point::decompress(encodings[wanted.index]);
            }
        }
    }
    read
}

/// A point to be found, and its index among all.
struct Wanted {
    index: usize,
    x: Words,
    larger: bool,
}

/// At most `N` points.
fn lift<const N: usize, L: Multiply52<N>>(lanes: L, wanted: &[Wanted], read: &mut [Option<Point>]) {
    // The last one again and again where the lanes are not full.
    let lane = |lane: usize| &wanted[lane.min(wanted.len() - 1)];
    let points = lanes.enter(Lift::<N> {
        x: std::array::from_fn(|index| lane(index).x),
        larger: std::array::from_fn(|index| lane(index).larger),
    });
    for (wanted, point) in wanted.iter().zip(points) {
        read[wanted.index] = point.map(point_of);
    }
}

/// Whether each point is of prime order or infinity; see [`PointPath::are_in_group`](super::PointPath::are_in_group).
pub fn are_in_group<L: Multiply52<8>>(lanes: L, minimum: Minimum, points: &[Point]) -> Vec<bool> {
    let beta_squared = image_factor();
    let mut judged = vec![true; points.len()];
    let asked: Vec<usize> = (0..points.len())
        .filter(|index| !points[*index].is_infinity())
        .collect();
    for group in asked.chunks(16) {
        if group.len() >= DOUBLED_MIN {
            judge::<16, _>(Doubled(lanes), points, group, &beta_squared, &mut judged);
        } else if group.len() >= minimum.judged {
            judge::<8, _>(lanes, points, group, &beta_squared, &mut judged);
        } else {
            for index in group {
                judged[*index] = points[*index].is_in_group();
            }
        }
    }
    judged
}

/// At most `N` points, by their indices.
fn judge<const N: usize, L: Multiply52<N>>(
    lanes: L,
    points: &[Point],
    indices: &[usize],
    beta_squared: &BetaSquared,
    judged: &mut [bool],
) {
    let lane = |lane: usize| &points[indices[lane.min(indices.len() - 1)]].0;
    let affine = Affine {
        x: Group::of(&std::array::from_fn(|index| limbs_of(&lane(index).x.l))),
        y: Group::of(&std::array::from_fn(|index| limbs_of(&lane(index).y.l))),
    };
    for (index, answer) in indices
        .iter()
        .zip(lanes.enter(MembershipTest::<N>(&affine, beta_squared)))
    {
        judged[*index] = answer;
    }
}

/// Σ scalar·point over points that are not infinity.
pub fn sum<L: Multiply52<8>>(lanes: L, points: &[blst_p1_affine], scalars: &[[u8; 16]]) -> Sum {
    assert_eq!(points.len(), scalars.len(), "each point has its scalar");
    let coordinates: Vec<_> = points.iter().map(|point| [point.x.l, point.y.l]).collect();
    let points = Doubled(lanes).enter(EnterForm(&coordinates));
    match sums::window_bits(points.len()) {
        8 => sum_by::<8, _>(lanes, &points, scalars),
        _ => sum_by::<4, _>(lanes, &points, scalars),
    }
}

fn sum_by<const BITS: u32, L: Multiply52<8>>(lanes: L, points: &[[u64; 16]], scalars: &[[u8; 16]]) -> Sum {
    let mut sum = Sum::default();
    for first in (0..128 / BITS as usize).step_by(16).rev() {
        let windows = Doubled(lanes).enter(Windows::<BITS> { points, scalars, first });
        for window in windows.iter().rev() {
            for _ in 0..BITS {
                sum = sum.doubled();
            }
            sum = sum.plus(&Sum::of_homogeneous(window.map(|words| blst_fp { l: words })));
        }
    }
    sum
}

fn point_of(coordinates: Coordinates) -> Point {
    Point(blst_p1_affine {
        x: blst_fp { l: coordinates.x },
        y: blst_fp { l: coordinates.y },
    })
}

/// β², as the membership test takes it.
fn image_factor() -> BetaSquared {
    // φ twice on the generator, whose x is then β²·x, is a detour; φ of a point with x = β is none.
    let beta = Beta::new();
    let point = Point(blst_p1_affine {
        x: beta.0,
        y: blst_fp::default(),
    });
    beta_squared(&point.endomorphism(&beta).0.x.l)
}
