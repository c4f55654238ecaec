//! This part of the segments' table knows how many maps are kept for readers that come next.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

#[cfg(test)]
use super::Newest;
use super::{Segment, Segments, lock};
use crate::segment::SegmentId;

/// Maps kept for the next reader. The kernel allows a process 65,530, and a reader keeps its own as long as it needs.
pub const MAPS_MAX: usize = 1024;

impl Segments {
    /// Keeps a map for the next reader, and lets the one go that was read longest ago if there are too many.
    pub(super) fn keep_map(&self, id: SegmentId, segment: &Arc<Segment>) {
        let surplus = {
            let mut mapped = lock(&self.mapped);
            mapped.insert(id, Arc::downgrade(segment));
            if mapped.len() <= MAPS_MAX {
                return;
            }
            mapped.retain(|_, segment| segment.strong_count() > 0);
            let others = mapped.iter().filter(|(other, _)| **other != id);
            let read_at = |segment: &Weak<Segment>| {
                let segment = segment.upgrade();
                segment.map_or(0, |segment| segment.read.load(Ordering::Relaxed))
            };
            let oldest = others.min_by_key(|(_, segment)| read_at(segment)).map(|(id, _)| *id);
            oldest.and_then(|oldest| mapped.remove(&oldest)?.upgrade())
        };
        if let Some(surplus) = surplus {
            lock(&surplus.shown).forget_map();
        }
    }

    /// Maps that are kept for the next reader.
    #[cfg(test)]
    pub fn maps_count(&self) -> usize {
        let state = self.state();
        let kept = |segment: &&Arc<Segment>| matches!(lock(&segment.shown).newest, Newest::Mapped(_));
        state.used.values().filter(kept).count()
    }
}
