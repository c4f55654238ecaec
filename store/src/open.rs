//! This file knows how to open a data directory after any end of the process before: it believes only what it checks.
//!
//! 1. Lock the directory, open the index ([`crate::birth`] begins a new one), compare the chain.
//! 2. Take stock of the segment files: what the index names stays; what it does not name and holds nothing is removed.
//! 3. Scan the segments from the recovery floor on, from the device ([`crate::device`]), for whole values above the
//!    head. Write each into a fresh segment and sync it: what a failed sync left behind is never trusted.
//! 4. Read the log of the marked epoch, if exactly one file claims to be it. If it is whole, write it into a fresh file
//!    under a generation above every file's, then move the mark.
//! 5. Only then forget the old locations.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use ultramarine_runtime::Registry;
use ultramarine_types::chain::Limits;
use ultramarine_types::storage::{Recovered, Source};
use ultramarine_types::{ChainIdentity, Height};

use crate::birth;
use crate::error::OpenError;
use crate::files::{Desk, Files};
use crate::folder;
use crate::journal::{Journal, LOG_FILE_BYTES, LOG_FILES_COUNT, log_path};
use crate::lock::{DirectoryLock, LOCK_NAME};
use crate::mapped::{Segments, sync_folder};
use crate::metrics::Metrics;
use crate::read_so_far::TellRead;
use crate::recovery::{forget_old, mark_lost, recover_log, recover_values, take_stock, undecided};
use crate::reserve::Reserve;
use crate::segment::{self, Class, SegmentId};
use crate::view::View;
use crate::writer::{Ahead, Retiring, State};

/// Default of [`StoreOptions::hot_bytes`], or one of the chain's largest values where that is more.
const HOT_BYTES: usize = 32 << 20;

/// What the store needs to know.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub limits: Limits,
    /// A directory of another chain is refused.
    pub chain: ChainIdentity,
    /// Bytes of recently stored values kept in the memory they arrived in.
    pub hot_bytes: usize,
    /// Whether there is an archive: then nothing is pruned before it is there.
    pub archives: bool,
    /// Heights whose blobs are kept; `None`: all of them.
    pub retention: Option<u64>,
    /// Bytes of a values segment. Each is preallocated whole, and recycled whole.
    pub segment_bytes: u64,
    /// Where the store's metrics go.
    pub registry: Arc<Registry>,
    /// Told how far the start has read what may take long: values above the head, and all records for a new index.
    pub tell_read: TellRead,
}

impl StoreOptions {
    /// Options of a chain, with defaults for the rest.
    pub fn new(limits: Limits, chain: ChainIdentity, registry: Arc<Registry>) -> Self {
        let hot_bytes = HOT_BYTES.max(limits.value_bytes());
        Self {
            limits,
            chain,
            hot_bytes,
            archives: false,
            retention: None,
            segment_bytes: segment::class_bytes(&limits),
            registry,
            tell_read: TellRead::default(),
        }
    }
}

#[derive(Debug)]
pub struct OpenStore {
    /// For the storage tile ([`crate::tile::run`]) or a [`Writer`](crate::Writer).
    pub state: State,
    /// For every thread that only reads.
    pub view: Arc<View>,
    /// What the core begins with.
    pub recovered: Recovered,
}

/// Opens a data directory, or begins one.
pub fn open(folder: &Path, options: &StoreOptions) -> Result<OpenStore, OpenError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::io(&path, source)
    };
    let segments_folder = folder.join("segments");
    folder::can_be_folder(&segments_folder)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&segments_folder)
        .map_err(at(&segments_folder))?;
    let lock = DirectoryLock::take(folder).map_err(at(&folder.join(LOCK_NAME)))?;
    let lock = Arc::new(lock.ok_or_else(|| OpenError::Locked {
        path: folder.to_owned(),
    })?);

    let chain = options.chain;
    let reserve = Reserve::find(folder);
    let index = birth::open(folder, chain, &options.tell_read)?;
    let marks = index.marks().map_err(OpenError::Index)?;
    let head = index.head().map_err(OpenError::Index)?.unwrap_or(Height::GENESIS);
    for number in 0..LOG_FILES_COUNT {
        let path = log_path(folder, number);
        make_log_file(&path).map_err(at(&path))?;
    }
    sync_folder(folder).map_err(at(folder))?;

    let (segments, files) =
        Segments::open(&segments_folder, chain, marks.floor.segment.0.max(1)).map_err(at(&segments_folder))?;
    let payloads = marks.payloads;
    let oldest_blobs = marks.oldest_blobs.unwrap_or(Height(1));
    let (ledger, ends) = take_stock(&index, &segments, &files, payloads.map(|end| end.segment))?;
    let metrics = Metrics::new(&options.registry);
    let (index, segments) = (Arc::new(index), Arc::new(segments));
    let view = View::new(
        Arc::clone(&index),
        Arc::clone(&segments),
        metrics.clone(),
        options.hot_bytes,
        Arc::clone(&lock),
    );
    let view = Arc::new(view);
    view.set_head(head);
    view.set_oldest_blobs(oldest_blobs);
    view.archived().set(marks.archived_from, marks.archived_through);
    let values = files.iter().filter(|file| file.class == Class::Values);
    let newest_values = values.map(|file| file.id).max().unwrap_or(SegmentId(0));
    let desk = Desk {
        folder: folder.to_owned(),
        segments: Arc::clone(&segments),
        index: Arc::clone(&index),
        _lock: lock,
    };
    let state = State {
        folder: folder.to_owned(),
        archives: options.archives,
        segment_bytes: options.segment_bytes,
        keeps_all: options.retention.is_none(),
        index,
        segments,
        view: Arc::clone(&view),
        journal: Journal::new(folder, chain, marks.epoch.map_or(0, |epoch| epoch.generation)),
        ledger,
        reserve,
        metrics,
        head,
        oldest_blobs,
        growing: None,
        ahead: Ahead::None,
        newest_values,
        floor: marks.floor,
        retiring: Retiring::default(),
        files: Files::new(desk, payloads),
    };

    mark_lost(&state, &files, &ends)?;
    let mut state = recover_values(state, &files, &ends, marks.floor, &options.tell_read)?;
    let log = recover_log(&mut state, &marks, chain)?;
    forget_old(&mut state);
    state.reserve.take();
    state.show_shortage();
    view.show_account();
    let newest = view.decided(head);
    if newest.is_none() && head > Height::GENESIS {
        // Nobody can go on from a head without its certificate.
        return Err(OpenError::Index(state.index.damaged("decided", head)));
    }
    let recovered = Recovered {
        head: newest,
        log,
        undecided: undecided(&view),
        oldest_blobs,
        silent_through: marks.silent_through,
        rebuilt_through: marks.rebuilt_through,
    };
    Ok(OpenStore { state, view, recovered })
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
