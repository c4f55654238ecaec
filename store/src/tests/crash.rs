//! The laws of recovery: whatever was acknowledged is there after the process ends at any moment.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use ultramarine_runtime::medium::ready;
use ultramarine_types::storage::{Blobs, LogCondition, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height, Lsn, ValueKey};

use super::support::*;

/// What a store acknowledged, and so owes after any crash.
#[derive(Clone, Default)]
struct Owed {
    decided: Vec<Assembly>,
    undecided: BTreeMap<(Height, [u8; 32]), Assembly>,
    epoch: Option<Height>,
    records: Vec<Bytes>,
}

impl Owed {
    fn note(&mut self, value: Option<&Assembly>, records: &[(u64, Bytes)], reply: &StoreReply) {
        match reply {
            StoreReply::Stored { key, .. } => {
                let value = value.expect("only a put is stored").clone();
                if key.height > self.head() {
                    self.undecided.insert((key.height, key.id.0), value);
                }
            }
            StoreReply::Committed { height } => {
                let value = value.expect("only a value is committed").clone();
                self.undecided.retain(|(other, _), _| other > height);
                self.decided.push(value);
                self.epoch = Some(height.next());
                self.records.clear();
            }
            StoreReply::EpochBegun(epoch) => self.epoch = Some(epoch.height),
            StoreReply::LogDurable { lsn } => {
                self.records.extend(
                    records
                        .iter()
                        .filter(|(at, _)| *at <= lsn.0)
                        .map(|(_, record)| record.clone()),
                );
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn head(&self) -> Height {
        Height(self.decided.len() as u64)
    }

    /// Opens the directory and demands everything owed.
    #[track_caller]
    fn demand(&self, store: &Store) {
        assert_eq!(store.view.head(), self.head());
        for value in &self.decided {
            assert_same(
                &store.view.decided_value(value.key.height).expect("decided survives").1,
                value,
            );
        }
        for value in self.undecided.values() {
            let found = store
                .recovered
                .undecided
                .iter()
                .find(|(found, _)| found.key == value.key);
            assert_same(&found.expect("an acknowledged value survives").0, value);
            assert_same(&store.view.value(&value.key).expect("and is served"), value);
        }
        for (found, _) in &store.recovered.undecided {
            assert!(found.key.height > self.head(), "dropped values stay gone");
        }
        if let Some(height) = self.epoch {
            let log = store.recovered.log.as_ref().expect("the epoch was begun");
            assert_eq!((log.epoch.height, log.condition), (height, LogCondition::Whole));
            assert!(
                log.records.starts_with(&self.records),
                "acknowledged records survive, in order"
            );
        }
    }
}

/// One step of a made-up life.
#[derive(Clone, Debug)]
enum Step {
    Put { ahead: u64, seed: u8, blobs: u8 },
    Log { records: u8, bytes: usize },
    Decide { blobs: u8 },
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..3u64, 100..120u8, 0..3u8).prop_map(|(ahead, seed, blobs)| Step::Put { ahead, seed, blobs }),
        3 => (1..4u8, 0..6000usize).prop_map(|(records, bytes)| Step::Log { records, bytes }),
        2 => (0..7u8).prop_map(|blobs| Step::Decide { blobs }),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..25)
}

/// A store and what it owes.
struct Life {
    store: Store,
    owed: Owed,
}

impl Life {
    /// Carries out requests under one sync, noting each acknowledgement.
    fn ask(&mut self, value: Option<&Assembly>, records: &[(u64, Bytes)], requests: Vec<StoreRequest>) {
        for reply in self.store.ask(requests) {
            self.owed.note(value, records, &reply);
        }
    }

    fn take(&mut self, step: &Step) {
        let next = self.owed.head().next();
        if self.owed.epoch != Some(next) || self.store.lsn == 0 {
            self.ask(None, &[], vec![StoreRequest::BeginEpoch { height: next }]);
        }
        match step {
            Step::Put { ahead, seed, blobs } => {
                let value = value(self.owed.head().0 + ahead, *seed, *blobs);
                self.ask(
                    Some(&value),
                    &[],
                    vec![StoreRequest::Put {
                        assembly: value.clone(),
                        tag: Tag::Streamed,
                    }],
                );
            }
            Step::Log { records, bytes } => {
                self.ask(None, &[], vec![StoreRequest::BeginEpoch { height: next }]);
                let mut appended = Vec::new();
                for _ in 0..*records {
                    self.store.lsn += 1;
                    appended.push((self.store.lsn, Bytes::from(vec![self.store.lsn as u8; *bytes])));
                }
                let mut requests: Vec<_> = appended
                    .iter()
                    .map(|(lsn, record)| StoreRequest::LogAppend {
                        lsn: Lsn(*lsn),
                        record: record.clone(),
                    })
                    .collect();
                requests.push(StoreRequest::LogSync {
                    lsn: Lsn(self.store.lsn),
                });
                self.ask(None, &appended, requests);
            }
            Step::Decide { blobs } => {
                let value = value(next.0, 200, *blobs);
                self.ask(
                    Some(&value),
                    &[],
                    vec![StoreRequest::Put {
                        assembly: value.clone(),
                        tag: Tag::Certified,
                    }],
                );
                self.ask(Some(&value), &[], vec![commit(&value, Blobs::Held)]);
            }
            Step::Crash => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Lives of puts, log records, decisions and crashes; at each crash and at the end everything owed is demanded.
    #[test]
    fn whatever_was_acknowledged_survives(steps in steps()) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut life = Life { store: Store::open(folder.path()), owed: Owed::default() };
        for step in steps.iter().chain([&Step::Crash]) {
            life.take(step);
            if matches!(step, Step::Crash) {
                let Life { store, owed } = life;
                drop(store);
                life = Life { store: Store::open(folder.path()), owed };
                life.owed.demand(&life.store);
            }
        }
    }
}

/// The directory as it is at every point of a life: after each request and before its sync, too.
#[test]
fn a_copy_taken_at_any_moment_holds_what_was_acknowledged_by_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let (first, loser, ahead, second) = (value(1, 1, 6), value(1, 2, 2), value(2, 3, 1), value(2, 4, 6));
    let put = |value: &Assembly| StoreRequest::Put {
        assembly: value.clone(),
        tag: Tag::Streamed,
    };
    let log = |lsn| StoreRequest::LogAppend {
        lsn: Lsn(lsn),
        record: Bytes::from(vec![lsn as u8; 100]),
    };
    let life = [
        (None, StoreRequest::BeginEpoch { height: Height(1) }),
        (Some(&loser), put(&loser)),
        (None, log(1)),
        (None, StoreRequest::LogSync { lsn: Lsn(1) }),
        (Some(&first), put(&first)),
        (Some(&ahead), put(&ahead)),
        (None, log(2)),
        (None, log(3)),
        (None, StoreRequest::LogSync { lsn: Lsn(3) }),
        (Some(&first), commit(&first, Blobs::Held)),
        (None, StoreRequest::BeginEpoch { height: Height(2) }),
        (None, log(4)),
        (None, StoreRequest::LogSync { lsn: Lsn(4) }),
        (Some(&second), put(&second)),
        (Some(&second), commit(&second, Blobs::Held)),
    ];
    let mut owed = Owed::default();
    let mut appended: Vec<(u64, Bytes)> = Vec::new();
    for (value, request) in life {
        if let StoreRequest::LogAppend { lsn, record } = &request {
            appended.push((lsn.0, record.clone()));
        }
        let mut replies = Vec::new();
        ready(store.writer.handle(request, &mut replies)).expect("taken");
        demand_of_copy(folder.path(), &owed, &replies);
        ready(store.writer.flush(&mut replies)).expect("synced");
        for reply in &replies {
            owed.note(value, &appended, reply);
            if matches!(reply, StoreReply::LogDurable { .. }) {
                appended.clear();
            }
        }
        demand_of_copy(folder.path(), &owed, &[]);
    }
}

/// Demands what is owed of a copy; what was answered since it was last noted may be there as well.
fn demand_of_copy(folder: &std::path::Path, owed: &Owed, since: &[StoreReply]) {
    let copied = tempfile::tempdir().expect("a folder");
    copy(folder, copied.path());
    let store = Store::open(copied.path());
    if since.is_empty() {
        owed.demand(&store);
    } else {
        assert!(store.view.head() >= owed.head());
    }
}

#[test]
fn a_torn_value_is_gone_and_everything_before_it_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let (kept, torn) = (value(1, 1, 2), value(1, 2, 2));
    store.put(&kept, Tag::Streamed);
    store.put(&torn, Tag::Streamed);
    drop(store);
    let segment = newest_segment(folder.path());
    // Header page, then two records of a page and two blobs each; the last byte of the second is lost.
    flip(&segment, 4096 + 2 * (4096 + 2 * 131_072) - 1);
    let store = Store::open(folder.path());
    let keys: Vec<ValueKey> = store.recovered.undecided.iter().map(|(value, _)| value.key).collect();
    assert_eq!(keys, [kept.key]);
    assert_same(&store.recovered.undecided[0].0, &kept);
}

#[test]
fn damage_to_a_decided_value_is_an_alarm_and_never_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let values = store.grow(1..=2, 2);
    drop(store);
    let segment = newest_segment(folder.path());
    flip(&segment, 4096 + 4096 + 131_072 + 77);
    let store = Store::open(folder.path());
    assert_eq!(
        store.view.decided_value(Height(1)).err(),
        Some(ultramarine_types::storage::Absent::Damaged)
    );
    assert_eq!(
        store
            .view
            .decided_payload(Height(1))
            .expect("the payload is whole")
            .payload,
        values[0].payload
    );
    assert_same(&store.view.decided_value(Height(2)).expect("whole").1, &values[1]);
}

#[test]
fn many_restarts_do_not_eat_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut height = 0;
    for _ in 0..12 {
        let mut store = Store::open(folder.path());
        height += 1;
        store.grow(height..=height, 1);
        store.put(&value(height + 1, 77, 1), Tag::Streamed);
    }
    Store::open(folder.path()).settle();
    let bytes = occupied(folder.path(), "");
    assert!(bytes < 20 << 20, "{bytes}");
    let store = Store::open(folder.path());
    assert_eq!(store.view.head(), Height(12));
    assert_eq!(store.recovered.undecided.len(), 1);
}

fn newest_segment(folder: &std::path::Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(folder.join("segments")).expect("the folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .max()
        .expect("a segment")
}

#[test]
fn a_segment_under_another_number_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    store.put(&value(1, 1, 2), Tag::Streamed);
    drop(store);
    let segment = newest_segment(folder.path());
    std::fs::rename(segment, folder.path().join("segments/values-0000000000000077.seg")).expect("renamed");
    let store = Store::open(folder.path());
    assert!(store.recovered.undecided.is_empty());
}

#[test]
fn an_opening_says_how_far_it_has_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Store::open(folder.path());
    let values: Vec<Assembly> = (1..=3).map(|tag| value(1, tag, 2)).collect();
    for value in &values {
        store.put(value, Tag::Streamed);
    }
    drop(store);
    let told = std::sync::Arc::<std::sync::Mutex<Vec<(u64, u64)>>>::default();
    let heard = std::sync::Arc::clone(&told);
    let options = crate::StoreOptions {
        tell_read: crate::TellRead::new(move |done, all| heard.lock().expect("no panic").push((done, all))),
        ..options()
    };
    let store = Store::open_with(folder.path(), &options);
    assert_eq!(store.recovered.undecided.len(), 3);
    let told = told.lock().expect("no panic");
    // At each value, and at the end of each file.
    assert!(told.len() >= 4, "{told:?}");
    assert!(told.is_sorted_by_key(|(done, _)| *done), "{told:?}");
    let (last, all) = told[told.len() - 1];
    assert!(
        last == all && all > 0 && told.iter().all(|(_, total)| *total == all),
        "{told:?}"
    );
}
