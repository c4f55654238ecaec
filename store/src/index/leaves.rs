//! This part of the index knows how to find rows in a file that redb cannot use any more.
//!
//! redb keeps rows in leaves, each of which begins on a page:
//!
//! ```text
//!   │ 1 │ 0 │ rows, n (2) │ ends of keys 4·n │ ends of values 4·n │ keys │ values │
//!                          └ not if keys have one length
//! ```
//! Every leaf counts, whether a root leads to it or not. So a row may be of an earlier moment, and only such rows are
//! taken as stay true: decisions, evidence, and marks of which the highest counts. Each proves itself by a checksum
//! over key and row, or by the digest in its key. No page has bytes that a stranger chose: rows with blobs are masked.

use std::collections::{BTreeMap, HashMap};

use redb::{Durability, ReadableTable};
use ultramarine_types::canonical::Cursor;
use ultramarine_types::storage::{Blobs, LogEpoch};
use ultramarine_types::{CommitCertificate, Evidence, Height, Init, ValueId, ValueKey};

use super::evidence::{read_false_value, read_pair};
use super::rows::{
    decode_archived, decode_checked_row, decode_epoch, decode_head, decode_row, encode_floor, encode_location,
    encode_row, unsealed,
};
use super::{
    BLOCKS, DECIDED, DecidedRow, Index, IndexError, LOCATIONS, LocationRow, MARK_ARCHIVED, MARK_EPOCH, MARK_FLOOR,
    MARK_HEAD, MARK_OLDEST, MARK_REBUILT, MARK_SILENT, MARKS,
};
use crate::format::PAGE_BYTES;
use crate::segment::Position;

/// First byte of a leaf.
const LEAF: u8 = 1;
/// Bytes of keys: a height; a height and a digest; a validator and a height.
const HEIGHT_BYTES: usize = 8;
const PAIR_KEY_BYTES: usize = 8 + 32;
const FALSE_VALUE_KEY_BYTES: usize = 20 + 8;
/// More bytes than any leaf with a row of ours has.
pub(crate) const LEAF_BYTES_MAX: usize = 1 << 20;

/// What the leaves of a file say beside their decisions.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    /// Nothing is signed up to this height.
    pub silent_through: Height,
    pub archived: (Height, Height),
    pub epoch: Option<LogEpoch>,
    /// Heights with two decisions.
    pub contradicted: Vec<Height>,
    decided: BTreeMap<Height, ValueId>,
    /// Of heights that were the head once, the newest [`HEADS_MAX`].
    heads: BTreeMap<Height, (CommitCertificate, Init)>,
}

/// The head may lie lower than the newest mark of one: decisions without their record do not count.
const HEADS_MAX: usize = 64;

/// What a rebuilt index says beside its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rebuilt {
    pub silent_through: Height,
    pub archived: (Height, Height),
    pub floor: Position,
}

impl Index {
    /// Takes what is sound in the leaves that begin in the first `bytes` of a piece of a file.
    pub(crate) fn take_leaves(&self, piece: &[u8], bytes: usize, remains: &mut Remains) -> Result<(), IndexError> {
        let (mut decided, mut evidence) = (Vec::new(), Vec::new());
        for at in (0..bytes.min(piece.len())).step_by(PAGE_BYTES as usize) {
            let leaf = &piece[at..piece.len().min(at + LEAF_BYTES_MAX)];
            if leaf.first() != Some(&LEAF) {
                continue;
            }
            for (key, row) in rows(leaf, Some(HEIGHT_BYTES)) {
                let height = Height(Cursor::new(key).u64().unwrap_or_default());
                if let Some(found) = decode_checked_row(height, row) {
                    remains.decides(&found.row);
                    decided.push((height, row.to_vec(), found.row.block_hash));
                }
            }
            for (name, row) in rows(leaf, None) {
                remains.take_mark(name, row);
                if name == MARK_HEAD.as_bytes()
                    && let Some((certificate, init)) = decode_head(row)
                {
                    let row = DecidedRow::new(certificate.clone(), &init);
                    remains.decides(&row);
                    decided.push((certificate.height, encode_row(&row), row.block_hash));
                    remains.take_head(certificate, init);
                }
            }
            evidence.extend(rows(leaf, Some(PAIR_KEY_BYTES)).filter_map(|(key, row)| {
                let (height, digest) = key.split_at_checked(8)?;
                let pair = read_pair(digest.try_into().ok()?, row)?;
                (pair.height().0.to_le_bytes() == height).then_some(pair)
            }));
            evidence.extend(rows(leaf, Some(FALSE_VALUE_KEY_BYTES)).filter_map(|(key, row)| {
                let value = read_false_value(key, row)?;
                let of_key = [&value.validator().0[..], &value.height().0.to_le_bytes()].concat();
                (of_key == key).then_some(value)
            }));
        }
        self.keep_found(&decided, &evidence)
    }

    fn keep_found(
        &self,
        found: &[(Height, Vec<u8>, ultramarine_types::Hash)],
        evidence: &[Evidence],
    ) -> Result<(), IndexError> {
        if !evidence.is_empty() {
            self.keep_evidence(evidence)?;
        }
        if found.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin_write()?;
        // The last transaction of the rebuilding makes them durable.
        self.of(transaction.set_durability(Durability::None))?;
        {
            let mut decided = self.of(transaction.open_table(DECIDED))?;
            let mut blocks = self.of(transaction.open_table(BLOCKS))?;
            for (height, row, block_hash) in found {
                self.of(decided.insert(height.0, row.as_slice()))?;
                self.of(blocks.insert(&block_hash.0, height.0))?;
            }
        }
        self.of(transaction.commit())
    }

    /// Ends a rebuilding: the head is the highest height whose record is there. Durable when it returns; the head.
    pub(crate) fn end_rebuilding(
        &self,
        records: &HashMap<ValueKey, LocationRow>,
        remains: &Remains,
        rebuilt: impl FnOnce(Height) -> Rebuilt,
    ) -> Result<Option<Height>, IndexError> {
        let (mut places, mut above) = (Vec::new(), Vec::new());
        {
            let transaction = self.begin_read()?;
            let decided = self.of(transaction.open_table(DECIDED))?;
            for row in self.of(decided.iter())?.rev() {
                let (height, row) = self.of(row)?;
                let height = Height(height.value());
                let found = decode_row(height, row.value()).ok_or_else(|| self.damaged("decided", height))?;
                let DecidedRow {
                    certificate,
                    block_hash,
                    ..
                } = found.row;
                let id = certificate.value_id;
                match records.get(&ValueKey { height, id }) {
                    Some(place) => places.push((height, *place)),
                    None if places.is_empty() => above.push((height, block_hash)),
                    None => {}
                }
            }
        }
        let Some((head, _)) = places.first().copied() else {
            return Ok(None);
        };
        let Rebuilt {
            silent_through,
            archived,
            floor,
        } = rebuilt(head);
        let bare = places.iter().find(|(_, row)| row.blobs != Blobs::Held);
        let oldest_blobs = bare.map_or(Height(1), |(height, _)| height.next());
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        {
            let mut decided = self.of(transaction.open_table(DECIDED))?;
            let mut blocks = self.of(transaction.open_table(BLOCKS))?;
            for (height, block_hash) in above {
                self.of(decided.remove(height.0)).map(drop)?;
                self.of(blocks.remove(&block_hash.0)).map(drop)?;
            }
            let mut locations = self.of(transaction.open_table(LOCATIONS))?;
            for (height, row) in &places {
                self.of(locations.insert(height.0, encode_location(*height, row).as_slice()))?;
            }
            let mut marks = self.of(transaction.open_table(MARKS))?;
            self.insert_mark(&mut marks, MARK_FLOOR, encode_floor(floor))?;
            self.insert_mark(&mut marks, MARK_OLDEST, oldest_blobs.0.to_le_bytes().to_vec())?;
            for name in [MARK_SILENT, MARK_REBUILT] {
                self.insert_mark(&mut marks, name, silent_through.0.to_le_bytes().to_vec())?;
            }
            if let Some((certificate, init)) = remains.heads.get(&head) {
                self.insert_head_mark(&mut marks, certificate, init)?;
            }
            let through = archived.0.min(head);
            if through > Height::GENESIS {
                let archived = super::rows::encode_archived(through, archived.1);
                self.insert_mark(&mut marks, MARK_ARCHIVED, archived)?;
            }
        }
        self.of(transaction.commit())?;
        Ok(Some(head))
    }
}

/// Rows of `decided` in the leaves that begin in the first `bytes` of a piece of a file.
pub(super) fn decisions(piece: &[u8], bytes: usize, mut each: impl FnMut(u64, &[u8], ValueId)) {
    for at in (0..bytes.min(piece.len())).step_by(PAGE_BYTES as usize) {
        let leaf = &piece[at..piece.len().min(at + LEAF_BYTES_MAX)];
        if leaf.first() != Some(&LEAF) {
            continue;
        }
        for (key, row) in rows(leaf, Some(HEIGHT_BYTES)) {
            let height = Cursor::new(key).u64().unwrap_or_default();
            if let Some(found) = decode_checked_row(Height(height), row) {
                each(height, row, found.row.certificate.value_id);
            }
        }
    }
}

impl Remains {
    /// Marks only rise, so the highest is the newest.
    fn take_mark(&mut self, name: &[u8], row: &[u8]) {
        let Some(mark) = unsealed(name, row) else { return };
        if name == MARK_SILENT.as_bytes() {
            let through = Cursor::new(mark).u64().map(Height).unwrap_or_default();
            self.silent_through = self.silent_through.max(through);
        } else if name == MARK_ARCHIVED.as_bytes() {
            self.archived = self.archived.max(decode_archived(mark).unwrap_or_default());
        } else if name == MARK_EPOCH.as_bytes() {
            let newest = self.epoch.map_or(0, |epoch| epoch.generation);
            self.epoch = decode_epoch(mark)
                .filter(|epoch| epoch.generation > newest)
                .or(self.epoch);
        }
    }

    fn take_head(&mut self, certificate: CommitCertificate, init: Init) {
        self.heads.insert(certificate.height, (certificate, init));
        if self.heads.len() > HEADS_MAX {
            self.heads.pop_first();
        }
    }

    fn decides(&mut self, row: &DecidedRow) {
        let ValueKey { height, id } = row.key();
        if *self.decided.entry(height).or_insert(id) != id {
            self.contradicted.push(height);
        }
    }
}

/// Keys and values of what may be a leaf; `None` for keys of no fixed length. What does not lie within it is left out.
fn rows(leaf: &[u8], key_bytes: Option<usize>) -> impl Iterator<Item = (&[u8], &[u8])> {
    let count = leaf.get(2..4).and_then(|bytes| Cursor::new(bytes).u16()).unwrap_or(0);
    let count = usize::from(count);
    let end = move |column: usize, row: usize| {
        let bytes = leaf.get(4 + (column * count + row) * 4..)?;
        Some(Cursor::new(bytes).u32()? as usize)
    };
    let keys_at = 4 + count * if key_bytes.is_some() { 4 } else { 8 };
    let key_end = move |row: usize| match key_bytes {
        Some(bytes) => Some(keys_at + (row + 1) * bytes),
        None => end(0, row),
    };
    let value_column = usize::from(key_bytes.is_none());
    (0..count).filter_map(move |row| {
        let before = row.checked_sub(1);
        let key_from = before.map_or(Some(keys_at), key_end)?;
        let values_at = key_end(count - 1)?;
        let value_from = before.map_or(Some(values_at), |before| end(value_column, before))?;
        let key = leaf.get(key_from..key_end(row)?)?;
        Some((key, leaf.get(value_from..end(value_column, row)?)?))
    })
}
