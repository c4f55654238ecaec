//! This file knows how long each step of a decision takes at most in a world as it is: over the links, lines, disks and
//! clients of a connected quorum, and by the core's own waits. Bounds are sums of these.
//!
//! ```text
//!   all are able ─▶ the round under way is lost ─▶ rounds of proposers outside are lost ─▶ a member's round decides:
//!                   build, record, transfer, way, execute, record, two votes, commit
//! ```
//!
//! Whatever the dice draw is taken at its longest. All spans are nanoseconds of simulated time.

use std::collections::{BTreeMap, BTreeSet};

use ultramarine_core::Core;
use ultramarine_core::waits::{self, Durations};
use ultramarine_types::limits::{BLOB_BYTES, PAYLOAD_CHUNK_BYTES, STATUS_INTERVAL};
use ultramarine_types::{Height, Nanos, Round};

use super::quorum::Quorum;
use crate::dice::Dice;
use crate::disk::Disk;
use crate::engine;
use crate::uplink::transfer;
use crate::world::World;
use crate::world::inject::CALM_START_MS;
use crate::world::life::{DIAL_MS, IDLE_MS, LISTEN};
use crate::world::verify::{OPEN, SETTLE, SUM};

/// Lanes that share the work on a value's blobs.
const LANES: u64 = 2;
/// A payload with its filler, the lists and the `Init`.
const BESIDE_BLOBS_BYTES: usize = 2 * PAYLOAD_CHUNK_BYTES;

/// A span so many times.
pub fn times(span: Nanos, count: u64) -> Nanos {
    Nanos(span.0.saturating_mul(count))
}

/// The longest that the dice make of a typical span.
fn longest(typical: Nanos) -> Nanos {
    times(typical, Dice::LONGEST)
}

/// So many spans after each other: one in twenty is as long as any, and we allow for twice as many and three more. The
/// others are twice as long as typical.
fn row(typical: Nanos, count: u64) -> Nanos {
    let long = (count * u64::from(Dice::LONG_PER_MILLE) * 2).div_ceil(1000) + 3;
    let long = long.min(count);
    times(typical, long * Dice::LONGEST + (count - long) * Dice::LONG)
}

/// What a quorum needs for each step.
pub struct Reckoning<'a> {
    world: &'a World,
    quorum: &'a Quorum,
    durations: Durations,
    /// Validators outside that are connected, and whose rounds are waited for in full.
    present: BTreeSet<usize>,
    interval: Nanos,
    /// The longest wait for a proposal in round 0.
    propose: Nanos,
    /// A small frame from member to member over one link.
    pub hop: Nanos,
    /// A signed message from any member to any other: each node between makes a record first.
    pub way: Nanos,
    /// A record is durable: the group before it, and its own, one of which is as slow as any.
    pub record: Nanos,
    /// A client executes a block.
    pub execute: Nanos,
    /// What a sync typically takes.
    sync: Nanos,
    /// What the lanes typically need for every blob of a block, and for all together.
    opened: Nanos,
    /// Bytes of the largest block that a member builds.
    bytes: usize,
    /// Peers that a proposer streams to.
    copies: usize,
}

/// Where a wait for a decision begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub height: Height,
    /// The highest round that anybody has begun.
    pub round: u32,
    /// Whether that round may be under way already.
    pub is_amid: bool,
    /// Until when all is told again that was lost before.
    pub told: Nanos,
    /// Until when those that are gone may pass for present.
    pub unnoticed: Nanos,
    /// Rounds of members that may be lost, too.
    pub spare: u64,
}

impl<'a> Reckoning<'a> {
    /// `present`: validators outside the quorum that are connected to it.
    pub fn of(world: &'a World, quorum: &'a Quorum, present: &[usize]) -> Self {
        let chain = &world.config.chain;
        let members = || quorum.members.iter().map(|node| &world.nodes[*node]);
        let slowest = |of: fn(&crate::world::Node) -> Nanos| members().map(of).max().unwrap_or(Nanos::ZERO);
        let hop = |a: usize, b: usize| match world.network.lines.distance(a, b) {
            Some(distance) => distance + Nanos(distance.0 / 10),
            None => longest(world.network.weather.latency),
        };
        let links = quorum
            .members
            .iter()
            .flat_map(|a| quorum.members.iter().map(move |b| (*a, *b)));
        let farthest = links
            .filter(|(a, b)| quorum.is_linked(*a, *b))
            .map(|(a, b)| hop(a, b))
            .max();
        let sync = slowest(|node| node.disk.sync_typical);
        let blobs = members().map(|node| node.el.blobs_max()).max().unwrap_or(0) as usize;
        let bytes = blobs * BLOB_BYTES + BESIDE_BLOBS_BYTES;
        let record = longest(sync) + times(sync, Dice::LONG);
        let opened = times(OPEN, (blobs as u64).div_ceil(LANES)) + times(SUM, blobs as u64) + SETTLE;
        let mut this = Self {
            world,
            quorum,
            durations: Durations::of(chain),
            present: present.iter().copied().collect(),
            interval: Nanos::from_millis(chain.block_interval_ms),
            propose: Nanos::ZERO,
            hop: farthest.unwrap_or(Nanos::ZERO),
            way: quorum.reach(hop) + times(record, quorum.hops().saturating_sub(1)),
            record,
            execute: longest(engine::EXECUTE) + slowest(|node| node.el.execute_extra),
            sync,
            opened,
            bytes,
            copies: quorum.degree() + present.len(),
        };
        // A height that runs waits so long. The next one follows what blocks have needed, and starts know nothing.
        let reckoned = chain.limits().propose_timeout();
        let running = members().filter_map(|node| node.core.as_ref()).map(Core::proposal_wait);
        let follows = times(this.slowest_build() + this.need(1), 2).clamp(waits::PROPOSE_LEAST, times(reckoned, 2));
        this.propose = running.max().unwrap_or_default().max(follows).max(reckoned);
        this
    }

    fn grown(&self, base: Nanos, round: u32) -> Nanos {
        match self.world.config.short_rounds {
            true => base,
            false => base + times(Nanos(base.0 / 4), u64::from(round)),
        }
    }

    fn proposer(&self, height: Height, round: u32) -> usize {
        let proposer = self.world.validators.proposer(height, Round(round));
        self.world.node_of(proposer).unwrap_or_default()
    }

    /// How long a member's own client builds a block.
    fn build(&self, member: usize) -> Nanos {
        longest(engine::BUILD) + self.world.nodes[member].el.build_extra
    }

    /// Bytes of the largest block from a member's line to all its peers: its own line carries a copy for each, a peer's
    /// line carries so many `blocks` at one time.
    fn transfer(&self, copies: usize, blocks: usize) -> Nanos {
        let slowest = |of: fn(crate::lines::Rates) -> u64| {
            let rates = self
                .quorum
                .members
                .iter()
                .map(|node| of(self.world.config.rates(*node)));
            rates.min().unwrap_or(1)
        };
        let out = transfer(copies * self.bytes, slowest(|rates| rates.out));
        let into = transfer(blocks * self.bytes, slowest(|rates| rates.into));
        out.max(into) + transfer(BLOB_BYTES, slowest(|rates| rates.into)) + self.hop
    }

    /// From when a member has built a block until it is valid at all members, if members' lines carry so many blocks:
    /// record, bytes, verification beside execution, record. Further members ask their neighbours, one link after the
    /// other, and find that they have it when they ask again. If the block is longer under way than a stream has, each
    /// receiver asks for what it misses, and so its bytes are sent twice at most.
    fn need(&self, blocks: usize) -> Nanos {
        let write = self.record + Disk::transfer(self.bytes);
        let judged = longest(self.opened).max(self.execute) + write;
        let stream = self.world.config.chain.limits().propose_timeout();
        let once = self.transfer(self.copies, blocks);
        let transfer = if once <= stream {
            once
        } else {
            self.transfer(2 * self.copies, 2 * blocks)
        };
        let first = write + transfer + judged;
        let link = waits::SEARCH_TURN + times(self.hop, 2) + self.transfer(self.quorum.degree(), blocks) + judged;
        first + times(link, self.quorum.hops().saturating_sub(1))
    }

    /// From when a block is valid everywhere until all have decided it: two steps of votes, each with its record and
    /// its way, and the commit.
    fn votes(&self) -> Nanos {
        times(self.record + self.way, 2) + self.record
    }

    /// What a round takes that fails, if its proposal is waited for so long in round 0.
    fn lost(&self, round: u32, propose: Nanos) -> Nanos {
        let waits = propose + self.durations.prevote + self.durations.precommit;
        self.grown(waits, round) + times(self.record + self.way, 2) + self.way
    }

    /// What is left of the round under way when all members are able. If nobody present is against it, and the round
    /// still waits for its proposal, a member's block may come in time, and then the round is not lost; so it waits no
    /// longer than for that. Once all have voted, nothing is waited for.
    fn under_way(&self, round: u32) -> Nanos {
        if !self.present.is_empty() {
            return self.lost(round, self.propose);
        }
        let propose = self.grown(self.propose, round).min(self.slowest_build() + self.need(1));
        propose + times(self.record + self.way, 2) + self.way
    }

    /// What the round of a proposer takes that everybody knows to be away. All that are there vote nil, and then
    /// nothing more is waited for.
    fn passed_over(&self, round: u32) -> Nanos {
        self.grown(self.durations.propose_away, round) + times(self.record + self.way, 2) + self.way
    }

    /// How long until all members have decided a height, from a start on.
    ///
    /// - The round under way is lost.
    /// - The rounds of proposers outside are lost: in full if they are present, else as soon as it is known that they
    ///   are gone.
    /// - A member's round decides if its block is valid everywhere within the round's wait. If not, the block is
    ///   proposed again in the first round of a member that begins when it is. Until then each member whose round comes
    ///   sends a block of its own.
    /// - A member whose client builds for longer than the round waits keeps the block for its next turn.
    pub fn decides(&self, start: &Start) -> Nanos {
        let Start { height, unnoticed, .. } = *start;
        let (mut at, mut round, mut spare) = (start.told, start.round, start.spare);
        if start.is_amid {
            at = at + self.under_way(round);
            round += 1;
        }
        // When each block was sent, and when each member's own is built.
        let (mut sent, mut built) = (Vec::new(), BTreeMap::new());
        loop {
            let proposer = self.proposer(height, round);
            if self.quorum.is_member(proposer) {
                let wait = self.grown(waits::PROPOSE_LEAST, round);
                let is_known = |sent_at: &Nanos| *sent_at + self.need(sent.len()) <= at;
                let own = *built.entry(proposer).or_insert(at + self.build(proposer));
                let need = match sent.iter().any(is_known) {
                    true => self.way,
                    false => own.since(at) + self.need(1),
                };
                if need <= wait {
                    if spare == 0 {
                        return at + need + self.votes();
                    }
                    spare -= 1;
                }
                if own <= at + wait {
                    sent.push(own.max(at));
                }
                at = at + self.lost(round, self.propose);
            } else if self.present.contains(&proposer) {
                at = at + self.lost(round, self.propose);
            } else {
                let full = self.lost(round, self.propose);
                at = at + full.min(unnoticed.since(at) + self.passed_over(round));
            }
            round += 1;
        }
    }

    /// The round that may be under way after a while in which all rounds were lost as soon as may be.
    pub fn round_after(&self, mut round: u32, span: Nanos) -> u32 {
        let mut at = Nanos::ZERO;
        while at < span {
            at = at + self.grown(self.durations.propose_away, round);
            round += 1;
        }
        round
    }

    /// How long after one height all members have decided the next one: it begins an interval after the one before, at
    /// members that are as far apart as a commit and its way.
    pub fn follows(&self, start: &Start) -> Nanos {
        self.interval + self.way + self.record + self.decides(start)
    }

    /// What was lost on its way is told again after a status.
    pub fn told(&self) -> Nanos {
        STATUS_INTERVAL + self.way
    }

    fn slowest_build(&self) -> Nanos {
        let builds = self.quorum.members.iter().map(|member| self.build(*member));
        builds.max().unwrap_or(Nanos::ZERO)
    }

    /// Links that were down stand again, once both ends run, and the first statuses have come.
    pub fn linked(&self) -> Nanos {
        Nanos::from_millis(DIAL_MS) + times(self.hop, 2)
    }

    /// Processes that did not run when the faults ended.
    pub fn started(&self) -> Nanos {
        Nanos::from_millis(CALM_START_MS)
    }

    /// All have noticed who is gone, and their statuses say so.
    pub fn noticed(&self) -> Nanos {
        Nanos::from_millis(IDLE_MS.1) + STATUS_INTERVAL + self.way
    }

    /// From a start until the process has listened: to everybody, or for its time. A call goes to the farthest member
    /// and back, and is made again if the first one was lost. Nobody passes it on to a peer whose link to the listener
    /// seems to stand, so it may be lost as long as links pass for standing that do not.
    pub fn listened(&self, unnoticed: Nanos) -> Nanos {
        let called = waits::CALL_AFTER + waits::CALL_AGAIN + times(self.way, 2);
        let is_sparse = self.quorum.gaps().next().is_some();
        LISTEN.max(called + if is_sparse { unnoticed } else { Nanos::ZERO })
    }

    /// From when a quorum has been heard until the first height after the start begins, if the client is ready.
    pub fn gathered(&self, head: Height) -> Nanos {
        match head {
            Height::GENESIS => waits::FOR_THE_REST,
            _ => waits::FOR_CLIENTS,
        }
    }

    /// Until a client is back at a head, from so many blocks below it: a pause, a few questions, and each block is read
    /// and imported.
    pub fn replayed(&self, blocks: u64) -> Nanos {
        let strides = u64::from(u64::BITS - blocks.leading_zeros()) + 2;
        let asked = waits::CLIENT_RETRY + row(engine::FORKCHOICE, 2 * strides);
        asked + row(engine::EXECUTE, blocks) + row(self.sync, blocks)
    }

    /// Until whatever befell a quorum is made up for: processes that have just started, clients without any block, and
    /// members that are so many heights behind.
    pub fn recovered(&self, tip: Height, behind: u64) -> Nanos {
        let others = self.quorum.others.len() as u64;
        self.linked()
            + self.listened(self.noticed())
            + self.gathered(tip)
            + self.replayed(tip.0)
            + self.caught_up(behind, others)
            + waits::VERDICT_RETRY_MAX
    }

    /// Rounds of members that the weather may cost. A round needs the proposal and two votes of each member at each
    /// other, and the parts of the block; one that fails with an even chance fails so often with less than one in a
    /// million.
    pub fn lost_by_weather(&self) -> u64 {
        let weather = &self.world.network.weather;
        let is_calm = weather.loss + weather.stream_break + weather.detour == 0;
        if is_calm { 1 } else { 20 }
    }

    /// Until a member has so many heights that others have decided. So many `silent` peers may be asked one after the
    /// other that do not answer: each of them is given up once. Some heights are asked for at one time, and all are
    /// brought over the same line. Each is verified, written and committed.
    pub fn caught_up(&self, heights: u64, silent: u64) -> Nanos {
        if heights == 0 {
            return Nanos::ZERO;
        }
        let asked = waits::SYNC_GRACE.max(self.interval) + times(waits::PATIENCE_MAX, silent);
        let at_once = waits::heights_at_once(&self.world.config.chain.limits()) as u64;
        let ways = times(self.hop, 2 * heights.div_ceil(at_once));
        let bytes = times(
            self.transfer(1, 1).since(self.hop) + Disk::transfer(self.bytes),
            heights,
        );
        asked + ways + bytes + row(self.sync, 2 * heights) + row(self.opened, heights)
    }
}
