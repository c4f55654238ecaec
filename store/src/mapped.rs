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
//!   begin ─▶ append… ─▶ seal ─▶ (punch…) ─▶ retire ─▶ (leases zero, whole) ─▶ free ─▶ begin under a new number
//!                                                 └─▶ (deadline, or holes)  ─▶ unlinked
//! ```
//! What takes time (`sweep`) is the files thread's; the storage core only changes the table.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions};
use rustix::fs::{FallocateFlags, fallocate};
use ultramarine_types::ChainIdentity;
use ultramarine_types::storage::OnDisk;

use self::fault::{Faults, Guard, pages_mended};
use self::occupied::{Occupied, Use};
use self::retired::{Lingering, Punch, Tail, Waiting};
use crate::format::Lineage;
use crate::reserve::occupied_bytes;
use crate::segment::{Class, FileName, Location, SEGMENT_FIRST_RECORD, SegmentHeader, SegmentId, free_file_name};

mod fault;
mod kept;
pub(crate) mod occupied;
mod retired;

#[cfg(test)]
mod tests;

/// All segment files of a store. Shared by the writer and every reader.
pub struct Segments {
    folder: PathBuf,
    chain: ChainIdentity,
    state: Mutex<State>,
    /// Files without a name that are leased still. Only a sweep touches them.
    lingering: Mutex<Lingering>,
    /// Segments whose map is kept.
    mapped: Mutex<HashMap<SegmentId, Weak<Segment>>>,
    /// Counts reads, so that the map read longest ago is let go first.
    reads: AtomicU64,
    /// As many pages of zeros were looked into.
    mended_seen: AtomicU64,
    #[cfg(any(test, fuzzing))]
    pub(crate) look: Mutex<Option<Look>>,
}

/// What a test does between two steps.
#[cfg(any(test, fuzzing))]
pub(crate) type Look = Box<dyn FnMut(&str) + Send>;

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    used: BTreeMap<SegmentId, Arc<Segment>>,
    free: Vec<Free>,
    waiting: Vec<Waiting>,
    tails: Vec<Tail>,
    punches: Vec<Punch>,
    recycling: Recycling,
    occupied: Occupied,
}

/// Which retired files are kept to be recycled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recycling {
    /// Only those of this length.
    pub file_bytes: u64,
    /// What they may take on disk together.
    pub bytes_max: u64,
}

/// A file that waits to be recycled.
#[derive(Clone, Copy, Debug)]
struct Free {
    id: SegmentId,
    file_bytes: u64,
    disk_bytes: u64,
}

/// A segment in use.
#[derive(Debug)]
struct Segment {
    class: Class,
    path: PathBuf,
    /// Bytes from the start that are synced and will never be written again.
    synced_bytes: AtomicU64,
    shown: Mutex<Shown>,
    /// The read that used its map last.
    read: AtomicU64,
    faults: Arc<Faults>,
}

/// What readers may see of a segment.
#[derive(Debug, Default)]
struct Shown {
    newest: Newest,
    /// Held by every map made since something was last taken from view.
    lease: Lease,
    /// Held by maps made before.
    older: Vec<Weak<()>>,
    /// What no reader is shown any more, because it is punched or about to be.
    gone: Vec<Range<u64>>,
}

impl Shown {
    /// Lets the map go that is kept for the next reader.
    fn forget_map(&mut self) {
        if matches!(self.newest, Newest::Mapped(_)) {
            self.newest = Newest::Unmapped;
        }
    }

    /// Whether a part of the segment is taken from view.
    fn is_gone(&self, location: &Location) -> bool {
        let overlaps = |gone: &Range<u64>| gone.start < location.end() && location.offset < gone.end;
        self.gone.iter().any(overlaps)
    }

    /// Whether a map lives.
    fn is_leased(&self) -> bool {
        let leased = Arc::strong_count(&self.lease) > 1 || self.older.iter().any(|older| older.strong_count() > 0);
        // Whatever readers did with their maps comes before what is done with the file next.
        fence(Ordering::Acquire);
        leased
    }
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

/// Held by every map of a segment, and once by the segment; the file is nobody's when only that one is left.
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

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
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
                    state.free.push(Free {
                        id,
                        file_bytes,
                        disk_bytes: occupied_bytes(&entry.path()),
                    });
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
                lingering: Mutex::default(),
                mapped: Mutex::default(),
                reads: AtomicU64::default(),
                mended_seen: AtomicU64::new(pages_mended()),
                #[cfg(any(test, fuzzing))]
                look: Mutex::default(),
            },
            found,
        ))
    }

    /// Takes the number of the next segment.
    pub fn take_number(&self) -> SegmentId {
        let mut state = self.state();
        let id = SegmentId(state.next_id);
        state.next_id += 1;
        id
    }

    /// Begins a segment under a number that was taken; its header is durable. One of values is a recycled file if there
    /// is one of that length, and preallocated. One of payloads grows as it is written.
    pub fn begin(&self, id: SegmentId, class: Class, capacity_bytes: u64) -> io::Result<Begun> {
        let recycled = match class {
            Class::Values => self.take_free(capacity_bytes),
            Class::Payloads => None,
        };
        let path = self.folder.join(class.file_name(id));
        let create = || OpenOptions::new().write(true).create_new(true).open(&path).map(drop);
        let outcome = match recycled {
            Some(old) => match std::fs::rename(self.folder.join(free_file_name(old)), &path) {
                // Somebody removed it, which is nobody's loss.
                Err(error) if error.kind() == io::ErrorKind::NotFound => create(),
                renamed => renamed,
            },
            None => create(),
        };
        let preallocated = match class {
            Class::Values => capacity_bytes,
            Class::Payloads => SEGMENT_FIRST_RECORD,
        };
        self.step("named");
        // A recycled file has the blocks of its tail given back, and gets them again.
        let outcome = outcome.and_then(|()| preallocate(&path, preallocated));
        self.step("preallocated");
        let lineage = Lineage::begin(id.0);
        let header = SegmentHeader {
            class,
            id,
            salt: lineage.salt,
            capacity_bytes,
            chain: self.chain,
        };
        let outcome = outcome.and_then(|()| write_header(&path, &header));
        self.step("header written");
        if let Err(error) = outcome.and_then(|()| sync_folder(&self.folder)) {
            // Nothing refers to it yet; what cannot be removed now is removed at the next start.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
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
        let mut state = self.state();
        match segment.class {
            Class::Values => state.occupied.end(id, bytes),
            // It grows as it is written.
            Class::Payloads => state.occupied.note(id, Use::Used(segment.class, bytes), &segment.path),
        }
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
                matches!(lock(&waiting.segment.shown).newest, Newest::Closed),
                "a retired segment is mapped no more"
            );
        }
    }

    /// Sets where a segment found at start ends, before anything of it is read: only recovery knows.
    pub fn set_end(&self, id: SegmentId, bytes: u64) {
        if let Some(segment) = self.segment(id) {
            segment.synced_bytes.store(bytes, Ordering::Release);
            self.state().occupied.end(id, bytes);
        }
    }

    /// Bytes of a segment, as a slice of a map that holds a lease. All were read from the disk before, or this fails.
    /// `None` if the segment or this part of it is gone, or the segment is shorter.
    pub fn slice(&self, location: &Location) -> io::Result<Option<Bytes>> {
        let Some(segment) = self.segment(location.segment) else {
            return Ok(None);
        };
        let end = location.end();
        if end > segment.synced_bytes.load(Ordering::Acquire) {
            return Ok(None);
        }
        let Some((map, is_new)) = segment.map_to(location)? else {
            return Ok(None);
        };
        segment
            .read
            .store(self.reads.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        if is_new {
            self.keep_map(location.segment, &segment);
        }
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
        let Some(_lease) = segment.lease(location) else {
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
            lock(&segment.shown).forget_map();
            Some((*id, range))
        });
        faulted.collect()
    }

    /// The file of a segment in use.
    pub fn path(&self, id: SegmentId) -> Option<PathBuf> {
        Some(self.segment(id)?.path.clone())
    }

    /// Where a record lies as a part of a file. `None` if the segment is gone.
    pub fn on_disk(&self, location: &Location) -> Option<OnDisk> {
        let path = self.path(location.segment)?;
        Some(OnDisk {
            path,
            offset: location.offset,
            bytes: location.bytes,
        })
    }

    /// Where tests look at the folder between two steps of the files thread.
    #[cfg(not(any(test, fuzzing)))]
    #[expect(clippy::unused_self, reason = "tests have something to look at here")]
    pub(crate) const fn step(&self, _name: &str) {}

    #[cfg(any(test, fuzzing))]
    pub(crate) fn step(&self, name: &str) {
        if let Some(look) = lock(&self.look).as_mut() {
            look(name);
        }
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
            shown: Mutex::default(),
            read: AtomicU64::default(),
            faults: Arc::default(),
        }
    }

    /// A lease without a map; `None` if the segment was retired, or a part of it is gone.
    fn lease(&self, location: &Location) -> Option<Lease> {
        let shown = lock(&self.shown);
        let is_shown = !matches!(shown.newest, Newest::Closed) && !shown.is_gone(location);
        is_shown.then(|| Arc::clone(&shown.lease))
    }

    /// A map that covers a part, which is within the synced bytes, and whether it was made for it. `None` if the
    /// segment was retired or the part is gone from it.
    fn map_to(&self, location: &Location) -> io::Result<Option<(Arc<Map>, bool)>> {
        let mut shown = lock(&self.shown);
        if shown.is_gone(location) {
            return Ok(None);
        }
        let end = location.end();
        match &shown.newest {
            Newest::Closed => return Ok(None),
            Newest::Mapped(map) if map.bytes.len() as u64 >= end => return Ok(Some((Arc::clone(map), false))),
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
            _lease: Arc::clone(&shown.lease),
        });
        shown.newest = Newest::Mapped(Arc::clone(&map));
        Ok(Some((map, true)))
    }
}

fn map_file(file: &File, bytes: usize) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and covers `bytes`, all synced. In this process those bytes are never written again
    // while a map lives. The writer appends behind `synced_bytes` only. Every `Map` holds a lease of its file, and a
    // file is renamed for recycling only when their count shows that none is left (`Shown::is_leased`). A range is
    // punched only when no slice shows it: it is `gone` first, and every map from before has ended. The file is never
    // shortened. Other processes are kept out by the lock on the data directory. If an operator truncates files of a
    // running node by hand, or the disk loses a page, whoever touches it gets SIGBUS, and a page of zeros instead of
    // the process's end (`mapped/fault.rs`).
    unsafe { MmapOptions::new().len(bytes).map(file) }
}

/// Gives a file this length, and blocks for all of it.
fn preallocate(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Not every file system preallocates (EOPNOTSUPP): then the file grows as it is written.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
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
