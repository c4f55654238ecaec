//! This file knows which decided heights are damaged: a checksum or a failed read says so, and no blob of them is
//! served until they were stored again.
//!
//! Keeps: at most [`DAMAGED_MAX`] heights; the core is told of each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ultramarine_types::Height;

/// Heights remembered as damaged, about 16 MB of reasons at most. Damage beyond is met by each of its readers afresh,
/// and remembered when there is room.
pub const DAMAGED_MAX: usize = 65_536;

/// What was found of a damaged height.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamageFound {
    /// What an operator should read. Heights of one lost file share it.
    pub reason: Arc<str>,
    /// Unix seconds.
    pub since: u64,
}

/// The damaged heights of a store.
#[derive(Debug, Default)]
pub(crate) struct Damages {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    heights: BTreeMap<Height, DamageFound>,
    /// Those of them that the core has not heard of.
    untold: BTreeSet<Height>,
    /// Those of them whose rows lie on a page of the index that could not be read: the records may be whole.
    unread: BTreeSet<Height>,
}

impl Damages {
    /// Remembers damage; whether it is news.
    pub fn add(&self, height: Height, reason: &Arc<str>) -> bool {
        let mut state = self.state();
        if state.heights.contains_key(&height) || state.heights.len() >= DAMAGED_MAX {
            return false;
        }
        let found = DamageFound {
            reason: Arc::clone(reason),
            since: unix_seconds(),
        };
        state.heights.insert(height, found);
        state.untold.insert(height);
        true
    }

    /// A height was stored again; whether it was damaged.
    pub fn remove(&self, height: Height) -> bool {
        let mut state = self.state();
        state.untold.remove(&height);
        state.unread.remove(&height);
        state.heights.remove(&height).is_some()
    }

    /// A damaged height is so only because a page of the index could not be read.
    pub fn note_unread(&self, height: Height) {
        let mut state = self.state();
        if state.heights.contains_key(&height) {
            state.unread.insert(height);
        }
    }

    /// The heights that were damaged for that reason.
    pub fn take_unread(&self) -> BTreeSet<Height> {
        std::mem::take(&mut self.state().unread)
    }

    pub fn contains(&self, height: Height) -> bool {
        self.state().heights.contains_key(&height)
    }

    pub fn get(&self, height: Height) -> Option<DamageFound> {
        self.state().heights.get(&height).cloned()
    }

    /// The damaged heights, lowest first.
    pub fn heights(&self) -> Vec<Height> {
        self.state().heights.keys().copied().collect()
    }

    pub fn count(&self) -> usize {
        self.state().heights.len()
    }

    /// Heights that the core has not heard of, at most `heights_max`, lowest first; from now on it has.
    pub fn take_untold(&self, heights_max: usize) -> Vec<Height> {
        let mut state = self.state();
        let taken = (0..heights_max).map_while(|_| state.untold.pop_first());
        taken.collect()
    }

    /// Checks the bound, and that nobody is told of a height that is whole.
    pub fn check(&self) {
        let state = self.state();
        assert!(state.heights.len() <= DAMAGED_MAX, "few damaged heights are remembered");
        assert!(
            state.untold.iter().all(|height| state.heights.contains_key(height)),
            "only a damaged height is told of"
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of day; 0 where the clock stands before 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_is_told_once_of_each_damaged_height_and_again_after_it_was_restored() {
        let damages = Damages::default();
        let reason: Arc<str> = "a checksum".into();
        for height in [7, 3, 7, 5] {
            damages.add(Height(height), &reason);
        }
        assert_eq!(damages.heights(), [Height(3), Height(5), Height(7)]);
        assert_eq!(damages.take_untold(2), [Height(3), Height(5)]);
        assert!(!damages.add(Height(3), &reason), "it is known");
        assert_eq!(damages.take_untold(9), [Height(7)]);
        assert!(damages.remove(Height(3)) && !damages.remove(Height(3)));
        assert!(damages.add(Height(3), &reason));
        assert_eq!(damages.take_untold(9), [Height(3)]);
        damages.check();
    }

    #[test]
    fn a_height_that_was_restored_before_it_was_told_of_is_not_told_of() {
        let damages = Damages::default();
        damages.add(Height(1), &"a checksum".into());
        damages.remove(Height(1));
        assert!(damages.take_untold(9).is_empty());
        assert!(damages.get(Height(1)).is_none() && damages.count() == 0);
    }

    #[test]
    fn damage_without_end_is_remembered_up_to_a_bound() {
        let damages = Damages::default();
        let reason: Arc<str> = "a lost file".into();
        for height in 0..=DAMAGED_MAX as u64 {
            damages.add(Height(height), &reason);
        }
        damages.check();
        assert_eq!(damages.count(), DAMAGED_MAX);
        damages.remove(Height(9));
        assert!(damages.add(Height(DAMAGED_MAX as u64), &reason), "there is room again");
    }
}
