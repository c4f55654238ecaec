//! This file knows how the network's core hands items to a bounded link without blocking.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio::sync::Notify;
use ultramarine_runtime::Sender;

/// Items on their way to a link, or to tasks. The pushers bound how many wait: the join's reservations bound parts, and
/// [`has_room`](Self::has_room) bounds messages.
#[derive(Debug)]
pub(crate) struct Backlog<T> {
    items: RefCell<VecDeque<T>>,
    news: Notify,
    room: Notify,
    full: usize,
}

impl<T> Backlog<T> {
    /// A backlog that has no room once `full` items wait.
    pub fn new(full: usize) -> Self {
        Self {
            items: RefCell::new(VecDeque::new()),
            news: Notify::new(),
            room: Notify::new(),
            full,
        }
    }

    /// Adds an item behind the others.
    pub fn push(&self, item: T) {
        self.items.borrow_mut().push_back(item);
        self.news.notify_one();
    }

    /// Waits until fewer than `full` items wait.
    pub async fn has_room(&self) {
        while self.items.borrow().len() >= self.full {
            self.room.notified().await;
        }
        // One waiter was woken; it wakes the next.
        self.room.notify_one();
    }

    /// Takes the oldest item, waiting until there is one.
    pub async fn next(&self) -> T {
        loop {
            let next = self.items.borrow_mut().pop_front();
            match next {
                Some(item) => return item,
                None => self.news.notified().await,
            }
        }
    }

    /// Moves items into the link until its receiver is gone.
    pub async fn pump(&self, link: Sender<T>) {
        loop {
            let item = self.next().await;
            if let Err(item) = link.try_send(item)
                && link.send_async(item).await.is_err()
            {
                return;
            }
            self.room.notify_one();
        }
    }
}
