//! A block on disk: durable append and read back, beside redb doing the same with the same bytes.
//!
//! `append`: payload, metadata and blobs of one block written and synced, then the receipt. The decision and the
//! freeing of old blocks happen between two measurements, so that segments are recycled as in a node that runs for
//! long. `read`: every blob of a stored block found and its first and last byte touched, beside redb copying it out.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Medium, Pwrite, Uring, ready, run_on_ring};
use ultramarine_store::{OpenStore, State, StoreOptions, View, Writer, open};
use ultramarine_types::chain::Limits;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, Decision, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, Round, fixtures};

const BLOBS_COUNTS: [u32; 2] = [6, 128];
/// Blocks kept before retention frees them: a few segments.
const KEPT_HEIGHTS: u64 = 4;
const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("blocks");

/// A node's store and the block it writes at every height.
struct Bed {
    state: Option<State>,
    view: Arc<View>,
    block: Assembly,
    height: Height,
    _folder: tempfile::TempDir,
}

impl Bed {
    fn new(blobs_count: u32, hot_bytes: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder on the disk to measure; TMPDIR chooses it");
        let limits = Limits {
            blobs_per_block: blobs_count.max(6),
        };
        let options = StoreOptions {
            hot_bytes,
            ..StoreOptions::new(limits, fixtures::CHAIN, Registry::new())
        };
        let OpenStore { state, view, .. } = open(folder.path(), &options).expect("it opens");
        Self {
            state: Some(state),
            view,
            block: block(blobs_count),
            height: Height(0),
            _folder: folder,
        }
    }

    /// Stores and decides blocks; the time of the stores alone.
    async fn append<M: Medium>(&mut self, medium: M, rounds: u64) -> Duration {
        let mut writer = Writer::new(medium, self.state.take().expect("given back after each run"));
        let (mut taken, mut replies) = (Duration::ZERO, Vec::new());
        for _ in 0..rounds {
            self.height = self.height.next();
            let block = fixtures::at_height(&self.block, self.height);
            let started = Instant::now();
            let put = StoreRequest::Put {
                assembly: block.clone(),
                tag: Tag::Streamed,
            };
            writer.handle(put, &mut replies).await.expect("stored");
            writer.flush(&mut replies).await.expect("synced");
            taken += started.elapsed();
            assert!(matches!(replies.pop(), Some(StoreReply::Stored { .. })));
            writer.handle(decide(&block), &mut replies).await.expect("decided");
            let retire = StoreRequest::Retire {
                blobs_below: Height(self.height.0.saturating_sub(KEPT_HEIGHTS)),
            };
            writer.handle(retire, &mut replies).await.expect("freed");
            writer.flush(&mut replies).await.expect("synced");
            replies.clear();
        }
        self.state = Some(writer.into_state());
        taken
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for blobs_count in BLOBS_COUNTS {
        group.throughput(Throughput::Bytes(u64::from(blobs_count) * BLOB_BYTES as u64));
        let mut bed = Bed::new(blobs_count, 0);
        if let Err(refusal) = ultramarine_runtime::ring::probe() {
            println!("io_uring is not measured: {refusal}");
        } else {
            group.bench_function(BenchmarkId::new("ultramarine-uring", blobs_count), |bench| {
                bench.iter_custom(|rounds| run_on_ring(bed.append(Uring::new(None), rounds)).expect("a ring"));
            });
        }
        group.bench_function(BenchmarkId::new("ultramarine-pwrite", blobs_count), |bench| {
            bench.iter_custom(|rounds| ready(bed.append(Pwrite::new(None), rounds)));
        });
        let folder = tempfile::tempdir().expect("a folder");
        let database = database(folder.path());
        let flat = flat(&bed.block);
        let mut height = 0;
        group.bench_function(BenchmarkId::new("redb", blobs_count), |bench| {
            bench.iter_custom(|rounds| {
                let mut taken = Duration::ZERO;
                for _ in 0..rounds {
                    height += 1;
                    let started = Instant::now();
                    insert(&database, height, &flat);
                    taken += started.elapsed();
                    remove(&database, height.saturating_sub(KEPT_HEIGHTS));
                }
                taken
            });
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    for blobs_count in BLOBS_COUNTS {
        group.throughput(Throughput::Bytes(u64::from(blobs_count) * BLOB_BYTES as u64));
        let mut bed = Bed::new(blobs_count, 0);
        ready(bed.append(Pwrite::new(None), 1));
        group.bench_function(BenchmarkId::new("ultramarine-map", blobs_count), |bench| {
            bench.iter(|| {
                let (_, value) = bed.view.decided_value(Height(1)).expect("held");
                value.blobs.iter().map(|blob| touch(blob)).sum::<u64>()
            });
        });
        let folder = tempfile::tempdir().expect("a folder");
        let database = database(folder.path());
        insert(&database, 1, &flat(&bed.block));
        group.bench_function(BenchmarkId::new("redb", blobs_count), |bench| {
            bench.iter(|| {
                let transaction = database.begin_read().expect("a transaction");
                let table = transaction.open_table(TABLE).expect("the table");
                let row = table.get(1).expect("read").expect("there");
                row.value().chunks(BLOB_BYTES).map(touch).sum::<u64>()
            });
        });
    }
    group.finish();
}

fn touch(blob: &[u8]) -> u64 {
    let ends = [blob.first(), blob.last()];
    black_box(ends.into_iter().flatten().map(|byte| u64::from(*byte)).sum())
}

fn database(folder: &Path) -> Database {
    Database::create(folder.join("peer.redb")).expect("a database")
}

fn insert(database: &Database, height: u64, flat: &[u8]) {
    let mut transaction = database.begin_write().expect("a transaction");
    transaction.set_durability(Durability::Immediate).expect("the default");
    transaction
        .open_table(TABLE)
        .expect("the table")
        .insert(height, flat)
        .expect("inserted");
    transaction.commit().expect("committed");
}

fn remove(database: &Database, height: u64) {
    let transaction = database.begin_write().expect("a transaction");
    transaction
        .open_table(TABLE)
        .expect("the table")
        .remove(height)
        .expect("removed");
    transaction.commit().expect("committed");
}

fn flat(block: &Assembly) -> Vec<u8> {
    let blobs = block.blobs.iter().flat_map(|blob| blob.iter());
    blobs.chain(block.payload.iter()).copied().collect()
}

fn decide(block: &Assembly) -> StoreRequest {
    StoreRequest::Commit(Box::new(Decision {
        certificate: fixtures::certificate(block.key, Round(0)),
        init: Arc::clone(&block.init),
        blobs: Blobs::Held,
    }))
}

fn block(blobs_count: u32) -> Assembly {
    let blob: Bytes = (0..BLOB_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    fixtures::uniform(Bytes::from(vec![1; 2000]), blob, blobs_count as usize)
}

criterion_group!(benches, append, read);
criterion_main!(benches);
