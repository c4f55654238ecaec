//! A client that answers `VALID` and names a hash that nobody asked about, and claims to be at our head.
//!
//! Its node takes part in nothing while that lasts, says why, and the others go on.

use ultramarine_core::io::Event;
use ultramarine_types::{Height, Nanos};

use super::{Scenario, wait};
use crate::RunConfig;
use crate::engine::Mood;
use crate::world::{World, WorldNotice};

const VICTIM: usize = 3;

pub const SCENARIO: Scenario = Scenario {
    name: "other-head",
    claim: "a client that answers VALID with another hash, again and again, opens no gate",
    config: |seed| RunConfig {
        target: 12,
        ..RunConfig::quiet(seed)
    },
    script,
};

fn script(world: &mut World) -> Result<(), String> {
    let height = Height(2 + world.config.seed % 4);
    wait(world, 60, "the chain runs", |world| world.lowest_head() >= height)?;
    let until = world.now + Nanos::from_millis(30_000);
    world.nodes[VICTIM].el.set_mood(Mood::OtherHead, until);
    let mut why = None;
    let goal = Height(height.0 + 6);
    wait(
        world,
        30,
        "the others go on, and their heights reach the victim",
        |world| {
            for notice in &world.notices {
                if let WorldNotice::Core { node: VICTIM, event } = notice
                    && let Event::Readiness { ready, why: told, .. } = event.as_ref()
                {
                    why = (!ready).then(|| told.clone());
                }
            }
            world.lowest_head() >= goal
        },
    )?;
    match why {
        Some(why) if why.contains("latestValidHash") => {}
        other => return Err(format!("the victim said of its client: {other:?}")),
    }
    if world.nodes[VICTIM].el.lies.contains_key(Mood::OtherHead.name()) {
        world.nodes[VICTIM].el.calm();
        return Ok(());
    }
    Err("the client told no lie".to_owned())
}
