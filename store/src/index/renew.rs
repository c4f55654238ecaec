//! This part of the index knows how to write all of itself anew, while readers and the writer go on.
//!
//! A page that rots under an open index is hidden by what redb has in memory, and the next start meets it. A row that
//! is inserted again goes to another page, and so does every page on the way to it: afterwards nothing leads to the
//! old ones. Rows are written as they are read. One that rotted before it was read stays so, and its checksum says so.

use std::ops::Bound;

use redb::{Key, ReadableTable, TableDefinition, TableError, Value};

use super::evidence::{EVIDENCE, FALSE_VALUES};
use super::segments::SEGMENTS;
use super::{BLOCKS, DECIDED, Index, IndexError, LOCATIONS, MARKS};

/// Most rows of one transaction, and their bytes: a commit waits for as long as one takes.
const ROWS_MAX: usize = 256;
const ROWS_BYTES_MAX: usize = 1 << 20;

impl Index {
    /// Writes every row anew, a few in each transaction.
    pub fn renew(&self) -> Result<(), IndexError> {
        self.renew_table(MARKS)?;
        self.renew_table(SEGMENTS)?;
        self.renew_table(DECIDED)?;
        self.renew_table(LOCATIONS)?;
        self.renew_table(BLOCKS)?;
        self.renew_table(EVIDENCE)?;
        self.renew_table(FALSE_VALUES)
    }

    fn renew_table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<(), IndexError> {
        match self.begin_read()?.open_table(definition) {
            // Some are made with their first rows.
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            table => drop(self.of(table)?),
        }
        let mut last: Option<Vec<u8>> = None;
        loop {
            let renewed = self.change(|transaction| {
                let mut table = self.of(transaction.open_table(definition))?;
                let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
                {
                    let behind = last.as_deref().map(K::from_bytes);
                    let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
                    let mut bytes = 0;
                    for row in self.of(table.range::<K::SelfType<'_>>((from, Bound::Unbounded)))? {
                        let (key, value) = self.of(row)?;
                        let (key, value) = (key.value(), value.value());
                        let value = V::as_bytes(&value).as_ref().to_vec();
                        bytes += value.len();
                        rows.push((K::as_bytes(&key).as_ref().to_vec(), value));
                        if rows.len() == ROWS_MAX || bytes >= ROWS_BYTES_MAX {
                            break;
                        }
                    }
                }
                for (key, value) in &rows {
                    self.of(table.insert(K::from_bytes(key), V::from_bytes(value)))?;
                }
                Ok(rows.pop())
            })?;
            let Some((key, _)) = renewed else { return Ok(()) };
            last = Some(key);
        }
    }
}
