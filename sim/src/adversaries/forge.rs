//! This file knows how to make a second value out of a first: other header, other commitments, all hashes and
//! signatures right; and how to send it in place of the first.

use std::sync::Arc;

use bytes::Bytes;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::{Assembly, Init, Signature, ValueMetadata, sidecar, sign};

use super::Means;
use crate::blobs::{self, Committed};
use crate::block;
use crate::wire::SimFrame;

/// Makes a value like `original`, with header and blobs changed by `change`, lists made anew, and everything signed.
pub fn forge(
    means: &Means<'_>,
    original: &Assembly,
    salt: u64,
    blobs_count: usize,
    change: impl FnOnce(&mut ValueMetadata, &mut [Committed]),
) -> Assembly {
    let mut blobs: Vec<Committed> = (0..blobs_count as u32)
        .map(|index| blobs::committed(index + 3, salt))
        .collect();
    let mut metadata = original.init.metadata.clone();
    metadata.header.extra_data = salt.to_le_bytes().to_vec();
    metadata.header.blob_gas_used = (blobs_count * BLOB_BYTES) as u64;
    change(&mut metadata, &mut blobs);
    metadata.header.block_hash = block::block_hash(&metadata.header);
    finish(means, metadata, blobs)
}

fn finish(means: &Means<'_>, mut metadata: ValueMetadata, blobs: Vec<Committed>) -> Assembly {
    let built = block::finish(metadata.header.clone(), blobs, 200);
    metadata.payload_bytes = built.payload.len() as u32;
    metadata.blobs_count = built.blobs.len() as u32;
    metadata.roots = built.lists.roots();
    let mut init = Init {
        metadata,
        signature: Signature::ZERO,
        header_signature: Signature::ZERO,
    };
    let (key, chain) = (init.key(), &means.chain.identity);
    init.signature = means.sign(&sign::init(chain, &key.id));
    let root = sidecar::header(&init.metadata, means.chain.params.genesis_time).root();
    init.header_signature = means.sign(&sign::sidecar_header(chain, &root));
    Assembly {
        key,
        init: Arc::new(init),
        lists: Arc::new(built.lists),
        payload: built.payload,
        blobs: built.blobs,
    }
}

/// A list, chunk or blob frame with the part of another value in place of its own. A forged payload is one chunk long.
pub fn swap(frame: SimFrame, forged: &Assembly) -> Vec<SimFrame> {
    match frame {
        SimFrame::List { stream, kind, .. } => {
            let mut items = Vec::new();
            forged.lists.write(kind, &mut items);
            vec![SimFrame::List {
                stream,
                kind,
                items: Bytes::from(items),
            }]
        }
        SimFrame::Chunk { stream, index: 0, .. } => vec![SimFrame::Chunk {
            stream,
            index: 0,
            bytes: forged.payload.clone(),
        }],
        SimFrame::Chunk { .. } => vec![],
        SimFrame::Blob { stream, index, bytes } => vec![SimFrame::Blob {
            stream,
            index,
            bytes: forged.blobs.get(index).cloned().unwrap_or(bytes),
        }],
        other => vec![other],
    }
}
