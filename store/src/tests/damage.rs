//! What happens when a file of an open store, or of one that is opened again, is damaged: a table over every kind of
//! file. Never an end of the process, never a wrong answer; each row says what else.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use ultramarine_types::storage::{Absent, Blobs, LogCondition, Source, StoreReply, StoreRequest, Tag};
use ultramarine_types::{Assembly, Height};

use super::support::*;
use crate::segment::FileName;

const DECIDED: TableDefinition<u64, &[u8]> = TableDefinition::new("decided");
const LOCATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("locations");
const SEGMENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("segments");
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");

pub const HEIGHTS: u64 = 20;
/// Below it the payloads have moved and the blobs are freed.
pub const RETAINED: u64 = 15;

/// A store with every kind of file, and the values decided in it.
pub fn living(folder: &Path) -> (Store, Vec<Assembly>) {
    let mut store = Store::open_with(folder, &cold());
    store.begin(1);
    let values = store.grow(1..=HEIGHTS, 6);
    store.retire(RETAINED);
    store.begin(HEIGHTS + 1);
    store.log(&[b"a vote", b"a proposal"]);
    store.log(&[b"another vote"]);
    store.put(&value(HEIGHTS + 1, 1, 1), Tag::Streamed);
    store.settle();
    (store, values)
}

/// Stores that are made until one has a file of the kind that is looked for.
const TRIES: usize = 50;

/// The kinds of files of a data directory, with the oldest of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Values,
    Payloads,
    Free,
    Log,
    Index,
    Reserve,
    Lock,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Values,
        Self::Payloads,
        Self::Free,
        Self::Log,
        Self::Index,
        Self::Reserve,
        Self::Lock,
    ];

    fn find(self, folder: &Path) -> Option<PathBuf> {
        let name = match self {
            // The log that is appended to: two epochs were begun.
            Self::Log => {
                let logs = (0..3).map(|number| folder.join(format!("log-{number}")));
                return logs.into_iter().find(|log| {
                    let bytes = std::fs::read(log).unwrap_or_default();
                    bytes.get(4096..).is_some_and(|frames| frames.starts_with(b"ULFR"))
                });
            }
            Self::Index => "index.redb",
            Self::Reserve => "RESERVE",
            Self::Lock => "LOCK",
            Self::Values | Self::Payloads | Self::Free => {
                let entries = std::fs::read_dir(folder.join("segments")).expect("the folder");
                let paths = entries.map(|entry| entry.expect("an entry").path());
                let is_wanted = |path: &PathBuf| {
                    let name = path
                        .file_name()
                        .and_then(|name| name.to_str())
                        .and_then(FileName::parse);
                    match name {
                        Some(FileName::Free(_)) => self == Self::Free,
                        Some(FileName::Used(crate::segment::Class::Values, _)) => self == Self::Values,
                        Some(FileName::Used(crate::segment::Class::Payloads, _)) => self == Self::Payloads,
                        None => false,
                    }
                };
                return paths.filter(is_wanted).min();
            }
        };
        Some(folder.join(name)).filter(|path| path.exists())
    }
}

/// A living store that has a file of this kind. Whether a free one is left when all is still depends on which came
/// first: the last segment was given back, or the next one was begun.
fn living_with(kind: Kind) -> (tempfile::TempDir, Store, Vec<Assembly>, PathBuf) {
    for _ in 0..TRIES {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, values) = living(folder.path());
        if let Some(path) = kind.find(folder.path()) {
            return (folder, store, values, path);
        }
    }
    panic!("{kind:?}: there is none");
}

#[derive(Clone, Copy, Debug)]
enum Blow {
    /// One bit of every page.
    Bits,
    /// The file ends in its middle.
    Cut,
    Removal,
}

impl Blow {
    fn strike(self, path: &Path) {
        match self {
            Self::Bits => {
                let file = OpenOptions::new().read(true).write(true).open(path).expect("the file");
                let bytes = file.metadata().expect("metadata").len();
                for page in (0..bytes).step_by(4096) {
                    flip(&file, page + 100.min(bytes - page - 1));
                }
            }
            Self::Cut => {
                let file = OpenOptions::new().write(true).open(path).expect("the file");
                let bytes = file.metadata().expect("metadata").len();
                file.set_len(bytes / 2 / 4096 * 4096).expect("shortened");
            }
            Self::Removal => std::fs::remove_file(path).expect("removed"),
        }
    }
}

fn flip(file: &std::fs::File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

/// Reads everything: what is served is right, and what is not served is said to be damaged. How many heights are.
pub fn read_all(store: &Store, values: &[Assembly], case: &str) -> usize {
    let head = store.view.head();
    for (height, expected) in (1..).map(Height).zip(values).take_while(|(height, _)| *height <= head) {
        match store.view.decided_value(height) {
            Ok((_, found)) => assert_same(&found, expected),
            Err(Absent::Pruned { .. }) => assert!(height < Height(RETAINED), "{case}: {height}"),
            Err(Absent::Damaged) => assert!(store.view.is_damaged(height), "{case}: {height}"),
            Err(other) => panic!("{case}: height {height} is {other:?}"),
        }
        for (index, blob) in expected.blobs.iter().enumerate() {
            match store.view.blob(&expected.key, index) {
                Ok(found) => assert_eq!(found, blob, "{case}: {height}"),
                Err(Absent::Pruned { .. } | Absent::Damaged) => {}
                Err(other) => panic!("{case}: a blob of height {height} is {other:?}"),
            }
        }
        match store.view.decided_payload(height) {
            Some(found) => assert_eq!((&found.payload, &found.lists), (&expected.payload, &expected.lists)),
            None => assert!(store.view.is_damaged(height), "{case}: {height}"),
        }
        match store.view.decided(height) {
            Some(found) => assert_eq!(found.certificate.value_id, expected.key.id, "{case}: {height}"),
            None => assert!(store.view.is_damaged(height), "{case}: {height}"),
        }
    }
    store.view.damaged().len()
}

/// The next height, from its value to its end.
fn go_on(store: &mut Store, height: u64) {
    let next = value(height, 77, 1);
    store.put(&next, Tag::Streamed);
    store.commit(&next);
    assert_same(&store.view.decided_value(Height(height)).expect("whole").1, &next);
}

/// | file | while it is open | at the next start |
/// |---|---|---|
/// | values, payloads | heights in it are damaged | the same |
/// | free segment | nothing | nothing |
/// | log | nothing: it is written only | corrupt or missing: nothing is signed at that height |
/// | index | a row that does not hold is a damaged height | rebuilt; a removed one is refused with what to do |
/// | reserve, lock | nothing | made again |
#[test]
fn damage_to_any_kind_of_file_ends_nothing_and_is_never_served() {
    for kind in Kind::ALL {
        for blow in [Blow::Bits, Blow::Cut, Blow::Removal] {
            let case = format!("{kind:?} {blow:?}");
            let (folder, mut store, values, path) = living_with(kind);
            // An open index is redb's: it owns the file's length.
            let is_open_index = kind == Kind::Index && !matches!(blow, Blow::Bits);
            if !is_open_index {
                blow.strike(&path);
            }
            let damaged = read_all(&store, &values, &case);
            let is_segment = matches!(kind, Kind::Values | Kind::Payloads);
            assert_eq!(damaged > 0, is_segment, "{case}: {damaged} damaged");
            if kind != Kind::Index {
                go_on(&mut store, HEIGHTS + 1);
            }
            let mut told = Vec::new();
            store.writer.tell_damage(usize::MAX, &mut told);
            assert_eq!(told.len(), damaged, "{case}");
            drop(store);
            if is_open_index {
                blow.strike(&path);
            }
            let mut store = match catch_unwind(AssertUnwindSafe(|| Store::try_open(folder.path(), &cold()))) {
                Ok(Ok(store)) => store,
                Ok(Err(refused)) => {
                    assert!(
                        matches!((kind, blow), (Kind::Index, Blow::Removal)),
                        "{case}: {refused}"
                    );
                    assert!(refused.to_string().contains("start again"), "{case}: {refused}");
                    continue;
                }
                Err(_) => panic!("{case}: the start panicked"),
            };
            let again = read_all(&store, &values, &case);
            if kind != Kind::Index {
                assert_eq!(again, damaged, "{case}");
            }
            let head = store.view.head().0;
            go_on(&mut store, head + 1);
        }
    }
}

/// A damaged height is stored again, and served as before.
#[test]
fn missing_and_short_segments_are_found_at_the_start() {
    for blow in [Blow::Cut, Blow::Removal] {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, values) = living(folder.path());
        drop(store);
        let path = Kind::Values.find(folder.path()).expect("there is one");
        blow.strike(&path);
        let mut store = Store::open_with(folder.path(), &cold());
        let found = store.view.damaged();
        assert!(!found.is_empty(), "{blow:?}: nobody read it");
        let mut told = Vec::new();
        store.writer.tell_damage(usize::MAX, &mut told);
        assert_eq!(told.len(), found.len());
        assert_eq!(read_all(&store, &values, "a start"), found.len());
        let reason = store.view.damage_of(found[0]).expect("damaged").reason;
        assert!(
            reason.contains("is gone") || reason.contains("ends at byte"),
            "{reason}"
        );
    }
}

/// Changes a row of a closed index.
fn change_row(
    folder: &Path,
    table: TableDefinition<'_, u64, &'static [u8]>,
    height: u64,
    change: impl FnOnce(&mut Vec<u8>),
) {
    let database = Database::open(folder.join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut table = transaction.open_table(table).expect("the table");
        let mut row = table.get(height).expect("read").expect("there").value().to_vec();
        change(&mut row);
        table.insert(height, row.as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_rotten_row_is_damage_and_never_unknown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    drop(store);
    let rows = {
        let database = Database::open(folder.path().join("index.redb")).expect("the index");
        let transaction = database.begin_read().expect("a transaction");
        let table = transaction.open_table(DECIDED).expect("the table");
        table.get(18).expect("read").expect("there").value().len()
    };
    // Any byte of it.
    for at in (0..rows).step_by(rows / 12) {
        change_row(folder.path(), DECIDED, 18, |row| row[at] ^= 0x10);
        let store = Store::open_with(folder.path(), &cold());
        assert!(store.view.decided(Height(18)).is_none(), "byte {at}");
        assert_eq!(
            store.view.value(&values[17].key).err(),
            Some(Absent::Damaged),
            "byte {at}"
        );
        assert_eq!(store.view.decided_value(Height(18)).err(), Some(Absent::Damaged));
        assert_eq!(store.view.damaged(), [Height(18)]);
        assert_eq!(
            store.view.height_at(values[18].init.metadata.header.timestamp),
            Some(Height(19))
        );
        drop(store);
        change_row(folder.path(), DECIDED, 18, |row| row[at] ^= 0x10);
    }
    assert_eq!(
        read_all(&Store::open_with(folder.path(), &cold()), &values, "whole again"),
        0
    );
}

#[test]
fn a_rotten_place_is_damage_and_its_height_is_stored_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    drop(store);
    for at in 0..37 {
        change_row(folder.path(), LOCATIONS, 18, |row| row[at] ^= 1);
        let store = Store::open_with(folder.path(), &cold());
        assert_eq!(
            store.view.decided_value(Height(18)).err(),
            Some(Absent::Damaged),
            "byte {at}"
        );
        assert_eq!(read_all(&store, &values, "one is damaged"), 1, "byte {at}");
        drop(store);
        change_row(folder.path(), LOCATIONS, 18, |row| row[at] ^= 1);
    }
    for (table, height) in [(LOCATIONS, 18), (DECIDED, 19)] {
        change_row(folder.path(), table, height, |row| row[30] ^= 1);
        let mut store = Store::open_with(folder.path(), &cold());
        let value = &values[height as usize - 1];
        assert_eq!(
            store.view.decided_value(Height(height)).err(),
            Some(Absent::Damaged),
            "{height}"
        );
        store.ask([StoreRequest::Vouch(Box::new(certificate(value)))]);
        let stored = store.ask([StoreRequest::Put {
            assembly: value.clone(),
            tag: Tag::Restored,
        }]);
        assert!(
            matches!(
                stored[..],
                [StoreReply::Stored {
                    tag: Tag::Restored,
                    blobs: Blobs::Held,
                    ..
                }]
            ),
            "{stored:?}"
        );
        assert_eq!(read_all(&store, &values, "stored again"), 0);
        drop(store);
        let store = Store::open_with(folder.path(), &cold());
        assert_eq!(read_all(&store, &values, "after another start"), 0);
    }
}

/// A row of `segments` that rotted: then rows of heights are counted.
fn rot_segment(folder: &Path) {
    let database = Database::open(folder.join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut table = transaction.open_table(SEGMENTS).expect("the table");
        let (id, mut row) = {
            let (id, row) = table.first().expect("read").expect("there is one");
            (id.value(), row.value().to_vec())
        };
        // Again, it is as rotten as before.
        row[5] |= 0x40;
        table.insert(id, row.as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_rotten_row_of_a_segment_is_counted_and_written_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    drop(store);
    rot_segment(folder.path());
    let mut store = Store::open_with(folder.path(), &cold());
    assert_eq!(read_all(&store, &values, "counted"), 0);
    assert!(store.view.index().segments().is_err(), "nothing was written yet");
    go_on(&mut store, HEIGHTS + 1);
    assert!(store.view.index().segments().is_ok(), "written with the decision");
}

#[test]
fn where_heights_are_counted_a_rotten_place_is_found_again_in_the_segments() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    let tallied = store.view.tallied();
    drop(store);
    for height in [3, 18] {
        for at in (0..37).step_by(9) {
            change_row(folder.path(), LOCATIONS, height, |row| row[at] ^= 1);
            rot_segment(folder.path());
            let store = Store::open_with(folder.path(), &cold());
            assert_eq!(
                read_all(&store, &values, "found again"),
                0,
                "height {height}, byte {at}"
            );
            let pruned = matches!(store.view.decided_value(Height(height)), Err(Absent::Pruned { .. }));
            assert_eq!(pruned, height < RETAINED);
            assert_eq!(store.view.tallied().live_bytes(), tallied.live_bytes(), "byte {at}");
        }
    }
}

#[test]
fn a_hole_in_the_index_is_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, values) = living(folder.path());
    drop(store);
    let database = Database::open(folder.path().join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    for (table, height) in [(DECIDED, 4), (LOCATIONS, 17)] {
        transaction
            .open_table(table)
            .expect("the table")
            .remove(height)
            .expect("removed");
    }
    transaction.commit().expect("committed");
    drop(database);
    let store = Store::open_with(folder.path(), &cold());
    // Where the other one lies is found in its segment.
    assert_eq!(store.view.damaged(), [Height(4)]);
    assert_eq!(read_all(&store, &values, "holes"), 1);
}

#[test]
fn without_the_row_of_the_head_or_the_silence_the_index_is_rebuilt() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut store, values) = living(folder.path());
    store.ask([StoreRequest::Silence { through: Height(500) }]);
    drop(store);
    let damaged = folder.path().join("index.redb.damaged");
    change_row(folder.path(), DECIDED, HEIGHTS, |row| row[50] ^= 1);
    let store = Store::open_with(folder.path(), &cold());
    assert!(store.recovered.head.is_some() && damaged.exists());
    assert_eq!(read_all(&store, &values, "rebuilt"), 0);
    assert_eq!(store.recovered.silent_through, Height(500));
    drop(store);
    std::fs::remove_file(&damaged).expect("it was kept");
    change_mark(folder.path(), "silent_through");
    let store = Store::open_with(folder.path(), &cold());
    assert!(damaged.exists());
    assert_eq!(read_all(&store, &values, "rebuilt"), 0);
    // The core listens first, and hears again what the mark was made for.
    assert!(store.recovered.silent_through > Height(HEIGHTS) && store.recovered.log.is_none());
    assert_eq!(store.recovered.rebuilt_through, store.recovered.silent_through);
    drop(store);
    // Why it is so is no reason to rebuild it again.
    std::fs::remove_file(&damaged).expect("it was kept");
    change_mark(folder.path(), "rebuilt_through");
    let store = Store::open_with(folder.path(), &cold());
    assert!(!damaged.exists());
    assert!(store.recovered.silent_through > Height(HEIGHTS) && store.recovered.rebuilt_through == Height(0));
}

fn change_mark(folder: &Path, name: &str) {
    let database = Database::open(folder.join("index.redb")).expect("the index");
    let transaction = database.begin_write().expect("a transaction");
    {
        let mut table = transaction.open_table(MARKS).expect("the table");
        let mut row = table.get(name).expect("read").expect("there").value().to_vec();
        row[3] ^= 1;
        table.insert(name, row.as_slice()).expect("written");
    }
    transaction.commit().expect("committed");
}

#[test]
fn a_rotten_mark_costs_at_most_one_height_without_a_signature() {
    for name in [
        "epoch",
        "floor",
        "payloads",
        "oldest_blobs",
        "tallies",
        "archived_through",
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut store, values) = living(folder.path());
        store.ask([StoreRequest::Archived { through: Height(10) }]);
        let oldest = store.view.oldest_blobs();
        let tallied = store.view.tallied();
        drop(store);
        change_mark(folder.path(), name);
        let mut store = Store::open_with(folder.path(), &cold());
        assert_eq!(read_all(&store, &values, name), 0);
        let log = store.recovered.log.clone().expect("a mark was there");
        assert_eq!(log.epoch.height, Height(HEIGHTS + 1), "{name}");
        let expected = if name == "epoch" {
            LogCondition::Missing
        } else {
            LogCondition::Whole
        };
        assert_eq!(log.condition, expected, "{name}");
        assert_eq!(store.view.oldest_blobs(), oldest, "{name}");
        assert_eq!(store.recovered.undecided.len(), 1, "{name}");
        if name == "archived_through" {
            assert_eq!(store.view.archived_through(), Height(0));
        } else {
            assert_eq!(store.view.archived_through(), Height(10));
            assert_eq!(store.view.tallied(), tallied, "{name}");
        }
        let next = value(HEIGHTS + 1, 77, 1);
        store.put(&next, Tag::Streamed);
        assert!(matches!(
            store.ask([commit(&next, Blobs::Held)])[..],
            [StoreReply::Committed { .. }]
        ));
        store.begin(HEIGHTS + 2);
        store.log(&[b"a vote at the next height"]);
    }
}
