//! This file knows how to make load that nobody has seen: blobs of polynomials of low degree with random coefficients.
//!
//! Each costs a millisecond to make, and others as much to carry and to verify as any blob
//! ([`ultramarine_kzg_pipeline::fresh`]).

use anyhow::{Context, Result};
use ultramarine_kzg_pipeline::fresh;
use ultramarine_types::canonical::sha256;

use super::prove::ProvenBlob;

/// Coefficients of each: a proof depends on its challenge from three on.
const COEFFICIENTS: u8 = 4;
/// What coefficients are hashes of begins with this.
const DOMAIN: &[u8] = b"ultramarine/fresh-blob/1";

/// Blobs without end, the same for the same seed and publisher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fresh {
    seed: u64,
    publisher: u64,
    /// Blobs made so far.
    made: u64,
}

impl Fresh {
    /// The blobs of this publisher.
    pub const fn new(seed: u64, publisher: u64) -> Self {
        Self {
            seed,
            publisher,
            made: 0,
        }
    }

    /// The next blobs, made on a thread that may compute.
    pub async fn next(&mut self, blobs: usize) -> Result<Vec<ProvenBlob>> {
        let mut this = *self;
        let (this, made) = tokio::task::spawn_blocking(move || {
            let made: Vec<ProvenBlob> = (0..blobs).map(|_| this.make()).collect();
            (this, made)
        })
        .await
        .context("making a blob panicked")?;
        *self = this;
        Ok(made)
    }

    pub fn make(&mut self) -> ProvenBlob {
        let number = self.made;
        self.made += 1;
        let coefficient = |index: u8| {
            let mut text = DOMAIN.to_vec();
            for part in [self.seed, self.publisher, number] {
                text.extend_from_slice(&part.to_le_bytes());
            }
            text.push(index);
            sha256(&text).0
        };
        let coefficients: Vec<[u8; 32]> = (0..COEFFICIENTS).map(coefficient).collect();
        let made = fresh::make(&coefficients);
        ProvenBlob {
            blob: made.blob.into(),
            commitment: made.commitment,
            proof: made.proof,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn no_publisher_and_no_seed_repeats_another() {
        let mut names = BTreeSet::new();
        for (seed, publisher) in [(1, 0), (1, 1), (2, 0), (0, 1)] {
            let blobs = Fresh::new(seed, publisher).next(12).await.expect("made");
            assert_eq!(blobs.len(), 12);
            names.extend(blobs.iter().map(ProvenBlob::versioned_hash));
        }
        assert_eq!(names.len(), 48);
    }

    #[tokio::test]
    async fn a_seed_makes_the_same_blobs_again_however_they_are_asked_for() {
        let mut one = Fresh::new(7, 3);
        let mut blobs = one.next(5).await.expect("made");
        blobs.extend(one.next(1).await.expect("made"));
        assert_eq!(blobs, Fresh::new(7, 3).next(6).await.expect("made"));
    }

    #[test]
    fn what_is_made_is_what_c_kzg_takes() {
        let mut fresh = Fresh::new(5, 0);
        for _ in 0..16 {
            let made = fresh.make();
            let blob = c_kzg::Blob::from_bytes(&made.blob).expect("131,072 bytes");
            let holds = c_kzg::ethereum_kzg_settings(0).verify_blob_kzg_proof(
                &blob,
                &made.commitment.0.into(),
                &made.proof.0.into(),
            );
            assert!(holds.expect("canonical"));
        }
    }
}
