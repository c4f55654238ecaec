//! This file knows the segment files as files: it begins, maps, seals, recycles and removes them. Nothing else may.
//!
//! A map is undefined behaviour and a SIGBUS if its file shrinks under it, and stale if its file is written again. So:
//! - a map covers only bytes that were synced and are never written again;
//! - a file is shortened only behind them;
//! - a file is recycled only when it is in no table any more and the last lease on it is gone.
//!
//! A page that the disk does not give back is an error of [`Segments::read`] and [`Segments::slice`]. One that is lost
//! after that, under a reader, is a page of zeros and noted (`mapped/fault.rs`).
//!
//! A reader that keeps a lease too long keeps the bytes: the file is unlinked instead, and its blocks come back with
//! the last map.
//!
//! ```text
//!   begin ─▶ append… ─▶ seal ─▶ retire ─▶ (leases zero) ─▶ free ─▶ begin under a new number
//!                                     └─▶ (deadline)    ─▶ unlinked
//! ```
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::{FallocateFlags, fallocate};
use ultramarine_types::ChainIdentity;
use ultramarine_types::storage::OnDisk;

use self::fault::{Faults, Guard, pages_mended};
use self::occupied::{Occupied, Use};
use self::unlink::Unlinker;
use crate::format::Lineage;
use crate::segment::{Class, FileName, Location, SEGMENT_FIRST_RECORD, SegmentHeader, SegmentId, free_file_name};

mod fault;
pub(crate) mod occupied;
mod unlink;

#[cfg(test)]
mod tests;

/// How long a retired segment waits for its leases before it is unlinked instead of recycled: longer than serving one
/// height to a slow peer may take.
pub const LEASE_DEADLINE: Duration = Duration::from_secs(30);
/// Most bytes of retired segments that wait for leases; beyond, the oldest is unlinked at once.
const WAITING_BYTES_MAX: u64 = 1 << 30;
/// Files kept for recycling: one is used while the next is filled.
const FREE_FILES_MAX: usize = 2;
/// A sealed segment's unused tail is given back to the file system when it is at least this much.
const TAIL_BYTES_MIN: u64 = 1 << 20;

/// All segment files of a store. Shared by the writer and every reader.
#[derive(Debug)]
pub struct Segments {
    folder: PathBuf,
    chain: ChainIdentity,
    state: Mutex<State>,
    /// As many pages of zeros were looked into.
    mended_seen: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    used: BTreeMap<SegmentId, Arc<Segment>>,
    free: Vec<(SegmentId, u64)>,
    waiting: Vec<Waiting>,
    unlinker: Unlinker,
    occupied: Occupied,
}

/// A segment in use.
#[derive(Debug)]
struct Segment {
    class: Class,
    path: PathBuf,
    /// Bytes from the start that are synced and will never be written again.
    synced_bytes: AtomicU64,
    newest: Mutex<Newest>,
    lease: Lease,
    faults: Arc<Faults>,
}

/// The newest map of a segment; longer ones replace it as the segment grows.
#[derive(Debug, Default)]
enum Newest {
    /// Nobody read it yet.
    #[default]
    Unmapped,
    /// Kept for the next reader.
    Mapped(Arc<Map>),
    /// The segment is retired. A reader that looked it up before may still come. A map kept here for a next reader,
    /// which will not come, would be a lease that nobody ends.
    Closed,
}

/// Held by every map of a segment, and once by its table entry; the file is nobody's when only that one is left.
type Lease = Arc<()>;

#[derive(Debug)]
struct Map {
    /// `None` if it cannot be watched: then nobody is given a slice of it.
    guard: Option<Guard>,
    bytes: Mmap,
    _lease: Lease,
}

/// A part of a map, kept alive by it.
struct Slice {
    map: Arc<Map>,
    start: usize,
    end: usize,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.map.bytes[self.start..self.end]
    }
}

#[derive(Debug)]
struct Waiting {
    id: SegmentId,
    segment: Arc<Segment>,
    file_bytes: u64,
    since: Instant,
}

/// A segment just begun.
#[derive(Clone, Debug)]
pub struct Begun {
    pub id: SegmentId,
    /// What its records carry.
    pub lineage: Lineage,
    pub path: PathBuf,
    /// Preallocated; a recycled file may have more than was asked for.
    pub capacity_bytes: u64,
}

/// A segment file found at start.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// Its number, from its name.
    pub id: SegmentId,
    /// Its class, from its name.
    pub class: Class,
    pub path: PathBuf,
    pub file_bytes: u64,
}

impl Segments {
    /// Looks through the folder and takes every segment file into the table. Nothing is changed on disk.
    pub fn open(folder: &Path, chain: ChainIdentity, next_id_min: u64) -> io::Result<(Self, Vec<FoundFile>)> {
        let mut state = State {
            next_id: next_id_min,
            ..State::default()
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().and_then(FileName::parse) else {
                continue;
            };
            state.next_id = state.next_id.max(name.id().0 + 1);
            let file_bytes = entry.metadata()?.len();
            match name {
                FileName::Free(id) => {
                    state.occupied.note(id, Use::Free, &entry.path());
                    state.free.push((id, file_bytes));
                }
                FileName::Used(class, id) => {
                    state.occupied.note(id, Use::Used(class, file_bytes), &entry.path());
                    found.push(FoundFile {
                        id,
                        class,
                        path: entry.path(),
                        file_bytes,
                    });
                    state
                        .used
                        .insert(id, Arc::new(Segment::new(class, entry.path(), file_bytes)));
                }
            }
        }
        found.sort_by_key(|file| file.id);
        Ok((
            Self {
                folder: folder.to_owned(),
                chain,
                state: Mutex::new(state),
                mended_seen: AtomicU64::new(pages_mended()),
            },
            found,
        ))
    }

    /// Begins a segment: a recycled file if one is large enough, else a new one; preallocated, its header durable.
    pub fn begin(&self, class: Class, capacity_bytes: u64) -> io::Result<Begun> {
        let (id, recycled) = {
            let mut state = self.state();
            let id = SegmentId(state.next_id);
            state.next_id += 1;
            let fitting = state.free.iter().position(|(_, bytes)| *bytes >= capacity_bytes);
            let recycled = fitting.map(|index| state.free.swap_remove(index));
            if let Some((old, _)) = recycled {
                state.occupied.forget(old);
            }
            (id, recycled)
        };
        let path = self.folder.join(class.file_name(id));
        let outcome = match recycled {
            Some((old, bytes)) => std::fs::rename(self.folder.join(free_file_name(old)), &path).map(|()| bytes),
            None => create(&path, capacity_bytes).map(|()| capacity_bytes),
        };
        let lineage = Lineage::begin(id.0);
        let header = SegmentHeader {
            class,
            id,
            salt: lineage.salt,
            capacity_bytes,
            chain: self.chain,
        };
        let outcome = outcome.and_then(|bytes| write_header(&path, &header).map(|()| bytes));
        let capacity_bytes = match outcome.and_then(|bytes| sync_folder(&self.folder).map(|()| bytes)) {
            Ok(bytes) => bytes,
            Err(error) => {
                // Nothing refers to it yet; what cannot be removed now is removed at the next start.
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
        };
        let segment = Segment::new(class, path.clone(), SEGMENT_FIRST_RECORD);
        let mut state = self.state();
        state.occupied.note(id, Use::Used(class, SEGMENT_FIRST_RECORD), &path);
        let before = state.used.insert(id, Arc::new(segment));
        drop(state);
        assert!(before.is_none(), "no segment number is used twice");
        assert!(capacity_bytes > SEGMENT_FIRST_RECORD, "a segment has room for records");
        Ok(Begun {
            id,
            lineage,
            path,
            capacity_bytes,
        })
    }

    /// Says that everything before `bytes` is synced and will not be written again.
    pub fn advance(&self, id: SegmentId, bytes: u64) {
        let segment = self.segment(id).expect("only a segment in use is appended to");
        let before = segment.synced_bytes.fetch_max(bytes, Ordering::Release);
        assert!(before <= bytes, "the synced part of a segment never shrinks");
        self.state().occupied.end(id, bytes);
    }

    /// Bytes of a segment in use that are synced, from its start. `None` if it is not in use.
    pub fn synced_bytes(&self, id: SegmentId) -> Option<u64> {
        self.segment(id)
            .map(|segment| segment.synced_bytes.load(Ordering::Acquire))
    }

    /// Whether every byte of a record is synced, in a segment in use.
    pub fn is_synced(&self, location: &Location) -> bool {
        self.synced_bytes(location.segment)
            .is_some_and(|synced| location.end() <= synced)
    }

    /// Checks the table of segments: for tests, as it visits every one.
    pub fn check_whole(&self) {
        let state = self.state();
        state.occupied.check_whole();
        for id in state.used.keys() {
            assert!(id.0 < state.next_id, "the next number is above every one in use");
        }
        for waiting in &state.waiting {
            assert!(
                waiting.id.0 < state.next_id,
                "the next number is above every one that was used"
            );
            assert!(
                !state.used.contains_key(&waiting.id),
                "a retired segment is in use no more"
            );
            assert!(
                matches!(*lock(&waiting.segment.newest), Newest::Closed),
                "a retired segment is mapped no more"
            );
        }
    }

    /// Ends a segment's growth at its synced bytes and gives the tail back. Failing to is only a waste of disk.
    pub fn seal(&self, id: SegmentId) {
        let Some(segment) = self.segment(id) else { return };
        let end = segment.synced_bytes.load(Ordering::Acquire);
        let shortened = std::fs::metadata(&segment.path).and_then(|metadata| {
            if metadata.len() < end + TAIL_BYTES_MIN {
                return Ok(());
            }
            // No map reaches beyond `synced_bytes`, which this keeps.
            OpenOptions::new().write(true).open(&segment.path)?.set_len(end)
        });
        if let Err(error) = shortened {
            tracing::warn!("segment {id} keeps its unused tail: {error}");
        }
        let purpose = Use::Used(segment.class, end);
        self.state().occupied.note(id, purpose, &segment.path);
    }

    /// Sets where a segment found at start ends, before anything of it is read: only recovery knows.
    pub fn set_end(&self, id: SegmentId, bytes: u64) {
        if let Some(segment) = self.segment(id) {
            segment.synced_bytes.store(bytes, Ordering::Release);
            self.state().occupied.end(id, bytes);
        }
    }

    /// Bytes of a segment, as a slice of a map that holds a lease. All were read from the disk before, or this fails.
    /// `None` if the segment is gone or shorter.
    pub fn slice(&self, location: &Location) -> io::Result<Option<Bytes>> {
        let Some(segment) = self.segment(location.segment) else {
            return Ok(None);
        };
        let end = location.end();
        if end > segment.synced_bytes.load(Ordering::Acquire) {
            return Ok(None);
        }
        let Some(map) = segment.map_to(end)? else {
            return Ok(None);
        };
        if map.guard.is_none() {
            return self.read(location);
        }
        let (start, end) = (usize_of(location.offset)?, usize_of(end)?);
        assert!(start <= end, "a record ends behind its start");
        assert!(end <= map.bytes.len(), "a map covers what was asked of it");
        if let Err(error) = map.bytes.advise_range(Advice::PopulateRead, start, end - start) {
            // Whatever it was, the disk may not have them. A kernel before 5.14 does not know this advice.
            self.read(location)?;
            if let Some(libc::EFAULT | libc::EHWPOISON) = error.raw_os_error() {
                return Err(error);
            }
        }
        Ok(Some(Bytes::from_owner(Slice { map, start, end })))
    }

    /// The same in memory of its own.
    pub fn read(&self, location: &Location) -> io::Result<Option<Bytes>> {
        let Some(segment) = self.segment(location.segment) else {
            return Ok(None);
        };
        let Some(_lease) = segment.lease() else {
            return Ok(None);
        };
        if location.end() > segment.synced_bytes.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut bytes = vec![0; usize_of(location.bytes)?];
        File::open(&segment.path)?.read_exact_at(&mut bytes, location.offset)?;
        Ok(Some(bytes.into()))
    }

    /// Segments of which a page was lost while it was mapped, each with a range that has all such pages, since this was
    /// asked last. They are mapped afresh for the next reader.
    pub fn take_faulted(&self) -> Vec<(SegmentId, Range<u64>)> {
        let mended = pages_mended();
        if self.mended_seen.swap(mended, Ordering::AcqRel) == mended {
            return Vec::new();
        }
        let state = self.state();
        let used = state.used.iter();
        let faulted = used.filter_map(|(id, segment)| {
            let range = segment.faults.take()?;
            let mut newest = lock(&segment.newest);
            if matches!(*newest, Newest::Mapped(_)) {
                *newest = Newest::Unmapped;
            }
            Some((*id, range))
        });
        faulted.collect()
    }

    /// Where a record lies as a part of a file. `None` if the segment is gone.
    pub fn on_disk(&self, location: &Location) -> Option<OnDisk> {
        let path = self.segment(location.segment)?.path.clone();
        Some(OnDisk {
            path,
            offset: location.offset,
            bytes: location.bytes,
        })
    }

    /// Takes segments out of the table. The index must not name them any more, durably.
    pub fn retire(&self, ids: &[SegmentId]) {
        let mut state = self.state();
        for id in ids {
            let Some(segment) = state.used.remove(id) else { continue };
            *lock(&segment.newest) = Newest::Closed;
            let file_bytes = std::fs::metadata(&segment.path).map_or(0, |metadata| metadata.len());
            let purpose = Use::Retired(segment.class);
            state.occupied.note(*id, purpose, &segment.path);
            state.waiting.push(Waiting {
                id: *id,
                segment,
                file_bytes,
                since: Instant::now(),
            });
        }
    }

    /// Recycles retired segments that nobody leases any more, and unlinks those that waited too long.
    pub fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    fn sweep_at(&self, now: Instant) {
        let mut state = self.state();
        let mut waiting_bytes: u64 = state.waiting.iter().map(|waiting| waiting.file_bytes).sum();
        for waiting in std::mem::take(&mut state.waiting) {
            let overdue = now.duration_since(waiting.since) >= LEASE_DEADLINE || waiting_bytes > WAITING_BYTES_MAX;
            if waiting.is_leased() && !overdue {
                state.waiting.push(waiting);
                continue;
            }
            waiting_bytes -= waiting.file_bytes;
            if !waiting.is_leased() && waiting.segment.class == Class::Values && state.free.len() < FREE_FILES_MAX {
                let free = self.folder.join(free_file_name(waiting.id));
                if std::fs::rename(&waiting.segment.path, &free).is_ok() {
                    state.occupied.note(waiting.id, Use::Free, &free);
                    state.free.push((waiting.id, waiting.file_bytes));
                    continue;
                }
            }
            // A lease held here would be one that nobody ends.
            let (id, lease) = (waiting.id, Arc::downgrade(&waiting.segment.lease));
            match state.unlinker.take(waiting) {
                Ok(()) => state.occupied.unname(id, lease),
                Err(waiting) => state.waiting.push(waiting),
            }
        }
    }

    /// Retired segments that still wait for a lease to end.
    #[cfg(test)]
    pub fn waiting_count(&self) -> usize {
        self.state().waiting.len()
    }

    /// Gives no number below this one to a new segment.
    pub fn number_from(&self, next_id: u64) {
        let mut state = self.state();
        state.next_id = state.next_id.max(next_id);
    }

    /// The number the next segment will have.
    pub fn next_id(&self) -> SegmentId {
        SegmentId(self.state().next_id)
    }

    fn segment(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.state().used.get(&id).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Segment {
    fn new(class: Class, path: PathBuf, synced_bytes: u64) -> Self {
        Self {
            class,
            path,
            synced_bytes: AtomicU64::new(synced_bytes),
            newest: Mutex::default(),
            lease: Lease::default(),
            faults: Arc::default(),
        }
    }

    /// A lease without a map; `None` if the segment was retired.
    fn lease(&self) -> Option<Lease> {
        match &*lock(&self.newest) {
            Newest::Closed => None,
            Newest::Unmapped | Newest::Mapped(_) => Some(Arc::clone(&self.lease)),
        }
    }

    /// A map that reaches at least to `end`, which is within the synced bytes. `None` if the segment was retired.
    fn map_to(&self, end: u64) -> io::Result<Option<Arc<Map>>> {
        let mut newest = lock(&self.newest);
        match &*newest {
            Newest::Closed => return Ok(None),
            Newest::Mapped(map) if map.bytes.len() as u64 >= end => return Ok(Some(Arc::clone(map))),
            Newest::Mapped(_) | Newest::Unmapped => {}
        }
        let file = File::open(&self.path)?;
        // What is lost at its end keeps nobody from the rest.
        let bytes = self.synced_bytes.load(Ordering::Acquire).min(file.metadata()?.len());
        if bytes < end {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} was shortened to {bytes} bytes", self.path.display()),
            ));
        }
        let bytes = map_file(&file, usize_of(bytes)?)?;
        let map = Arc::new(Map {
            guard: Guard::new(&bytes, &self.faults),
            bytes,
            _lease: Arc::clone(&self.lease),
        });
        *newest = Newest::Mapped(Arc::clone(&map));
        Ok(Some(map))
    }
}

fn map_file(file: &File, bytes: usize) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and covers `bytes`, all synced. In this process those bytes are never written again
    // while a map lives. The writer appends behind `synced_bytes` only. Every `Map` holds a lease of its file, and a
    // file is renamed for recycling only when their count shows that none is left (`Waiting::is_leased`). The file is
    // never shortened below `synced_bytes` (`seal` is the only one to shorten it). Other processes are kept out by the
    // lock on the data directory. If an operator truncates files of a running node by hand, or the disk loses a page,
    // whoever touches it gets SIGBUS, and a page of zeros instead of the process's end (`mapped/fault.rs`).
    unsafe { MmapOptions::new().len(bytes).map(file) }
}

impl Waiting {
    /// Whether a map of the segment lives.
    fn is_leased(&self) -> bool {
        // Retirement closed the segment under the lock under which maps are made: every map there will ever be is
        // counted, and the count can only fall.
        let leased = Arc::strong_count(&self.segment.lease) > 1;
        // Whatever readers did with their maps comes before what is done with the file next.
        fence(Ordering::Acquire);
        leased
    }
}

fn create(path: &Path, capacity_bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, capacity_bytes) {
        Ok(()) => Ok(()),
        // Not every file system preallocates (EOPNOTSUPP): then the file grows as it is written.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(capacity_bytes),
        Err(error) => Err(error.into()),
    }
}

fn write_header(path: &Path, header: &SegmentHeader) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&header.encode(), 0)?;
    file.sync_all()
}

/// Makes new names, renames and removals in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn usize_of(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

/// A lock whose holder never panics half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
