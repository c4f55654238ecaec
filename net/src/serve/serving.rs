//! This file knows how tasks wait for their turn in the [`ServingQueue`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::{Notify, oneshot};
use ultramarine_runtime::Clock;
use ultramarine_types::Nanos;

use crate::metrics::{Metrics, raise};
use crate::peers::origin::PeerOrigin;
use crate::serve::queue::{Portion, ServingQueue, TurnId};

/// Turns to send background bytes.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: RefCell<ServingQueue>,
    waiting: RefCell<BTreeMap<TurnId, oneshot::Sender<()>>>,
    named: Cell<u64>,
    moved: Notify,
}

/// A portion from the moment it is asked for until it has left.
#[derive(Debug)]
pub(crate) struct Turn {
    ticket: TurnId,
    shared: Rc<Shared>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.queue.borrow_mut().done(self.ticket);
        self.shared.waiting.borrow_mut().remove(&self.ticket);
        self.shared.moved.notify_one();
    }
}

/// A stream that the current round needs, as long as this lives.
#[derive(Debug)]
pub(crate) struct RoundStream {
    ticket: TurnId,
    shared: Rc<Shared>,
}

impl Drop for RoundStream {
    fn drop(&mut self) {
        self.shared.queue.borrow_mut().end_round(self.ticket);
        self.shared.moved.notify_one();
    }
}

impl Serving {
    pub fn new(bytes_per_second: u64, round_wait: Nanos) -> Self {
        Self {
            shared: Rc::new(Shared {
                queue: RefCell::new(ServingQueue::new(bytes_per_second, round_wait)),
                waiting: RefCell::default(),
                named: Cell::new(0),
                moved: Notify::new(),
            }),
        }
    }

    /// Waits until some background bytes may leave. The turn lasts until what is returned is dropped.
    pub async fn turn(&self, now: Nanos, origin: PeerOrigin, bytes: u64) -> Turn {
        let ticket = self.name();
        let (grant, granted) = oneshot::channel();
        self.shared.waiting.borrow_mut().insert(ticket, grant);
        self.shared
            .queue
            .borrow_mut()
            .ask(now, Portion { ticket, origin, bytes });
        let turn = Turn {
            ticket,
            shared: self.shared.clone(),
        };
        self.shared.moved.notify_one();
        let _ = granted.await;
        turn
    }

    /// A stream begins that the current round needs.
    pub fn begin_round(&self, now: Nanos) -> RoundStream {
        let ticket = self.name();
        self.shared.queue.borrow_mut().begin_round(now, ticket);
        let shared = self.shared.clone();
        RoundStream { ticket, shared }
    }

    /// Gives turns; never ends.
    pub async fn keep_time(&self, clock: &Clock) {
        loop {
            let due = self.grant(clock.now());
            match due {
                None => self.shared.moved.notified().await,
                Some(due) => {
                    let wait = due.since(clock.now()).as_duration();
                    let _ = tokio::time::timeout(wait, self.shared.moved.notified()).await;
                }
            }
        }
    }

    /// Gives all turns that may be given; when to look again.
    fn grant(&self, now: Nanos) -> Option<Nanos> {
        let mut queue = self.shared.queue.borrow_mut();
        while let Some(ticket) = queue.next(now) {
            if let Some(grant) = self.shared.waiting.borrow_mut().remove(&ticket) {
                let _ = grant.send(());
            }
        }
        queue.deadline(now)
    }

    fn name(&self) -> TurnId {
        let name = self.shared.named.get() + 1;
        self.shared.named.set(name);
        TurnId(name)
    }

    /// Brings the counters up to date.
    pub fn count(&self, metrics: &Metrics) {
        let queue = self.shared.queue.borrow();
        let waiting = i64::try_from(queue.waiting_bytes()).unwrap_or(i64::MAX);
        metrics.serving_waiting_bytes.set(waiting);
        raise(&metrics.serving_shed, queue.shed());
        for (rank, counter) in &metrics.serving_bytes {
            raise(counter, queue.granted_bytes(*rank));
        }
    }
}
