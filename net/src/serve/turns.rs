//! This file knows whose answer is read from the source next. One validator, by however many sessions, has half of all turns of a class at
//! most, and one full node half of those of all full nodes, though it comes back by another session; validators and full nodes have turns of their own, so that no number of full nodes can keep a
//! validator from repairing a value; and so have validators' repairs and packages, so that no number of heights to catch up
//! with can.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;
use ultramarine_types::{Address, PeerId};

use crate::bounds;
use crate::connection::session::Session;
use crate::serve::answers::AnswerClass;

/// Who has few turns at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Validator(Address),
    FullNode(PeerId),
}

impl Owner {
    /// SourceTurns of each class that it may have at one time.
    const fn turns(self) -> usize {
        match self {
            Self::Validator(_) => bounds::SERVING_PER_VALIDATOR_MAX,
            Self::FullNode(_) => bounds::SERVING_PER_FULL_NODE_MAX,
        }
    }
}

/// SourceTurns to read from the source. Each may keep a thread waiting for the disk.
#[derive(Debug)]
pub(crate) struct SourceTurns {
    repairs: Semaphore,
    packages: Semaphore,
    full_nodes: Semaphore,
    /// Of those that have a turn or wait for one.
    own: RefCell<BTreeMap<(Owner, AnswerClass), Weak<Semaphore>>>,
}

impl SourceTurns {
    pub const fn new() -> Self {
        Self {
            repairs: Semaphore::const_new(bounds::SERVING_VALIDATORS_MAX),
            packages: Semaphore::const_new(bounds::SERVING_VALIDATORS_MAX),
            full_nodes: Semaphore::const_new(bounds::SERVING_FULL_NODES_MAX),
            own: RefCell::new(BTreeMap::new()),
        }
    }

    fn own(&self, owner: Owner, class: AnswerClass) -> Arc<Semaphore> {
        let mut own = self.own.borrow_mut();
        own.retain(|_, turns| turns.strong_count() > 0);
        let known = own.get(&(owner, class)).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(owner.turns()));
            own.insert((owner, class), Arc::downgrade(&turns));
            turns
        })
    }

    /// Whoever has one of the turns that all share has one of its own as well.
    fn check(&self) {
        let own = self.own.borrow();
        let taken = |of: &dyn Fn(Owner, AnswerClass) -> bool| -> usize {
            own.iter()
                .filter(|((owner, class), _)| of(*owner, *class))
                .filter_map(|((owner, _), turns)| Some(owner.turns() - turns.upgrade()?.available_permits()))
                .sum()
        };
        for (class, all) in [
            (AnswerClass::Repair, &self.repairs),
            (AnswerClass::Package, &self.packages),
        ] {
            let of = |owner, its_class| matches!(owner, Owner::Validator(_)) && its_class == class;
            assert!(
                bounds::SERVING_VALIDATORS_MAX - all.available_permits() <= taken(&of),
                "a turn of a validator is one of its own"
            );
        }
        let of = |owner, _| matches!(owner, Owner::FullNode(_));
        assert!(
            bounds::SERVING_FULL_NODES_MAX - self.full_nodes.available_permits() <= taken(&of),
            "a turn of a full node is one of its own"
        );
    }

    /// Works for a peer when it is its turn; `None` if the node goes down.
    pub async fn during<T>(&self, session: &Session, class: AnswerClass, work: impl Future<Output = T>) -> Option<T> {
        let owner = session
            .validator
            .map_or(Owner::FullNode(session.peer), Owner::Validator);
        let all = match (owner, class) {
            (Owner::FullNode(_), _) => &self.full_nodes,
            (Owner::Validator(_), AnswerClass::Repair) => &self.repairs,
            (Owner::Validator(_), AnswerClass::Package) => &self.packages,
        };
        let own = self.own(owner, class);
        let _own = own.acquire().await.ok()?;
        let _turn = all.acquire().await.ok()?;
        self.check();
        Some(work.await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_the_owners_by_whatever_link_it_asks() {
        let turns = SourceTurns::new();
        let validator = Owner::Validator(Address([1; 20]));
        let first = turns.own(validator, AnswerClass::Repair);
        let taken: Vec<_> = (0..bounds::SERVING_PER_VALIDATOR_MAX)
            .map(|_| first.try_acquire().expect("a turn"))
            .collect();
        assert!(
            turns.own(validator, AnswerClass::Repair).try_acquire().is_err(),
            "by a second session"
        );
        for (owner, class) in [
            (validator, AnswerClass::Package),
            (Owner::Validator(Address([2; 20])), AnswerClass::Repair),
            (Owner::FullNode(PeerId([1; 32])), AnswerClass::Repair),
        ] {
            assert!(turns.own(owner, class).try_acquire().is_ok(), "{owner:?} has its own");
        }
        drop(taken);
        drop(first);
        assert!(turns.own(validator, AnswerClass::Repair).try_acquire().is_ok());
        turns.own(Owner::FullNode(PeerId([2; 32])), AnswerClass::Package);
        assert_eq!(
            turns.own.borrow().len(),
            1,
            "nobody is remembered who waits for nothing"
        );
    }
}
