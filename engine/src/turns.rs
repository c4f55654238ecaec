//! This file knows the order of forkchoice updates: first asked, first sent.
//!
//! A turn that is dropped holds up nobody: its drop lets the next one go.
//!
//! Keeps: turns begin in the order in which they were taken.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::oneshot;

/// Resolves when a turn is over. A turn that is given up before it began sends what it waited for itself.
#[derive(Debug)]
struct Over(oneshot::Receiver<Over>);

/// Hands out turns in the order they are taken.
#[derive(Debug, Default)]
pub struct Turns {
    last: Option<Over>,
    taken: u64,
    /// The number of the newest turn that began; 0 before the first.
    begun: Rc<Cell<u64>>,
}

/// A position in the order. Dropping it lets the next one go.
#[derive(Debug)]
pub struct Turn {
    /// From 1, in the order taken.
    number: u64,
    begun: Rc<Cell<u64>>,
    before: Option<Over>,
    // Its drop is the signal, so that a turn that fails or panics lets the next one go too.
    done: Option<oneshot::Sender<Over>>,
}

impl Turns {
    /// Takes the next position.
    pub fn take(&mut self) -> Turn {
        let (done, after) = oneshot::channel();
        self.taken += 1;
        let turn = Turn {
            number: self.taken,
            begun: Rc::clone(&self.begun),
            before: self.last.replace(Over(after)),
            done: Some(done),
        };
        turn.check();
        turn
    }
}

impl Turn {
    /// Waits until every earlier turn is over.
    pub async fn begin(&mut self) {
        // An error means that the turn before is over: its sender was dropped.
        while let Some(before) = &mut self.before {
            self.before = (&mut before.0).await.ok();
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

impl Drop for Turn {
    fn drop(&mut self) {
        // Whoever comes next must still wait for whom this one waited for.
        if let (Some(before), Some(done)) = (self.before.take(), self.done.take()) {
            // Nobody may come next.
            let _ = done.send(before);
        }
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

    #[tokio::test(flavor = "current_thread")]
    async fn a_turn_that_is_given_up_does_not_let_the_next_overtake() {
        let mut turns = Turns::default();
        let mut first = turns.take();
        let second = turns.take();
        let mut third = turns.take();
        drop(second);
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), third.begin()).await;
        assert!(early.is_err(), "the first has not begun");
        first.begin().await;
        drop(first);
        third.begin().await;
    }
}
