//! This file knows the sync wire: what to answer for a decided height, and what an answer must be to be used.
//!
//! Serving reads the [`Source`] and visits no other core; blob bytes go out as they lie in the map. Keeps I7: a
//! package that cannot be used is never sent, and one that is received is refused.

use bytes::Bytes;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::SyncWant;
use ultramarine_types::package::{PackagedValue, SyncedValuePackage};
use ultramarine_types::storage::{Absent, Decided, Source};
use ultramarine_types::{Assembly, CommitCertificate, Height, KzgProof};

use crate::frame::{Kind, frame};
use crate::message::{ValueResponse, value_response_frame};
use crate::streaming::{CheckedInit, InitFault};

/// A decided value on the wire: its certificate, and the archive of a [`SyncedValuePackage`].
#[derive(Debug)]
pub struct RawDecidedValue {
    /// Proof of the decision; the archive has the same.
    pub certificate: CommitCertificate,
    /// The archive, aligned.
    pub value_bytes: AlignedVec,
}

/// An answer, ready to be written.
#[derive(Debug)]
pub struct Answer {
    /// What goes on the stream, in order. Blobs are slices of the source's own memory.
    pub pieces: Vec<Bytes>,
    /// The source should have had it: an alarm for the operator.
    pub alarm: bool,
}

/// Answers a request for a decided height.
pub fn answer(source: &dyn Source, height: Height, want: SyncWant) -> Answer {
    let short = |response, alarm| Answer {
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
        frame(Kind::ValueBytes, &value_bytes),
    ];
    pieces.extend(blobs);
    Answer { pieces, alarm: false }
}

/// A package with blobs; `None` if the parts do not fit each other, so that it could not be used.
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
    let within = value_bytes.len() <= Kind::ValueBytes.body_bytes_max();
    within.then(|| RawDecidedValue {
        certificate: value.certificate.clone(),
        value_bytes,
    })
}

/// A package that passed every check that needs no signature.
#[derive(Debug)]
pub struct Opened {
    /// Names the same height and value id as `init`.
    pub certificate: CommitCertificate,
    /// Metadata and origin signatures.
    pub init: CheckedInit,
    /// Payload bytes, of the length the metadata says.
    pub payload: Bytes,
    /// One proof per commitment, whose blobs follow; `None` for a metadata-only package.
    pub proofs: Option<Vec<KzgProof>>,
}

/// Why a package cannot be used. Its sender made it so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PackageFault {
    /// The bytes are no package.
    #[error("not an archive of a package")]
    Archive,
    /// Of another height than asked for.
    #[error("of height {found}")]
    Height {
        /// As received.
        found: Height,
    },
    /// Head and archive name different certificates.
    #[error("two certificates")]
    Certificate,
    /// The metadata does not hash to the value id that was decided.
    #[error("metadata does not hash to the certificate's value id")]
    Id,
    /// The metadata's shape is not legal.
    #[error(transparent)]
    Init(#[from] InitFault),
    /// Payload of another length than the metadata says.
    #[error("payload of the wrong length")]
    Payload,
    /// Not one proof for each commitment.
    #[error("not one proof per commitment")]
    Proofs,
}

impl RawDecidedValue {
    /// Opens a package received for `height`.
    pub fn open(self, height: Height, chain_id: u64, limits: &Limits) -> Result<Opened, PackageFault> {
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
        Ok(Opened {
            certificate,
            init,
            payload: Bytes::from(payload),
            proofs,
        })
    }
}
