//! Claims about the catalogue: each condition holds when it should, and only then, in its own words.

use std::collections::BTreeSet;

use ultramarine_core::clocks::Grade;
use ultramarine_core::io::Event;
use ultramarine_runtime::limits::KernelLimits;
use ultramarine_runtime::{Io, Moment};
use ultramarine_types::{Address, ChainIdentity, CommitCertificate, Hash, Height, Nanos, PeerId, Round, ValueId};

use super::*;
use crate::archive::progress::{ArchiveStatus, ArchiveTrouble};
use crate::board::{ConfiguredPeer, HungTile, NodeIdentity, RECENT_MAX};
use crate::disk::DiskOutlook;

const NOW: u64 = 1_800_000_000;

/// A validator of four with nothing against it.
fn quiet() -> Board {
    let board = Board::new(NodeIdentity {
        name: "a".to_owned(),
        version: "1".to_owned(),
        chain_id: 5,
        genesis_hash: ChainIdentity::ZERO,
        address: Some(Address::ZERO),
        peer_id: PeerId([9; 32]),
        validators: 4,
    });
    readiness(&board, true, "");
    board.peer_up(&PeerId::ZERO);
    board
}

fn readiness(board: &Board, ready: bool, why: &str) {
    board.apply(&Event::Readiness {
        ready,
        why: why.to_owned(),
        is_news: true,
    });
}

fn decide(board: &Board, height: u64, round: u32) {
    board.apply(&Event::Decided {
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
    });
    board.apply(&Event::Executed { height: Height(height) });
}

fn turn(board: &Board, height: u64, round: u32) {
    board.apply(&Event::Round {
        height: Height(height),
        round: Round(round),
        proposer: Address::ZERO,
        ours: true,
    });
}

fn clock(board: &Board, offset_ns: i64, grade: Grade) {
    board.apply(&Event::Clock {
        offset_ns: Some(offset_ns),
        grade,
        peers_off: 0,
    });
}

fn archive(seconds: u64) -> ArchiveStatus {
    let trouble = ArchiveTrouble {
        since: NOW - seconds,
        seconds,
        begun: Moment::default(),
        what: "cannot connect".to_owned(),
    };
    ArchiveStatus {
        url: "s3://bucket".to_owned(),
        trouble: Some(trouble),
        ..ArchiveStatus::default()
    }
}

/// What the store and the chain's bounds say, beside the board.
#[derive(Default)]
struct Beside {
    shortage: Option<&'static str>,
    crowded: Option<&'static str>,
}

/// The ids that hold, with their words.
fn judged(snapshot: &Snapshot, beside: &Beside) -> Vec<(&'static str, String)> {
    let facts = Facts {
        snapshot,
        shortage: beside.shortage,
        crowded: beside.crowded,
    };
    facts.judged().map(|(entry, what)| (entry.id, what)).collect()
}

/// What a case does to a board, to a copy of what it shows, and beside it.
type Cause = fn(&Board, &mut Snapshot, &mut Beside);

/// One cause for each entry, nothing else, and a part of the words that it fills in.
const CAUSES: [(&str, &str, Cause); CATALOGUE.len()] = [
    ("client-unconfirmed", "", |_, shown, _| shown.readiness = None),
    ("client-not-ready", "SYNCING", |board, shown, _| {
        readiness(board, false, "SYNCING");
        *shown = board.snapshot();
    }),
    ("client-silent", "engine_newPayloadV4", |_, shown, _| {
        let words = "the execution client has not answered engine_newPayloadV4 for 31 s";
        shown.waiting = Some(words.to_owned());
    }),
    ("behind", "10 heights behind", |board, shown, _| {
        board.apply(&Event::Lag {
            ours: Height(0),
            best: Height(10),
        });
        *shown = board.snapshot();
    }),
    ("no-peers", "", |board, shown, _| {
        board.peer_down(&PeerId::ZERO);
        *shown = board.snapshot();
    }),
    ("not-signing", "until height 9", |board, shown, _| {
        board.apply(&Event::Signing {
            height: Height(1),
            active: false,
            usual: false,
            why: "a rebuilt index, until height 9".to_owned(),
        });
        *shown = board.snapshot();
    }),
    ("clock-wrong", "60.0 s behind", |board, shown, _| {
        clock(board, -60_000_000_000, Grade::Wrong);
        *shown = board.snapshot();
    }),
    ("stalled", "for 34 s: round 4", |board, shown, _| {
        board.apply(&Event::Stalled {
            height: Height(8),
            still: Nanos::from_millis(34_700),
            why: "round 4".to_owned(),
            is_news: true,
        });
        *shown = board.snapshot();
    }),
    ("archive-away", "10 min", |_, shown, _| {
        shown.archive = Some(archive(600))
    }),
    ("damaged-heights", "2 decided", |board, shown, _| {
        board.apply(&Event::Damaged {
            height: Height(1),
            damaged_count: 2,
        });
        *shown = board.snapshot();
    }),
    ("tile-hung", "store has taken no turn for 5 s", |board, shown, _| {
        board.hung(vec![HungTile {
            tile: "store".to_owned(),
            seconds: 5,
        }]);
        *shown = board.snapshot();
    }),
    ("disk-full", "free at least 3 MiB", |_, _, beside| {
        beside.shortage = Some("the disk has no room for another file of values: free at least 3 MiB on the disk of d");
    }),
    ("client-behind", "3 behind", |board, shown, _| {
        decide(board, 10, 0);
        board.apply(&Event::Executed { height: Height(7) });
        *shown = board.snapshot();
    }),
    ("client-slow", "2.5 s", |_, shown, _| {
        let words = "a call of engine_newPayloadV4 to the execution client took 2.5 s, 3 s ago";
        shown.slow_call = Some(words.to_owned());
    }),
    ("clock-off", "3.0 s ahead of", |board, shown, _| {
        clock(board, 3_000_000_000, Grade::Off);
        *shown = board.snapshot();
    }),
    (
        "clock-stepped",
        "3600.0 s back: it was set; 599 s ago",
        |board, shown, _| {
            disturb(board, 1, -3_599);
            *shown = board.snapshot_at(seconds_later(599));
        },
    ),
    ("process-paused", "too little CPU; 0 s ago", |board, shown, _| {
        disturb(board, 61, 61);
        *shown = board.snapshot_at(seconds_later(0));
    }),
    ("peers-missing", "1 of 2", |board, shown, _| {
        expect(board, 2);
        board.peer_up(&PeerId([1; 32]));
        *shown = board.snapshot();
    }),
    ("proposals-missed", "2 of our last 3", |board, shown, _| {
        for (height, round) in [(1, 0), (2, 1), (3, 1)] {
            turn(board, height, 0);
            decide(board, height, round);
        }
        *shown = board.snapshot();
    }),
    ("rounds-late", "8 of the last 32", |board, shown, _| {
        for height in 1..=RECENT_MAX as u64 {
            decide(board, height, u32::from(height > 24));
        }
        *shown = board.snapshot();
    }),
    ("archive-failing", "cannot connect", |_, shown, _| {
        shown.archive = Some(archive(29))
    }),
    ("disk-filling", "12.0 GB left and is full in 167 h", |_, shown, _| {
        shown.disk = Some(DiskOutlook {
            available_bytes: 12_000_000_000,
            seconds_left: Some(168 * 3_600 - 1),
        });
    }),
    ("io-fallback", "", |board, shown, _| {
        board.show_surroundings(true, Vec::new());
        *shown = board.snapshot();
    }),
    ("limits-low", "memlock", |board, shown, _| {
        let limits = KernelLimits {
            memlock_bytes: Some(1),
            nofile: None,
            address_bytes: None,
            file_bytes: None,
            rmem_max_bytes: None,
            wmem_max_bytes: None,
        };
        let low = limits.shortfalls(Io::Uring, 1);
        board.show_surroundings(false, low.iter().map(ToString::to_string).collect());
        *shown = board.snapshot();
    }),
    ("blocks-crowded", "gas limit", |_, _, beside| {
        beside.crowded = Some("the gas limit is high")
    }),
];

/// The monotonic clock so long after the disturbance. The wall clock was set back by a day in between.
fn seconds_later(seconds: u64) -> Moment {
    Moment {
        at: Nanos::from_millis(100_000 + seconds * 1_000),
        unix_s: NOW - 86_400 + seconds,
    }
}

/// Two looks of the watchdog, as far apart as these seconds of both clocks.
fn disturb(board: &Board, passed: u64, wall: i64) {
    let second = 1_000_000_000;
    let before = (Nanos(second), NOW * second);
    let after = (
        Nanos((1 + passed) * second),
        (NOW * second).saturating_add_signed(wall * 1_000_000_000),
    );
    let (kind, what) = crate::tiles::watchdog::disturbance(before, after).expect("worth a line");
    let seen = Moment {
        at: Nanos::from_millis(100_000),
        unix_s: NOW,
    };
    board.disturbed(kind, what, seen);
}

fn expect(board: &Board, peers: u8) {
    let named = (1..=peers).map(|number| ConfiguredPeer {
        peer: PeerId([number; 32]),
        address: format!("host{number}:26656"),
        connected: false,
    });
    board.expect_peers(named.collect());
}

#[test]
fn nothing_is_wrong_with_a_quiet_node() {
    assert_eq!(judged(&quiet().snapshot(), &Beside::default()), []);
}

#[test]
fn every_condition_holds_by_its_own_cause_alone_and_in_its_own_words() {
    for (id, part, cause) in CAUSES {
        let board = quiet();
        let (mut shown, mut beside) = (board.snapshot(), Beside::default());
        cause(&board, &mut shown, &mut beside);
        let found = judged(&shown, &beside);
        let [(found_id, what)] = &found[..] else {
            panic!("{id}: {found:?}");
        };
        assert_eq!(*found_id, id);
        assert!(what.contains(part), "{part} is not in {what}");
        let entry = CATALOGUE.iter().find(|entry| entry.id == id).expect("it was found");
        assert!(entry.fits(what), "{what} is not in the words {}", entry.words);
    }
    let caused: BTreeSet<_> = CAUSES.iter().map(|(id, ..)| *id).collect();
    assert_eq!(caused.len(), CATALOGUE.len(), "each entry has its cause");
}

#[test]
fn a_warning_leaves_the_node_ready_and_a_critical_condition_does_not() {
    for (id, _, cause) in CAUSES {
        let board = quiet();
        let (mut shown, mut beside) = (board.snapshot(), Beside::default());
        cause(&board, &mut shown, &mut beside);
        if beside.shortage.is_some() || beside.crowded.is_some() {
            continue;
        }
        let entry = CATALOGUE.iter().find(|entry| entry.id == id).expect("an entry");
        let is_unready = !unready(&shown).is_empty();
        assert_eq!(is_unready, entry.severity == Severity::Critical, "{id}");
    }
}

#[test]
fn what_is_nearly_wrong_is_no_condition() {
    let board = quiet();
    decide(&board, 10, 0);
    board.apply(&Event::Executed { height: Height(8) });
    board.apply(&Event::Lag {
        ours: Height(10),
        best: Height(12),
    });
    turn(&board, 11, 0);
    decide(&board, 11, 1);
    // As far behind as goes without a word, at the newest height.
    board.apply(&Event::Executed { height: Height(9) });
    board.apply(&Event::Lag {
        ours: Height(11),
        best: Height(13),
    });
    disturb(&board, 61, 61);
    expect(&board, 1);
    board.peer_up(&PeerId([1; 32]));
    board.show_disk(DiskOutlook {
        available_bytes: 1,
        seconds_left: Some(168 * 3_600),
    });
    let mut shown = board.snapshot_at(seconds_later(600));
    assert_eq!(judged(&shown, &Beside::default()), []);
    // A height that another's round decided is no turn of ours, and one that came by sync neither.
    turn(&board, 13, 2);
    decide(&board, 13, 1);
    shown = board.snapshot();
    assert_eq!(shown.proposals.missed, [true]);
}

#[test]
fn a_validator_that_comes_late_to_a_height_is_well_and_one_that_always_does_is_not() {
    let board = quiet();
    let late = |active| Event::Signing {
        height: Height(1),
        active,
        usual: true,
        why: "the height is decided already".to_owned(),
    };
    board.apply(&late(false));
    let mut shown = board.snapshot();
    assert!(shown.usual_silence_s.is_some(), "it is silent since just now");
    shown.usual_silence_s = Some(9);
    assert_eq!(judged(&shown, &Beside::default()), []);
    shown.usual_silence_s = Some(10);
    let found = judged(&shown, &Beside::default());
    assert_eq!(
        found,
        [("not-signing", "not signing: the height is decided already".to_owned())]
    );
    board.apply(&late(true));
    assert_eq!(board.snapshot().usual_silence_s, None, "it signs");
}

#[test]
fn a_second_turn_at_a_height_tells_that_the_first_was_missed() {
    let board = quiet();
    turn(&board, 5, 0);
    // Told again, as after a start.
    turn(&board, 5, 0);
    turn(&board, 5, 4);
    decide(&board, 5, 4);
    assert_eq!(board.snapshot().proposals.missed, [true, false]);
}

#[test]
fn the_ids_are_kebab_case_and_each_stands_once() {
    let ids: BTreeSet<_> = CATALOGUE.iter().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), CATALOGUE.len());
    for entry in &CATALOGUE {
        let is_kebab = |text: &str| text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-');
        assert!(is_kebab(entry.id), "{}", entry.id);
        assert!(!entry.action.is_empty() && !entry.action.ends_with('.'), "{}", entry.id);
    }
}

#[test]
fn a_spell_keeps_its_beginning_and_a_new_one_has_its_own() {
    let entry = |id| CATALOGUE.iter().find(|entry| entry.id == id).expect("an entry");
    let found = |ids: &[&'static str]| ids.iter().map(|id| (entry(*id), (*id).to_owned())).collect::<Vec<_>>();
    let mut spells = Spells::default();
    let mut listed = |ids: &[&'static str], now| -> Vec<(String, u64)> {
        let now = Moment {
            at: Nanos::from_millis(now * 1_000),
            unix_s: now,
        };
        let listed = spells.listed(found(ids), now).into_iter();
        listed.map(|one| (one.id, one.since_unix_s)).collect()
    };
    let pairs = |all: &[(&str, u64)]| all.iter().map(|(id, at)| ((*id).to_owned(), *at)).collect::<Vec<_>>();
    assert_eq!(listed(&["io-fallback"], 10), pairs(&[("io-fallback", 10)]));
    // Critical first, then the older.
    assert_eq!(
        listed(&["no-peers", "clock-off", "io-fallback"], 20),
        pairs(&[("no-peers", 20), ("io-fallback", 10), ("clock-off", 20)])
    );
    assert_eq!(
        listed(&["behind", "no-peers"], 30),
        pairs(&[("no-peers", 20), ("behind", 30)])
    );
    assert_eq!(listed(&["behind", "clock-off"], 40)[1].1, 40, "a new spell of its own");
    assert_eq!(listed(&[], 50), []);
}

#[test]
fn a_spell_is_as_old_as_it_is_whatever_the_wall_clock_does() {
    let entry = |id| CATALOGUE.iter().find(|entry| entry.id == id).expect("an entry");
    let found = || ["no-peers", "behind"].map(|id| (entry(id), id.to_owned()));
    let mut spells = Spells::default();
    let moment = |at_s: u64, unix_s| Moment {
        at: Nanos::from_millis(at_s * 1_000),
        unix_s,
    };
    spells.listed(vec![found()[1].clone()], moment(50, NOW));
    for (at_s, unix_s) in [(55, NOW + 1_800), (60, NOW - 1_800)] {
        let listed = spells.listed(found().to_vec(), moment(at_s, unix_s));
        let ages: Vec<_> = listed
            .iter()
            .map(|one| (one.id.as_str(), unix_s - one.since_unix_s))
            .collect();
        assert_eq!(
            ages,
            [("behind", at_s - 50), ("no-peers", at_s - 55)],
            "the older comes first"
        );
    }
}

#[test]
fn what_is_over_says_how_long_ago_it_was() {
    let over: Vec<_> = CATALOGUE.iter().filter(|entry| entry.is_over).collect();
    let ids: Vec<_> = over.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, ["client-slow", "clock-stepped", "process-paused"]);
    for entry in over {
        assert!(entry.words.ends_with("… s ago"), "{}", entry.words);
    }
}

/// One alert of `perf/prometheus/alerts.yml`: its name, and its lines by key.
fn alerts() -> Vec<(String, Vec<(String, String)>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../perf/prometheus/alerts.yml");
    let text = std::fs::read_to_string(path).expect("the alerts are there");
    let mut alerts = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(": ") else {
            continue;
        };
        if key == "- alert" {
            alerts.push((value.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = alerts.last_mut() {
            lines.push((key.to_owned(), value.trim_matches('"').to_owned()));
        }
    }
    alerts
}

#[test]
fn every_condition_has_an_alert_of_its_words_and_its_action() {
    let alerts = alerts();
    for entry in &CATALOGUE {
        let expression = format!("ultramarine_condition{{condition=\"{}\"}} == 1", entry.id);
        let of_entry: Vec<_> = alerts
            .iter()
            .filter(|(_, lines)| lines.iter().any(|(key, value)| key == "expr" && *value == expression))
            .collect();
        let [(name, lines)] = &of_entry[..] else {
            panic!("{} alerts with the expression {expression}", of_entry.len());
        };
        let line = |key: &str| {
            lines
                .iter()
                .find(|(found, _)| found == key)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(line("summary"), Some(entry.words), "{name}");
        assert_eq!(line("action"), Some(entry.action), "{name}");
        assert_eq!(line("severity"), Some(entry.severity.name()), "{name}");
    }
    let expressions = alerts.iter().flat_map(|(_, lines)| lines);
    let of_conditions = expressions.filter(|(key, value)| key == "expr" && value.starts_with("ultramarine_condition{"));
    assert_eq!(
        of_conditions.count(),
        CATALOGUE.len(),
        "an alert of a condition that is in no catalogue"
    );
}
