//! This file knows the wire of sync: how to answer for a decided height, and which answers can be used.
//!
//! An answer is made from the [`Source`] and asks no other tile. Blob bytes leave as they lie in the map.
//!
//! A package that cannot be used is never sent, and one that is received is refused (I7). `net/tests/net/sync.rs` and
//! `serving.rs` there hold that.

use bytes::Bytes;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::network::SyncEnd;
use ultramarine_types::package::{PackagedValue, SyncedValuePackage};
use ultramarine_types::storage::{Absent, Blobs, Decided, DecidedEntry, DecidedPayload, Source};
use ultramarine_types::{Assembly, Chain, CommitCertificate, Height, ListKind, Lists};

use crate::streaming::{Brings, CheckedInit, InitFault, Ranges};
use crate::wire::frame::{FrameKind, Part, frame};
use crate::wire::message::{ValueRequest, ValueResponse, ValueWant, value_response_frame};

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
pub struct Answer {
    /// The stream's bytes, in order. Blobs are slices of the source's own memory.
    pub pieces: Vec<Bytes>,
    /// Whether the operator must be alarmed: the source should have had the height, and had not.
    pub alarm: bool,
}

/// Answers a request for a decided height; an error if the peer asked for blobs that the value does not have.
pub fn answer(source: &dyn Source, request: &ValueRequest) -> Result<Answer, &'static str> {
    let short = |response, alarm| Answer {
        pieces: vec![value_response_frame(&response)],
        alarm,
    };
    let height = request.height;
    let tip = source.head();
    let absent = || {
        if height > tip {
            short(ValueResponse::NotDecided { tip }, false)
        } else {
            short(ValueResponse::Unavailable, true)
        }
    };
    let blobs = match &request.want {
        ValueWant::Package { blobs } => blobs.as_ref(),
        ValueWant::Certificate => {
            return Ok(match source.entry(height) {
                Some(entry) => short(
                    ValueResponse::Certificate {
                        certificate: entry.certificate,
                    },
                    false,
                ),
                None => absent(),
            });
        }
    };
    let held = source.entry(height).filter(|entry| entry.blobs == Blobs::Held);
    let packed = match (blobs, held) {
        (Some(wanted), Some(entry)) => {
            if !wanted.is_within(entry.blobs_count as usize) {
                return Err("asks for blobs that the value does not have");
            }
            pack_some(source, &entry, wanted)
        }
        // Without blobs there is none to choose.
        (Some(_), None) | (None, _) => match source.decided_value(height) {
            Ok((decided, assembly)) => pack_full(&decided, assembly),
            Err(Absent::Pruned { .. } | Absent::NeverHeld) => {
                source.decided_payload(height).and_then(pack_metadata_only)
            }
            Err(Absent::Unknown | Absent::Damaged) => None,
        },
    };
    let Some((raw, blobs)) = packed else {
        return Ok(absent());
    };
    let RawDecidedValue {
        certificate,
        value_bytes,
    } = raw;
    let mut pieces = vec![
        value_response_frame(&ValueResponse::Package { certificate }),
        frame(FrameKind::ValueBytes, &value_bytes),
    ];
    pieces.extend(blobs);
    Ok(Answer { pieces, alarm: false })
}

/// A package with all blobs; `None` if its parts do not fit each other, because then nobody could use it.
fn pack_full(decided: &Decided, assembly: Assembly) -> Option<(RawDecidedValue, Vec<Bytes>)> {
    let is_whole = assembly.blobs.len() == decided.init.metadata.blobs_count as usize;
    pack_with(decided, &assembly.lists, &assembly.payload, assembly.blobs).filter(|_| is_whole)
}

/// A package with these blobs. The others are not read.
fn pack_some(source: &dyn Source, entry: &DecidedEntry, wanted: &Ranges) -> Option<(RawDecidedValue, Vec<Bytes>)> {
    let key = entry.key();
    let blobs = wanted.iter().map(|index| source.blob(&key, index).ok());
    let blobs = blobs.collect::<Option<Vec<_>>>()?;
    let held = source.decided_payload(key.height)?;
    pack_with(&held.decided, &held.lists, &held.payload, blobs)
}

fn pack_with(
    decided: &Decided,
    lists: &Lists,
    payload: &Bytes,
    blobs: Vec<Bytes>,
) -> Option<(RawDecidedValue, Vec<Bytes>)> {
    if blobs.iter().any(|blob| blob.len() != BLOB_BYTES) {
        return None;
    }
    let value = packaged(decided, lists, payload)?;
    Some((pack(&SyncedValuePackage::Full { value })?, blobs))
}

fn pack_metadata_only(held: DecidedPayload) -> Option<(RawDecidedValue, Vec<Bytes>)> {
    let value = packaged(&held.decided, &held.lists, &held.payload)?;
    Some((pack(&SyncedValuePackage::MetadataOnly { value })?, Vec::new()))
}

fn packaged(decided: &Decided, lists: &Lists, payload: &Bytes) -> Option<PackagedValue> {
    let metadata = &decided.init.metadata;
    let fits = payload.len() == metadata.payload_bytes as usize
        && lists.commitments.len() == metadata.blobs_count as usize
        && lists.digests.len() == metadata.blobs_count as usize;
    fits.then(|| PackagedValue {
        certificate: decided.certificate.clone(),
        init: decided.init.as_ref().clone(),
        lists: lists.clone(),
        payload: payload.to_vec(),
    })
}

fn pack(package: &SyncedValuePackage) -> Option<RawDecidedValue> {
    let (SyncedValuePackage::Full { value } | SyncedValuePackage::MetadataOnly { value }) = package;
    let value_bytes = rkyv::to_bytes::<Error>(package).ok()?;
    let within = value_bytes.len() <= FrameKind::ValueBytes.body_bytes_max();
    within.then(|| RawDecidedValue {
        certificate: value.certificate.clone(),
        value_bytes,
    })
}

/// What an answer to a request for a height is, by its first frame.
#[derive(Debug)]
pub enum Reply {
    /// It ends here.
    Short(SyncEnd),
    /// A package comes next, with this certificate.
    Package(CommitCertificate),
}

impl Reply {
    /// Reads the first frame's message; an error if it answers something else than what was asked.
    pub fn of(response: ValueResponse, request: &ValueRequest) -> Result<Self, &'static str> {
        let end = match (response, &request.want) {
            (ValueResponse::NotDecided { tip }, _) => SyncEnd::NotDecided { tip },
            (ValueResponse::Unavailable, _) => SyncEnd::Unavailable,
            (ValueResponse::Certificate { certificate }, ValueWant::Certificate)
                if certificate.height == request.height =>
            {
                SyncEnd::Certificate(certificate)
            }
            (ValueResponse::Package { certificate }, ValueWant::Package { .. }) => {
                return Ok(Self::Package(certificate));
            }
            (ValueResponse::Certificate { .. } | ValueResponse::Package { .. }, _) => {
                return Err("not the answer that was asked for");
            }
        };
        Ok(Self::Short(end))
    }
}

/// A package that has passed every check that needs no signature.
#[derive(Debug)]
pub struct OpenedPackage {
    /// It has the same height and value id as `init`.
    pub certificate: CommitCertificate,
    /// Metadata and origin signatures.
    pub init: CheckedInit,
    /// Those that the metadata binds.
    pub lists: Lists,
    /// Payload, as long as the metadata says.
    pub payload: Bytes,
    /// Whether the blobs that were asked for follow. They do not behind a metadata-only package.
    pub is_full: bool,
}

impl OpenedPackage {
    /// What it brings to whoever asked for these blobs (`None`: all), and the blobs that come behind it.
    pub fn brings(&self, asked_for: Option<Ranges>) -> (Brings, Ranges) {
        let certificate = self.certificate.clone();
        if !self.is_full {
            return (Brings::MetadataOnly(certificate), Ranges::default());
        }
        let follow = match &asked_for {
            Some(blobs) => blobs.clone(),
            None => Ranges::below(self.init.blobs_count()),
        };
        let blobs = asked_for;
        (Brings::Full { certificate, blobs }, follow)
    }

    /// Its lists and its payload's chunks, as a stream of the value would bring them.
    pub fn small_parts(&self) -> impl Iterator<Item = Part> {
        let lists = ListKind::ALL.into_iter().map(|kind| {
            let mut items = Vec::new();
            self.lists.write(kind, &mut items);
            let items = items.into();
            Part::List { kind, items }
        });
        let starts = (0..self.payload.len()).step_by(PAYLOAD_CHUNK_BYTES);
        let chunks = (0u32..).zip(starts).map(|(index, start)| {
            let end = self.payload.len().min(start + PAYLOAD_CHUNK_BYTES);
            let bytes = self.payload.slice(start..end);
            Part::Chunk { index, bytes }
        });
        lists.chain(chunks)
    }
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
    #[error("the metadata binds another list of {0:?}")]
    List(ListKind),
    /// The payload's length is not the one in the metadata.
    #[error("payload of the wrong length")]
    Payload,
}

impl RawDecidedValue {
    /// Opens a package received for `height`.
    pub fn open(self, height: Height, chain: &Chain) -> Result<OpenedPackage, PackageFault> {
        let package =
            rkyv::from_bytes::<SyncedValuePackage, Error>(&self.value_bytes).map_err(|_| PackageFault::Archive)?;
        let (value, is_full) = match package {
            SyncedValuePackage::Full { value } => (value, true),
            SyncedValuePackage::MetadataOnly { value } => (value, false),
        };
        let PackagedValue {
            certificate,
            init,
            lists,
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
        let init = CheckedInit::check(init, chain)?;
        if init.key().height != height || init.key().id != certificate.value_id {
            return Err(PackageFault::Id);
        }
        let metadata = &init.init().metadata;
        if let Some(kind) = lists.misfit(metadata, init.proofs_per_blob()) {
            return Err(PackageFault::List(kind));
        }
        if payload.len() != metadata.payload_bytes as usize {
            return Err(PackageFault::Payload);
        }
        Ok(OpenedPackage {
            certificate,
            init,
            lists,
            payload: Bytes::from(payload),
            is_full,
        })
    }
}
