//! This part of the writer knows how to store a decided height's value again: its bytes were damaged, freed or never
//! held, or the index cannot read its row.
//!
//! ```text
//!   Vouch ─▶ certificate ─┐
//!   Put ─▶ compared ─▶ appended to the growing segment ─▶ synced ─▶ one transaction ─▶ served, Stored
//! ```
//! Until the transaction the index names the old place, and afterwards the new one. What a crash leaves of an append is
//! dead bytes.
//!
//! Keeps: only the value that was decided is stored again; nothing is served of it before the index names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultramarine_runtime::medium::Medium;
use ultramarine_types::storage::{Blobs, Source, StoreReply, Tag};
use ultramarine_types::{Assembly, CommitCertificate, Height, Init, ValueKey};

use super::values::Appended;
use super::{State, Writer};
use crate::damage::unix_seconds;
use crate::failure::Failure;
use crate::index::{HeightRows, IndexError, LocationRow, RestoredRow};
use crate::record::{self, RecordContent};
use crate::segment::Location;

/// Certificates remembered for values that are on their way: the core asks for fewer at one time.
const VOUCHED_MAX: usize = 16;

/// What the writer remembers of values that are stored again.
#[derive(Default)]
pub(super) struct Restores {
    vouched: BTreeMap<Height, CommitCertificate>,
    /// Appended, and not synced.
    waiting: BTreeMap<Height, Waiting>,
}

struct Waiting {
    certificate: CommitCertificate,
    init: Arc<Init>,
    row: LocationRow,
    /// Where the index says that it lies, if it can say so.
    before: Option<Location>,
}

impl Restores {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Where the values lie that wait for a sync.
    pub fn locations(&self) -> impl Iterator<Item = &Location> {
        self.waiting.values().map(|waiting| &waiting.row.location)
    }

    /// They will not be synced: their keys.
    pub fn give_up(&mut self) -> Vec<ValueKey> {
        let waiting = std::mem::take(&mut self.waiting).into_values();
        waiting.map(|waiting| key_of(&waiting.certificate)).collect()
    }

    pub fn check(&self) {
        assert!(self.vouched.len() <= VOUCHED_MAX, "few certificates are remembered");
    }
}

/// What the index says of a height that is to be stored again.
struct Standing {
    certificate: CommitCertificate,
    /// What its row says of its blobs, if it can be read.
    blobs: Option<Blobs>,
    /// Where it lies, if that can be read.
    before: Option<Location>,
}

impl<M: Medium> Writer<M> {
    /// Remembers the certificate of a height that is about to be put again.
    pub(super) fn vouch(&mut self, certificate: CommitCertificate) -> Result<(), Failure> {
        let vouched = &mut self.restores.vouched;
        vouched.insert(certificate.height, certificate);
        if vouched.len() > VOUCHED_MAX {
            vouched.pop_first();
        }
        Ok(())
    }

    pub(super) async fn restore(&mut self, assembly: Assembly) -> Result<(), Failure> {
        let (key, height) = (assembly.key, assembly.key.height);
        let standing = match self.standing(&key) {
            Ok(standing) => standing,
            Err(why) => return self.refuse(key, why),
        };
        // If that had the index written anew, the height may be whole after all.
        self.state.view.note_faults();
        let assembly = self.whole_instead(assembly, &standing);
        let content = match record::content_of(&assembly) {
            Ok(content) => content,
            Err(unfit) => return self.refuse(key, unfit.to_string()),
        };
        let before = standing.blobs;
        let (content, blobs) = match (content, before) {
            (RecordContent::Whole, _) => (content, Blobs::Held),
            (_, Some(Blobs::NeverHeld)) => (RecordContent::NeverHeld, Blobs::NeverHeld),
            _ => (RecordContent::Moved, Blobs::Pruned),
        };
        let stored = StoreReply::Stored {
            key,
            init: Arc::clone(&assembly.init),
            lists: Arc::clone(&assembly.lists),
            payload: assembly.payload.clone(),
            tag: Tag::Restored,
            blobs,
        };
        let is_here = before.is_some_and(|before| before == Blobs::Held || before == blobs);
        if self.restores.waiting.contains_key(&height) || is_here && !self.state.view.is_damaged(height) {
            self.group.replies.push(stored);
            return Ok(());
        }
        let encoded = match record::encode(&assembly, Tag::Restored, content) {
            Ok(encoded) => encoded,
            Err(unfit) => return self.refuse(key, unfit.to_string()),
        };
        let location = match self.append(encoded).await? {
            Appended::At(location, _) => location,
            Appended::NoRoom(reason) => return self.refuse(key, reason),
        };
        let waiting = Waiting {
            certificate: standing.certificate,
            init: assembly.init,
            row: LocationRow {
                location,
                blobs,
                since: unix_seconds(),
            },
            before: standing.before,
        };
        self.restores.waiting.insert(height, waiting);
        self.group.replies.push(stored);
        Ok(())
    }

    /// If a value came without blobs because the index lost its row, and its record is whole: what the record has.
    fn whole_instead(&self, assembly: Assembly, standing: &Standing) -> Assembly {
        if standing.blobs.is_some() || !assembly.blobs.is_empty() {
            return assembly;
        }
        let Some(before) = standing.before else {
            return assembly;
        };
        match self.state.view.record(&assembly.key, &before) {
            Ok(Some(whole)) => whole,
            Ok(None) | Err(_) => assembly,
        }
    }

    /// What the index says of a value's height, or the certificate that vouches for it; or why it is not stored again.
    fn standing(&self, key: &ValueKey) -> Result<Standing, String> {
        if key.height > self.state.head || key.height == Height::GENESIS {
            return Err("its height is not decided here".to_owned());
        }
        let index = &self.state.index;
        let rows = index.read_for_change(|| index.decided(key.height));
        let standing = if let Ok(Some(HeightRows { decided, place, .. })) = rows {
            Standing {
                certificate: decided.certificate,
                blobs: Some(place.blobs),
                before: Some(place.location),
            }
        } else {
            let certificate = self.restores.vouched.get(&key.height).cloned();
            Standing {
                certificate: certificate.ok_or("the index cannot read its row, and no certificate vouches for it")?,
                blobs: None,
                before: self
                    .state
                    .index
                    .location(key.height)
                    .ok()
                    .flatten()
                    .map(|row| row.location),
            }
        };
        if standing.certificate.value_id != key.id {
            return Err(format!("{} was decided at its height", standing.certificate.value_id));
        }
        Ok(standing)
    }

    /// The segment is synced: lets the index and everybody know where the values lie now.
    pub(super) fn publish_restored(&mut self) -> Result<(), Failure> {
        if self.restores.is_empty() {
            return Ok(());
        }
        let state = &mut self.state;
        let waiting = std::mem::take(&mut self.restores.waiting);
        assert!(
            waiting
                .values()
                .all(|waiting| state.segments.is_synced(&waiting.row.location)),
            "the index is told only of synced bytes"
        );
        let rows: Vec<RestoredRow<'_>> = waiting
            .values()
            .map(|waiting| RestoredRow {
                certificate: &waiting.certificate,
                init: &waiting.init,
                location_row: waiting.row,
            })
            .collect();
        // From that mark on nothing is without its blobs.
        let bare = waiting.iter().filter(|(_, waiting)| waiting.row.blobs != Blobs::Held);
        let above = bare.map(|(height, _)| height.next()).max().unwrap_or_default();
        let oldest_blobs = above.max(state.oldest_blobs);
        state.make_room();
        // A transaction that fails is the last thing this store did, so the ledger may be ahead of it.
        for (height, waiting) in &waiting {
            match &waiting.before {
                Some(before) => state.ledger.restored(before),
                None => leave_unplaced(state, *height).map_err(|error| state.index_failed(&error))?,
            }
            state.ledger.decided(&waiting.row.location, *height);
        }
        let segments = state.ledger.take_changed();
        let restored = state.index.restore(&rows, oldest_blobs, &segments);
        restored.map_err(|error| state.index_failed(&error))?;
        state.oldest_blobs = oldest_blobs;
        state.view.set_oldest_blobs(oldest_blobs);
        for (height, waiting) in &waiting {
            state.view.hot().remove(&key_of(&waiting.certificate));
            state.view.restored(*height);
            self.restores.vouched.remove(height);
        }
        let damaged_segments = i64::try_from(state.ledger.damaged_segments()).unwrap_or(i64::MAX);
        state.metrics.damaged_segments.set(damaged_segments);
        self.free_dead();
        Ok(())
    }
}

/// A height whose row rotted is about to lie elsewhere: the segment that it lay in is found by what it lacks.
fn leave_unplaced(state: &mut State, height: Height) -> Result<(), IndexError> {
    let mut is_found = false;
    for (id, row) in state.ledger.around(height) {
        let (mut heights_count, mut bytes) = (0, 0);
        let mut from = Some(row.lowest);
        while let Some(first) = from {
            let index = &state.index;
            let found = index.read_for_change(|| index.heights_in(id, first, row.highest.next(), usize::MAX))?;
            heights_count += found.rows.len() as u64;
            bytes += found.rows.iter().map(|(_, row)| row.location.bytes).sum::<u64>();
            from = found.next;
        }
        // Only one of them had it.
        let heights_count = if is_found { u64::MAX } else { heights_count };
        is_found |= state.ledger.restored_unplaced(id, heights_count, bytes);
    }
    Ok(())
}

fn key_of(certificate: &CommitCertificate) -> ValueKey {
    ValueKey {
        height: certificate.height,
        id: certificate.value_id,
    }
}
