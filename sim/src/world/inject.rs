//! This file knows how to make a fault happen, and how to end all of them.

use ultramarine_types::storage::Blobs;
use ultramarine_types::{Height, Nanos};

use super::life::IDLE_MS;
use super::{Event, World};
use crate::disk::{DecidedValue, Disk, Rot};
use crate::engine::Mood;
use crate::faults::FaultKind;

/// After how many milliseconds all processes run once faults have ended, at most.
pub const CALM_START_MS: u64 = 500;

impl World {
    /// The next random fault, and the plan of the one after it.
    pub(crate) fn fault(&mut self) {
        let Some(every) = self.config.fault_every.filter(|_| !self.faults_over) else {
            return;
        };
        let at = self.now + Nanos(self.dice.between(every.0 / 10, every.0 * 2));
        self.queue.plan(at, Event::Fault);
        let kind = FaultKind::draw(&self.config.fault_kinds, &mut self.dice);
        self.inject(kind);
    }

    /// Makes one fault of a kind. It is counted when it has an effect: here, or where a disk or client is found wrong.
    pub fn inject(&mut self, kind: FaultKind) {
        let nodes = self.nodes.len();
        let one = self.dice.below(nodes);
        let span = self.dice.millis(300, 5000);
        self.trace
            .line(self.now, format_args!("fault {} at {one}", kind.name()));
        let happened = match kind {
            FaultKind::Crash => {
                let died = self.crash(one);
                self.start_later(one);
                died
            }
            FaultKind::CrashBetween => {
                // Within the next handful of intentions of this process, whatever they are.
                let fuse = self.dice.between(0, 12) as u32;
                if self.nodes[one].is_running() {
                    self.nodes[one].fuse = Some(fuse);
                }
                false
            }
            FaultKind::LongAway => {
                let died = self.crash(one);
                let at = self.now + self.dice.millis(8000, 25_000);
                self.queue.plan(at, Event::Start { node: one });
                died
            }
            FaultKind::CrashAll | FaultKind::CrashAllWithClients => {
                let mut died = 0;
                for node in 0..nodes {
                    if kind == FaultKind::CrashAllWithClients {
                        self.kill_client(node);
                        let at = self.now + self.dice.millis(100, 4000);
                        self.queue.plan(at, Event::ElStart { node });
                    }
                    died += usize::from(self.crash(node));
                    self.start_later(node);
                }
                died > 1
            }
            FaultKind::Partition => {
                let side: Vec<bool> = (0..nodes).map(|_| self.dice.chance(500)).collect();
                let mut cut = Vec::new();
                for a in 0..nodes {
                    for b in 0..nodes {
                        if side[a] != side[b] {
                            cut.push((a, b));
                        }
                    }
                }
                let parts = cut.iter().any(|(a, b)| self.network.epoch(*a, *b).is_some());
                self.cut(cut, span);
                parts
            }
            FaultKind::OneWay => {
                let other = (one + 1 + self.dice.below(nodes - 1)) % nodes;
                self.cut(vec![(one, other)], span);
                self.network.epoch(one, other).is_some()
            }
            FaultKind::Reset => {
                let other = (one + 1 + self.dice.below(nodes - 1)) % nodes;
                let connected = self.network.epoch(one, other).is_some();
                if connected {
                    self.reset(one, other);
                }
                connected
            }
            FaultKind::ElRestart => {
                let died = self.kill_client(one);
                let at = self.now + self.dice.millis(0, 3000);
                self.queue.plan(at, Event::ElStart { node: one });
                died
            }
            FaultKind::ElMood => {
                let mood = *self.dice.pick(&Mood::ALL);
                self.nodes[one].el.fall_into(mood, self.now + span);
                false
            }
            FaultKind::SlowDisk => {
                self.nodes[one].disk.slow_until = self.now + span;
                false
            }
            FaultKind::FullDisk => {
                self.nodes[one].disk.full_until = self.now + span;
                false
            }
            FaultKind::DiskFailure => {
                self.nodes[one].disk.fail_next = true;
                false
            }
            FaultKind::CorruptLog => {
                // A node without its log is inactive at one height. Only as many as may be faulty lose theirs: always
                // the same.
                let victim = 0;
                if self.config.is_power_honest() && self.nodes[victim].is_running() {
                    self.crash(victim);
                    self.nodes[victim].disk.corrupt_log();
                    self.start_later(victim);
                }
                false
            }
            FaultKind::LoseLog => {
                if let Some(node) = self.nodes.iter_mut().find(|node| node.disk.may_lose_log) {
                    node.disk.lose_next_log = true;
                }
                false
            }
            FaultKind::ClockJump => {
                let seconds = self.dice.between(0, 40) as i64 - 20;
                let clock = &mut self.nodes[one].clock;
                let before = std::mem::replace(&mut clock.offset_ns, seconds * 1_000_000_000);
                clock.stands_at = None;
                before != clock.offset_ns && self.nodes[one].is_running()
            }
            // Counted lie by lie.
            FaultKind::LaneLies => {
                self.nodes[one].lanes_lie_until = self.now + span;
                false
            }
            FaultKind::Pause => {
                let runs = self.nodes[one].is_running() && self.now >= self.nodes[one].stands_until;
                if runs {
                    let span = self.pause_dice.millis(1_000, 30_000);
                    self.stand_still(one, span);
                }
                runs
            }
            FaultKind::ClockStop => {
                let now = self.now;
                self.nodes[one].clock.stop(now);
                self.nodes[one].is_running()
            }
        };
        if happened {
            self.count(kind.name());
        }
    }

    /// Plans when something rots next, if anything does.
    pub(crate) fn plan_rot(&mut self) {
        if let Some(every) = self.config.rot_every {
            let at = self.now + Nanos(self.rot_dice.between(every.0 / 10, every.0 * 2));
            self.queue.plan(at, Event::Rot);
        }
    }

    /// A decided height rots at one honest node, if another one has it.
    pub(crate) fn rot(&mut self) {
        if self.faults_over {
            return;
        }
        self.plan_rot();
        let node = self.rot_dice.below(self.nodes.len());
        let head = self.nodes[node].head();
        if head == Height::GENESIS || !self.nodes[node].is_honest() {
            return;
        }
        let height = Height(self.rot_dice.between(1, head.0));
        let rot = *self.rot_dice.pick(&Rot::ALL);
        self.rot_at(node, height, rot);
    }

    /// A decided height of a node rots, if another honest one can bring it back; the node's scrub finds that.
    pub fn rot_at(&mut self, node: usize, height: Height, rot: Rot) -> bool {
        let wants_blobs = height >= self.nodes[node].disk.oldest_blobs();
        let has = |disk: &Disk| {
            let held = |value: &DecidedValue| !wants_blobs || value.decided.blobs == Blobs::Held;
            disk.decided(height).is_some_and(held) && !disk.is_rotten(height)
        };
        let is_elsewhere = self.honest().any(|(other, it)| other != node && has(&it.disk));
        if !is_elsewhere {
            return false;
        }
        let rots = self.nodes[node].disk.rot(height, rot);
        if rots {
            self.trace
                .line(self.now, format_args!("{node} has {height} rotten: {rot:?}"));
            self.plan_scrub(node);
        }
        rots
    }

    /// Whoever reads everything comes to what is rotten.
    pub(crate) fn plan_scrub(&mut self, node: usize) {
        let life = self.nodes[node].life;
        let heights: Vec<Height> = self.nodes[node].disk.rotten().collect();
        for height in heights {
            let at = self.now + self.rot_dice.millis(1, 8000);
            self.queue.plan(at, Event::Scrub { node, life, height });
        }
    }

    /// Blocks directions for a span.
    pub fn cut(&mut self, cut: Vec<(usize, usize)>, span: Nanos) {
        for (from, to) in &cut {
            self.network.block(*from, *to);
            if let Some(epoch) = self.network.epoch(*from, *to) {
                let at = self.now + self.dice.millis(IDLE_MS.0, IDLE_MS.1);
                self.queue.plan(
                    at,
                    Event::Idle {
                        a: *from,
                        b: *to,
                        epoch,
                    },
                );
            }
        }
        self.queue.plan(self.now + span, Event::Heal { cut });
    }

    /// Ends all faults: the network is whole, every process and client runs, no disk or clock is wrong. Adversaries
    /// stay.
    pub fn calm(&mut self) {
        self.trace.line(self.now, format_args!("calm"));
        self.faults_over = true;
        self.network.calm();
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            node.el.calm();
            node.el.start();
            node.disk.slow_until = Nanos::ZERO;
            node.disk.full_until = Nanos::ZERO;
            node.disk.fail_next = false;
            node.disk.lose_next_log = false;
            node.fuse = None;
            node.lanes_lie_until = Nanos::ZERO;
            node.clock.stands_at = None;
            node.clock.offset_ns = node.clock.offset_ns.clamp(-500_000_000, 500_000_000);
            if !node.is_running() {
                let at = self.now + self.dice.millis(10, CALM_START_MS);
                self.queue.plan(at, Event::Start { node: index });
            }
        }
    }
}
