//! This file knows how the index comes into being: whole, or not at all.
//!
//! ```text
//!   index.redb.new ─▶ filled ─▶ synced ─▶ renamed to index.redb ─▶ folder synced ─▶ logs and segments may be made
//! ```
//! An index that is damaged, and not gone, is rebuilt ([`crate::rebuild`]).
//!
//! A first start may be killed anywhere on this way, and the next one begins again. Afterwards there is no way back: an
//! index that is gone while logs or segments are there was lost, and with it what this node signed. That is refused,
//! never begun anew in silence.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ultramarine_types::ChainIdentity;

use crate::device::forget_cached;
use crate::error::{IndexFlaw, OpenError};
use crate::index::{INDEX_NAME, Index, IndexError, guarded};
use crate::journal::{LOG_FILES_COUNT, log_path};
use crate::mapped::sync_folder;
use crate::read_so_far::TellRead;
use crate::rebuild::{UNBORN_NAME, fill, rebuild};
use crate::segment::FileName;

/// First bytes of every redb file; redb writes them last.
const REDB_MAGIC: [u8; 9] = *b"redb\x1a\x0a\xa9\x0d\x0a";

/// Opens the index of a data directory, or begins it where nothing was kept yet.
pub(crate) fn open(folder: &Path, chain: ChainIdentity, tell: &TellRead) -> Result<Index, OpenError> {
    let path = folder.join(INDEX_NAME);
    // It counts for nothing, whoever was cut short over it.
    remove_unborn(folder)?;
    let found = flaw(&path).map_err(|source| OpenError::io(&path, source))?;
    let flaw = match found {
        Some(flaw) => flaw,
        None => match open_whole(&path, chain) {
            Err(IndexError::Blank { .. }) => IndexFlaw::Blank,
            Err(error) if error.is_damage() && rebuild(folder, chain, &error.to_string(), tell)? => {
                return open_rebuilt(folder, chain);
            }
            outcome => return outcome.map_err(|error| OpenError::index(folder, chain, error)),
        },
    };
    if let Some(beside) = kept_beside(folder)? {
        let why = format!("index {} {flaw}", path.display());
        if flaw != IndexFlaw::Missing && rebuild(folder, chain, &why, tell)? {
            return open_rebuilt(folder, chain);
        }
        return Err(OpenError::Orphaned {
            folder: folder.to_owned(),
            index: path,
            flaw,
            beside,
        });
    }
    if flaw != IndexFlaw::Missing {
        tracing::info!(
            "index {} {flaw}: the first start was cut short, and begins again",
            path.display()
        );
    }
    begin(folder, chain)?;
    Index::open(&path, chain).map_err(|error| OpenError::index(folder, chain, error))
}

fn remove_unborn(folder: &Path) -> Result<(), OpenError> {
    let unborn = folder.join(UNBORN_NAME);
    match std::fs::remove_file(&unborn) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OpenError::io(&unborn, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Opens the index, and reads what a start cannot do without: the marks, and the row of the head.
fn open_whole(path: &Path, chain: ChainIdentity) -> Result<Index, IndexError> {
    let opened = guarded(|| {
        Ok(Index::open(path, chain).and_then(|index| {
            index.marks()?;
            if let Some(head) = index.head()? {
                index.decided(head)?;
            }
            Ok(index)
        }))
    });
    opened.unwrap_or_else(|_| Err(IndexError::Page { path: path.to_owned() }))
}

fn open_rebuilt(folder: &Path, chain: ChainIdentity) -> Result<Index, OpenError> {
    Index::open(&folder.join(INDEX_NAME), chain).map_err(|error| OpenError::index(folder, chain, error))
}

/// What is wrong with the file, as far as its first bytes tell. They are read from the device, as is what redb reads
/// next.
fn flaw(path: &Path) -> io::Result<Option<IndexFlaw>> {
    match forget_cached(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(IndexFlaw::Missing)),
        Err(error) => return Err(error),
    }
    let mut file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Some(IndexFlaw::Empty));
    }
    let mut magic = [0; REDB_MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == REDB_MAGIC => Ok(None),
        Ok(()) => Ok(Some(IndexFlaw::NoDatabase)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(IndexFlaw::NoDatabase)),
        Err(error) => Err(error),
    }
}

/// A log or a segment, if there is one: they are made only once the index is durable.
fn kept_beside(folder: &Path) -> Result<Option<PathBuf>, OpenError> {
    for number in 0..LOG_FILES_COUNT {
        let log = log_path(folder, number);
        if log.try_exists().map_err(|source| OpenError::io(&log, source))? {
            return Ok(Some(log));
        }
    }
    let segments = folder.join("segments");
    let failed = |source| OpenError::io(&segments, source);
    for entry in std::fs::read_dir(&segments).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().and_then(FileName::parse).is_some() {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn begin(folder: &Path, chain: ChainIdentity) -> Result<(), OpenError> {
    let unborn = fill(folder, chain)?;
    let failed = |source| OpenError::io(&unborn, source);
    std::fs::rename(&unborn, folder.join(INDEX_NAME)).map_err(failed)?;
    sync_folder(folder).map_err(failed)?;
    // The directory may be as new as its index. A parent that may not be read was there before.
    if let Some(parent) = folder.canonicalize().map_err(failed)?.parent()
        && let Err(error) = sync_folder(parent)
    {
        tracing::debug!("{} is not synced: {error}", parent.display());
    }
    Ok(())
}
