//! A node whose disk loses what it decided: it goes on, serves nothing wrong, and is whole again within a minute.
//!
//! One network for every kind of file; the table of `store/FORMAT.md` says what each does.
//!
//! ```text
//!   node0, node1   keep everything; what they serve is right
//!   keeper         keeps everything and archives it; reads its disk again all the time
//!   pruner         keeps blobs for a few heights; reads its disk again all the time
//! ```

use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::archive::objects;
use crate::harness::network::{Network, on_loopback};
use crate::harness::refusal::Refusal;
use crate::harness::rot::{Part, Record, cut, flip, flip_each, records, segments};
use crate::harness::{Node, Process, run, wait_for};

const PATIENCE: Duration = Duration::from_secs(150);
/// What a disk loses is back within this.
const MINUTE: Duration = Duration::from_secs(60);
/// Heights before anything is lost. They fill more than one values segment.
const HEIGHTS: u64 = 25;
/// Heights whose blobs the pruner keeps.
const RETENTION: u64 = 10;

/// What every whole node serves of a height.
struct Served {
    height: u64,
    slot: u64,
    /// Value id, metadata and lists.
    value: String,
    sidecars: String,
}

/// A digest of an answer; the status where there is none.
fn ask(node: &Node, path: &str, pick: impl FnOnce(&Value) -> String) -> Result<String, u16> {
    match node.get(path).expect("the node answers") {
        (200, answer) => Ok(format!("{:x}", Sha256::digest(pick(&answer)))),
        (status, _) => Err(status),
    }
}

/// What the value binds. Nodes may have certificates of different validators.
fn value(node: &Node, height: u64) -> Result<String, u16> {
    ask(node, &format!("/ultramarine/v1/value/{height}"), |answer| {
        format!("{} {} {}", answer["value_id"], answer["metadata"], answer["lists"])
    })
}

fn sidecars(node: &Node, slot: u64) -> Result<String, u16> {
    let path = format!("/eth/v1/beacon/blob_sidecars/{slot}");
    ask(node, &path, |answer| answer["data"].to_string())
}

fn state(node: &Node, height: u64) -> Option<String> {
    let (_, status) = node.get(&format!("/ultramarine/v1/blob_status/{height}")).ok()?;
    status["state"].as_str().map(str::to_owned)
}

/// A node whose files are spoiled.
struct Victim<'a> {
    node: &'a Node,
    process: Process,
    flags: Vec<String>,
}

impl Victim<'_> {
    fn start<'a>(network: &'a Network, id: usize, flags: &[&str]) -> Victim<'a> {
        let flags: Vec<String> = flags
            .iter()
            .flat_map(|flag| ["--set", flag])
            .map(str::to_owned)
            .collect();
        let process = start(network, id, &flags);
        let node = &network.nodes[id];
        Victim { node, process, flags }
    }

    /// Starts it again after a kill, over whatever `spoil` leaves.
    fn restart(&mut self, network: &Network, spoil: impl FnOnce()) {
        self.process.kill();
        spoil();
        self.process = start(network, self.node.id, &self.flags);
        wait_for("an answer after the start", MINUTE, || self.node.height());
    }

    fn lives(&mut self, what: &str) {
        let ended = self.process.0.try_wait().expect("a child of ours");
        assert!(ended.is_none(), "node{} ended: {what}", self.node.id);
    }

    /// All records of a height. Some may be dead.
    fn records(&self, story: &Story<'_>, height: u64) -> Vec<Record> {
        let found = records(&self.node.home, &story.decided).into_iter();
        let found: Vec<_> = found.filter(|record| record.height == height).collect();
        assert!(!found.is_empty(), "node{} has height {height}", self.node.id);
        found
    }

    fn flip(&self, story: &Story<'_>, height: u64, part: Part) {
        for record in self.records(story, height) {
            if record.blobs > 0 || !matches!(part, Part::Blob) {
                record.flip(part);
            }
        }
    }

    /// Waits until nothing speaks against it: nothing is damaged, it follows, and its client has every block.
    fn is_ready(&mut self, what: &str) {
        self.lives(what);
        let mut said = String::new();
        let until = Instant::now() + MINUTE;
        loop {
            match self.node.get("/health") {
                Ok((200, _)) => return,
                Ok((_, answer)) => said = answer.to_string(),
                Err(_) => {}
            }
            assert!(Instant::now() < until, "node{} after {what}: {said}", self.node.id);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn metric(&self, name: &str) -> f64 {
        self.node.metric(name).unwrap_or(0.0)
    }

    /// Waits until so many more heights than `before` were restored.
    fn has_restored(&self, before: f64, more: f64) {
        let heals = "ultramarine_store_heals_total";
        wait_for(&format!("{more} heights restored"), MINUTE, || {
            (self.metric(heals) >= before + more).then_some(())
        });
    }
}

fn start(network: &Network, id: usize, flags: &[String]) -> Process {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    network.start(id, &flags)
}

/// What is right.
struct Story<'a> {
    witness: &'a Node,
    decided: Vec<Value>,
    served: Vec<Served>,
}

impl Story<'_> {
    fn of(witness: &Node) -> Story<'_> {
        let mut decided = witness.decided();
        decided.truncate(HEIGHTS as usize);
        let served = (1..=HEIGHTS).map(|height| {
            let slot = witness.slot(height);
            Served {
                height,
                slot,
                value: value(witness, height).expect("a whole node"),
                sidecars: sidecars(witness, slot).expect("a whole node"),
            }
        });
        let served = served.collect();
        Story {
            witness,
            decided,
            served,
        }
    }

    /// Waits until a node serves every height as the witness did; it never serves anything else. Reading is what finds
    /// the damage.
    fn heals(&self, what: &str, victim: &mut Victim<'_>) {
        let mut left: Vec<&Served> = self.served.iter().collect();
        let mut said = String::new();
        let began = Instant::now();
        while !left.is_empty() {
            victim.lives(what);
            assert!(
                began.elapsed() < MINUTE,
                "{what}: {said}, and {} heights more",
                left.len()
            );
            left.retain(|served| match self.compare(what, victim.node, served) {
                Ok(()) => false,
                Err(status) => {
                    said = format!("height {} is answered with {status}", served.height);
                    true
                }
            });
            std::thread::sleep(Duration::from_millis(50));
        }
        println!("{what}: node{} is whole after {:?}", victim.node.id, began.elapsed());
    }

    fn compare(&self, what: &str, node: &Node, served: &Served) -> Result<(), u16> {
        let Served { height, slot, .. } = served;
        let wrong = format!("{what}: height {height} of node{}", node.id);
        let refused = |status: u16| {
            assert!(status >= 500, "{wrong} is answered with {status}");
            status
        };
        let found = value(node, *height).map_err(refused)?;
        assert_eq!(found, served.value, "{wrong} has another value");
        match sidecars(node, *slot) {
            Ok(found) => assert_eq!(found, served.sidecars, "{wrong} has other sidecars"),
            // Its retention has ended.
            Err(404) if state(node, *height).as_deref() == Some("pruned") => {}
            Err(status) => return Err(refused(status)),
        }
        match state(node, *height).as_deref() {
            Some("decided" | "archived" | "pruned") => Ok(()),
            other => {
                assert_eq!(other, Some("damaged"), "{wrong}");
                Err(503)
            }
        }
    }

    /// The heights with blobs, from the fourth on.
    fn with_blobs(&self) -> Vec<u64> {
        let with_blobs = self.decided.iter().zip(1..).skip(3);
        let with_blobs = with_blobs.filter(|(decision, _)| decision["blobs"].as_u64() > Some(0));
        with_blobs.map(|(_, height)| height).collect()
    }

    /// Waits until the chain has gone on.
    fn goes_on(&self, node: &Node) {
        let tip = self.witness.height().expect("answers");
        node.wait_for_height(tip + 3, MINUTE);
    }
}

#[test]
fn what_a_disk_loses_of_any_file_comes_back_within_a_minute_and_is_never_served_wrong() {
    let temporary = tempfile::tempdir().expect("temporary directory");
    let archive = temporary.path().join("archive");
    let url = format!("archive.url=file://{}", archive.display());
    let network = Network::changed(&temporary.path().join("net"), on_loopback(4), 100, |plan| {
        plan.retention = Some(RETENTION);
    });
    let (keeps, scrubs) = ("retention.blobs_heights=0", "store.scrub_mb_per_second=1000");
    let mut others: Vec<Victim<'_>> = (0..2).map(|id| Victim::start(&network, id, &[keeps])).collect();
    let mut keeper = Victim::start(&network, 2, &[keeps, scrubs, &url, "archive.span_heights=4"]);
    let mut pruner = Victim::start(&network, 3, &[scrubs]);
    let load = network.load(0..4);
    for node in &network.nodes {
        node.wait_for_height(HEIGHTS, PATIENCE);
    }
    drop(load);
    let witness = &network.nodes[0];
    let story = Story::of(witness);
    let blobs = story.with_blobs();
    let moved = || segments(&pruner.node.home, "payloads").len() == 1;
    wait_for("payloads without their blobs", MINUTE, || {
        let is_pruned = state(pruner.node, HEIGHTS - 1).as_deref() == Some("pruned");
        (is_pruned && moved()).then_some(())
    });
    let archived = || {
        keeper
            .node
            .status()
            .and_then(|status| status["archive"]["through"].as_u64())
    };
    wait_for("an archive", MINUTE, || {
        archived().filter(|through| *through >= HEIGHTS)
    });

    // Bits of every part of a record, in the same heights of two nodes. One of them has only payloads.
    let before = (
        keeper.metric("ultramarine_store_heals_total"),
        pruner.metric("ultramarine_store_heals_total"),
    );
    for (height, part) in [(1, Part::Header), (2, Part::Table), (3, Part::Payload)] {
        keeper.flip(&story, height, part);
        pruner.flip(&story, height, part);
    }
    keeper.flip(&story, blobs[0], Part::Blob);
    story.heals("bits of a running node's records", &mut keeper);
    story.heals("bits of a running node's payloads", &mut pruner);
    keeper.has_restored(before.0, 4.0);
    pruner.has_restored(before.1, 3.0);

    // Reads that fail: of a file of records, and of the index.
    let before = (
        keeper.metric("ultramarine_store_heals_total"),
        keeper.metric("ultramarine_store_index_renewals_total"),
    );
    let refused = [
        segments(&keeper.node.home, "values")[0].clone(),
        keeper.node.home.join("data/index.redb"),
    ];
    if let Some(refusal) = Refusal::begin(&keeper.process, &refused, &temporary.path().join("strace")) {
        keeper.has_restored(before.0, 1.0);
        wait_for("an index that is written anew", MINUTE, || {
            (keeper.metric("ultramarine_store_index_renewals_total") > before.1).then_some(())
        });
        assert!(refusal.count() > 1, "{} reads were refused", refusal.count());
        story.goes_on(keeper.node);
        drop(refusal);
        story.heals("reads that fail under a running node", &mut keeper);
    }

    // What is written and not read, or not read by a node that runs.
    let home = &keeper.node.home;
    let spoiled = [
        "data/LOCK",
        "data/RESERVE",
        "config.toml",
        "genesis.json",
        "execution-genesis.json",
        "validator.key",
        "node.key",
        "jwt.hex",
    ];
    for file in spoiled.map(|name| home.join(name)) {
        if std::fs::metadata(&file).expect("it is there").len() > 20 {
            flip(&file, 20);
        }
    }
    for number in 0..3 {
        for at in [20, 4096 + 60] {
            flip(&home.join(format!("data/log-{number}")), at);
        }
    }
    let id = story.decided[4]["value_id"]
        .as_str()
        .and_then(|id| hex::decode(&id[2..]).ok());
    let renewals = keeper.metric("ultramarine_store_index_renewals_total");
    let rows = flip_each(&home.join("data/index.redb"), &id.expect("a value id"));
    assert!(rows > 0, "a row of height 5 is there");
    // Before heights that heal have their rows written elsewhere.
    wait_for("an index that is written anew", MINUTE, || {
        (keeper.metric("ultramarine_store_index_renewals_total") > renewals).then_some(())
    });
    let broken = objects(&archive)[1].clone();
    flip(&broken, std::fs::metadata(&broken).expect("it is there").len() / 2);
    // The end of a file, and a whole one.
    let oldest = segments(home, "values")[0].clone();
    let middle = keeper.records(&story, HEIGHTS / 3)[0].offset;
    let before = keeper.metric("ultramarine_store_heals_total");
    cut(&oldest, middle);
    std::fs::remove_file(&segments(&pruner.node.home, "payloads")[0]).expect("it was there");
    story.heals("a file cut short under a running node", &mut keeper);
    story.heals("a file that is gone under a running node", &mut pruner);
    keeper.has_restored(before, 4.0);
    story.goes_on(keeper.node);
    let verified = run(["archive", "verify", "--url", &url["archive.url=".len()..]]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1), "{said}");
    assert!(
        said.contains(broken.file_name().and_then(|name| name.to_str()).expect("text")),
        "{said}"
    );
    // An operator puts back what no peer has.
    for file in spoiled.map(|name| home.join(name)) {
        if std::fs::metadata(&file).expect("it is there").len() > 20 {
            flip(&file, 20);
        }
    }
    flip(&broken, std::fs::metadata(&broken).expect("it is there").len() / 2);

    // Blobs that nobody has while the keeper is down. It has an archive. No node has them in memory after a start.
    let lost = blobs[1];
    for victim in others.iter_mut().chain([&mut keeper]) {
        victim.process.kill();
        victim.flip(&story, lost, Part::Blob);
    }
    for victim in &mut others {
        victim.restart(&network, || ());
    }
    let served = &story.served[lost as usize - 1];
    for victim in &mut others {
        let node = victim.node;
        let found = wait_for("what nobody has", MINUTE, || {
            story.compare("nobody has it", node, served).err()
        });
        assert!(found >= 500, "height {lost} is answered with {found}");
        assert_eq!(state(node, lost).as_deref(), Some("damaged"));
        let health = wait_for("a word of it", MINUTE, || {
            let (_, health) = node.get("/health").ok()?;
            Some(health.to_string()).filter(|health| health.contains("damaged on disk"))
        });
        assert!(health.contains("fetched from peers"), "{health}");
        victim.lives("nobody has a height");
    }
    story.goes_on(witness);
    keeper.restart(&network, || ());
    for victim in others.iter_mut().chain([&mut keeper, &mut pruner]) {
        story.heals("blobs that only an archive has", victim);
        victim.is_ready("what only an archive had");
    }

    // All files of values, also the one that grows, and a kill while heights come back.
    let before = keeper.metric("ultramarine_store_heals_total");
    for segment in segments(&keeper.node.home, "values") {
        std::fs::remove_file(segment).expect("it was there");
    }
    let node = keeper.node;
    wait_for("the first heights back", MINUTE, || {
        for served in &story.served {
            let _ = value(node, served.height);
        }
        (keeper.metric("ultramarine_store_heals_total") > before).then_some(())
    });
    keeper.restart(&network, || ());
    story.heals("a kill while heights come back", &mut keeper);

    // Files that rot while the node is down, and that its client needs while it catches up.
    pruner.process.kill();
    for _ in 0..5 {
        story.goes_on(witness);
    }
    let payloads = segments(&pruner.node.home, "payloads");
    assert_eq!(payloads.len(), 1, "one was begun in place of the file that was removed");
    pruner.flip(&story, 3, Part::Payload);
    pruner.restart(&network, || flip(&payloads[0], 20));
    story.heals("files that rotted while the node was down", &mut pruner);
    for victim in others.iter_mut().chain([&mut keeper, &mut pruner]) {
        victim.is_ready("all of it");
        story.goes_on(victim.node);
        victim.lives("all of it");
    }
    network.nobody_signed_twice();
}
