//! This file knows how to drive the core machine: real clock in, links out, events to people.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ultramarine_core::Core;
use ultramarine_core::clocks::{self, Grade};
use ultramarine_core::io::{Event, Input, Output};
use ultramarine_runtime::bell::Bell;
use ultramarine_runtime::clock::Clock;
use ultramarine_runtime::link::{Receiver, Sender};
use ultramarine_runtime::tile::TileContext;
use ultramarine_types::execution::{EngineCall, EngineReply};
use ultramarine_types::network::{NetCommand, NetEvent};
use ultramarine_types::storage::{Recovered, StoreReply, StoreRequest};
use ultramarine_types::{Machine, Nanos, Outbox};

use super::backlog::Backlog;
use super::recorder::Recorder;
use crate::board::{Board, clock_words, stall_words};

/// Inputs taken from one link before the others get their turn.
const TURN_ITEMS: usize = 64;
/// How often the core is told the wall clock.
const WALL_CLOCK_INTERVAL: Nanos = Nanos::from_millis(1000);
/// How soon a full link is tried again.
const FLUSH_INTERVAL: Nanos = Nanos::from_millis(1);
/// How often the tile looks at the halt flag when nothing else happens.
const HALT_INTERVAL: Nanos = Nanos::from_millis(200);

/// The core's links. All three receivers were made on `bell`.
pub struct CoreLinks {
    /// Wakes the core for any of them.
    pub bell: Arc<Bell>,
    /// From the network.
    pub net: Receiver<NetEvent>,
    /// From the store.
    pub store: Receiver<StoreReply>,
    /// From the execution client's driver.
    pub engine: Receiver<EngineReply>,
    /// To the network.
    pub net_commands: Sender<NetCommand>,
    /// To the store.
    pub store_requests: Sender<StoreRequest>,
    /// To the execution client's driver.
    pub engine_calls: Sender<EngineCall>,
}

/// Whom the core's events reach.
#[derive(Debug)]
pub struct Audience {
    /// Status for people and tests.
    pub board: Arc<Board>,
    /// Stage histograms and counters.
    pub metrics: crate::metrics::CoreMetrics,
    /// Received consensus messages, if the operator asked for them.
    pub recorder: Option<Recorder>,
    /// What was said before, for lines that depend on it.
    pub said: Said,
}

/// What the log said before.
#[derive(Debug, Default)]
pub struct Said {
    /// The gate was open once: from then on a closed one is no part of a normal start.
    gate_opened: bool,
    clock: clocks::ClockLine,
    /// Why the gate was closed at its last warning, and when that was.
    gate_closed: Option<(String, Instant)>,
}

/// A gate that closes again and again for one reason is worth a warning this often.
const GATE_LINE: Duration = Duration::from_secs(60);

impl Said {
    /// Whether a closed gate is worth a warning.
    fn is_news(&mut self, why: &str) -> bool {
        let now = Instant::now();
        let is_news = self
            .gate_closed
            .as_ref()
            .is_none_or(|(before, at)| before != why || now.duration_since(*at) >= GATE_LINE);
        if is_news {
            self.gate_closed = Some((why.to_owned(), now));
        }
        is_news
    }
}

/// Runs the core until the node halts. An `Err` is the reason for which the node must stop.
pub fn run(
    ctx: &TileContext,
    mut core: Core,
    recovered: Recovered,
    links: CoreLinks,
    mut audience: Audience,
) -> Result<(), String> {
    let CoreLinks {
        bell,
        mut net,
        mut store,
        mut engine,
        net_commands,
        store_requests,
        engine_calls,
    } = links;
    let mut hands = Hands {
        net: Backlog::new(net_commands),
        store: Backlog::new(store_requests),
        engine: Backlog::new(engine_calls),
    };
    let mut out = Outbox::new();
    let clock = ctx.clock;

    core.handle(
        clock.now(),
        Input::WallClock {
            unix_ns: Clock::unix_ns(),
        },
        &mut out,
    );
    core.handle(clock.now(), Input::Boot(Box::new(recovered)), &mut out);
    hands.carry_out(&mut out, &mut audience)?;
    let mut wall_clock_due = clock.now() + WALL_CLOCK_INTERVAL;

    while !ctx.halt.is_stopped() {
        ctx.pulse.beat();
        ctx.busy.enter();
        let mut idle = true;
        if clock.now() >= wall_clock_due {
            wall_clock_due = clock.now() + WALL_CLOCK_INTERVAL;
            core.handle(
                clock.now(),
                Input::WallClock {
                    unix_ns: Clock::unix_ns(),
                },
                &mut out,
            );
            hands.carry_out(&mut out, &mut audience)?;
        }
        // Receipts first: they let parked messages leave.
        for _ in 0..TURN_ITEMS {
            let Some(reply) = store.try_recv() else { break };
            idle = false;
            core.handle(clock.now(), Input::Store(reply), &mut out);
            hands.carry_out(&mut out, &mut audience)?;
        }
        for _ in 0..TURN_ITEMS {
            let Some(reply) = engine.try_recv() else { break };
            idle = false;
            core.handle(clock.now(), Input::Engine(reply), &mut out);
            hands.carry_out(&mut out, &mut audience)?;
        }
        for _ in 0..TURN_ITEMS {
            let Some(event) = net.try_recv() else { break };
            idle = false;
            audience.hear(&event);
            core.handle(clock.now(), Input::Net(event), &mut out);
            hands.carry_out(&mut out, &mut audience)?;
        }
        if core.deadline().is_some_and(|deadline| deadline <= clock.now()) {
            core.wake(clock.now(), &mut out);
            hands.carry_out(&mut out, &mut audience)?;
        }
        let backlogged = hands.flush();
        ctx.busy.leave();
        if idle {
            let now = clock.now();
            let mut until = core
                .deadline()
                .unwrap_or(Nanos::NEVER)
                .min(wall_clock_due)
                .min(now + HALT_INTERVAL);
            if backlogged {
                until = until.min(now + FLUSH_INTERVAL);
            }
            let span = until.since(clock.now()).as_duration();
            let news = || !net.is_empty() || !store.is_empty() || !engine.is_empty();
            if !(ctx.spin && bell.spin(span, &clock, news)) {
                bell.sleep(span, news);
            }
        }
    }
    if let Some(recorder) = audience.recorder.take() {
        recorder.finish();
    }
    Ok(())
}

/// The sending ends.
struct Hands {
    net: Backlog<NetCommand>,
    store: Backlog<StoreRequest>,
    engine: Backlog<EngineCall>,
}

impl Hands {
    fn carry_out(&mut self, out: &mut Outbox<Output>, audience: &mut Audience) -> Result<(), String> {
        while let Some(output) = out.pop() {
            match output {
                Output::Net(command) => self.net.push(command).map_err(|stuck| stuck.to_string())?,
                Output::Store(request) => self.store.push(request).map_err(|stuck| stuck.to_string())?,
                Output::Engine(call) => self.engine.push(call).map_err(|stuck| stuck.to_string())?,
                Output::Event(event) => audience.tell(&event),
                Output::Stop(stop) => return Err(stop.to_string()),
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
                init,
                certificate,
                ..
            } => self.record(|recorder| recorder.offer(peer, init, certificate.as_ref())),
            NetEvent::PeerUp { .. } => self.board.peer_up(),
            NetEvent::PeerDown { .. } => self.board.peer_down(),
            NetEvent::Status { .. }
            | NetEvent::Incomplete { .. }
            | NetEvent::Payload { .. }
            | NetEvent::Flawed { .. }
            | NetEvent::SyncEnded { .. } => {}
        }
    }

    fn record(&mut self, write: impl FnOnce(&mut Recorder) -> Result<(), String>) {
        if let Some(Err(what)) = self.recorder.as_mut().map(write) {
            // A full disk of logs is no reason to stop voting.
            tracing::error!("{what}; no message is recorded any more until the node starts again");
            self.recorder = None;
        }
    }

    fn tell(&mut self, event: &Event) {
        self.board.apply(event);
        self.metrics.apply(event);
        log(event, &mut self.said);
    }
}

/// One line for each event an operator would want to find later.
fn log(event: &Event, said: &mut Said) {
    match event {
        Event::Round {
            height,
            round,
            proposer,
            ours,
        } => {
            tracing::debug!(%height, %round, %proposer, ours, "round begins");
        }
        Event::Decided {
            certificate,
            blobs,
            bytes,
            origin_proposer,
            synced,
            ..
        } => {
            tracing::info!(
                height = %certificate.height, round = %certificate.round, value = %certificate.value_id,
                blobs, bytes, %origin_proposer, synced, "decided"
            );
        }
        Event::Stage { key, stage, took } => {
            tracing::debug!(value = %key, stage = stage.name(), ms = took.0 / 1_000_000, "stage");
        }
        Event::Readiness { ready: true, why } => {
            said.gate_opened = true;
            tracing::info!(why, "gate to the execution client is open");
        }
        // The client may be starting as we are. If that lasts, the height that does not move is a warning.
        Event::Readiness { ready: false, why } if !said.gate_opened => {
            tracing::info!(why, "gate to the execution client is not open yet");
        }
        Event::Readiness { ready: false, why } if said.is_news(why) => {
            tracing::warn!(why, "gate to the execution client is closed");
        }
        Event::Readiness { ready: false, why } => tracing::debug!(why, "gate to the execution client is closed"),
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
            tracing::error!(%height, %validator, %evidence, "evidence of double signing");
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

fn log_clock(offset_ns: Option<i64>, grade: Grade, said: &mut Said) {
    let now = clocks::ClockLine::of(grade, offset_ns.unwrap_or_default());
    if std::mem::replace(&mut said.clock, now) == now {
        return;
    }
    match offset_ns {
        Some(offset) if grade > Grade::Right => tracing::warn!("{}", clock_words("our clock is", offset)),
        Some(_) => tracing::info!("our clock is right again"),
        None => tracing::info!("too few validators are heard to compare our clock with theirs"),
    }
}
