//! A store that runs as a tile, values whose bytes follow from their height, and an uploader beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ultramarine_runtime::topology::Seat;
use ultramarine_runtime::{Clock, Halt, Io, Receiver, Registry, Sender, Tile, link};
use ultramarine_store::archive::HeightSpan;
use ultramarine_store::{OpenStore, StoreOptions, View, open, tile};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, Decision, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Hash, Height, KzgCommitment, KzgProof, Lists, Round, fixtures};

use crate::archive::address::{ArchiveAddress, BucketAccess};
use crate::archive::audit::{Coverage, coverage};
use crate::archive::progress::ArchiveProgress;
use crate::archive::remote::Remote;
use crate::archive::uploader::{Uploader, UploaderOptions};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Rig {
    pub folder: PathBuf,
    pub view: Arc<View>,
    pub requests: Sender<StoreRequest>,
    replies: Receiver<StoreReply>,
    clock: Clock,
    halt: Halt,
    tile: Option<ultramarine_runtime::JoinHandle>,
}

impl Rig {
    /// Opens the store in a folder, as a node with an archive does.
    pub fn open(folder: &Path) -> Self {
        let registry = Registry::new();
        let options = StoreOptions {
            archives: true,
            hot_bytes: 0,
            segment_bytes: 4 << 20,
            ..StoreOptions::new(Limits { blobs_per_block: 6 }, fixtures::CHAIN, Arc::clone(&registry))
        };
        let OpenStore { state, view, .. } = open(folder, &options).expect("it opens");
        let (requests, incoming) = link("store", 64).expect("a link");
        let (outgoing, replies) = link("store-core", 64).expect("a link");
        let halt = Halt::new();
        let tile = Tile::spawn(&registry, "store", Seat::default(), &halt, move |context| {
            tile::run(context, state, Io::Fallback, incoming, outgoing).map_err(|error| error.to_string())
        });
        Self {
            folder: folder.to_owned(),
            view,
            requests,
            replies,
            clock: Clock::start(),
            halt,
            tile: Some(tile.expect("a thread")),
        }
    }

    /// Asks the store and waits for the answer.
    pub fn ask(&mut self, request: StoreRequest) -> StoreReply {
        self.requests.send(request).expect("the tile runs");
        loop {
            if let Some(reply) = self.replies.recv_until(None, &self.clock) {
                // Others ask as well.
                if !matches!(
                    reply,
                    StoreReply::Stored { tag: Tag::Restored, .. } | StoreReply::Damaged { .. }
                ) {
                    return reply;
                }
            }
            assert!(!self.replies.is_closed(), "the tile ended: {:?}", self.halt.reason());
        }
    }

    /// Decides the values of these heights.
    pub fn grow(&mut self, heights: std::ops::RangeInclusive<u64>, blobs: usize) -> Vec<Assembly> {
        let values: Vec<Assembly> = heights.map(|height| value(height, blobs)).collect();
        for value in &values {
            let stored = self.ask(StoreRequest::Put {
                assembly: value.clone(),
                tag: Tag::Streamed,
            });
            assert!(matches!(stored, StoreReply::Stored { .. }), "{stored:?}");
            let decision = Decision {
                certificate: fixtures::certificate(value.key, Round(0)),
                init: Arc::clone(&value.init),
                blobs: Blobs::Held,
            };
            let committed = self.ask(StoreRequest::Commit(Box::new(decision)));
            assert!(matches!(committed, StoreReply::Committed { .. }), "{committed:?}");
        }
        values
    }

    /// Ends the keeping of blobs below a height. They come free beside other work.
    pub fn begin_retiring(&mut self, below: u64) {
        let blobs_below = Height(below);
        let answer = self.ask(StoreRequest::Retire { blobs_below });
        assert!(matches!(answer, StoreReply::Retired { .. }), "{answer:?}");
    }

    /// Ends the keeping of blobs below a height, until nothing more comes free.
    pub fn retire(&mut self, below: u64) -> Height {
        let (mut oldest, mut since) = (Height::GENESIS, Instant::now());
        loop {
            let blobs_below = Height(below);
            let StoreReply::Retired { blobs_below } = self.ask(StoreRequest::Retire { blobs_below }) else {
                panic!("another answer")
            };
            // The store answers at once, and frees beside its other work.
            if blobs_below != oldest {
                (oldest, since) = (blobs_below, Instant::now());
            } else if since.elapsed() > Duration::from_secs(1) {
                return oldest;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Begins to archive.
    pub fn upload(&self, address: &ArchiveAddress, access: &BucketAccess, span_heights: u32) -> Uploading {
        let options = UploaderOptions {
            chain: fixtures::CHAIN,
            address: address.clone(),
            access: access.clone(),
            span_heights,
            retention: None,
            data_dir: self.folder.clone(),
        };
        let progress = ArchiveProgress::new(address.to_string(), &Registry::new());
        let source: Arc<dyn Source> = Arc::clone(&self.view) as Arc<dyn Source>;
        let uploader = Uploader::new(options, source, self.requests.clone(), progress.clone());
        let halt = Halt::new();
        let stop = halt.clone();
        let thread = std::thread::spawn(move || {
            runtime().block_on(halt.unless_stopped(uploader.run()));
        });
        Uploading {
            progress,
            halt: stop,
            thread: Some(thread),
        }
    }

    /// Waits until a height is archived.
    #[track_caller]
    pub fn wait_archived(&self, uploading: &Uploading, through: u64) {
        until(
            || self.view.archived_through() >= Height(through),
            || {
                format!(
                    "archived through {}: {:?}",
                    self.view.archived_through(),
                    uploading.progress.status()
                )
            },
        );
    }

    /// Flips a bit of a height's payload on disk.
    pub fn damage(&self, value: &Assembly) {
        use std::os::unix::fs::FileExt;
        let held = self.view.on_disk(&value.key).expect("it is on disk");
        let file = std::fs::OpenOptions::new().read(true).write(true).open(held.path);
        let (file, at, mut byte) = (file.expect("the segment"), held.offset + 700, [0]);
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 1], at).expect("written");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.halt.stop(ultramarine_runtime::Reason::Asked);
        if let Some(tile) = self.tile.take() {
            drop(tile.join_within(PATIENCE));
        }
    }
}

pub struct Uploading {
    pub progress: ArchiveProgress,
    halt: Halt,
    thread: Option<JoinHandle<()>>,
}

impl Uploading {
    /// Waits until something is wrong, in these words.
    #[track_caller]
    pub fn wait_trouble(&self, words: &str) {
        let says = || {
            self.progress
                .status()
                .trouble
                .is_some_and(|trouble| trouble.what.contains(words))
        };
        until(says, || format!("{words:?} in {:?}", self.progress.status()));
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.halt.stop(ultramarine_runtime::Reason::Asked);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[track_caller]
pub fn until(done: impl Fn() -> bool, says: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it did not come to this: {}", says());
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime")
}

pub fn folder_address(path: &Path) -> ArchiveAddress {
    ArchiveAddress::Folder(path.to_owned())
}

/// What an archive has of heights up to one.
pub fn covered(address: &ArchiveAddress, access: &BucketAccess, through: Height) -> Coverage {
    let remote = Remote::open(address, access, fixtures::CHAIN, false).expect("it opens");
    let mut told = Vec::new();
    let tell = |done, total| told.push((done, total));
    let found = runtime()
        .block_on(coverage(&remote, through, tell))
        .expect("it answers");
    let total = found.objects_count as u64;
    let each: Vec<(u64, u64)> = (0..total).map(|done| (done, total)).collect();
    assert_eq!(told, each, "it says at each object how far it is");
    found
}

/// A height of an archive, from whichever whole object has it.
pub fn archived(address: &ArchiveAddress, access: &BucketAccess, height: u64) -> Option<Assembly> {
    let remote = Remote::open(address, access, fixtures::CHAIN, false).expect("it opens");
    runtime().block_on(async {
        for object in remote.list().await.expect("it answers") {
            if object.span.has(Height(height))
                && let Ok(found) = remote.height(object, Height(height)).await
            {
                return Some(found.assembly);
            }
        }
        None
    })
}

pub fn span(first: u64, last: u64) -> HeightSpan {
    HeightSpan::new(Height(first), Height(last))
}

/// The value of a height: all its bytes follow from it.
pub fn value(height: u64, blobs: usize) -> Assembly {
    let seed = height.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let fill = |salt: usize, bytes: usize| -> Bytes {
        (0..bytes)
            .map(|at| seed[at % 8] ^ ((at / 8 + salt) as u8))
            .collect::<Vec<u8>>()
            .into()
    };
    let payload = fill(1, 900 + height as usize % 100);
    let blobs: Vec<Bytes> = (0..blobs).map(|index| fill(2 + index, BLOB_BYTES)).collect();
    let commitments = (0..blobs.len()).map(|index| KzgCommitment([seed[0] ^ index as u8; 48]));
    let proofs = (0..blobs.len()).map(|index| KzgProof([index as u8; 48])).collect();
    let lists = Lists::of(&payload, blobs.iter().map(|blob| &blob[..]).zip(commitments), proofs);
    let mut metadata = fixtures::metadata(height, &payload, &lists);
    metadata.header.timestamp = 1_700_000_000 + height;
    metadata.header.block_hash = Hash([seed[1]; 32]);
    metadata.header.block_hash.0[..8].copy_from_slice(&height.to_le_bytes());
    fixtures::assembly(fixtures::unsigned(metadata), lists, payload, blobs)
}

#[track_caller]
pub fn assert_same(found: &Assembly, expected: &Assembly) {
    assert_eq!(found.key, expected.key);
    assert_eq!(found.init, expected.init);
    assert_eq!(found.lists, expected.lists);
    assert!(found.payload == expected.payload, "the payload differs");
    assert!(found.blobs == expected.blobs, "the blobs differ");
}
