//! This file knows whose answer is read from the source next.
//!
//! - One validator, by however many sessions, has at most half of all validators' turns of a class.
//! - One full node has at most half of all full nodes' turns, even if it comes back by another session. Those that are
//!   configured have turns apart from strangers.
//! - Validators and full nodes have separate turns, so that full nodes cannot keep a validator from repairing a value.
//! - Validators' repairs and packages have separate turns, so that heights to catch up with cannot do so either.
//!
//! Keeps: an owner that has one of the shared turns has one of its own as well.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;
use ultramarine_types::{Address, PeerId};

use crate::bounds;
use crate::connection::session::Session;
use crate::serve::answers::AnswerClass;

/// A validator or a full node, by whatever session. It has few turns at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Validator(Address),
    Listed(PeerId),
    FullNode(PeerId),
}

impl Owner {
    /// Turns of each class that it may have at one time.
    const fn turns(self) -> usize {
        match self {
            Self::Validator(_) => bounds::SERVING_PER_VALIDATOR_MAX,
            Self::Listed(_) | Self::FullNode(_) => bounds::SERVING_PER_FULL_NODE_MAX,
        }
    }
}

/// Turns to read from the source. Each may keep one thread waiting for the disk.
#[derive(Debug)]
pub(crate) struct SourceTurns {
    repairs: Semaphore,
    packages: Semaphore,
    listed: Semaphore,
    full_nodes: Semaphore,
    /// The own turns of those that have a turn or wait for one.
    own: RefCell<BTreeMap<(Owner, AnswerClass), Weak<Semaphore>>>,
}

impl SourceTurns {
    pub const fn new() -> Self {
        Self {
            repairs: Semaphore::const_new(bounds::SERVING_VALIDATORS_MAX),
            packages: Semaphore::const_new(bounds::SERVING_VALIDATORS_MAX),
            listed: Semaphore::const_new(bounds::SERVING_FULL_NODES_MAX),
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
        for (is_listed, all) in [(true, &self.listed), (false, &self.full_nodes)] {
            let of = |owner, _| match owner {
                Owner::Validator(_) => false,
                Owner::Listed(_) => is_listed,
                Owner::FullNode(_) => !is_listed,
            };
            assert!(
                bounds::SERVING_FULL_NODES_MAX - all.available_permits() <= taken(&of),
                "a turn of a full node is one of its own"
            );
        }
    }

    /// Does `work` for a peer when it is the peer's turn; `None` if the node goes down.
    pub async fn during<T>(&self, session: &Session, class: AnswerClass, work: impl Future<Output = T>) -> Option<T> {
        let owner = match (session.validator, session.is_listed.get()) {
            (Some(validator), _) => Owner::Validator(validator),
            (None, true) => Owner::Listed(session.peer),
            (None, false) => Owner::FullNode(session.peer),
        };
        let all = match (owner, class) {
            (Owner::FullNode(_), _) => &self.full_nodes,
            (Owner::Listed(_), _) => &self.listed,
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
