//! What a vote waits for: its record appended to the consensus log and synced.
//!
//! ```sh
//! cargo bench -p ultramarine-store --bench log    # TMPDIR chooses the disk
//! ```
//! Beside it the least a disk can do: one page written at the same place of a file like it, and synced.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use ultramarine_runtime::Registry;
use ultramarine_runtime::medium::{Medium, Pwrite, Uring, ready, run_on_ring};
use ultramarine_store::{OpenStore, StoreOptions, Writer, open};
use ultramarine_types::chain::Limits;
use ultramarine_types::storage::{StoreReply, StoreRequest};
use ultramarine_types::{Height, Lsn, fixtures};

/// Syncs of one run. A height has some four; a log file has room for 31 and grows then, so that each run is of many
/// heights.
const SYNCS_PER_HEIGHT: u64 = 4;
const HEIGHTS: u64 = 250;
const PAGE_BYTES: usize = 4096;
/// About a vote's.
const RECORD_BYTES: usize = 200;
const RUNS: usize = 5;

fn main() {
    if std::env::args().skip(1).any(|argument| !argument.starts_with("--")) {
        // A filter of another bench.
        return;
    }
    println!(
        "{:<24}{:>10}{:>10}{:>10}{:>14}",
        "", "p50, µs", "p90, µs", "p99, µs", "CPU, µs each"
    );
    for _ in 0..RUNS {
        show("page and fdatasync", bare());
        show("log, pwrite", ready(logged(Pwrite::new(None))));
        match ultramarine_runtime::ring::probe() {
            Ok(()) => show("log, io_uring", run_on_ring(logged(Uring::new(None))).expect("a ring")),
            Err(refusal) => println!("io_uring is not measured: {refusal}"),
        }
    }
}

/// How long each sync took, and the CPU time of all.
struct Taken {
    each: Vec<Duration>,
    cpu: Duration,
}

fn show(name: &str, taken: Taken) {
    let Taken { mut each, cpu } = taken;
    each.sort();
    let at = |part: usize| each[(each.len() - 1) * part / 100].as_secs_f64() * 1e6;
    let cpu = cpu.as_secs_f64() * 1e6 / each.len() as f64;
    println!("{name:<24}{:>10.0}{:>10.0}{:>10.0}{cpu:>14.1}", at(50), at(90), at(99));
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

fn bare() -> Taken {
    let folder = tempfile::tempdir().expect("a folder");
    let file = preallocated(&folder.path().join("bare"));
    let page = [7; PAGE_BYTES];
    let (began, mut each) = (cpu_time(), Vec::new());
    for _ in 0..HEIGHTS {
        for at in 0..SYNCS_PER_HEIGHT {
            let started = Instant::now();
            file.write_all_at(&page, at * PAGE_BYTES as u64).expect("written");
            file.sync_data().expect("synced");
            each.push(started.elapsed());
        }
    }
    Taken {
        each,
        cpu: cpu_time() - began,
    }
}

fn preallocated(path: &Path) -> std::fs::File {
    let file = OpenOptions::new().create_new(true).write(true).open(path);
    let file = file.expect("a file");
    file.write_all_at(&vec![0; 64 * PAGE_BYTES], 0).expect("written");
    file.sync_all().expect("synced");
    file
}

async fn logged<M: Medium>(medium: M) -> Taken {
    let folder = tempfile::tempdir().expect("a folder");
    let options = StoreOptions::new(Limits { blobs_per_block: 6 }, fixtures::CHAIN, Registry::new());
    let OpenStore { state, .. } = open(folder.path(), &options).expect("it opens");
    let mut writer = Writer::new(medium, state);
    let (mut each, mut cpu, mut replies, mut lsn) = (Vec::new(), Duration::ZERO, Vec::new(), 0);
    for height in (1..=HEIGHTS).map(Height) {
        writer
            .handle(StoreRequest::BeginEpoch { height }, &mut replies)
            .await
            .expect("begun");
        replies.clear();
        for _ in 0..SYNCS_PER_HEIGHT {
            lsn += 1;
            let record = Bytes::from_static(&[7; RECORD_BYTES]);
            let (began, started) = (cpu_time(), Instant::now());
            writer
                .handle(StoreRequest::LogAppend { lsn: Lsn(lsn), record }, &mut replies)
                .await
                .expect("appended");
            writer
                .handle(StoreRequest::LogSync { lsn: Lsn(lsn) }, &mut replies)
                .await
                .expect("asked");
            writer.flush(&mut replies).await.expect("synced");
            each.push(started.elapsed());
            cpu += cpu_time() - began;
            assert!(matches!(replies.pop(), Some(StoreReply::LogDurable { .. })));
        }
    }
    Taken { each, cpu }
}
