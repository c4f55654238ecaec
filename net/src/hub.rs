//! This file knows the network tile's state: it feeds the join, carries out what it asks, and keeps peers and scores.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use ultramarine_runtime::{Io, TileContext};
use ultramarine_types::chain::Limits;
use ultramarine_types::network::{Fault, NetCommand, NetEvent, OfferId, Recipients};
use ultramarine_types::storage::{Source, StoreRequest};
use ultramarine_types::verify::VerifyJob;
use ultramarine_types::{ChainParams, Hash, Machine, Nanos, Outbox, PeerId, ValidatorSet, ValueKey};

use crate::bounds;
use crate::budgets::{Budgets, Spend};
use crate::buffers::Buffers;
use crate::charges::ChargeLog;
use crate::doors::Doors;
use crate::hello::Goodbye;
use crate::identity::{Attester, Identity};
use crate::link::Link;
use crate::message;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::peers::{BAN_SCORE, ORIGIN_BAN_SCORE, Origin, Scores, newer_stays, place};
use crate::reader::Reader;
use crate::streaming::{Completed, Input, Join, JoinConfig, Output};
use crate::turns::Turns;
use crate::{request, serve, watched};

/// What all tasks of the network's core share. One thread owns it; no borrow is held over an `await`.
pub(crate) struct Hub {
    pub chain: ChainParams,
    pub limits: Limits,
    pub validators: Arc<ValidatorSet>,
    pub genesis_hash: Hash,
    pub identity: Identity,
    pub attester: Option<Attester>,
    pub instance: u64,
    pub io: Io,
    pub context: TileContext,
    pub metrics: Metrics,
    pub source: Arc<dyn Source>,
    pub buffers: Buffers,
    pub events: Outlet<NetEvent>,
    pub jobs: Outlet<VerifyJob>,
    pub store: Outlet<StoreRequest>,
    /// Requests whose answers are being read from the source.
    pub turns: Turns,
    /// Full nodes that are sent values nobody asked for.
    pub full_node_streams: Arc<Semaphore>,
    join: RefCell<Join>,
    join_moved: Notify,
    readers: RefCell<BTreeMap<OfferId, Rc<Reader>>>,
    streams_named: Cell<u64>,
    scores: RefCell<Scores<PeerId>>,
    /// What peers of one origin did together, whatever keys they had.
    origins: RefCell<Scores<Origin>>,
    budgets: RefCell<Budgets>,
    /// Who may come in.
    pub doors: Rc<RefCell<Doors>>,
    links: RefCell<BTreeMap<PeerId, Rc<Link>>>,
    charges: RefCell<ChargeLog>,
    /// When it was last said that the attestation of somebody who came has expired.
    lapse_said: Cell<Option<Nanos>>,
}

/// What a hub is made of.
pub(crate) struct HubParts {
    pub chain: ChainParams,
    pub validators: Arc<ValidatorSet>,
    pub genesis_hash: Hash,
    pub identity: Identity,
    pub attester: Option<Attester>,
    pub io: Io,
    pub context: TileContext,
    pub source: Arc<dyn Source>,
}

/// A peer left before it could afford what it wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unaffordable;

impl Hub {
    pub fn new(parts: HubParts) -> Self {
        let HubParts {
            chain,
            validators,
            genesis_hash,
            identity,
            attester,
            io,
            context,
            source,
        } = parts;
        let limits = chain.limits();
        Self {
            limits,
            validators,
            genesis_hash,
            identity,
            attester,
            instance: rand::random(),
            io,
            metrics: Metrics::new(&context.registry),
            context,
            source,
            buffers: Buffers::new(&limits),
            events: Outlet::new(bounds::EVENTS_WAITING_MAX),
            jobs: Outlet::new(usize::MAX),
            store: Outlet::new(usize::MAX),
            turns: Turns::new(),
            full_node_streams: Arc::new(Semaphore::new(bounds::FULL_NODE_STREAMS_MAX)),
            join: RefCell::new(Join::new(JoinConfig { limits })),
            join_moved: Notify::new(),
            readers: RefCell::new(BTreeMap::new()),
            streams_named: Cell::new(0),
            scores: RefCell::new(Scores::new(BAN_SCORE)),
            origins: RefCell::new(Scores::new(ORIGIN_BAN_SCORE)),
            budgets: RefCell::new(Budgets::default()),
            doors: Rc::default(),
            links: RefCell::new(BTreeMap::new()),
            charges: RefCell::new(ChargeLog::default()),
            lapse_said: Cell::new(None),
            chain,
        }
    }

    pub fn now(&self) -> Nanos {
        self.context.clock.now()
    }

    /// Runs a task beside the others; if it panics the node stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        watched::spawn(&self.context.halt, task)
    }

    /// Runs a task that lasts as long as the node; if it ends, or panics, the node stops.
    pub fn spawn_lasting(&self, what: &'static str, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        watched::spawn_lasting(&self.context.halt, what, task)
    }

    /// Carries out a command of the core.
    pub fn command(self: &Rc<Self>, command: NetCommand) {
        match command {
            NetCommand::Send { to, message } => {
                let (height, frame) = (message.height(), message::message_frame(&message));
                for link in self.recipients(to) {
                    self.metrics.messages_sent.inc();
                    link.send(height, frame.clone());
                }
            }
            NetCommand::Status { to, status } => {
                if let Some(link) = self.link(&to) {
                    self.metrics.messages_sent.inc();
                    link.send_status(message::status_frame(&status));
                }
            }
            NetCommand::Admit { offer, tag } => self.feed(Input::Admit { offer, tag }),
            NetCommand::Refuse { offer, why } => self.feed(Input::Refuse { offer, why }),
            NetCommand::Stream { key, to } => {
                let receivers = self.recipients(to);
                self.spawn(serve::stream(self.clone(), key, receivers));
            }
            NetCommand::Fetch { key, peer } => {
                let stream = self.name_stream();
                self.feed(Input::Fetch { stream, key, peer });
            }
            NetCommand::Sync { peer, height, want } => {
                self.spawn(request::sync(self.clone(), peer, height, want));
            }
            NetCommand::Forget { height } => self.feed(Input::Forget { height }),
            NetCommand::Charge { peer, fault } => self.charge(peer, fault, "found by consensus", None),
        }
    }

    /// Tells the join, and carries out what it wants.
    pub fn feed(self: &Rc<Self>, input: Input) {
        let mut out = Outbox::new();
        self.join.borrow_mut().handle(self.now(), input, &mut out);
        self.join_moved.notify_one();
        self.carry_out(&mut out);
    }

    /// Wakes the join whenever it is due; never ends.
    pub async fn keep_time(self: Rc<Self>) {
        loop {
            let deadline = self.join.borrow().deadline();
            match deadline {
                None => self.join_moved.notified().await,
                Some(due) if due <= self.now() => {
                    let mut out = Outbox::new();
                    self.join.borrow_mut().wake(self.now(), &mut out);
                    self.carry_out(&mut out);
                    // Whatever is due again at once lets others run first.
                    tokio::task::yield_now().await;
                }
                Some(due) => {
                    let wait = due.since(self.now()).as_duration();
                    tokio::select! {
                        () = self.join_moved.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    fn carry_out(self: &Rc<Self>, out: &mut Outbox<Output>) {
        while let Some(output) = out.pop() {
            match output {
                Output::Ask(event) => self.events.push(event),
                Output::Start { stream } => {
                    if let Some(reader) = self.readers.borrow().get(&stream) {
                        reader.start();
                    }
                }
                Output::Stop { stream, why } => {
                    if let Some(reader) = self.readers.borrow_mut().remove(&stream) {
                        reader.stop(why);
                    }
                }
                Output::Verify(job) => self.jobs.push(job),
                Output::Request {
                    stream,
                    peer,
                    key,
                    missing,
                } => {
                    let reader = self.register(stream);
                    self.spawn(request::parts(self.clone(), stream, reader, peer, key, missing));
                }
                Output::Complete(completed) => self.complete(*completed),
                Output::Charge { peer, fault, key } => self.charge(peer, fault, "found while joining", Some(key)),
            }
        }
    }

    fn complete(&self, completed: Completed) {
        let Completed {
            assembly,
            tag,
            streamed,
            verified,
        } = completed;
        self.metrics.values_joined.inc();
        self.metrics.stream.record(streamed);
        if let Some(verified) = verified {
            self.metrics.verify.record(verified);
        }
        self.store.push(StoreRequest::Put { assembly, tag });
    }

    /// Names a new stream.
    pub fn name_stream(&self) -> OfferId {
        let name = self.streams_named.get() + 1;
        self.streams_named.set(name);
        OfferId(name)
    }

    /// Registers the reader of a stream, so that the join can start and stop it.
    pub fn register(&self, stream: OfferId) -> Rc<Reader> {
        let reader = Rc::new(Reader::default());
        self.readers.borrow_mut().insert(stream, reader.clone());
        reader
    }

    /// The stream is read no more.
    pub fn unregister(&self, stream: OfferId) {
        self.readers.borrow_mut().remove(&stream);
    }

    /// Scores a fault, logs it (one line a peer, fault and second), and parts from a peer that has had its measure.
    pub fn charge(&self, peer: PeerId, fault: Fault, what: &str, key: Option<ValueKey>) {
        let now = self.now();
        self.metrics.fault(fault);
        let banned = self.scores.borrow_mut().charge(now, peer, fault);
        if let Some(unsaid) = self.charges.borrow_mut().say(now, peer, fault) {
            let value = key.map_or_else(String::new, |key| format!(" of value {key}"));
            tracing::warn!(%peer, fault = fault.name(), "charged{value}: {what} ({unsaid} like it not shown)");
        }
        let Some(link) = self.link(&peer) else { return };
        self.origins.borrow_mut().charge(now, link.origin(), fault);
        if banned {
            link.close(Goodbye::Banned);
        }
    }

    /// Whether it is time for another line about an attestation that has expired. Whoever comes with one can come often.
    pub fn says_lapse(&self) -> bool {
        let now = self.now();
        let due = self
            .lapse_said
            .get()
            .is_none_or(|at| now.since(at) >= bounds::LAPSE_LINE);
        if due {
            self.lapse_said.set(Some(now));
        }
        due
    }

    /// Has whoever pays for a peer pay for what it makes us do, one after the other, and waits until each can afford it.
    /// An error if the connection ends before: then they have their money back, and nothing is to be done.
    pub async fn spend(&self, link: &Link, spend: Spend) -> Result<(), Unaffordable> {
        let payers = || link.spender().payers();
        for (paid_before, payer) in payers().enumerate() {
            let wait = self.budgets.borrow_mut().take(self.now(), payer, spend);
            if wait == Nanos::ZERO {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(wait.as_duration()) => {}
                _ = link.connection.closed() => {
                    let mut budgets = self.budgets.borrow_mut();
                    let paid = payers().take(paid_before + 1);
                    paid.for_each(|payer| budgets.give_back(self.now(), payer, spend));
                    return Err(Unaffordable);
                }
            }
        }
        Ok(())
    }

    /// The live link to a peer.
    pub fn link(&self, peer: &PeerId) -> Option<Rc<Link>> {
        self.links.borrow().get(peer).cloned()
    }

    fn recipients(&self, to: Recipients) -> Vec<Rc<Link>> {
        match to {
            Recipients::All => self.links.borrow().values().cloned().collect(),
            Recipients::One(peer) => self.link(&peer).into_iter().collect(),
        }
    }

    /// Makes a checked connection the peer's link, or says why not.
    pub fn adopt(&self, link: &Rc<Link>) -> Result<(), Goodbye> {
        let me = self.identity.peer();
        if link.peer == me {
            return Err(Goodbye::Myself);
        }
        if self.scores.borrow().is_banned(self.now(), &link.peer) {
            return Err(Goodbye::Banned);
        }
        // A new key is no new start.
        if self.origins.borrow().is_banned(self.now(), &link.origin()) {
            return Err(Goodbye::Banned);
        }
        let mut links = self.links.borrow_mut();
        // Looked at whenever a peer comes: it may have been attested by nobody, or by another, before.
        let others = links
            .values()
            .filter(|other| other.peer != link.peer && other.connection.close_reason().is_none());
        place(others.map(|other| other.validator), link.validator)?;
        if let Some(old) = links.get(&link.peer) {
            let same_process = old.instance == link.instance && old.connection.close_reason().is_none();
            if same_process && !newer_stays(&me, &link.peer, old.dialed, link.dialed) {
                return Err(Goodbye::Duplicate);
            }
            old.close(Goodbye::Duplicate);
            // What was on its way over the old connection may be lost: the core sends its standing messages again.
            self.events.push(NetEvent::PeerDown { peer: link.peer });
        }
        links.insert(link.peer, link.clone());
        self.events.push(NetEvent::PeerUp {
            peer: link.peer,
            validator: link.validator,
        });
        drop(links);
        self.count_peers();
        Ok(())
    }

    /// A connection is gone.
    pub fn release(&self, link: &Rc<Link>) {
        let mut links = self.links.borrow_mut();
        if links.get(&link.peer).is_some_and(|current| Rc::ptr_eq(current, link)) {
            links.remove(&link.peer);
            self.events.push(NetEvent::PeerDown { peer: link.peer });
        }
        drop(links);
        self.count_peers();
    }

    fn count_peers(&self) {
        let links = self.links.borrow();
        let validators = links.values().filter(|link| link.validator.is_some()).count();
        self.metrics
            .validators
            .set(i64::try_from(validators).unwrap_or(i64::MAX));
        self.metrics
            .full_nodes
            .set(i64::try_from(links.len() - validators).unwrap_or(i64::MAX));
    }

    /// Brings the counters up to date once a second; never ends.
    pub async fn keep_count(self: Rc<Self>) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        loop {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            for link in self.links.borrow().values() {
                link.count(&self.metrics);
            }
            self.metrics
                .assembly_bytes
                .set(gauge(self.join.borrow().reserved_bytes()));
            self.metrics.buffer_bytes.set(gauge(self.buffers.lent_bytes()));
        }
    }
}
