//! This file knows where each part of the live answer comes from.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use ultramarine_net::PeerView;
use ultramarine_runtime::topology::Topology;
use ultramarine_runtime::{Clock, Registry, StageLog};
use ultramarine_types::storage::StoreAccount;
use ultramarine_types::{Address, Height, Nanos};

use super::history::{CounterSample, History, rate, seconds};
use super::latency::{self, rounded};
use super::waterfall::{self, Proposing};
use super::{
    HEIGHTS_SHOWN_MAX, Live, LiveBlock, LiveBytes, LiveClient, LiveDisk, LivePeer, LiveRates, LiveSync, LiveTile,
};
use crate::board::{DecisionSummary, Snapshot};
use crate::http::HttpState;
use crate::http::live::{LiveCondition, LiveLink};
use crate::topology::{self, Shape};

/// The node as it is now. Reads files' sizes, so it runs away from the thread that owns sockets.
pub fn gather(state: &HttpState) -> Live {
    let snapshot = state.board.snapshot();
    let now = sample_of(&snapshot, state);
    let history = state.live.history.lock().unwrap_or_else(PoisonError::into_inner);
    let marks = state.live.marks.lock().unwrap_or_else(PoisonError::into_inner);
    let log = state.registry.stage_log();
    let rates = rates(&history, &now);
    Live {
        unix_ms: Clock::unix_ns() / 1_000_000,
        uptime_s: state.started.elapsed().as_secs(),
        height: snapshot.height.0,
        round: snapshot.round.0,
        best_tip: snapshot.best_tip.0,
        current: current(&snapshot, &log, now.at),
        heights: heights(&snapshot, &log, now.at),
        tiles: tiles(&snapshot, &state.registry, &history, &now),
        latency: latency::stages(&state.registry, &marks),
        peers: state.peers.peers().into_iter().map(peer).collect(),
        client: client(&snapshot, &state.registry, &marks),
        disk: disk(&snapshot, state.source.account().as_ref(), &history, &now),
        sync: sync(&snapshot),
        conditions: conditions(state),
        rates,
        signing: snapshot.signing,
        identity: snapshot.identity,
    }
}

/// What the history remembers of now.
pub fn sample(state: &HttpState) -> CounterSample {
    sample_of(&state.board.snapshot(), state)
}

fn sample_of(snapshot: &Snapshot, state: &HttpState) -> CounterSample {
    let registry = &state.registry;
    let net = |direction| {
        let bytes = by_label(registry, "ultramarine_net_bytes_total", "direction").remove(direction);
        bytes.map(whole)
    };
    let account = state.source.account();
    CounterSample {
        at: Clock::start().now(),
        height: snapshot.height.0,
        decided: snapshot.decided_total,
        blobs: snapshot.blobs_total,
        bytes: snapshot.bytes_total,
        received_bytes: net("in").unwrap_or_default(),
        sent_bytes: net("out").unwrap_or_default(),
        stored_bytes: account.map(|account| account.states.live_bytes() + account.dead_bytes),
        tiles: tile_times(registry),
    }
}

/// Of each tile, nanoseconds that it worked and that it waited for a CPU. A tile that is an executor of its own has no
/// other measure of its work than its thread's CPU time.
fn tile_times(registry: &Registry) -> BTreeMap<String, (u64, u64)> {
    let nanoseconds = |name| {
        let seconds = by_label(registry, name, "tile").into_iter();
        seconds.map(|(tile, seconds)| (tile, whole(seconds * 1e9)))
    };
    let mut worked: BTreeMap<_, _> = nanoseconds("ultramarine_tile_cpu_seconds_total").collect();
    worked.extend(nanoseconds("ultramarine_tile_busy_seconds_total"));
    let queued: BTreeMap<_, _> = nanoseconds("ultramarine_tile_queued_seconds_total").collect();
    let pair = |(tile, worked)| {
        let waited = queued.get(&tile).copied().unwrap_or_default();
        (tile, (worked, waited))
    };
    worked.into_iter().map(pair).collect()
}

/// A name's series, by the value of one label.
fn by_label(registry: &Registry, name: &str, label: &str) -> BTreeMap<String, f64> {
    let series = registry.values(name).into_iter();
    series
        .filter_map(|(labels, value)| {
            let (_, name) = labels.into_iter().find(|(key, _)| key == label)?;
            Some((name, value))
        })
        .collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Counters and gauges of what is counted.
fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

fn rates(history: &History, now: &CounterSample) -> LiveRates {
    let Some(before) = history.before(now.at) else {
        return LiveRates::default();
    };
    let span = now.at.since(before.at);
    let rate = |of: fn(&CounterSample) -> u64| rounded(rate(of(before), of(now), span));
    LiveRates {
        over_s: rounded(seconds(span)),
        heights: rate(|sample| sample.decided),
        blobs: rate(|sample| sample.blobs),
        bytes: rate(|sample| sample.bytes),
        received_bytes: rate(|sample| sample.received_bytes),
        sent_bytes: rate(|sample| sample.sent_bytes),
    }
}

fn current(snapshot: &Snapshot, log: &StageLog, now: Nanos) -> LiveBlock {
    let height = snapshot.height.next();
    let ours = snapshot.proposer.is_some() && snapshot.proposer == snapshot.identity.address;
    let proposing = if ours { Proposing::We } else { Proposing::Another };
    let began = waterfall::began(log, height);
    LiveBlock {
        height: height.0,
        round: snapshot.round.0,
        proposer: snapshot.proposer.as_ref().map(Address::to_string).unwrap_or_default(),
        began_ms_ago: began.map(|began| ms_between(began, now)),
        spans: began
            .map(|began| waterfall::spans(log, height, began, Some(proposing)))
            .unwrap_or_default(),
        ..LiveBlock::default()
    }
}

fn heights(snapshot: &Snapshot, log: &StageLog, now: Nanos) -> Vec<LiveBlock> {
    let older = snapshot.decided.len().saturating_sub(HEIGHTS_SHOWN_MAX);
    let newest = snapshot.decided.iter().skip(older);
    newest.map(|decision| block(decision, log, now)).collect()
}

fn block(decision: &DecisionSummary, log: &StageLog, now: Nanos) -> LiveBlock {
    let height: Height = decision.height;
    let began = waterfall::began(log, height);
    LiveBlock {
        height: height.0,
        round: decision.round.0,
        blobs: decision.blobs,
        bytes: decision.bytes,
        proposer: decision.origin_proposer.to_string(),
        began_ms_ago: began.map(|began| ms_between(began, now)),
        spans: began
            .map(|began| waterfall::spans(log, height, began, None))
            .unwrap_or_default(),
    }
}

fn ms_between(before: Nanos, now: Nanos) -> f64 {
    rounded(now.since(before).0 as f64 / 1e6)
}

/// Tiles in the order of the node's table.
fn tiles(snapshot: &Snapshot, registry: &Registry, history: &History, now: &CounterSample) -> Vec<LiveTile> {
    let table = topology::table(Shape {
        lanes: topology::LANES.len(),
        embedded_el: true,
        archive: true,
    });
    let readings = registry.links();
    let before = history.before(now.at);
    let span = before.map_or(Nanos::ZERO, |before| now.at.since(before.at));
    let shown = |(tile, (worked, queued)): (&String, &(u64, u64))| {
        let (worked_before, queued_before) = before
            .and_then(|before| before.tiles.get(tile).copied())
            .unwrap_or((*worked, *queued));
        let share = |before, now| rounded(rate(before, now, span) / 1e9);
        let hung = snapshot.hung.iter().find(|hung| hung.tile == *tile);
        let into = readings.iter().filter(|link| takes(&table, link.name, tile));
        LiveTile {
            tile: tile.clone(),
            busy: share(worked_before, *worked),
            queued: share(queued_before, *queued),
            silent_s: hung.map_or(0, |hung| hung.seconds),
            links: into
                .map(|link| LiveLink {
                    link: link.name.to_owned(),
                    items: link.len as u64,
                    capacity: link.depth as u64,
                    refused: link.refused,
                })
                .collect(),
        }
    };
    let mut tiles: Vec<LiveTile> = now.tiles.iter().map(shown).collect();
    let place = |name: &str| table.tiles.iter().position(|tile| tile.name == name);
    tiles.sort_by_key(|tile| place(&tile.tile).unwrap_or(usize::MAX));
    tiles
}

fn takes(table: &Topology, link: &str, tile: &str) -> bool {
    table.link(link).is_some_and(|link| link.to == tile)
}

fn peer(view: PeerView) -> LivePeer {
    let class = match (view.validator, view.is_listed) {
        (Some(_), _) => "validator",
        (None, true) => "listed",
        (None, false) => "stranger",
    };
    LivePeer {
        peer: view.peer.to_string(),
        validator: view.validator.map(|validator| validator.to_string()),
        class: class.to_owned(),
        address: view.address.to_string(),
        dialed: view.dialed,
        round_trip_ms: rounded(view.round_trip.as_secs_f64() * 1e3),
        score: view.points,
        tip: view.tip.map(|tip| tip.0),
    }
}

fn client(snapshot: &Snapshot, registry: &Registry, marks: &latency::LatencyMarks) -> LiveClient {
    LiveClient {
        gate: snapshot.readiness.clone(),
        waiting: snapshot.waiting.clone(),
        executed: snapshot.executed_height.0,
        lag: snapshot.height.0.saturating_sub(snapshot.executed_height.0),
        calls: latency::calls(registry, marks),
    }
}

fn disk(snapshot: &Snapshot, account: Option<&StoreAccount>, history: &History, now: &CounterSample) -> LiveDisk {
    let kinds = account.map_or_else(Vec::new, |account| {
        let files = &account.files;
        let kinds = [
            ("values", files.values),
            ("payloads", files.payloads),
            ("free", files.free),
            ("index", files.index),
            ("log", files.log),
            ("reserve", files.reserve),
        ];
        kinds
            .map(|(kind, bytes)| LiveBytes {
                kind: kind.to_owned(),
                bytes,
            })
            .to_vec()
    });
    let growth = now.stored_bytes.and_then(|stored| history.growth(now.at, stored));
    LiveDisk {
        kinds,
        available: snapshot.disk.map(|disk| disk.available_bytes),
        growth: growth.map(f64::round),
        seconds_left: snapshot.disk.and_then(|disk| disk.seconds_left),
    }
}

#[allow(clippy::cast_precision_loss)] // Seconds for people.
fn sync(snapshot: &Snapshot) -> LiveSync {
    let seconds_left = snapshot.catch_up.as_ref().and_then(|status| status.seconds_left);
    LiveSync {
        behind: snapshot.lag(),
        seconds_left: seconds_left.map(|seconds| seconds as f64),
    }
}

fn conditions(state: &HttpState) -> Vec<LiveCondition> {
    let listed = state.conditions.look().into_iter();
    listed
        .map(|condition| LiveCondition {
            id: condition.id,
            severity: condition.severity.name().to_owned(),
            what: condition.what,
            action: condition.action,
            since_unix_s: Some(condition.since_unix_s),
            is_over: condition.is_over,
        })
        .collect()
}
