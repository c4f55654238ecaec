//! A check that nothing can fail would be worth nothing: what each of these breaks is noticed.

use ultramarine_types::{Height, Lsn, Nanos, Round, ValueId, ValueKey};

use super::MINUTE;
use super::world::World;
use crate::Core;
use crate::machine::{Parked, Phase};

/// A core that runs and signs at a height above 2.
fn running() -> Core {
    let mut world = World::new(4);
    world.start_all();
    let signs = |world: &World| {
        world.nodes[0]
            .core
            .as_ref()
            .is_some_and(|core| core.head() >= Height(2) && core.is_signing())
    };
    assert!(world.run(MINUTE, signs));
    let core = world.nodes[0].core.take().unwrap();
    core.check_whole();
    core
}

#[test]
#[should_panic(expected = "the execution client is led elsewhere")]
fn a_head_to_which_the_client_is_not_led_is_noticed() {
    let mut core = running();
    core.head.height = core.head.height.next();
    core.check();
}

#[test]
#[should_panic(expected = "is signed at, and the watermark is")]
fn a_height_that_is_signed_at_below_the_watermark_is_noticed() {
    let mut core = running();
    core.guard.raise(core.current());
    core.check();
}

#[test]
#[should_panic(expected = "a message waits for a record that no sync covers")]
fn a_message_that_no_sync_covers_is_noticed() {
    let mut core = running();
    core.lsn = Lsn(core.lsn.0 + 1);
    let height = core.current();
    assert!(core.gate.pass(core.lsn, Parked::Chosen(height, Round(0))).is_none());
    core.check();
}

#[test]
#[should_panic(expected = "a decision is on its way exactly while the height is committing")]
fn a_height_that_commits_without_a_decision_is_noticed() {
    let mut core = running();
    core.phase = Phase::Committing;
    core.check();
}

#[test]
#[should_panic(expected = "was announced before it was durable")]
fn a_choice_that_is_announced_too_soon_is_noticed() {
    let mut core = running();
    let height = core.current();
    core.proposer.choose(height, Round(9), ValueId([1; 32])).announced = true;
    core.check_whole();
}

#[test]
#[should_panic(expected = "without what that takes")]
fn a_value_that_is_judged_without_its_bytes_is_noticed() {
    let mut core = running();
    let key = ValueKey {
        height: core.current(),
        id: ValueId([1; 32]),
    };
    core.values.entry(key).judgement = crate::values::Judgement::Executing { since: Nanos::ZERO };
    core.check_whole();
}
