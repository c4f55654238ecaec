//! This part of the index knows how to open its file and leave every byte as it is.
//!
//! redb writes when it opens a file after a crash, and when it closes one. What it writes here stays in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;
use ultramarine_types::ChainIdentity;

use super::{Index, IndexError};
use crate::format::PAGE_BYTES;

/// A file, and over it what was written since it was opened.
#[derive(Debug)]
pub(super) struct Untouched {
    file: File,
    /// Who else may write the file: pages are refused once that has begun.
    writer: Option<OtherWriter>,
    written: Mutex<Written>,
}

/// Beginnings and ends of the transactions of a writer of the same file, and how many they were when reading began.
#[derive(Debug)]
pub(super) struct OtherWriter {
    writes: Arc<AtomicU64>,
    before: u64,
}

#[derive(Debug)]
struct Written {
    /// Length of the whole.
    length: u64,
    /// Bytes of the file that count: it was never shorter than this.
    file_bytes: u64,
    pages: HashMap<u64, Vec<u8>>,
}

impl Untouched {
    pub fn open(path: &Path, writer: Option<OtherWriter>) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            file,
            writer,
            written: Mutex::new(Written {
                length,
                file_bytes: length,
                pages: HashMap::new(),
            }),
        })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as the file has it; zeros behind its end.
    fn page(&self, page: u64, file_bytes: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; PAGE_BYTES as usize];
        let from = page * PAGE_BYTES;
        let there = file_bytes.saturating_sub(from).min(PAGE_BYTES);
        self.file.read_exact_at(&mut bytes[..index(there)?], from)?;
        // Pages of two moments are each right, and together nonsense, over which redb panics even while it closes.
        let is_written = |writer: &OtherWriter| writer.writes.load(Ordering::Acquire) != writer.before;
        if self.writer.as_ref().is_some_and(is_written) {
            return Err(io::Error::other("the file is written meanwhile"));
        }
        Ok(bytes)
    }
}

impl Index {
    /// Opens an index of this chain for reading, checks every page of it, and leaves the file as it is.
    pub fn open_untouched(path: &Path, chain: ChainIdentity) -> Result<Self, IndexError> {
        Self::open_beside(path, chain, None)
    }

    /// Opens this index's own file for reading once more, as [`Index::open_untouched`] does. Fails if a transaction
    /// begins meanwhile; `before` is what [`Index::writes`] said when none was under way.
    pub fn open_again(&self, chain: ChainIdentity, before: u64) -> Result<Self, IndexError> {
        let writes = Arc::clone(&self.writes);
        Self::open_beside(&self.path, chain, Some(OtherWriter { writes, before }))
    }

    fn open_beside(path: &Path, chain: ChainIdentity, writer: Option<OtherWriter>) -> Result<Self, IndexError> {
        let untouched = Untouched::open(path, writer).map_err(|error| redb::StorageError::Io(error).into());
        let database = untouched.and_then(|untouched| {
            Self::builder()
                .set_check_integrity_on_open(true)
                .create_with_backend(untouched)
        });
        let index = Self::from_database(path, chain, database, Arc::default())?;
        index.compare(chain)?;
        index.load()?;
        Ok(index)
    }
}

/// A range within a page, and where it lies within what was asked for.
struct Piece {
    page: u64,
    within: std::ops::Range<usize>,
    at: std::ops::Range<usize>,
}

/// The pages that a range of the file touches, in order.
fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = io::Result<Piece>> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < bytes).then(|| {
            let from = offset + done as u64;
            let start = index(from % PAGE_BYTES)?;
            let length = (PAGE_BYTES as usize - start).min(bytes - done);
            let at = done..done + length;
            done += length;
            Ok(Piece {
                page: from / PAGE_BYTES,
                within: start..start + length,
                at,
            })
        })
    })
}

impl StorageBackend for Untouched {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for piece in pieces(offset, out.len()) {
            let piece = piece?;
            match written.pages.get(&piece.page) {
                Some(page) => out[piece.at].copy_from_slice(&page[piece.within]),
                None => {
                    let page = self.page(piece.page, written.file_bytes)?;
                    out[piece.at].copy_from_slice(&page[piece.within]);
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            // What is behind the new end reads as zeros, should the file grow again.
            let whole = length.div_ceil(PAGE_BYTES);
            written.pages.retain(|page, _| *page < whole);
            if !length.is_multiple_of(PAGE_BYTES) {
                let last = length / PAGE_BYTES;
                let mut page = match written.pages.remove(&last) {
                    Some(page) => page,
                    None => self.page(last, written.file_bytes)?,
                };
                page[index(length % PAGE_BYTES)?..].fill(0);
                written.pages.insert(last, page);
            }
            written.file_bytes = written.file_bytes.min(length);
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for piece in pieces(offset, data.len()) {
            let piece = piece?;
            let file_bytes = written.file_bytes;
            let page = match written.pages.entry(piece.page) {
                std::collections::hash_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::hash_map::Entry::Vacant(place) => place.insert(self.page(piece.page, file_bytes)?),
            };
            page[piece.within].copy_from_slice(&data[piece.at]);
        }
        written.length = written.length.max(offset + data.len() as u64);
        Ok(())
    }
}

fn index(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_and_writes_as_a_file_does_and_the_file_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = ["here", "there"].map(|name| folder.path().join(name));
        let before: Vec<u8> = (0..20_000u32).map(|at| at as u8).collect();
        for path in &paths {
            std::fs::write(path, &before).expect("written");
        }
        let untouched = Untouched::open(&paths[0], None).expect("opened");
        let file = File::options().read(true).write(true).open(&paths[1]).expect("opened");
        // Steps that follow from one number, as a generator of Lehmer's.
        let mut state: u64 = 1;
        let mut draw = |below: u64| {
            state = state * 48_271 % 0x7fff_ffff;
            state % below
        };
        for _ in 0..2_000 {
            let (offset, bytes) = (draw(30_000), draw(9_000));
            match draw(3) {
                0 => {
                    let data = vec![draw(256) as u8; bytes as usize];
                    untouched.write(offset, &data).expect("written");
                    file.write_all_at(&data, offset).expect("written");
                }
                1 if draw(8) == 0 => {
                    untouched.set_len(offset).expect("set");
                    file.set_len(offset).expect("set");
                }
                _ => {
                    let (mut here, mut there) = (vec![0; bytes as usize], vec![0; bytes as usize]);
                    let outcome = untouched.read(offset, &mut here).is_ok();
                    assert_eq!(outcome, file.read_exact_at(&mut there, offset).is_ok());
                    assert!(!outcome || here == there, "{offset} {bytes}");
                }
            }
            assert_eq!(
                untouched.len().expect("a length"),
                file.metadata().expect("a file").len()
            );
        }
        assert_eq!(std::fs::read(&paths[0]).expect("read"), before);
    }
}
