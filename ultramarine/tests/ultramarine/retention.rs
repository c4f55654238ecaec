//! A chain that keeps blobs for some heights: what disks hold at every moment, and what a late node finds.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::network::{Network, join, on_loopback};
use crate::harness::{Devnet, Node, on_disk};
use serde_json::Value;

const PAGE_BYTES: u64 = 4096;
const BLOB_BYTES: u64 = 131_072;
const MIB: u64 = 1 << 20;
/// What retention frees is free within so many heights of the commit that ends its keeping.
const HEIGHTS_UNTIL_FREE: u64 = 10;
/// Segments besides what is retained: one grows, one is made ready ahead, one is about to be freed.
const SEGMENTS: u64 = 3;
const RESERVE_BYTES: u64 = 16 * MIB;
/// Three log files of 256 KiB; one may be longer while a height takes many rounds.
const LOG_BYTES: u64 = MIB;
/// The index with no row, and what a height adds to it: a certificate, an `Init` and their tables.
const INDEX_BYTES: (u64, u64) = (4 * MIB, 8 << 10);
/// Longest time without a height.
const PATIENCE: Duration = Duration::from_secs(90);

/// How large a chain is watched.
#[derive(Clone, Copy)]
struct Size {
    blobs_per_block: u32,
    retention: u64,
    /// A full node joins at the first, and is with the others at the last. Disks are judged at each and between them.
    heights: [u64; 3],
}

impl Size {
    /// A segment has room for four of the chain's largest blocks, and for eight within 32 MiB.
    fn segment_bytes(&self) -> u64 {
        let record = u64::from(self.blobs_per_block) * (BLOB_BYTES + 132) + MIB;
        PAGE_BYTES
            + (4 * record)
                .max((8 * record).min(32 * MIB))
                .next_multiple_of(PAGE_BYTES)
    }

    /// The most bytes that a node may have on disk after these decisions, of heights 1, 2, ….
    fn bytes_max(&self, decisions: &[Value]) -> u64 {
        let height = decisions.len() as u64;
        let kept = height.saturating_sub(self.retention + HEIGHTS_UNTIL_FREE);
        let records = decisions.iter().zip(1..).map(|(decision, at)| {
            let number = |field: &str| decision[field].as_u64().expect("a number");
            let blobs = number("blobs");
            let payload = number("bytes") - blobs * BLOB_BYTES;
            // Headers, lists and the Init stay with the payload, for ever.
            let body = (payload + payload.div_ceil(65_536) * 32 + blobs * 132 + 2048).next_multiple_of(PAGE_BYTES);
            body + if at > kept { blobs * BLOB_BYTES } else { 0 }
        });
        let (index, row) = INDEX_BYTES;
        records.sum::<u64>() + SEGMENTS * self.segment_bytes() + index + height * row + LOG_BYTES + RESERVE_BYTES
    }
}

/// Judges a node's disk by what it has decided. Bytes on disk and the most that they may be.
fn judge(size: Size, node: &Node) -> Option<(u64, u64)> {
    // A height that is decided meanwhile is free room of a segment before.
    let decided = node.decided_if_it_answers().filter(|decided| !decided.is_empty())?;
    let (bytes, bytes_max) = (on_disk(&node.home.join("data")), size.bytes_max(&decided));
    assert!(
        bytes <= bytes_max,
        "node{} has {bytes} bytes on disk after height {}, and may have {bytes_max}",
        node.id,
        decided.len()
    );
    Some((bytes, bytes_max))
}

/// Watches a network that runs: disks at every height, and a full node that joins late.
fn watch(size: Size, validators: &[Node], dir: &Path) {
    let [first, middle, last] = size.heights;
    let witness = &validators[0];
    reach(size, validators, first);
    let setting = format!("retention.blobs_heights={}", size.retention);
    let (_process, late) = join(dir, witness, &[&setting]);
    let all: Vec<Node> = validators.iter().chain([&late]).cloned().collect();
    let is_over = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        // Also while it catches up.
        let watcher = scope.spawn(|| {
            let mut told = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                judge(size, &late);
                let catch_up = late.status().map(|status| status["catch_up"].clone());
                told.extend(catch_up.filter(|catch_up| !catch_up.is_null()));
                std::thread::sleep(Duration::from_millis(100));
            }
            told
        });
        {
            let _over = Over(&is_over);
            reach(size, validators, middle);
            reach(size, &all, last);
        }
        watcher.join().expect("its disk is within its bound")
    });
    // Until it had caught up, it said how far it was.
    println!("of catching up it told {} times: {told:?}", told.len());
    assert!(!told.is_empty(), "a node that lags by {first} heights says so");
    for catch_up in &told {
        let at = |key: &str| catch_up[key].as_u64().unwrap_or_else(|| panic!("{key}: {catch_up}"));
        assert!(at("height") < at("target"), "{catch_up}");
    }
    let heights: Vec<_> = told.iter().map(|catch_up| catch_up["height"].as_u64()).collect();
    assert!(heights.is_sorted(), "{heights:?}");
    let decided = late.decided();
    for node in validators {
        assert_eq!(
            node.decided()[..last as usize],
            decided[..last as usize],
            "node{}",
            node.id
        );
    }
    let blobs: u64 = decided.iter().filter_map(|decision| decision["blobs"].as_u64()).sum();
    let full = last * u64::from(size.blobs_per_block);
    assert!(
        blobs * 2 > full,
        "{blobs} of {full} blobs: too few to tell what is freed"
    );
    // It came when the blobs of the first heights were needed no more, and never had them.
    for (node, why) in [(witness, "are pruned"), (&late, "never held them")] {
        let oldest = oldest_blobs(node, 1, why);
        let served = |slot: u64| node.get(&format!("/eth/v1/beacon/blobs/{slot}")).expect("answers");
        let (status, answer) = served(node.slot(oldest));
        assert_eq!(status, 200, "node{} at height {oldest}: {answer}", node.id);
        let head = node.height().expect("answers");
        assert!(
            oldest + size.retention <= head + 1,
            "{oldest} is the oldest height at {head}"
        );
        // Heights are decided while we ask.
        let (status, _) = served(node.slot(head + 5 - size.retention));
        assert_eq!(status, 200, "what the chain's minimum covers is here");
    }
}

/// What the Beacon API says of a height without blobs: its refusal names the oldest height that has them, and its slot.
fn oldest_blobs(node: &Node, height: u64, why: &str) -> u64 {
    let slot = node.slot(height);
    let (status, answer) = node
        .get(&format!("/eth/v1/beacon/blob_sidecars/{slot}"))
        .expect("answers");
    assert_eq!(status, 404, "node{} at height {height}: {answer}", node.id);
    let message = answer["message"].as_str().expect("a text");
    assert!(message.contains(why), "node{}: {message}", node.id);
    let number = |field: &str| -> u64 {
        let text = answer[field]
            .as_str()
            .unwrap_or_else(|| panic!("{field} is missing: {answer}"));
        text.parse().expect("a number")
    };
    let oldest = number("oldest_height");
    assert_eq!(number("oldest_slot"), node.slot(oldest), "node{}", node.id);
    oldest
}

/// Says that it is over, however it ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until every node has decided `height`, and judges their disks all the while. Prints what they are at the end.
fn reach(size: Size, nodes: &[Node], height: u64) {
    let (mut slowest, mut moved) = (0, Instant::now());
    loop {
        let found: Vec<Option<(u64, u64)>> = nodes.iter().map(|node| judge(size, node)).collect();
        let now = nodes.iter().map(|node| node.height().unwrap_or(0)).min().unwrap_or(0);
        if now > slowest {
            (slowest, moved) = (now, Instant::now());
        }
        if now >= height {
            for (node, found) in nodes.iter().zip(found) {
                let (bytes, bytes_max) = found.unwrap_or_default();
                let what = format!("node{} has {bytes} bytes on disk, of at most {bytes_max}", node.id);
                let _ = writeln!(std::io::stderr(), "height {now}: {what}");
            }
            return;
        }
        assert!(moved.elapsed() < PATIENCE, "a node stays at height {now}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn disks_hold_what_is_retained_while_a_late_node_catches_up_without_old_blobs() {
    let size = Size {
        blobs_per_block: 48,
        retention: 10,
        heights: [24, 32, 40],
    };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::changed(&temporary.path().join("net"), on_loopback(4), 50, |plan| {
        plan.blobs_per_block = size.blobs_per_block;
        plan.retention = Some(size.retention);
    });
    let _validators = network.start_all();
    let _load = network.load(0..4);
    watch(size, &network.nodes, &temporary.path().join("late"));
}

#[test]
#[ignore = "takes six minutes: .ci/full runs it"]
fn a_devnet_of_48_blobs_holds_50_heights_for_300() {
    let size = Size {
        blobs_per_block: 48,
        retention: 50,
        heights: [100, 200, 300],
    };
    let temporary = tempfile::tempdir().expect("temporary directory");
    let flags = ["--blobs-per-block", "48", "--retention", "50"];
    let devnet = Devnet::start(&temporary.path().join("net"), &flags);
    watch(size, &devnet.nodes, &temporary.path().join("late"));
}
