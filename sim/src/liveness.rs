//! This file knows a liveness run: a storm, then a fault for ever, and the demand that a connected quorum decides in
//! time.
//!
//! ```text
//!   seed ─▶ storm: any faults, all checkers ─▶ the class of the seed strikes, for ever
//!        ─▶ all members are able again ─▶ they decide the next height ─▶ and each height after that,
//!           each within a bound that is computed
//! ```
//!
//! It follows TigerBeetle's simulator, whose liveness mode heals a quorum and leaves the rest broken. A *class* is a
//! kind of fault (`classes.rs`). A *bound* is a sum of what each step takes at most (`bound.rs`, `reckon.rs`): a run
//! that meets it late fails with I14.

mod bound;
pub mod classes;
pub mod quorum;
pub mod reckon;
pub mod table;

use std::cell::Cell;

use ultramarine_types::{Height, Nanos};

use self::bound::Bound;
pub use self::classes::{FaultClass, LivenessPlan};
use crate::run::{self, RunReport};
use crate::shown::Shown;
use crate::world::World;

/// Heights after the next one that every member decides in time as well.
const HEIGHTS_AFTER: u64 = 6;
/// How many times a bound is waited for before a run is given up: so that a report says how late it was.
const GIVEN_UP: u64 = 4;
/// How often what goes on for ever is done again.
const HARASS: Nanos = Nanos::from_millis(700);

/// What something took, and what it may take.
#[derive(Clone, Copy, Default, Debug)]
pub struct Measure {
    pub took: Nanos,
    pub bound: Nanos,
}

impl Measure {
    /// What it took in hundredths of what it may take.
    pub fn percent(&self) -> u64 {
        self.took.0 / (self.bound.0 / 100).max(1)
    }
}

/// What a run took, where it came that far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Measures {
    /// Until all members were able to take part.
    pub able: Option<Measure>,
    /// From then until all had decided the next height.
    pub first: Option<Measure>,
    /// The height after it that came nearest to its bound.
    pub following: Option<Measure>,
    /// Whether all heights were decided.
    pub is_done: bool,
}

/// What came of a liveness run.
#[derive(Clone, Debug)]
pub struct LivenessReport {
    pub report: RunReport,
    pub class: FaultClass,
    pub measures: Measures,
}

/// Runs a seed.
pub fn run(seed: u64, shown: Option<Shown>) -> LivenessReport {
    run_plan(LivenessPlan::of(seed), shown)
}

/// Runs a plan.
pub fn run_plan(mut plan: LivenessPlan, shown: Option<Shown>) -> LivenessReport {
    let mut config = plan.config.clone();
    config.shown = shown;
    let target = Height(config.target);
    let mut world = World::new(config);
    let until = world.now + plan.storm;
    world.run(until, |world| world.checks.agreement.tip() >= target);
    let mut measures = Measures::default();
    if world.checks.violation.is_none() {
        plan.strike(&mut world);
        measures = demand(&mut plan, &mut world);
        run::audit(&mut world);
    }
    LivenessReport {
        report: run::report(world),
        class: plan.class,
        measures,
    }
}

/// Has all members become able, and decide the next height and some more; notes what comes late.
fn demand(plan: &mut LivenessPlan, world: &mut World) -> Measures {
    let struck_at = world.now;
    let bound = Bound::of(plan, world, struck_at, struck_at);
    let (tip, within) = (bound.next().prev(), bound.recovery());
    world.trace.line(
        world.now,
        format_args!(
            "{} strikes: {:?} with {:?} links are whole, and due to be able within {within:?}",
            plan.class.name(),
            plan.quorum.members,
            plan.quorum.shape,
        ),
    );
    let mut measures = Measures::default();
    let members = plan.quorum.members.clone();
    let able = |plan: &LivenessPlan, world: &World| {
        let is_able = |member: &usize| Bound::is_able(plan, world, *member, tip);
        members.iter().all(is_able)
    };
    measures.able = await_within(plan, world, within, "is able to take part", able);
    if measures.able.is_none() {
        return measures;
    }
    let able_at = world.now;
    let bound = Bound::of(plan, world, struck_at, able_at);
    let (next, within) = (bound.next(), bound.first());
    world.trace.line(
        world.now,
        format_args!("all are able, and {next} is due within {within:?}"),
    );
    let mut decided = decide(plan, world, next, within);
    measures.first = decided.map(|decided| decided.measure);
    for height in (1..=HEIGHTS_AFTER).map(|step| Height(next.0 + step)) {
        let Some(before) = decided else { return measures };
        let within = Bound::of(plan, world, struck_at, able_at).following(height, before.apart);
        decided = decide(plan, world, height, within);
        let measure = decided.map(|decided| decided.measure);
        if measures.following.map(|worst| worst.percent()) < measure.map(|measure| measure.percent()) {
            measures.following = measure;
        }
    }
    measures.is_done = decided.is_some();
    measures
}

/// A height that every member has decided.
#[derive(Clone, Copy)]
struct Decided {
    measure: Measure,
    /// From the first of them to the last.
    apart: Nanos,
}

/// Waits until every member has decided a height. `None`: it was given up.
fn decide(plan: &mut LivenessPlan, world: &mut World, height: Height, bound: Nanos) -> Option<Decided> {
    let members = plan.quorum.members.clone();
    let first = Cell::new(None);
    let what = format!("has decided height {height}");
    let measure = await_within(plan, world, bound, &what, |_, world| {
        let has_decided = |node: &usize| world.nodes[*node].head() >= height;
        if first.get().is_none() && members.iter().any(has_decided) {
            first.set(Some(world.now));
        }
        members.iter().all(has_decided)
    })?;
    let apart = world.now.since(first.get().unwrap_or(world.now));
    Some(Decided { measure, apart })
}

/// Waits until something is so of every member, and notes it if that is late. `None`: it was given up.
fn await_within(
    plan: &mut LivenessPlan,
    world: &mut World,
    bound: Nanos,
    what: &str,
    is_so: impl Fn(&LivenessPlan, &World) -> bool,
) -> Option<Measure> {
    let (began, first) = (world.now, plan.quorum.members[0]);
    let given_up = began + reckon::times(bound, GIVEN_UP);
    let late = |plan: &LivenessPlan, world: &World, took: &str| {
        let heads = plan
            .quorum
            .members
            .iter()
            .map(|node| (*node, world.nodes[*node].head().0));
        format!(
            "{}: each of the connected quorum {what} {took}, and was due within {bound:?}; members and heads: {:?}",
            plan.class.name(),
            heads.collect::<Vec<_>>(),
        )
    };
    loop {
        let until = (world.now + HARASS).min(given_up);
        let known: &LivenessPlan = plan;
        if world.run(until, |world| is_so(known, world)) {
            break;
        }
        if world.checks.violation.is_some() {
            return None;
        }
        if world.now >= given_up {
            let what = late(plan, world, &format!("not after {GIVEN_UP} times as long"));
            world.checks.note(world.now, first, Err(("I14", what)));
            return None;
        }
        plan.harass(world);
    }
    let took = world.now.since(began);
    if took > bound {
        let what = late(plan, world, &format!("after {took:?}"));
        world.checks.note(world.now, first, Err(("I14", what)));
    }
    Some(Measure { took, bound })
}
