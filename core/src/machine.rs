//! This file knows what the core is made of.
//!
//! `machine/dispatch.rs` says how one input flows through it, `machine/check.rs` what holds after each. The handlers
//! live beside them, one file per concern:
//!
//! | file | concern |
//! |---|---|
//! | `boot.rs` | what the data directory holds |
//! | `heights.rs`, `contest.rs` | one height after another, and what lasts as long as one |
//! | `consensus.rs` | Malachite |
//! | `messages.rs` | consensus messages |
//! | `offers.rs` | streams and receipts |
//! | `judge.rs` | verdicts |
//! | `refute.rs` | values that their own blobs refute |
//! | `propose.rs` | our own blocks |
//! | `hurry.rs` | waits that can bring nothing more |
//! | `search.rs` | missing bytes |
//! | `catchup.rs` | being behind |
//! | `healing.rs` | decided heights that are damaged here |
//! | `tell.rs` | what peers must hear from us |
//! | `hearing.rs` | what others have seen of a validator that has just started |
//! | `relay.rs` | what peers must hear from others through us |
//! | `gather.rs` | the first height of a network that starts together |
//! | `clock.rs` | wall clocks |
//! | `readiness.rs` | what people hear of the client's readiness |
//! | `stall.rs` | why the height does not move |
//! | `room.rs` | blocks close to the chain's bounds |

mod boot;
mod catchup;
mod check;
mod clock;
mod consensus;
mod contest;
mod dispatch;
mod gather;
mod healing;
mod hearing;
mod heights;
mod hurry;
mod judge;
mod messages;
mod offers;
mod propose;
mod readiness;
mod refute;
mod relay;
pub mod room;
mod search;
mod stall;
mod tell;
#[cfg(test)]
mod tests;
pub mod waits;

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_types::chain::Limits;
use ultramarine_types::consensus::SignedMessage;
use ultramarine_types::execution::{EngineCall, ParentBlock};
use ultramarine_types::network::{NetCommand, Recipients, Status};
use ultramarine_types::storage::{Decision, StoreReply, StoreRequest};
use ultramarine_types::{
    Address, ConsensusMessage, Evidence, Hash, Height, Lsn, Nanos, Outbox, Positions, Round, Stage, ValueId, ValueKey,
};

use crate::boot::SIGNED_ELSEWHERE;
use crate::clocks::Clocks;
use crate::config::CoreConfig;
use crate::context::CtxValidatorSet;
use crate::early::Early;
use crate::execution::{Execution, Want};
use crate::gate::Gate;
use crate::guard::Guard;
use crate::healing::Healing;
use crate::hearing::Hearings;
use crate::held::Held;
use crate::host::ConsensusHost;
use crate::io::{Event, Input, Output};
use crate::log::LogRecord;
use crate::pace::Pace;
use crate::peers::Peers;
use crate::proposal::Proposer;
use crate::relay::Relay;
use crate::reputation::Reputation;
use crate::rules::Parent;
use crate::signing::{SignatureVerifier, Signer};
use crate::stop::Stop;
use crate::sync::Sync;
use crate::timers::{Durations, Timers};
use crate::values::Values;

use contest::Contest;
use gather::Gather;
use readiness::Readiness;
use stall::Stall;

/// What the gate holds back until the log is durable.
#[derive(Debug)]
enum Parked {
    Send(Recipients, ConsensusMessage),
    /// The stream of a value's bytes, whose `Init` carries a signature of ours.
    Stream(ValueKey),
    /// The news that the log has the choice for a round.
    Chosen(Height, Round),
    Commit(Box<Decision>),
}

/// Where the current height stands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing has come in yet.
    Off,
    /// Listening to peers before the first height after a start on an empty directory.
    Listening,
    /// The log waits for its replay: until we have listened to the peers, and have the bytes of every value that it
    /// calls valid.
    Recovering {
        records: Vec<LogRecord>,
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
    /// Root of its sidecar header; zero at the genesis.
    sidecar_root: Hash,
    /// When it was committed here.
    at: Nanos,
}

/// The node's logic. The crate's documentation says what it keeps.
pub struct Core {
    config: CoreConfig,
    limits: Limits,
    durations: Durations,
    pace: Pace,
    address: Address,
    signer: Option<Signer>,
    verifier: SignatureVerifier,
    guard: Guard,
    host: ConsensusHost,
    timers: Timers,
    gate: Gate<Parked>,
    lsn: Lsn,
    sync_asked: Lsn,
    phase: Phase,
    /// What lasts as long as the current height.
    contest: Contest,
    head: Head,
    /// Whether the head came with its certificate, and was not decided here.
    head_came_certified: bool,
    values: Values,
    proposer: Proposer,
    execution: Execution,
    sync: Sync,
    healing: Healing,
    peers: Peers,
    /// What peers have earned, connected or not.
    reputation: Reputation,
    /// The validators that are connected.
    links: Positions,
    /// The highest tip of a trusted peer, until one of them or our trust changes, and the changes of trust up to then.
    trusted_tip: Option<(Height, u64)>,
    /// Those whose links were lost, by their positions, and the step of the newest message of theirs that we knew then.
    lost: BTreeMap<u32, (Height, Round, u8)>,
    early: Early,
    relay: Relay,
    hearings: Hearings,
    /// The latest message of each validator, for a validator that lost its own memory of it.
    seen: BTreeMap<Address, SignedMessage>,
    /// What the host's wall clock said, in Unix nanoseconds, at a moment of the monotonic one.
    wall: Option<(Nanos, u64)>,
    clocks: Clocks,
    gather: Gather,
    stall: Stall,
    readiness: Readiness,
    room: room::Room,
    oldest_blobs: Height,
    retired_below: Height,
    /// What all peers were told of us last; each hears of its own messages besides.
    told: Option<Status>,
    told_at: Nanos,
    /// When all are told of links that have come since.
    more_links_at: Option<Nanos>,
    told_lag: (Height, Height),
    told_signing: Option<(bool, String)>,
    /// Until when we listen to peers after the start, unless all of them answer before; `None` once we have listened.
    listening_until: Option<Nanos>,
    /// The store has been asked to remember that nothing is signed up to here.
    silence_asked: Height,
    /// The store has said that this is durable.
    silence_kept: Height,
    /// Requests to keep evidence that the store has not answered.
    evidence_asked: u32,
    /// Why nothing is signed up to the guard's watermark, if that is above the head.
    silent_why: &'static str,
    /// Up to here we may have signed what this directory does not know. Hearing such a signature is no alarm.
    forgotten: Height,
    /// A stop that waits until the silence through this height, and all evidence, is durable.
    stopping: Option<(Height, Stop)>,
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
        let limits = config.chain.params.limits();
        let signer = config.key.as_ref().map(Signer::new);
        let address = signer.as_ref().map_or(Address::ZERO, Signer::address);
        let set = CtxValidatorSet::new(config.validators.clone());
        let head = Head {
            height: Height::GENESIS,
            id: ValueId::ZERO,
            block: config.genesis_block,
            sidecar_root: Hash::ZERO,
            at: Nanos::ZERO,
        };
        #[cfg_attr(not(feature = "planted"), allow(unused_mut, reason = "nothing is planted"))]
        let mut execution = Execution::new(config.genesis_block.hash);
        #[cfg(feature = "planted")]
        {
            execution.planted = config.planted;
        }
        Self {
            limits,
            #[cfg(not(feature = "planted"))]
            durations: Durations::of(&config.chain.params),
            #[cfg(feature = "planted")]
            durations: crate::planted::keep_short(config.planted, Durations::of(&config.chain.params)),
            pace: Pace::default(),
            address,
            signer,
            verifier: SignatureVerifier::new(&config.validators),
            guard: Guard::new(),
            host: ConsensusHost::new(address, set, Height::GENESIS),
            timers: Timers::new(),
            gate: Gate::new(),
            lsn: Lsn(0),
            sync_asked: Lsn(0),
            phase: Phase::Off,
            contest: Contest::default(),
            head,
            values: Values::default(),
            proposer: Proposer::default(),
            sync: {
                #[allow(unused_mut, reason = "a bug may be planted")]
                let mut sync = Sync::new(&limits, config.chain.params.blob_retention_heights_min);
                #[cfg(feature = "planted")]
                {
                    sync.planted = config.planted;
                }
                sync
            },
            healing: Healing::new(&limits),
            peers: Peers::default(),
            reputation: Reputation::default(),
            execution,
            links: Positions::NONE,
            trusted_tip: None,
            head_came_certified: false,
            lost: BTreeMap::new(),
            early: Early::default(),
            relay: Relay::default(),
            hearings: Hearings::default(),
            seen: BTreeMap::new(),
            wall: None,
            clocks: Clocks::default(),
            gather: Gather::default(),
            stall: Stall::default(),
            readiness: Readiness::default(),
            room: room::Room::default(),
            oldest_blobs: Height::GENESIS,
            retired_below: Height::GENESIS,
            told: None,
            told_at: Nanos::ZERO,
            more_links_at: None,
            told_lag: (Height::GENESIS, Height::GENESIS),
            told_signing: None,
            listening_until: None,
            silent_why: "",
            silence_asked: Height::GENESIS,
            silence_kept: Height::GENESIS,
            evidence_asked: 0,
            forgotten: Height::GENESIS,
            stopping: None,
            out: Vec::new(),
            now: Nanos::ZERO,
            stopped: false,
            config,
        }
    }

    /// Keeps late rounds as short as the first: a test of thousands of rounds takes hours and not months.
    pub fn shorten_rounds(&mut self) {
        self.durations.grow = false;
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

    /// How long round 0 of the current height waits for its proposal; nothing while no height runs.
    pub fn proposal_wait(&self) -> Nanos {
        self.contest.propose
    }

    /// Whether consensus runs and signs at the current height.
    pub fn is_signing(&self) -> bool {
        self.phase == Phase::Running && self.host.is_enabled()
    }

    /// Whether the execution client has confirmed our head.
    pub fn is_execution_ready(&self) -> bool {
        self.execution.is_ready()
    }

    /// Whether the core asked to be stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// What is held in memory because of what peers send.
    pub fn held(&self) -> Held {
        let again = |parked: &&Parked| matches!(parked, Parked::Send(Recipients::One(_), _));
        Held {
            values: self.values.len(),
            payloads: self.values.payloads_len(),
            refuted: self.values.refuted_len(),
            proposals: self.contest.proposals.len(),
            published: self.contest.published.len(),
            early: self.early.len(),
            passed: self.relay.len(),
            calls: self.hearings.len(),
            asked: self.sync.asked_len(),
            resends: self.gate.parked().filter(again).count(),
        }
    }

    /// The lowest height at which a value is known. It is above the head after every input.
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
            sidecar_root: self.head.sidecar_root,
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

    /// Stops the core: the reason is its last output. It leaves once all evidence is kept.
    fn stop(&mut self, stop: Stop) {
        self.stop_silent(Height::GENESIS, stop);
    }

    /// Stops because another process signs with our key, once it is durable that nothing is signed up to `through`.
    /// Otherwise a supervisor that starts us again would make us sign beside the other process.
    fn stop_silent(&mut self, through: Height, stop: Stop) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        self.fall_silent(through);
        if matches!(stop, Stop::Disk(_)) || self.is_kept(through) {
            self.out.push(Output::Stop(stop));
        } else {
            self.stopping = Some((through, stop));
        }
    }

    /// Whether all is durable that has to outlive a stop with this silence.
    fn is_kept(&self, through: Height) -> bool {
        self.silence_kept >= through && self.evidence_asked == 0
    }

    /// Takes an input of a core that has stopped. Only the receipts that its stop waits for mean anything.
    fn end(&mut self, input: &Input, out: &mut Outbox<Output>) {
        let mut has_failed = false;
        match input {
            Input::Store(StoreReply::Silenced { through }) => self.silence_kept = self.silence_kept.max(*through),
            Input::Store(StoreReply::EvidenceTaken { is_durable }) => {
                self.evidence_taken();
                if !is_durable && let Some((_, stop)) = &mut self.stopping {
                    stop.lose_evidence();
                }
            }
            Input::Store(StoreReply::Failed { .. }) => {
                has_failed = true;
                if let Some((_, stop)) = self.stopping.as_mut().filter(|_| self.evidence_asked > 0) {
                    stop.lose_evidence();
                }
            }
            _ => {}
        }
        let through = self.stopping.as_ref().map(|(through, _)| *through);
        if through.is_some_and(|through| has_failed || self.is_kept(through))
            && let Some((_, stop)) = self.stopping.take()
        {
            out.push(Output::Stop(stop));
        }
    }

    /// Tells people of evidence, and has it kept.
    fn keep_evidence(&mut self, evidence: Vec<Evidence>) {
        for piece in &evidence {
            self.event(Event::Evidence(piece.clone()));
        }
        self.evidence_asked += 1;
        self.store(StoreRequest::Evidence(evidence));
    }

    /// The store has answered for one request to keep evidence.
    const fn evidence_taken(&mut self) {
        assert!(
            self.evidence_asked > 0,
            "the store answers for evidence that it was given"
        );
        self.evidence_asked -= 1;
    }

    /// Signs nothing more up to a height, in this life or a later one.
    fn fall_silent(&mut self, through: Height) {
        self.silence_through(through, SIGNED_ELSEWHERE);
        if through > self.silence_asked {
            self.silence_asked = through;
            self.store(StoreRequest::Silence { through });
        }
    }

    /// Parks something at the gate, or lets it pass.
    fn park(&mut self, parked: Parked) {
        #[cfg(feature = "planted")]
        if self.config.plants(crate::Planted::GateOpen) && matches!(parked, Parked::Send(..)) {
            return self.release(parked);
        }
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
            Parked::Chosen(height, round) => self.choice_logged(height, round),
            Parked::Commit(decision) => self.store(StoreRequest::Commit(decision)),
        }
    }

    /// Appends a record of the current height to the log.
    fn append(&mut self, record: &LogRecord) {
        if !self.contest.logging {
            return;
        }
        assert!(
            record.height().is_none_or(|height| height == self.current()),
            "the log of a height has that height's records"
        );
        let record = record.encode();
        if self.contest.replayed.contains(&record) {
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
                Want::Readiness { ready, why } => self.tell_readiness(ready, why),
                Want::Executed(height) => {
                    self.note_replayed();
                    self.event(Event::Executed { height });
                }
                Want::Imported(height) => {
                    if height == self.head.height {
                        let key = ValueKey {
                            height,
                            id: self.head.id,
                        };
                        self.stage(key, Stage::Import, self.head.at);
                    }
                }
                Want::Invalid(fault) => self.stop(Stop::DecidedInvalid(fault)),
            }
        }
    }
}
