//! Three strangers that do all at once what an address allows, beside a chain under load.
//!
//! One claims tips that rise and refuses late, one claims to hold every value and serves none, and one fills open
//! places with garbage, hangs up, and comes back under a fresh key. All of them pull packages without end, and send
//! statuses as fast as they are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultramarine_core::io::Event;
use ultramarine_net::bounds::{MESSAGES_PER_SECOND, REQUESTS_PER_PEER_MAX, UNJUDGED_PER_STREAM_MAX};
use ultramarine_net::message::ValueWant;
use ultramarine_types::{Height, Nanos, Stage, ValueKey, fixtures};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::blobs;
use crate::dice::Dice;
use crate::lines::Rates;
use crate::wire::{SimFrame, StreamId};
use crate::world::{World, WorldNotice};

const VALIDATORS: usize = 4;
const STRANGERS: [AdversaryKind; 3] = [AdversaryKind::RisingTip, AdversaryKind::Hollow, AdversaryKind::Puppet];
/// The one that brings garbage.
const GARBAGE: usize = VALIDATORS + 2;
const BLOBS: u32 = 96;
/// A gigabit a second.
const BYTES_PER_MS: u64 = 125_000;
/// Heights before anything is measured, and those that are.
const FIRST: Height = Height(4);
const HEIGHTS: u64 = 30;
/// How often the strangers have a turn.
const TURN: Nanos = Nanos::from_millis(10);
/// Statuses that each of them sends to each validator in a turn: as many as are read.
const STATUSES: u64 = MESSAGES_PER_SECOND * TURN.0 / 1_000_000_000;
/// Far above the chain.
const AHEAD: u64 = 1_000_000;

pub const SCENARIO: Scenario = Scenario {
    name: "strangers-under-load",
    claim: "the commit p99 of a chain under load is at most 1.5 times as long with three hostile full nodes",
    config: |seed| {
        let mut config = RunConfig {
            blobs_range: (BLOBS, BLOBS),
            target: FIRST.0 + HEIGHTS,
            full_nodes: STRANGERS.len(),
            adversaries: (VALIDATORS..).zip(STRANGERS).collect(),
            events_max: 40_000_000,
            ..RunConfig::quiet(seed)
        };
        config.chain.blobs_per_block_max = BLOBS;
        config.weather.bytes_per_ms = BYTES_PER_MS;
        // Their own lines hold up nothing that they do.
        let strangers = VALIDATORS..VALIDATORS + STRANGERS.len();
        config.lines.rates = strangers
            .map(|stranger| (stranger, Rates::even(10 * BYTES_PER_MS)))
            .collect();
        config
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    let alone = RunConfig {
        full_nodes: 0,
        adversaries: Vec::new(),
        ..world.config.clone()
    };
    let quiet = commit_p99(&mut World::new(alone), |_, _| ())?;
    let mut strangers = Strangers::new(world.config.seed);
    let beset = commit_p99(world, |world, streamed| strangers.turn(world, streamed))?;
    let said = format!("commit p99 {beset:?} with strangers, and {quiet:?} without");
    world.trace.line(world.now, format_args!("{said}"));
    if 2 * beset.0 > 3 * quiet.0 {
        return Err(said);
    }
    if world.checks.agreement.rounds_above_zero > 0 {
        return Err("a round was lost".to_owned());
    }
    Ok(())
}

/// How long 99 of 100 blocks took from the proposal to the decision, at all validators. `attack` has its turns
/// meanwhile, and hears what was streamed since the last one.
fn commit_p99(world: &mut World, mut attack: impl FnMut(&mut World, Vec<(usize, ValueKey)>)) -> Result<Nanos, String> {
    wait(world, 60, "the first heights", |world| world.lowest_head() >= FIRST)?;
    let last = Height(FIRST.0 + HEIGHTS);
    let deadline = world.now + Nanos::from_millis(HEIGHTS * 10_000);
    let mut took = Vec::new();
    while world.lowest_head() < last {
        if world.now > deadline {
            return Err(format!("{HEIGHTS} heights are not decided"));
        }
        let mut streamed = Vec::new();
        let turn = world.now + TURN;
        world.run(turn, |world| {
            for notice in &world.notices {
                match notice {
                    WorldNotice::Stream { node, key } if *node < VALIDATORS => streamed.push((*node, *key)),
                    WorldNotice::Core { node, event } if *node < VALIDATORS => {
                        if let Event::Stage {
                            stage: Stage::Commit,
                            took: span,
                            ..
                        } = **event
                        {
                            took.push(span);
                        }
                    }
                    _ => {}
                }
            }
            world.lowest_head() >= last
        });
        if world.checks.violation.is_some() {
            return Err("a rule is broken".to_owned());
        }
        attack(world, streamed);
    }
    took.sort_unstable();
    let index = (took.len() * 99).div_ceil(100).checked_sub(1);
    index
        .and_then(|index| took.get(index).copied())
        .ok_or_else(|| "nothing is decided".to_owned())
}

struct Strangers {
    dice: Dice,
    /// Requests to each validator that are open, by stranger and validator.
    open: BTreeMap<(usize, usize), Vec<Request>>,
    statuses: u64,
    /// Whether garbage is on its way, so that it is time to hang up.
    has_brought: bool,
}

struct Request {
    stream: StreamId,
    /// Whether its answer has been on its way.
    is_begun: bool,
}

impl Strangers {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice::of(seed, "strangers under load"),
            open: BTreeMap::new(),
            statuses: 0,
            has_brought: false,
        }
    }

    fn turn(&mut self, world: &mut World, streamed: Vec<(usize, ValueKey)>) {
        if std::mem::take(&mut self.has_brought) {
            world.come_back_as_another(GARBAGE);
        }
        for (proposer, key) in streamed {
            self.has_brought = true;
            self.bring_garbage(world, proposer, key);
        }
        for stranger in VALIDATORS..world.nodes.len() {
            for victim in 0..VALIDATORS {
                self.send_statuses(world, stranger, victim);
                self.pull(world, stranger, victim);
            }
        }
    }

    fn send_statuses(&mut self, world: &mut World, stranger: usize, victim: usize) {
        for _ in 0..STATUSES {
            self.statuses += 1;
            let status = fixtures::status(Height(AHEAD + self.statuses));
            world.send_kept(stranger, victim, &SimFrame::Status(status));
        }
    }

    /// Has as many requests open as a connection allows. A new one follows each that was answered.
    fn pull(&mut self, world: &mut World, stranger: usize, victim: usize) {
        let tip = world.nodes[victim].head().0;
        let open = self.open.entry((stranger, victim)).or_default();
        if !world.nodes[victim].sees.contains_key(&stranger) {
            // They went with the connection.
            open.clear();
            return;
        }
        let uplink = &world.nodes[victim].uplink;
        open.retain_mut(|request| {
            let is_sending = uplink.is_sending(stranger, request.stream);
            let is_over = request.is_begun && !is_sending;
            request.is_begun |= is_sending;
            !is_over
        });
        while open.len() < REQUESTS_PER_PEER_MAX as usize {
            let stream = world.stream_id();
            open.push(Request {
                stream,
                is_begun: false,
            });
            let height = Height(self.dice.between(1, tip));
            let want = ValueWant::Package { blobs: None };
            world.send_kept(stranger, victim, &SimFrame::SyncRequest { stream, height, want });
        }
    }

    /// Garbage for each place of a value that its proposer begins to send.
    fn bring_garbage(&mut self, world: &mut World, proposer: usize, key: ValueKey) {
        let Ok(value) = world.nodes[proposer].disk.value(&key) else {
            return;
        };
        for victim in (0..VALIDATORS).filter(|victim| *victim != proposer) {
            for first in (0..BLOBS as usize).step_by(UNJUDGED_PER_STREAM_MAX) {
                let stream = world.stream_id();
                let init = Arc::clone(&value.init);
                let mut frames = vec![SimFrame::Begin {
                    stream,
                    init,
                    answers: false,
                }];
                frames.extend(SimFrame::lists(stream, &value.lists));
                let places = first..value.blobs.len().min(first + UNJUDGED_PER_STREAM_MAX);
                frames.extend(places.map(|index| SimFrame::Blob {
                    stream,
                    index,
                    bytes: blobs::spoiled(&value.blobs[index]),
                }));
                frames.iter().for_each(|frame| world.send_kept(GARBAGE, victim, frame));
            }
        }
    }
}
