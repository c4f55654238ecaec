//! This file knows the blobs that wait for a verdict about their bytes: who sent them, on which stream, and what
//! becomes of them.
//!
//! Several senders may have bytes for one place at one time. One sender has at most one, because a verdict names only
//! the place and the sender.
//!
//! Keeps: an entry lives until its verdict, whatever becomes of its value. So no verdict is taken for that of other
//! bytes, and the bytes that the lanes hold are counted.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::network::OfferId;
use ultramarine_types::{PeerId, ValueKey};

use super::bits::Bits;

/// Bytes of one blob at the lanes.
#[derive(Debug)]
pub(super) struct Judging {
    /// The stream that brought them.
    stream: OfferId,
    /// The bytes; `None` if their value has no use for them any more.
    pub blob: Option<Bytes>,
}

/// All blobs that wait for a verdict.
#[derive(Debug, Default)]
pub(super) struct Unjudged {
    blobs: BTreeMap<(ValueKey, u16, PeerId), Judging>,
    /// How many of them each stream brought.
    counts: BTreeMap<OfferId, usize>,
}

impl Unjudged {
    pub const fn new() -> Self {
        Self {
            blobs: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Whether a sender has bytes here for one place of a value.
    pub fn has(&self, key: ValueKey, index: u16, sender: PeerId) -> bool {
        self.blobs.contains_key(&(key, index, sender))
    }

    pub fn put(&mut self, key: ValueKey, index: u16, sender: PeerId, stream: OfferId, blob: Bytes) {
        let judging = Judging {
            stream,
            blob: Some(blob),
        };
        let before = self.blobs.insert((key, index, sender), judging);
        assert!(before.is_none(), "one sender has at most one blob for one place here");
        *self.counts.entry(stream).or_default() += 1;
    }

    /// Takes the bytes that a verdict is about.
    pub fn take(&mut self, key: ValueKey, index: u16, sender: PeerId) -> Option<Judging> {
        let judging = self.blobs.remove(&(key, index, sender))?;
        if let Some(count) = self.counts.get_mut(&judging.stream) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&judging.stream);
            }
        }
        Some(judging)
    }

    /// Lets go of the bytes of a value. Their verdicts are still awaited.
    pub fn drop_bytes(&mut self, key: ValueKey) {
        self.of_mut(key).for_each(|judging| judging.blob = None);
    }

    /// Places of a value for which there are bytes here.
    pub fn places(&self, key: ValueKey) -> Bits {
        let here = self.of(key).filter(|(_, judging)| judging.blob.is_some());
        here.map(|(index, _)| usize::from(index)).collect()
    }

    /// Whether a verdict about a blob of this value is awaited.
    pub fn awaits(&self, key: ValueKey) -> bool {
        self.of(key).next().is_some()
    }

    /// The senders about whose blobs verdicts are awaited.
    pub fn senders(&self) -> BTreeSet<PeerId> {
        self.blobs.keys().map(|(_, _, sender)| *sender).collect()
    }

    /// How many blobs of a stream are here.
    pub fn count_of(&self, stream: OfferId) -> usize {
        self.counts.get(&stream).copied().unwrap_or(0)
    }

    /// Bytes of all blobs that are at the lanes.
    pub fn bytes(&self) -> usize {
        self.blobs.len() * BLOB_BYTES
    }

    fn of(&self, key: ValueKey) -> impl Iterator<Item = (u16, &Judging)> {
        let all = (key, 0, PeerId([0; 32]))..=(key, u16::MAX, PeerId([u8::MAX; 32]));
        self.blobs.range(all).map(|((_, index, _), judging)| (*index, judging))
    }

    fn of_mut(&mut self, key: ValueKey) -> impl Iterator<Item = &mut Judging> {
        let all = (key, 0, PeerId([0; 32]))..=(key, u16::MAX, PeerId([u8::MAX; 32]));
        self.blobs.range_mut(all).map(|(_, judging)| judging)
    }
}
