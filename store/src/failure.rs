//! This file knows how to tell the operator what stopped the store and what to do about it.

use std::io;

use crate::index::IndexError;
use crate::reserve::Reserve;

/// Why the store must stop, in words for the operator.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl Failure {
    /// A segment or the log could not be written or synced.
    pub(crate) fn write(reserve: &Reserve, what: &str, error: &io::Error) -> Self {
        if is_full(error) {
            return Self::full(reserve, &format!("writing {what} failed: {error}"));
        }
        Self(format!(
            "writing {what} failed: {error}; nothing written since the last good sync can be relied on, so the node stops: \
             check the disk (dmesg, smartctl), then start again"
        ))
    }

    /// The index could not be read or changed.
    pub(crate) fn index(reserve: &Reserve, error: &IndexError) -> Self {
        if let IndexError::Database { source, .. } = error
            && let redb::Error::Io(cause) = &**source
            && is_full(cause)
        {
            return Self::full(reserve, &error.to_string());
        }
        Self(format!(
            "{error}; the node stops: check the disk (dmesg, smartctl), then start again"
        ))
    }

    fn full(reserve: &Reserve, what: &str) -> Self {
        Self(format!(
            "{what}; the disk is full, the reserve for log and decisions included, so the node stops: {}, then start again",
            reserve.advice(0)
        ))
    }
}

/// Whether there was no room, on the disk or in the user's share of it.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why something is not written that can wait until there is room for its `bytes`.
pub(crate) fn no_room(reserve: &Reserve, what: &str, bytes: u64) -> String {
    format!("no room for {what}: {}, nothing else is needed", reserve.advice(bytes))
}
