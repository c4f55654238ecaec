//! This part of the index knows how its transactions are begun, and what becomes of one that meets a page that is lost.
//!
//! redb panics over a page that it cannot make sense of. To whoever reads or writes, that is an error.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};

use redb::{Durability, ReadTransaction, ReadableDatabase, WriteTransaction};

use super::opened::Opened;
use super::{Index, IndexError, QUICK_REPAIR_FROM_BYTES};

/// A state of the index that is read. Its file stays open meanwhile.
pub(super) struct Reading {
    transaction: ReadTransaction,
    _opened: Arc<Opened>,
}

impl Deref for Reading {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        &self.transaction
    }
}

/// Somebody writes. Beginnings and ends are counted, so an odd count says that somebody does.
struct Writing<'a> {
    writes: &'a AtomicU64,
    _guard: MutexGuard<'a, ()>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.writes.fetch_add(1, Ordering::AcqRel);
    }
}

impl Index {
    pub(super) fn opened(&self) -> Arc<Opened> {
        Arc::clone(&self.opened.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin_read(&self) -> Result<Reading, IndexError> {
        let opened = self.opened();
        Ok(Reading {
            transaction: self.of(opened.database().begin_read())?,
            _opened: opened,
        })
    }

    /// Reads, or says that a page is damaged.
    pub(super) fn guard<T>(&self, read: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
        let damaged = || IndexError::Page {
            path: self.path.clone(),
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged()))
    }

    /// Carries out a durable transaction. If it meets a page that is lost, or a reader did before, the index is written
    /// anew from what can be read of it, and the transaction goes there.
    pub(super) fn change<T>(
        &self,
        write: impl Fn(&WriteTransaction) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        self.change_and_tell(write, |_| ())
    }

    /// The same. What the change made is told before the next writer begins: a mending copies what is known here.
    pub(super) fn change_and_tell<T>(
        &self,
        write: impl Fn(&WriteTransaction) -> Result<T, IndexError>,
        tell: impl FnOnce(&T),
    ) -> Result<T, IndexError> {
        let _writing = self.begin_writing();
        let changed = self.change_locked(write)?;
        tell(&changed);
        Ok(changed)
    }

    fn change_locked<T>(&self, write: impl Fn(&WriteTransaction) -> Result<T, IndexError>) -> Result<T, IndexError> {
        let why = if self.opened().has_lost_pages() {
            IndexError::Page {
                path: self.path.clone(),
            }
        } else {
            match self.guard(|| self.try_change(&write)) {
                Err(error) if self.opened().has_lost_pages() || error.is_lost_page() => error,
                outcome => return outcome,
            }
        };
        self.guard(|| self.mend(&why))?;
        self.guard(|| self.try_change(&write))
    }

    /// Reads what a change needs to know. A page that is lost is no end of it here either.
    pub fn read_for_change<T>(&self, read: impl Fn() -> Result<T, IndexError>) -> Result<T, IndexError> {
        match read() {
            Err(error) if error.is_lost_page() => {
                let _writing = self.begin_writing();
                // Somebody else may have written it anew since.
                match read() {
                    Err(error) if error.is_lost_page() => {
                        self.guard(|| self.mend(&error))?;
                        read()
                    }
                    outcome => outcome,
                }
            }
            outcome => outcome,
        }
    }

    /// Waits for the transaction before. The file may change until this is dropped.
    fn begin_writing(&self) -> Writing<'_> {
        let guard = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.writes.fetch_add(1, Ordering::AcqRel);
        Writing {
            writes: &self.writes,
            _guard: guard,
        }
    }

    fn try_change<T>(&self, write: impl Fn(&WriteTransaction) -> Result<T, IndexError>) -> Result<T, IndexError> {
        let mut transaction = self.begin_write()?;
        self.set_durable(&mut transaction)?;
        let done = write(&transaction)?;
        self.of(transaction.commit())?;
        Ok(done)
    }

    pub(super) fn begin_write(&self) -> Result<WriteTransaction, IndexError> {
        self.of(self.opened().database().begin_write())
    }

    pub(super) fn set_durable(&self, transaction: &mut WriteTransaction) -> Result<(), IndexError> {
        self.of(transaction.set_durability(Durability::Immediate))?;
        if std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() >= QUICK_REPAIR_FROM_BYTES) {
            transaction.set_quick_repair(true);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_types::ChainIdentity;

    use super::*;

    #[test]
    fn a_transaction_is_seen_from_its_begin_to_its_end_however_long_it_takes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, chain) = (folder.path().join("index.redb"), ChainIdentity([9; 32]));
        Index::begin(&path, chain).expect("begun");
        let index = Index::open(&path, chain).expect("opened");
        let before = index.writes().expect("none is under way");
        let seen = index.change(|_| Ok(index.writes())).expect("changed");
        assert_eq!(seen, None);
        assert!(index.writes().is_some_and(|after| after > before));
        // One that failed has ended as well.
        let failed = index.change(|_| Err::<(), _>(index.damaged("marks", "floor")));
        assert!(failed.is_err() && index.writes().is_some());
    }
}
