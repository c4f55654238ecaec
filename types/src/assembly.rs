//! This file knows a whole value in memory: its `Init`, lists, payload bytes and blobs, all shared, nothing copied.

use std::sync::Arc;

use bytes::Bytes;

use crate::ids::ValueKey;
use crate::lists::Lists;
use crate::value::Init;

/// All bytes of a value. Cheap to clone: every large field is a counted reference.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// Height and id, computed from `init`.
    pub key: ValueKey,
    /// Metadata and origin signatures.
    pub init: Arc<Init>,
    /// The lists that the metadata binds.
    pub lists: Arc<Lists>,
    /// The execution payload's canonical bytes; see [`crate::execution`].
    pub payload: Bytes,
    /// The blobs in block order, 131,072 bytes each: 4096 field elements, big-endian (EIP-4844). Often slices of a
    /// mapped segment. Empty for a value whose blobs were dropped or never held.
    pub blobs: Vec<Bytes>,
}
