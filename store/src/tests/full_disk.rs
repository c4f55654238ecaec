//! A full disk refuses values and still records decisions. Needs the right to mount a small tmpfs; says so without it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ultramarine_types::storage::{Blobs, LogCondition, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Height, Lsn};

use super::support::*;
use crate::reserve::RESERVE_BYTES;
use crate::writer::EVIDENCE_WAITING_MAX;

pub struct SmallDisk {
    folder: PathBuf,
    _parent: tempfile::TempDir,
}

impl SmallDisk {
    pub fn mount(megabytes: u32) -> Option<Self> {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("disk");
        std::fs::create_dir(&folder).expect("a folder");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "ultramarine-test"])
            .arg(&folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self {
                folder,
                _parent: parent,
            }),
            Ok(_) | Err(_) => {
                ultramarine_runtime::skip::say("a full disk: mounting a small tmpfs is not permitted here");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    fn available_bytes(&self) -> u64 {
        rustix::fs::statvfs(self.path())
            .map(|status| status.f_bavail * status.f_frsize)
            .expect("a status")
    }

    /// Something else takes all but `left_bytes`.
    fn fill(&self, left_bytes: u64) {
        let filler = self.available_bytes().saturating_sub(left_bytes);
        let filler = vec![0; usize::try_from(filler).expect("a small disk")];
        std::fs::write(self.filler(), filler).expect("it fits");
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Somebody removes the reserve. A child that another test forks may hold its descriptor, and so its blocks, a
    /// moment.
    fn lose_reserve(&self) {
        let freed = self.available_bytes() + held_bytes(&self.reserve());
        std::fs::remove_file(self.reserve()).expect("it was held");
        let until = Instant::now() + Duration::from_secs(20);
        while self.available_bytes() < freed {
            assert!(Instant::now() < until, "its blocks never came back");
            std::thread::yield_now();
        }
    }

    fn reserve(&self) -> PathBuf {
        self.folder.join("RESERVE")
    }
}

/// Bytes a file occupies, whatever its length says.
fn held_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

/// Records of 100 KB: a few of them are more than a log file is made with.
fn large_records(store: &mut Store, count: u64) -> Vec<StoreRequest> {
    let mut requests: Vec<_> = (0..count)
        .map(|_| {
            store.lsn += 1;
            StoreRequest::LogAppend {
                lsn: Lsn(store.lsn),
                record: Bytes::from(vec![7; 100_000]),
            }
        })
        .collect();
    requests.push(StoreRequest::LogSync { lsn: Lsn(store.lsn) });
    requests
}

#[test]
fn a_reserve_that_is_not_whole_is_taken_again() {
    for left in [0, 1, 4096] {
        let folder = tempfile::tempdir().expect("a folder");
        let reserve = folder.path().join("RESERVE");
        std::fs::write(&reserve, vec![0; left]).expect("written");
        drop(Store::open(folder.path()));
        assert!(held_bytes(&reserve) >= 16 << 20, "{left} bytes were there");
    }
    // A file that is long and holds nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let reserve = folder.path().join("RESERVE");
    let sparse = std::fs::File::create(&reserve).expect("a file");
    sparse.set_len(16 << 20).expect("its length");
    drop((sparse, Store::open(folder.path())));
    assert!(held_bytes(&reserve) >= 16 << 20);
}

#[test]
fn a_log_that_outgrows_its_file_takes_from_the_reserve() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    store.begin(1);
    disk.fill(0);
    for _ in 0..4 {
        let records = large_records(&mut store, 10);
        let replies = store.ask(records);
        assert!(matches!(replies[..], [StoreReply::LogDurable { .. }]), "{replies:?}");
    }
    assert!(!disk.reserve().exists(), "it was given up");
    drop(store);
    let log = Store::open(disk.path()).recovered.log.expect("the log");
    assert_eq!((log.condition, log.records.len()), (LogCondition::Whole, 40));
}

#[test]
fn epochs_take_from_the_reserve() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    assert_eq!(store.view.shortage(), None);
    disk.fill(0);
    for at in [1, 2] {
        store.begin(at);
    }
    assert!(!disk.reserve().exists(), "it was given up");
    let shortage = store.view.shortage().expect("no value would be stored");
    assert!(shortage.contains("free at least 3"), "{shortage}");
    assert!(shortage.contains(&disk.path().display().to_string()), "{shortage}");
    std::fs::remove_file(disk.filler()).expect("room again");
    store.begin(3);
    assert_eq!(store.view.shortage(), None);
}

#[test]
fn evidence_without_room_waits_for_it_and_stops_nothing() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    let held = |store: &Store| store.evidence(Height(0), Height(u64::MAX), usize::MAX).len();
    let evidence = |heights: std::ops::RangeInclusive<u64>| StoreRequest::Evidence(heights.map(two_votes).collect());
    disk.lose_reserve();
    disk.fill(0);
    let replies = store.ask([evidence(1..=20_000)]);
    assert_eq!(held(&store), 0);
    assert!(
        matches!(&replies[..], [StoreReply::EvidenceTaken { is_durable: false }]),
        "{replies:?}"
    );
    std::fs::remove_file(disk.filler()).expect("room again");
    // Of what waits there is a bound; what comes after it comes in vain.
    store.ask([]);
    assert_eq!(held(&store), EVIDENCE_WAITING_MAX);
    drop(store);
    let mut store = Store::open(disk.path());
    // The reserve is for what cannot wait.
    store.begin(1);
    disk.fill(0);
    store.ask([evidence(30_001..=30_010)]);
    store.log(&[b"still signing"]);
    store.begin(2);
    assert_eq!(held(&store), EVIDENCE_WAITING_MAX);
    std::fs::remove_file(disk.filler()).expect("room again");
    store.begin(3);
    assert_eq!(held(&store), EVIDENCE_WAITING_MAX + 10);
}

#[test]
fn evidence_of_one_culprit_leaves_room_for_that_of_others() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    disk.lose_reserve();
    disk.fill(0);
    for height in 1..=3000 {
        store.ask([StoreRequest::Evidence(vec![two_votes_of(3, height)])]);
    }
    let later: Vec<_> = (4..=9)
        .map(|culprit| two_votes_of(culprit, 3000 + u64::from(culprit)))
        .collect();
    store.ask([StoreRequest::Evidence(later.clone())]);
    std::fs::remove_file(disk.filler()).expect("room again");
    store.ask([]);
    let held = store.evidence(Height(0), Height(u64::MAX), usize::MAX);
    let (first, others) = held.split_at(EVIDENCE_WAITING_MAX - later.len());
    assert_eq!(others, later);
    let oldest: Vec<_> = (1..).take(first.len()).map(two_votes).collect();
    assert_eq!(first, oldest, "and of the first what convicted it first");
}

#[test]
fn of_false_values_without_room_the_first_of_each_validator_waits() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    disk.lose_reserve();
    disk.fill(0);
    for height in 1..=5 {
        let pieces = [3, 4].map(|culprit| false_value(culprit, height, 0));
        store.ask([StoreRequest::Evidence(pieces.into())]);
        store.ask([StoreRequest::Evidence(vec![two_votes(height)])]);
    }
    std::fs::remove_file(disk.filler()).expect("room again");
    store.ask([]);
    let held = store.evidence(Height(0), Height(u64::MAX), usize::MAX);
    let mut expected = vec![two_votes(1), false_value(3, 1, 0), false_value(4, 1, 0)];
    expected.extend((2..=5).map(two_votes));
    assert_eq!(held, expected);
}

#[test]
fn the_operator_is_told_once_that_evidence_waits() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let options = options();
    let mut store = Store::open_with(disk.path(), &options);
    let waiting = |count: u32| {
        let line = format!("ultramarine_store_waiting_evidence {count}\n");
        assert!(options.registry.render().contains(&line), "{line}");
    };
    disk.lose_reserve();
    for state in 0..2 {
        disk.fill(0);
        let said = Warnings::during(|| {
            for height in 1..=20 {
                store.ask([StoreRequest::Evidence(vec![two_votes(100 * state + height)])]);
            }
        });
        assert_eq!(said.len(), 1, "{said:?}");
        waiting(20);
        assert!(
            said[0].contains("1 of at most 1024 pieces") && said[0].contains("free at least"),
            "{said:?}"
        );
        std::fs::remove_file(disk.filler()).expect("room again");
        store.ask([]);
        assert_eq!(
            store.evidence(Height(0), Height(u64::MAX), 100).len() as u64,
            20 * (state + 1)
        );
    }
}

#[test]
fn a_directory_on_a_full_disk_opens_with_its_reserve() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    store.begin(1);
    let values = store.grow(1..=2, 1);
    let records = large_records(&mut store, 4);
    store.begin(3);
    store.ask(records);
    drop(store);
    disk.fill(0);
    for _ in 0..3 {
        let mut store = Store::open(disk.path());
        assert_eq!(store.view.head(), Height(2));
        assert_same(&store.view.decided_value(Height(2)).expect("held").1, &values[1]);
        assert_eq!(store.recovered.log.as_ref().expect("the log").records.len(), 4);
        store.begin(3);
    }
    assert!(!disk.reserve().exists(), "it was given up");
}

#[test]
fn a_full_disk_without_a_reserve_is_an_error_that_says_how_much_to_free_and_where() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    store.begin(1);
    let path = disk.path().display().to_string();
    let says_what_to_do = |reason: &str| {
        assert!(
            reason.contains(&path) && reason.contains("free at least") && reason.contains("MiB"),
            "{reason}"
        );
    };
    disk.lose_reserve();
    disk.fill(0);
    let records = large_records(&mut store, 10);
    says_what_to_do(&store.try_ask(records).expect_err("there is no room").to_string());
    drop(store);
    std::fs::remove_file(disk.filler()).expect("room again");
    let store = Store::open(disk.path());
    disk.lose_reserve();
    disk.fill(0);
    let state = store.writer.into_state();
    let evidence: Vec<_> = (1..=20_000).map(two_votes).collect();
    let error = state.index.keep_evidence(&evidence).expect_err("there is no room");
    says_what_to_do(&state.index_failed(&error).to_string());
    drop((state, store.view));
    let fresh = disk.path().join("fresh");
    std::fs::create_dir(&fresh).expect("a folder");
    says_what_to_do(&Store::try_open(&fresh, &options()).err().expect("no room").to_string());
}

#[test]
fn retirement_frees_what_it_has_room_to_free() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    store.grow(1..=15, 6);
    store.settle();
    // Beside the reserve: room for the payload of one height and its segment's header. The index takes some as well.
    disk.fill(RESERVE_BYTES + 64 * 4096);
    assert!(
        store.retire(12) > Height(5),
        "what the first ones free is room for the next"
    );
}

#[test]
fn a_disk_that_fills_up_under_a_retirement_only_delays_it() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    let values = store.grow(1..=15, 6);
    store.settle();
    let available = disk.available_bytes();
    let filler = disk.filler();
    store.look(move |step| {
        if step == "header written" {
            let filler = std::fs::File::create(&filler).expect("a file");
            rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, available - 8192).expect("it fits");
        }
    });
    assert_eq!(store.retire(12), Height(1));
    assert!(disk.filler().exists());
    std::fs::remove_file(disk.filler()).expect("room again");
    store.look(|_| {});
    assert!(store.retire(12) > Height(5));
    let names = std::fs::read_dir(disk.path().join("segments")).expect("the folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let payloads = names.filter(|name| name.to_string_lossy().starts_with("payloads"));
    assert_eq!(payloads.count(), 1, "nothing is left of the first try");
    for value in &values {
        let kept = store.view.decided_payload(value.key.height).expect("for ever");
        assert_eq!((kept.payload, kept.lists), (value.payload.clone(), value.lists.clone()));
    }
}

#[test]
fn retirement_reads_nothing_when_there_is_room_for_nothing() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let options = cold();
    let mut store = Store::open_with(disk.path(), &options);
    let values = store.grow(1..=15, 6);
    store.settle();
    // One that was made ahead too late would make room.
    store.writer.segments().give_up_free();
    // Beside the reserve: not even for a page.
    disk.fill(RESERVE_BYTES);
    // Who reads it sees it.
    damage_payload(&store, &values[0].key);
    assert_eq!(store.retire(12), Height(1));
    assert_eq!(metric(&options, "ultramarine_store_damaged_segments"), 0);
}

#[test]
fn payloads_too_large_to_move_keep_no_others_from_going() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let mut store = Store::open_with(disk.path(), &cold());
    let large: Vec<_> = (1..=20).map(|at| value_with(at, at as u8, 6, 1 << 20)).collect();
    for value in &large {
        store.put(value, Tag::Streamed);
        store.commit(value);
    }
    store.grow(21..=35, 6);
    store.settle();
    // Beside the reserve: for the payloads of a segment of small ones, and not for one of the large.
    disk.fill(RESERVE_BYTES + (512 << 10));
    assert!(store.retire(32) > Height(24), "and so make room for the large ones");
    store.retire(32);
    assert_eq!(store.view.decided(Height(1)).expect("decided").blobs, Blobs::Pruned);
    for value in &large {
        let kept = store.view.decided_payload(value.key.height).expect("for ever");
        assert_eq!(kept.payload, value.payload);
    }
}

#[test]
fn retirement_without_room_waits_for_it_and_counts_no_damage() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let options = options();
    let mut store = Store::open_with(disk.path(), &options);
    store.grow(1..=15, 6);
    store.settle();
    disk.fill(1 << 20);
    assert_eq!(store.retire(12), Height(1));
    std::fs::remove_file(disk.filler()).expect("room again");
    assert!(store.retire(12) > Height(5));
    assert_eq!(metric(&options, "ultramarine_store_damaged_segments"), 0);
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

#[test]
fn a_full_disk_refuses_values_and_still_records_decisions() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    store.begin(1);
    let mut height = 0;
    let refused = loop {
        let value = value(height + 1, height as u8, 6);
        let replies = store.ask([StoreRequest::Put {
            assembly: value.clone(),
            tag: Tag::Streamed,
        }]);
        match &replies[..] {
            [StoreReply::Stored { .. }] => {
                store.commit(&value);
                height += 1;
            }
            [StoreReply::Refused { reason, .. }] => break reason.clone(),
            other => panic!("{other:?}"),
        }
        assert!(height < 200, "64 MiB cannot hold 150 MiB");
    };
    assert!(refused.contains("free at least"), "{refused}");
    let shortage = store.view.shortage().expect("it is told before the next height");
    assert!(shortage.contains("no room for another file"), "{shortage}");
    assert!(height > 10, "most of the disk was used: {height}");
    // Log and commits go on: a value without blobs still fits in the growing segment.
    store.begin(height + 1);
    store.log(&[b"still signing"]);
    let small = value(height + 1, 200, 0);
    store.put(&small, Tag::Streamed);
    store.commit(&small);
    // Something else fills what is left: the reserve is given up, and the decision recorded.
    std::fs::write(disk.path().join("filler"), vec![0; 200 << 20]).expect_err("the disk is full now");
    let next = value(height + 2, 201, 0);
    store.put(&next, Tag::Streamed);
    store.commit(&next);
    drop(store);
    std::fs::remove_file(disk.path().join("filler")).expect("room again");
    let store = Store::open(disk.path());
    assert_eq!(store.view.head(), Height(height + 2));
    assert_same(&store.view.decided_value(Height(height + 1)).expect("held").1, &small);
}

#[test]
fn on_a_nearly_full_disk_free_files_go_first_and_segments_are_as_large_as_there_is_room() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let mut store = Store::open(disk.path());
    store.grow(1..=15, 6);
    store.retire(12);
    let names = || {
        let entries = std::fs::read_dir(disk.path().join("segments")).expect("the folder");
        entries.map(|entry| entry.expect("an entry").file_name().display().to_string())
    };
    assert!(
        names().any(|name| name.starts_with("free")),
        "{:?}",
        names().collect::<Vec<_>>()
    );
    // Beside the reserve: for half of what the record needs, which no recycled file can take.
    disk.fill(RESERVE_BYTES + SEGMENT_BYTES / 2);
    store.put(&value_with(16, 16, 1, SEGMENT_BYTES as usize), Tag::Streamed);
    std::fs::remove_file(disk.filler()).expect("room again");
    store.settle();
    store.writer.segments().give_up_free();
    // For two records, and not for a segment as large as the others.
    disk.fill(RESERVE_BYTES + SEGMENT_BYTES / 2);
    let mut is_stored = |seed: u8| {
        let replies = store.ask([StoreRequest::Put {
            assembly: value(16, seed, 6),
            tag: Tag::Streamed,
        }]);
        matches!(replies[..], [StoreReply::Stored { .. }])
    };
    let stored = (17..40).take_while(|seed| is_stored(*seed)).count();
    let left = disk.available_bytes();
    assert!(
        left > RESERVE_BYTES - (256 << 10) && left < RESERVE_BYTES + (1 << 20),
        "{stored} values were stored, {left} bytes are left"
    );
}

#[test]
fn a_value_acknowledged_before_the_disk_filled_up_survives_a_restart() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let mut store = Store::open(disk.path());
    let acknowledged = value(1, 1, 6);
    store.put(&acknowledged, Tag::Streamed);
    drop(store);
    disk.fill(10 << 20);
    for _ in 0..2 {
        let store = Store::open(disk.path());
        assert_same(&store.recovered.undecided[0].0, &acknowledged);
        assert_same(&store.view.value(&acknowledged.key).expect("served"), &acknowledged);
    }
    let mut store = Store::open(disk.path());
    store.commit(&acknowledged);
    drop(store);
    let store = Store::open(disk.path());
    assert_same(&store.view.decided_value(Height(1)).expect("held").1, &acknowledged);
}
