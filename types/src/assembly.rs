//! This file knows a whole value in memory: its `Init`, payload bytes and blobs, all shared, nothing copied.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::{KzgProof, ValueKey};
use crate::value::Init;

/// One blob with its proofs. The commitment stands in the [`Init`].
#[derive(Clone, Debug)]
pub struct BlobPart {
    /// 131,072 bytes: 4096 field elements, big-endian (EIP-4844). Often a slice of a mapped segment.
    pub blob: Bytes,
    /// One proof (EIP-4844); more where cell proofs come (EIP-7594).
    pub proofs: Vec<KzgProof>,
}

/// All bytes of a value. Cheap to clone: every large field is a counted reference.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// Height and id, computed from `init`.
    pub key: ValueKey,
    /// Metadata and origin signatures.
    pub init: Arc<Init>,
    /// The execution payload's canonical bytes; see [`crate::execution`].
    pub payload: Bytes,
    /// One per commitment of `init`, in the same order. Empty for a value whose blobs were dropped or never held.
    pub blobs: Vec<BlobPart>,
}
