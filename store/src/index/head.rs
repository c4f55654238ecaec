//! This part of the index knows its head by heart: a start cannot do without it, nor can a decision that follows.
//!
//! The `head` mark has certificate and `Init` of the newest decided height. So a start goes on where the head's record
//! rotted, or the page with its row.

use std::sync::{Arc, PoisonError};

use redb::Table;
use ultramarine_types::{CommitCertificate, Height, Init, ValueKey};

use super::rows::{decode_head, encode_head, encode_location, encode_row};
use super::{DecidedRow, Index, IndexError, LocationRow, MARK_HEAD, MARKS};

/// The newest decided height.
#[derive(Clone, Debug)]
pub(super) struct Head {
    row: DecidedRow,
    init: Arc<Init>,
    /// Where it lies, if that is known.
    place: Option<LocationRow>,
}

/// Rows of a height as they lie in `decided` and `locations`.
pub(super) type HeadRows = (u64, Vec<u8>, Option<Vec<u8>>);

impl Head {
    pub fn new(certificate: CommitCertificate, init: Arc<Init>, place: Option<LocationRow>) -> Self {
        let row = DecidedRow::new(certificate, &init);
        Self { row, init, place }
    }
}

impl Index {
    /// Takes the head into memory, if its mark is sound and of the newest row.
    pub(super) fn load_head(&self) -> Result<(), IndexError> {
        let found = self.guard(|| {
            let transaction = self.begin_read()?;
            let marks = self.of(transaction.open_table(MARKS))?;
            let row = self.of(marks.get(MARK_HEAD))?;
            Ok(row.and_then(|row| decode_head(row.value())))
        })?;
        let Some((certificate, init)) = found else {
            return Ok(());
        };
        if self.head()? == Some(certificate.height) {
            let place = self.location(certificate.height).ok().flatten();
            self.set_head(Head::new(certificate, Arc::new(init), place));
        }
        Ok(())
    }

    pub(super) fn set_head(&self, head: Head) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }

    /// The head lies elsewhere from now on, if that is its height.
    pub(super) fn move_head(&self, height: Height, place: LocationRow) {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(head) = head.as_mut().filter(|head| head.row.certificate.height == height) {
            head.place = Some(place);
        }
    }

    /// The head's `Init`, if the head has this key.
    pub(super) fn head_init_of(&self, key: &ValueKey) -> Option<Arc<Init>> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let head = head.as_ref().filter(|head| head.row.key() == *key)?;
        Some(Arc::clone(&head.init))
    }

    /// The rows of the head, as it is in memory.
    pub(super) fn head_rows(&self) -> Option<HeadRows> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let Head { row, place, .. } = head.as_ref()?;
        let height = row.certificate.height;
        let place = place.map(|place| encode_location(height, &place));
        Some((height.0, encode_row(row), place))
    }

    pub(super) fn insert_head_mark(
        &self,
        marks: &mut Table<'_, &'static str, &'static [u8]>,
        certificate: &CommitCertificate,
        init: &Init,
    ) -> Result<(), IndexError> {
        self.insert_mark(marks, MARK_HEAD, encode_head(certificate, init))
    }
}
