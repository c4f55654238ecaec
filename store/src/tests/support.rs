//! What the tests share: made-up values, and a store driven request by request.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Pwrite, ready};
use ultramarine_types::chain::Limits;
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, Decision, LogEpoch, Recovered, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{
    Address, Assembly, ChainIdentity, CommitCertificate, Evidence, ExecutionHeader, Hash, Height, Init, KzgCommitment,
    KzgProof, Lists, Lsn, Round, Signature, ValueId, ValueKey, ValueMetadata, Vote, VoteKind, fixtures,
};

use crate::record::{RECORD_HEADER_BYTES, RecordHeader};
use crate::{OpenError, OpenStore, StoreOptions, View, Writer, open};

pub const CHAIN: ChainIdentity = ChainIdentity([9; 32]);

/// Five records of six blobs fit.
pub const SEGMENT_BYTES: u64 = 4 << 20;

pub fn options() -> StoreOptions {
    StoreOptions {
        hot_bytes: 4 << 20,
        segment_bytes: SEGMENT_BYTES,
        retention: Some(8),
        ..StoreOptions::new(Limits { blobs_per_block: 6 }, CHAIN, Registry::new())
    }
}

/// Options of a store that keeps nothing in memory.
pub fn cold() -> StoreOptions {
    StoreOptions {
        hot_bytes: 0,
        ..options()
    }
}

/// Flips a bit of a stored value's payload.
pub fn damage_payload(store: &Store, key: &ValueKey) {
    let header = header_of(&store.view, key);
    let payload_end = RECORD_HEADER_BYTES as u64 + header.body_bytes();
    damage(&store.view, key, payload_end - 10);
}

/// Flips a bit of a stored value's `Init`.
pub fn damage_init(store: &Store, key: &ValueKey) {
    let header = header_of(&store.view, key);
    damage(&store.view, key, header.init_at() + 600);
}

fn header_of(view: &View, key: &ValueKey) -> RecordHeader {
    let held = view.on_disk(key).expect("it is held");
    let file = std::fs::File::open(&held.path).expect("a file");
    let mut bytes = [0; RECORD_HEADER_BYTES];
    file.read_exact_at(&mut bytes, held.offset).expect("read");
    RecordHeader::decode(&bytes).expect("its header")
}

/// Flips a bit of a stored value's record, so many bytes from its start.
pub fn damage(view: &View, key: &ValueKey, from_start: u64) {
    let held = view.on_disk(key).expect("it is held");
    flip(&held.path, held.offset + from_start);
}

/// Flips a bit of a file.
pub fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("a file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
}

/// Keeps the text of warnings.
#[derive(Clone, Default)]
pub struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    /// What is warned of on the way, errors as well.
    pub fn during(work: impl FnOnce()) -> Vec<String> {
        let warnings = Self::default();
        tracing::subscriber::with_default(warnings.clone(), work);
        warnings.0.lock().expect("no panic").clone()
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| text = format!("{value:?}"));
        self.0.lock().expect("no panic").push(text);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// What a series of the store's metrics says; a name has its labels with it.
pub fn metric(options: &StoreOptions, name: &str) -> u64 {
    let rendered = options.registry.render();
    let mut lines = rendered.lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(series, _)| *series == name);
    let value = found.and_then(|(_, value)| value.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is no series with a whole number"))
}

/// A store, its writer driven by the test.
pub struct Store {
    pub writer: Writer<Pwrite>,
    pub view: Arc<View>,
    pub recovered: Recovered,
    pub lsn: u64,
    registry: Arc<Registry>,
}

impl Store {
    /// Its metrics as text.
    pub fn rendered(&self) -> String {
        self.registry.render()
    }

    pub fn open(folder: &Path) -> Self {
        Self::open_with(folder, &options())
    }

    pub fn open_with(folder: &Path, options: &StoreOptions) -> Self {
        Self::try_open(folder, options).expect("the directory opens")
    }

    pub fn try_open(folder: &Path, options: &StoreOptions) -> Result<Self, OpenError> {
        let OpenStore { state, view, recovered } = open(folder, options)?;
        Ok(Self {
            writer: Writer::new(Pwrite::new(None), state),
            view,
            recovered,
            lsn: 0,
            registry: Arc::clone(&options.registry),
        })
    }

    /// Requests under one sync.
    pub fn ask(&mut self, requests: impl IntoIterator<Item = StoreRequest>) -> Vec<StoreReply> {
        self.try_ask(requests).expect("the store does not fail")
    }

    pub fn try_ask(
        &mut self,
        requests: impl IntoIterator<Item = StoreRequest>,
    ) -> Result<Vec<StoreReply>, crate::Failure> {
        let mut out = Vec::new();
        ready(async {
            for request in requests {
                self.writer.handle(request, &mut out).await?;
            }
            self.writer.flush(&mut out).await
        })?;
        Ok(out)
    }

    /// Has blobs below a height freed and waits for it; the oldest that are left.
    pub fn retire(&mut self, below: u64) -> Height {
        let blobs_below = Height(below);
        self.ask([StoreRequest::Retire { blobs_below }]);
        self.settle();
        match self.ask([StoreRequest::Retire { blobs_below }])[..] {
            [StoreReply::Retired { blobs_below }] => blobs_below,
            ref other => panic!("{other:?}"),
        }
    }

    /// Waits until everything is freed and begun that can be.
    pub fn settle(&mut self) {
        self.writer.settle().expect("the store does not fail");
    }

    /// Has something looked at between two steps of the files thread.
    pub fn look(&self, look: impl FnMut(&str) + Send + 'static) {
        *self.writer.segments().look.lock().expect("no panic") = Some(Box::new(look));
    }

    pub fn put(&mut self, assembly: &Assembly, tag: Tag) {
        let replies = self.ask([StoreRequest::Put {
            assembly: assembly.clone(),
            tag,
        }]);
        assert!(
            matches!(&replies[..], [StoreReply::Stored { key, .. }] if *key == assembly.key),
            "{replies:?}"
        );
    }

    /// Evidence of these heights, at most so many pieces.
    pub fn evidence(&self, from: Height, to: Height, pieces_max: usize) -> Vec<Evidence> {
        let mut found = Vec::new();
        self.view.evidence(from, to, &mut |piece| {
            found.push(piece);
            if found.len() < pieces_max {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        found
    }

    pub fn commit(&mut self, assembly: &Assembly) {
        let replies = self.ask([commit(assembly, Blobs::Held)]);
        assert!(
            matches!(&replies[..], [StoreReply::Committed { height }] if *height == assembly.key.height),
            "{replies:?}"
        );
    }

    pub fn begin(&mut self, height: u64) -> LogEpoch {
        match &self.ask([StoreRequest::BeginEpoch { height: Height(height) }])[..] {
            [StoreReply::EpochBegun(epoch)] => *epoch,
            other => panic!("no epoch: {other:?}"),
        }
    }

    /// Appends records and makes them durable.
    pub fn log(&mut self, records: &[&[u8]]) {
        let mut requests = Vec::new();
        for record in records {
            self.lsn += 1;
            requests.push(StoreRequest::LogAppend {
                lsn: Lsn(self.lsn),
                record: Bytes::copy_from_slice(record),
            });
        }
        requests.push(StoreRequest::LogSync { lsn: Lsn(self.lsn) });
        let replies = self.ask(requests);
        assert!(
            matches!(&replies[..], [StoreReply::LogDurable { lsn }] if lsn.0 == self.lsn),
            "{replies:?}"
        );
    }

    /// Stores and decides a value at each height after the head, with `blobs` blobs.
    pub fn grow(&mut self, heights: std::ops::RangeInclusive<u64>, blobs: u8) -> Vec<Assembly> {
        let values: Vec<_> = heights.map(|height| value(height, height as u8, blobs)).collect();
        for value in &values {
            self.put(value, Tag::Streamed);
            self.commit(value);
        }
        values
    }
}

/// What the files of a kind occupy in the folder of segments.
pub fn occupied(folder: &Path, kind: &str) -> u64 {
    let entries = std::fs::read_dir(folder.join("segments")).expect("the folder");
    let entries = entries.map(|entry| entry.expect("an entry"));
    let of_kind = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(kind));
    of_kind.map(|entry| crate::reserve::occupied_bytes(&entry.path())).sum()
}

/// The next life of a directory: a store that failed is asked nothing more.
pub fn reopened(store: Store, folder: &Path) -> Store {
    drop(store);
    Store::open(folder)
}

/// A value whose bytes follow from its seed.
pub fn value(height: u64, seed: u8, blobs: u8) -> Assembly {
    value_with(height, seed, blobs, 1000 + usize::from(seed))
}

pub fn value_with(height: u64, seed: u8, blobs: u8, payload_bytes: usize) -> Assembly {
    let payload: Vec<u8> = (0..payload_bytes)
        .map(|at| (at as u8).wrapping_mul(31) ^ seed)
        .collect();
    let payload = Bytes::from(payload);
    let fill = |index: u8| Bytes::from(vec![seed.wrapping_add(index).wrapping_mul(3); BLOB_BYTES]);
    let blobs: Vec<_> = (0..blobs).map(fill).collect();
    let committed = (0..).map(|index| KzgCommitment([seed ^ index; 48]));
    let lists = Lists::of(
        &payload,
        blobs.iter().map(|blob| &blob[..]).zip(committed),
        (0..blobs.len()).map(|index| KzgProof([index as u8; 48])).collect(),
    );
    assemble(height, seed, payload, blobs, lists)
}

/// A value of these parts, which fit each other.
pub fn assemble(height: u64, seed: u8, payload: Bytes, blobs: Vec<Bytes>, lists: Lists) -> Assembly {
    let init = init(height, seed, &payload, &lists);
    fixtures::assembly(init, lists, payload, blobs)
}

fn init(height: u64, seed: u8, payload: &[u8], lists: &Lists) -> Init {
    let header = ExecutionHeader {
        parent_hash: Hash([1; 32]),
        fee_recipient: Address([2; 20]),
        state_root: Hash([3; 32]),
        transactions_root: Hash([4; 32]),
        receipts_root: Hash([5; 32]),
        logs_bloom: [6; 256],
        gas_used: 21_000,
        timestamp: 1_700_000_000 + height,
        extra_data: vec![seed],
        prev_randao: Hash([0; 32]),
        base_fee_per_gas: Hash([7; 32]),
        withdrawals_root: Hash([8; 32]),
        parent_beacon_block_root: Hash([1; 32]),
        block_hash: block_hash(height, seed),
        ..fixtures::header(height)
    };
    let metadata = ValueMetadata {
        chain: CHAIN,
        origin_proposer: Address([seed; 20]),
        validator_set_hash: Hash([11; 32]),
        header,
        ..fixtures::metadata(height, payload, lists)
    };
    Init {
        metadata,
        signature: Signature([14; 64]),
        header_signature: Signature([15; 64]),
    }
}

pub fn block_hash(height: u64, seed: u8) -> Hash {
    let mut hash = [seed; 32];
    hash[..8].copy_from_slice(&height.to_le_bytes());
    Hash(hash)
}

/// The same value without its blobs, as a metadata-only package brings it.
pub fn without_blobs(assembly: &Assembly) -> Assembly {
    Assembly {
        blobs: Vec::new(),
        ..assembly.clone()
    }
}

pub fn certificate(assembly: &Assembly) -> CommitCertificate {
    fixtures::certificate(assembly.key, Round(1))
}

pub fn commit(assembly: &Assembly, blobs: Blobs) -> StoreRequest {
    let decision = Decision {
        certificate: certificate(assembly),
        init: Arc::clone(&assembly.init),
        blobs,
    };
    StoreRequest::Commit(Box::new(decision))
}

/// Two votes of one validator that contradict each other.
pub fn two_votes(height: u64) -> Evidence {
    two_votes_of(3, height)
}

/// The same of a certain one.
pub fn two_votes_of(culprit: u8, height: u64) -> Evidence {
    let vote = |value: u8| Vote {
        kind: VoteKind::Prevote,
        height: Height(height),
        round: Round(1),
        value_id: Some(ValueId([value; 32])),
        voter: Address([culprit; 20]),
        signature: Signature([value; 64]),
    };
    Evidence::Votes(vote(1), vote(2))
}

/// A value that a blob of it refutes, as far as the store can tell.
pub fn false_value(culprit: u8, height: u64, index: u16) -> Evidence {
    let value = value(height, culprit, 2);
    Evidence::Value(Box::new(FalseValue {
        init: (*value.init).clone(),
        lists: (*value.lists).clone(),
        index,
        blob: value.blobs[usize::from(index)].to_vec(),
    }))
}

/// Equality of everything a reader may rely on.
#[track_caller]
pub fn assert_same(found: &Assembly, expected: &Assembly) {
    assert_eq!(found.key, expected.key);
    assert_eq!(found.init, expected.init);
    assert_eq!(found.payload, expected.payload);
    assert_eq!(found.blobs.len(), expected.blobs.len());
    assert_eq!(found.lists, expected.lists);
    for (found, expected) in found.blobs.iter().zip(&expected.blobs) {
        assert!(found == expected, "a blob differs");
    }
}

/// Copies a data directory as a crash would leave it, without its lock and its reserve.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.join("segments")).expect("a folder");
    for folder in ["", "segments"] {
        for entry in std::fs::read_dir(from.join(folder)).expect("a folder") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            if entry.metadata().expect("metadata").is_file() && name != "RESERVE" && name != "LOCK" {
                std::fs::copy(entry.path(), to.join(folder).join(name)).expect("a copy");
            }
        }
    }
}
