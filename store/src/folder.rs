//! This file knows where a data directory can lie, and which chain the files in it are of. It changes nothing.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ultramarine_types::ChainIdentity;

use crate::error::OpenError;
use crate::format::{PAGE_BYTES, STORE_VERSION, open_header};
use crate::journal::{LOG_FILES_COUNT, log_path};
use crate::log::{LOG_MAGIC, LogHeader};
use crate::segment::{FileName, SEGMENT_MAGIC, SegmentHeader};

/// Looks whether a node of this chain can have its data directory there. Makes, locks and changes nothing, so that it
/// may be asked while a node has the directory.
///
/// It looks at the path, and at the version and the chain that logs and segments name. It does not look at the index,
/// at permissions to write, at room on the disk, or at whether anything is damaged: only [`open`](crate::open) can
/// tell.
pub fn look(folder: &Path, expected: ChainIdentity) -> Result<(), OpenError> {
    can_be_folder(folder)?;
    for path in with_headers(folder)? {
        let page = first_page(&path).map_err(|source| OpenError::io(&path, source))?;
        let header = open_header(&page, &LOG_MAGIC).or_else(|| open_header(&page, &SEGMENT_MAGIC));
        if let Some((version, _)) = header.filter(|(version, _)| *version != STORE_VERSION) {
            return Err(OpenError::Format {
                path: folder.to_owned(),
                found: version.into(),
            });
        }
        let log = LogHeader::decode(&page).map(|header| header.chain);
        let found = log.or_else(|| SegmentHeader::decode(&page).map(|header| header.chain));
        if let Some(found) = found.filter(|found| *found != expected) {
            return Err(OpenError::Foreign {
                path: folder.to_owned(),
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Whether the path is a folder, or can become one.
pub(crate) fn can_be_folder(path: &Path) -> Result<(), OpenError> {
    for part in path.ancestors() {
        match fs::metadata(part) {
            Ok(metadata) if metadata.is_dir() => return Ok(()),
            Ok(_) => return Err(OpenError::NoFolder { path: part.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if fs::symlink_metadata(part).is_ok() {
                    return Err(OpenError::DeadLink { path: part.to_owned() });
                }
            }
            // A part further up is a file.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(OpenError::io(part, error)),
        }
    }
    Ok(())
}

/// The logs and segments that are there.
fn with_headers(folder: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let logs = (0..LOG_FILES_COUNT).map(|number| log_path(folder, number));
    let mut paths: Vec<PathBuf> = logs.filter(|path| path.is_file()).collect();
    let segments = folder.join("segments");
    let failed = |source| OpenError::io(&segments, source);
    let entries = match fs::read_dir(&segments) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(paths),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        // A free segment may be removed while we look.
        if let Some(FileName::Used(..)) = name.to_str().and_then(FileName::parse) {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// The first page, or what there is of it. A file that is gone by now has none.
fn first_page(path: &Path) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(PAGE_BYTES).read_to_end(&mut page).map(|_| page),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(page),
        Err(error) => Err(error),
    }
}
