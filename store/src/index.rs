//! This file knows the metadata index: what is decided, where it lies, and the few marks that must outlive the log.
//!
//! One redb file. Every change of the store's state is one transaction, durable when it returns; it names only bytes
//! that were synced before.
//!
//! | table | key | value |
//! |---|---|---|
//! | `decided` | height | version, archive of certificate and `Init` (layers 1 and 2); for ever |
//! | `locations` | height | where payload and blobs lie, and whether the blobs are there |
//! | `blocks` | execution block hash | height |
//! | `evidence` | height, then a digest of the row | version, archive of two contradicting messages |
//! | `false_values` | height, then the validator | version, archive of a value that its own blob refutes |
//! | `marks` | name | format and chain, log epoch, recovery floor, heights that retention and silence reached, tallies |

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use ultramarine_types::canonical::{Cursor, FORMAT_VERSION, sha256};
use ultramarine_types::storage::{Blobs, Decided, LogEpoch};
use ultramarine_types::{ChainIdentity, CommitCertificate, Evidence, Hash, Height, Init, ValueId};

pub use self::marks::Marks;
use self::rows::{
    decode_evidence, decode_location, decode_row, encode_epoch, encode_evidence, encode_false_value, encode_floor,
    encode_location, encode_row,
};
use self::tallies::RowTallies;
use crate::format::{Fields, PAGE_BYTES};
use crate::segment::{Location, Position};

mod marks;
mod rows;
mod tallies;

const DECIDED: TableDefinition<u64, &[u8]> = TableDefinition::new("decided");
const LOCATIONS: TableDefinition<u64, &[u8]> = TableDefinition::new("locations");
const BLOCKS: TableDefinition<&[u8; 32], u64> = TableDefinition::new("blocks");
const EVIDENCE: TableDefinition<(u64, &[u8; 32]), &[u8]> = TableDefinition::new("evidence");
const FALSE_VALUES: TableDefinition<(u64, &[u8; 20]), &[u8]> = TableDefinition::new("false_values");
const MARKS: TableDefinition<&str, &[u8]> = TableDefinition::new("marks");

const MARK_FORMAT: &str = "format";
const MARK_EPOCH: &str = "epoch";
const MARK_FLOOR: &str = "floor";
const MARK_OLDEST: &str = "oldest_blobs";
const MARK_SILENT: &str = "silent_through";
const MARK_ARCHIVED: &str = "archived_through";
const MARK_TALLIES: &str = "tallies";

/// Pairs of messages kept: three pairs a height and validator are all that consensus reports, so the newest ones of
/// years, in about 32 MB at most.
const EVIDENCE_ROWS_MAX: u64 = 65_536;
/// False values kept of one validator. Each takes up to 320 KB, so they are few, and they are its first: those convict
/// it as well as any later one. The most validators of a chain have 330 MB of them.
pub(crate) const FALSE_VALUES_PER_VALIDATOR_MAX: usize = 4;
/// Pages redb keeps in memory: the right edge of each table and what serving peers touches. Its default is 1 GiB.
const CACHE_BYTES: usize = 8 << 20;
/// Up to this size each start reads the whole file and checks every page (1 GB/s here). From it on none does: commits
/// also write the allocator's state, which costs a second sync, and in return a start after a crash is a quick one.
const QUICK_REPAIR_FROM_BYTES: u64 = 512 << 20;

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
    /// Nothing was ever written to it.
    #[error("index {path} has no content")]
    Blank { path: PathBuf },
    /// The file was written by another version.
    #[error("index {path} has format {found}; this version reads {FORMAT_VERSION}")]
    Format { path: PathBuf, found: u32 },
    /// The file belongs to another chain.
    #[error("index {path} belongs to the chain with identity {found}")]
    Foreign {
        path: PathBuf,
        /// The chain it belongs to.
        found: ChainIdentity,
    },
}

/// The index. Readers on any thread see the state as of the last finished transaction.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    database: Database,
    /// What the mark says, as of the last finished transaction.
    tallies: Mutex<RowTallies>,
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

/// Everything one decision changes.
#[derive(Clone, Debug)]
pub struct Commit<'a> {
    /// Layers 1 and 2.
    pub certificate: &'a CommitCertificate,
    /// Metadata and origin signatures.
    pub init: &'a Init,
    /// Where it lies: synced.
    pub location_row: LocationRow,
    /// The epoch that follows, its file ready.
    pub epoch: LogEpoch,
    /// Where recovery would begin from now on.
    pub floor: Position,
    /// Oldest height whose blobs are here from now on.
    pub oldest_blobs: Height,
}

impl Index {
    /// Makes an index for this chain in a file that is not there yet; its content is durable, its name is not.
    pub fn begin(path: &Path, chain: ChainIdentity) -> Result<(), IndexError> {
        let index = Self::from_database(path, Self::builder().create(path))?;
        let mut transaction = index.begin_write()?;
        index.set_durable(&mut transaction)?;
        {
            // Readers may open tables only once they exist.
            index.of(transaction.open_table(DECIDED))?;
            index.of(transaction.open_table(LOCATIONS))?;
            index.of(transaction.open_table(BLOCKS))?;
            let mut marks = index.of(transaction.open_table(MARKS))?;
            let mut row = Fields::default();
            row.u32(FORMAT_VERSION).bytes(&chain.0);
            index.of(marks.insert(MARK_FORMAT, row.0.as_slice()))?;
        }
        index.of(transaction.commit())
    }

    /// Opens an index of this chain.
    pub fn open(path: &Path, chain: ChainIdentity) -> Result<Self, IndexError> {
        let file_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        // Without the check redb believes every page of a file that was closed, and may panic over one that is damaged.
        let database = Self::builder()
            .set_check_integrity_on_open(file_bytes < QUICK_REPAIR_FROM_BYTES)
            .open(path);
        let index = Self::from_database(path, database)?;
        index.compare(chain)?;
        index.load_tallies()?;
        Ok(index)
    }

    fn from_database(path: &Path, database: Result<Database, redb::DatabaseError>) -> Result<Self, IndexError> {
        let database = database.map_err(|error| IndexError::Database {
            path: path.to_owned(),
            source: Box::new(error.into()),
        })?;
        Ok(Self {
            path: path.to_owned(),
            database,
            tallies: Mutex::default(),
        })
    }

    fn builder() -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder
    }

    /// Compares format and chain.
    fn compare(&self, chain: ChainIdentity) -> Result<(), IndexError> {
        let transaction = self.of(self.database.begin_read())?;
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
        // What follows the number is the chain only in this version.
        let format = fields.u32().ok_or_else(|| self.damaged("marks", MARK_FORMAT))?;
        if format != FORMAT_VERSION {
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
        Ok(())
    }

    /// The newest decided height.
    pub fn head(&self) -> Result<Option<Height>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
        let table = self.of(transaction.open_table(DECIDED))?;
        let last = self.of(table.last())?;
        Ok(last.map(|(height, _)| Height(height.value())))
    }

    /// Layers 1 and 2 of a height and where it lies.
    pub fn decided(&self, height: Height) -> Result<Option<(Decided, Location)>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
        let decided = self.of(transaction.open_table(DECIDED))?;
        let locations = self.of(transaction.open_table(LOCATIONS))?;
        let Some(row) = self.of(decided.get(height.0))? else {
            return Ok(None);
        };
        let row = decode_row(height, row.value()).ok_or_else(|| self.damaged("decided", height))?;
        let location_row = self.of(locations.get(height.0))?;
        let location_row = location_row
            .and_then(|row| decode_location(height, row.value()))
            .ok_or_else(|| self.damaged("locations", height))?;
        let decided = Decided {
            certificate: row.certificate,
            init: Arc::new(row.init),
            blobs: location_row.blobs,
        };
        Ok(Some((decided, location_row.location)))
    }

    /// Which value a height decided; `None` if its row is damaged or missing.
    pub fn decided_id(&self, height: Height) -> Result<Option<ValueId>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
        let decided = self.of(transaction.open_table(DECIDED))?;
        let row = self.of(decided.get(height.0))?;
        let row = row.and_then(|row| decode_row(height, row.value()));
        Ok(row.map(|row| row.certificate.value_id))
    }

    /// Where a decided height's record lies.
    pub fn location(&self, height: Height) -> Result<Option<LocationRow>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
        let locations = self.of(transaction.open_table(LOCATIONS))?;
        let row = self.of(locations.get(height.0))?;
        let decode = |row: redb::AccessGuard<'_, &[u8]>| {
            decode_location(height, row.value()).ok_or_else(|| self.damaged("locations", height))
        };
        row.map(decode).transpose()
    }

    /// The height of an execution block.
    pub fn height_of_block(&self, block_hash: &Hash) -> Result<Option<Height>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
        let table = self.of(transaction.open_table(BLOCKS))?;
        let height = self.of(table.get(&block_hash.0))?;
        Ok(height.map(|height| Height(height.value())))
    }

    /// Where every decided height's record lies, in order of height; the heights whose row is damaged.
    pub fn locations(&self, mut each: impl FnMut(Height, LocationRow)) -> Result<Vec<Height>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
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
    }

    /// Heights from 1 to the head that have no row, at most `heights_max`, lowest first. Quick where there is none.
    pub fn holes(&self, head: Height, heights_max: usize) -> Result<Vec<Height>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
        let decided = self.of(transaction.open_table(DECIDED))?;
        let locations = self.of(transaction.open_table(LOCATIONS))?;
        if self.of(decided.len())? == head.0 && self.of(locations.len())? == head.0 {
            return Ok(Vec::new());
        }
        let mut holes = Vec::new();
        for height in 1..=head.0 {
            let is_there = self.of(decided.get(height))?.is_some() && self.of(locations.get(height))?.is_some();
            if !is_there {
                holes.push(Height(height));
                if holes.len() == heights_max {
                    break;
                }
            }
        }
        Ok(holes)
    }

    /// Writes rows of `locations` anew that were damaged.
    pub fn repair(&self, rows: &[(Height, LocationRow)]) -> Result<(), IndexError> {
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            for (height, row) in rows {
                self.of(locations.insert(height.0, encode_location(*height, row).as_slice()))?;
            }
            let mut marks = self.of(transaction.open_table(MARKS))?;
            // They are counted afresh.
            self.of(marks.remove(MARK_TALLIES))?;
        }
        self.of(transaction.commit())?;
        self.load_tallies()
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
        let mut tallies = self.tallies();
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            let height = commit.certificate.height.0;
            let mut decided = self.of(transaction.open_table(DECIDED))?;
            let row = encode_row(commit.certificate, commit.init);
            self.of(decided.insert(height, row.as_slice()))?;
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            self.place(
                &mut locations,
                &mut tallies,
                commit.certificate.height,
                &commit.location_row,
            )?;
            let mut blocks = self.of(transaction.open_table(BLOCKS))?;
            self.of(blocks.insert(&commit.init.metadata.header.block_hash.0, height))?;
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_EPOCH, encode_epoch(commit.epoch))?;
            self.insert_mark(&mut marks, MARK_FLOOR, encode_floor(commit.floor))?;
            self.insert_mark(&mut marks, MARK_OLDEST, commit.oldest_blobs.0.to_le_bytes().to_vec())?;
            self.insert_mark(&mut marks, MARK_TALLIES, tallies.encode())?;
        }
        self.of(transaction.commit())?;
        self.set_tallies(tallies);
        Ok(())
    }

    /// Makes new locations of heights and the height that retention reached durable. A height whose state stays keeps
    /// the time of its last change.
    pub fn relocate(&self, moved: &[(Height, LocationRow)], oldest_blobs: Height) -> Result<(), IndexError> {
        let mut tallies = self.tallies();
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            for (height, row) in moved {
                let before = self.of(locations.get(height.0))?;
                let before = before.and_then(|before| decode_location(*height, before.value()));
                let same = before.filter(|before| before.blobs == row.blobs);
                let since = same.map_or(row.since, |before| before.since);
                self.place(&mut locations, &mut tallies, *height, &LocationRow { since, ..*row })?;
            }
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_OLDEST, oldest_blobs.0.to_le_bytes().to_vec())?;
            self.insert_mark(&mut marks, MARK_TALLIES, tallies.encode())?;
        }
        self.of(transaction.commit())?;
        self.set_tallies(tallies);
        Ok(())
    }

    /// Makes a log epoch's mark durable, and the recovery floor if it moved.
    pub fn mark(&self, epoch: Option<LogEpoch>, floor: Option<Position>) -> Result<(), IndexError> {
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            let mut marks = self.of(transaction.open_table(MARKS))?;
            if let Some(epoch) = epoch {
                self.insert_mark(&mut marks, MARK_EPOCH, encode_epoch(epoch))?;
            }
            if let Some(floor) = floor {
                self.insert_mark(&mut marks, MARK_FLOOR, encode_floor(floor))?;
            }
        }
        self.of(transaction.commit())
    }

    /// Makes durable that nothing is signed up to a height. What was said before about a higher one stays.
    pub fn silence(&self, through: Height) -> Result<(), IndexError> {
        if through <= self.marks()?.silent_through {
            return Ok(());
        }
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_SILENT, through.0.to_le_bytes().to_vec())?;
        }
        self.of(transaction.commit())
    }

    /// Makes durable that the archive has everything up to a height.
    pub fn archive(&self, through: Height) -> Result<(), IndexError> {
        let mut tallies = self.tallies();
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            self.count_archived(&transaction, &mut tallies, through)?;
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_ARCHIVED, through.0.to_le_bytes().to_vec())?;
            self.insert_mark(&mut marks, MARK_TALLIES, tallies.encode())?;
        }
        self.of(transaction.commit())?;
        self.set_tallies(tallies);
        Ok(())
    }

    /// Makes evidence durable. What is there already stays one row. Above their bounds, the oldest pairs of messages
    /// go, and later false values are not kept.
    pub fn keep_evidence<'a>(&self, evidence: impl IntoIterator<Item = &'a Evidence>) -> Result<(), IndexError> {
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            let mut table = self.of(transaction.open_table(EVIDENCE))?;
            for piece in evidence {
                match piece {
                    Evidence::Votes(..) | Evidence::Proposals(..) => {
                        let row = encode_evidence(piece);
                        let digest = sha256(&row);
                        self.of(table.insert((piece.height().0, &digest.0), row.as_slice()))?;
                    }
                    Evidence::Value(_) => self.keep_false_value(&transaction, piece)?,
                }
            }
            while self.of(table.len())? > EVIDENCE_ROWS_MAX {
                self.of(table.pop_first())?;
            }
        }
        self.of(transaction.commit())
    }

    /// Keeps the first false value of a validator at a height, if it has few.
    fn keep_false_value(
        &self,
        transaction: &redb::WriteTransaction,
        piece: &Evidence,
    ) -> Result<(), IndexError> {
        let (height, validator) = (piece.height().0, piece.validator().0);
        let mut table = self.of(transaction.open_table(FALSE_VALUES))?;
        let mut kept_count = 0;
        for kept in self.of(table.iter())? {
            let (key, _) = self.of(kept)?;
            let (kept_height, kept_validator) = key.value();
            if *kept_validator == validator {
                kept_count += 1;
                if kept_height == height {
                    return Ok(());
                }
            }
        }
        if kept_count < FALSE_VALUES_PER_VALIDATOR_MAX {
            let row = encode_false_value(&false_value_key(height, &validator), piece);
            self.of(table.insert((height, &validator), row.as_slice()))?;
        }
        Ok(())
    }

    /// Evidence of the heights from `from` to `to`, both included, at most `rows_max` pieces, in order of height.
    pub fn evidence(&self, from: Height, to: Height, rows_max: usize) -> Result<Vec<Evidence>, IndexError> {
        let transaction = self.of(self.database.begin_read())?;
        let mut pieces = Vec::new();
        if let Some(table) = self.if_made(transaction.open_table(EVIDENCE))? {
            let range = (from.0, &[0; 32])..=(to.0, &[0xff; 32]);
            for row in self.of(table.range(range))?.take(rows_max) {
                let (key, row) = self.of(row)?;
                let (height, digest) = key.value();
                let is_sound = sha256(row.value()).0 == *digest;
                let piece = decode_evidence(&[], row.value()).filter(|_| is_sound);
                pieces.push(piece.ok_or_else(|| self.damaged("evidence", height))?);
            }
        }
        if let Some(table) = self.if_made(transaction.open_table(FALSE_VALUES))? {
            let range = (from.0, &[0; 20])..=(to.0, &[0xff; 20]);
            for row in self.of(table.range(range))?.take(rows_max) {
                let (key, row) = self.of(row)?;
                let (height, validator) = key.value();
                let piece = decode_evidence(&false_value_key(height, validator), row.value());
                pieces.push(piece.ok_or_else(|| self.damaged("false_values", height))?);
            }
        }
        pieces.sort_by_key(Evidence::height);
        pieces.truncate(rows_max);
        Ok(pieces)
    }

    /// A table that is made with its first row, if it was.
    fn if_made<T>(&self, table: Result<T, redb::TableError>) -> Result<Option<T>, IndexError> {
        match table {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            table => self.of(table).map(Some),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn tallies(&self) -> RowTallies {
        *self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_tallies(&self, tallies: RowTallies) {
        *self.tallies.lock().unwrap_or_else(PoisonError::into_inner) = tallies;
    }

    fn begin_write(&self) -> Result<redb::WriteTransaction, IndexError> {
        self.of(self.database.begin_write())
    }

    fn set_durable(&self, transaction: &mut redb::WriteTransaction) -> Result<(), IndexError> {
        self.of(transaction.set_durability(Durability::Immediate))?;
        if std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() >= QUICK_REPAIR_FROM_BYTES) {
            transaction.set_quick_repair(true);
        }
        Ok(())
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

/// What a row of `false_values` has its checksum over, beside itself.
fn false_value_key(height: u64, validator: &[u8; 20]) -> Vec<u8> {
    [&height.to_le_bytes()[..], validator].concat()
}
