//! This file knows how to put a bug into a join.

use std::cmp::Reverse;

use ultramarine_types::storage::Tag;
use ultramarine_types::{Nanos, ValueKey};

use super::Join;
use crate::streaming::planted::JoinBug;

impl Join {
    pub fn plant(&mut self, bug: Option<JoinBug>) {
        self.planted = bug;
    }

    pub(super) fn plants(&self, bug: JoinBug) -> bool {
        self.planted == Some(bug)
    }

    /// What [`JoinBug::SlowestGivesWay`] takes room from.
    pub(super) fn slowest_value(&self, now: Nanos, wanted: ValueKey) -> Option<ValueKey> {
        let others = self.values.values().filter(|it| it.key != wanted && it.needs_parts());
        others
            .filter_map(|other| Some((other, self.lag_of(now, other)?)))
            .min_by_key(|(other, lag)| (other.tag == Tag::Certified, Reverse(*lag), other.key))
            .map(|(other, _)| other.key)
    }
}
