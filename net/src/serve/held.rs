//! This file knows what an answer needs of a stored value, what that weighs, and where it lies.
//!
//! One blob of a cold value costs one blob: neither the other blobs nor the payload are read or checked for it.

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES};
use ultramarine_types::storage::{Blobs, Decided, DecidedEntry, Source};
use ultramarine_types::{Assembly, Height, Lists, ValueKey};

use crate::bounds;
use crate::streaming::split::split;
use crate::streaming::{Missing, Parts, Ranges};
use crate::wire::message::PartsRequest;

/// What the source reads at the beginning of a value to find a blob of it, and its `Init`: two pages.
const TABLE_BYTES_MAX: u64 = 8192;

/// What an answer needs of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Need {
    key: ValueKey,
    /// Parts of a value that is decided and has its blobs; `None` for all of it.
    parts: Option<NeededParts>,
    /// The most bytes that are sent of it, whatever is read.
    sent_bytes_max: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct NeededParts {
    /// Payload or lists, which are read and checked as a whole.
    has_body: bool,
    blobs: Ranges,
    /// Blobs of the value.
    blobs_count: usize,
}

/// Parts of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Places {
    pub path: PathBuf,
    /// From the file's start.
    pub ranges: Vec<Range<u64>>,
}

impl Need {
    /// All of a value.
    pub const fn of_value(key: ValueKey) -> Self {
        Self {
            key,
            parts: None,
            sent_bytes_max: None,
        }
    }

    pub fn of_parts(source: &dyn Source, request: &PartsRequest) -> Self {
        let key = request.key;
        let Some(missing) = &request.missing else {
            return Self::of_value(key);
        };
        let entry = entry_with_blobs(source, &key);
        Self {
            key,
            parts: entry.map(|entry| NeededParts {
                has_body: needs_body(missing),
                blobs: missing.blobs.clone(),
                blobs_count: entry.blobs_count as usize,
            }),
            sent_bytes_max: Some(missing.bytes()),
        }
    }

    /// Of a package with these blobs, or with all; `None` if the height is not decided here.
    pub fn of_package(source: &dyn Source, height: Height, blobs: Option<&Ranges>) -> Option<Self> {
        let entry = source.entry(height)?;
        let key = entry.key();
        let Some(blobs) = blobs else {
            return Some(Self::of_value(key));
        };
        let parts = (entry.blobs == Blobs::Held).then(|| NeededParts {
            has_body: true,
            blobs: blobs.clone(),
            blobs_count: entry.blobs_count as usize,
        });
        let head = bounds::PACKAGE_FRAME_BYTES_MAX as u64;
        Some(Self {
            key,
            parts,
            sent_bytes_max: Some(head + (blobs.count() * BLOB_BYTES) as u64),
        })
    }

    /// The bytes that are read for it, or sent of what is in memory.
    pub fn weigh(&self, source: &dyn Source) -> u64 {
        if let Some(places) = self.places(source) {
            return places.ranges.iter().map(|range| range.end - range.start).sum();
        }
        // A value that is not on disk is in memory, or nowhere: looking at it costs nothing.
        let all = source.value(&self.key).map_or(0, |value| bytes_of(&value));
        all.min(self.sent_bytes_max.unwrap_or(all))
    }

    /// Where on disk it lies; `None` if it is in memory, or nowhere.
    pub fn places(&self, source: &dyn Source) -> Option<Places> {
        let held = source.on_disk(&self.key)?;
        let all = held.offset..held.offset.checked_add(held.bytes)?;
        let ranges = match &self.parts {
            Some(parts) => parts.ranges(&all).unwrap_or_else(|| vec![all]),
            None => vec![all],
        };
        let path = held.path;
        Some(Places { path, ranges })
    }
}

impl NeededParts {
    /// Where they are in the place of the whole value; `None` if that is too short for its blobs.
    fn ranges(&self, all: &Range<u64>) -> Option<Vec<Range<u64>>> {
        let blob_bytes = BLOB_BYTES as u64;
        let blobs_at = all.end.checked_sub(self.blobs_count as u64 * blob_bytes)?;
        let head_bytes = blobs_at.checked_sub(all.start)?;
        let read_bytes = if self.has_body {
            head_bytes
        } else {
            head_bytes.min(TABLE_BYTES_MAX)
        };
        let read = all.start..all.start + read_bytes;
        let mut ranges = vec![read];
        for index in self.blobs.iter().filter(|index| *index < self.blobs_count) {
            let start = blobs_at + index as u64 * blob_bytes;
            match ranges.last_mut() {
                Some(last) if last.end == start => last.end += blob_bytes,
                _ => ranges.push(start..start + blob_bytes),
            }
        }
        Some(ranges)
    }
}

/// The frames of what a peer misses, or of all; `None` if we have not all of it. An error if the peer asked for parts
/// that it must know the value does not have.
pub(crate) fn parts(source: &dyn Source, request: &PartsRequest) -> Result<Option<Vec<Bytes>>, &'static str> {
    let key = request.key;
    // The peer has the `Init`, which says how many parts there are.
    let is_within = |missing: &Missing, chunks, blobs| {
        let is_within = missing.is_within(chunks, blobs);
        is_within
            .then_some(())
            .ok_or("asks for parts that the value does not have")
    };
    if let Some(missing) = &request.missing
        && entry_with_blobs(source, &key).is_some()
        && let Some(decided) = source.decided(key.height)
    {
        let metadata = &decided.init.metadata;
        let chunks = (metadata.payload_bytes as usize).div_ceil(PAYLOAD_CHUNK_BYTES);
        is_within(missing, chunks, metadata.blobs_count as usize)?;
        return Ok(some_parts(source, &key, &decided, missing));
    }
    let Some(assembly) = whole(source, &key) else {
        return Ok(None);
    };
    if let Some(missing) = &request.missing {
        is_within(missing, assembly.lists.chunks.len(), assembly.blobs.len())?;
    }
    Ok(Some(split(&assembly, request.missing.as_ref())))
}

/// A value, if we hold every blob that its metadata commits to.
pub(crate) fn whole(source: &dyn Source, key: &ValueKey) -> Option<Assembly> {
    let assembly = source.value(key).ok()?;
    (assembly.blobs.len() == assembly.init.metadata.blobs_count as usize).then_some(assembly)
}

fn some_parts(source: &dyn Source, key: &ValueKey, decided: &Decided, missing: &Missing) -> Option<Vec<Bytes>> {
    let blobs = missing.blobs.iter();
    let blobs = blobs.map(|index| Some((index, source.blob(key, index).ok()?)));
    let blobs = blobs.collect::<Option<Vec<_>>>()?;
    let (lists, payload) = if needs_body(missing) {
        let held = source.decided_payload(key.height)?;
        (held.lists, held.payload)
    } else {
        (Lists::default().into(), Bytes::new())
    };
    let parts = Parts {
        init: &decided.init,
        lists: &lists,
        kinds: missing.lists,
        payload: &payload,
        chunks: Some(&missing.chunks),
        blobs,
    };
    Some(parts.frames())
}

fn needs_body(missing: &Missing) -> bool {
    !(missing.lists.is_empty() && missing.chunks.is_empty())
}

/// The decision that a value is of, if it has its blobs.
fn entry_with_blobs(source: &dyn Source, key: &ValueKey) -> Option<DecidedEntry> {
    let entry = source.entry(key.height)?;
    (entry.key() == *key && entry.blobs == Blobs::Held).then_some(entry)
}

fn bytes_of(assembly: &Assembly) -> u64 {
    let blobs = assembly.blobs.iter().map(Bytes::len).sum::<usize>();
    (assembly.payload.len() + assembly.lists.bytes() + blobs) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_blob_of_many_is_one_range_behind_two_pages() {
        let blob = BLOB_BYTES as u64;
        let all = 4096..4096 + 20 * 4096 + 9 * blob;
        let blobs_at = all.end - 9 * blob;
        let mut parts = NeededParts {
            has_body: false,
            blobs: [4, 5, 8].into_iter().collect(),
            blobs_count: 9,
        };
        let found = parts.ranges(&all).expect("it fits");
        let fifth = blobs_at + 4 * blob;
        let expected = [4096..4096 + 8192, fifth..fifth + 2 * blob, all.end - blob..all.end];
        assert_eq!(found, expected);
        parts.has_body = true;
        parts.blobs = Ranges::below(9);
        let found = parts.ranges(&all).expect("it fits");
        assert!(matches!(&found[..], [found] if *found == all));
        parts.blobs_count = 99;
        assert_eq!(parts.ranges(&all), None);
    }
}
