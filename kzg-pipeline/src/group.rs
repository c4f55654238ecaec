//! This file knows the group G1 of BLS12-381 through blst's C functions, behind a safe face.

use blst::{BLST_ERROR, blst_p1_affine, blst_p1_affine_in_g1, blst_p1_affine_is_inf, blst_p1_uncompress};

/// A point of the curve, affine; of the subgroup only once [`is_in_group`](Self::is_in_group) said so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Point(pub(crate) blst_p1_affine);

impl Point {
    /// Reads a compressed point; `None` if the bytes are not the canonical encoding of a point of the curve.
    pub fn decompress(bytes: &[u8; 48]) -> Option<Self> {
        let mut point = blst_p1_affine::default();
        // SAFETY: blst reads 48 bytes, which the array has, and writes one affine point, which `point` is.
        let error = unsafe { blst_p1_uncompress(&raw mut point, bytes.as_ptr()) };
        (error == BLST_ERROR::BLST_SUCCESS).then_some(Self(point))
    }

    /// Whether the point is of prime order or infinity.
    pub fn is_in_group(&self) -> bool {
        // SAFETY: both functions only read the point they are given.
        unsafe { blst_p1_affine_is_inf(&raw const self.0) || blst_p1_affine_in_g1(&raw const self.0) }
    }
}
