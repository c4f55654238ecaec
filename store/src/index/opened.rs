//! This part of the index knows its open file: how reads of it fail, and how it is closed although pages are lost.
//!
//! redb takes a read that fails for the end of the whole file: from then on it reads and writes nothing. So a page that
//! the device does not give back is zeros here, which no page of redb is. Whoever needs it fails, and nobody else.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{BackendError, Database, DatabaseError, StorageBackend, StorageError};

use crate::device::is_lost;

/// How long to wait before a read that failed is tried again, each time. Few pages fail, and a writer waits meanwhile.
const RETRY_PAUSES: [Duration; 3] = [
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
];

/// A database and what its file lost.
#[derive(Debug)]
pub(super) struct Opened {
    database: Option<Database>,
    losses: Arc<Losses>,
}

impl Opened {
    pub fn new(database: Database, losses: Arc<Losses>) -> Self {
        let database = Some(database);
        Self { database, losses }
    }

    pub fn database(&self) -> &Database {
        self.database.as_ref().expect("it is there until it is dropped")
    }

    pub fn has_lost_pages(&self) -> bool {
        self.losses.count.load(Ordering::Acquire) > 0
    }
}

/// redb reads and writes pages when it is dropped, and panics over damaged ones as it does elsewhere. That must not end
/// the thread: all that was committed is in the file, and the next start sees to what is damaged.
impl Drop for Opened {
    fn drop(&mut self) {
        let database = self.database.take();
        if catch_unwind(AssertUnwindSafe(|| drop(database))).is_err() {
            tracing::warn!("the index was closed over a damaged page");
        }
    }
}

/// Reads of an open file that failed.
#[derive(Debug, Default)]
pub(super) struct Losses {
    spares: AtomicBool,
    count: AtomicU64,
    #[cfg(test)]
    refusal: refusal::Refusal,
}

impl Losses {
    /// From now on reads that fail give zeros. While a file is opened they are errors.
    pub fn spare(&self) {
        self.spares.store(true, Ordering::Release);
    }
}

/// A file of which a page that is lost is zeros.
#[derive(Debug)]
pub(super) struct Sparing {
    file: FileBackend,
    losses: Arc<Losses>,
}

impl Sparing {
    /// An existing file.
    pub fn open(path: &Path, losses: &Arc<Losses>) -> Result<Self, DatabaseError> {
        let file = File::options().read(true).write(true).open(path);
        Ok(Self {
            file: FileBackend::new(file.map_err(StorageError::Io)?)?,
            losses: Arc::clone(losses),
        })
    }
}

impl Sparing {
    /// A device may fail once and then give back what it has. What redb got instead, it would keep.
    fn try_patiently(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        for pause in RETRY_PAUSES {
            match self.try_once(offset, out) {
                Err(error) if is_unread(&error) => std::thread::sleep(pause),
                outcome => return outcome,
            }
        }
        self.try_once(offset, out)
    }

    fn try_once(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        #[cfg(test)]
        self.losses.refusal.look(offset, out.len())?;
        self.file.read(offset, out)
    }
}

fn is_unread(error: &io::Error) -> bool {
    is_lost(error) || error.kind() == io::ErrorKind::UnexpectedEof
}

impl StorageBackend for Sparing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.try_patiently(offset, out) {
            Err(error) if is_unread(&error) && self.losses.spares.load(Ordering::Acquire) => {
                if self.losses.count.fetch_add(1, Ordering::AcqRel) == 0 {
                    let end = offset + out.len() as u64;
                    tracing::error!(
                        "the index cannot be read from byte {offset} to {end}: {error}. Rows that lay there are \
                         looked for in the segments, and fetched from peers if they are not there; check the disk \
                         (dmesg, smartctl)"
                    );
                }
                out.fill(0);
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        self.losses.refusal.written(offset, data.len());
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

/// A device that does not give back a page, in tests.
#[cfg(test)]
pub(crate) mod refusal {
    use std::cell::Cell;
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::format::PAGE_BYTES;
    use crate::index::{Index, IndexError};

    thread_local! {
        /// What redb keeps in memory, if a test says so.
        pub static CACHE_BYTES: Cell<Option<usize>> = const { Cell::new(None) };
    }

    #[derive(Debug, Default)]
    pub(super) struct Refusal {
        /// Where the page begins; 0: there is none.
        at: AtomicU64,
        /// How many reads of it fail; 0: all.
        times: AtomicU64,
    }

    impl Refusal {
        pub fn look(&self, offset: u64, bytes: usize) -> io::Result<()> {
            let at = self.at.load(Ordering::Acquire);
            if at == 0 || offset >= at + PAGE_BYTES || at >= offset + bytes as u64 {
                return Ok(());
            }
            if self.times.load(Ordering::Acquire) > 0 && self.times.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.at.store(0, Ordering::Release);
            }
            Err(io::Error::from_raw_os_error(libc::EIO))
        }
    }

    impl Refusal {
        /// A drive puts what is written to a bad sector elsewhere.
        pub fn written(&self, offset: u64, bytes: usize) {
            let at = self.at.load(Ordering::Acquire);
            if offset < at + PAGE_BYTES && at < offset + bytes as u64 {
                self.at.store(0, Ordering::Release);
            }
        }
    }

    impl Index {
        pub(crate) fn lost_page(&self) -> IndexError {
            IndexError::Page {
                path: self.path.clone(),
            }
        }

        /// From now on this page of the file cannot be read.
        pub(crate) fn refuse(&self, page: u64) {
            self.refuse_times(page, 0);
        }

        /// The same for so many reads; 0: for all.
        pub(crate) fn refuse_times(&self, page: u64, times: u64) {
            let losses = self.opened();
            losses.losses.refusal.times.store(times, Ordering::Release);
            losses.losses.refusal.at.store(page * PAGE_BYTES, Ordering::Release);
        }
    }
}
