//! This file knows what the core is made of.
//!
//! `machine/dispatch.rs` says how one input flows through it. The handlers live beside it, one file per concern: what
//! the directory holds (`boot.rs`), one height after another (`heights.rs`), Malachite (`consensus.rs`), consensus
//! messages (`messages.rs`), streams and receipts (`offers.rs`), verdicts (`judge.rs`), our own blocks (`propose.rs`),
//! missing bytes (`search.rs`), being behind (`catchup.rs`), what peers must be told (`tell.rs`), the first height of a network
//! that starts together (`gather.rs`), wall clocks (`clock.rs`), why the height does not move (`stall.rs`).

mod boot;
mod catchup;
mod clock;
mod consensus;
mod dispatch;
mod gather;
mod heights;
mod judge;
pub(crate) mod messages;
mod offers;
mod propose;
mod search;
mod stall;
pub(crate) mod tell;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use malachitebft_core_consensus::Input as Told;
use ultramarine_types::chain::Limits;
use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::execution::{EngineCall, ParentBlock};
use ultramarine_types::network::{NetCommand, Recipients};
use ultramarine_types::storage::{Decision, StoreReply, StoreRequest};
use ultramarine_types::{
    Address, ConsensusMessage, Hash, Height, Lsn, Nanos, Outbox, Proposal, Round, Stage, ValueId, ValueKey,
};

use crate::clocks::Clocks;
use crate::config::CoreConfig;
use crate::context::{Ctx, CtxValidatorSet};
use crate::early::Early;
use crate::execution::{Execution, Want};
use crate::gate::Gate;
use crate::guard::Guard;
use crate::host::Host;
use crate::io::{Event, Input, Output, Stop};
use crate::load::Load;
use crate::log::Record;
use crate::peers::Peers;
use crate::proposal::Proposer;
use crate::rules::Parent;
use crate::signing::{Signer, Verifier};
use crate::sync::Sync;
use crate::timers::{Durations, Timers};
use crate::values::Values;

use gather::Gather;
use stall::Stall;

/// What waits at the gate for the log.
#[derive(Debug)]
enum Parked {
    /// A message.
    Send(Recipients, ConsensusMessage),
    /// A value's bytes; its `Init` carries a signature.
    Stream(ValueKey),
    /// The choice of a value is in the log.
    Chosen(ValueKey),
    /// A decision.
    Commit(Box<Decision>),
}

/// Where the current height stands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing was told yet.
    Off,
    /// Listening to peers before the first height after a start on an empty directory.
    Listening,
    /// The log waits for its replay: until peers were listened to, and for the bytes of the values it calls valid.
    Recovering {
        records: Vec<Record>,
        wanted: BTreeSet<ValueId>,
    },
    /// The next height has not begun.
    Between { start_at: Nanos, logged: bool, begun: bool },
    /// Consensus runs at the current height.
    Running,
    /// Decided; the commit is on its way.
    Committing,
}

/// The newest committed height.
#[derive(Clone, Debug)]
struct Head {
    height: Height,
    id: ValueId,
    block: ParentBlock,
    blob_root: Hash,
    /// When it was committed here.
    at: Nanos,
}

/// The node's logic; see the crate's documentation.
pub struct Core {
    config: CoreConfig,
    limits: Limits,
    durations: Durations,
    address: Address,
    signer: Option<Signer>,
    verifier: Verifier,
    guard: Guard,
    host: Host,
    timers: Timers,
    gate: Gate<Parked>,
    lsn: Lsn,
    sync_asked: Lsn,
    /// Whether this height's records go to the log.
    logging: bool,
    /// The log under replay: what is in it is not appended again.
    replayed: BTreeSet<Bytes>,
    phase: Phase,
    head: Head,
    values: Values,
    proposer: Proposer,
    execution: Execution,
    sync: Sync,
    peers: Peers,
    early: Early,
    /// Verified proposals of the current height, to send again.
    proposals: BTreeMap<(Round, ValueId), Proposal>,
    /// Our own messages of the current height, to send again.
    own: Vec<ConsensusMessage>,
    /// The latest message of each validator, for those who lost their memory of it.
    seen: BTreeMap<Address, SignedMessage>,
    /// The host's wall clock at a moment of the monotonic one.
    wall: Option<(Nanos, u64)>,
    /// How our wall clock stands beside the others'.
    clocks: Clocks,
    /// The wait for the others before the chain's first height.
    gather: Gather,
    /// Why the height does not move.
    stall: Stall,
    oldest_blobs: Height,
    retired_below: Height,
    round_at: Nanos,
    proposed_at: Nanos,
    behind_since: Option<Nanos>,
    /// The certificate was given to consensus at this height.
    certificate_fed: bool,
    decided_synced: bool,
    /// The decision on its way to the store.
    pending: Option<Box<Decision>>,
    told_lag: (Height, Height),
    told_signing: Option<bool>,
    /// Until when peers are listened to after the start, if not all of them answer before; `None` once they were.
    listening_until: Option<Nanos>,
    /// Nothing is signed up to here, on disk or on its way there.
    silence_asked: Height,
    /// Up to here we may have signed what this directory does not know of: hearing it is no alarm.
    forgotten: Height,
    /// The stop that waits until the silence through a height is durable.
    stopping: Option<(Height, Stop)>,
    inputs: VecDeque<Told<Ctx>>,
    refeeds: VecDeque<(ValueKey, Round)>,
    out: Vec<Output>,
    now: Nanos,
    stopped: bool,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("head", &self.head.height)
            .field("phase", &self.phase)
            .field("round", &self.host.round())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// A core that waits for [`Input::Boot`].
    pub fn new(config: CoreConfig) -> Self {
        let limits = config.chain.limits();
        let signer = config.key.as_ref().map(Signer::new);
        let address = signer.as_ref().map_or(Address::ZERO, Signer::address);
        let set = CtxValidatorSet::new(config.validators.clone());
        let head = Head {
            height: Height::GENESIS,
            id: ValueId::ZERO,
            block: config.genesis_block,
            blob_root: Hash::ZERO,
            at: Nanos::ZERO,
        };
        Self {
            limits,
            durations: Durations::of(&config.chain),
            address,
            signer,
            verifier: Verifier::new(&config.validators),
            guard: Guard::new(),
            host: Host::new(address, set, Height::GENESIS),
            timers: Timers::new(),
            gate: Gate::new(),
            lsn: Lsn(0),
            sync_asked: Lsn(0),
            logging: false,
            replayed: BTreeSet::new(),
            phase: Phase::Off,
            head,
            values: Values::default(),
            proposer: Proposer::default(),
            execution: Execution::new(config.genesis_block.hash),
            sync: Sync::new(&limits, config.chain.blob_retention_heights_min),
            peers: Peers::default(),
            early: Early::default(),
            proposals: BTreeMap::new(),
            own: Vec::new(),
            seen: BTreeMap::new(),
            wall: None,
            clocks: Clocks::default(),
            gather: Gather::default(),
            stall: Stall::default(),
            oldest_blobs: Height::GENESIS,
            retired_below: Height::GENESIS,
            round_at: Nanos::ZERO,
            proposed_at: Nanos::ZERO,
            behind_since: None,
            certificate_fed: false,
            decided_synced: false,
            pending: None,
            told_lag: (Height::GENESIS, Height::GENESIS),
            told_signing: None,
            listening_until: None,
            silence_asked: Height::GENESIS,
            forgotten: Height::GENESIS,
            stopping: None,
            inputs: VecDeque::new(),
            refeeds: VecDeque::new(),
            out: Vec::new(),
            now: Nanos::ZERO,
            stopped: false,
            config,
        }
    }

    /// The newest committed height.
    pub fn head(&self) -> Height {
        self.head.height
    }

    /// The round consensus is in, while it runs.
    pub fn round(&self) -> Option<Round> {
        if self.phase == Phase::Running {
            self.host.round()
        } else {
            None
        }
    }

    /// Whether we sign at the current height.
    pub fn is_signing(&self) -> bool {
        self.phase == Phase::Running && self.host.is_enabled()
    }

    /// Whether the execution client has confirmed our head.
    pub fn is_execution_open(&self) -> bool {
        self.execution.is_open()
    }

    /// Whether the core asked to be stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What is held in memory that peers can make more of.
    pub fn load(&self) -> Load {
        let again = |parked: &&Parked| matches!(parked, Parked::Send(Recipients::One(_), _));
        Load {
            values: self.values.len(),
            payloads: self.values.payloads_len(),
            proposals: self.proposals.len(),
            early: self.early.len(),
            resends: self.gate.parked().filter(again).count(),
        }
    }

    /// The lowest height at which a value is known: above the head, once the input that moved it was handled.
    pub fn lowest_value(&self) -> Option<Height> {
        self.values.lowest()
    }

    /// The height after the head.
    fn current(&self) -> Height {
        self.head.height.next()
    }

    fn parent(&self) -> Parent {
        Parent {
            block: self.head.block,
            blob_root: self.head.blob_root,
        }
    }

    /// The wall clock now, in nanoseconds since the Unix epoch.
    fn unix_ns(&self) -> u64 {
        let Some((at, unix_ns)) = self.wall else { return 0 };
        unix_ns.saturating_add(self.now.since(at).0)
    }

    fn net(&mut self, command: NetCommand) {
        self.out.push(Output::Net(command));
    }

    fn store(&mut self, request: StoreRequest) {
        self.out.push(Output::Store(request));
    }

    fn engine(&mut self, call: EngineCall) {
        self.out.push(Output::Engine(call));
    }

    fn event(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    fn stage(&mut self, key: ValueKey, stage: Stage, since: Nanos) {
        let took = self.now.since(since);
        self.event(Event::Stage { key, stage, took });
    }

    /// Nothing leaves any more but the reason.
    fn stop(&mut self, stop: Stop) {
        if !self.stopped {
            self.stopped = true;
            self.out.push(Output::Stop(stop));
        }
    }

    /// Another signs with our key: stops once it is durable that nothing is signed up to `through`, or a supervisor that
    /// starts us again would have us sign beside the other.
    fn stop_silent(&mut self, through: Height, stop: Stop) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        if self.silence_asked >= through {
            return self.out.push(Output::Stop(stop));
        }
        self.fall_silent(through);
        self.stopping = Some((through, stop));
    }

    /// The core is stopped: only the receipt that its stop waits for means anything.
    fn end(&mut self, input: &Input, out: &mut Outbox<Output>) {
        let is_over = |through: Height| match input {
            Input::Store(StoreReply::Silenced { through: durable }) => *durable >= through,
            Input::Store(StoreReply::Failed { .. }) => true,
            _ => false,
        };
        if let Some((_, stop)) = self.stopping.take_if(|(through, _)| is_over(*through)) {
            out.push(Output::Stop(stop));
        }
    }

    /// Nothing is signed up to a height any more, in this life or a later one.
    fn fall_silent(&mut self, through: Height) {
        self.guard.raise(through);
        if through > self.silence_asked {
            self.silence_asked = through;
            self.store(StoreRequest::Silence { through });
        }
    }

    /// Parks something behind the log, or lets it pass.
    fn park(&mut self, parked: Parked) {
        if let Some(free) = self.gate.pass(self.lsn, parked) {
            self.release(free);
        }
    }

    fn release(&mut self, parked: Parked) {
        match parked {
            Parked::Send(to, message) => self.send(to, message),
            Parked::Stream(key) => self.net(NetCommand::Stream {
                key,
                to: Recipients::All,
            }),
            Parked::Chosen(key) => self.choice_logged(key),
            Parked::Commit(decision) => self.store(StoreRequest::Commit(decision)),
        }
    }

    /// Appends a record of the current height to the log.
    fn append(&mut self, record: &Record) {
        if !self.logging {
            return;
        }
        let record = record.encode();
        if self.replayed.contains(&record) {
            return;
        }
        self.lsn = Lsn(self.lsn.0 + 1);
        self.store(StoreRequest::LogAppend { lsn: self.lsn, record });
    }

    fn want(&mut self, wants: Vec<Want>) {
        for want in wants {
            match want {
                Want::Call(call) => self.engine(call),
                Want::Load(height) => self.store(StoreRequest::Load { height }),
                Want::Gate { open, why } => self.event(Event::Gate { open, why }),
                Want::Executed(height) => self.event(Event::Executed { height }),
                Want::Imported(height) => {
                    if height == self.head.height {
                        let key = ValueKey {
                            height,
                            id: self.head.id,
                        };
                        self.stage(key, Stage::Import, self.head.at);
                    }
                }
                Want::Invalid(why) => self.stop(Stop::DecidedInvalid(why)),
            }
        }
    }
}
