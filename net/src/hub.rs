//! This file knows the state that all tasks of the network's core share: the join, the live connections, what each peer
//! may spend and what its faults cost it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use ultramarine_runtime::{Io, TileContext};
use ultramarine_types::chain::Limits;
use ultramarine_types::network::{Fault, NetEvent, OfferId, Recipients, Status};
use ultramarine_types::storage::{Source, StoreRequest};
use ultramarine_types::verify::VerifyRequest;
use ultramarine_types::{Chain, Height, Nanos, PeerId, ValidatorSet, ValueKey};

use crate::backlog::Backlog;
use crate::book::{PeerBook, PeerView};
use crate::bounds;
use crate::buffers::Buffers;
use crate::connection::session::Session;
use crate::metrics::{Metrics, raise};
use crate::order::TaskOrder;
use crate::peers::bans::Bans;
use crate::peers::budgets::{Budgets, Spend};
use crate::peers::charges::ChargeLog;
use crate::peers::doors::Doors;
use crate::peers::identity::{Attester, Identity};
use crate::peers::known::KnownOrigins;
use crate::peers::listed::Listed;
use crate::peers::roster::{FullNodes, Guest, Roster, newer_stays};
use crate::peers::statuses::Statuses;
use crate::serve::serving::Serving;
use crate::serve::turns::SourceTurns;
use crate::streaming::{Join, JoinConfig};
use crate::switch::StreamSwitch;
use crate::watched;
use crate::wire::hello::{Goodbye, Plans};
use crate::wire::versions::WireVersions;

/// State that all tasks of the network's core share. One thread owns it, and no borrow is held over an `await`.
pub(crate) struct Hub {
    pub chain: Chain,
    pub limits: Limits,
    pub validators: Arc<ValidatorSet>,
    pub versions: WireVersions,
    pub plans: Plans,
    pub identity: Identity,
    pub attester: Option<Attester>,
    pub instance: u64,
    pub io: Io,
    book: PeerBook,
    pub context: TileContext,
    pub metrics: Metrics,
    pub source: Arc<dyn Source>,
    pub buffers: Buffers,
    pub events: Backlog<NetEvent>,
    pub jobs: Backlog<VerifyRequest>,
    pub store: Backlog<StoreRequest>,
    /// Turns to read answers from the source.
    pub turns: SourceTurns,
    /// Who may send background bytes next.
    pub serving: Serving,
    /// Permits to stream values to full nodes unasked.
    pub full_node_streams: Arc<Semaphore>,
    /// Work that needs a task of its own.
    pub orders: Backlog<TaskOrder>,
    pub join: RefCell<Join>,
    /// Tells the timekeeper that the join's deadline may have moved.
    pub join_moved: Notify,
    pub switches: RefCell<BTreeMap<OfferId, Rc<StreamSwitch>>>,
    streams_named: Cell<u64>,
    bans: RefCell<Bans>,
    known: RefCell<KnownOrigins>,
    budgets: RefCell<Budgets>,
    statuses: RefCell<Statuses>,
    /// Tells the timekeeper that a status waits.
    status_waits: Notify,
    /// Decides which connections may come in.
    pub doors: Rc<RefCell<Doors>>,
    /// Which full nodes may be connected.
    full_nodes: FullNodes,
    pub listed: RefCell<Listed>,
    roster: RefCell<Roster>,
    sessions: RefCell<BTreeMap<PeerId, Rc<Session>>>,
    charges: RefCell<ChargeLog>,
    /// When the log last said why somebody was refused.
    refusal_said: Cell<Option<Nanos>>,
}

/// Everything that a hub is made of.
pub(crate) struct HubParts {
    pub chain: Chain,
    pub validators: Arc<ValidatorSet>,
    pub versions: WireVersions,
    pub plans: Plans,
    pub identity: Identity,
    pub attester: Option<Attester>,
    pub full_nodes: FullNodes,
    pub listed: Listed,
    pub serving_bytes_per_second: u64,
    pub io: Io,
    pub book: PeerBook,
    pub context: TileContext,
    pub source: Arc<dyn Source>,
}

/// The peer left before it could afford what it wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unaffordable;

impl Hub {
    pub fn new(parts: HubParts) -> Self {
        let HubParts {
            chain,
            validators,
            versions,
            plans,
            identity,
            attester,
            full_nodes,
            listed,
            serving_bytes_per_second,
            io,
            book,
            context,
            source,
        } = parts;
        let limits = chain.params.limits();
        Self {
            limits,
            validators,
            versions,
            plans,
            identity,
            attester,
            instance: rand::random(),
            io,
            book,
            metrics: Metrics::new(&context.registry),
            context,
            source,
            buffers: Buffers::new(&limits),
            events: Backlog::new(bounds::EVENTS_WAITING_MAX),
            jobs: Backlog::new(usize::MAX),
            store: Backlog::new(usize::MAX),
            turns: SourceTurns::new(),
            serving: Serving::new(serving_bytes_per_second, limits.propose_timeout()),
            full_node_streams: Arc::new(Semaphore::new(bounds::FULL_NODE_STREAMS_MAX)),
            orders: Backlog::new(usize::MAX),
            join: RefCell::new(Join::new(JoinConfig { limits })),
            join_moved: Notify::new(),
            switches: RefCell::new(BTreeMap::new()),
            streams_named: Cell::new(0),
            bans: RefCell::default(),
            known: RefCell::default(),
            budgets: RefCell::new(Budgets::default()),
            statuses: RefCell::default(),
            status_waits: Notify::new(),
            doors: Rc::default(),
            full_nodes,
            listed: RefCell::new(listed),
            roster: RefCell::default(),
            sessions: RefCell::new(BTreeMap::new()),
            charges: RefCell::new(ChargeLog::default()),
            refusal_said: Cell::new(None),
            chain,
        }
    }

    pub fn now(&self) -> Nanos {
        self.context.clock.now()
    }

    /// Runs a task. If it panics, the node stops.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        watched::spawn(&self.context.halt, task)
    }

    /// Runs a task that lasts as long as the node. If it ends or panics, the node stops.
    pub fn spawn_lasting(&self, what: &'static str, task: impl Future<Output = ()> + 'static) -> AbortHandle {
        watched::spawn_lasting(&self.context.halt, what, task)
    }

    /// A name that no stream has had before.
    pub fn name_stream(&self) -> OfferId {
        let name = self.streams_named.get() + 1;
        self.streams_named.set(name);
        OfferId(name)
    }

    /// Makes the switch of a stream, with which the join starts and stops it.
    pub fn register(&self, stream: OfferId) -> Rc<StreamSwitch> {
        let switch = Rc::new(StreamSwitch::default());
        self.switches.borrow_mut().insert(stream, switch.clone());
        switch
    }

    /// Forgets a stream that is read no more.
    pub fn unregister(&self, stream: OfferId) {
        self.switches.borrow_mut().remove(&stream);
    }

    /// Scores a fault, logs it (one line for each peer and fault a second), and disconnects a peer whose score has
    /// reached the ban threshold. Whoever stands behind the peer is charged as well. The peer may be gone by now.
    pub fn charge(&self, peer: PeerId, fault: Fault, what: &str, key: Option<ValueKey>) {
        let now = self.now();
        self.metrics.fault(fault);
        let origin = self.known.borrow().of(&peer);
        let banned = self.bans.borrow_mut().charge(now, peer, origin, fault);
        if let Some(unsaid) = self.charges.borrow_mut().say(now, peer, fault) {
            let value = key.map_or_else(String::new, |key| format!(" of value {key}"));
            tracing::warn!(%peer, fault = fault.name(), "charged{value}: {what} ({unsaid} like it not shown)");
        }
        if banned && let Some(session) = self.session(&peer) {
            session.close(Goodbye::Banned);
        }
    }

    /// Whether to log another line about a node that we refuse. Such a node may dial often.
    pub fn says_refusal(&self) -> bool {
        let now = self.now();
        let due = self
            .refusal_said
            .get()
            .is_none_or(|at| now.since(at) >= bounds::REFUSAL_LINE);
        if due {
            self.refusal_said.set(Some(now));
        }
        due
    }

    /// Charges each payer behind this peer in turn, waiting until it can afford the cost. If the connection closes
    /// first, refunds them and returns an error.
    pub async fn spend(&self, session: &Session, spend: Spend) -> Result<(), Unaffordable> {
        let payers = || session.spender().payers();
        for (paid_before, payer) in payers().enumerate() {
            let wait = self.budgets.borrow_mut().take(self.now(), payer, spend);
            if wait == Nanos::ZERO {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(wait.as_duration()) => {}
                _ = session.connection.closed() => {
                    let mut budgets = self.budgets.borrow_mut();
                    let paid = payers().take(paid_before + 1);
                    paid.for_each(|payer| budgets.give_back(self.now(), payer, spend));
                    return Err(Unaffordable);
                }
            }
        }
        Ok(())
    }

    /// Tells the core what a peer's control stream brought. Of statuses it hears the newest, a few a second.
    pub fn hear(&self, session: &Session, event: NetEvent) {
        let event = match event {
            NetEvent::Status { peer, status } => {
                session.tip.set(Some(status.tip));
                let mut statuses = self.statuses.borrow_mut();
                let heard = statuses.hear(self.now(), peer, session.is_stranger(), status);
                let Some(status) = heard else {
                    self.status_waits.notify_one();
                    return;
                };
                NetEvent::Status { peer, status }
            }
            event => event,
        };
        self.events.push_in(session.lane(), event);
    }

    /// Tells the core of statuses when it may hear them; never ends.
    pub async fn tell_statuses(&self) {
        loop {
            let now = self.now();
            while let Some((peer, status)) = self.next_status(now) {
                if let Some(session) = self.session(&peer) {
                    self.events.push_in(session.lane(), NetEvent::Status { peer, status });
                }
            }
            let due = self.statuses.borrow().deadline();
            match due {
                None => self.status_waits.notified().await,
                Some(due) => {
                    let wait = due.since(self.now()).as_duration();
                    let _ = tokio::time::timeout(wait, self.status_waits.notified()).await;
                }
            }
        }
    }

    /// Whether a peer is too far behind to take a value of this height.
    pub fn is_behind(&self, peer: &PeerId, height: Height) -> bool {
        self.statuses.borrow().is_behind(peer, height)
    }

    fn next_status(&self, now: Nanos) -> Option<(PeerId, Status)> {
        self.statuses.borrow_mut().next(now)
    }

    /// The peer's live session.
    pub fn session(&self, peer: &PeerId) -> Option<Rc<Session>> {
        self.sessions.borrow().get(peer).cloned()
    }

    /// The live sessions of all recipients.
    pub fn recipients(&self, to: Recipients) -> Vec<Rc<Session>> {
        match to {
            Recipients::All => self.sessions.borrow().values().cloned().collect(),
            Recipients::One(peer) => self.session(&peer).into_iter().collect(),
        }
    }

    /// Makes a checked connection the peer's session, or says why it cannot be.
    pub fn adopt(&self, session: &Rc<Session>) -> Result<(), Goodbye> {
        let me = self.identity.peer();
        if session.peer == me {
            return Err(Goodbye::Myself);
        }
        let (now, origin) = (self.now(), session.origin());
        if self.bans.borrow().keep_out(now, &session.peer, &origin) {
            return Err(Goodbye::Banned);
        }
        let mut sessions = self.sessions.borrow_mut();
        if let Some(old) = sessions.get(&session.peer) {
            let same_process = old.instance == session.instance && old.connection.close_reason().is_none();
            if same_process && !newer_stays(&me, &session.peer, old.dialed, session.dialed) {
                return Err(Goodbye::Duplicate);
            }
        }
        let newcomer = self.guest(session);
        let gone = self.full_nodes.check(&newcomer).and_then(|()| {
            // We count anew each time: the peer may come with another attestation than before, or with its first.
            let others = sessions
                .values()
                .filter(|other| other.peer != session.peer && other.connection.close_reason().is_none());
            let others = others.map(|other| self.guest(other));
            self.roster.borrow_mut().place(self.now(), others, &newcomer)
        });
        let gone = gone.inspect_err(|_| self.metrics.places_refused.inc())?;
        if let Some(old) = sessions.get(&session.peer) {
            old.close(Goodbye::Duplicate);
            // Messages on the old connection may be lost: the core sends its standing messages again.
            self.events.push(NetEvent::PeerDown { peer: session.peer });
        }
        if let Some(gone) = gone.and_then(|gone| sessions.remove(&gone)) {
            gone.close(Goodbye::GaveWay);
            self.metrics.places_given.inc();
            self.statuses.borrow_mut().forget(&gone.peer);
            self.events.push(NetEvent::PeerDown { peer: gone.peer });
        }
        let needed = || {
            let mut needed = self.join.borrow().awaited_senders();
            needed.extend(sessions.keys().copied());
            needed
        };
        self.known
            .borrow_mut()
            .meet(self.now(), session.peer, session.origin(), needed);
        sessions.insert(session.peer, session.clone());
        self.events.push(NetEvent::PeerUp {
            peer: session.peer,
            validator: session.validator,
        });
        drop(sessions);
        self.count_peers();
        Ok(())
    }

    /// A key has answered at an address that is configured without one: it is the configured peer.
    pub fn list(&self, address: &str, peer: PeerId) {
        self.listed.borrow_mut().answers(address, peer);
        if let Some(session) = self.session(&peer) {
            session.is_listed.set(true);
        }
    }

    fn guest(&self, session: &Session) -> Guest {
        Guest {
            peer: session.peer,
            validator: session.validator,
            is_listed: session.is_listed.get(),
            site: session.site,
            since: session.since,
            points: self.bans.borrow().points(self.now(), &session.peer),
            has_served: session.has_served.get(),
        }
    }

    /// A connection is gone.
    pub fn release(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        if sessions
            .get(&session.peer)
            .is_some_and(|current| Rc::ptr_eq(current, session))
        {
            sessions.remove(&session.peer);
            self.statuses.borrow_mut().forget(&session.peer);
            self.events.push(NetEvent::PeerDown { peer: session.peer });
        }
        drop(sessions);
        self.count_peers();
    }

    fn count_peers(&self) {
        let sessions = self.sessions.borrow();
        let count = |is_counted: &dyn Fn(&Session) -> bool| {
            let counted = sessions.values().filter(|session| is_counted(session)).count();
            i64::try_from(counted).unwrap_or(i64::MAX)
        };
        self.metrics
            .validators
            .set(count(&|session| session.validator.is_some()));
        self.metrics
            .full_nodes
            .set(count(&|session| session.validator.is_none()));
        let (upgrades, schedule) = (self.plans.upgrades, self.plans.fork_schedule);
        self.metrics
            .other_upgrades
            .set(count(&|session| session.plans.upgrades != upgrades));
        self.metrics
            .other_fork_schedules
            .set(count(&|session| session.plans.fork_schedule != schedule));
        drop(sessions);
        self.show_peers();
    }

    fn show_peers(&self) {
        let (now, bans) = (self.now(), self.bans.borrow());
        let view = |session: &Rc<Session>| PeerView {
            peer: session.peer,
            validator: session.validator,
            is_listed: session.is_listed.get(),
            address: session.connection.remote_address(),
            dialed: session.dialed,
            round_trip: session.connection.rtt(),
            points: bans.points(now, &session.peer),
            tip: session.tip.get(),
        };
        self.book.show(self.sessions.borrow().values().map(view).collect());
    }

    /// Brings the counters up to date.
    pub fn count(&self) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        for session in self.sessions.borrow().values() {
            session.count(&self.metrics);
        }
        self.show_peers();
        self.metrics
            .assembly_bytes
            .set(gauge(self.join.borrow().reserved_bytes()));
        self.metrics
            .unjudged_bytes
            .set(gauge(self.join.borrow().unjudged_bytes()));
        raise(&self.metrics.statuses_merged, self.statuses.borrow().merged());
        self.serving.count(&self.metrics);
        self.metrics.buffer_bytes.set(gauge(self.buffers.lent_bytes()));
    }
}
