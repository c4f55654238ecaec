//! This file knows how processes start and die, and how nodes come to see and lose each other.

use std::collections::VecDeque;

use ultramarine_core::io::Input;
use ultramarine_core::{Core, CoreConfig};
use ultramarine_net::bounds::{self, WIRE_VERSIONS};
use ultramarine_net::hello::{ExpectedHello, Goodbye, Hello, Plans};
use ultramarine_net::streaming::{Join, JoinConfig};
use ultramarine_net::{Attestation, Bans, Budgets, Guest, Site};
use ultramarine_types::canonical::{Canonical, sha256};
use ultramarine_types::network::{NetEvent, SyncEnd};
use ultramarine_types::{Address, Hash, Nanos, Nonce, Outbox, PeerId};

use super::{Event, Node, World};
use crate::block;
#[cfg(feature = "planted")]
use crate::planted::PlantedBug;
use crate::wire::{StreamId, pass_hello};

/// How long a validator that starts listens to those that it can hear.
pub const LISTEN: Nanos = Nanos::from_millis(2000);
/// After how many milliseconds a connection over which nothing comes is given up, at least and at most.
pub const IDLE_MS: (u64, u64) = (1500, 4000);
/// After how many milliseconds two nodes that could not connect try again, at most.
pub const DIAL_MS: u64 = 800;
/// After how many milliseconds a peer of a killed process has noticed, at most.
pub const LOST_MS: u64 = 3000;

impl World {
    /// A process starts on its disk.
    pub(crate) fn start(&mut self, index: usize) {
        if self.nodes[index].is_running() || self.nodes[index].is_gone {
            return;
        }
        let mut core = Core::new(self.core_config(index));
        if self.config.short_rounds {
            core.shorten_rounds();
        }
        let limits = self.config.chain.limits();
        let node = &mut self.nodes[index];
        node.stopped = None;
        node.core = Some(core);
        node.clock.started = self.now;
        node.wake_at = None;
        node.join = Join::new(JoinConfig { limits });
        #[cfg(feature = "planted")]
        node.join.plant(
            self.config
                .planted
                .and_then(PlantedBug::of_join)
                .filter(|_| node.is_honest()),
        );
        node.forkchoice_until = Nanos::ZERO;
        self.checks.execution.started(index);
        self.start_lanes(index);
        let node = &mut self.nodes[index];
        let recovered = node.disk.recover();
        let (life, head) = (node.life, node.disk.head());
        self.trace.line(
            self.now,
            format_args!(
                "{index} starts life {life} head {head} undecided {} log {}",
                recovered.undecided.len(),
                recovered.log.as_ref().map_or("none".to_owned(), |log| format!(
                    "{} generation {} {:?} records {}",
                    log.epoch.height,
                    log.epoch.generation,
                    log.condition,
                    log.records.len()
                ))
            ),
        );
        let checked = self.checks.agreement.recovered(index, head);
        self.note(index, checked);
        self.wall_tick(index);
        self.feed(index, Input::Boot(Box::new(recovered)));
        self.plan_scrub(index);
    }

    /// A process dies: what it held in memory is gone, what its disk had not synced may be. `false` if it did not run.
    pub fn crash(&mut self, index: usize) -> bool {
        if !self.nodes[index].is_running() {
            return false;
        }
        self.trace.line(self.now, format_args!("{index} dies"));
        let node = &mut self.nodes[index];
        node.core = None;
        node.life += 1;
        node.outbox = Outbox::new();
        node.wake_at = None;
        node.join_wake_at = None;
        node.streams.clear();
        node.syncs.clear();
        node.offers.clear();
        node.sees.clear();
        node.uplink = self.config.uplink(index);
        node.line_in_free_at = Nanos::ZERO;
        node.reads_from.clear();
        node.budgets = Budgets::default();
        node.bans = Bans::default();
        node.roster = self.config.roster();
        node.guests.clear();
        node.came_bytes.clear();
        node.statuses = self.config.statuses();
        node.statuses_due = None;
        node.later.clear();
        node.to_full_nodes.clear();
        node.stands_until = Nanos::ZERO;
        node.verified_through = 0;
        node.fuse = None;
        node.disk.crash();
        for other in 0..self.nodes.len() {
            if other != index && self.network.disconnect(index, other) {
                self.nodes[other].uplink.hang_up(index);
                // A killed process says no goodbye: its peers notice after a while.
                let life = self.nodes[other].life;
                let at = self.now + self.dice.millis(1, LOST_MS);
                self.queue.plan(
                    at,
                    Event::PeerLost {
                        node: other,
                        life,
                        peer: index,
                    },
                );
                self.dial(index, other, 50, 500);
            }
        }
        true
    }

    /// A process dies, and nobody starts it again.
    pub fn bury(&mut self, index: usize) {
        self.crash(index);
        self.nodes[index].is_gone = true;
    }

    /// Two nodes lose their link for ever. They notice when it has been idle for a while.
    pub fn sever(&mut self, a: usize, b: usize) {
        self.trace.line(self.now, format_args!("{a} = {b} severed"));
        self.network.lines.cut(a, b);
        self.config.lines.cut(a, b);
        if let Some(epoch) = self.network.epoch(a, b) {
            let at = self.now + self.dice.millis(IDLE_MS.0, IDLE_MS.1);
            self.queue.plan(at, Event::Idle { a, b, epoch });
        }
    }

    /// Somebody starts the process again.
    pub(crate) fn start_later(&mut self, index: usize) {
        let at = self.now
            + if self.dice.chance(300) {
                self.dice.millis(2000, 9000)
            } else {
                self.dice.millis(50, 2000)
            };
        self.queue.plan(at, Event::Start { node: index });
    }

    /// The process starts again now.
    pub fn restart(&mut self, index: usize) {
        self.queue.plan(self.now, Event::Start { node: index });
    }

    /// The process starts now and dials everybody, as a node does at its start.
    pub fn start_at_once(&mut self, index: usize) {
        self.restart(index);
        for other in (0..self.nodes.len()).filter(|other| *other != index) {
            let (a, b) = (index.min(other), index.max(other));
            let at = self.now + self.dice.millis(2, 20);
            self.queue.plan(at, Event::Connect { a, b });
        }
    }

    /// The node's execution client dies; it comes back with [`start_client`](Self::start_client). `false` if it
    /// did not run.
    pub fn kill_client(&mut self, index: usize) -> bool {
        self.trace.line(self.now, format_args!("{index} el dies"));
        let el = &mut self.nodes[index].el;
        let ran = el.is_running();
        el.stop();
        ran
    }

    /// The node's execution client starts, at genesis.
    pub fn start_client(&mut self, index: usize) {
        self.queue.plan(self.now, Event::ElStart { node: index });
    }

    /// Two nodes will try to connect.
    pub(crate) fn dial(&mut self, a: usize, b: usize, low_ms: u64, high_ms: u64) {
        let pair = (a.min(b), a.max(b));
        if self.network.lines.is_missing(a, b) {
            return;
        }
        if self.dialing.insert(pair) {
            let at = self.now + self.dice.millis(low_ms, high_ms);
            self.queue.plan(at, Event::Connect { a: pair.0, b: pair.1 });
        }
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        self.dialing.remove(&(a, b));
        if self.network.epoch(a, b).is_some() || self.network.lines.is_missing(a, b) {
            return;
        }
        let cut = self.network.is_blocked(a, b) || self.network.is_blocked(b, a);
        let answers = |node: &Node| node.is_running() && self.now >= node.stands_until;
        if cut || !answers(&self.nodes[a]) || !answers(&self.nodes[b]) {
            return self.dial(a, b, 200, DIAL_MS);
        }
        // A node that had not noticed the end of the old connection does so now.
        for (node, peer) in [(a, b), (b, a)] {
            if self.nodes[node].sees.contains_key(&peer) {
                self.peer_lost(node, peer);
            }
        }
        if !self.nodes[a].is_running() || !self.nodes[b].is_running() {
            return self.dial(a, b, 200, DIAL_MS);
        }
        let [Ok(at_a), Ok(at_b)] = [(a, b), (b, a)].map(|(node, peer)| self.meet(node, peer)) else {
            return self.dial(a, b, 200, DIAL_MS);
        };
        if self.keeps_out(a, b, at_a) || self.keeps_out(b, a, at_b) {
            self.count("kept-out");
            return self.dial(a, b, 1_000, 5_000);
        }
        let [Some(b_at_a), Some(a_at_b)] =
            [(a, b, at_a), (b, a, at_b)].map(|(node, peer, validator)| self.place(node, peer, validator))
        else {
            return self.dial(a, b, 200, 800);
        };
        self.network.connect(a, b);
        self.nodes[a].guests.insert(b, b_at_a);
        self.nodes[b].guests.insert(a, a_at_b);
        let (behind_b, behind_a) = (b_at_a.origin(), a_at_b.origin());
        self.nodes[a].uplink.connect(b, behind_b, at_b.is_some());
        self.nodes[b].uplink.connect(a, behind_a, at_a.is_some());
        self.trace.line(self.now, format_args!("{a} = {b} connected"));
        for (node, peer, validator, origin) in [(a, b, at_a, behind_b), (b, a, at_b, behind_a)] {
            if !self.nodes[node].is_running() {
                continue;
            }
            self.nodes[node].sees.insert(peer, origin);
            self.nodes[node].reads_from.remove(&peer);
            let event = NetEvent::PeerUp {
                peer: self.nodes[peer].peer,
                validator,
            };
            self.feed(node, Input::Net(event));
        }
    }

    /// Whether a node bans a peer, or whoever stands behind it.
    fn keeps_out(&self, node: usize, peer: usize, validator: Option<Address>) -> bool {
        let guest = self.guest(peer, validator);
        let node = &self.nodes[node];
        let now = node.clock.local(self.now);
        node.bans.keep_out(now, &guest.peer, &guest.origin())
    }

    /// A peer as a node sees it that lets it in.
    pub(super) fn guest(&self, peer: usize, validator: Option<Address>) -> Guest {
        Guest {
            peer: self.nodes[peer].peer,
            validator,
            is_listed: self.config.listed.contains(&peer),
            site: self.site_of(peer),
            since: self.now,
            points: 0,
            has_served: false,
        }
    }

    /// A place for a peer, unless there is none. Somebody else may have to give way.
    fn place(&mut self, node: usize, peer: usize, validator: Option<Address>) -> Option<Guest> {
        let newcomer = self.guest(peer, validator);
        let others = self.nodes[node].guests.iter().filter(|(other, _)| **other != peer);
        let others: Vec<Guest> = others.map(|(_, guest)| *guest).collect();
        let placed = self.nodes[node].roster.place(self.now, others.into_iter(), &newcomer);
        let gone = match placed {
            Ok(gone) => gone.and_then(|gone| self.peer_index(&gone)),
            Err(why) => {
                self.trace
                    .line(self.now, format_args!("{node} sends {peer} away: {why}"));
                self.count("no-place");
                return None;
            }
        };
        if let Some(gone) = gone {
            self.count("gave-way");
            self.reset(node, gone);
        }
        Some(newcomer)
    }

    /// What a node makes of a peer's first words: the validator that vouches for the peer, if any.
    fn meet(&mut self, node: usize, peer: usize) -> Result<Option<Address>, Goodbye> {
        let chain = self.config.attesting_chain(&self.chain.identity);
        let (name, truth) = (self.nodes[peer].peer, self.nodes[peer].address);
        let key = self.nodes[peer].key.as_ref();
        let hello = Hello {
            versions: WIRE_VERSIONS,
            chain,
            plans: Plans {
                upgrades: Hash::ZERO,
                fork_schedule: Hash::ZERO,
            },
            instance: u64::from(self.nodes[peer].life),
            attestation: key.map(|key| Attestation::sign(key, &chain, &name, u64::MAX)),
        };
        let said = self.as_adversary(peer, node, |adversary, means| adversary.hello(means, hello));
        let heard = pass_hello(&said.unwrap_or(hello));
        let expected = ExpectedHello {
            chain,
            validators: &self.validators,
            unix_seconds: 0,
        };
        let checked = heard.and_then(|hello| hello.check(&name, &expected));
        match checked {
            Err(why) => {
                self.trace
                    .line(self.now, format_args!("{node} sends {peer} away: {why}"));
                self.count("hello-refused");
            }
            Ok(validator) if validator != truth => {
                let what = format!("{peer} is taken for a node of {validator:?}");
                self.note(node, Err(("admission", what)));
            }
            Ok(_) => {}
        }
        checked
    }

    /// A connection is reset: both sides notice at once.
    pub fn reset(&mut self, a: usize, b: usize) {
        if self.network.disconnect(a, b) {
            for (node, peer) in [(a, b), (b, a)] {
                self.nodes[node].uplink.hang_up(peer);
                if self.now >= self.nodes[node].stands_until {
                    self.peer_lost(node, peer);
                } else {
                    let life = self.nodes[node].life;
                    self.queue.plan(self.now, Event::PeerLost { node, life, peer });
                }
            }
        }
        self.dial(a, b, 20, 400);
    }

    /// A stranger hangs up everywhere, and comes back under a fresh name.
    pub fn come_back_as_another(&mut self, stranger: usize) {
        let peers: Vec<usize> = self.nodes[stranger].sees.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.reset(stranger, peer));
        // What was said of the old name still concerns the stranger.
        let name = PeerId(sha256(&self.nodes[stranger].peer.0).0);
        self.nodes[stranger].peer = name;
        self.names.insert(name, stranger);
    }

    pub(crate) fn idle(&mut self, a: usize, b: usize, epoch: u64) {
        let cut = self.network.is_blocked(a, b) || self.network.is_blocked(b, a);
        // It may have gone on meanwhile, and stand still anew.
        let idle = Nanos(bounds::IDLE.as_nanos() as u64);
        let stands = |node: &Node| self.now < node.stands_until && self.now >= node.stands_from + idle;
        let is_dead = cut || stands(&self.nodes[a]) || stands(&self.nodes[b]);
        if is_dead && self.network.epoch(a, b) == Some(epoch) {
            self.reset(a, b);
        }
    }

    pub(crate) fn peer_lost(&mut self, index: usize, peer: usize) {
        let name = self.nodes[peer].peer;
        self.nodes[index].statuses.forget(&name);
        self.nodes[index].guests.remove(&peer);
        if self.nodes[index].sees.remove(&peer).is_none() {
            return;
        }
        self.trace.line(self.now, format_args!("{index} loses {peer}"));
        let of_peer: Vec<StreamId> = self.nodes[index]
            .streams
            .iter()
            .filter(|(_, stream)| stream.peer == peer)
            .map(|(stream, _)| *stream)
            .collect();
        for stream in of_peer {
            self.stream_gone(index, stream);
        }
        let syncs: VecDeque<(StreamId, ultramarine_types::Height)> = self.nodes[index]
            .syncs
            .iter()
            .filter(|(_, sync)| sync.peer == peer)
            .map(|(id, sync)| (*id, sync.height))
            .collect();
        let name = self.nodes[peer].peer;
        for (stream, height) in syncs {
            self.nodes[index].syncs.remove(&stream);
            self.feed(
                index,
                Input::Net(NetEvent::SyncEnded {
                    peer: name,
                    height,
                    end: SyncEnd::TimedOut,
                }),
            );
        }
        self.feed(index, Input::Net(NetEvent::PeerDown { peer: name }));
    }

    /// Another one in each life.
    fn nonce(&self, index: usize) -> Nonce {
        let drawn = Canonical::new("ultramarine/sim/nonce/1")
            .u64(self.config.seed)
            .u64(index as u64);
        Nonce(drawn.u32(self.nodes[index].life).sha256().0)
    }

    /// Where a full node stands: each has an address of its own, and all strangers have one.
    fn site_of(&self, node: usize) -> Site {
        let last = match self.nodes[node].is_honest() {
            true => 1 + node as u32,
            false => 0,
        };
        Site::of(std::net::Ipv4Addr::from(0x0a00_0000 | last).into())
    }

    /// A process stands still for a while: its disk, its client and its peers go on.
    pub fn stand_still(&mut self, index: usize, span: Nanos) {
        self.trace.line(
            self.now,
            format_args!("{index} stands still for {} ms", span.0 / 1_000_000),
        );
        let until = self.now + span;
        (self.nodes[index].stands_from, self.nodes[index].stands_until) = (self.now, until);
        self.queue.plan(until, Event::GoOn { node: index });
        // A peer that hears nothing for so long takes the connection for dead.
        let idle = Nanos(bounds::IDLE.as_nanos() as u64);
        for other in 0..self.nodes.len() {
            if let Some(epoch) = self.network.epoch(index, other).filter(|_| other != index) {
                let (a, b) = (index, other);
                self.queue.plan(self.now + idle, Event::Idle { a, b, epoch });
            }
        }
    }

    /// The process goes on: what has happened meanwhile happens to it now, in order.
    pub(crate) fn go_on(&mut self, index: usize) {
        if self.now >= self.nodes[index].stands_until {
            self.trace.line(self.now, format_args!("{index} goes on"));
            self.checks.clocks.stood_still(self.now, index);
        }
    }

    /// Until when an event waits, because the process that it happens to stands still.
    pub(crate) fn stands_still(&self, event: &Event) -> Option<Nanos> {
        let node = event.happens_to()?;
        let until = self.nodes[node].stands_until;
        (self.now < until).then_some(until)
    }

    fn core_config(&self, index: usize) -> CoreConfig {
        let node = &self.nodes[index];
        CoreConfig {
            chain: self.chain.clone(),
            validators: self.validators.clone(),
            key: node.key.is_some().then_some(node.seed),
            genesis_block: block::genesis(),
            retention: self.config.retention,
            fresh_directory_listen: LISTEN,
            nonce: self.nonce(index),
            #[cfg(feature = "planted")]
            planted: self
                .config
                .planted
                .and_then(PlantedBug::of_core)
                .filter(|_| node.is_honest()),
        }
    }
}
