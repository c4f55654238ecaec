//! This file knows how to put a bug into a join.

use super::Join;
use crate::streaming::planted::JoinBug;

impl Join {
    pub fn plant(&mut self, bug: Option<JoinBug>) {
        self.planted = bug;
    }

    pub(super) fn plants(&self, bug: JoinBug) -> bool {
        self.planted == Some(bug)
    }
}
