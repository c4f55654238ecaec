//! This file knows one live connection to an authenticated peer: what waits for the peer, and how much it may ask for.

use std::cell::{Cell, RefCell};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use ultramarine_types::chain::Limits;
use ultramarine_types::{Address, Height, Nanos, PeerId};

use crate::backlog::Lane;
use crate::bounds;
use crate::connection::bulk::Bulk;
use crate::connection::queue::{MessageName, Queue};
use crate::metrics::Metrics;
use crate::peers::budgets::Spender;
use crate::peers::origin::PeerOrigin;
use crate::peers::origin::Site;
use crate::serve::answers::{AnswerClass, Answers};
use crate::wire::hello::{Goodbye, Plans};

pub(crate) struct Session {
    pub peer: PeerId,
    /// The validator that attests the peer; `None` for a full node.
    pub validator: Option<Address>,
    /// Whether our operator configured it.
    pub is_listed: Cell<bool>,
    /// When the peer said who it is.
    pub since: Nanos,
    /// Whether it has given us what we asked for.
    pub has_served: Cell<bool>,
    /// The newest height that it says it has decided.
    pub tip: Cell<Option<Height>>,
    pub connection: quinn::Connection,
    /// Whether we dialed it.
    pub dialed: bool,
    pub instance: u64,
    /// The version of the wire that both ends speak.
    pub version: u32,
    pub plans: Plans,
    /// Where the peer's handshake came from, or where we found it.
    pub site: Site,
    queue: RefCell<Queue>,
    queued: Notify,
    /// Tasks that stream values to the peer.
    bulk: RefCell<Bulk<AbortHandle>>,
    repairs: Answers,
    packages: Answers,
    /// UDP bytes sent and received that the metrics have already.
    counted: Cell<(u64, u64)>,
}

/// Everything that a session is made of.
pub(crate) struct SessionParts {
    pub peer: PeerId,
    pub validator: Option<Address>,
    pub is_listed: bool,
    pub since: Nanos,
    pub connection: quinn::Connection,
    pub dialed: bool,
    pub instance: u64,
    pub version: u32,
    pub plans: Plans,
    pub site: Site,
    pub limits: Limits,
}

impl Session {
    pub fn new(parts: SessionParts) -> Self {
        let SessionParts {
            peer,
            validator,
            is_listed,
            since,
            connection,
            dialed,
            instance,
            version,
            plans,
            site,
            limits,
        } = parts;
        let window = match validator {
            Some(_) => bounds::VALIDATOR_WINDOW_BYTES,
            None => bounds::FULL_NODE_WINDOW_BYTES,
        };
        connection.set_receive_window(window.into());
        Self {
            peer,
            validator,
            is_listed: Cell::new(is_listed),
            since,
            has_served: Cell::new(false),
            tip: Cell::new(None),
            dialed,
            instance,
            version,
            plans,
            site,
            connection,
            queue: RefCell::new(Queue::default()),
            queued: Notify::new(),
            bulk: RefCell::default(),
            repairs: Answers::of(&limits, bounds::REPAIRS_WAITING_VALUES),
            packages: Answers::of(&limits, bounds::PACKAGES_WAITING_VALUES),
            counted: Cell::new((0, 0)),
        }
    }

    /// Queues a consensus message.
    pub fn send(&self, name: MessageName, frame: Bytes) {
        self.queue.borrow_mut().push(name, frame);
        self.queued.notify_one();
    }

    pub fn send_status(&self, frame: Bytes) {
        self.queue.borrow_mut().push_status(frame);
        self.queued.notify_one();
    }

    /// Takes up to 64 messages, waiting for the first.
    pub async fn next_messages(&self) -> Vec<Bytes> {
        loop {
            let frames: Vec<Bytes> = {
                let mut queue = self.queue.borrow_mut();
                std::iter::from_fn(|| queue.pop()).take(64).collect()
            };
            if !frames.is_empty() {
                return frames;
            }
            self.queued.notified().await;
        }
    }

    /// Remembers a value stream to this peer. Older ones give way if there are too many, or if all have more than
    /// `bytes_max` bytes. Returns how many gave way.
    pub fn add_bulk(&self, task: AbortHandle, bytes: u64, bytes_max: u64) -> u64 {
        let mut bulk = self.bulk.borrow_mut();
        let gone = bulk.add(task, bytes, bytes_max, AbortHandle::is_finished);
        gone.iter().for_each(AbortHandle::abort);
        gone.len() as u64
    }

    /// What bounds the peer's answers of a class.
    pub const fn answers(&self, class: AnswerClass) -> &Answers {
        match class {
            AnswerClass::Repair => &self.repairs,
            AnswerClass::Package => &self.packages,
        }
    }

    /// Names those who pay for what the peer makes us do.
    pub fn spender(&self) -> Spender {
        Spender {
            peer: self.peer,
            origin: self.origin(),
        }
    }

    /// Whether nobody but its site stands behind the peer.
    pub fn is_stranger(&self) -> bool {
        self.validator.is_none() && !self.is_listed.get()
    }

    /// What the peer says goes before what strangers say, if it is none.
    pub fn lane(&self) -> Lane {
        if self.is_stranger() {
            Lane::Strangers
        } else {
            Lane::First
        }
    }

    /// Names who stands behind the peer.
    pub fn origin(&self) -> PeerOrigin {
        match (self.validator, self.is_listed.get()) {
            (Some(validator), _) => PeerOrigin::Validator(validator),
            (None, true) => PeerOrigin::Listed(self.peer),
            (None, false) => PeerOrigin::Site(self.site),
        }
    }

    /// Ends the connection with a reason the peer can read.
    pub fn close(&self, reason: Goodbye) {
        close(&self.connection, reason);
    }

    /// UDP bytes that have come from the peer.
    pub fn received_bytes(&self) -> u64 {
        self.connection.stats().udp_rx.bytes
    }

    /// Adds the bytes that went over the wire since the last count.
    pub fn count(&self, metrics: &Metrics) {
        let stats = self.connection.stats();
        let (sent, received) = self.counted.get();
        metrics.sent_bytes.add(stats.udp_tx.bytes.saturating_sub(sent));
        metrics.received_bytes.add(stats.udp_rx.bytes.saturating_sub(received));
        self.counted.set((stats.udp_tx.bytes, stats.udp_rx.bytes));
    }
}

/// Ends a connection with a reason the peer can read.
pub(crate) fn close(connection: &quinn::Connection, reason: Goodbye) {
    close_saying(connection, reason, &reason.to_string());
}

/// Ends a connection with a reason and a text for the peer.
pub(crate) fn close_saying(connection: &quinn::Connection, reason: Goodbye, text: &str) {
    connection.close(quinn::VarInt::from_u32(reason as u32), text.as_bytes());
}
