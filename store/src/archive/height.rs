//! This file knows the bytes of one archived height: its certificate, its value, and its blobs if they were held.
//!
//! ```text
//!   │ head 64 │ blobs' checksums │ certificate │ metadata │ signatures │ lists │ payload │ blob 0 │ blob 1 │ …
//!             └──────────────────────────── body_crc ──────────────────────────────────┘
//! ```

use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::canonical::Cursor;
use ultramarine_types::consensus::CertificateSignature;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::limits::{
    BLOB_BYTES, BLOBS_PER_BLOCK_MAX, INIT_BYTES_MAX, LISTS_BYTES_MAX, PAYLOAD_BYTES_MAX, VALIDATORS_MAX,
};
use ultramarine_types::lists::chunk_hashes;
use ultramarine_types::{
    Address, Assembly, CommitCertificate, Height, Init, ListKind, Round, Signature, ValueId, ValueKey, ValueMetadata,
};

use crate::format::{Fields, crc32c};
use crate::record::{Unfit, check_parts, content_of, decode_lists, misfit};

const HEIGHT_MAGIC: [u8; 4] = *b"UHGT";
/// Bytes of the head. Its checksum is the last four.
pub const HEAD_BYTES: usize = 64;
const COVERED_BYTES: usize = HEAD_BYTES - 4;
const SIGNATURES_BYTES: usize = 2 * Signature::BYTES;
/// One validator's part of a certificate.
const SIGNER_BYTES: usize = Address::BYTES + Signature::BYTES;

/// A decided height as an archive has it.
#[derive(Clone, Debug)]
pub struct ArchivedHeight {
    pub certificate: CommitCertificate,
    /// The value. It has no blobs where the node that archived it did not hold them.
    pub assembly: Assembly,
}

impl ArchivedHeight {
    /// Whether every blob that the value commits to is there.
    pub fn is_whole(&self) -> bool {
        self.assembly.blobs.len() == self.assembly.init.metadata.blobs_count as usize
    }
}

/// What is wrong with the bytes of a height.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeightFlaw {
    #[error("it is cut short")]
    Short,
    #[error("its head is damaged")]
    Head,
    #[error("its body is damaged")]
    Body,
    #[error("it is another height's, or another value's, than the index says")]
    Foreign,
    #[error("its certificate is of another value")]
    Certificate,
    #[error("its list {kind:?} is not the one that its metadata binds")]
    List { kind: ListKind },
    #[error("its payload is not the one that its metadata binds")]
    Payload,
    #[error("blob {index} is damaged")]
    Blob {
        /// Its position among the blobs, from 0.
        index: usize,
    },
    #[error("blob {index} has another digest than its metadata binds")]
    Digest {
        /// Its position among the blobs, from 0.
        index: usize,
    },
}

struct Head {
    key: ValueKey,
    blobs_count: u32,
    certificate_bytes: u32,
    metadata_bytes: u32,
    lists_bytes: u32,
    payload_bytes: u32,
    body_crc: u32,
}

impl Head {
    fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut fields = Fields::default();
        fields
            .bytes(&HEIGHT_MAGIC)
            .u64(self.key.height.0)
            .bytes(&self.key.id.0[..16])
            .u32(self.blobs_count)
            .u32(self.certificate_bytes)
            .u32(self.metadata_bytes)
            .u32(self.lists_bytes)
            .u32(self.payload_bytes)
            .u32(self.body_crc)
            .pad_to(COVERED_BYTES);
        let crc = crc32c(&fields.0);
        fields.u32(crc);
        fields.0.try_into().expect("the fields above add up to the head")
    }

    fn decode(bytes: &[u8], key: ValueKey) -> Result<Self, HeightFlaw> {
        let (covered, rest) = bytes.split_at_checked(COVERED_BYTES).ok_or(HeightFlaw::Short)?;
        if Cursor::new(rest).u32().ok_or(HeightFlaw::Short)? != crc32c(covered) {
            return Err(HeightFlaw::Head);
        }
        let mut fields = Cursor::new(covered);
        let mut read = || {
            let magic = fields.array::<4>()?;
            let (height, id) = (fields.u64()?, fields.array::<16>()?);
            let head = Self {
                key,
                blobs_count: fields.u32()?,
                certificate_bytes: fields.u32()?,
                metadata_bytes: fields.u32()?,
                lists_bytes: fields.u32()?,
                payload_bytes: fields.u32()?,
                body_crc: fields.u32()?,
            };
            (magic == HEIGHT_MAGIC && head.is_bounded()).then_some((Height(height), id, head))
        };
        let (height, id, head) = read().ok_or(HeightFlaw::Head)?;
        if height != key.height || !key.id.0.starts_with(&id) {
            return Err(HeightFlaw::Foreign);
        }
        Ok(head)
    }

    /// Whether every length is one that a writer could have written, so that the sums below cannot overflow.
    const fn is_bounded(&self) -> bool {
        self.blobs_count <= BLOBS_PER_BLOCK_MAX
            && self.certificate_bytes as usize <= VALIDATORS_MAX * SIGNER_BYTES + 64
            && self.metadata_bytes as usize <= INIT_BYTES_MAX
            && self.lists_bytes as usize <= LISTS_BYTES_MAX
            && self.payload_bytes as usize <= PAYLOAD_BYTES_MAX
    }

    const fn body_bytes(&self) -> usize {
        self.blobs_count as usize * 4
            + self.certificate_bytes as usize
            + self.metadata_bytes as usize
            + SIGNATURES_BYTES
            + self.lists_bytes as usize
            + self.payload_bytes as usize
    }
}

/// A height ready to be written: head and body, then the blobs as they are.
#[derive(Debug)]
pub struct EncodedHeight {
    pub key: ValueKey,
    pub head: Bytes,
    pub blobs: Vec<Bytes>,
}

impl EncodedHeight {
    pub fn bytes(&self) -> u64 {
        self.head.len() as u64 + (self.blobs.len() * BLOB_BYTES) as u64
    }
}

/// Lays out a decided height. A value with no blobs though it commits to some is archived without them.
pub fn encode(certificate: &CommitCertificate, assembly: &Assembly) -> Result<EncodedHeight, Unfit> {
    content_of(assembly)?;
    check_parts(assembly, &assembly.blobs)?;
    let signers = encode_certificate(certificate);
    let metadata = assembly.init.metadata.canonical().into_bytes();
    let length = |what, bytes: usize, most: usize| {
        let fits = u32::try_from(bytes).ok().filter(|_| bytes <= most);
        fits.ok_or(Unfit::Size { what, bytes })
    };
    let mut head = Head {
        key: assembly.key,
        blobs_count: length("blobs", assembly.blobs.len(), BLOBS_PER_BLOCK_MAX as usize)?,
        certificate_bytes: length("certificate", signers.len(), VALIDATORS_MAX * SIGNER_BYTES + 64)?,
        metadata_bytes: length("metadata", metadata.len(), INIT_BYTES_MAX)?,
        lists_bytes: length("lists", assembly.lists.bytes(), LISTS_BYTES_MAX)?,
        payload_bytes: length("payload", assembly.payload.len(), PAYLOAD_BYTES_MAX)?,
        body_crc: 0,
    };
    let mut fields = Fields(Vec::with_capacity(HEAD_BYTES + head.body_bytes()));
    fields.pad_to(HEAD_BYTES);
    for blob in &assembly.blobs {
        fields.u32(crc32c(blob));
    }
    fields
        .bytes(&signers)
        .bytes(&metadata)
        .bytes(&assembly.init.signature.0)
        .bytes(&assembly.init.header_signature.0);
    for kind in ListKind::ALL {
        assembly.lists.write(kind, &mut fields.0);
    }
    fields.bytes(&assembly.payload);
    let mut bytes = fields.0;
    assert_eq!(
        bytes.len(),
        HEAD_BYTES + head.body_bytes(),
        "the body is as long as its head says"
    );
    head.body_crc = crc32c(&bytes[HEAD_BYTES..]);
    bytes[..HEAD_BYTES].copy_from_slice(&head.encode());
    Ok(EncodedHeight {
        key: assembly.key,
        head: bytes.into(),
        blobs: assembly.blobs.clone(),
    })
}

/// Reads the height that the index names out of its bytes, and checks all of it: checksums, the certificate's value id,
/// and every hash that the id binds. Payload and blobs are slices of the bytes given.
pub fn decode(bytes: &Bytes, key: ValueKey) -> Result<ArchivedHeight, HeightFlaw> {
    let head = Head::decode(bytes, key)?;
    let blobs_at = HEAD_BYTES + head.body_bytes();
    if bytes.len() != blobs_at + head.blobs_count as usize * BLOB_BYTES {
        return Err(HeightFlaw::Short);
    }
    let body = bytes.get(HEAD_BYTES..blobs_at).ok_or(HeightFlaw::Short)?;
    if crc32c(body) != head.body_crc {
        return Err(HeightFlaw::Body);
    }
    let mut fields = Cursor::new(body);
    let mut read = || {
        let crcs = (0..head.blobs_count)
            .map(|_| fields.u32())
            .collect::<Option<Vec<_>>>()?;
        let certificate = decode_certificate(fields.slice(head.certificate_bytes as usize)?)?;
        let metadata = ValueMetadata::read(fields.slice(head.metadata_bytes as usize)?)?;
        let init = Init {
            signature: Signature(fields.array()?),
            header_signature: Signature(fields.array()?),
            metadata,
        };
        let lists = decode_lists(&init.metadata, fields.slice(head.lists_bytes as usize)?)?;
        let is_all = head.blobs_count == 0 || head.blobs_count == init.metadata.blobs_count;
        is_all.then_some((crcs, certificate, init, lists))
    };
    let (crcs, certificate, init, lists) = read().ok_or(HeightFlaw::Body)?;
    if init.key() != key {
        return Err(HeightFlaw::Foreign);
    }
    if (certificate.height, certificate.value_id) != (key.height, key.id) {
        return Err(HeightFlaw::Certificate);
    }
    if let Some(kind) = misfit(&lists, &init.metadata) {
        return Err(HeightFlaw::List { kind });
    }
    let payload = bytes.slice(blobs_at - head.payload_bytes as usize..blobs_at);
    if head.payload_bytes != init.metadata.payload_bytes || chunk_hashes(&payload) != lists.chunks {
        return Err(HeightFlaw::Payload);
    }
    let mut blobs = Vec::with_capacity(crcs.len());
    for (index, crc) in crcs.into_iter().enumerate() {
        let at = blobs_at + index * BLOB_BYTES;
        let blob = bytes.slice(at..at + BLOB_BYTES);
        if crc32c(&blob) != crc {
            return Err(HeightFlaw::Blob { index });
        }
        let commitment = lists.commitments.get(index).ok_or(HeightFlaw::Body)?;
        if lists.digests.get(index) != Some(&blob_digest(&blob, commitment)) {
            return Err(HeightFlaw::Digest { index });
        }
        blobs.push(blob);
    }
    Ok(ArchivedHeight {
        certificate,
        assembly: Assembly {
            key,
            init: Arc::new(init),
            lists: Arc::new(lists),
            payload,
            blobs,
        },
    })
}

fn encode_certificate(certificate: &CommitCertificate) -> Vec<u8> {
    let mut fields = Fields::default();
    fields
        .u64(certificate.height.0)
        .u32(certificate.round.0)
        .bytes(&certificate.value_id.0);
    for signer in &certificate.signatures {
        fields.bytes(&signer.address.0).bytes(&signer.signature.0);
    }
    fields.0
}

fn decode_certificate(bytes: &[u8]) -> Option<CommitCertificate> {
    let mut fields = Cursor::new(bytes);
    let (height, round, value_id) = (fields.u64()?, fields.u32()?, fields.array()?);
    let (signers, rest) = fields.rest().as_chunks::<SIGNER_BYTES>();
    let signatures = signers.iter().map(|signer| {
        let mut fields = Cursor::new(signer);
        Some(CertificateSignature {
            address: Address(fields.array()?),
            signature: Signature(fields.array()?),
        })
    });
    let signatures = signatures.collect::<Option<Vec<_>>>()?;
    rest.is_empty().then_some(CommitCertificate {
        height: Height(height),
        round: Round(round),
        value_id: ValueId(value_id),
        signatures,
    })
}
