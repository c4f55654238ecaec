//! This file knows how to open a data directory after any end of the process before: it believes only what it checks.
//!
//! 1. Lock the directory, open the index ([`crate::birth`] begins a new one), compare the chain.
//! 2. Take stock of the segment files: what the index names stays; what it does not name and holds nothing is removed.
//! 3. Scan the segments from the recovery floor on, from the device ([`crate::device`]), for whole values above the head; write each
//!    into a fresh segment and sync it: what a failed sync left behind is never trusted.
//! 4. Read the log of the marked epoch, if exactly one file claims to be it; if whole, write it into a fresh file under a
//!    generation above every file's, then move the mark.
//! 5. Only then forget the old places.

use std::collections::HashMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Medium, MediumFile, Pwrite, PwriteFile, ready};
use ultramarine_types::limits::Limits;
use ultramarine_types::storage::{
    LogCondition, LogEpoch, Recovered, RecoveredLog, Source, StoreReply, StoreRequest, Tag,
};
use ultramarine_types::{Assembly, Hash, Height};

use crate::birth::{self, Flaw};
use crate::device::forget_cached;
use crate::failure::Failure;
use crate::format::{Binding, PAGE_BYTES, whole_pages};
use crate::index::{Index, IndexError, Marks};
use crate::journal::{Journal, LOG_FILE_BYTES, LogFiles, SLOTS, slot_path};
use crate::ledger::Ledger;
use crate::lock::DirectoryLock;
use crate::log::{self, Found, LogHeader};
use crate::mapped::{FoundFile, Segments, sync_folder};
use crate::metrics::Metrics;
use crate::reader::{Reader, Undecided};
use crate::record::Check;
use crate::reserve::{RESERVE_BYTES, Reserve, advice};
use crate::scan::{Pages, Tail, scan};
use crate::segment::{CAPACITY_MIN, Class, Position, SegmentHeader, SegmentId};
use crate::writer::{State, Writer};

/// Default of [`StoreOptions::hot_bytes`], or one of the chain's largest blocks where that is more.
const HOT_BYTES: usize = 32 << 20;

/// What the store needs to know.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The chain's ceilings.
    pub limits: Limits,
    /// EIP-155 chain id; a directory of another chain is refused.
    pub chain_id: u64,
    /// Hash of the execution genesis; a directory of another genesis is refused.
    pub genesis_hash: Hash,
    /// Bytes of recently stored values kept in the memory they arrived in.
    pub hot_bytes: usize,
    /// Bytes of the smallest segment: what a store that holds little preallocates.
    pub segment_bytes_min: u64,
    /// Where the store's metrics go.
    pub registry: Arc<Registry>,
}

impl StoreOptions {
    /// Options of a chain, with defaults for the rest.
    pub fn new(limits: Limits, chain_id: u64, genesis_hash: Hash, registry: Arc<Registry>) -> Self {
        let hot_bytes = HOT_BYTES.max(limits.block_blob_bytes());
        Self {
            limits,
            chain_id,
            genesis_hash,
            hot_bytes,
            segment_bytes_min: CAPACITY_MIN,
            registry,
        }
    }
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// For the storage tile ([`crate::tile::run`]) or a [`Writer`].
    pub state: State,
    /// For everybody else.
    pub reader: Arc<Reader>,
    /// For the core.
    pub recovered: Recovered,
}

/// Why a data directory cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {path} is in use by another process: stop that one, or give this node its own directory")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another chain.
    #[error(
        "data directory {path} belongs to chain {} with genesis {}, not to chain {} with genesis {}: use another directory",
        found.chain_id, found.genesis_hash, expected.chain_id, expected.genesis_hash
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The chain it belongs to.
        found: Binding,
        /// The chain of this node.
        expected: Binding,
    },
    /// The index cannot be used.
    #[error("{0}; move the directory away and start again: the node fetches everything from its peers")]
    Index(IndexError),
    /// The index is gone, and what it accounts for is not.
    #[error(
        "index {index} {flaw}, and {beside} is there: without its index nobody knows what this node decided and signed. Put \
         the index back if it was moved; if it is lost, move the whole directory {folder} away and start again: the node \
         fetches everything from its peers, and listens before it signs"
    )]
    Orphaned {
        /// The directory.
        folder: PathBuf,
        /// The index.
        index: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
        /// A log or a segment that was made after it.
        beside: PathBuf,
    },
    /// Permission is missing.
    #[error("{path} cannot be used: {source}; give the node's user read and write permission for the whole directory")]
    Permission {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is full.
    #[error("{path} has no room: {source}; {}, then start again", advice(path, 2 * RESERVE_BYTES))]
    NoRoom {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be read or written.
    #[error("{path} failed: {source}; check the disk (dmesg, smartctl) and start again")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was recovered cannot be made durable.
    #[error("recovery of {path} failed: {failure}")]
    Write {
        /// The directory.
        path: PathBuf,
        /// What failed.
        failure: Failure,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom { path, source },
            _ => Self::Io { path, source },
        }
    }

    /// What kept the index of a directory from being used.
    pub(crate) fn index(folder: &Path, binding: Binding, error: IndexError) -> Self {
        match error {
            IndexError::Foreign { found, .. } => Self::Foreign {
                path: folder.to_owned(),
                found,
                expected: binding,
            },
            IndexError::Database { source, path } => match *source {
                redb::Error::Io(source) => Self::io(&path, source),
                source => Self::Index(IndexError::Database {
                    path,
                    source: Box::new(source),
                }),
            },
            other @ (IndexError::Row { .. } | IndexError::Format { .. } | IndexError::Blank { .. }) => {
                Self::Index(other)
            }
        }
    }
}

/// Opens a data directory, or begins one.
pub fn open(folder: &Path, options: &StoreOptions) -> Result<Opened, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::io(&path, source)
    };
    let segments_folder = folder.join("segments");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&segments_folder)
        .map_err(at(&segments_folder))?;
    let lock = DirectoryLock::take(folder).map_err(at(folder))?;
    let lock = Arc::new(lock.ok_or_else(|| OpenError::Locked {
        path: folder.to_owned(),
    })?);

    let binding = Binding {
        chain_id: options.chain_id,
        genesis_hash: options.genesis_hash,
    };
    let reserve = Reserve::find(folder);
    let index = birth::open(folder, binding)?;
    let marks = index.marks().map_err(OpenError::Index)?;
    let head = index.head().map_err(OpenError::Index)?.unwrap_or(Height::GENESIS);
    for slot in 0..SLOTS {
        let path = slot_path(folder, slot);
        make_log_file(&path).map_err(at(&path))?;
    }
    sync_folder(folder).map_err(at(folder))?;

    let (segments, files) =
        Segments::open(&segments_folder, binding, marks.floor.segment.0.max(1)).map_err(at(&segments_folder))?;
    let (ledger, ends) = take_stock(&index, &segments, &files)?;
    let metrics = Metrics::new(&options.registry);
    let (index, segments) = (Arc::new(index), Arc::new(segments));
    let reader = Reader::new(
        Arc::clone(&index),
        Arc::clone(&segments),
        metrics.clone(),
        options.hot_bytes,
        Arc::clone(&lock),
    );
    let reader = Arc::new(reader);
    let oldest_blobs = marks.oldest_blobs.unwrap_or(Height(1));
    reader.set_head(head);
    reader.set_oldest_blobs(oldest_blobs);
    let state = State {
        folder: folder.to_owned(),
        limits: options.limits,
        segment_bytes_min: options.segment_bytes_min,
        index,
        segments,
        reader: Arc::clone(&reader),
        journal: Journal::new(folder, binding, marks.epoch.map_or(0, |epoch| epoch.generation)),
        ledger,
        reserve,
        metrics,
        head,
        oldest_blobs,
        growing: None,
    };

    let mut state = recover_values(state, &files, &ends, marks.floor)?;
    let log = recover_log(&mut state, &marks, binding)?;
    forget_old(&mut state, &files, &ends);
    state.reserve.take();
    let recovered = Recovered {
        head: reader.decided(head),
        log,
        undecided: undecided(&reader),
        oldest_blobs,
    };
    Ok(Opened {
        state,
        reader,
        recovered,
    })
}

/// Log files always exist and are never empty: no name has to be made durable when an epoch begins.
fn make_log_file(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    if file.metadata()?.len() >= LOG_FILE_BYTES {
        return Ok(());
    }
    match fallocate(&file, FallocateFlags::empty(), 0, LOG_FILE_BYTES) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(LOG_FILE_BYTES)?,
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

type Ends = HashMap<SegmentId, u64>;

/// What the index says lies where: the accounts, and per segment where its last decided record ends.
fn take_stock(index: &Index, segments: &Segments, files: &[FoundFile]) -> Result<(Ledger, Ends), OpenError> {
    let mut ledger = Ledger::default();
    for file in files.iter().filter(|file| file.class == Class::Values) {
        ledger.open(file.id, true);
    }
    let mut ends = Ends::new();
    let stock = index.places(|height, place| {
        ledger.decided(&place.location, height);
        let end = ends.entry(place.location.segment).or_default();
        *end = (*end).max(place.location.end());
    });
    stock.map_err(OpenError::Index)?;
    if let Some(newest) = ends.keys().max() {
        // A lost file's number is not given away, or the index would name another's bytes.
        segments.number_from(newest.0 + 1);
    }
    for file in files {
        segments.set_end(
            file.id,
            ends.get(&file.id).copied().unwrap_or(PAGE_BYTES).min(file.file_bytes),
        );
    }
    Ok((ledger, ends))
}

/// Finds the whole values above the head and stores them afresh.
fn recover_values(state: State, files: &[FoundFile], ends: &Ends, floor: Position) -> Result<State, OpenError> {
    let head = state.head;
    let segments = Arc::clone(&state.segments);
    let first_fresh = segments.next_id();
    let medium = Pwrite::new(None);
    let mut writer = Writer::new(Pwrite::new(None), state);
    let (mut replies, mut kept) = (Vec::new(), Vec::new());
    for file in files
        .iter()
        .filter(|file| file.class == Class::Values && file.id >= floor.segment)
    {
        let failed = |source| OpenError::io(&file.path, source);
        let mut pages = FilePages::open(&medium, &file.path, file.file_bytes).map_err(failed)?;
        let Some(header) = pages.header(file).map_err(failed)? else {
            if ends.contains_key(&file.id) {
                tracing::error!(
                    "the header of segment {} is damaged: its undecided values are fetched again",
                    file.id
                );
            }
            continue;
        };
        let from = if file.id == floor.segment {
            floor
        } else {
            Position::start_of(file.id)
        };
        let ended = scan(&mut pages, header.lineage(), from, head, |location, found| {
            let (tag, blobs, sequence) = (found.header.tag, found.header.blobs(), found.header.sequence);
            let put = StoreRequest::Put {
                assembly: found.assembly,
                tag,
            };
            let stored = ready(async {
                writer.handle(put, &mut replies).await?;
                writer.flush(&mut replies).await
            });
            stored.map_err(io::Error::other)?;
            if replies
                .drain(..)
                .any(|reply| matches!(reply, StoreReply::Refused { .. }))
            {
                // A full disk must not cost a value that was acknowledged: it stays where it is, and so does the floor.
                kept.push((
                    found.header.key,
                    Undecided {
                        tag,
                        blobs,
                        location,
                        sequence,
                    },
                ));
            }
            Ok(())
        });
        let ended = ended.map_err(failed)?;
        match ended.tail {
            Tail::Clean => {}
            Tail::Torn => tracing::info!(
                "segment {} ends in a torn record at {}: it was never acknowledged",
                file.id,
                ended.at.offset
            ),
            Tail::Corrupt { behind } => tracing::error!(
                "segment {} is damaged at {} with a whole record at {behind}: what is missing is fetched from peers again",
                file.id,
                ended.at.offset
            ),
        }
        let end = ended.at.offset.max(ends.get(&file.id).copied().unwrap_or(0));
        if !matches!(ended.tail, Tail::Corrupt { .. }) && end <= file.file_bytes {
            segments.set_end(file.id, end);
            segments.seal(file.id);
        }
    }
    let mut state = writer.into_state();
    // Everything above the head lies in segments begun since; the old places may be forgotten once this is durable.
    let mut floor = Position::start_of(first_fresh);
    for (key, value) in kept {
        sync_again(&medium, files, value.location.segment)?;
        floor = floor.min(value.position());
        state.ledger.stored(&value.location);
        state.reader.undecided_mut().insert(key, value);
    }
    state.reserve.balance();
    state
        .index
        .mark(None, Some(floor))
        .map_err(|error| write_failed(&state, &error))?;
    Ok(state)
}

/// Makes a segment that keeps a recovered value durable once more: all of it was read back from the device.
fn sync_again(medium: &Pwrite, files: &[FoundFile], id: SegmentId) -> Result<(), OpenError> {
    let Some(file) = files.iter().find(|file| file.id == id) else {
        return Ok(());
    };
    ready(async { medium.open(&file.path).await?.sync().await }).map_err(|source| OpenError::io(&file.path, source))
}

/// Reads the marked epoch's log and, if it may be signed on, moves it into a fresh file.
fn recover_log(state: &mut State, marks: &Marks, binding: Binding) -> Result<Option<RecoveredLog>, OpenError> {
    let folder = state.folder.clone();
    let medium = Pwrite::new(None);
    let mut files = Vec::with_capacity(SLOTS);
    for slot in 0..SLOTS {
        let path = slot_path(&folder, slot);
        let image = read_whole(&medium, &path).map_err(|source| OpenError::io(&path, source))?;
        // A file may be newer than the mark: it was made ready just before the process ended.
        if let Some(header) = LogHeader::decode(&image).filter(|header| header.binding == binding) {
            state.journal.number_from(header.epoch.generation);
        }
        files.push(image);
    }
    let Some(epoch) = marks.epoch else { return Ok(None) };
    let (slot, content) = find_log(&files, epoch, binding);
    let (condition, records) = match content {
        Found::Whole(records) => (LogCondition::Whole, records),
        Found::Corrupt => (LogCondition::Corrupt, Vec::new()),
        Found::Missing => (LogCondition::Missing, Vec::new()),
    };
    if epoch.height <= state.head {
        return Ok(Some(RecoveredLog {
            epoch,
            condition,
            records,
        }));
    }
    if condition != LogCondition::Whole {
        tracing::error!(
            "the consensus log of height {} is {condition:?}: this node signs nothing at that height",
            epoch.height
        );
        state.journal.distrust(epoch);
        return Ok(Some(RecoveredLog {
            epoch,
            condition,
            records,
        }));
    }
    state.journal.avoid(slot, epoch);
    state.reserve.balance();
    let epoch =
        move_log(state, &medium, epoch, &records).map_err(|source| OpenError::io(&slot_path(&folder, slot), source))?;
    state
        .index
        .mark(Some(epoch), None)
        .map_err(|error| write_failed(state, &error))?;
    state.journal.turn();
    Ok(Some(RecoveredLog {
        epoch,
        condition,
        records,
    }))
}

/// The one file of an epoch and what it holds. Two are as good as none: nobody knows which of them was signed on last.
fn find_log(files: &[Bytes], epoch: LogEpoch, binding: Binding) -> (usize, Found) {
    let read = files.iter().map(|image| log::read(image, epoch, binding)).enumerate();
    let mut found: Vec<(usize, Found)> = read.filter(|(_, content)| *content != Found::Missing).collect();
    if let [(first, _), (second, _), ..] = found[..] {
        tracing::error!(
            "log-{first} and log-{second} both claim to be generation {} of height {}: neither is believed",
            epoch.generation,
            epoch.height
        );
        return (0, Found::Missing);
    }
    found.pop().unwrap_or((0, Found::Missing))
}

fn move_log(state: &mut State, medium: &Pwrite, old: LogEpoch, records: &[Bytes]) -> io::Result<LogEpoch> {
    let mut files = LogFiles::default();
    ready(async {
        let epoch = state.journal.prepare(old.height, medium, &mut files).await?;
        state.journal.refill(records, medium, &mut files).await?;
        Ok(epoch)
    })
}

/// Lets go of files that hold nothing any more: the index and the fresh segments do without them, durably.
fn forget_old(state: &mut State, files: &[FoundFile], ends: &Ends) {
    let nameless = |file: &&FoundFile| file.class == Class::Payloads && !ends.contains_key(&file.id);
    let mut ids: Vec<SegmentId> = files.iter().filter(nameless).map(|file| file.id).collect();
    ids.extend(state.ledger.dead());
    state.segments.retire(&ids);
    for id in ids {
        state.ledger.close(id);
    }
    state.segments.sweep();
}

/// The whole values above the head, in the order they are stored.
fn undecided(reader: &Reader) -> Vec<(Assembly, Tag)> {
    let mut stored: Vec<_> = reader
        .undecided()
        .iter()
        .map(|(key, value)| (*key, value.clone()))
        .collect();
    stored.sort_by_key(|(_, value)| value.position());
    let read = stored.into_iter().filter_map(|(key, value)| {
        let hot = reader.hot().get(&key);
        let assembly = match hot {
            Some(assembly) => Some(assembly),
            None => reader.record(&key, &value.location, Check::All).ok().flatten(),
        };
        assembly.map(|assembly| (assembly, value.tag))
    });
    read.collect()
}

fn read_whole(medium: &Pwrite, path: &Path) -> io::Result<Bytes> {
    forget_cached(path)?;
    let bytes = whole_pages(std::fs::metadata(path)?.len());
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    ready(async { medium.open(path).await?.read(0, bytes).await }).map(Bytes::from)
}

fn write_failed(state: &State, error: &IndexError) -> OpenError {
    OpenError::Write {
        path: state.folder.clone(),
        failure: state.index_failed(error),
    }
}

/// A segment file read from its device.
struct FilePages {
    file: PwriteFile,
    file_bytes: u64,
}

impl FilePages {
    fn open(medium: &Pwrite, path: &Path, file_bytes: u64) -> io::Result<Self> {
        forget_cached(path)?;
        Ok(Self {
            file: ready(medium.open(path))?,
            file_bytes,
        })
    }

    /// The header, if it is whole and that of the file's name.
    fn header(&mut self, file: &FoundFile) -> io::Result<Option<SegmentHeader>> {
        let header = SegmentHeader::decode(&self.read(0, PAGE_BYTES as usize)?);
        Ok(header.filter(|header| header.id == file.id && header.class == file.class))
    }
}

impl Pages for FilePages {
    fn length(&self) -> u64 {
        self.file_bytes
    }

    fn read(&mut self, at: u64, bytes: usize) -> io::Result<Bytes> {
        ready(self.file.read(at, bytes)).map(Bytes::from)
    }
}
