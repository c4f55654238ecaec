//! This part of the map knows what segment files occupy on disk, by kind, without asking for all of them each time.
//!
//! A file is asked for its blocks when something changed them: when it is begun, sealed, recycled or found.
//!
//! Keeps: the totals are the sums of the files' entries.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Weak;

use rustix::fs::{Advice, fadvise};
use ultramarine_types::ChainIdentity;

use super::Segments;
use crate::format::PAGE_BYTES;
use crate::reserve::occupied_bytes;
use crate::segment::{Class, SEGMENT_FIRST_RECORD, SegmentHeader, SegmentId};

/// What a file is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Use {
    /// A segment in use, and where its synced records end.
    Used(Class, u64),
    /// A retired segment that waits for its leases.
    Retired(Class),
    /// It waits to be recycled.
    Free,
}

#[derive(Clone, Copy, Debug)]
struct FileEntry {
    purpose: Use,
    disk_bytes: u64,
}

/// What the segment files of a store occupy, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SegmentBytes {
    /// Segments of values, in use or retired.
    pub values: u64,
    /// Segments of payloads, in use or retired.
    pub payloads: u64,
    pub free: u64,
    /// Records in segments in use.
    pub records: u64,
    /// Retired segments, those among them that have no name any more included.
    pub leased: u64,
    /// How many are in use.
    pub segments: u64,
}

/// The files, and the sums over them.
#[derive(Debug, Default)]
pub(super) struct Occupied {
    files: BTreeMap<SegmentId, FileEntry>,
    totals: SegmentBytes,
    /// Files without a name whose blocks come back when their leases end.
    nameless: Vec<(Weak<()>, u64)>,
}

impl Occupied {
    /// Something changed a file or what it is there for: asks for its blocks.
    pub fn note(&mut self, id: SegmentId, purpose: Use, path: &Path) {
        self.forget(id);
        let disk_bytes = occupied_bytes(path);
        let file = FileEntry { purpose, disk_bytes };
        count(&mut self.totals, &file, u64::wrapping_add);
        self.files.insert(id, file);
    }

    /// The synced records of a segment in use end here.
    pub fn end(&mut self, id: SegmentId, end: u64) {
        if let Some(file) = self.files.get_mut(&id)
            && let Use::Used(class, _) = file.purpose
        {
            count(&mut self.totals, file, u64::wrapping_sub);
            file.purpose = Use::Used(class, end);
            count(&mut self.totals, file, u64::wrapping_add);
        }
    }

    /// A file is gone.
    pub fn forget(&mut self, id: SegmentId) {
        if let Some(file) = self.files.remove(&id) {
            count(&mut self.totals, &file, u64::wrapping_sub);
        }
    }

    /// A retired file loses its name, and its blocks once nobody leases it.
    pub fn unname(&mut self, id: SegmentId, lease: Weak<()>) {
        let disk_bytes = self.files.get(&id).map_or(0, |file| file.disk_bytes);
        self.forget(id);
        self.nameless.push((lease, disk_bytes));
    }

    pub fn totals(&mut self) -> SegmentBytes {
        self.nameless.retain(|(lease, _)| lease.strong_count() > 0);
        let nameless: u64 = self.nameless.iter().map(|(_, bytes)| bytes).sum();
        SegmentBytes {
            leased: self.totals.leased + nameless,
            ..self.totals
        }
    }

    /// Adds every file up again.
    pub fn check_whole(&self) {
        let mut totals = SegmentBytes::default();
        for file in self.files.values() {
            count(&mut totals, file, u64::wrapping_add);
        }
        assert_eq!(totals, self.totals, "the totals are the sums of the files");
    }
}

impl Segments {
    /// The chain that the files belong to.
    pub(crate) const fn chain(&self) -> ChainIdentity {
        self.chain
    }

    /// The segments in use, oldest first.
    pub(crate) fn ids(&self) -> Vec<SegmentId> {
        self.state().used.keys().copied().collect()
    }

    /// Reads the first page of a segment again; what is wrong with it. One that is gone has nothing wrong.
    pub(crate) fn check_header(&self, id: SegmentId) -> Result<(), String> {
        let Some(segment) = self.segment(id) else {
            return Ok(());
        };
        let mut page = vec![0; SEGMENT_FIRST_RECORD as usize];
        let read = File::open(&segment.path).and_then(|file| {
            // The device is asked, not the cache, where the file system allows that.
            let _ = fadvise(&file, 0, NonZero::new(SEGMENT_FIRST_RECORD), Advice::DontNeed);
            file.read_exact_at(&mut page, 0)
        });
        let outcome = match (read, SegmentHeader::decode(&page)) {
            (Err(error), _) => Err(format!("segment {id} cannot be read: {error}")),
            (Ok(()), Some(header)) if header.id == id && header.class == segment.class => Ok(()),
            (Ok(()), _) => Err(format!("the header of segment {id} is damaged")),
        };
        // It may have been retired, and its file begun anew, while it was read.
        if self.segment(id).is_none() { Ok(()) } else { outcome }
    }

    /// What the files occupy, and how much of it is records.
    pub(crate) fn occupied(&self) -> SegmentBytes {
        self.state().occupied.totals()
    }
}

/// Adds a file to the totals, or takes it away.
fn count(totals: &mut SegmentBytes, file: &FileEntry, change: fn(u64, u64) -> u64) {
    let mut with = |total: fn(&mut SegmentBytes) -> &mut u64, bytes| {
        let total = total(totals);
        *total = change(*total, bytes);
    };
    match file.purpose {
        Use::Used(Class::Values, _) | Use::Retired(Class::Values) => with(|totals| &mut totals.values, file.disk_bytes),
        Use::Used(Class::Payloads, _) | Use::Retired(Class::Payloads) => {
            with(|totals| &mut totals.payloads, file.disk_bytes);
        }
        Use::Free => with(|totals| &mut totals.free, file.disk_bytes),
    }
    match file.purpose {
        Use::Used(_, end) => {
            // What was punched is no record any more. A tail is given back when the segment is sealed.
            let records_end = end.min(file.disk_bytes);
            with(|totals| &mut totals.records, records_end.saturating_sub(PAGE_BYTES));
            with(|totals| &mut totals.segments, 1);
        }
        Use::Retired(_) => with(|totals| &mut totals.leased, file.disk_bytes),
        Use::Free => {}
    }
}
