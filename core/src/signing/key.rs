//! This file knows which public keys a validator may have.
//!
//! The rule for signatures takes any encoding of any point. A key with a part of small order, or with two encodings,
//! would be one key with several names. And for a key of small order, anybody can sign.

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::traits::IsIdentity;
use ultramarine_types::PublicKey;

/// Why no validator may have a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFlaw {
    #[error("it is no point of ed25519's curve")]
    NoPoint,
    #[error("it is not the canonical encoding of its point")]
    Encoding,
    #[error("its point is of small order, so anybody can sign for it")]
    SmallOrder,
    #[error("its point has a part of small order, which no secret key makes")]
    Torsion,
}

/// Whether a validator may have the key: the canonical encoding of a point of the prime order.
pub fn check_key(key: &PublicKey) -> Result<(), KeyFlaw> {
    let encoding = CompressedEdwardsY(key.0);
    let point = encoding.decompress().ok_or(KeyFlaw::NoPoint)?;
    if point.compress() != encoding {
        return Err(KeyFlaw::Encoding);
    }
    if point.mul_by_cofactor().is_identity() {
        return Err(KeyFlaw::SmallOrder);
    }
    if !point.is_torsion_free() {
        return Err(KeyFlaw::Torsion);
    }
    Ok(())
}

#[cfg(test)]
#[path = "key/tests.rs"]
pub(super) mod tests;
