//! This file knows the classes of fault that a liveness run ends in, and makes each of them happen: what is drawn for a
//! run, what befalls whom when the storm is over, and what goes on after that.
//!
//! Of every class holds: a connected quorum is left whole. All else is removed, cut off, hostile, wrong or slow for
//! ever.

use std::collections::BTreeSet;

use ultramarine_types::{Height, Nanos};

use super::quorum::{Quorum, QuorumShape};
use crate::RunConfig;
use crate::adversaries::AdversaryKind;
use crate::dice::Dice;
use crate::disk::Rot;
use crate::engine::Mood;
use crate::faults::FaultKind;
use crate::lines::{NodeLines, Rates};
use crate::world::World;

/// What becomes of a world for good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultClass {
    /// The others are killed.
    Crashed,
    /// The members are linked in a ring, a star or a line, and the others are killed.
    Sparse,
    /// The others are cut off.
    Partitioned,
    /// The others are adversaries.
    HostileValidators,
    /// Full nodes are adversaries, and the others are killed.
    HostileFullNodes,
    /// The others lose their disks.
    WipedDisks,
    /// The others' disks rot, are full and slow.
    RottenDisks,
    /// Members' lines are slow for their blocks, and the others are killed.
    SlowLinks,
    /// Members' clients are slow, and the others are killed.
    SlowClients,
    /// The others' clients answer with errors, other heads and bad blocks.
    WrongClients,
    /// Members' clocks are off within what is allowed, and step; the others' are off by far.
    Clocks,
    /// The others stand still again and again, and a member does once.
    Pauses,
    /// A member starts behind a link that is missing, and the others are killed.
    BootBehindMissingLink,
    /// The clients were away for many rounds, and the others' stay away.
    LongHeight,
    /// Members were away for many heights; when they are back, the others are killed, or answer no question.
    Lagging,
    /// All processes and clients are killed, and the members come back.
    AllKilled,
}

/// For ever.
const EVER: Nanos = Nanos(u64::MAX);
/// Longest that a storm lasts.
const STORM_MS: (u64, u64) = (6_000, 20_000);
/// How far a member's clock may be off, in milliseconds: two of them are less apart than a block may be ahead.
const CLOCK_OFF_MS: u64 = 7_000;
/// How far another's is off at least and at most, in seconds: no member takes its blocks.
const CLOCK_WRONG_SECONDS: (u64, u64) = (30, 4_000);
/// In how many of a thousand runs the others answer no question, instead of being killed. Strangers that answer none
/// hold nobody up: a member asks them last, and two validators have room for all heights that it asks for at one time.
const MUTE_PER_MILLE: u32 = 500;
/// Blobs of the largest block of a chain whose members lag. A request for a height has 4 s there, or 17: a member that
/// waits so long for a peer is late, and one that asks another is not.
const LIMITS_OF_BLOBS: [u32; 4] = [6, 6, 96, 1024];
/// How long a member stands still. It is less than what peers take for dead.
const PAUSE_MS: (u64, u64) = (500, 8_000);

impl FaultClass {
    pub const ALL: [Self; 16] = [
        Self::Crashed,
        Self::Sparse,
        Self::Partitioned,
        Self::HostileValidators,
        Self::HostileFullNodes,
        Self::WipedDisks,
        Self::RottenDisks,
        Self::SlowLinks,
        Self::SlowClients,
        Self::WrongClients,
        Self::Clocks,
        Self::Pauses,
        Self::BootBehindMissingLink,
        Self::LongHeight,
        Self::Lagging,
        Self::AllKilled,
    ];

    /// The class of a seed: all have their turns.
    pub fn of(seed: u64) -> Self {
        let count = Self::ALL.len() as u64;
        Self::ALL.get((seed % count) as usize).copied().unwrap_or(Self::Crashed)
    }

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crashed => "crashed-minority",
            Self::Sparse => "sparse-links",
            Self::Partitioned => "partitioned-minority",
            Self::HostileValidators => "hostile-minority",
            Self::HostileFullNodes => "hostile-full-nodes",
            Self::WipedDisks => "wiped-disks",
            Self::RottenDisks => "rotten-disks",
            Self::SlowLinks => "slow-links",
            Self::SlowClients => "slow-clients",
            Self::WrongClients => "wrong-clients",
            Self::Clocks => "clocks",
            Self::Pauses => "pauses",
            Self::BootBehindMissingLink => "boot-behind-missing-link",
            Self::LongHeight => "long-height",
            Self::Lagging => "lagging-members",
            Self::AllKilled => "all-killed",
        }
    }

    /// Whether the others stay connected to the members, so that their rounds may be waited for.
    pub const fn are_others_present(self) -> bool {
        match self {
            Self::HostileValidators
            | Self::WipedDisks
            | Self::RottenDisks
            | Self::WrongClients
            | Self::Clocks
            | Self::Pauses
            | Self::Lagging => true,
            Self::Crashed
            | Self::Sparse
            | Self::Partitioned
            | Self::HostileFullNodes
            | Self::SlowLinks
            | Self::SlowClients
            | Self::BootBehindMissingLink
            | Self::LongHeight
            | Self::AllKilled => false,
        }
    }
}

/// A run as its seed draws it.
pub struct LivenessPlan {
    pub class: FaultClass,
    pub quorum: Quorum,
    pub config: RunConfig,
    /// How long the storm lasts, if `target` is not reached before.
    pub storm: Nanos,
    dice: Dice,
    /// How long a member has stood still since the storm.
    pub pause: Nanos,
}

impl LivenessPlan {
    /// What a seed runs.
    pub fn of(seed: u64) -> Self {
        Self::of_class(seed, FaultClass::of(seed))
    }

    /// What a seed runs if it ends in a class.
    pub fn of_class(seed: u64, class: FaultClass) -> Self {
        let mut dice = Dice::of(seed, "liveness");
        let mut config = RunConfig::of(seed);
        config.validators = dice.between(4, 10) as usize;
        let quorum = Quorum::draw(&mut dice, config.validators, dice_least(seed));
        config.target = dice.between(3, 12);
        config.full_nodes = usize::from(dice.chance(250));
        config.adversaries.clear();
        // They silence a validator at a height: one that need not be there.
        let may_lose = |kind: &FaultKind| !matches!(kind, FaultKind::CorruptLog | FaultKind::LoseLog);
        if quorum.is_member(0) {
            config.fault_kinds.retain(may_lose);
        }
        let storm = dice.millis(STORM_MS.0, STORM_MS.1);
        let mut this = Self {
            class,
            quorum,
            config,
            storm,
            dice,
            pause: Nanos::ZERO,
        };
        this.draw_class();
        if this.config.fault_kinds.is_empty() {
            this.config.fault_kinds.push(FaultKind::Crash);
        }
        this
    }

    /// What of the run the class decides.
    fn draw_class(&mut self) {
        let dice = &mut self.dice;
        let seed = self.config.seed;
        match self.class {
            FaultClass::Sparse => {
                let shape = *dice.pick(&[QuorumShape::Ring, QuorumShape::Star, QuorumShape::Line]);
                self.quorum = self.quorum.clone().shaped(dice, shape);
            }
            FaultClass::BootBehindMissingLink => {
                let count = self.quorum.members.len();
                let first = dice.below(count);
                let second = (first + 1 + dice.below(count - 1)) % count;
                let (a, b) = (self.quorum.members[first], self.quorum.members[second]);
                self.quorum = self.quorum.clone().without(a, b);
            }
            FaultClass::HostileValidators => {
                let mut kinds = AdversaryKind::ALL.to_vec();
                kinds.extend([AdversaryKind::RisingTip, AdversaryKind::Mute, AdversaryKind::Hollow]);
                let drawn = self.quorum.others.iter().map(|other| (*other, *dice.pick(&kinds)));
                self.config.adversaries = drawn.collect();
            }
            FaultClass::HostileFullNodes => self.add_strangers(),
            FaultClass::Lagging => {
                self.config.chain.block_interval_ms = 100;
                self.add_strangers();
                let mut mute_dice = Dice::of(seed, "mute others");
                if mute_dice.chance(MUTE_PER_MILLE) {
                    let mute = self.quorum.others.iter().map(|other| (*other, AdversaryKind::Mute));
                    self.config.adversaries.extend(mute);
                }
                self.config.chain.blobs_per_block_max = *mute_dice.pick(&LIMITS_OF_BLOBS);
            }
            FaultClass::LongHeight => self.config.short_rounds = dice.chance(300),
            _ => {}
        }
        let nodes = self.config.nodes();
        self.config.lines = NodeLines::draw(&mut Dice::of(seed, "lines"), nodes);
        if self.class == FaultClass::SlowLinks {
            let blobs = self.dice.between(2, 24) as u32;
            self.config.blobs_range = (blobs, blobs);
            self.config.chain.blobs_per_block_max = blobs.max(6);
            // So that a block is under way to all others for some seconds.
            let bytes = u64::from(blobs) * 131_072 * self.quorum.members.len() as u64;
            let rate = bytes / self.dice.between(300, 4_000);
            self.config.lines.rates = (0..nodes).map(|node| (node, Rates::even(rate))).collect();
        }
    }

    /// Hostile full nodes, of any kind.
    fn add_strangers(&mut self) {
        let dice = &mut self.dice;
        let first = self.config.nodes();
        self.config.full_nodes += dice.between(1, 8) as usize;
        let strangers = first..self.config.nodes();
        let mut kinds = AdversaryKind::STRANGERS.to_vec();
        kinds.push(AdversaryKind::Puller);
        self.config.adversaries = strangers.map(|stranger| (stranger, *dice.pick(&kinds))).collect();
        // One is enough, and all that a run has time for.
        if Dice::of(self.config.seed, "status flood").chance(150)
            && let Some((_, kind)) = self.config.adversaries.last_mut()
        {
            *kind = AdversaryKind::StatusFlood;
            self.config.events_max *= 4;
        }
    }

    /// The storm is over: the class befalls the world. Members are whole from here on.
    pub fn strike(&mut self, world: &mut World) {
        world.calm();
        let others = self.quorum.others.clone();
        match self.class {
            FaultClass::Crashed | FaultClass::HostileFullNodes | FaultClass::SlowLinks => bury(world, &others),
            FaultClass::Sparse => {
                bury(world, &others);
                self.thin(world);
            }
            FaultClass::Partitioned => {
                for other in &others {
                    self.quorum
                        .members
                        .iter()
                        .for_each(|member| world.sever(*member, *other));
                }
            }
            FaultClass::HostileValidators => {}
            FaultClass::WipedDisks => {
                for other in others {
                    world.crash(other);
                    world.nodes[other].disk.wipe();
                    world.checks.agreement.wiped(other);
                    world.start_later(other);
                }
            }
            FaultClass::RottenDisks => {
                for other in others {
                    let disk = &mut world.nodes[other].disk;
                    (disk.slow_until, disk.full_until) = (EVER, EVER);
                }
            }
            FaultClass::SlowClients => {
                bury(world, &others);
                let most = self.dice.between(100, 6_000);
                for member in self.quorum.members.clone() {
                    let (build, execute) = (self.dice.millis(0, most), self.dice.millis(0, most));
                    let el = &mut world.nodes[member].el;
                    (el.build_extra, el.execute_extra) = (build, execute);
                }
            }
            FaultClass::WrongClients | FaultClass::Clocks => {}
            FaultClass::Pauses => {
                let member = *self.dice.pick(&self.quorum.members);
                if world.nodes[member].is_running() {
                    self.pause = self.dice.millis(PAUSE_MS.0, PAUSE_MS.1);
                    world.stand_still(member, self.pause);
                }
            }
            FaultClass::BootBehindMissingLink => {
                bury(world, &others);
                let pairs: Vec<_> = self.quorum.gaps().collect();
                self.thin(world);
                for (a, b) in pairs {
                    let starts = if self.dice.chance(500) { a } else { b };
                    world.crash(starts);
                    world.start_at_once(starts);
                }
            }
            FaultClass::LongHeight => self.take_clients_away(world),
            FaultClass::Lagging => self.leave_behind(world),
            FaultClass::AllKilled => {
                for node in 0..world.nodes.len() {
                    world.kill_client(node);
                    world.crash(node);
                }
                for other in others {
                    world.bury(other);
                }
                for node in self.quorum.members.clone() {
                    world.start_client(node);
                    world.start_at_once(node);
                }
            }
        }
        self.harass(world);
    }

    /// What goes on for ever, done again every now and then.
    pub fn harass(&mut self, world: &mut World) {
        let others = self.quorum.others.clone();
        match self.class {
            FaultClass::RottenDisks => {
                for other in others {
                    let head = world.nodes[other].head();
                    if head > Height::GENESIS {
                        let height = Height(self.dice.between(1, head.0));
                        let rot = *self.dice.pick(&Rot::ALL);
                        world.rot_at(other, height, rot);
                    }
                }
            }
            FaultClass::WrongClients => {
                for other in others {
                    let mood = *self.dice.pick(&Mood::ALL);
                    world.nodes[other].el.fall_into(mood, EVER);
                }
            }
            FaultClass::Clocks => {
                let one = self.dice.below(world.nodes.len());
                let off_ms = if self.quorum.is_member(one) {
                    self.dice.between(0, 2 * CLOCK_OFF_MS) as i64 - CLOCK_OFF_MS as i64
                } else {
                    let wrong = self.dice.between(CLOCK_WRONG_SECONDS.0, CLOCK_WRONG_SECONDS.1) as i64 * 1000;
                    if self.dice.chance(500) { wrong } else { -wrong }
                };
                world.nodes[one].clock.offset_ns = off_ms * 1_000_000;
            }
            FaultClass::Pauses => {
                for other in others {
                    if world.nodes[other].is_running() && world.now >= world.nodes[other].stands_until {
                        let span = self.dice.millis(1_000, 20_000);
                        world.stand_still(other, span);
                    }
                }
            }
            _ => {}
        }
    }

    /// Links between members that are none of the quorum's are cut.
    fn thin(&self, world: &mut World) {
        for (a, b) in self.quorum.gaps() {
            world.sever(a, b);
        }
    }

    /// All clients go away for many rounds. Those of members are back now.
    fn take_clients_away(&mut self, world: &mut World) {
        for node in 0..world.nodes.len() {
            world.kill_client(node);
        }
        let back = world.now + self.dice.millis(5_000, 90_000);
        world.run(back, |_| false);
        for member in &self.quorum.members {
            world.start_client(*member);
        }
    }

    /// Some members are away for many heights, and start now. Then the others are gone, unless they are mute.
    fn leave_behind(&mut self, world: &mut World) {
        let settled = world.now + Nanos::from_millis(5_000);
        world.run(settled, |_| false);
        let most = (self.config.validators - 1) / 3;
        let count = self.dice.between(1, most as u64) as usize;
        let mut away = BTreeSet::new();
        while away.len() < count {
            away.insert(*self.dice.pick(&self.quorum.members));
        }
        // Some fault of the storm may be about to start them.
        for member in &away {
            world.bury(*member);
        }
        let goal = Height(world.checks.agreement.tip().0 + self.dice.between(5, 120));
        let limit = world.now + Nanos::from_millis(60_000);
        world.run(limit, |world| world.checks.agreement.tip() >= goal);
        let others = self.quorum.others.iter().copied();
        let killed: Vec<usize> = others.filter(|other| world.nodes[*other].is_honest()).collect();
        bury(world, &killed);
        for member in away {
            world.nodes[member].is_gone = false;
            world.start_at_once(member);
        }
    }
}

fn bury(world: &mut World, nodes: &[usize]) {
    nodes.iter().for_each(|node| world.bury(*node));
}

/// Whether a run's quorum is as small as may be, so that every member is needed.
fn dice_least(seed: u64) -> bool {
    Dice::of(seed, "least quorum").chance(700)
}
