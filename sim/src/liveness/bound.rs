//! This file knows the bounds of a run: within which time after its class befell a world all members of the connected
//! quorum are able again, within which they then decide their next height, and within which each height after that.
//!
//! What the class does is in the world by then: the links that are left, lines, clients, clocks, heights to catch up
//! with, rounds under way. Beyond that a class decides who passes for present ([`FaultClass::are_others_present`]), and
//! how many rounds of members it may cost (`spare`).
//!
//! Every bound is a sum of what `reckon.rs` knows, in nanoseconds of simulated time. None is a number that was tried
//! out.

use ultramarine_core::Core;
use ultramarine_types::{Height, Nanos};

use super::classes::{FaultClass, LivenessPlan};
use super::reckon::{Reckoning, Start, times};
use crate::world::World;
use crate::world::life::LISTEN;

/// Bounds of one run.
pub struct Bound<'a> {
    plan: &'a LivenessPlan,
    world: &'a World,
    struck_at: Nanos,
    able_at: Nanos,
    reckoning: Reckoning<'a>,
    /// The newest height that a member has decided.
    tip: Height,
}

impl<'a> Bound<'a> {
    /// Of a world as it is; the class struck at `struck_at`, and all members were able at `able_at`.
    pub fn of(plan: &'a LivenessPlan, world: &'a World, struck_at: Nanos, able_at: Nanos) -> Self {
        let others = plan.quorum.others.iter().copied();
        let is_present = |other: &usize| plan.class.are_others_present() && !world.nodes[*other].is_gone;
        let present: Vec<usize> = others.filter(is_present).collect();
        let heads = plan.quorum.members.iter().map(|node| world.nodes[*node].head());
        Self {
            plan,
            world,
            struck_at,
            able_at,
            reckoning: Reckoning::of(world, &plan.quorum, &present),
            tip: heads.max().unwrap_or_default(),
        }
    }

    /// The height that comes next.
    pub fn next(&self) -> Height {
        self.tip.next()
    }

    /// From now until all members are able to take part, as they are now.
    pub fn recovery(&self) -> Nanos {
        let members = self.plan.quorum.members.iter();
        let able = members.map(|member| self.able(*member)).max();
        self.skewed(able.unwrap_or(Nanos::ZERO))
    }

    /// From when all members are able until they have decided the next height.
    ///
    /// A member that stood still is able as soon as it goes on, by what was decided when the class struck. Heights that
    /// the others have decided meanwhile, with validators that may be gone since, it gets from them first: it may be
    /// needed.
    pub fn first(&self) -> Nanos {
        let members = self.plan.quorum.members.iter().map(|node| &self.world.nodes[*node]);
        let mut cores = members.filter_map(|node| node.core.as_ref());
        let is_running = cores.any(|core| core.head() == self.tip && core.round().is_some());
        // The log of a process that has started since brings back the round that it was in.
        let starts = |node: &usize| self.world.nodes[*node].clock.started >= self.struck_at;
        let level = self.level();
        // While some catch up, the others begin the height. They lose no more than the round that needs the missing.
        let is_amid = is_running || level > Nanos::ZERO || self.plan.quorum.members.iter().any(starts);
        let start = Start {
            height: self.next(),
            round: (self.world.checks.bounds.rounds(self.next()) - 1) as u32,
            is_amid,
            told: self.untold().max(level),
            unnoticed: self.unnoticed(),
            // A lock that the storm left may be known to one member alone until the next round.
            spare: self.spare().max(u64::from(is_amid)),
        };
        let interval = Nanos::from_millis(self.world.config.chain.block_interval_ms);
        self.skewed(interval + self.reckoning.decides(&start))
    }

    /// Until all members have what one of them has decided.
    fn level(&self) -> Nanos {
        let behind = |node: &usize| self.tip.0 - self.world.nodes[*node].head().0;
        let members = self.plan.quorum.members.iter();
        let caught_up = members.map(|node| self.reckoning.caught_up(behind(node), self.silent(*node)));
        caught_up.max().unwrap_or(Nanos::ZERO)
    }

    /// Until when those that are gone may pass for present.
    fn unnoticed(&self) -> Nanos {
        (self.struck_at + self.reckoning.noticed()).since(self.world.now)
    }

    /// Until when statuses and signatures may be missing that the storm kept back.
    fn untold(&self) -> Nanos {
        (self.able_at + self.reckoning.told()).since(self.world.now)
    }

    /// From when all members have decided a height until they have decided the next, `height`. The first of them had
    /// decided so long before the last.
    ///
    /// A member that missed votes in the storm gets a height from others, when these have begun the next. Nobody waits
    /// for a proposer that is behind, so if they are further apart than a commit and its way, the round is lost.
    pub fn following(&self, height: Height, apart: Nanos) -> Nanos {
        let start = Start {
            height,
            round: 0,
            is_amid: apart > self.reckoning.way + self.reckoning.record,
            told: self.untold(),
            unnoticed: self.unnoticed(),
            spare: self.spare(),
        };
        self.skewed(self.reckoning.follows(&start))
    }

    /// By clocks that run as slowly as any.
    fn skewed(&self, span: Nanos) -> Nanos {
        span + Nanos(span.0 / 1_000_000 * self.world.config.skew_ppm_max)
    }

    /// Rounds of members that may be lost at any height.
    fn spare(&self) -> u64 {
        match self.plan.class {
            FaultClass::HostileValidators => 1,
            _ => 0,
        }
    }

    /// Peers that may leave a question unanswered, one after the other: each of the other validators, and as a first
    /// one a stranger. The second peer that is asked for a height is a validator.
    fn silent(&self, member: usize) -> u64 {
        let has_strangers = self.world.nodes[member]
            .sees
            .keys()
            .any(|peer| *peer >= self.world.config.validators);
        self.plan.quorum.others.len() as u64 + u64::from(has_strangers)
    }

    /// Whether a member is able to take part: it may propose, has what was decided up to `tip`, and its links stand.
    pub fn is_able(plan: &LivenessPlan, world: &World, member: usize, tip: Height) -> bool {
        let node = &world.nodes[member];
        let others = plan
            .quorum
            .members
            .iter()
            .filter(|other| plan.quorum.is_linked(member, **other));
        node.head() >= tip
            && world.now >= node.stands_until
            && node.core.as_ref().is_some_and(Core::could_propose)
            && others.copied().all(|other| node.sees.contains_key(&other))
    }

    /// When one member is able to take part: its process runs, its links stand, it has listened, its client has all
    /// blocks, and it has the heights that others have.
    fn able(&self, member: usize) -> Nanos {
        let (reckoning, world) = (&self.reckoning, self.world);
        let node = &world.nodes[member];
        let mut at = Nanos::ZERO;
        let signs = node.core.as_ref().is_some_and(Core::is_signing);
        let starts = !node.is_running() || !signs && world.now.since(node.clock.started) < times(LISTEN, 2);
        if !node.is_running() {
            at = at + reckoning.started();
        }
        let mut others = self.plan.quorum.members.iter().filter(|other| **other != member);
        if others.any(|other| self.plan.quorum.is_linked(member, *other) && !node.sees.contains_key(other)) {
            at = at + reckoning.linked();
        }
        let stands = node.stands_until.since(world.now);
        if stands > Nanos::ZERO {
            // It reads first what came meanwhile, and writes what follows from that. Its peers may have taken it for
            // dead, and are connected anew.
            at = at + stands + reckoning.linked() + reckoning.record;
        }
        if starts {
            at = at + reckoning.listened(self.unnoticed()) + reckoning.gathered(node.head());
        }
        let behind = self.tip.0 - node.head().0;
        at = at + reckoning.caught_up(behind, self.silent(member));
        let is_confirmed = node.core.as_ref().is_some_and(Core::is_execution_ready);
        if starts || behind > 0 || !is_confirmed {
            let missing = self.tip.0.saturating_sub(node.el.head_number());
            at = at + reckoning.replayed(missing);
        }
        at
    }
}
