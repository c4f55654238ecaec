//! This file knows how to make claims for tests: a few from random blobs, and as many as wanted from lines.
//!
//! A proof by `c-kzg` takes ~100 ms. For a line p(X) = a + bX it takes two scalar multiplications: the commitment is
//! `a·G + b·[τ]₁`, and (p(X) − p(z))/(X − z) = b for every z, so the proof is `b·G`. Its evaluations fill the blob like
//! any other's.

use std::sync::OnceLock;

use blst::{blst_fp, blst_fr, blst_p1, blst_p1_affine};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{Urgency, VerifyJob};
use ultramarine_types::{Height, KzgCommitment, KzgProof, PeerId, ValueId, ValueKey};

use self::by_blst::{add, compress, from_affine, sum};
use crate::claim::Claim;
use crate::setup;

pub use self::by_blst::{bytes, fr, mul};

/// A claim that owns its parts.
#[derive(Clone)]
pub struct Owned {
    pub blob: Vec<u8>,
    pub commitment: KzgCommitment,
    pub proof: KzgProof,
}

impl Owned {
    pub fn claim(&self) -> Claim<'_> {
        Claim {
            blob: &self.blob,
            commitment: &self.commitment,
            proof: &self.proof,
        }
    }
}

pub fn claims(owned: &[Owned]) -> Vec<Claim<'_>> {
    owned.iter().map(Owned::claim).collect()
}

/// A small generator for reproducible test data (splitmix64).
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A canonical field element, big-endian.
    pub fn element(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes[0] &= 0x3f;
        bytes
    }
}

/// Six claims over random blobs, by `c-kzg`, made once a process.
pub fn random() -> &'static [Owned] {
    static MADE: OnceLock<Vec<Owned>> = OnceLock::new();
    MADE.get_or_init(|| {
        let settings = c_kzg::ethereum_kzg_settings(0);
        std::thread::scope(|scope| {
            let makers: Vec<_> = (0..6)
                .map(|seed| {
                    scope.spawn(move || {
                        let mut seeded = Seeded(seed);
                        let bytes: Vec<u8> = (0..4096).flat_map(|_| seeded.element()).collect();
                        let blob = c_kzg::Blob::from_bytes(&bytes).expect("the right length");
                        let commitment = settings.blob_to_kzg_commitment(&blob).expect("canonical").to_bytes();
                        let proof = settings.compute_blob_kzg_proof(&blob, &commitment).expect("a point");
                        Owned {
                            blob: bytes,
                            commitment: KzgCommitment(*commitment),
                            proof: KzgProof(*proof.to_bytes()),
                        }
                    })
                })
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().expect("no panic"))
                .collect()
        })
    })
}

/// A claim over a line, different for each seed.
pub fn line(seed: u64) -> Owned {
    let mut seeded = Seeded(seed ^ 0x6c69_6e65);
    let (a, b) = (fr(&seeded.element()), fr(&seeded.element()));
    let mut blob = Vec::with_capacity(BLOB_BYTES);
    for root in roots() {
        blob.extend_from_slice(&bytes(&add(&a, &mul(&b, root))));
    }
    let tau = decompress(&setup::TAU_G1);
    let generator = decompress(&setup::GENERATOR_G1);
    Owned {
        blob,
        commitment: KzgCommitment(compress(&sum(&times(&generator, &a), &times(&tau, &b)))),
        proof: KzgProof(compress(&times(&generator, &b))),
    }
}

/// `count` claims over different lines.
pub fn lines(count: usize) -> Vec<Owned> {
    (0..count as u64).map(line).collect()
}

/// The constant polynomial: its proof is the point at infinity.
pub fn constant(element: [u8; 32]) -> Owned {
    let generator = decompress(&setup::GENERATOR_G1);
    Owned {
        blob: element.repeat(4096),
        commitment: KzgCommitment(compress(&times(&generator, &fr(&element)))),
        proof: KzgProof(INFINITY),
    }
}

/// p, the order of the field of coordinates, big-endian.
pub const FIELD_MODULUS: [u8; 48] =
    setup::hex48("1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab");

/// The compressed point at infinity.
pub const INFINITY: [u8; 48] = {
    let mut bytes = [0; 48];
    bytes[0] = 0xc0;
    bytes
};

/// The roots of unity in the order of a blob's elements (bit-reversed).
pub fn roots() -> &'static [blst_fr] {
    static MADE: OnceLock<Vec<blst_fr>> = OnceLock::new();
    MADE.get_or_init(|| {
        // 7 generates the multiplicative group; (r − 1) / 4096 is its cofactor.
        let mut exponent = num_r_minus_one();
        shift_right(&mut exponent, 12);
        let mut seven = [0; 32];
        seven[31] = 7;
        let omega = power(&fr(&seven), &exponent);
        let mut powers = Vec::with_capacity(4096);
        let mut one = [0; 32];
        one[31] = 1;
        powers.push(fr(&one));
        for index in 1..4096 {
            powers.push(mul(&powers[index - 1], &omega));
        }
        (0..4096u32)
            .map(|index| powers[(index.reverse_bits() >> 20) as usize])
            .collect()
    })
}

fn num_r_minus_one() -> [u8; 32] {
    let mut bytes = crate::wellformed::MODULUS;
    bytes[31] -= 1;
    bytes
}

fn shift_right(bytes: &mut [u8; 32], bits: usize) {
    for _ in 0..bits {
        let mut carry = 0;
        for byte in bytes.iter_mut() {
            let next = *byte & 1;
            *byte = (*byte >> 1) | (carry << 7);
            carry = next;
        }
    }
}

fn power(base: &blst_fr, exponent: &[u8; 32]) -> blst_fr {
    let mut one = [0; 32];
    one[31] = 1;
    let mut result = fr(&one);
    for byte in exponent {
        for bit in (0..8).rev() {
            result = mul(&result, &result);
            if byte >> bit & 1 == 1 {
                result = mul(&result, base);
            }
        }
    }
    result
}

fn decompress(bytes: &[u8; 48]) -> blst_p1 {
    let point = crate::group::Point::decompress(bytes).expect("a constant of the setup");
    from_affine(&point.0)
}

fn times(point: &blst_p1, factor: &blst_fr) -> blst_p1 {
    let mut scalar = bytes(factor);
    scalar.reverse();
    by_blst::times(point, &scalar)
}

/// Moves a compressed point of the group out of it by adding a point of order 3: on the curve, not in the subgroup.
///
/// The curve y² = x³ + 4 has (0, 2) of order 3, as the tangent there is horizontal and meets the curve only there.
pub fn shifted_by_order_three(bytes: &[u8; 48]) -> [u8; 48] {
    let torsion = blst_p1_affine {
        x: blst_fp::default(),
        y: by_blst::fp(&[2, 0, 0, 0, 0, 0]),
    };
    compress(&sum(&decompress(bytes), &from_affine(&torsion)))
}

/// A job of the current height with an empty blob, for tests that form batches and do not look inside. Each height has
/// one value.
pub fn job(height: u64, sender: u8, index: u16, blobs_count: u16) -> VerifyJob {
    VerifyJob {
        key: ValueKey {
            height: Height(height),
            id: ValueId::ZERO,
        },
        index,
        blobs_count,
        sender: Some(PeerId([sender; 32])),
        urgency: Urgency::Current,
        blob: bytes::Bytes::new(),
        commitment: KzgCommitment::ZERO,
        proof: KzgProof::ZERO,
        digest: None,
    }
}

#[allow(unsafe_code)]
pub mod by_blst;
