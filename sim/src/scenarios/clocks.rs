//! Wall clocks that are wrong: who is wrong says so, everybody else names it, and nothing but blocks' times depends on
//! them.

use ultramarine_core::clocks::Grade;
use ultramarine_core::io::Event;
use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::world::{World, WorldNotice};

const SECOND: i64 = 1_000_000_000;
/// Whose clock is wrong.
const VICTIM: usize = 3;
/// A report comes within this, in seconds.
const SOON: u64 = 15;
/// So does one about somebody else, if it is the first for a minute.
const IN_TURN: u64 = 60 + SOON;

pub const SCENARIO: Scenario = Scenario {
    name: "clocks",
    claim: "a wall clock that is off is reported by its node, named by the others, and forgotten when it is right",
    config: |seed| RunConfig {
        target: 30,
        skew_ppm_max: 200,
        ..RunConfig::quiet(seed)
    },
    script: one_wrong,
};

pub const ALL_AHEAD: Scenario = Scenario {
    name: "clocks-ahead",
    claim: "a chain whose clocks were all ahead goes on at once when they are right",
    config: |seed| RunConfig {
        target: 10,
        ..RunConfig::quiet(seed)
    },
    script: all_ahead,
};

/// The grades each node last told of itself, and those it told of others.
struct Heard {
    own: Vec<(Grade, Option<i64>)>,
    of_victim: Vec<Grade>,
    /// How many other clocks each last called wrong.
    others: Vec<usize>,
    blamed: Option<String>,
}

impl Heard {
    fn new(world: &World) -> Self {
        Self {
            own: vec![(Grade::Right, None); world.nodes.len()],
            of_victim: vec![Grade::Right; world.nodes.len()],
            others: vec![0; world.nodes.len()],
            blamed: None,
        }
    }

    fn hear(&mut self, world: &World) {
        for notice in &world.notices {
            let WorldNotice::Core { node, event } = notice else {
                continue;
            };
            match event.as_ref() {
                Event::Clock {
                    offset_ns,
                    grade,
                    peers_off,
                } => {
                    self.own[*node] = (*grade, *offset_ns);
                    self.others[*node] = *peers_off;
                    if *grade > Grade::Right && *node != VICTIM {
                        self.blamed = Some(format!("node {node} calls its own clock wrong by {offset_ns:?} ns"));
                    }
                }
                Event::PeerClock { validator, grade, .. } => {
                    if world.node_of(validator) == Some(VICTIM) {
                        self.of_victim[*node] = *grade;
                    } else {
                        self.blamed = Some(format!("node {node} blames {validator}"));
                    }
                }
                _ => {}
            }
        }
    }
}

fn one_wrong(world: &mut World) -> Result<(), String> {
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(3))?;
    for step in [-60 * SECOND, 60 * SECOND, 3 * SECOND, -400 * 24 * 3600 * SECOND] {
        let mut heard = Heard::new(world);
        world.nodes[VICTIM].clock.offset_ns = step;
        let want = if step.abs() > 5 * SECOND {
            Grade::Wrong
        } else {
            Grade::Off
        };
        wait(world, SOON, "its node tells of the wrong clock", |world| {
            heard.hear(world);
            let near = |offset: i64| offset.abs_diff(step) < 2 * SECOND as u64;
            let (grade, offset) = heard.own[VICTIM];
            grade == want && offset.is_some_and(near) || heard.blamed.is_some()
        })?;
        wait(world, IN_TURN, "everybody else tells of it", |world| {
            heard.hear(world);
            let names_it = |node: usize| heard.of_victim[node] == want && heard.others[node] == 1;
            (0..VICTIM).all(names_it) || heard.blamed.is_some()
        })?;
        // And nobody changes its mind while it lasts.
        let until = world.now + Nanos::from_millis(20_000);
        world.run(until, |world| {
            heard.hear(world);
            heard.blamed.is_some()
        });
        if let Some(blamed) = heard.blamed {
            return Err(blamed);
        }
        world.nodes[VICTIM].clock.offset_ns = 0;
        wait(world, SOON, "its node forgets it when the clock is right", |world| {
            heard.hear(world);
            heard.own[VICTIM].0 == Grade::Right
        })?;
        wait(world, IN_TURN, "everybody else forgets it", |world| {
            heard.hear(world);
            heard.of_victim.iter().all(|grade| *grade == Grade::Right) && heard.others.iter().all(|others| *others == 0)
        })?;
    }
    // One that stands still is soon wrong.
    let mut heard = Heard::new(world);
    let now = world.now;
    world.nodes[VICTIM].clock.stop(now);
    wait(world, 2 * SOON, "a clock that stands still is told of", |world| {
        heard.hear(world);
        heard.own[VICTIM].0 == Grade::Wrong
    })?;
    heard.blamed.map_or(Ok(()), Err)
}

fn all_ahead(world: &mut World) -> Result<(), String> {
    const AHEAD: i64 = 120;
    for node in &mut world.nodes {
        node.clock.offset_ns = AHEAD * SECOND;
    }
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= Height(5))?;
    for node in &mut world.nodes {
        node.clock.offset_ns = 0;
    }
    let reached = world.lowest_head();
    let mut blamed = false;
    wait(world, SOON, "the chain goes on at once", |world| {
        blamed |= world.notices.iter().any(|notice| match notice {
            WorldNotice::Core { event, .. } => {
                matches!(event.as_ref(), Event::Clock { grade, .. } if *grade > Grade::Right)
            }
            _ => false,
        });
        blamed || world.lowest_head() >= Height(reached.0 + 10)
    })?;
    if blamed {
        return Err("somebody calls a clock wrong that agrees with all others".to_owned());
    }
    Ok(())
}
