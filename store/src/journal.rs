//! This file knows the consensus log as it is written: one file per epoch, three files in turn.
//!
//! ```text
//!   log-0 │ epoch of H   ▓▓▓▓░░ │      commit of H makes the mark of H+1 durable in the same transaction;
//!   log-1 │ epoch of H+1 ░░░░░░ │ ◀──  its file was made ready just before, so a mark without a file is a lost file
//!   log-2 │              ░░░░░░ │      for H+2, should H+1 be committed before its epoch is begun
//! ```
//! The file comes before the mark: a crash between the two leaves a file that nothing names. With the mark first, it
//! would leave a mark without a file, which must be read as lost signatures. A node killed there would sit out a height
//! for nothing; if all nodes were, the chain would stand still.
//!
//! Behind each sync, an empty frame follows without one. It says that the frame before it was durable: if that frame
//! cannot be read later, it has rotted, and was not cut short by a crash.
//!
//! Keeps:
//! - a page that was made durable is never written again, until a new epoch takes its file;
//! - records of one epoch never follow another's mark;
//! - no two files are of one generation.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ultramarine_runtime::medium::{Medium, MediumFile};
use ultramarine_types::storage::LogEpoch;
use ultramarine_types::{ChainIdentity, Height, Lsn};

use crate::append::write_parts;
use crate::format::{Lineage, PAGE_BYTES};
use crate::log::{LOG_FIRST_FRAME, LogHeader, encode_frame};

/// Size a log file is made with: a height's few kilobytes many times over; a longer log grows its file
/// until another epoch takes it.
pub const LOG_FILE_BYTES: u64 = 256 * 1024;
/// One for the epoch that is appended to, one for the epoch that the last commit marked, and one being made ready. A
/// file is written over only when no mark names it any more.
pub const LOG_FILES_COUNT: usize = 3;

/// The log file of a number, below [`LOG_FILES_COUNT`], within the data directory.
pub fn log_path(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("log-{number}"))
}

/// An epoch whose file is ready.
#[derive(Clone, Copy, Debug)]
struct Open {
    epoch: LogEpoch,
    lineage: Lineage,
    number: usize,
    offset: u64,
    sequence: u64,
}

impl Open {
    /// A frame was made durable: writes the empty one that says so. The bytes of that.
    async fn close<F: MediumFile>(&mut self, frame_bytes: u64, file: &F) -> io::Result<u64> {
        let closing = encode_frame(self.lineage, self.sequence + 1, &[]);
        let closing_bytes = closing.len() as u64;
        let at = self.offset + frame_bytes;
        write_parts(file, at, closing_bytes, std::iter::once(closing.as_slice())).await?;
        self.offset = at + closing_bytes;
        self.sequence += 2;
        Ok(closing_bytes)
    }
}

/// Why a request to the log makes no sense: the core's fault, and reason enough to stop signing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misuse {
    /// An append with no epoch begun.
    #[error("a log record was appended before any epoch was begun")]
    NoEpoch,
    /// A position that is not above the newest one.
    #[error("log position {lsn} was appended after {appended}")]
    Order {
        lsn: u64,
        /// The newest position before it.
        appended: u64,
    },
    /// Nothing was appended at that position.
    #[error("log position {lsn} is to be made durable and only {appended} was appended")]
    Ahead {
        /// The position asked for.
        lsn: u64,
        /// The newest position that was appended.
        appended: u64,
    },
    /// An epoch must follow the head.
    #[error("an epoch was begun for height {height} after that of height {current}")]
    Backwards {
        /// The height asked for.
        height: Height,
        current: Height,
    },
}

/// The log's state between two syncs; the writer owns the files.
#[derive(Debug)]
pub(crate) struct Journal {
    chain: ChainIdentity,
    folder: PathBuf,
    current: Option<Open>,
    prepared: Option<Open>,
    /// The mark's epoch when its log was lost or damaged: nothing is signed at its height, so nothing need be kept.
    untrusted: Option<LogEpoch>,
    generation: u64,
    appended: Lsn,
    pending: Vec<Bytes>,
    /// The generation of the epoch that the pending records belong to.
    pending_generation: u64,
    wanted: bool,
    /// How far each file is durable. Nothing is appended to a file that recovery read: it counts as durable to its end.
    durable_bytes: [u64; LOG_FILES_COUNT],
}

/// Open log files of one medium.
pub(crate) struct LogFiles<M: Medium> {
    files: [Option<M::File>; LOG_FILES_COUNT],
}

impl<M: Medium> Default for LogFiles<M> {
    fn default() -> Self {
        Self {
            files: std::array::from_fn(|_| None),
        }
    }
}

impl<M: Medium> LogFiles<M> {
    async fn file(&mut self, medium: &M, folder: &Path, number: usize) -> io::Result<&M::File> {
        if self.files[number].is_none() {
            self.files[number] = Some(medium.open(&log_path(folder, number)).await?);
        }
        Ok(self.files[number].as_ref().expect("opened above"))
    }
}

/// Gives back what a long height added to a log file.
fn shorten(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.len() > LOG_FILE_BYTES {
        OpenOptions::new().write(true).open(path)?.set_len(LOG_FILE_BYTES)?;
    }
    Ok(())
}

/// What beginning an epoch takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Begin {
    /// It is the current one; its mark is durable.
    Ready(LogEpoch),
    /// A file must be prepared and its mark made durable.
    Prepare,
}

impl Journal {
    /// A log with no epoch; `generation` is the newest ever used.
    pub fn new(folder: &Path, chain: ChainIdentity, generation: u64) -> Self {
        Self {
            chain,
            folder: folder.to_owned(),
            current: None,
            prepared: None,
            untrusted: None,
            generation,
            appended: Lsn::default(),
            pending: Vec::new(),
            pending_generation: 0,
            wanted: false,
            durable_bytes: [0; LOG_FILES_COUNT],
        }
    }

    /// Checks what the log keeps, as far as its state tells.
    pub fn check(&self) {
        let Self { current, prepared, .. } = self;
        for open in current.iter().chain(prepared) {
            assert!(open.number < LOG_FILES_COUNT, "an epoch lies in one of the files");
            assert!(
                open.offset >= LOG_FIRST_FRAME && open.offset.is_multiple_of(PAGE_BYTES),
                "a frame begins on a page of its own, behind the header"
            );
            assert!(
                open.epoch.generation <= self.generation,
                "every generation in use is counted"
            );
            assert!(
                open.offset >= self.durable_bytes[open.number],
                "a page that was made durable is never written again"
            );
        }
        if let (Some(current), Some(prepared)) = (current, prepared) {
            assert_ne!(current.number, prepared.number, "the next epoch has a file of its own");
            assert!(
                current.epoch.generation < prepared.epoch.generation,
                "no two files are of one generation"
            );
        }
        assert!(
            self.pending.is_empty() || current.is_some_and(|open| open.epoch.generation == self.pending_generation),
            "records are pending only in their own epoch"
        );
        assert!(
            self.pending.is_empty() || self.untrusted.is_none(),
            "nothing is kept for a height at which nothing is signed"
        );
    }

    /// Gives no generation to a new epoch that is not above this one.
    pub fn number_from(&mut self, generation: u64) {
        self.generation = self.generation.max(generation);
    }

    /// Takes the mark's epoch as one whose log cannot be trusted.
    pub fn distrust(&mut self, epoch: LogEpoch) {
        assert!(self.pending.is_empty(), "recovery comes before the first record");
        self.untrusted = Some(epoch);
    }

    /// Adds a record to what the next sync writes.
    pub fn append(&mut self, lsn: Lsn, record: Bytes) -> Result<(), Misuse> {
        if lsn <= self.appended {
            return Err(Misuse::Order {
                lsn: lsn.0,
                appended: self.appended.0,
            });
        }
        self.appended = lsn;
        if self.untrusted.is_some() {
            return Ok(());
        }
        let Some(current) = &self.current else {
            return Err(Misuse::NoEpoch);
        };
        self.pending_generation = current.epoch.generation;
        self.pending.push(record);
        Ok(())
    }

    /// Asks that the next [`sync`](Self::sync) happens.
    pub fn want(&mut self, lsn: Lsn) -> Result<(), Misuse> {
        if lsn > self.appended {
            return Err(Misuse::Ahead {
                lsn: lsn.0,
                appended: self.appended.0,
            });
        }
        self.wanted = true;
        Ok(())
    }

    /// Whether the next [`sync`](Self::sync) writes anything.
    pub fn is_sync_due(&self) -> bool {
        self.wanted && !self.pending.is_empty()
    }

    /// Writes the pending records as one frame and makes it durable, if that was asked for; the bytes written.
    pub async fn sync<M: Medium>(&mut self, medium: &M, files: &mut LogFiles<M>) -> io::Result<u64> {
        if !std::mem::take(&mut self.wanted) || self.pending.is_empty() {
            return Ok(0);
        }
        self.write_pending(medium, files).await
    }

    async fn write_pending<M: Medium>(&mut self, medium: &M, files: &mut LogFiles<M>) -> io::Result<u64> {
        self.check();
        let current = self.current.as_mut().expect("records are pending only in an epoch");
        assert!(
            current.offset >= LOG_FIRST_FRAME,
            "records stand behind the file's header"
        );
        let frame = encode_frame(current.lineage, current.sequence, &self.pending);
        let frame_bytes = frame.len() as u64;
        let file = files.file(medium, &self.folder, current.number).await?;
        write_parts(file, current.offset, frame_bytes, std::iter::once(frame.as_slice())).await?;
        file.sync().await?;
        let closing_bytes = current.close(frame_bytes, file).await?;
        self.durable_bytes[current.number] = current.offset;
        self.pending.clear();
        Ok(frame_bytes + closing_bytes)
    }

    /// Makes another file ready for a height: its header, under a new generation, is durable when this returns.
    pub async fn prepare<M: Medium>(
        &mut self,
        height: Height,
        medium: &M,
        files: &mut LogFiles<M>,
    ) -> io::Result<LogEpoch> {
        let taken = [self.current, self.prepared].map(|open| open.map(|open| open.number));
        // In turn, so that each is taken, and comes back to its size, within three epochs.
        let newest = taken[1].or(taken[0]).unwrap_or(LOG_FILES_COUNT - 1);
        let mut in_turn = (1..=LOG_FILES_COUNT).map(|step| (newest + step) % LOG_FILES_COUNT);
        let free = in_turn.find(|number| !taken.contains(&Some(*number)));
        let number = free.expect("two of three files are taken at most");
        self.generation = self.generation.checked_add(1).ok_or_else(|| {
            io::Error::other("a log file carries the last generation there is, which no node ever reached")
        })?;
        let epoch = LogEpoch {
            height,
            generation: self.generation,
        };
        let lineage = Lineage::begin(epoch.generation);
        let header = LogHeader {
            epoch,
            salt: lineage.salt,
            chain: self.chain,
        }
        .encode();
        // No mark names it, and what stands in it is of an epoch that is decided.
        shorten(&log_path(&self.folder, number))?;
        let file = files.file(medium, &self.folder, number).await?;
        write_parts(file, 0, header.len() as u64, std::iter::once(header.as_slice())).await?;
        file.sync().await?;
        self.durable_bytes[number] = header.len() as u64;
        self.prepared = Some(Open {
            epoch,
            lineage,
            number,
            offset: LOG_FIRST_FRAME,
            sequence: 0,
        });
        Ok(epoch)
    }

    /// Whether an epoch for this height is ready, or must be prepared first.
    pub fn begin(&mut self, height: Height) -> Result<Begin, Misuse> {
        if let Some(epoch) = self.untrusted.filter(|epoch| epoch.height == height) {
            return Ok(Begin::Ready(epoch));
        }
        match self.current {
            Some(current) if current.epoch.height == height => return Ok(Begin::Ready(current.epoch)),
            Some(current) if current.epoch.height > height => {
                return Err(Misuse::Backwards {
                    height,
                    current: current.epoch.height,
                });
            }
            Some(_) | None => {}
        }
        Ok(Begin::Prepare)
    }

    /// Whether the file of a height is ready and waits for its mark.
    pub fn is_prepared(&self, height: Height) -> bool {
        self.prepared.is_some_and(|prepared| prepared.epoch.height == height)
    }

    /// Turns to the prepared epoch, its mark being durable. What was pending for the old one, which is decided, is
    /// dropped.
    pub fn turn(&mut self) -> LogEpoch {
        let prepared = self.prepared.take().expect("an epoch is prepared before it is begun");
        if let Some(current) = &self.current {
            assert!(
                current.epoch.height <= prepared.epoch.height,
                "an epoch never follows one of a later height"
            );
        }
        self.pending.clear();
        self.untrusted = None;
        self.current = Some(prepared);
        prepared.epoch
    }

    /// Writes recovered records into the prepared file, so that the log goes on in a fresh one.
    pub async fn refill<M: Medium>(
        &mut self,
        records: &[Bytes],
        medium: &M,
        files: &mut LogFiles<M>,
    ) -> io::Result<()> {
        let prepared = self
            .prepared
            .as_mut()
            .expect("an epoch is prepared before it is refilled");
        if records.is_empty() {
            return Ok(());
        }
        let frame = encode_frame(prepared.lineage, prepared.sequence, records);
        let file = files.file(medium, &self.folder, prepared.number).await?;
        write_parts(
            file,
            prepared.offset,
            frame.len() as u64,
            std::iter::once(frame.as_slice()),
        )
        .await?;
        file.sync().await?;
        prepared.close(frame.len() as u64, file).await?;
        self.durable_bytes[prepared.number] = prepared.offset;
        Ok(())
    }

    /// Says which file holds the log that recovery read, so that a new log goes into another.
    pub fn avoid(&mut self, number: usize, epoch: LogEpoch) {
        let lineage = Lineage::begin(epoch.generation);
        self.durable_bytes[number] = u64::MAX;
        self.current = Some(Open {
            epoch,
            lineage,
            number,
            offset: LOG_FIRST_FRAME,
            sequence: 0,
        });
    }
}
