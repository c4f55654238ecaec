//! This file knows how the network's core hands items to a bounded link without blocking.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::Notify;
use ultramarine_runtime::Sender;

/// An item of strangers goes into the link if fewer than this many wait there: so few are soon done that nobody behind
/// them notices.
const STRANGERS_IN_LINK_MAX: usize = 16;
/// Pause until the link is looked at again for an item of strangers.
const LOOK: Duration = Duration::from_millis(1);

/// Items on their way to a link, or to tasks. The pushers bound how many wait: the join's reservations bound parts, and
/// [`has_room`](Self::has_room) bounds messages.
///
/// Items of strangers wait behind all others, and have room of their own.
#[derive(Debug)]
pub(crate) struct Backlog<T> {
    items: RefCell<Lanes<T>>,
    news: Notify,
    room: Notify,
    strangers_room: Notify,
    full: usize,
}

#[derive(Debug)]
struct Lanes<T> {
    first: VecDeque<T>,
    strangers: VecDeque<T>,
}

/// Whose item it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    First,
    Strangers,
}

impl<T> Backlog<T> {
    /// A backlog whose lanes have no room once `full` items wait in each.
    pub fn new(full: usize) -> Self {
        Self {
            items: RefCell::new(Lanes {
                first: VecDeque::new(),
                strangers: VecDeque::new(),
            }),
            news: Notify::new(),
            room: Notify::new(),
            strangers_room: Notify::new(),
            full,
        }
    }

    /// Adds an item behind the others of the first lane.
    pub fn push(&self, item: T) {
        self.push_in(Lane::First, item);
    }

    pub fn push_in(&self, lane: Lane, item: T) {
        self.items.borrow_mut().lane(lane).push_back(item);
        self.news.notify_one();
    }

    /// Waits until fewer than `full` items wait in a lane.
    pub async fn has_room(&self, lane: Lane) {
        let room = self.room(lane);
        while self.items.borrow_mut().lane(lane).len() >= self.full {
            room.notified().await;
        }
        // One waiter was woken; it wakes the next.
        room.notify_one();
    }

    const fn room(&self, lane: Lane) -> &Notify {
        match lane {
            Lane::First => &self.room,
            Lane::Strangers => &self.strangers_room,
        }
    }

    /// Takes the oldest item of the first lane that has one, waiting until there is one.
    pub async fn next(&self) -> T {
        self.next_if(|| true).await.0
    }

    /// The same, but takes an item of strangers only while they may go.
    async fn next_if(&self, strangers_may: impl Fn() -> bool) -> (T, Lane) {
        loop {
            let is_held_back = {
                let mut items = self.items.borrow_mut();
                if let Some(item) = items.first.pop_front() {
                    return (item, Lane::First);
                }
                if !items.strangers.is_empty()
                    && strangers_may()
                    && let Some(item) = items.strangers.pop_front()
                {
                    return (item, Lane::Strangers);
                }
                !items.strangers.is_empty()
            };
            if is_held_back {
                let _ = tokio::time::timeout(LOOK, self.news.notified()).await;
            } else {
                self.news.notified().await;
            }
        }
    }

    /// Moves items into the link until its receiver is gone.
    pub async fn pump(&self, link: Sender<T>) {
        loop {
            let (item, lane) = self.next_if(|| link.len() < STRANGERS_IN_LINK_MAX).await;
            if let Err(item) = link.try_send(item)
                && link.send_async(item).await.is_err()
            {
                return;
            }
            self.room(lane).notify_one();
        }
    }
}

impl<T> Lanes<T> {
    const fn lane(&mut self, lane: Lane) -> &mut VecDeque<T> {
        match lane {
            Lane::First => &mut self.first,
            Lane::Strangers => &mut self.strangers,
        }
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_runtime::link;

    use super::*;

    fn run<T>(body: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(body)
    }

    #[test]
    fn items_of_strangers_wait_behind_all_others_and_take_nobodys_room() {
        run(async {
            let backlog = Backlog::new(2);
            for item in [10, 11] {
                backlog.push_in(Lane::Strangers, item);
            }
            let waits = tokio::time::timeout(LOOK, backlog.has_room(Lane::Strangers));
            assert!(waits.await.is_err(), "strangers have no more room");
            backlog.has_room(Lane::First).await;
            backlog.push(1);
            assert_eq!([backlog.next().await, backlog.next().await], [1, 10]);
            backlog.push(2);
            assert_eq!([backlog.next().await, backlog.next().await], [2, 11]);
        });
    }

    #[test]
    fn few_items_of_strangers_stand_before_a_vote_in_the_link() {
        run(async {
            let (sender, mut receiver) = link("test", 256).expect("a link");
            let backlog = Backlog::new(1024);
            (0..100).for_each(|item| backlog.push_in(Lane::Strangers, item));
            let pump = backlog.pump(sender);
            let vote = async {
                tokio::time::sleep(10 * LOOK).await;
                backlog.push(1000);
                tokio::time::sleep(10 * LOOK).await;
                let before = std::iter::from_fn(|| receiver.try_recv()).position(|item| item == 1000);
                assert!(
                    before.is_some_and(|before| before <= STRANGERS_IN_LINK_MAX),
                    "{before:?}"
                );
            };
            tokio::select! {
                () = pump => panic!("the link is open"),
                () = vote => {}
            }
        });
    }
}
