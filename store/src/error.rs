//! This file knows why a data directory cannot be opened, and what to tell the operator about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ultramarine_types::canonical::FORMAT_VERSION;
use ultramarine_types::{ChainIdentity, Height};

use crate::failure::{Failure, remedy};
use crate::index::IndexError;
use crate::record::RecordError;
use crate::reserve::{RESERVE_BYTES, advice};

/// Why a data directory cannot be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {path} is in use by another process: stop that one, or give this node its own directory")]
    Locked { path: PathBuf },
    /// It belongs to another chain.
    #[error(
        "data directory {path} belongs to the chain with identity {found}, not to the one with identity {expected}: \
         use another directory"
    )]
    Foreign {
        path: PathBuf,
        /// The chain it belongs to.
        found: ChainIdentity,
        /// The chain of this node.
        expected: ChainIdentity,
    },
    /// Another version wrote it.
    #[error(
        "{path} has format {found}, and this version reads format {FORMAT_VERSION}: {}",
        version_advice(*found)
    )]
    Format { path: PathBuf, found: u32 },
    /// The index cannot be used.
    #[error("{0}; move the directory away and start again: the node fetches everything from its peers")]
    Index(IndexError),
    /// The index cannot be read where nothing is changed.
    #[error("{0}; start the node: it rebuilds the index from what is left of it, or says what else to do")]
    Unread(IndexError),
    /// The index is gone, and what it accounts for is not.
    #[error(
        "index {index} {flaw}, and {beside} is there: without its index nobody knows what this node decided and \
         signed. Put the index back if it was moved; if it is lost, move the whole directory {folder} away and start \
         again: the node fetches everything from its peers, and listens before it signs"
    )]
    Orphaned {
        folder: PathBuf,
        index: PathBuf,
        /// What is wrong with it.
        flaw: IndexFlaw,
        /// A log or a segment that was made after it.
        beside: PathBuf,
    },
    /// The index is older than a log: it lost decisions, and with them which heights were signed.
    #[error(
        "index {index} lost its newest decisions: {log} holds what this node signed at height {height}, and the index \
         never heard of that height. If the index was put back from a copy, put the newest one back; otherwise move \
         the whole directory {folder} away and start again: the node fetches everything from its peers, and listens \
         before it signs"
    )]
    RolledBack {
        folder: PathBuf,
        index: PathBuf,
        /// The log that is newer.
        log: PathBuf,
        /// The height of that log.
        height: Height,
    },
    /// A file or folder refuses this user.
    #[error("{path} cannot be used: {source}; give the node's user read and write permission for the whole directory")]
    Permission {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is full.
    #[error("{path} has no room: {source}; {}, then start again", advice(path, 2 * RESERVE_BYTES))]
    NoRoom {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A link to nothing is where the data directory, or a part of its path, should be.
    #[error(
        "data directory: {path} is a symbolic link that points to nothing: make the folder that it names, or remove \
         the link"
    )]
    DeadLink { path: PathBuf },
    /// Something else is where the data directory, or a part of its path, should be.
    #[error(
        "data directory: {path} is no folder, and one is needed there: move it away, or set node.data_dir to another \
         path"
    )]
    NoFolder { path: PathBuf },
    /// A file or folder cannot be made, read or written.
    #[error("{path} failed: {source}; {}, then start again", remedy(source))]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was recovered cannot be made durable.
    #[error("recovery of {path} failed: {failure}")]
    Write { path: PathBuf, failure: Failure },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        // What recovery wrote failed, and says itself what to do.
        let source = match source.downcast::<Failure>() {
            Ok(failure) => return Self::Write { path, failure },
            Err(source) => source,
        };
        let source = match source.downcast::<RecordError>() {
            Ok(RecordError::Version { found }) => {
                let found = found.into();
                return Self::Format { path, found };
            }
            Ok(other) => io::Error::other(other),
            Err(source) => source,
        };
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Permission { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoRoom { path, source },
            _ => Self::Io { path, source },
        }
    }

    /// What kept the index of a directory from being used.
    pub(crate) fn index(folder: &Path, chain: ChainIdentity, error: IndexError) -> Self {
        match error {
            IndexError::Foreign { found, .. } => Self::Foreign {
                path: folder.to_owned(),
                found,
                expected: chain,
            },
            IndexError::Database { source, path } => match *source {
                redb::Error::Io(source) => Self::io(&path, source),
                source => Self::Index(IndexError::Database {
                    path,
                    source: Box::new(source),
                }),
            },
            IndexError::Format { found, .. } => Self::Format {
                path: folder.to_owned(),
                found,
            },
            other @ (IndexError::Row { .. } | IndexError::Page { .. } | IndexError::Blank { .. }) => Self::Index(other),
        }
    }
}

/// What to do about a directory of another version.
const fn version_advice(found: u32) -> &'static str {
    if found < FORMAT_VERSION {
        "its chain was made by an older version, so keep that version for it, or make a new chain in another directory"
    } else {
        "a newer version wrote it, so run that one"
    }
}

/// Why a file is no index that ever counted for anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IndexFlaw {
    Missing,
    /// A file without a byte.
    Empty,
    /// A file that does not begin like a database.
    NoDatabase,
    /// A database in which nothing was ever written.
    Blank,
}

impl fmt::Display for IndexFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::Empty => "is empty",
            Self::NoDatabase => "is no database",
            Self::Blank => "is a database without any content",
        })
    }
}
