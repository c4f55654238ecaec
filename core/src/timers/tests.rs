use malachitebft_core_types::{Round as MRound, Timeout};
use ultramarine_types::{ChainParams, Hash, Nanos};

use super::{Durations, Timers};

fn chain(blobs: u32) -> ChainParams {
    ChainParams {
        chain_id: 1,
        execution_genesis_hash: Hash::ZERO,
        blobs_per_block_max: blobs,
        block_interval_ms: 1000,
        blob_retention_heights_min: 100,
        gas_limit_min: 0,
        gas_limit_max: 1,
        genesis_time: 0,
        prague_time: None,
    }
}

#[test]
fn timers_fire_in_order_and_once() {
    let mut timers = Timers::new();
    timers.schedule(Nanos(20), Timeout::prevote(MRound::new(0)));
    timers.schedule(Nanos(10), Timeout::propose(MRound::new(0)));
    assert_eq!(timers.deadline(), Some(Nanos(10)));
    assert_eq!(timers.fire(Nanos(5)), None);
    assert_eq!(
        timers.fire(Nanos(30)).unwrap().timeout,
        Timeout::propose(MRound::new(0))
    );
    assert_eq!(
        timers.fire(Nanos(30)).unwrap().timeout,
        Timeout::prevote(MRound::new(0))
    );
    assert_eq!(timers.fire(Nanos(30)), None);
}

#[test]
fn a_timer_of_an_earlier_height_counts_no_more() {
    let mut timers = Timers::new();
    timers.schedule(Nanos(10), Timeout::propose(MRound::new(0)));
    let fired = timers.fire(Nanos(10)).unwrap();
    assert!(timers.is_current(fired));
    timers.cancel_all();
    assert!(
        !timers.is_current(fired),
        "the same round of the next height is another timer"
    );
}

#[test]
fn a_timer_set_again_replaces_itself() {
    let mut timers = Timers::new();
    timers.schedule(Nanos(10), Timeout::rebroadcast(MRound::new(1)));
    timers.schedule(Nanos(40), Timeout::rebroadcast(MRound::new(1)));
    assert_eq!(timers.fire(Nanos(20)), None);
    timers.cancel(Timeout::rebroadcast(MRound::new(1)));
    assert_eq!(timers.deadline(), None);
}

#[test]
fn an_absent_proposer_is_not_waited_for_as_long() {
    let durations = Durations::of(&chain(6));
    let propose = Timeout::propose(MRound::new(0));
    assert!(durations.duration(propose, true).0 * 5 < durations.duration(propose, false).0);
    // One dead validator of four, block interval one second: at least 50 blocks a minute.
    let lost = durations.duration(propose, true) + durations.duration(Timeout::precommit(MRound::new(0)), false);
    assert!(lost <= Nanos::from_millis(300));
}

#[test]
fn later_rounds_and_larger_blocks_wait_longer_up_to_a_ceiling() {
    let (small, large) = (Durations::of(&chain(6)), Durations::of(&chain(1024)));
    for kind in [Timeout::propose, Timeout::prevote] {
        assert!(small.duration(kind(MRound::new(0)), false) < large.duration(kind(MRound::new(0)), false));
        assert!(small.duration(kind(MRound::new(0)), false) < small.duration(kind(MRound::new(1)), false));
        assert_eq!(small.duration(kind(MRound::new(u32::MAX)), false), small.ceiling);
    }
}
