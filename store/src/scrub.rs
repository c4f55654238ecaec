//! This file knows how to read all that is stored again, slowly and without end, and to notice what has rotted.
//!
//! ```text
//!   a pass:  heights 1 … head: index rows, then the record that they name
//!       ─▶  the index's other rows  ─▶  its file  ─▶  header pages of segments and logs
//! ```
//! One thread of its own reads with `pread`, at a bounded rate, from the device where the file system lets go of its
//! cache. A decided height whose row or record is wrong is marked damaged: it is served no more, and fetched again.
//!
//! Keeps: no more than the rate is read over any second or more; a record that moved meanwhile is not called damaged.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use ultramarine_runtime::Halt;
use ultramarine_types::digest::blob_digest;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::lists::chunk_hashes;
use ultramarine_types::storage::{Blobs, Source};
use ultramarine_types::{Assembly, Height, Lists};

use crate::damage::unix_seconds;
use crate::format::{PAGE_BYTES, crc32c};
use crate::index::{HeightRows, Index, IndexError, guarded};
use crate::journal::{LOG_FILES_COUNT, log_path};
use crate::log::LogHeader;
use crate::record::{self, CheckDepth, RecordContent, RecordError, RecordHeader};
use crate::segment::Location;
use crate::view::View;

/// Between two passes: a small store is not read without a pause.
const PASS_PAUSE: Duration = Duration::from_secs(10);
/// How much of the rate may be saved up for one read.
const BURST: Duration = Duration::from_secs(1);
/// An index up to this size is read from its file as well: that takes a tenth of a second, so commits seldom meet it.
const INDEX_FILE_BYTES_MAX: u64 = 64 << 20;
/// How often something is read that others may be writing, and how long to wait between two tries.
const TRIES: usize = 5;
const TRY_PAUSE: Duration = Duration::from_millis(300);
/// The index's file is called damaged when so many readings say so.
const FAILURES_TO_BELIEVE: usize = 2;
const _: () = assert!(FAILURES_TO_BELIEVE <= TRIES);
/// Rows of the index that are read between two looks at the rate.
pub(crate) const ROWS_PER_STEP: usize = 256;

/// What is wrong with a record on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rot {
    #[error("it cannot be read: {0}")]
    Unread(#[from] io::Error),
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A whole record of something else.
    #[error("it is not the one that the index names")]
    Foreign,
    /// The checksums hold, and the value has other bytes.
    #[error("its payload is not the one that the value binds")]
    Payload,
    /// The checksums hold, and the value has another blob.
    #[error("blob {index} is not the one that the value binds")]
    Digest { index: u32 },
}

/// Starts the thread; it ends when the node halts. A rate of 0 starts none.
pub fn start(halt: &Halt, view: &Arc<View>, bytes_per_second: u64) -> io::Result<()> {
    if bytes_per_second == 0 {
        return Ok(());
    }
    let (halt, view) = (halt.clone(), Arc::clone(view));
    view.begin_scrub();
    let scrub = move || {
        let mut scrub = Scrub::new(&view, bytes_per_second, |pause| halt.wait(pause));
        while scrub.pass().is_ok() && !halt.wait(PASS_PAUSE) {}
    };
    let thread = std::thread::Builder::new().name("store-scrub".to_owned());
    thread.spawn(scrub).map(drop)
}

/// The node halts.
#[derive(Debug)]
pub(crate) struct Halted;

/// Reads a store at a rate. `wait` sleeps, and says whether the node halts.
pub(crate) struct Scrub<'a, W> {
    view: &'a View,
    pace: Pace<W>,
}

impl<'a, W: FnMut(Duration) -> bool> Scrub<'a, W> {
    pub fn new(view: &'a View, bytes_per_second: u64, wait: W) -> Self {
        Self {
            view,
            pace: Pace {
                bytes_per_second,
                wait,
                from: Instant::now(),
                bytes: 0,
            },
        }
    }

    /// Reads everything once.
    pub fn pass(&mut self) -> Result<(), Halted> {
        // Rows are read from the device, as far as redb does not have them.
        self.forget_index();
        let mut height = Height(1);
        while height <= self.view.head() {
            self.height(height)?;
            self.view.metrics().scrub.height.set(number(height.0));
            height = height.next();
        }
        self.other_rows()?;
        self.index_file()?;
        self.headers()?;
        self.log_heads()?;
        let scrub = &self.view.metrics().scrub;
        scrub.passes.inc();
        scrub.last_pass.set(number(unix_seconds()));
        Ok(())
    }

    /// Checks a decided height: its rows, and the record that they name.
    fn height(&mut self, height: Height) -> Result<(), Halted> {
        // What moves while it is read is read again where it went.
        for _ in 0..3 {
            if self.view.is_damaged(height) {
                return Ok(());
            }
            let rows = match guarded(|| rows(self.view.index(), height)) {
                Ok(rows) => rows,
                Err(reason) => return self.damaged(height, &reason),
            };
            self.spend(ROW_BYTES)?;
            let Err(rot) = self.record(&rows)? else {
                return Ok(());
            };
            let location = rows.place.location;
            let is_there = self.view.index().location(height);
            if is_there.is_ok_and(|found| found.is_some_and(|found| found.location == location)) {
                let Location { segment, offset, .. } = location;
                return self.damaged(height, &format!("its record in segment {segment} at {offset}: {rot}"));
            }
        }
        Ok(())
    }

    fn damaged(&mut self, height: Height, reason: &str) -> Result<(), Halted> {
        self.view.metrics().scrub.found.inc();
        self.view.mark_damaged(height, &format!("height {height}: {reason}"));
        Ok(())
    }

    fn record(&mut self, rows: &HeightRows) -> Result<Result<(), Rot>, Halted> {
        let place = self.view.segments().on_disk(&rows.place.location);
        let file = match place {
            None => Err(io::Error::other("its segment is gone")),
            Some(place) => File::open(place.path),
        };
        let file = match file {
            Ok(file) => file,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut halted = false;
        let outcome = read_record(&file, rows, Depth::Checksums, |bytes| {
            halted = halted || self.spend(bytes).is_err();
            !halted
        });
        if halted { Err(Halted) } else { Ok(outcome) }
    }

    /// Reads every row of the index that no decided height leads to.
    fn other_rows(&mut self) -> Result<(), Halted> {
        let text = |error: IndexError| error.to_string();
        let index = self.view.index();
        if let Err(reason) = guarded(|| index.check_marks(&mut |rotten| self.alarm(&text(rotten))).map_err(text)) {
            self.alarm(&reason);
        }
        self.spend(ROW_BYTES)?;
        let mut from = None;
        loop {
            let step = guarded(|| {
                let step = index.check_blocks(from, ROWS_PER_STEP, &mut |rotten| self.alarm(&text(rotten)));
                step.map_err(text)
            });
            match step {
                Ok(None) => break,
                Ok(next) => from = next,
                Err(reason) => {
                    self.alarm(&reason);
                    break;
                }
            }
            self.spend(ROW_BYTES * ROWS_PER_STEP as u64)?;
        }
        let evidence = guarded(|| {
            let mut rows_count = 0;
            let read = self.view.index().evidence(Height(0), Height(u64::MAX), &mut |_| {
                rows_count += 1;
                if rows_count < EVIDENCE_ROWS_MAX {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            read.map(|()| rows_count).map_err(|error| error.to_string())
        });
        match evidence {
            Ok(rows_count) => self.spend(ROW_BYTES * rows_count),
            Err(reason) => {
                self.alarm(&reason);
                Ok(())
            }
        }
    }

    /// Reads the index from its file, as a start would: what was read above may have been in memory.
    fn index_file(&mut self) -> Result<(), Halted> {
        let path = self.view.index().path();
        let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        if bytes > INDEX_FILE_BYTES_MAX {
            return Ok(());
        }
        let mut failures_count = 0;
        for _ in 0..TRIES {
            self.spend(bytes)?;
            self.forget_index();
            let chain = self.view.segments().chain();
            let index = self.view.index();
            let Some(before) = index.writes() else {
                // A transaction is under way, however long the disk takes over it.
                self.rest()?;
                continue;
            };
            let read = guarded(|| {
                let again = index.open_again(chain, before);
                again.map(drop).map_err(|error| error.to_string())
            });
            let Err(reason) = read else { return Ok(()) };
            // A commit changes pages while they are read. Such a reading says nothing.
            if self.view.index().writes() == Some(before) {
                failures_count += 1;
            }
            if failures_count == FAILURES_TO_BELIEVE {
                self.alarm(&format!("{reason} (on disk; what is in memory is written anew)"));
                return self.renew_index(bytes);
            }
            self.rest()?;
        }
        Ok(())
    }

    /// Has the page cache let go of the index.
    fn forget_index(&self) {
        if let Ok(file) = File::open(self.view.index().path()) {
            let _ = fadvise(&file, 0, None, Advice::DontNeed);
        }
    }

    /// Writes the index anew from what can be read of it: the next start believes its file alone.
    fn renew_index(&mut self, bytes: u64) -> Result<(), Halted> {
        self.spend(bytes)?;
        match guarded(|| self.view.index().renew().map_err(|error| error.to_string())) {
            Ok(()) => {
                self.view.metrics().index_renewals.inc();
                tracing::info!("the index is written anew");
            }
            Err(reason) => self.alarm(&format!(
                "the index cannot be written anew, and a start would have to rebuild it: {reason}"
            )),
        }
        Ok(())
    }

    /// Reads the first page of every segment in use.
    fn headers(&mut self) -> Result<(), Halted> {
        for id in self.view.segments().ids() {
            self.spend(PAGE_BYTES)?;
            if let Err(reason) = self.view.segments().check_header(id) {
                self.alarm(&reason);
            }
        }
        Ok(())
    }

    /// Reads the first page of every log: a start believes the log whose head the index names.
    fn log_heads(&mut self) -> Result<(), Halted> {
        let folder = self.view.index().path().parent().unwrap_or(Path::new("")).to_owned();
        for number in 0..LOG_FILES_COUNT {
            let path = log_path(&folder, number);
            let mut is_whole = false;
            for _ in 0..TRIES {
                self.spend(PAGE_BYTES)?;
                is_whole = is_log_head(&path).unwrap_or(false);
                if is_whole {
                    break;
                }
                // It may be written anew right now.
                self.rest()?;
            }
            if !is_whole {
                self.alarm(&format!("the header of {} is damaged", path.display()));
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<(), Halted> {
        if (self.pace.wait)(TRY_PAUSE) {
            Err(Halted)
        } else {
            Ok(())
        }
    }

    fn alarm(&self, what: &str) {
        self.view.metrics().scrub.found.inc();
        self.view.alarm(what);
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Halted> {
        self.view.metrics().scrub.bytes.add(bytes);
        self.pace.spend(bytes)
    }
}

/// Whether the first page of a file is a log's header, or was never written.
fn is_log_head(path: &Path) -> io::Result<bool> {
    let mut page = vec![0; PAGE_BYTES as usize];
    let file = File::open(path)?;
    let _ = fadvise(&file, 0, NonZero::new(PAGE_BYTES), Advice::DontNeed);
    file.read_exact_at(&mut page, 0)?;
    Ok(LogHeader::decode(&page).is_some() || page.iter().all(|byte| *byte == 0))
}

/// What a row and its page cost.
const ROW_BYTES: u64 = PAGE_BYTES;
/// Pieces of evidence that one look reads: they are few, and each up to 320 KB.
const EVIDENCE_ROWS_MAX: u64 = 1024;

/// Spreads reading over time.
struct Pace<W> {
    bytes_per_second: u64,
    wait: W,
    from: Instant,
    bytes: u64,
}

impl<W: FnMut(Duration) -> bool> Pace<W> {
    fn spend(&mut self, bytes: u64) -> Result<(), Halted> {
        self.bytes += bytes;
        let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second as f64);
        let passed = self.from.elapsed();
        let pause = due.saturating_sub(passed);
        if passed > due + BURST {
            // Time in which nothing was read is not saved up.
            (self.from, self.bytes) = (Instant::now(), 0);
        }
        if (self.wait)(pause) { Err(Halted) } else { Ok(()) }
    }
}

/// The rows of a decided height, as far as they fit each other.
pub(crate) fn rows(index: &Index, height: Height) -> Result<HeightRows, String> {
    let text = |error: IndexError| error.to_string();
    let rows = index
        .decided(height)
        .map_err(text)?
        .ok_or("it is not in the index, which has higher ones")?;
    // Only an older row has the `Init`, and the head.
    if rows.init.as_ref().is_some_and(|init| init.key() != rows.decided.key()) {
        return Err("the index has another value's row in its place".to_owned());
    }
    let block_hash = &rows.decided.block_hash;
    if index.height_of_block(block_hash).map_err(text)? != Some(height) {
        return Err(format!("the index does not lead to it from its block {block_hash}"));
    }
    Ok(rows)
}

/// What is held against what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Depth {
    /// Bytes against their checksums, and the lists against the metadata.
    Checksums,
    /// The same, and payload and blobs against the lists.
    Digests,
}

/// Reads a record piece by piece, and checks that it is sound and the one that the index names. `spend` is told of each
/// piece before it is read, and says whether to go on.
pub(crate) fn read_record(
    file: &File,
    rows: &HeightRows,
    depth: Depth,
    mut spend: impl FnMut(u64) -> bool,
) -> Result<(), Rot> {
    let Location { offset, bytes, .. } = rows.place.location;
    // What the page cache has says nothing of the device. A file system that keeps it is read all the same.
    let _ = fadvise(file, offset, NonZero::new(bytes), Advice::DontNeed);
    let mut read = |at: u64, bytes: u64| -> Result<Option<Bytes>, Rot> {
        if !spend(bytes) {
            return Ok(None);
        }
        let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        file.read_exact_at(&mut buffer, offset + at)?;
        Ok(Some(buffer.into()))
    };
    let Some(page) = read(0, PAGE_BYTES)? else {
        return Ok(());
    };
    let header = RecordHeader::decode(&page)?;
    if header.key != rows.decided.key() || header.record_bytes() != bytes || !has_enough(&header, rows.place.blobs) {
        return Err(Rot::Foreign);
    }
    let Some(head) = read(0, header.blobs_offset())? else {
        return Ok(());
    };
    let Assembly {
        init, lists, payload, ..
    } = record::decode(&head, CheckDepth::Body)?.assembly;
    if !rows.decided.is_of(&init) {
        return Err(Rot::Foreign);
    }
    if depth == Depth::Digests && chunk_hashes(&payload) != lists.chunks {
        return Err(Rot::Payload);
    }
    if rows.place.blobs == Blobs::Pruned {
        // Blobs of which nothing is promised any more.
        return Ok(());
    }
    for index in 0..header.blobs_count {
        let crc = header.blob_crc(&head, index)?;
        let at = header.blobs_offset() + u64::from(index) * BLOB_BYTES as u64;
        let Some(blob) = read(at, BLOB_BYTES as u64)? else {
            return Ok(());
        };
        if crc32c(&blob) != crc {
            return Err(RecordError::Blob { index }.into());
        }
        if depth == Depth::Digests && !is_bound(&lists, index as usize, &blob) {
            return Err(Rot::Digest { index });
        }
    }
    Ok(())
}

/// Whether the digest of a blob is the one that the lists have.
fn is_bound(lists: &Lists, index: usize, blob: &[u8]) -> bool {
    let (commitment, digest) = (lists.commitments.get(index), lists.digests.get(index));
    commitment.is_some_and(|commitment| digest == Some(&blob_digest(blob, commitment)))
}

/// Whether a record brings what the index says of a height's blobs.
fn has_enough(header: &RecordHeader, blobs: Blobs) -> bool {
    blobs != Blobs::Held || header.content == RecordContent::Whole
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
