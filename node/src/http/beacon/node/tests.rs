//! Claims about what a client of the Beacon API concludes from a node's words about itself.

use ultramarine_core::io::Event;
use ultramarine_types::{Height, PeerId, fixtures};

use super::*;
use crate::board::{Board, NodeIdentity};

fn snapshot(height: u64, best: u64, valid: u64, ready: bool) -> Snapshot {
    let board = Board::new(NodeIdentity {
        name: "test".to_owned(),
        version: "0".to_owned(),
        chain_id: 7,
        genesis_hash: fixtures::CHAIN,
        address: None,
        peer_id: PeerId::ZERO,
        validators: 4,
    });
    board.apply(&Event::Readiness {
        ready,
        why: "test".to_owned(),
        is_news: true,
    });
    board.apply(&Event::Executed { height: Height(valid) });
    let mut snapshot = board.snapshot();
    (snapshot.height, snapshot.best_tip) = (Height(height), Height(best));
    snapshot
}

fn condition(id: &str, severity: Severity) -> ActiveCondition {
    ActiveCondition {
        id: id.to_owned(),
        severity,
        what: String::new(),
        action: String::new(),
        since_unix_s: 0,
        is_over: false,
    }
}

#[test]
fn only_a_node_that_can_be_relied_on_is_in_step() {
    let critical = |id| condition(id, Severity::Critical);
    let (whole, behind) = (snapshot(9, 9, 9, true), snapshot(9, 99, 9, false));
    let fed = snapshot(9, 9, 5, false);
    for (snapshot, conditions, health) in [
        (&whole, vec![], Health::InStep),
        (
            &whole,
            vec![condition("disk-filling", Severity::Warning)],
            Health::InStep,
        ),
        (&whole, vec![critical("no-peers")], Health::Unfit),
        (&whole, vec![critical("stalled")], Health::Unfit),
        (&whole, vec![critical("disk-full")], Health::Unfit),
        (&whole, vec![critical("not-signing")], Health::Unfit),
        (&whole, vec![critical("client-not-ready")], Health::Unfit),
        (&behind, vec![critical("behind")], Health::CatchingUp),
        (
            &behind,
            vec![
                critical("behind"),
                critical("client-not-ready"),
                critical("not-signing"),
            ],
            Health::CatchingUp,
        ),
        (&behind, vec![critical("behind"), critical("no-peers")], Health::Unfit),
        (&fed, vec![critical("client-not-ready")], Health::CatchingUp),
        (&fed, vec![critical("client-silent")], Health::Unfit),
        (&fed, vec![critical("client-unconfirmed")], Health::Unfit),
    ] {
        let ids: Vec<&str> = conditions.iter().map(|condition| condition.id.as_str()).collect();
        assert_eq!(judged(snapshot, &conditions), health, "{ids:?}");
    }
}

#[test]
fn a_node_that_cannot_know_how_far_the_chain_is_counts_by_the_clock() {
    let critical = |id| condition(id, Severity::Critical);
    let (whole, behind) = (snapshot(9, 9, 9, true), snapshot(9, 99, 9, true));
    for (snapshot, id, by_clock, away) in [
        (&whole, None, 0, None),
        // Slots without a block.
        (&whole, None, 3_000, None),
        (&whole, Some("disk-full"), 3_000, None),
        (&whole, Some("stalled"), 40, Some(40)),
        (&whole, Some("no-peers"), 40, Some(40)),
        (&whole, Some("tile-hung"), 40, Some(40)),
        // Before the genesis, or beside its newest block.
        (&whole, Some("no-peers"), 0, None),
        (&behind, Some("behind"), 3_000, Some(90)),
        (&behind, Some("no-peers"), 3_000, Some(3_000)),
        (&behind, Some("no-peers"), 40, Some(90)),
    ] {
        let conditions: Vec<ActiveCondition> = id.map(critical).into_iter().collect();
        assert_eq!(distance(snapshot, &conditions, by_clock), away, "{id:?} {by_clock}");
    }
}
