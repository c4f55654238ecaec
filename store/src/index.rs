//! This file knows the metadata index: what is decided, where it lies, and the few marks that must outlive the log.
//!
//! One redb file. Every change of the store's state is one transaction, durable when it returns; it names only bytes
//! that were synced before.
//!
//! | table | key | value |
//! |---|---|---|
//! | `decided` | height | version, archive of the certificate and what is asked without a record; for ever |
//! | `locations` | height | where payload and blobs lie, and whether the blobs are there |
//! | `segments` | segment | class, span of heights, counts: what a start knows of it without reading rows of heights |
//! | `blocks` | execution block hash | height |
//! | `evidence` | height, then a digest of the row | version, archive of two contradicting messages |
//! | `false_values` | validator, then the height | version, archive of a value that its own blob refutes |
//! | `marks` | name | format and chain, log epoch, recovery floor, how far retention and silence reached, |
//! | | | tallies, end of the growing payloads segment, `Init` of the head |

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use ultramarine_types::canonical::{Cursor, FORMAT_VERSION};
use ultramarine_types::storage::{Blobs, LogEpoch};
use ultramarine_types::{ChainIdentity, CommitCertificate, Hash, Height, Init};

#[cfg(test)]
pub(crate) use self::evidence::{EVIDENCE_ROWS_MAX, FALSE_VALUES_PER_VALIDATOR_MAX};
use self::head::Head;
pub(crate) use self::leaves::{LEAF_BYTES_MAX, Rebuilt, Remains};
pub use self::marks::Marks;
#[cfg(test)]
pub(crate) use self::mend::MENDINGS_MAX;
pub(crate) use self::mend::Mended;
use self::opened::{Losses, Opened, Sparing};
pub use self::rows::DecidedRow;
#[cfg(test)]
pub(crate) use self::rows::encode_row_with_init;
use self::rows::{decode_location, decode_row, encode_archived, encode_epoch, encode_floor, encode_row};
pub use self::segments::Relocation;
use self::tallies::RowTallies;
use crate::device::is_lost;
use crate::format::{Fields, PAGE_BYTES};
use crate::ledger::SegmentRow;
use crate::segment::{Location, Position, SegmentId};

mod change;
mod evidence;
mod head;
#[cfg(any(test, fuzzing))]
pub(crate) mod laws;
mod leaves;
mod lost;
mod marks;
mod mend;
pub(crate) mod opened;
mod renew;
mod rows;
mod segments;
mod sweep;
mod tallies;
mod untouched;

const DECIDED: TableDefinition<u64, &[u8]> = TableDefinition::new("decided");
const LOCATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("locations");
const BLOCKS: TableDefinition<&[u8; 32], u64> = TableDefinition::new("blocks");
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");

/// The file, within the data directory.
pub(crate) const INDEX_NAME: &str = "index.redb";

const MARK_FORMAT: &str = "format";
const MARK_EPOCH: &str = "epoch";
const MARK_FLOOR: &str = "floor";
const MARK_PAYLOADS: &str = "payloads";
const MARK_OLDEST: &str = "oldest_blobs";
const MARK_SILENT: &str = "silent_through";
const MARK_REBUILT: &str = "rebuilt_through";
const MARK_ARCHIVED: &str = "archived_through";
const MARK_TALLIES: &str = "tallies";
const MARK_HEAD: &str = "head";

/// The version of the index. Version 2 has the `Init` in each row of `decided`: it is read as it is, and marked anew.
pub const INDEX_VERSION: u32 = 3;
const INDEX_VERSION_READ: u32 = 2;
const _: () = assert!(
    INDEX_VERSION_READ == FORMAT_VERSION,
    "what came before had the version of all formats"
);

/// Pages redb keeps in memory: the right edge of each table and what serving peers touches. Its default is 1 GiB.
const CACHE_BYTES: usize = 8 << 20;
/// Up to this size each start reads the whole file and checks every page (1 GB/s here). From it on none does: commits
/// also write the allocator's state, which costs a second sync, and in return a start after a crash is a quick one.
const QUICK_REPAIR_FROM_BYTES: u64 = 512 << 20;

#[cfg(not(test))]
const fn cache_bytes() -> usize {
    CACHE_BYTES
}

#[cfg(test)]
fn cache_bytes() -> usize {
    opened::refusal::CACHE_BYTES.get().unwrap_or(CACHE_BYTES)
}

/// Why the index could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("index {path}: {source}")]
    Database { path: PathBuf, source: Box<redb::Error> },
    /// A row is not in the format this version writes.
    #[error("index {path}: the {table} row of {key} is damaged")]
    Row {
        path: PathBuf,
        table: &'static str,
        key: String,
    },
    /// redb gave up over a page.
    #[error("index {path}: a page is damaged")]
    Page { path: PathBuf },
    /// Nothing was ever written to it.
    #[error("index {path} has no content")]
    Blank { path: PathBuf },
    /// The file was written by another version.
    #[error("index {path} has format {found}; this version reads {INDEX_VERSION}")]
    Format { path: PathBuf, found: u32 },
    /// The file belongs to another chain.
    #[error("index {path} belongs to the chain with identity {found}")]
    Foreign {
        path: PathBuf,
        /// The chain it belongs to.
        found: ChainIdentity,
    },
}

impl IndexError {
    /// Whether a page of an open file is lost, of which others may be whole. A failed write is another matter: nothing
    /// can be relied on after it.
    pub(crate) fn is_lost_page(&self) -> bool {
        match self {
            Self::Page { .. } => true,
            Self::Database { source, .. } => matches!(**source, redb::Error::Corrupted(_)),
            Self::Row { .. } | Self::Blank { .. } | Self::Format { .. } | Self::Foreign { .. } => false,
        }
    }

    /// Whether the file has other bytes than were written to it.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Database { source, .. } => match &**source {
                redb::Error::Corrupted(_) => true,
                redb::Error::Io(error) => is_lost(error) || error.kind() == std::io::ErrorKind::UnexpectedEof,
                _ => false,
            },
            Self::Row { .. } | Self::Page { .. } => true,
            Self::Blank { .. } | Self::Format { .. } | Self::Foreign { .. } => false,
        }
    }
}

/// Runs what reads the index: redb may panic over a damaged page, and what it then says is as good as an error.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let before = IS_GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(before);
    outcome.unwrap_or_else(|_| Err("a page of the index is damaged".to_owned()))
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be taken for a damaged page, and told of as that.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// The index. Readers on any thread see the state as of the last finished transaction.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    chain: ChainIdentity,
    /// Another one takes its place where a page cannot be read.
    opened: RwLock<Arc<Opened>>,
    /// One transaction at a time.
    writing: Mutex<()>,
    /// What is to be told of indexes that took another's place.
    mended: Mutex<Vec<Mended>>,
    /// When that was, of late.
    mendings: Mutex<Vec<Instant>>,
    /// What the mark says, as of the last finished transaction.
    tallies: Mutex<RowTallies>,
    /// As of the last decision.
    head: Mutex<Option<Head>>,
    /// Beginnings and ends of transactions: who reads the file beside them looks whether there was one.
    writes: Arc<AtomicU64>,
}

/// What the index says of a decided height.
#[derive(Clone, Debug)]
pub struct HeightRows {
    pub decided: DecidedRow,
    /// In memory, or of an older row. Otherwise the record has it.
    pub init: Option<Arc<Init>>,
    pub place: LocationRow,
}

/// A row of `locations`: where a decided height's record lies, and whether its blobs are there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocationRow {
    pub location: Location,
    /// Whether the blobs are there.
    pub blobs: Blobs,
    /// Unix seconds of the change to this state; 0: not recorded.
    pub since: u64,
}

/// A decided height that was stored again.
#[derive(Clone, Copy, Debug)]
pub struct RestoredRow<'a> {
    pub certificate: &'a CommitCertificate,
    pub init: &'a Init,
    /// Where it lies now: synced.
    pub location_row: LocationRow,
}

/// Everything one decision changes.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// Proof of the decision.
    pub certificate: &'a CommitCertificate,
    /// Metadata and origin signatures.
    pub init: &'a Arc<Init>,
    /// Where it lies: synced.
    pub location_row: LocationRow,
    /// The epoch that follows, its file ready.
    pub epoch: LogEpoch,
    /// Where recovery would begin from now on.
    pub floor: Position,
    /// Oldest height whose blobs are here from now on.
    pub oldest_blobs: Height,
    /// What else lies elsewhere from now on, and what each segment holds then.
    pub relocation: &'a Relocation,
}

impl Index {
    /// Makes an index for this chain in a file that is not there yet; its content is durable, its name is not.
    pub fn begin(path: &Path, chain: ChainIdentity) -> Result<(), IndexError> {
        let index = Self::from_database(path, chain, Self::builder().create(path), Arc::default())?;
        let mut transaction = index.begin_write()?;
        index.set_durable(&mut transaction)?;
        {
            // Readers may open tables only once they exist.
            index.of(transaction.open_table(DECIDED))?;
            index.of(transaction.open_table(LOCATIONS))?;
            index.of(transaction.open_table(BLOCKS))?;
            let mut marks = index.of(transaction.open_table(MARKS))?;
            index.of(marks.insert(MARK_FORMAT, format_mark(chain).as_slice()))?;
        }
        index.of(transaction.commit())
    }

    /// Opens an index of this chain.
    pub fn open(path: &Path, chain: ChainIdentity) -> Result<Self, IndexError> {
        let file_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        // Without the check redb believes every page of a file that was closed, and may panic over one that is damaged.
        let losses = Arc::new(Losses::default());
        let database = Sparing::open(path, &losses).and_then(|file| {
            Self::builder()
                .set_check_integrity_on_open(file_bytes < QUICK_REPAIR_FROM_BYTES)
                .create_with_backend(file)
        });
        let index = Self::from_database(path, chain, database, Arc::clone(&losses))?;
        let format = index.compare(chain)?;
        index.load()?;
        if format != INDEX_VERSION {
            index.raise_version(chain)?;
        }
        losses.spare();
        Ok(index)
    }

    /// A program that does not know lean rows refuses the directory from now on.
    fn raise_version(&self, chain: ChainIdentity) -> Result<(), IndexError> {
        self.change(|transaction| {
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.of(marks.insert(MARK_FORMAT, format_mark(chain).as_slice()))
                .map(drop)
        })
    }

    /// Takes into memory what is asked for all the time.
    fn load(&self) -> Result<(), IndexError> {
        self.load_head()?;
        self.load_tallies()
    }

    fn from_database(
        path: &Path,
        chain: ChainIdentity,
        database: Result<Database, redb::DatabaseError>,
        losses: Arc<Losses>,
    ) -> Result<Self, IndexError> {
        let database = database.map_err(|error| IndexError::Database {
            path: path.to_owned(),
            source: Box::new(error.into()),
        })?;
        Ok(Self {
            path: path.to_owned(),
            chain,
            opened: RwLock::new(Arc::new(Opened::new(database, losses))),
            writing: Mutex::default(),
            mended: Mutex::default(),
            mendings: Mutex::default(),
            tallies: Mutex::default(),
            head: Mutex::default(),
            writes: Arc::default(),
        })
    }

    fn builder() -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes());
        builder
    }

    /// Compares format and chain; the format.
    fn compare(&self, chain: ChainIdentity) -> Result<u32, IndexError> {
        let transaction = self.begin_read()?;
        if self.of(transaction.list_tables())?.next().is_none() {
            return Err(IndexError::Blank {
                path: self.path.clone(),
            });
        }
        let marks = match transaction.open_table(MARKS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Err(self.damaged("marks", MARK_FORMAT)),
            marks => self.of(marks)?,
        };
        let row = self.of(marks.get(MARK_FORMAT))?;
        let row = row.ok_or_else(|| self.damaged("marks", MARK_FORMAT))?;
        let mut fields = Cursor::new(row.value());
        // What follows the number is the chain only in these versions.
        let format = fields.u32().ok_or_else(|| self.damaged("marks", MARK_FORMAT))?;
        if !(INDEX_VERSION_READ..=INDEX_VERSION).contains(&format) {
            return Err(IndexError::Format {
                path: self.path.clone(),
                found: format,
            });
        }
        let found = fields.array().map(ChainIdentity);
        let found = found.ok_or_else(|| self.damaged("marks", MARK_FORMAT))?;
        if found != chain {
            return Err(IndexError::Foreign {
                path: self.path.clone(),
                found,
            });
        }
        Ok(format)
    }

    /// The newest decided height.
    pub fn head(&self) -> Result<Option<Height>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let table = self.of(transaction.open_table(DECIDED))?;
            let last = self.of(table.last())?;
            Ok(last.map(|(height, _)| Height(height.value())))
        })
    }

    /// What is known of a decided height without its record.
    pub fn decided(&self, height: Height) -> Result<Option<HeightRows>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let decided = self.of(transaction.open_table(DECIDED))?;
            let locations = self.of(transaction.open_table(LOCATIONS))?;
            let Some(row) = self.of(decided.get(height.0))? else {
                return Ok(None);
            };
            let found = decode_row(height, row.value()).ok_or_else(|| self.damaged("decided", height))?;
            let location_row = self.of(locations.get(height.0))?;
            let place = location_row
                .and_then(|row| decode_location(height, row.value()))
                .ok_or_else(|| self.damaged("locations", height))?;
            let init = found.init.map(Arc::new).or_else(|| self.head_init_of(&found.row.key()));
            Ok(Some(HeightRows {
                decided: found.row,
                init,
                place,
            }))
        })
    }

    /// The height of an execution block.
    pub fn height_of_block(&self, block_hash: &Hash) -> Result<Option<Height>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let table = self.of(transaction.open_table(BLOCKS))?;
            let height = self.of(table.get(&block_hash.0))?;
            Ok(height.map(|height| Height(height.value())))
        })
    }

    /// Where every decided height's record lies, in order of height; the heights whose row is damaged.
    pub fn locations(&self, mut each: impl FnMut(Height, LocationRow)) -> Result<Vec<Height>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let table = self.of(transaction.open_table(LOCATIONS))?;
            let mut damaged = Vec::new();
            for row in self.of(table.iter())? {
                let (height, row) = self.of(row)?;
                let height = Height(height.value());
                match decode_location(height, row.value()) {
                    Some(row) => each(height, row),
                    None => damaged.push(height),
                }
            }
            Ok(damaged)
        })
    }

    /// Makes a decision durable.
    pub fn commit(&self, commit: &Commit<'_>) -> Result<(), IndexError> {
        assert!(
            commit.epoch.height > commit.certificate.height,
            "the log of a decided height is closed"
        );
        assert!(
            commit.location_row.location.bytes.is_multiple_of(PAGE_BYTES),
            "a record is whole pages"
        );
        let write = |transaction: &WriteTransaction| {
            let mut tallies = self.tallies();
            let height = commit.certificate.height.0;
            let mut decided = self.of(transaction.open_table(DECIDED))?;
            let row = DecidedRow::new(commit.certificate.clone(), commit.init);
            self.of(decided.insert(height, encode_row(&row).as_slice()))?;
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            self.place(
                &mut locations,
                &mut tallies,
                commit.certificate.height,
                &commit.location_row,
            )?;
            drop(locations);
            self.write_relocation(transaction, &mut tallies, commit.relocation)?;
            let mut blocks = self.of(transaction.open_table(BLOCKS))?;
            self.of(blocks.insert(&commit.init.metadata.header.block_hash.0, height))?;
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_EPOCH, encode_epoch(commit.epoch))?;
            self.insert_mark(&mut marks, MARK_FLOOR, encode_floor(commit.floor))?;
            self.insert_mark(&mut marks, MARK_OLDEST, commit.oldest_blobs.0.to_le_bytes().to_vec())?;
            self.insert_head_mark(&mut marks, commit.certificate, commit.init)?;
            self.insert_mark(&mut marks, MARK_TALLIES, tallies.encode())?;
            Ok(tallies)
        };
        self.change_and_tell(write, |tallies: &RowTallies| {
            self.set_tallies(*tallies);
            let (certificate, init) = (commit.certificate.clone(), Arc::clone(commit.init));
            self.set_head(Head::new(certificate, init, Some(commit.location_row)));
        })?;
        Ok(())
    }

    /// Makes new locations of heights and the height that retention reached durable.
    pub fn relocate(&self, relocation: &Relocation, oldest_blobs: Height) -> Result<(), IndexError> {
        let tallies = self.change(|transaction| {
            let mut tallies = self.tallies();
            self.write_relocation(transaction, &mut tallies, relocation)?;
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_OLDEST, oldest_blobs.0.to_le_bytes().to_vec())?;
            self.insert_mark(&mut marks, MARK_TALLIES, tallies.encode())?;
            Ok(tallies)
        })?;
        self.set_tallies(tallies);
        for (height, row) in &relocation.rows {
            self.move_head(*height, *row);
        }
        Ok(())
    }

    /// Makes durable that heights were stored again: all that is known of each is written anew. `oldest_blobs` as in a
    /// commit; `segments` as in a relocation.
    pub fn restore(
        &self,
        rows: &[RestoredRow<'_>],
        oldest_blobs: Height,
        segments: &[(SegmentId, Option<SegmentRow>)],
    ) -> Result<(), IndexError> {
        let tallies = self.change(|transaction| {
            let mut tallies = self.tallies();
            self.write_segments(transaction, segments)?;
            let mut decided = self.of(transaction.open_table(DECIDED))?;
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            let mut blocks = self.of(transaction.open_table(BLOCKS))?;
            for RestoredRow {
                certificate,
                init,
                location_row,
            } in rows
            {
                let height = certificate.height;
                let row = DecidedRow::new((*certificate).clone(), init);
                self.of(decided.insert(height.0, encode_row(&row).as_slice()))?;
                // It was damaged or pruned: its state changes, whatever the row said.
                self.place(&mut locations, &mut tallies, height, location_row)?;
                self.of(blocks.insert(&init.metadata.header.block_hash.0, height.0))?;
            }
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_OLDEST, oldest_blobs.0.to_le_bytes().to_vec())?;
            self.insert_mark(&mut marks, MARK_TALLIES, tallies.encode())?;
            Ok(tallies)
        })?;
        self.set_tallies(tallies);
        for row in rows {
            self.move_head(row.certificate.height, row.location_row);
        }
        Ok(())
    }

    /// Makes a log epoch's mark durable, and the recovery floor if it moved.
    pub fn mark(&self, epoch: Option<LogEpoch>, floor: Option<Position>) -> Result<(), IndexError> {
        self.change(|transaction| {
            let mut marks = self.of(transaction.open_table(MARKS))?;
            if let Some(epoch) = epoch {
                self.insert_mark(&mut marks, MARK_EPOCH, encode_epoch(epoch))?;
            }
            if let Some(floor) = floor {
                self.insert_mark(&mut marks, MARK_FLOOR, encode_floor(floor))?;
            }
            Ok(())
        })
    }

    /// Makes durable that nothing is signed up to a height. What was said before about a higher one stays.
    pub fn silence(&self, through: Height) -> Result<(), IndexError> {
        if through <= self.read_for_change(|| self.marks())?.silent_through {
            return Ok(());
        }
        self.change(|transaction| {
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_SILENT, through.0.to_le_bytes().to_vec())
        })
    }

    /// Makes durable that the archive has everything up to a height. Returns from where on it has blobs.
    pub fn archive(&self, through: Height) -> Result<Height, IndexError> {
        let tallies = self.change(|transaction| {
            let mut tallies = self.tallies();
            self.count_archived(transaction, &mut tallies, through)?;
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(
                &mut marks,
                MARK_ARCHIVED,
                encode_archived(through, tallies.archived_from),
            )?;
            self.insert_mark(&mut marks, MARK_TALLIES, tallies.encode())?;
            Ok(tallies)
        })?;
        self.set_tallies(tallies);
        Ok(tallies.archived_from)
    }

    /// A table that is made with its first row, if it was.
    fn if_made<T>(&self, table: Result<T, redb::TableError>) -> Result<Option<T>, IndexError> {
        match table {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            table => self.of(table).map(Some),
        }
    }

    fn of<T, E: Into<redb::Error>>(&self, result: Result<T, E>) -> Result<T, IndexError> {
        result.map_err(|error| IndexError::Database {
            path: self.path.clone(),
            source: Box::new(error.into()),
        })
    }

    pub(crate) fn damaged(&self, table: &'static str, key: impl ToString) -> IndexError {
        IndexError::Row {
            path: self.path.clone(),
            table,
            key: key.to_string(),
        }
    }
}

/// The row of the `format` mark.
fn format_mark(chain: ChainIdentity) -> Vec<u8> {
    let mut row = Fields::default();
    row.u32(INDEX_VERSION).bytes(&chain.0);
    row.0
}
