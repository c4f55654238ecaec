//! This file knows how to drive the core machine: real clock in, links out, events to people.
//!
//! ```text
//!   net, store, engine ── Input ──▶ Core ── Output ──▶ links to net, store, engine
//!                                     └──── Event ───▶ board, metrics, log
//! ```
//!
//! This is where a vote leaves for the network: as an `Output::Net`, which `Hands::carry_out` sends. The core's gate
//! let it out only after the store's receipt said that the vote's record is durable; nothing holds it back here.

use std::sync::Arc;

use ultramarine_core::clocks::{self, Grade};
use ultramarine_core::io::{Event, Input, Output};
use ultramarine_core::signing::AHEAD_MAX;
use ultramarine_core::{Core, Stop};
use ultramarine_runtime::Mark;
use ultramarine_runtime::bell::Bell;
use ultramarine_runtime::clock::Clock;
use ultramarine_runtime::link::{Receiver, Sender};
use ultramarine_runtime::tile::TileContext;
use ultramarine_types::execution::{EngineCall, EngineReply};
use ultramarine_types::network::{NetCommand, NetEvent};
use ultramarine_types::storage::{Recovered, StoreReply, StoreRequest};
use ultramarine_types::{Machine, Nanos, Outbox};

use crate::board::{Board, clock_words, stall_words};
use crate::tiles::backlog::{Backlog, Stuck};
use crate::tiles::height_line::HeightLine;
use crate::tiles::recorder::{Recorder, RecorderError};

/// Inputs that we take from one link before the others get their turn.
const TURN_ITEMS: usize = 64;
const _: () = assert!(TURN_ITEMS <= AHEAD_MAX, "the votes of a turn are one batch");
/// How often we tell the core the wall clock.
const WALL_CLOCK_INTERVAL: Nanos = Nanos::from_millis(1000);
/// How soon we try a full link again.
const FLUSH_INTERVAL: Nanos = Nanos::from_millis(1);
/// How often the tile looks at the halt flag when nothing else wakes it.
const HALT_INTERVAL: Nanos = Nanos::from_millis(200);

/// The core's links. All three receivers were made on `bell`.
pub struct CoreLinks {
    /// Wakes the core for any of them.
    pub bell: Arc<Bell>,
    pub net: Receiver<NetEvent>,
    pub store: Receiver<StoreReply>,
    /// From the execution client's driver.
    pub engine: Receiver<EngineReply>,
    pub net_commands: Sender<NetCommand>,
    pub store_requests: Sender<StoreRequest>,
    /// To the execution client's driver.
    pub engine_calls: Sender<EngineCall>,
}

/// Everybody who hears the core's events.
#[derive(Debug)]
pub struct Audience {
    /// Status for people and tests.
    pub board: Arc<Board>,
    /// Stage histograms and counters.
    pub metrics: crate::metrics::CoreMetrics,
    /// Received consensus messages, if the operator asked for them.
    pub recorder: Option<Recorder>,
    /// The log's line of each height.
    pub line: HeightLine,
    /// What the log said before, as some lines depend on it.
    pub said: SaidBefore,
}

/// What the log said before.
#[derive(Debug, Default)]
pub struct SaidBefore {
    /// Whether the execution client was ever ready: from then on, one that is not is no part of a normal start.
    was_ready: bool,
    clock: clocks::ClockLine,
}

/// Why the core stops the node.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error(transparent)]
    Stuck(#[from] Stuck),
    #[error(transparent)]
    Stopped(Stop),
}

/// Runs the core until the node halts. An `Err` is the reason for which the node must stop.
pub fn run(
    ctx: &TileContext,
    core: Core,
    recovered: Recovered,
    links: CoreLinks,
    audience: Audience,
) -> Result<(), CoreError> {
    let mut tile = CoreTile::new(core, links, audience, ctx.clock);
    tile.tell_wall_clock()?;
    tile.handle(Input::Boot(Box::new(recovered)))?;
    while !ctx.halt.is_stopped() {
        ctx.pulse.beat();
        ctx.busy.enter();
        let is_idle = tile.take_turn()?;
        let is_backlogged = tile.hands.flush();
        ctx.busy.leave();
        if is_idle {
            tile.sleep(ctx, is_backlogged);
        }
    }
    if let Some(recorder) = tile.audience.recorder.take() {
        recorder.finish();
    }
    Ok(())
}

/// The core in its tile, with all that it reads and sends by.
struct CoreTile {
    core: Core,
    out: Outbox<Output>,
    hands: Hands,
    audience: Audience,
    bell: Arc<Bell>,
    net: Receiver<NetEvent>,
    store: Receiver<StoreReply>,
    engine: Receiver<EngineReply>,
    /// What one turn takes from the network.
    burst: Vec<NetEvent>,
    clock: Clock,
    wall_clock_due: Nanos,
}

impl CoreTile {
    fn new(core: Core, links: CoreLinks, audience: Audience, clock: Clock) -> Self {
        Self {
            core,
            out: Outbox::new(),
            hands: Hands {
                net: Backlog::new(links.net_commands),
                store: Backlog::new(links.store_requests),
                engine: Backlog::new(links.engine_calls),
            },
            audience,
            bell: links.bell,
            net: links.net,
            store: links.store,
            engine: links.engine,
            burst: Vec::with_capacity(TURN_ITEMS),
            clock,
            wall_clock_due: clock.now(),
        }
    }

    fn handle(&mut self, input: Input) -> Result<(), CoreError> {
        self.core.handle(self.clock.now(), input, &mut self.out);
        self.hands.carry_out(&mut self.out, &mut self.audience)
    }

    fn tell_wall_clock(&mut self) -> Result<(), CoreError> {
        self.wall_clock_due = self.clock.now() + WALL_CLOCK_INTERVAL;
        self.handle(Input::WallClock {
            unix_ns: Clock::unix_ns(),
        })
    }

    /// Takes what has come, a bounded number from each link. Returns whether nothing had come.
    fn take_turn(&mut self) -> Result<bool, CoreError> {
        let mut is_idle = true;
        if self.clock.now() >= self.wall_clock_due {
            self.tell_wall_clock()?;
        }
        // Receipts come first: they let the core's gate send what waits for them.
        for _ in 0..TURN_ITEMS {
            let Some(reply) = self.store.try_recv() else { break };
            is_idle = false;
            self.handle(Input::Store(reply))?;
        }
        for _ in 0..TURN_ITEMS {
            let Some(reply) = self.engine.try_recv() else { break };
            is_idle = false;
            self.handle(Input::Engine(reply))?;
        }
        let mut burst = std::mem::take(&mut self.burst);
        burst.extend(std::iter::from_fn(|| self.net.try_recv()).take(TURN_ITEMS));
        is_idle &= burst.is_empty();
        // Votes that came together are verified together, which takes less time.
        self.core.verify_ahead(burst.iter().filter_map(|event| match event {
            NetEvent::Message { message, .. } => Some(message),
            _ => None,
        }));
        for event in burst.drain(..) {
            self.audience.hear(&event);
            self.handle(Input::Net(event))?;
        }
        self.burst = burst;
        if self
            .core
            .deadline()
            .is_some_and(|deadline| deadline <= self.clock.now())
        {
            self.core.wake(self.clock.now(), &mut self.out);
            self.hands.carry_out(&mut self.out, &mut self.audience)?;
        }
        Ok(is_idle)
    }

    /// Sleeps until something comes or is due.
    fn sleep(&self, ctx: &TileContext, is_backlogged: bool) {
        let now = self.clock.now();
        let mut until = self
            .core
            .deadline()
            .unwrap_or(Nanos::NEVER)
            .min(self.wall_clock_due)
            .min(now + HALT_INTERVAL);
        if is_backlogged {
            until = until.min(now + FLUSH_INTERVAL);
        }
        let span = until.since(self.clock.now()).as_duration();
        let news = || !self.net.is_empty() || !self.store.is_empty() || !self.engine.is_empty();
        if !(ctx.spin && self.bell.spin(span, &self.clock, news)) {
            self.bell.sleep(span, news);
        }
    }
}

/// The sending ends, each with a queue in front of it: the core never waits.
struct Hands {
    net: Backlog<NetCommand>,
    store: Backlog<StoreRequest>,
    engine: Backlog<EngineCall>,
}

impl Hands {
    fn carry_out(&mut self, out: &mut Outbox<Output>, audience: &mut Audience) -> Result<(), CoreError> {
        while let Some(output) = out.pop() {
            match output {
                // A vote leaves here, after the gate: its record is durable.
                Output::Net(command) => self.net.push(command)?,
                Output::Store(request) => self.store.push(request)?,
                Output::Engine(call) => self.engine.push(call)?,
                Output::Event(event) => audience.tell(&event),
                Output::Stop(stop) => return Err(CoreError::Stopped(stop)),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> bool {
        let net = self.net.flush();
        let store = self.store.flush();
        let engine = self.engine.flush();
        net || store || engine
    }
}

impl Audience {
    fn hear(&mut self, event: &NetEvent) {
        match event {
            NetEvent::Message { peer, message } => self.record(|recorder| recorder.message(peer, message)),
            NetEvent::Offer {
                peer,
                key,
                init,
                certificate,
                ..
            } => {
                self.metrics.hear(Mark::Offer, key.height);
                self.record(|recorder| recorder.offer(peer, init, certificate.as_ref()));
            }
            NetEvent::Payload { key, .. } => self.metrics.hear(Mark::Payload, key.height),
            NetEvent::PeerUp { peer, .. } => self.board.peer_up(peer),
            NetEvent::PeerDown { peer } => self.board.peer_down(peer),
            NetEvent::Status { .. }
            | NetEvent::Hearing { .. }
            | NetEvent::Incomplete { .. }
            | NetEvent::Flawed { .. }
            | NetEvent::SyncEnded { .. } => {}
        }
    }

    fn record(&mut self, write: impl FnOnce(&mut Recorder) -> Result<(), RecorderError>) {
        if let Some(Err(what)) = self.recorder.as_mut().map(write) {
            // A log disk that is full is no reason to stop voting.
            tracing::error!("{what}; no message is recorded any more until the node starts again");
            self.recorder = None;
        }
    }

    fn tell(&mut self, event: &Event) {
        self.board.apply(event);
        self.metrics.apply(event);
        if matches!(event, Event::Decided { .. } | Event::Lag { .. })
            && let Some(words) = self.board.look_behind(Clock::start().now())
        {
            tracing::info!("catching up: {words}");
        }
        if matches!(event, Event::Executed { .. })
            && let Some(words) = self.board.look_at_client(Clock::start().now())
        {
            tracing::info!("feeding the execution client: {words}");
        }
        if matches!(event, Event::Restored { .. })
            && let Some(words) = self.board.look_at_healing(Clock::start().now())
        {
            tracing::info!("restoring damaged heights: {words}");
        }
        self.line.hear(event);
        log(event, &mut self.said);
    }
}

/// One line for each event an operator would want to find later.
fn log(event: &Event, said: &mut SaidBefore) {
    match event {
        Event::Round {
            height,
            round,
            proposer,
            ours,
        } => {
            tracing::debug!(%height, %round, %proposer, ours, "round begins");
        }
        // Its line waits for its last stage.
        Event::Decided { .. } => {}
        Event::Stage { key, stage, took } => {
            tracing::debug!(value = %key, stage = stage.name(), ms = took.0 / 1_000_000, "stage");
        }
        Event::Readiness {
            ready,
            why,
            is_news: false,
        } => tracing::debug!(ready, why, "readiness of the execution client"),
        Event::Readiness { ready: true, why, .. } => {
            said.was_ready = true;
            tracing::info!(why, "execution client is ready");
        }
        // The client may be starting as we are. If that lasts, the height that does not move is a warning.
        Event::Readiness { ready: false, why, .. } if !said.was_ready => {
            tracing::info!(why, "execution client is not ready yet");
        }
        Event::Readiness { ready: false, why, .. } => tracing::warn!(why, "execution client is not ready"),
        Event::Executed { height } => tracing::debug!(%height, "execution client has imported"),
        Event::InvalidValue {
            key,
            origin_proposer,
            reason,
        } => {
            tracing::warn!(value = %key, %origin_proposer, reason, "invalid proposal: not voting for it");
        }
        Event::Evidence(evidence) => {
            let (height, validator) = (evidence.height(), evidence.validator());
            tracing::error!(%height, %validator, %evidence, "evidence against a validator");
        }
        Event::Signing {
            height,
            active: true,
            why,
            ..
        } => tracing::info!(%height, why, "signing"),
        Event::Signing {
            height,
            active: false,
            usual: true,
            why,
        } => tracing::info!(%height, why, "following without signing"),
        Event::Signing {
            height,
            active: false,
            usual: false,
            why,
        } => tracing::warn!(%height, why, "following without signing"),
        Event::Clock { offset_ns, grade, .. } => log_clock(*offset_ns, *grade, said),
        Event::PeerClock {
            validator,
            offset_ns,
            grade,
        } => {
            let words = clock_words("its clock is", *offset_ns);
            if *grade == Grade::Right {
                tracing::info!(%validator, "a validator's clock is right again");
            } else {
                tracing::warn!(%validator, "a validator's clock is off: {words}");
            }
        }
        Event::Stalled {
            height,
            still,
            why,
            is_news: true,
        } => tracing::warn!("{}", stall_words(*height, *still, why)),
        Event::Stalled { is_news: false, .. } => {}
        Event::Moving { height } => tracing::info!(%height, "the height moves again"),
        // A whole file may be damaged: its heights are not a line each.
        Event::Damaged { height, damaged_count } if damaged_count.is_power_of_two() => {
            tracing::warn!(%height, damaged_count, "a decided height is damaged on disk: fetching it from peers");
        }
        Event::Damaged { height, .. } => tracing::debug!(%height, "a decided height is damaged on disk"),
        Event::Restored { damaged_count: 0, .. } => tracing::info!("every damaged height is restored"),
        Event::Restored { height, damaged_count } => {
            tracing::debug!(%height, damaged_count, "a damaged height is restored");
        }
        Event::Lag { ours, best } => tracing::info!(%ours, %best, "peers are ahead or caught up with"),
        Event::Signed {
            height,
            round,
            kind,
            value_id,
        } => {
            let value = value_id.map_or_else(|| "nil".to_owned(), |id| id.to_string());
            tracing::debug!(%height, %round, kind, value, "signed");
        }
    }
}

fn log_clock(offset_ns: Option<i64>, grade: Grade, said: &mut SaidBefore) {
    let now = clocks::ClockLine::of(grade, offset_ns.unwrap_or_default(), said.clock);
    if std::mem::replace(&mut said.clock, now) == now {
        return;
    }
    match offset_ns {
        Some(offset) if grade > Grade::Right => tracing::warn!("{}", clock_words("our clock is", offset)),
        Some(_) => tracing::info!("our clock is right again"),
        None => tracing::info!("too few validators are heard to compare our clock with theirs"),
    }
}
