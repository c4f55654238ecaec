//! This file knows the groups of BLS12-381 and their pairing through blst's C functions, behind a safe face.
//!
//! Every `unsafe` block here calls a C function. The function reads and writes only through the pointers that it is
//! given. Each points to a local or a borrowed value of the type that the function names, or to an array whose length
//! is passed with it.

use std::ptr;

use self::lanes::Minimum;
use crate::simd::{Avx512, Ifma};
use blst::{
    BLST_ERROR, blst_fp, blst_fp_from_bendian, blst_fp_mul, blst_fp6, blst_fp12, blst_fp12_finalverify, blst_fp12_one,
    blst_miller_loop_lines, blst_p1, blst_p1_affine, blst_p1_affine_generator, blst_p1_affine_in_g1,
    blst_p1_affine_is_inf, blst_p1_compress, blst_p1_is_inf, blst_p1_to_affine, blst_p1_uncompress,
    blst_p1s_mult_pippenger, blst_p1s_mult_pippenger_scratch_sizeof, blst_p2_affine, blst_p2_affine_generator,
    blst_p2_affine_in_g2, blst_p2_uncompress, blst_precompute_lines, limb_t,
};
use ultramarine_types::verify::PointFlaw;

/// Line functions of a Miller loop over the BLS parameter: 63 doublings and 5 additions.
const LINES: usize = 68;

/// The instructions that read, judge and sum points.
#[derive(Clone, Copy, Debug)]
pub enum PointPath {
    /// AVX-512's 52-bit products, many points at a time.
    Ifma(Ifma),
    /// The same by fused multiplications of doubles.
    Avx512(Avx512),
    /// One point at a time, by blst.
    Blst,
}

impl PointPath {
    /// The fastest path that this processor has.
    pub fn best() -> Self {
        Self::all()[0]
    }

    /// Every path this processor can take, the fastest first.
    pub fn all() -> Vec<Self> {
        [
            Ifma::detect().map(Self::Ifma),
            Avx512::detect().map(Self::Avx512),
            Some(Self::Blst),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ifma(_) => "ifma",
            Self::Avx512(_) => "avx512",
            Self::Blst => "blst",
        }
    }

    /// Reads each compressed point; `None` where the bytes are not the canonical encoding of a point of the curve.
    pub fn decompress_all(self, encodings: &[&[u8; 48]]) -> Vec<Option<Point>> {
        match self {
            Self::Ifma(ifma) => lanes::decompress_all(ifma, IFMA_MIN, encodings),
            Self::Avx512(avx512) => lanes::decompress_all(avx512, AVX512_MIN, encodings),
            Self::Blst => encodings.iter().map(|bytes| Point::decompress(bytes)).collect(),
        }
    }

    /// Whether each point is of prime order or infinity. The answer is exact, and does not depend on the other points.
    pub fn are_in_group(self, points: &[Point]) -> Vec<bool> {
        match self {
            Self::Ifma(ifma) => lanes::are_in_group(ifma, IFMA_MIN, points),
            Self::Avx512(avx512) => lanes::are_in_group(avx512, AVX512_MIN, points),
            Self::Blst => points.iter().map(Point::is_in_group).collect(),
        }
    }

    /// The sum of the terms.
    pub fn sum(self, terms: &PointTerms) -> Sum {
        match self {
            Self::Ifma(ifma) if terms.points.len() >= TERMS_MIN => lanes::sum(ifma, &terms.points, &terms.scalars),
            Self::Ifma(_) | Self::Avx512(_) | Self::Blst => terms.sum(),
        }
    }

    /// Reads each compressed point of the subgroup; `None` for anything else.
    pub fn read_all(self, encodings: &[&[u8; 48]]) -> Vec<Option<Point>> {
        let mut read = self.decompress_all(encodings);
        let points: Vec<_> = read.iter().copied().flatten().collect();
        let mut judged = self.are_in_group(&points).into_iter();
        for point in &mut read {
            *point = point.filter(|_| judged.next().unwrap_or(false));
        }
        read
    }
}

/// Fewer points are faster by blst; see `benches/BUDGET.md`.
const IFMA_MIN: Minimum = Minimum { roots: 3, judged: 2 };
const AVX512_MIN: Minimum = Minimum { roots: 7, judged: 5 };

/// PointTerms from which lanes are faster than blst's sum.
const TERMS_MIN: usize = 16;

/// A point of the curve, affine; of the subgroup only once [`is_in_group`](Self::is_in_group) said so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Point(pub(crate) blst_p1_affine);

impl Point {
    /// Reads a compressed point; `None` if the bytes are not the canonical encoding of a point of the curve.
    pub fn decompress(bytes: &[u8; 48]) -> Option<Self> {
        Self::read(bytes).ok()
    }

    /// The same, and why not. (0, ±2) is refused here, as blst does: it is on the curve and of order three.
    pub fn read(bytes: &[u8; 48]) -> Result<Self, PointFlaw> {
        let mut point = blst_p1_affine::default();
        // SAFETY: blst reads 48 bytes, which the array has, and writes one affine point, which `point` is.
        let error = unsafe { blst_p1_uncompress(&raw mut point, bytes.as_ptr()) };
        match error {
            BLST_ERROR::BLST_SUCCESS => Ok(Self(point)),
            BLST_ERROR::BLST_POINT_NOT_ON_CURVE => Err(PointFlaw::Curve),
            BLST_ERROR::BLST_POINT_NOT_IN_GROUP => Err(PointFlaw::Subgroup),
            // blst gives only one other error for bytes.
            _ => Err(PointFlaw::Encoding),
        }
    }

    /// Whether the point is infinity.
    pub fn is_infinity(&self) -> bool {
        // SAFETY: reads the point.
        unsafe { blst_p1_affine_is_inf(&raw const self.0) }
    }

    /// Whether the point is of prime order or infinity.
    pub fn is_in_group(&self) -> bool {
        // SAFETY: reads the point.
        self.is_infinity() || unsafe { blst_p1_affine_in_g1(&raw const self.0) }
    }

    /// The generator of the subgroup.
    pub fn generator() -> Self {
        // SAFETY: the function returns a pointer to a constant of the library, valid for ever.
        Self(unsafe { *blst_p1_affine_generator() })
    }

    /// φ(x, y) = (β·x, y) with β³ = 1: on the subgroup, multiplication by λ = u² − 1 (u the BLS parameter), where
    /// λ² + λ + 1 = 0 modulo r. One field product instead of 128 doublings. Infinity stays infinity, as its x is stored
    /// as zero.
    pub fn endomorphism(&self, beta: &Beta) -> Self {
        let mut image = *self;
        // SAFETY: reads two field elements, writes one; blst allows the result to be an operand.
        unsafe { blst_fp_mul(&raw mut image.0.x, &raw const self.0.x, &raw const beta.0) };
        image
    }
}

/// The cube root of one that belongs to λ = u² − 1.
#[derive(Clone, Copy, Debug)]
pub struct Beta(blst_fp);

impl Beta {
    /// From the constant; `group/tests.rs` checks φ(G) = λ·G.
    pub fn new() -> Self {
        let bytes: [u8; 48] = BETA;
        let mut beta = blst_fp::default();
        // SAFETY: reads 48 bytes, writes one field element.
        unsafe { blst_fp_from_bendian(&raw mut beta, bytes.as_ptr()) };
        Self(beta)
    }
}

/// β, big-endian: 2^((p−1)/3) squared modulo p.
const BETA: [u8; 48] = [
    0x1a, 0x01, 0x11, 0xea, 0x39, 0x7f, 0xe6, 0x99, 0xec, 0x02, 0x40, 0x86, 0x63, 0xd4, 0xde, 0x85, 0xaa, 0x0d, 0x85,
    0x7d, 0x89, 0x75, 0x9a, 0xd4, 0x89, 0x7d, 0x29, 0x65, 0x0f, 0xb8, 0x5f, 0x9b, 0x40, 0x94, 0x27, 0xeb, 0x4f, 0x49,
    0xff, 0xfd, 0x8b, 0xfd, 0x00, 0x00, 0x00, 0x00, 0xaa, 0xac,
];

/// Points with 128-bit scalars, to be multiplied and summed.
#[derive(Debug, Default)]
pub struct PointTerms {
    points: Vec<blst_p1_affine>,
    /// Little-endian, 16 bytes each.
    scalars: Vec<[u8; 16]>,
}

impl PointTerms {
    /// No terms, with room.
    pub fn with_capacity(terms: usize) -> Self {
        Self {
            points: Vec::with_capacity(terms),
            scalars: Vec::with_capacity(terms),
        }
    }

    /// Adds `scalar · point`, where the point is of the subgroup. A term that adds nothing is left out: blst's
    /// algorithms are at their simplest when no input is infinity.
    pub fn push(&mut self, point: &Point, scalar: u128) {
        if scalar != 0 && !point.is_infinity() {
            self.points.push(point.0);
            self.scalars.push(scalar.to_le_bytes());
        }
    }

    /// The scalars, for tests of where they come from.
    #[cfg(test)]
    pub fn scalars(&self) -> Vec<u128> {
        self.scalars.iter().map(|scalar| u128::from_le_bytes(*scalar)).collect()
    }

    /// The sum, by Pippenger's algorithm in blst.
    pub fn sum(&self) -> Sum {
        assert_eq!(self.points.len(), self.scalars.len(), "each point has its scalar");
        let mut sum = blst_p1::default();
        if self.points.is_empty() {
            return Sum(sum);
        }
        let count = self.points.len();
        // SAFETY: pure arithmetic on the count.
        let scratch_bytes = unsafe { blst_p1s_mult_pippenger_scratch_sizeof(count) };
        let mut scratch: Vec<limb_t> = vec![0; scratch_bytes.div_ceil(size_of::<limb_t>())];
        // A null after the first pointer means that the others follow it in memory.
        let points = [self.points.as_ptr(), ptr::null()];
        let scalars = [self.scalars.as_ptr().cast::<u8>(), ptr::null()];
        // SAFETY: `count` affine points and `count` scalars of 128/8 bytes lie side by side behind the two pointers.
        // The scratch has the size that blst asks for this count, aligned as its limbs.
        unsafe {
            blst_p1s_mult_pippenger(
                &raw mut sum,
                points.as_ptr(),
                count,
                scalars.as_ptr(),
                128,
                scratch.as_mut_ptr(),
            );
        }
        Sum(sum)
    }
}

/// A sum of points of the subgroup.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(blst_p1);

impl Sum {
    /// The point (X/Z, Y/Z): in the coordinates here, (X·Z/Z², Y·Z²/Z³). Infinity if Z is zero.
    fn of_homogeneous([x, y, z]: [blst_fp; 3]) -> Self {
        let mut sum = blst_p1 { x, y, z };
        // SAFETY: reads two field elements and writes one, each time; blst allows the result to be an operand.
        unsafe {
            blst_fp_mul(&raw mut sum.x, &raw const sum.x, &raw const z);
            blst_fp_mul(&raw mut sum.y, &raw const sum.y, &raw const z);
            blst_fp_mul(&raw mut sum.y, &raw const sum.y, &raw const z);
        }
        Self(sum)
    }

    fn doubled(&self) -> Self {
        let mut sum = blst_p1::default();
        // SAFETY: reads one point, writes one.
        unsafe { blst::blst_p1_double(&raw mut sum, &raw const self.0) };
        Self(sum)
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = blst_p1::default();
        // SAFETY: reads two points, writes one; complete addition, so equal and opposite operands are fine.
        unsafe { blst::blst_p1_add_or_double(&raw mut sum, &raw const self.0, &raw const other.0) };
        Self(sum)
    }

    pub fn compress(&self) -> [u8; 48] {
        let mut bytes = [0; 48];
        // SAFETY: reads one point, writes 48 bytes.
        unsafe { blst_p1_compress(bytes.as_mut_ptr(), &raw const self.0) };
        bytes
    }

    /// As an affine point.
    pub fn to_point(self) -> Point {
        let mut point = blst_p1_affine::default();
        // SAFETY: reads one point, writes one affine point.
        unsafe { blst_p1_to_affine(&raw mut point, &raw const self.0) };
        Point(point)
    }

    fn is_infinity(&self) -> bool {
        // SAFETY: reads the point.
        unsafe { blst_p1_is_inf(&raw const self.0) }
    }
}

/// A fixed point of G2 with the lines of its Miller loop worked out.
#[derive(Clone, Debug)]
pub struct Lines(Box<[blst_fp6; LINES]>);

impl Lines {
    /// Of the generator of G2.
    pub fn generator() -> Self {
        // SAFETY: the function returns a pointer to a constant of the library, valid for ever.
        Self::of(unsafe { &*blst_p2_affine_generator() })
    }

    /// Of a compressed point. Panics if it is none of the subgroup: it is a constant of ours.
    pub fn decompress(bytes: &[u8; 96]) -> Self {
        let mut point = blst_p2_affine::default();
        // SAFETY: reads 96 bytes and writes one affine point; then reads that point.
        let sound = unsafe {
            blst_p2_uncompress(&raw mut point, bytes.as_ptr()) == BLST_ERROR::BLST_SUCCESS
                && blst_p2_affine_in_g2(&raw const point)
        };
        assert!(sound, "the embedded setup holds points of the group");
        Self::of(&point)
    }

    fn of(point: &blst_p2_affine) -> Self {
        let mut lines = Box::new([blst_fp6::default(); LINES]);
        // SAFETY: blst writes 68 lines, which the array has, and reads one affine point.
        unsafe { blst_precompute_lines(lines.as_mut_ptr(), point) };
        Self(lines)
    }

    /// The Miller loop of this point with a sum; one if the sum is infinity.
    fn miller_loop(&self, sum: &Sum) -> blst_fp12 {
        if sum.is_infinity() {
            // SAFETY: the function returns a pointer to a constant of the library, valid for ever.
            return unsafe { *blst_fp12_one() };
        }
        let (point, mut value) = (sum.to_point(), blst_fp12::default());
        // SAFETY: reads the 68 lines and one affine point, writes one element.
        unsafe { blst_miller_loop_lines(&raw mut value, self.0.as_ptr(), &raw const point.0) };
        value
    }
}

/// Whether e(left, L) = e(right, R) for the points behind the two tables of lines.
pub fn pairings_equal(left: &Sum, left_lines: &Lines, right: &Sum, right_lines: &Lines) -> bool {
    let (left, right) = (left_lines.miller_loop(left), right_lines.miller_loop(right));
    // SAFETY: reads two elements.
    unsafe { blst_fp12_finalverify(&raw const left, &raw const right) }
}

#[forbid(unsafe_code)]
mod fp;
#[forbid(unsafe_code)]
mod lanes;
#[forbid(unsafe_code)]
mod membership;
#[forbid(unsafe_code)]
mod roots;
#[forbid(unsafe_code)]
mod sums;
#[cfg(test)]
#[forbid(unsafe_code)]
mod tests;
