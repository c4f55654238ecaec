//! How long a store takes to open after many heights, and what its files take on disk.
//!
//! ```sh
//! cargo bench -p ultramarine-store --bench open                       # 100,000 heights
//! cargo bench -p ultramarine-store --bench open -- --heights 5000 --at-most-ms 500    # fails if it takes longer
//! cargo bench -p ultramarine-store --bench open -- --heights 300 --blobs 24           # one chain, of so many blobs
//! ```
//! A generator writes the store's own files by the store's own writer: each height is begun, put, decided, and its
//! blobs are freed when retention ends. It writes where a sync costs nothing (`/dev/shm`, if that is there). The files
//! are then copied to the disk to be measured (TMPDIR chooses it), as a kill would leave them, and thrown out of the
//! page cache.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Pwrite, ready};
use ultramarine_store::{OpenStore, StoreOptions, Writer, open};
use ultramarine_types::chain::Limits;
use ultramarine_types::consensus::CertificateSignature;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::storage::{Blobs, Decision, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Address, Assembly, CommitCertificate, Height, Lsn, Round, Signature, fixtures};

/// Heights of a store whose reader did not choose.
const HEIGHTS: u64 = 100_000;
/// Files that keep their names for so long are not renamed or removed later: nobody asks for it.
const STILL: Duration = Duration::from_millis(500);
/// Validators that signed each certificate.
const VALIDATORS: u8 = 4;

/// A chain whose store is generated.
#[derive(Clone)]
struct Chain {
    name: &'static str,
    blobs: u32,
    retention: Option<u64>,
}

const CHAINS: [Chain; 2] = [
    Chain {
        name: "no blobs, all kept",
        blobs: 0,
        retention: None,
    },
    Chain {
        name: "1 blob a block, kept for 50 heights",
        blobs: 1,
        retention: Some(50),
    },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut heights, mut at_most, mut chains) = (HEIGHTS, None, CHAINS.to_vec());
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|text| text.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--heights", Some(value)) => heights = value,
            ("--at-most-ms", Some(value)) => at_most = Some(Duration::from_millis(value)),
            ("--blobs", Some(value)) => {
                chains = vec![Chain {
                    name: "kept for 8 heights",
                    blobs: u32::try_from(value).unwrap_or(u32::MAX),
                    retention: Some(8),
                }];
            }
            // A filter of another bench.
            _ => return ExitCode::SUCCESS,
        }
    }
    let mut slowest = Duration::ZERO;
    for chain in &chains {
        slowest = slowest.max(measure(chain, heights));
    }
    match at_most {
        Some(at_most) if slowest > at_most => {
            println!("an open took {slowest:.0?}, more than {at_most:.0?}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Generates a store and opens it after a kill and after an end in order; the longest that it took.
fn measure(chain: &Chain, heights: u64) -> Duration {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let made = made.expect("a folder to generate in");
    let disk = tempfile::tempdir().expect("a folder on the disk to measure; TMPDIR chooses it");
    let began = Instant::now();
    let store = generate(chain, heights, made.path());
    let generated = began.elapsed();
    println!("{heights} heights, {}: generated in {generated:.1?}", chain.name);
    println!("    {:<10}{:>8}{:>16}{:>16}", "files", "count", "length", "on disk");
    for (kind, files) in files_by_kind(made.path()) {
        println!(
            "    {kind:<10}{:>8}{:>16}{:>16}",
            files.count, files.length, files.on_disk
        );
    }
    wait_until_still(made.path());
    // The index was not closed.
    let killed = disk.path().join("killed");
    copy(made.path(), &killed);
    drop(store);
    made.close().expect("a folder of ours");
    let mut slowest = Duration::ZERO;
    for life in ["after a kill", "after an end in order", "and with warm caches"] {
        if life != "and with warm caches" {
            forget(&killed);
        }
        let began = Instant::now();
        let store = open(&killed, &options(chain)).expect("it opens");
        let taken = began.elapsed();
        println!("    {life}: opens in {taken:.0?}");
        let head = store.recovered.head.map(|decided| decided.certificate.height);
        assert_eq!(head, Some(Height(heights)), "nothing is lost");
        slowest = slowest.max(taken);
    }
    slowest
}

fn options(chain: &Chain) -> StoreOptions {
    let limits = Limits {
        blobs_per_block: chain.blobs.max(6),
    };
    StoreOptions {
        hot_bytes: 0,
        ..StoreOptions::new(limits, fixtures::CHAIN, Registry::new())
    }
}

/// A store that lived through so many heights; it is held open.
fn generate(chain: &Chain, heights: u64, folder: &Path) -> Writer<Pwrite> {
    let OpenStore { state, .. } = open(folder, &options(chain)).expect("an empty folder opens");
    let mut writer = Writer::new(Pwrite::new(None), state);
    let block = fixtures::uniform(vec![1; 1500].into(), vec![5; BLOB_BYTES].into(), chain.blobs as usize);
    let mut replies = Vec::new();
    for height in (1..=heights).map(Height) {
        let block = fixtures::at_height(&block, height);
        let mut requests = vec![
            StoreRequest::BeginEpoch { height },
            StoreRequest::LogAppend {
                lsn: Lsn(height.0),
                record: Bytes::from_static(&[7; 200]),
            },
            StoreRequest::LogSync { lsn: Lsn(height.0) },
            StoreRequest::Put {
                assembly: block.clone(),
                tag: Tag::Streamed,
            },
        ];
        ask(&mut writer, &mut requests, &mut replies);
        requests.push(decide(&block));
        if let Some(retention) = chain.retention
            && height.0.is_multiple_of(8)
        {
            requests.push(StoreRequest::Retire {
                blobs_below: Height(height.0.saturating_sub(retention)),
            });
        }
        ask(&mut writer, &mut requests, &mut replies);
        let refused = replies.iter().find(|reply| matches!(reply, StoreReply::Refused { .. }));
        assert!(refused.is_none(), "at height {height}: {refused:?}");
        replies.clear();
    }
    writer
}

/// Requests under one sync.
fn ask(writer: &mut Writer<Pwrite>, requests: &mut Vec<StoreRequest>, replies: &mut Vec<StoreReply>) {
    let asked = ready(async {
        for request in requests.drain(..) {
            writer.handle(request, replies).await?;
        }
        writer.flush(replies).await
    });
    asked.expect("the store does not fail");
}

fn decide(block: &Assembly) -> StoreRequest {
    let signatures = (0..VALIDATORS).map(|validator| CertificateSignature {
        address: Address([validator; 20]),
        signature: Signature([validator; 64]),
    });
    let certificate = CommitCertificate {
        signatures: signatures.collect(),
        ..fixtures::certificate(block.key, Round(0))
    };
    StoreRequest::Commit(Box::new(Decision {
        certificate,
        init: Arc::clone(&block.init),
        blobs: Blobs::Held,
    }))
}

#[derive(Default)]
struct Files {
    count: u64,
    length: u64,
    on_disk: u64,
}

/// What the files of each kind take: what stands before the first digit of a name is its kind.
fn files_by_kind(folder: &Path) -> BTreeMap<String, Files> {
    let mut kinds = BTreeMap::<String, Files>::new();
    for path in paths(folder) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kind = name.split(['-', '.']).next().unwrap_or_default();
        let metadata = fs::metadata(&path).expect("a file of ours");
        let files = kinds.entry(kind.to_owned()).or_default();
        files.count += 1;
        files.length += metadata.len();
        files.on_disk += metadata.blocks() * 512;
    }
    kinds
}

/// Every file of a data directory.
fn paths(folder: &Path) -> Vec<PathBuf> {
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("a folder of ours");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    [files(folder), files(&folder.join("segments"))].concat()
}

/// Waits until the files thread has ended what it was asked: a copy is of one moment.
fn wait_until_still(folder: &Path) {
    let mut before = Vec::new();
    loop {
        let mut now = paths(folder);
        now.sort();
        if now == before {
            return;
        }
        before = now;
        std::thread::sleep(STILL);
    }
}

/// Copies a data directory as a kill leaves it, durably.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("segments")).expect("a folder of ours");
    for path in paths(from) {
        let copied = to.join(path.strip_prefix(from).expect("a file in it"));
        fs::copy(&path, &copied).expect("the disk has room");
        File::open(&copied)
            .and_then(|file| file.sync_all())
            .expect("a file of ours");
    }
}

/// Throws what is known of a directory's files out of the page cache.
fn forget(folder: &Path) {
    for path in paths(folder) {
        let file = File::open(&path).expect("a file of ours");
        file.sync_all().expect("a file of ours");
        fadvise(&file, 0, None, Advice::DontNeed).expect("a file of ours");
    }
}
