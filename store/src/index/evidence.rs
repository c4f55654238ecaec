//! This part of the index knows the evidence: pairs of messages by height, and false values by validator.

use std::ops::ControlFlow;

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition};
use ultramarine_types::canonical::sha256;
use ultramarine_types::evidence::FalseValue;
use ultramarine_types::{Address, Evidence, Height};

use super::rows::{decode_evidence, decode_false_value, encode_evidence, encode_false_value};
use super::{Index, IndexError};
use crate::format::Lineage;

pub(super) const EVIDENCE: TableDefinition<(u64, &[u8; 32]), &[u8]> = TableDefinition::new("evidence");
pub(super) const FALSE_VALUES: TableDefinition<FalseValueKey, &[u8]> = TableDefinition::new("false_values");

/// The validator stands first, so that its rows lie side by side: they are few, and its next one is counted among them.
type FalseValueKey = (&'static [u8; 20], u64);

/// Pairs of messages kept: three pairs a height and validator are all that consensus reports, so the newest ones of
/// years, in about 32 MB at most.
pub(crate) const EVIDENCE_ROWS_MAX: u64 = 65_536;
/// False values kept of one validator. Each takes up to 320 KB, so they are few, and they are its first: those convict
/// it as well as any later one. The most validators of a chain have 330 MB of them.
pub(crate) const FALSE_VALUES_PER_VALIDATOR_MAX: usize = 4;

impl Index {
    /// Makes evidence durable. What is there already stays one row. Above their bounds, the oldest pairs of messages
    /// go, and later false values are not kept.
    pub fn keep_evidence<'a>(&self, evidence: impl IntoIterator<Item = &'a Evidence>) -> Result<(), IndexError> {
        let evidence: Vec<&Evidence> = evidence.into_iter().collect();
        self.change(|transaction| {
            let mut table = self.of(transaction.open_table(EVIDENCE))?;
            for piece in &evidence {
                match piece {
                    Evidence::Votes(..) | Evidence::Proposals(..) => {
                        let row = encode_evidence(piece);
                        let digest = sha256(&row);
                        self.of(table.insert((piece.height().0, &digest.0), row.as_slice()))?;
                    }
                    Evidence::Value(_) => self.keep_false_value(transaction, piece)?,
                }
            }
            while self.of(table.len())? > EVIDENCE_ROWS_MAX {
                self.of(table.pop_first())?;
            }
            Ok(())
        })
    }

    /// Keeps the first false value of a validator at a height, if it has few.
    fn keep_false_value(&self, transaction: &redb::WriteTransaction, piece: &Evidence) -> Result<(), IndexError> {
        let (height, validator) = (piece.height().0, piece.validator().0);
        let mut table = self.of(transaction.open_table(FALSE_VALUES))?;
        if self.of(table.get((&validator, height)))?.is_some() {
            return Ok(());
        }
        let of_validator = self.of(table.range((&validator, 0)..=(&validator, u64::MAX)))?;
        if of_validator.count() < FALSE_VALUES_PER_VALIDATOR_MAX {
            let row = encode_false_value(&false_value_key(&validator, height), piece, Lineage::begin(height).salt);
            self.of(table.insert((&validator, height), row.as_slice()))?;
        }
        Ok(())
    }

    /// Hands evidence of the heights from `from` to `to`, both included, to `each`, in order of height, until it
    /// breaks.
    pub fn evidence(
        &self,
        from: Height,
        to: Height,
        each: &mut dyn FnMut(Evidence) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let pairs = self.if_made(transaction.open_table(EVIDENCE))?;
            let range = (from.0, &[0; 32])..=(to.0, &[0xff; 32]);
            let pairs = pairs.map(|table| self.of(table.range(range))).transpose()?;
            let mut pairs = pairs.into_iter().flatten().peekable();
            let false_values = self.if_made(transaction.open_table(FALSE_VALUES))?;
            let places = false_values.as_ref().map(|table| self.false_values_in(table, from, to));
            let places = places.transpose()?.unwrap_or_default();
            let mut places = places.into_iter().peekable();
            loop {
                // A pair that cannot be read goes first, and ends it.
                let pair_height = pairs.peek().map(|row| row.as_ref().map_or(0, |(key, _)| key.value().0));
                let value_height = places.peek().map(|(height, _)| *height);
                let piece = match (pair_height, value_height) {
                    (None, None) => return Ok(()),
                    (Some(pair), value) if value.is_none_or(|value| pair <= value) => {
                        let Some(row) = pairs.next() else { return Ok(()) };
                        let (key, row) = self.of(row)?;
                        let (height, digest) = key.value();
                        read_pair(digest, row.value()).ok_or_else(|| self.damaged("evidence", height))?
                    }
                    (_, _) => {
                        let Some((height, validator)) = places.next() else {
                            return Ok(());
                        };
                        let Some(table) = &false_values else { return Ok(()) };
                        let row = self.of(table.get((&validator, height)))?;
                        let piece =
                            row.and_then(|row| decode_false_value(&false_value_key(&validator, height), row.value()));
                        piece.ok_or_else(|| self.damaged("false_values", height))?
                    }
                };
                if each(piece).is_break() {
                    return Ok(());
                }
            }
        })
    }

    /// Reads every row.
    pub fn check_evidence(&self, rotten: &mut dyn FnMut(IndexError)) -> Result<(), IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            if let Some(table) = self.if_made(transaction.open_table(EVIDENCE))? {
                for row in self.of(table.iter())? {
                    let (key, row) = self.of(row)?;
                    let (height, digest) = key.value();
                    if read_pair(digest, row.value()).is_none() {
                        rotten(self.damaged("evidence", height));
                    }
                }
            }
            if let Some(table) = self.if_made(transaction.open_table(FALSE_VALUES))? {
                for row in self.of(table.iter())? {
                    let (key, row) = self.of(row)?;
                    let (validator, height) = key.value();
                    if decode_false_value(&false_value_key(validator, height), row.value()).is_none() {
                        rotten(self.damaged("false_values", height));
                    }
                }
            }
            Ok(())
        })
    }

    /// The false value of a validator at a height, if one is kept.
    pub fn false_value(&self, validator: &Address, height: Height) -> Result<Option<FalseValue>, IndexError> {
        self.guard(|| {
            let transaction = self.begin_read()?;
            let Some(table) = self.if_made(transaction.open_table(FALSE_VALUES))? else {
                return Ok(None);
            };
            let Some(row) = self.of(table.get((&validator.0, height.0)))? else {
                return Ok(None);
            };
            match decode_false_value(&false_value_key(&validator.0, height.0), row.value()) {
                Some(Evidence::Value(value)) => Ok(Some(*value)),
                Some(Evidence::Votes(..) | Evidence::Proposals(..)) | None => Err(self.damaged("false_values", height)),
            }
        })
    }

    /// Height and validator of every false value from `from` to `to`, in order of height. Rows are large and lie by
    /// validator, so this steps from one that is wanted to the next: of the others it reads two a validator at most.
    fn false_values_in(
        &self,
        table: &redb::ReadOnlyTable<FalseValueKey, &'static [u8]>,
        from: Height,
        to: Height,
    ) -> Result<Vec<(u64, [u8; 20])>, IndexError> {
        let mut found = Vec::new();
        let mut next = Some(([0; 20], from.0));
        while let Some((validator, height)) = next {
            let Some(row) = self.of(table.range((&validator, height)..))?.next() else {
                break;
            };
            let (key, _) = self.of(row)?;
            let (&validator, height) = key.value();
            let in_range = (from.0..=to.0).contains(&height);
            if in_range {
                found.push((height, validator));
            }
            next = match height.checked_add(1) {
                _ if height < from.0 => Some((validator, from.0)),
                Some(height) if in_range => Some((validator, height)),
                _ => following(validator).map(|validator| (validator, from.0)),
            };
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// A false value out of its row, if that has a checksum.
pub(super) fn read_false_value(key: &[u8], row: &[u8]) -> Option<Evidence> {
    let value = decode_false_value(key, row).filter(|_| row.get(1) == Some(&1))?;
    matches!(value, Evidence::Value(_)).then_some(value)
}

/// Two messages out of their row, which its key is a digest of.
pub(super) fn read_pair(digest: &[u8; 32], row: &[u8]) -> Option<Evidence> {
    decode_evidence(&[], row).filter(|_| sha256(row).0 == *digest)
}

/// The next validator in the order of keys.
fn following(mut validator: [u8; 20]) -> Option<[u8; 20]> {
    for byte in validator.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(validator);
        }
    }
    None
}

/// What a row of `false_values` has its checksum over, beside itself.
fn false_value_key(validator: &[u8; 20], height: u64) -> Vec<u8> {
    [validator, &height.to_le_bytes()[..]].concat()
}
