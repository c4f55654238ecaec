//! This file knows the bugs that tests plant in the join to prove that the simulator finds them. It is never compiled
//! into a node.

use ultramarine_types::digest::blob_digest;
use ultramarine_types::{ListKind, Nanos};

use super::value::{Bound, Fate, Pending};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinBug {
    /// Take a list of the right length, whatever its root is.
    RootUnchecked,
    /// Take a blob for right, whatever the lanes said of its bytes.
    DigestUnchecked,
    /// Take a blob that came before its digest by the digest that its own bytes have.
    PartBeforeDigest,
    /// Take any bytes for a blob of a value that is restored.
    RestoredUnchecked,
    /// Pass over a blob while another sender's bytes for its place wait for their verdict.
    FirstComeKept,
}

impl Pending {
    /// What [`JoinBug::RootUnchecked`] makes of a list that the metadata does not bind.
    pub(super) fn put_any_list(&mut self, now: Nanos, kind: ListKind, items: &[u8]) -> Fate {
        if items.len() != self.init.list_len(kind) * kind.item_bytes() {
            return Fate::Bad;
        }
        self.unbound.insert(kind);
        self.take_list(now, kind, items)
    }

    /// What [`JoinBug::PartBeforeDigest`] takes a blob for.
    pub(super) fn bound_by_itself(&self, index: usize, blob: &[u8]) -> Option<Bound> {
        let lists = self.lists();
        let commitment = *lists.commitments.get(index)?;
        Some(Bound {
            commitment,
            proof: *lists.proofs.get(index)?,
            digest: blob_digest(blob, &commitment),
        })
    }
}
