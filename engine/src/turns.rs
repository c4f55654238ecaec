//! This file knows the order of forkchoice updates: who was asked first goes first.

use tokio::sync::oneshot;

/// Hands out turns in the order they are taken.
#[derive(Debug, Default)]
pub struct Turns {
    last: Option<oneshot::Receiver<()>>,
}

/// A place in the order; dropping it lets the next one go.
#[derive(Debug)]
pub struct Turn {
    before: Option<oneshot::Receiver<()>>,
    // Never sent on: its drop is the signal, so that a turn that fails or panics lets the next one go too.
    _done: oneshot::Sender<()>,
}

impl Turns {
    /// Takes the next place.
    pub fn take(&mut self) -> Turn {
        let (done, after) = oneshot::channel();
        Turn {
            before: self.last.replace(after),
            _done: done,
        }
    }
}

impl Turn {
    /// Waits until every earlier turn is over.
    pub async fn begin(&mut self) {
        if let Some(before) = self.before.take() {
            // An error is what is waited for: the sender is gone.
            let _ = before.await;
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
}
