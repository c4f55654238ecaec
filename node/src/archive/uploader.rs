//! This file knows how decided heights get into the archive, and damaged ones back out of it.
//!
//! 1. Read the heights above the last archived one, and lay them out as one object.
//! 2. Write it, read it back, check every checksum and hash of it, and compare its values with our certificates.
//! 3. Only then let the store remember that they are archived. It frees nothing before.
//!
//! Whatever ends the process in between, the next start finds the object, checks it in the same way, and takes it for
//! done; or finds none or a broken one, and writes it again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ultramarine_runtime::{Clock, Sender};
use ultramarine_store::archive::object::decode_row;
use ultramarine_store::archive::{ArchiveIndex, HeightSpan, ObjectError};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, Source, StoreRequest, Tag};
use ultramarine_types::{ChainIdentity, Height, Nanos};

use super::address::{ArchiveAddress, BucketAccess};
use super::progress::{ArchiveProgress, disk_hours};
use super::remote::{ArchiveError, ListedObject, Remote};
use super::schedule::{ArchiveBacklog, Schedule};
use super::spans::{self, GatherError};
use crate::disk::available_bytes;

/// How often it looks for new heights.
const LOOK: Duration = Duration::from_millis(500);
/// Heights whose bytes are counted in one look, so that a look is short.
const COUNTED_MAX: u64 = 4_096;
/// A height that was sent to the store to be restored is not fetched again before.
const HEAL_AGAIN: Nanos = Nanos::from_millis(30_000);
/// How soon a height that could not be read is looked at again.
const DAMAGED_AGAIN: Nanos = Nanos::from_millis(1_000);
/// Damaged heights that are remembered as under way.
const HEALING_MAX: usize = 1_024;

/// What the uploader is given.
#[derive(Debug)]
pub struct UploaderOptions {
    pub chain: ChainIdentity,
    pub address: ArchiveAddress,
    pub access: BucketAccess,
    pub span_heights: u32,
    /// Newest heights whose blobs stay here; `None`: all.
    pub retention: Option<u64>,
    /// Whose disk may fill.
    pub data_dir: PathBuf,
}

/// Why a step did not end well.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Height(#[from] GatherError),
    #[error(
        "{archive} has no object with height {through}, which this node archived: is the right folder mounted, and is \
         archive.url the one of before? `ultramarine archive gaps` names what is missing; copy it there"
    )]
    Lost { archive: String, through: Height },
    #[error("the store has stopped")]
    Closed,
}

pub struct Uploader {
    options: UploaderOptions,
    source: Arc<dyn Source>,
    store: Sender<StoreRequest>,
    progress: ArchiveProgress,
    clock: Clock,
    schedule: Schedule,
    remote: Option<Remote>,
    /// Objects that were there when the archive was opened, and those written since.
    listed: Vec<ListedObject>,
    /// Objects that have the next height and are of no use.
    useless: Vec<HeightSpan>,
    through: Height,
    /// Heights up to this one are in the backlog, or archived.
    counted: Height,
    backlog: ArchiveBacklog,
    healing: BTreeMap<Height, Nanos>,
}

impl Uploader {
    pub fn new(
        options: UploaderOptions,
        source: Arc<dyn Source>,
        store: Sender<StoreRequest>,
        progress: ArchiveProgress,
    ) -> Self {
        let through = source.archived_through();
        let schedule = Schedule::new(options.span_heights, options.retention);
        progress.spans_have(schedule.span_heights());
        Self {
            schedule,
            options,
            source,
            store,
            progress,
            clock: Clock::start(),
            remote: None,
            listed: Vec::new(),
            useless: Vec::new(),
            through,
            counted: through,
            backlog: ArchiveBacklog::default(),
            healing: BTreeMap::new(),
        }
    }

    /// Archives and heals until nobody waits for it any more.
    pub async fn run(mut self) {
        let mut not_before = Nanos::default();
        loop {
            self.count();
            if self.clock.now() >= not_before {
                match self.step().await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(Trouble::Closed) => return,
                    Err(trouble) => not_before = self.clock.now() + self.note(&trouble),
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says what is wrong, once. Returns how long the archive is left alone.
    fn note(&mut self, trouble: &Trouble) -> Nanos {
        if self.progress.troubled(&trouble.to_string()) {
            tracing::warn!("not archived: {trouble}. It is tried again, and nothing is freed before it is archived");
        }
        match trouble {
            // Nothing is wrong with the archive, and the height may be healed at any moment.
            Trouble::Height(_) => DAMAGED_AGAIN,
            Trouble::Archive(_) | Trouble::Lost { .. } | Trouble::Closed => {
                // What it has is looked at anew.
                self.remote = None;
                self.schedule.failed(self.clock.now())
            }
        }
    }

    /// Does one thing that is due. `Ok(false)`: nothing was.
    async fn step(&mut self) -> Result<bool, Trouble> {
        if self.remote.is_none() {
            self.open().await?;
        }
        if self.heal().await? || self.adopt().await? {
            self.well();
            return Ok(true);
        }
        let next = self.through.next();
        if self.source.damaged().contains(&next) {
            return Err(GatherError::Damaged(next).into());
        }
        if !self.schedule.is_due(self.clock.now(), self.backlog) {
            return Ok(false);
        }
        self.upload().await?;
        self.well();
        Ok(true)
    }

    fn well(&mut self) {
        self.schedule.succeeded();
        if self.progress.untroubled() {
            tracing::info!("the archive takes heights again, and has those up to {}", self.through);
        }
    }

    async fn open(&mut self) -> Result<(), Trouble> {
        let UploaderOptions {
            chain, address, access, ..
        } = &self.options;
        let remote = Remote::open(address, access, *chain, true)?;
        remote.check_chain().await?;
        self.listed = remote.list().await?;
        self.useless.clear();
        let through = self.through;
        if through > Height::GENESIS && !self.listed.iter().any(|object| object.span.has(through)) {
            return Err(Trouble::Lost {
                archive: remote.to_string(),
                through,
            });
        }
        tracing::info!(
            "archiving into {remote}: {} objects are there, and this node's heights up to {through}",
            self.listed.len()
        );
        self.remote = Some(remote);
        Ok(())
    }

    fn remote(&self) -> Result<&Remote, Trouble> {
        self.remote.as_ref().ok_or(Trouble::Closed)
    }

    /// Takes an object for done that is there already: an earlier life or another node wrote it.
    async fn adopt(&mut self) -> Result<bool, Trouble> {
        let next = self.through.next();
        if next > self.source.head() {
            return Ok(false);
        }
        let found = self
            .listed
            .iter()
            .rev()
            .find(|object| object.span.has(next) && !self.useless.contains(&object.span));
        let Some(object) = found.copied() else {
            return Ok(false);
        };
        let through = match self.verified(object).await {
            Ok(through) => through,
            // What cannot be read now may be whole.
            Err(error @ (ArchiveError::Away { .. } | ArchiveError::Refused(_) | ArchiveError::Credentials(_))) => {
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!("{error}; its heights are archived anew");
                None
            }
        };
        match through {
            Some(through) => self.archived(through).await?,
            None => self.useless.push(object.span),
        }
        Ok(true)
    }

    /// Up to which height an object has what this node has. `None`: not even the next one.
    async fn verified(&self, object: ListedObject) -> Result<Option<Height>, ArchiveError> {
        let Some(remote) = &self.remote else { return Ok(None) };
        let bytes = remote.get(object).await?;
        let flawed = |flaw| remote.flawed(object.span, flaw);
        let index = ArchiveIndex::decode(&bytes, object.bytes, remote.chain()).map_err(flawed)?;
        let mut through = None;
        for row in &index.rows {
            if row.key.height <= self.through {
                continue;
            }
            let Some(entry) = self.source.entry(row.key.height) else {
                break;
            };
            let at = |position: u64| usize::try_from(position).map_err(|_| flawed(ObjectError::Index));
            let slice = bytes.slice(at(row.offset)?..at(row.offset + row.bytes)?);
            if !row.is_as_held(&entry) || decode_row(row, &slice).is_err() {
                break;
            }
            through = Some(row.key.height);
        }
        Ok(through)
    }

    /// Writes the next span, reads it back, and lets the store remember it.
    async fn upload(&mut self) -> Result<(), Trouble> {
        let span = HeightSpan::new(self.through.next(), self.source.head());
        let heights_max = self.schedule.span_heights();
        let object = spans::gather(self.source.as_ref(), self.options.chain, span, heights_max).await?;
        let listed = spans::write(self.remote()?, &object).await?;
        let ListedObject { span, bytes } = listed;
        self.listed.push(listed);
        self.progress.wrote(bytes);
        tracing::debug!("heights {span} are archived: {bytes} bytes");
        self.archived(span.last).await
    }

    /// The archive has everything up to a height, and that was verified.
    async fn archived(&mut self, through: Height) -> Result<(), Trouble> {
        assert!(through > self.through, "the archive only grows");
        let request = StoreRequest::Archived { through };
        self.store.send_async(request).await.map_err(|_| Trouble::Closed)?;
        let mut height = self.through.next();
        while height <= through.min(self.counted) {
            let bytes = self.bytes_of(height);
            self.backlog.heights = self.backlog.heights.saturating_sub(1);
            self.backlog.bytes = self.backlog.bytes.saturating_sub(bytes);
            height = height.next();
        }
        self.counted = self.counted.max(through);
        self.through = through;
        self.useless.clear();
        Ok(())
    }

    /// Fetches one damaged height, if the archive has it.
    async fn heal(&mut self) -> Result<bool, Trouble> {
        let damaged = self.source.damaged();
        self.healing.retain(|height, _| damaged.contains(height));
        let now = self.clock.now();
        let due = damaged.into_iter().find_map(|height| {
            let is_due = self.healing.get(&height).is_none_or(|again| now >= *again);
            let object = self.listed.iter().find(|object| object.span.has(height))?;
            is_due.then_some((height, *object))
        });
        let Some((height, object)) = due else {
            return Ok(false);
        };
        if self.healing.len() < HEALING_MAX {
            self.healing.insert(height, now + HEAL_AGAIN);
        }
        let Some(entry) = self.source.entry(height) else {
            // Without our own certificate there is nothing to compare with. Peers heal it.
            return Ok(false);
        };
        let found = match self.remote()?.height(object, height).await {
            Ok(found) => found,
            Err(error @ (ArchiveError::Flawed { .. } | ArchiveError::Missing { .. })) => {
                tracing::warn!("height {height} is damaged here, and not healed from the archive: {error}");
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        let is_ours = found.assembly.key == entry.key();
        if !is_ours || (entry.blobs == Blobs::Held && !found.is_whole()) {
            return Ok(false);
        }
        let mut assembly = found.assembly;
        if entry.blobs != Blobs::Held {
            assembly.blobs.clear();
        }
        tracing::info!("height {height} is damaged here; the archive has it, and it is written anew");
        let request = StoreRequest::Put {
            assembly,
            tag: Tag::Restored,
        };
        self.store.send_async(request).await.map_err(|_| Trouble::Closed)?;
        self.progress.healed();
        Ok(true)
    }

    /// Counts what waits, and shows it.
    fn count(&mut self) {
        let head = self.source.head();
        let last = head.min(Height(self.counted.0.saturating_add(COUNTED_MAX)));
        while self.counted < last {
            let height = self.counted.next();
            self.backlog.bytes = self.backlog.bytes.saturating_add(self.bytes_of(height));
            self.backlog.heights += 1;
            self.counted = height;
        }
        let now = self.clock.now();
        self.progress.waits(now, self.through, self.backlog, self.disk_hours());
    }

    fn disk_hours(&self) -> Option<u64> {
        let time = |height| Some(self.source.entry(height)?.timestamp);
        let seconds = time(self.counted)?.saturating_sub(time(self.through.next())?);
        disk_hours(available_bytes(&self.options.data_dir)?, self.backlog, seconds)
    }

    /// Payload and blob bytes of a height; nothing of one that cannot be read.
    fn bytes_of(&self, height: Height) -> u64 {
        self.source.decided(height).map_or(0, |decided| {
            let metadata = &decided.init.metadata;
            u64::from(metadata.payload_bytes) + u64::from(metadata.blobs_count) * BLOB_BYTES as u64
        })
    }
}
