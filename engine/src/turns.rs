//! This file knows the order of forkchoice updates: first asked, first sent.
//!
//! Keeps: turns begin in the order in which they were taken, and one that is dropped holds up nobody.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::oneshot;

/// Hands out turns in the order they are taken.
#[derive(Debug, Default)]
pub struct Turns {
    last: Option<oneshot::Receiver<()>>,
    taken: u64,
    /// The number of the newest turn that began; 0 before the first.
    begun: Rc<Cell<u64>>,
}

/// A place in the order. Dropping it lets the next one go.
#[derive(Debug)]
pub struct Turn {
    /// From 1, in the order taken.
    number: u64,
    begun: Rc<Cell<u64>>,
    before: Option<oneshot::Receiver<()>>,
    // Never sent on: its drop is the signal, so that a turn that fails or panics lets the next one go too.
    _done: oneshot::Sender<()>,
}

impl Turns {
    /// Takes the next place.
    pub fn take(&mut self) -> Turn {
        let (done, after) = oneshot::channel();
        self.taken += 1;
        let turn = Turn {
            number: self.taken,
            begun: Rc::clone(&self.begun),
            before: self.last.replace(after),
            _done: done,
        };
        turn.check();
        turn
    }
}

impl Turn {
    /// Waits until every earlier turn is over.
    pub async fn begin(&mut self) {
        if let Some(before) = self.before.take() {
            // The sender is dropped, never used: the error is what we wait for.
            let _ = before.await;
        }
        self.check();
        self.begun.set(self.number);
    }

    /// No turn begins after a later one.
    fn check(&self) {
        assert!(
            self.begun.get() <= self.number,
            "forkchoice updates keep the order in which they were asked for"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[tokio::test(flavor = "current_thread")]
    async fn turns_run_in_the_order_taken_whatever_the_order_of_waiting() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let mut turns = Turns::default();
        let mut taken: Vec<_> = (0..4).map(|index| (index, turns.take())).collect();
        taken.reverse();
        let local = tokio::task::LocalSet::new();
        for (index, mut turn) in taken {
            let order = Rc::clone(&order);
            local.spawn_local(async move {
                turn.begin().await;
                order.borrow_mut().push(index);
            });
        }
        local.await;
        assert_eq!(*order.borrow(), [0, 1, 2, 3]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_turn_that_is_given_up_does_not_hold_up_the_next() {
        let mut turns = Turns::default();
        let first = turns.take();
        let mut second = turns.take();
        drop(first);
        second.begin().await;
    }
}
