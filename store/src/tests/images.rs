//! This file knows how to turn any bytes into changes of a data directory, and what `open` owes to every outcome: a
//! store that works, or an error. The fuzz target and the tests run the same function.
//!
//! ```text
//!   for each change: its file (1 byte, modulo the files there are), its kind (1 byte, modulo KINDS), its arguments
//! ```
//!
//! Bytes that are missing are zero; the changes end when none are left, and at most [`CHANGES_MAX`] are made.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};
use ultramarine_types::chain::Limits;
use ultramarine_types::storage::{Blobs, LogEpoch, Source, StoreRequest, Tag};
use ultramarine_types::{Height, Lsn};

use super::laws::{mend_frame, mend_header_page, mended_record};
use super::support::*;
use crate::StoreOptions;
use crate::format::PAGE_BYTES;
use crate::index::Index;
use crate::log::LogHeader;
use crate::record::RECORD_MAGIC;
use crate::segment::{Class, SegmentHeader, SegmentId, free_file_name};

/// Changes of one directory.
const CHANGES_MAX: usize = 12;
/// Kinds of changes.
const KINDS: u8 = 10;
const PAGE: usize = PAGE_BYTES as usize;

const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");
const LOCATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("locations");
const DECIDED: TableDefinition<u64, &[u8]> = TableDefinition::new("decided");

/// Options of a store whose directory is small.
pub fn small() -> StoreOptions {
    StoreOptions {
        hot_bytes: 0,
        limits: Limits { blobs_per_block: 1 },
        ..options()
    }
}

/// Makes a directory as a kill leaves it, with everything in it: values, payloads, a free segment, a log, an index with
/// each of its tables. `living` is where the store lives that is killed.
pub fn killed(living: &Path, killed: &Path) {
    let mut store = Store::open_with(living, &small());
    store.begin(1);
    store.grow(1..=20, 1);
    store.ask([StoreRequest::Retire {
        blobs_below: Height(15),
    }]);
    store.ask([StoreRequest::Evidence(vec![two_votes(3)])]);
    store.begin(21);
    store.log(&[b"a vote", b"a proposal"]);
    store.log(&[b"another vote"]);
    store.put(&value(21, 1, 1), Tag::Streamed);
    store.put(&value(22, 2, 0), Tag::Streamed);
    copy(living, killed);
}

/// Every file that has a header, in order of their names.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.join("index.redb")];
    files.extend((0..3).map(|number| folder.join(format!("log-{number}"))));
    let segments = fs::read_dir(folder.join("segments")).expect("the folder");
    files.extend(segments.map(|entry| entry.expect("an entry").path()));
    files.sort();
    files
}

/// Opens, and where that succeeds reads everything and goes on. Whether it opened.
pub fn live(folder: &Path) -> bool {
    let Ok(mut store) = Store::try_open(folder, &small()) else {
        return false;
    };
    let head = store.view.head();
    for height in head.0.saturating_sub(30)..=head.0.saturating_add(1) {
        let _ = store.view.decided_value(Height(height));
        let _ = store.view.decided_payload(Height(height));
    }
    let _ = store.evidence(Height(0), Height(u64::MAX), 10);
    let Some(next) = head.0.checked_add(1) else {
        return true;
    };
    let next = value(next, 77, 1);
    let put = StoreRequest::Put {
        assembly: next.clone(),
        tag: Tag::Streamed,
    };
    let append = StoreRequest::LogAppend {
        lsn: Lsn(1),
        record: Bytes::from_static(b"a vote"),
    };
    let retire = StoreRequest::Retire {
        blobs_below: Height(u64::MAX),
    };
    for requests in [
        vec![StoreRequest::BeginEpoch {
            height: next.key.height,
        }],
        vec![put],
        vec![append, StoreRequest::LogSync { lsn: Lsn(1) }],
        vec![commit(&next, Blobs::Held)],
        vec![retire],
    ] {
        if store.try_ask(requests).is_err() {
            drop(store);
            let Ok(reopened) = Store::try_open(folder, &small()) else {
                return true;
            };
            store = reopened;
        }
    }
    true
}

/// A directory to change again and again.
pub struct Image {
    template: PathBuf,
    scratch: PathBuf,
}

impl Image {
    /// Makes one in a folder that nobody else uses; in memory it is fastest.
    pub fn new(folder: &Path) -> Self {
        let [living, template, scratch] = ["living", "template", "scratch"].map(|name| folder.join(name));
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(&living).expect("a folder of ours");
        killed(&living, &template);
        fs::remove_dir_all(&living).expect("a folder of ours");
        // The index is closed: redb reads one that is not in another way, and more slowly.
        drop(Store::open_with(&template, &small()));
        let _ = fs::remove_file(template.join("RESERVE"));
        Self { template, scratch }
    }

    /// Changes the directory as the bytes say, and lives in it. Whether it opened.
    pub fn open(&self, bytes: &[u8]) -> bool {
        let _ = fs::remove_dir_all(&self.scratch);
        copy(&self.template, &self.scratch);
        let mut changes = Changes(bytes);
        for _ in 0..CHANGES_MAX {
            if changes.0.is_empty() {
                break;
            }
            changes.make(&self.scratch);
        }
        live(&self.scratch)
    }
}

/// What is left of the bytes.
struct Changes<'a>(&'a [u8]);

impl Changes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn number(&mut self, bytes: usize) -> u64 {
        (0..bytes).fold(0, |number, at| number | u64::from(self.byte()) << (8 * at))
    }

    /// A number as damage has it: small, or at one of the ends.
    fn any_number(&mut self) -> u64 {
        match self.byte() {
            0 => u64::MAX,
            1 => u64::MAX - 1,
            2 => u64::MAX - PAGE_BYTES,
            3 => 1 << 63,
            4 => self.number(8),
            5 => self.number(3) * PAGE_BYTES,
            _ => self.number(1),
        }
    }

    fn make(&mut self, folder: &Path) {
        let files = files(folder);
        let path = &files[usize::from(self.byte()) % files.len()];
        let segments = folder.join("segments");
        // A file may be gone by an earlier change.
        match self.byte() % KINDS {
            0 => {
                let (at, length) = (self.number(3) as usize, usize::from(self.byte()));
                let bytes: Vec<u8> = (0..length).map(|_| self.byte()).collect();
                edit(path, |file| {
                    for (index, byte) in bytes.iter().enumerate() {
                        if let Some(there) = file.get_mut(at + index) {
                            *there = *byte;
                        }
                    }
                });
            }
            1 => {
                let length = self.number(3) as usize;
                edit(path, |file| file.truncate(length));
            }
            2 => drop(fs::remove_file(path)),
            3 => {
                let id = SegmentId(self.any_number());
                let name = match self.byte() % 3 {
                    0 => Class::Values.file_name(id),
                    1 => Class::Payloads.file_name(id),
                    _ => free_file_name(id),
                };
                let _ = match self.byte() % 2 {
                    0 => fs::copy(path, segments.join(name)).map(drop),
                    _ => fs::rename(path, segments.join(name)),
                };
            }
            4 => {
                let header = SegmentHeader {
                    class: if self.byte().is_multiple_of(2) {
                        Class::Values
                    } else {
                        Class::Payloads
                    },
                    id: SegmentId(self.any_number()),
                    salt: self.any_number(),
                    capacity_bytes: self.any_number(),
                    chain: CHAIN,
                };
                overwrite(path, 0, &header.encode());
            }
            5 => {
                let header = LogHeader {
                    epoch: LogEpoch {
                        height: Height(self.any_number()),
                        generation: self.any_number(),
                    },
                    salt: self.any_number(),
                    chain: CHAIN,
                };
                overwrite(path, 0, &header.encode());
            }
            // A byte of a header, with its checksum.
            6 => {
                let (at, byte) = (usize::from(self.byte()), self.byte());
                edit(path, |file| {
                    if let Some(there) = file.get_mut(at) {
                        *there = byte;
                    }
                    mend_header_page(file);
                });
            }
            // A byte of a record or a frame, with its checksums.
            7 => {
                let (page, at, byte) = (1 + self.number(1) as usize, self.number(2) as usize, self.byte());
                edit(path, |file| change_page(file, page * PAGE, at, byte));
            }
            8 => self.change_row(&folder.join("index.redb")),
            _ => {
                let length = self.number(3) as usize;
                edit(path, |file| file.resize(file.len().max(length), self.byte()));
            }
        }
    }

    /// A row of the index, as a bug or a bad memory would have it written.
    fn change_row(&mut self, index: &Path) {
        let (kind, height) = (self.byte(), self.any_number());
        let (at, byte) = (usize::from(self.byte()), self.byte());
        let numbers: Vec<u8> = (0..8).flat_map(|_| self.any_number().to_le_bytes()).collect();
        // A file that is no whole database has no rows to change.
        if Index::open(index, CHAIN).is_err() {
            return;
        }
        let Ok(database) = Database::open(index) else { return };
        let change = |row: Option<Vec<u8>>| {
            let mut row = row?;
            *row.get_mut(at)? = byte;
            Some(row)
        };
        let write = || -> Option<()> {
            let read = database.begin_read().ok()?;
            let write = database.begin_write().ok()?;
            let old = |table: TableDefinition<u64, &[u8]>| {
                let table = read.open_table(table).ok()?;
                let found = table.range(..=height).ok()?.next_back()?.ok()?;
                Some((found.0.value(), found.1.value().to_vec()))
            };
            match kind % 8 {
                0 => {
                    let (height, row) = old(LOCATIONS)?;
                    write
                        .open_table(LOCATIONS)
                        .ok()?
                        .insert(height, change(Some(row))?.as_slice())
                        .ok()?;
                }
                1 => {
                    let (height, row) = old(DECIDED)?;
                    write
                        .open_table(DECIDED)
                        .ok()?
                        .insert(height, change(Some(row))?.as_slice())
                        .ok()?;
                }
                2 => {
                    let row = [&[1 + byte % 3], &numbers[..24]].concat();
                    write.open_table(LOCATIONS).ok()?.insert(height, row.as_slice()).ok()?;
                }
                3 => drop(write.open_table(LOCATIONS).ok()?.remove(height).ok()?),
                4 => {
                    // A decision of another height, as if it were this one's.
                    let (_, row) = old(DECIDED)?;
                    write
                        .open_table(DECIDED)
                        .ok()?
                        .insert(u64::from(byte), row.as_slice())
                        .ok()?;
                    let (_, row) = old(LOCATIONS)?;
                    write
                        .open_table(LOCATIONS)
                        .ok()?
                        .insert(u64::from(byte), row.as_slice())
                        .ok()?;
                }
                5 => drop(write.open_table(MARKS).ok()?.insert("floor", &numbers[..24]).ok()?),
                6 => drop(write.open_table(MARKS).ok()?.insert("epoch", &numbers[..16]).ok()?),
                _ => {
                    let marks = [
                        ("oldest_blobs", 8),
                        ("silent_through", 8),
                        ("rebuilt_through", 8),
                        ("archived_through", 8),
                        ("tallies", 64),
                    ];
                    let (name, bytes) = marks[usize::from(byte) % marks.len()];
                    write.open_table(MARKS).ok()?.insert(name, &numbers[..bytes]).ok()?;
                }
            }
            write.commit().ok()
        };
        let _ = write();
    }
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    if let Ok(mut file) = fs::read(path) {
        change(&mut file);
        fs::write(path, file).expect("a folder of ours");
    }
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    edit(path, |file| {
        if let Some(there) = file.get_mut(at..at + bytes.len()) {
            there.copy_from_slice(bytes);
        }
    });
}

/// Changes a byte of a page that begins a record or a frame, and makes the checksums right again.
fn change_page(file: &mut [u8], page: usize, at: usize, byte: u8) {
    let Some(there) = file.get_mut(page + at) else { return };
    *there = byte;
    let rest = &mut file[page..];
    mend_frame(rest);
    if rest.starts_with(&RECORD_MAGIC)
        && let Some(mended) = mended_record(rest)
    {
        let bytes = mended.len().min(rest.len());
        rest[..bytes].copy_from_slice(&mended[..bytes]);
    }
}
