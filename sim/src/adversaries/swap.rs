//! This file knows how a stream of one value carries another one in its place.

use std::collections::BTreeMap;

use ultramarine_types::{Assembly, Height, ValueKey};

use crate::wire::{SimFrame, StreamId};

/// Forged values by the key of the real one, and the streams that carry them.
#[derive(Default)]
pub struct Swaps {
    forged: BTreeMap<ValueKey, Assembly>,
    streams: BTreeMap<StreamId, ValueKey>,
}

impl Swaps {
    /// The value forged in place of this one.
    pub fn forged(&self, key: &ValueKey) -> Option<&Assembly> {
        self.forged.get(key)
    }

    pub fn put(&mut self, key: ValueKey, forged: Assembly) {
        self.forged.insert(key, forged);
    }

    /// From now on, the stream carries the value forged in place of this one.
    pub fn begin(&mut self, stream: StreamId, key: ValueKey) {
        self.streams.insert(stream, key);
    }

    /// What leaves in place of a frame that is no beginning: on a swapped stream, the forged value's part.
    pub fn outgoing(&self, frame: SimFrame) -> Vec<SimFrame> {
        let forged = |stream| self.streams.get(stream).and_then(|key| self.forged.get(key));
        match frame {
            SimFrame::Chunk { stream, index, bytes } => {
                let bytes = match forged(&stream) {
                    None => bytes,
                    // A forged payload is one chunk long.
                    Some(_) if index > 0 => return vec![],
                    Some(forged) => forged.payload.clone(),
                };
                vec![SimFrame::Chunk { stream, index, bytes }]
            }
            SimFrame::Blob { stream, index, part } => {
                let forged = forged(&stream).and_then(|it| it.blobs.get(index));
                let part = forged.cloned().unwrap_or(part);
                vec![SimFrame::Blob { stream, index, part }]
            }
            other => vec![other],
        }
    }

    pub fn forget(&mut self, below: Height) {
        self.forged.retain(|key, _| key.height > below);
        self.streams.retain(|_, key| key.height > below);
    }
}
