//! This file knows the wire of sync: how to answer for a decided height, and which answers can be used.
//!
//! An answer is made from the [`Source`] and asks no other tile. Blob bytes leave as they lie in the map.
//!
//! A package that cannot be used is never sent, and one that is received is refused (I7). `net/tests/net/sync.rs` and
//! `serving.rs` there hold that.

use bytes::Bytes;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::SyncWant;
use ultramarine_types::package::{PackagedValue, SyncedValuePackage};
use ultramarine_types::storage::{Absent, Decided, Source};
use ultramarine_types::{Assembly, CommitCertificate, Height, KzgProof};

use crate::streaming::{CheckedInit, InitFault};
use crate::wire::frame::{FrameKind, frame};
use crate::wire::message::{ValueResponse, value_response_frame};

/// A decided value on the wire.
#[derive(Debug)]
pub struct RawDecidedValue {
    /// Proof of the decision. The archive must have the same.
    pub certificate: CommitCertificate,
    /// The aligned archive of a [`SyncedValuePackage`].
    pub value_bytes: AlignedVec,
}

/// An answer, ready to be written.
#[derive(Debug)]
pub struct SyncAnswer {
    /// The stream's bytes, in order. Blobs are slices of the source's own memory.
    pub pieces: Vec<Bytes>,
    /// Whether the operator must be alarmed: the source should have had the height, and had not.
    pub alarm: bool,
}

/// Answers a request for a decided height.
pub fn answer(source: &dyn Source, height: Height, want: SyncWant) -> SyncAnswer {
    let short = |response, alarm| SyncAnswer {
        pieces: vec![value_response_frame(&response)],
        alarm,
    };
    let tip = source.head();
    let absent = || {
        if height > tip {
            short(ValueResponse::NotDecided { tip }, false)
        } else {
            short(ValueResponse::Unavailable, true)
        }
    };
    if want == SyncWant::Certificate {
        return match source.decided(height) {
            Some(decided) => short(
                ValueResponse::Certificate {
                    certificate: decided.certificate,
                },
                false,
            ),
            None => absent(),
        };
    }
    let packed = match source.decided_value(height) {
        Ok((decided, assembly)) => pack_full(decided, assembly),
        Err(Absent::Pruned { .. } | Absent::NeverHeld) => source.decided_payload(height).and_then(pack_metadata_only),
        Err(Absent::Unknown | Absent::Damaged) => None,
    };
    let Some((raw, blobs)) = packed else { return absent() };
    let RawDecidedValue {
        certificate,
        value_bytes,
    } = raw;
    let mut pieces = vec![
        value_response_frame(&ValueResponse::Package { certificate }),
        frame(FrameKind::ValueBytes, &value_bytes),
    ];
    pieces.extend(blobs);
    SyncAnswer { pieces, alarm: false }
}

/// A package with blobs; `None` if its parts do not fit each other, because then nobody could use it.
fn pack_full(decided: Decided, assembly: Assembly) -> Option<(RawDecidedValue, Vec<Bytes>)> {
    let whole = assembly.blobs.len() == decided.init.metadata.commitments.len()
        && assembly
            .blobs
            .iter()
            .all(|part| part.blob.len() == BLOB_BYTES && part.proofs.len() == 1);
    if !whole {
        return None;
    }
    let proofs = assembly.blobs.iter().map(|part| part.proofs.clone()).collect();
    let value = packaged(&decided, &assembly.payload)?;
    let blobs = assembly.blobs.into_iter().map(|part| part.blob).collect();
    Some((pack(&SyncedValuePackage::Full { value, proofs })?, blobs))
}

fn pack_metadata_only((decided, payload): (Decided, Bytes)) -> Option<(RawDecidedValue, Vec<Bytes>)> {
    let value = packaged(&decided, &payload)?;
    Some((pack(&SyncedValuePackage::MetadataOnly { value })?, Vec::new()))
}

fn packaged(decided: &Decided, payload: &Bytes) -> Option<PackagedValue> {
    (payload.len() == decided.init.metadata.payload_bytes as usize).then(|| PackagedValue {
        certificate: decided.certificate.clone(),
        init: decided.init.as_ref().clone(),
        payload: payload.to_vec(),
    })
}

fn pack(package: &SyncedValuePackage) -> Option<RawDecidedValue> {
    let (SyncedValuePackage::Full { value, .. } | SyncedValuePackage::MetadataOnly { value }) = package;
    let value_bytes = rkyv::to_bytes::<Error>(package).ok()?;
    let within = value_bytes.len() <= FrameKind::ValueBytes.body_bytes_max();
    within.then(|| RawDecidedValue {
        certificate: value.certificate.clone(),
        value_bytes,
    })
}

/// A package that has passed every check that needs no signature.
#[derive(Debug)]
pub struct OpenedPackage {
    /// It has the same height and value id as `init`.
    pub certificate: CommitCertificate,
    /// Metadata and origin signatures.
    pub init: CheckedInit,
    /// Payload, as long as the metadata says.
    pub payload: Bytes,
    /// One proof for each commitment. The blobs follow. `None` for a metadata-only package.
    pub proofs: Option<Vec<KzgProof>>,
}

/// Why a package cannot be used. That is its sender's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PackageFault {
    /// The bytes are no package.
    #[error("not an archive of a package")]
    Archive,
    /// Its height is not the one we asked for.
    #[error("of height {found}")]
    Height { found: Height },
    /// The response and the archive have different certificates.
    #[error("two certificates")]
    Certificate,
    /// The metadata does not hash to the value id that was decided.
    #[error("metadata does not hash to the certificate's value id")]
    Id,
    /// The metadata's shape is not legal.
    #[error(transparent)]
    Init(#[from] InitFault),
    /// The payload's length is not the one in the metadata.
    #[error("payload of the wrong length")]
    Payload,
    /// A commitment has no proof, or several.
    #[error("not one proof per commitment")]
    Proofs,
}

impl RawDecidedValue {
    /// Opens a package received for `height`.
    pub fn open(self, height: Height, chain_id: u64, limits: &Limits) -> Result<OpenedPackage, PackageFault> {
        let package =
            rkyv::from_bytes::<SyncedValuePackage, Error>(&self.value_bytes).map_err(|_| PackageFault::Archive)?;
        let (value, proofs) = match package {
            SyncedValuePackage::Full { value, proofs } => (value, Some(proofs)),
            SyncedValuePackage::MetadataOnly { value } => (value, None),
        };
        let PackagedValue {
            certificate,
            init,
            payload,
        } = value;
        if certificate != self.certificate {
            return Err(PackageFault::Certificate);
        }
        if certificate.height != height {
            return Err(PackageFault::Height {
                found: certificate.height,
            });
        }
        let init = CheckedInit::check(init, chain_id, limits)?;
        if init.key().height != height || init.key().id != certificate.value_id {
            return Err(PackageFault::Id);
        }
        let metadata = &init.init().metadata;
        if payload.len() != metadata.payload_bytes as usize {
            return Err(PackageFault::Payload);
        }
        let proofs = match proofs {
            None => None,
            Some(proofs) if proofs.len() == metadata.commitments.len() => {
                let single = |proofs: &Vec<KzgProof>| {
                    if let &[proof] = proofs.as_slice() {
                        Some(proof)
                    } else {
                        None
                    }
                };
                Some(
                    proofs
                        .iter()
                        .map(single)
                        .collect::<Option<Vec<_>>>()
                        .ok_or(PackageFault::Proofs)?,
                )
            }
            Some(_) => return Err(PackageFault::Proofs),
        };
        Ok(OpenedPackage {
            certificate,
            init,
            payload: Bytes::from(payload),
            proofs,
        })
    }
}
