//! A node whose disk loses what it decided: it goes on, serves nothing wrong, and is whole again within a minute.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::network::Network;
use crate::harness::{Node, Process, wait_for};

const PATIENCE: Duration = Duration::from_secs(150);
/// What a disk loses is back within this.
const MINUTE: Duration = Duration::from_secs(60);
/// Heights before anything is lost.
const HEIGHTS: u64 = 25;
/// Bytes of a page, of a record's header and of a blob, as `store/FORMAT.md` has them.
const PAGE: usize = 4096;
const HEADER: u64 = 128;
const BLOB: u64 = 131_072;

/// Where a record lies.
struct Record {
    path: PathBuf,
    offset: u64,
    blobs: u32,
    /// Where the payload ends, and where the blobs begin, from the record's start.
    payload_end: u64,
    blobs_offset: u64,
}

impl Record {
    fn flip(&self, at: u64) {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .expect("a segment");
        let (at, mut byte) = (self.offset + at, [0]);
        file.read_exact_at(&mut byte, at).expect("it is that long");
        file.write_all_at(&[byte[0] ^ 16], at).expect("a writable file");
    }

    fn flip_payload(&self) {
        self.flip(self.payload_end - 10);
    }

    fn flip_blob(&self) {
        assert!(self.blobs > 0, "it has blobs");
        self.flip(self.blobs_offset + BLOB * u64::from(self.blobs) - 1000);
    }
}

/// The records of a stopped node's decided heights.
fn records(home: &Path, decided: &[Value]) -> BTreeMap<u64, Record> {
    let mut records = BTreeMap::new();
    for entry in std::fs::read_dir(home.join("data/segments")).expect("the folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a segment");
        for (page, header) in bytes.chunks_exact(PAGE).enumerate().skip(1) {
            let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
            // Generation and salt are those of the file's header: what was there before it was recycled is no record.
            if !header.starts_with(b"UREC") || header[8..24] != bytes[16..32] {
                continue;
            }
            let height = u64::from_le_bytes(header[32..40].try_into().expect("eight bytes"));
            let id = format!("0x{}", hex::encode(&header[40..72]));
            if !decided.iter().any(|decision| decision["value_id"] == id.as_str()) {
                continue;
            }
            let blobs = number(72);
            let body = u64::from(4 * blobs + number(76) + number(80) + number(84));
            let record = Record {
                path: path.clone(),
                offset: (page * PAGE) as u64,
                blobs,
                payload_end: HEADER + body,
                blobs_offset: (HEADER + body).next_multiple_of(PAGE as u64),
            };
            records.insert(height, record);
        }
    }
    records
}

/// A digest of a height's sidecars; the status where there is none.
fn sidecars(node: &Node, slot: u64) -> Result<String, u16> {
    let answer = node.get(&format!("/eth/v1/beacon/blob_sidecars/{slot}"));
    match answer.expect("the node answers") {
        (200, answer) => Ok(format!("{:x}", Sha256::digest(answer["data"].to_string()))),
        (status, _) => Err(status),
    }
}

/// The victim, and what it should say of each height.
struct Story<'a> {
    victim: &'a Node,
    expected: Vec<(u64, String)>,
}

impl Story<'_> {
    /// Waits until the victim serves everything as the witness does, and never anything else.
    fn heals(&self, what: &str, process: &mut Process) {
        let mut left = self.expected.clone();
        wait_for(what, MINUTE, || {
            assert!(
                process.0.try_wait().expect("a child of ours").is_none(),
                "the process ended: {what}"
            );
            left.retain(|(slot, digest)| match sidecars(self.victim, *slot) {
                Ok(found) => {
                    assert_eq!(found, *digest, "{what}: slot {slot} is served with other bytes");
                    false
                }
                Err(status) => {
                    assert!(status >= 500, "{what}: slot {slot} is answered with {status}");
                    true
                }
            });
            left.is_empty().then_some(())
        });
    }

    /// Waits until so many heights were restored since the start.
    fn has_restored(&self, count: f64) {
        let heals = || self.victim.metric("ultramarine_store_heals_total");
        wait_for(&format!("{count} heights restored"), MINUTE, || {
            heals().filter(|heals| *heals >= count)
        });
    }

    /// Waits until nothing speaks against the victim: it follows, and its client has every block.
    fn is_ready(&self, what: &str) {
        wait_for(&format!("readiness: {what}"), MINUTE, || {
            self.victim
                .get("/health")
                .is_ok_and(|(status, _)| status == 200)
                .then_some(())
        });
    }
}

#[test]
fn what_a_disk_loses_of_decided_heights_comes_back_within_a_minute_and_is_never_served_wrong() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let network = Network::lay_out(&temporary.path().join("net"), 4, 100);
    let _others: Vec<_> = (0..3).map(|id| network.start(id, &[])).collect();
    let mut process = network.start(3, &[]);
    let load = network.load(0..3);
    let (witness, victim) = (&network.nodes[0], &network.nodes[3]);
    for node in [witness, victim] {
        node.wait_for_height(HEIGHTS, PATIENCE);
    }
    drop(load);
    let slots = (1..=HEIGHTS).map(|height| witness.slot(height));
    let expected = slots.map(|slot| (slot, sidecars(witness, slot).expect("a whole node")));
    let story = Story {
        victim,
        expected: expected.collect(),
    };

    // While it is down: a payload, which its client needs again, and a blob.
    process.kill();
    let found = records(&victim.home, &witness.decided());
    let with_blobs: Vec<u64> = (4..=HEIGHTS).filter(|height| found[height].blobs > 0).collect();
    found[&3].flip_payload();
    found[&with_blobs[0]].flip_blob();
    process = network.start(3, &[]);
    wait_for("an answer after the start", MINUTE, || victim.height());
    story.heals("bits flipped in a stopped node's segments", &mut process);
    story.is_ready("after a start over flipped bits");
    story.has_restored(2.0);

    // While it runs: another blob, the end of a file, and a bit of each log.
    let oldest = found[&1].path.clone();
    found[&with_blobs[1]].flip_blob();
    let middle = found[&(HEIGHTS / 2)].offset;
    OpenOptions::new()
        .write(true)
        .open(&oldest)
        .expect("a segment")
        .set_len(middle)
        .expect("cut");
    for number in 0..3 {
        let log = victim.home.join(format!("data/log-{number}"));
        let file = OpenOptions::new().read(true).write(true).open(log).expect("a log");
        let mut byte = [0];
        file.read_exact_at(&mut byte, 4096 + 60).expect("a frame's place");
        file.write_all_at(&[byte[0] ^ 1], 4096 + 60).expect("writable");
    }
    story.heals("a file cut short under a running node", &mut process);
    story.has_restored((HEIGHTS / 2) as f64);

    // A whole file, before a start.
    process.kill();
    std::fs::remove_file(&oldest).expect("it was there");
    process = network.start(3, &[]);
    wait_for("an answer after the start", MINUTE, || victim.height());
    story.heals("a file that is gone", &mut process);
    story.is_ready("after a start without a file");
    let tip = witness.height().expect("answers");
    victim.wait_for_height(tip + 3, MINUTE);
    assert!(
        process.0.try_wait().expect("a child of ours").is_none(),
        "the process ended"
    );
    network.nobody_signed_twice();
}
