//! This file knows how to tell the operator what stopped the store and what to do about it.

use std::io;

use ultramarine_types::{Height, ValueId, ValueKey};

use crate::index::IndexError;
use crate::journal::Misuse;
use crate::record::Unfit;
use crate::reserve::{Reserve, is_full};

/// Why the store must stop.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The disk or the index failed. The words say what to do.
    #[error("{0}")]
    Disk(String),
    /// The core misused the log.
    #[error(transparent)]
    Log(#[from] Misuse),
    /// The core decided what cannot be committed.
    #[error(transparent)]
    Decision(#[from] Misdecision),
    /// A payload that must be moved fits no record, although it was one.
    #[error(transparent)]
    Unfit(#[from] Unfit),
}

/// Why a decision cannot be committed: the core's fault, and reason enough to stop.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Misdecision {
    /// Heights are committed one after the other.
    #[error("height {height} was to be committed on the head {head}")]
    OutOfTurn { height: Height, head: Height },
    /// Its value was never stored, or refused.
    #[error("{0} was to be committed and is not stored")]
    NotStored(ValueKey),
    /// Its value is stored as metadata and payload only.
    #[error("{0} was to be committed with its blobs and is stored without them")]
    WithoutBlobs(ValueKey),
    /// The worst there is: two decisions of one height.
    #[error("{key} was to be committed where {decided} is decided")]
    Another { key: ValueKey, decided: ValueId },
    /// The height is decided, and nobody can tell whether this is the same decision.
    #[error("height {0} is decided and cannot be read")]
    Unreadable(Height),
}

impl Failure {
    /// A segment or the log could not be written or synced.
    pub(crate) fn write(reserve: &Reserve, what: &str, error: &io::Error) -> Self {
        if is_full(error) {
            return Self::full(reserve, &format!("writing {what} failed: {error}"));
        }
        Self::Disk(format!(
            "writing {what} failed: {error}; nothing written since the last good sync can be relied on, so the node \
             stops: {}, then start again",
            remedy(error)
        ))
    }

    /// The index could not be read or changed.
    pub(crate) fn index(reserve: &Reserve, error: &IndexError) -> Self {
        let cause = match error {
            IndexError::Database { source, .. } => match &**source {
                redb::Error::Io(cause) => Some(cause),
                _ => None,
            },
            _ => None,
        };
        match cause {
            Some(cause) if is_full(cause) => Self::full(reserve, &error.to_string()),
            cause => Self::Disk(format!(
                "{error}; the node stops: {}, then start again{}",
                cause.map_or(CHECK_THE_DISK, remedy),
                if error.is_lost_page() {
                    ": the start rebuilds the index from what is left of it"
                } else {
                    ""
                }
            )),
        }
    }

    fn full(reserve: &Reserve, what: &str) -> Self {
        Self::Disk(format!(
            "{what}; the disk is full, the reserve for log and decisions included, so the node stops: {}, then start \
             again",
            reserve.advice(0)
        ))
    }
}

/// What to do about an error that is not known to be of something else.
const CHECK_THE_DISK: &str = "check the disk (dmesg, smartctl)";

/// What to do about an error of the system.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EISDIR) => "a folder is there, where the node keeps a file: move it away",
        Some(libc::ENOTDIR | libc::EEXIST | libc::ENOTEMPTY) => {
            "something else is there, where the node needs a folder: move it away, or set node.data_dir to another path"
        }
        Some(libc::ENOENT | libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL | libc::ENXIO | libc::ESPIPE) => {
            "that place keeps no files like the node's: set node.data_dir to a folder on a file system for data"
        }
        Some(libc::ELOOP | libc::ENAMETOOLONG) => "set node.data_dir to a plain path",
        Some(libc::EFBIG) => "let files grow larger with `ulimit -f unlimited` or LimitFSIZE=infinity in the unit",
        Some(libc::EMFILE | libc::ENFILE) => "allow more descriptors with `ulimit -n` or LimitNOFILE= in the unit",
        // `None`: what was read is not what was written.
        Some(libc::EIO | libc::ENODEV | libc::EUCLEAN | libc::EBADMSG | libc::ETIMEDOUT | libc::EREMOTEIO) | None => {
            CHECK_THE_DISK
        }
        Some(_) => "remove what it names",
    }
}

/// Why something is not written that can wait until there is room for its `bytes`.
pub(crate) fn no_room(reserve: &Reserve, what: &str, bytes: u64) -> String {
    format!("no room for {what}: {}, nothing else is needed", reserve.advice(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_the_process_is_not_blamed_on_the_disk() {
        let remedy = |errno| remedy(&io::Error::from_raw_os_error(errno));
        assert!(remedy(libc::EFBIG).contains("ulimit -f"));
        assert!(remedy(libc::EMFILE).contains("ulimit -n"));
        assert_eq!(remedy(libc::EIO), CHECK_THE_DISK);
        for errno in [
            libc::EISDIR,
            libc::ENOTDIR,
            libc::EEXIST,
            libc::ENOENT,
            libc::ELOOP,
            libc::EBUSY,
        ] {
            assert!(!remedy(errno).contains("disk ("), "{errno}: {}", remedy(errno));
        }
    }
}
