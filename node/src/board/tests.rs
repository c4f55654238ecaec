//! Claims about what a node tells people about itself.

use ultramarine_types::CommitCertificate;

use super::*;
use crate::conditions::unready;

fn board(validators: usize) -> Board {
    Board::new(NodeIdentity {
        name: "a".to_owned(),
        version: "1".to_owned(),
        chain_id: 5,
        genesis_hash: ChainIdentity::ZERO,
        address: Some(Address::ZERO),
        peer_id: PeerId::ZERO,
        validators,
    })
}

fn decided(height: u64, round: u32) -> Event {
    Event::Decided {
        certificate: CommitCertificate {
            height: Height(height),
            round: Round(round),
            value_id: ValueId::ZERO,
            signatures: Vec::new(),
        },
        blobs: 3,
        bytes: 1000,
        origin_proposer: Address::ZERO,
        origin_round: Round(0),
        block_hash: Hash([9; 32]),
        synced: false,
        client_valid: false,
    }
}

#[test]
fn decisions_add_up_and_only_the_newest_are_listed() {
    let board = board(4);
    for height in 1..=40 {
        board.apply(&decided(height, u32::from(height == 7)));
    }
    let snapshot = board.snapshot();
    assert_eq!((snapshot.height, snapshot.head), (Height(40), Hash([9; 32])));
    assert_eq!(
        (snapshot.decided_total, snapshot.blobs_total, snapshot.bytes_total),
        (40, 120, 40_000)
    );
    assert_eq!(snapshot.rounds_above_zero, 1);
    assert_eq!(snapshot.decided.len(), RECENT_MAX);
    assert_eq!(
        snapshot.decided.back().map(|decision| decision.height),
        Some(Height(40))
    );
}

#[test]
fn a_node_is_ready_when_nothing_speaks_against_it() {
    let board = board(4);
    assert_eq!(
        unready(&board.snapshot()).len(),
        2,
        "no readiness, no peers: {:?}",
        unready(&board.snapshot())
    );
    board.apply(&Event::Readiness {
        ready: false,
        why: "SYNCING".to_owned(),
        is_news: true,
    });
    board.peer_up(&PeerId::ZERO);
    let reasons = unready(&board.snapshot());
    assert!(reasons.len() == 1 && reasons[0].contains("SYNCING"), "{reasons:?}");
    board.apply(&Event::Readiness {
        ready: true,
        why: String::new(),
        is_news: true,
    });
    assert!(unready(&board.snapshot()).is_empty());
    board.apply(&Event::Signing {
        height: Height(1),
        active: false,
        usual: false,
        why: "listening first".to_owned(),
    });
    assert!(unready(&board.snapshot())[0].contains("listening first"));
    board.apply(&Event::Signing {
        height: Height(1),
        active: true,
        usual: true,
        why: String::new(),
    });
    board.apply(&Event::Lag {
        ours: Height(0),
        best: Height(10),
    });
    assert!(unready(&board.snapshot())[0].contains("10 heights behind"));
    board.apply(&decided(10, 0));
    assert!(unready(&board.snapshot()).is_empty());
}

/// A board with nothing against its node.
fn ready() -> Board {
    let board = board(1);
    board.apply(&Event::Readiness {
        ready: true,
        why: String::new(),
        is_news: true,
    });
    assert_eq!(unready(&board.snapshot()), [""; 0]);
    board
}

fn only_reason(board: &Board) -> String {
    let reasons = unready(&board.snapshot());
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    reasons[0].clone()
}

#[test]
fn a_wrong_clock_is_a_reason_and_one_that_is_a_little_off_is_not() {
    let board = ready();
    let clock = |offset_ns, grade| Event::Clock {
        offset_ns,
        grade,
        peers_off: 0,
    };
    board.apply(&clock(Some(-60_000_000_000), Grade::Wrong));
    assert!(only_reason(&board).contains("our clock is 60.0 s behind the validators'"));
    assert_eq!(board.snapshot().clock_offset_ms, Some(-60_000));
    board.apply(&clock(Some(60_400_000_000), Grade::Wrong));
    assert!(only_reason(&board).contains("60.4 s ahead of the validators'"));
    // The last: it was just set right, and its grade takes a few looks to follow.
    for (offset_ns, grade) in [
        (Some(3_000_000_000), Grade::Off),
        (None, Grade::Right),
        (Some(-1_000_000), Grade::Wrong),
    ] {
        board.apply(&clock(offset_ns, grade));
        assert_eq!(unready(&board.snapshot()), [""; 0]);
    }
}

#[test]
fn a_peer_with_a_wrong_clock_is_no_reason() {
    let board = ready();
    board.apply(&Event::PeerClock {
        validator: Address::ZERO,
        offset_ns: 60_000_000_000,
        grade: Grade::Wrong,
    });
    assert_eq!(unready(&board.snapshot()), [""; 0]);
}

#[test]
fn damaged_heights_are_a_reason_until_the_last_is_restored() {
    let board = ready();
    let height = Height(7);
    for damaged_count in [1, 2] {
        board.apply(&Event::Damaged { height, damaged_count });
    }
    assert!(only_reason(&board).starts_with("2 decided heights are damaged on disk"));
    let damaged_count = 0;
    board.apply(&Event::Restored { height, damaged_count });
    assert_eq!(unready(&board.snapshot()), [""; 0]);
}

#[test]
fn a_height_that_stands_still_is_a_reason_until_it_moves() {
    let board = ready();
    let stalled = Event::Stalled {
        height: Height(8),
        still: Nanos::from_millis(34_700),
        why: "round 4".to_owned(),
        is_news: true,
    };
    for end in [decided(8, 0), Event::Moving { height: Height(8) }] {
        board.apply(&stalled);
        assert_eq!(only_reason(&board), "height 8 has not been decided for 34 s: round 4");
        board.apply(&end);
        assert_eq!(unready(&board.snapshot()), [""; 0]);
    }
}

#[test]
fn a_tile_that_takes_no_turn_is_a_reason_until_it_does() {
    let board = ready();
    let hung = |seconds| {
        vec![HungTile {
            tile: "store".to_owned(),
            seconds,
        }]
    };
    board.hung(hung(HUNG_SECONDS - 1));
    assert_eq!(unready(&board.snapshot()), [""; 0]);
    board.hung(hung(HUNG_SECONDS));
    assert_eq!(only_reason(&board), "tile store has taken no turn for 5 s");
    board.hung(Vec::new());
    assert_eq!(unready(&board.snapshot()), [""; 0]);
}

#[test]
fn status_keeps_the_field_names_that_dashboards_read() {
    let status = serde_json::to_value(board(1).snapshot()).expect("a snapshot has a JSON form");
    for name in ["gate", "silent"] {
        assert!(status.get(name).is_some(), "{name} is not in {status}");
    }
}

#[test]
fn a_lone_validator_needs_no_peer() {
    let board = board(1);
    board.apply(&Event::Readiness {
        ready: true,
        why: String::new(),
        is_news: true,
    });
    assert!(unready(&board.snapshot()).is_empty());
    board.peer_down(&PeerId::ZERO);
    assert_eq!(board.snapshot().peers, 0, "peers never go below zero");
}

#[test]
fn an_invalid_value_is_counted() {
    let board = board(4);
    board.apply(&Event::InvalidValue {
        key: ultramarine_types::ValueKey {
            height: Height(7),
            id: ValueId::ZERO,
        },
        origin_proposer: Address::ZERO,
        reason: "blobs: 7 where 6 are allowed".to_owned(),
    });
    assert_eq!(board.snapshot().invalid_values, 1);
}

#[test]
fn a_snapshot_survives_json() {
    let board = board(4);
    board.apply(&decided(1, 0));
    let text = serde_json::to_string(&board.snapshot()).expect("plain data");
    let back: Snapshot = serde_json::from_str(&text).expect("the same shape");
    assert_eq!(back, board.snapshot());
}

#[test]
fn a_closed_gate_says_since_when_whatever_the_reason_becomes() {
    let board = board(4);
    let told = |seconds, ready, why: &str| {
        let readiness = Event::Readiness {
            ready,
            why: why.to_owned(),
            is_news: true,
        };
        board.apply_at(&readiness, moment(seconds, seconds));
        let shown = board
            .snapshot_at(moment(seconds, seconds))
            .readiness
            .expect("it is known");
        (shown.on, shown.why, shown.since_unix_s)
    };
    let words = |on, why: &str, since| (on, why.to_owned(), since);
    assert_eq!(told(100, false, "it is away"), words(false, "it is away", 100));
    assert_eq!(told(160, false, "it syncs"), words(false, "it syncs", 100));
    assert_eq!(told(161, true, "VALID"), words(true, "VALID", 161));
    assert_eq!(told(170, false, "it is away"), words(false, "it is away", 170));

    let before = Moment::now().unix_s;
    board.apply(&Event::Signing {
        height: Height(1),
        active: false,
        usual: true,
        why: "listening".to_owned(),
    });
    let since = board.snapshot().signing.expect("it is known").since_unix_s;
    assert!((before..=before + 60).contains(&since), "{since}, not {before}");
}

/// A moment of a clock that is passed in.
fn moment(at_s: u64, unix_s: u64) -> Moment {
    Moment {
        at: Nanos::from_millis(1_000 * at_s),
        unix_s,
    }
}

#[test]
fn beginnings_are_as_long_ago_as_they_are_after_the_wall_clock_was_set() {
    let board = board(4);
    let begun = moment(100, 10_000);
    board.apply_at(
        &Event::Readiness {
            ready: false,
            why: "it is away".to_owned(),
            is_news: true,
        },
        begun,
    );
    board.apply_at(
        &Event::Signing {
            height: Height(1),
            active: true,
            usual: true,
            why: String::new(),
        },
        begun,
    );
    board.disturbed(DisturbanceKind::Pause, "a pause".to_owned(), begun);
    for unix_s in [10_005, 8_205, 11_805] {
        let shown = board.snapshot_at(moment(105, unix_s));
        let beginnings = [
            shown.readiness.expect("it is known").since_unix_s,
            shown.signing.expect("it is known").since_unix_s,
            shown.disturbances[0].unix_s,
        ];
        assert_eq!(beginnings, [unix_s - 5; 3]);
        assert_eq!(shown.disturbances[0].seconds_ago, 5);
    }
}

#[test]
fn a_client_that_is_fed_says_how_far_it_is_until_it_follows() {
    let board = board(4);
    for height in 1..=40 {
        board.apply(&decided(height, 0));
    }
    let mut lines = Vec::new();
    for second in 0..=20 {
        board.apply(&Event::Executed { height: Height(second) });
        lines.extend(board.look_at_client(Nanos::from_millis(1_000 * second)));
    }
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "0 of 40 heights, time left unknown");
    assert_eq!(lines[2], "20 of 40 heights, 1.0/s, 20 s left");
    assert!(
        locked(&board.client_catch_up)
            .status(Nanos::from_millis(20_000))
            .is_some()
    );
    board.apply(&Event::Executed { height: Height(38) });
    assert_eq!(board.look_at_client(Nanos::from_millis(21_000)), None);
    assert_eq!(board.snapshot().client_catch_up, None);
}

#[test]
fn damaged_heights_that_are_restored_say_how_far_they_are() {
    let board = board(4);
    let damaged = |damaged_count| Event::Damaged {
        height: Height(1),
        damaged_count,
    };
    let restored = |damaged_count| Event::Restored {
        height: Height(1),
        damaged_count,
    };
    for count in 1..=40 {
        board.apply(&damaged(count));
    }
    let mut lines = Vec::new();
    for second in 0..=20 {
        board.apply(&restored(40 - second));
        lines.extend(board.look_at_healing(Nanos::from_millis(1_000 * second as u64)));
    }
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "0 of 40 heights, time left unknown");
    assert_eq!(lines[2], "20 of 40 heights, 1.0/s, 20 s left");
    let status = |ms| board.progress(CatchUpKind::Healing, Nanos::from_millis(ms));
    let left = status(20_000).map(|status| (status.height, status.target, status.seconds_left));
    assert_eq!(left, Some((Height(20), Height(40), Some(20))));
    board.apply(&restored(0));
    assert_eq!(board.look_at_healing(Nanos::from_millis(21_000)), None);
    assert_eq!(status(21_000), None);
    // The next damage is counted by itself.
    board.apply(&damaged(2));
    let again = board.look_at_healing(Nanos::from_millis(30_000));
    assert_eq!(again.as_deref(), Some("0 of 2 heights, time left unknown"));
}
