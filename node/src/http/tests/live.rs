//! Claims about the live view, and the page that shows it.

use std::net::SocketAddr;
use std::time::Duration;

use ultramarine_net::{PeerBook, PeerView};
use ultramarine_runtime::{Clock, Mark, StageTime};
use ultramarine_types::Stage;
use ultramarine_types::limits::PEERS_MAX;

use super::super::live::{HEIGHTS_SHOWN_MAX, LIVE, Live};
use super::*;
use crate::disk::{self, DiskTrend};

fn view(number: usize) -> PeerView {
    PeerView {
        peer: PeerId([number as u8; 32]),
        validator: (number == 0).then_some(Address([7; 20])),
        is_listed: number == 1,
        address: SocketAddr::from(([10, 0, 0, 1], 9_000)),
        dialed: true,
        round_trip: Duration::from_micros(450),
        points: number as u64,
        tip: Some(Height(9)),
    }
}

fn decide(state: &HttpState, height: u64) {
    state.board.apply(&Event::Decided {
        certificate: CommitCertificate {
            height: Height(height),
            round: Round(1),
            value_id: ValueId::ZERO,
            signatures: Vec::new(),
        },
        blobs: 3,
        bytes: 1_000,
        origin_proposer: Address([5; 20]),
        origin_round: Round(0),
        block_hash: Hash::ZERO,
        synced: false,
        client_valid: false,
    });
    let log = state.registry.stage_log();
    log.happens(Mark::Round, Height(height), Nanos::from_millis(height * 1_000));
    let moment = StageTime {
        began: Nanos::from_millis(height * 1_000 + 5),
        ended: Nanos::from_millis(height * 1_000 + 300),
    };
    log.note(Mark::Stage(Stage::Commit), Height(height), moment);
}

async fn look(state: &HttpState) -> Live {
    let (status, text) = ask_text(state, LIVE).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    serde_json::from_str(&text).expect("what is written can be read")
}

#[tokio::test]
async fn the_live_view_tells_rounds_heights_peers_and_what_is_wrong() {
    let book = PeerBook::default();
    let state = state(9).show_peers(book.clone());
    book.show((0..3).map(view).collect());
    for height in 1..=100 {
        decide(&state, height);
    }
    state
        .registry
        .stage_log()
        .happens(Mark::Offer, Height(101), Nanos::from_millis(101_000));
    state.board.apply(&Event::Round {
        height: Height(101),
        round: Round(2),
        proposer: Address([6; 20]),
        ours: false,
    });
    let before = Clock::unix_ns() / 1_000_000_000;
    state.board.apply(&Event::Readiness {
        ready: false,
        why: "it syncs".to_owned(),
        is_news: true,
    });
    let live = look(&state).await;
    let gate = live.client.gate.as_ref().expect("it is known");
    assert_eq!((gate.on, gate.why.as_str()), (false, "it syncs"));
    assert!((before..=live.unix_ms / 1_000).contains(&gate.since_unix_s), "{gate:?}");
    assert_eq!((live.height, live.round, live.identity.chain_id), (100, 2, 7));
    assert_eq!(live.heights.len(), HEIGHTS_SHOWN_MAX);
    let newest = live.heights.last().expect("there are some");
    assert_eq!(
        (newest.height, newest.round, newest.blobs, newest.bytes),
        (100, 1, 3, 1_000)
    );
    let [commit] = &newest.spans[..] else {
        panic!("{newest:?}")
    };
    assert_eq!(
        (commit.stage.as_str(), commit.begin_ms, commit.end_ms),
        ("commit", 5.0, Some(300.0))
    );
    assert_eq!(
        (live.current.height, live.current.proposer),
        (101, Address([6; 20]).to_string())
    );
    let classes: Vec<&str> = live.peers.iter().map(|peer| peer.class.as_str()).collect();
    assert_eq!(classes, ["validator", "listed", "stranger"]);
    let peer = &live.peers[2];
    assert_eq!((peer.round_trip_ms, peer.score, peer.tip), (0.45, 2, Some(9)));
    assert_eq!(
        live.disk.kinds.iter().map(|kind| kind.bytes).sum::<u64>(),
        63,
        "as the account has it"
    );
    let (_, health) = ask(&state, "/health").await;
    let what: Vec<&str> = live
        .conditions
        .iter()
        .map(|condition| condition.what.as_str())
        .collect();
    let said: Vec<&str> = health["conditions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|c| c["what"].as_str())
        .collect();
    assert_eq!(what, said, "the same words as /health");
    assert!(!what.is_empty());
}

#[tokio::test]
async fn uptime_is_told_by_the_clock_that_nobody_sets() {
    let mut state = state(1);
    let hour = Duration::from_secs(3_600);
    state.started = std::time::Instant::now()
        .checked_sub(hour)
        .expect("the clock counts further back");
    let uptime = look(&state).await.uptime_s;
    assert!((3_600..3_660).contains(&uptime), "{uptime}");
}

#[tokio::test]
async fn stages_are_counted_in_buckets_that_add_up() {
    let state = state(1);
    let vote = state
        .registry
        .histogram("ultramarine_stage_seconds", "", &[("stage", "vote")]);
    for ms in [1, 44, 44, 30_000] {
        vote.record(Nanos::from_millis(ms));
    }
    let live = look(&state).await;
    let [shown] = &live.latency.stages[..] else {
        panic!("{:?}", live.latency)
    };
    assert_eq!(
        (shown.stage.as_str(), shown.count, shown.counts.iter().sum::<u64>()),
        ("vote", 4, 4)
    );
    assert_eq!(shown.counts.len(), live.latency.bounds_ms.len() + 1);
    assert_eq!(shown.counts.last(), Some(&1));
}

#[tokio::test]
async fn an_answer_is_bounded_and_made_once_for_all_who_ask_together() {
    let book = PeerBook::default();
    let state = state(9).show_peers(book.clone());
    book.show((0..PEERS_MAX).map(view).collect());
    for height in 1..=100 {
        decide(&state, height);
    }
    let (_, first) = ask_text(&state, LIVE).await;
    assert!(first.len() < 300_000, "{} bytes", first.len());
    decide(&state, 101);
    let (_, second) = ask_text(&state, LIVE).await;
    assert!(first == second, "an answer this young is given again");
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(look(&state).await.height, 101);
}

#[tokio::test]
async fn the_page_comes_with_a_policy_under_which_nothing_else_runs() {
    let (status, head, body) = ask_with(&state(1), "/dashboard", &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(head["content-type"], "text/html; charset=utf-8");
    let policy = head["content-security-policy"].to_str().expect("ASCII");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(body.starts_with(b"<!doctype html>"));
    let (status, _, _) = ask_with(&state(1), "/dashboard/", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// When the disk is full is computed once, and everybody is told the same.
#[tokio::test]
async fn all_that_tell_when_the_disk_is_full_agree() {
    let state = state(1);
    let board = Arc::clone(&state.board);
    disk::show(&state.registry, move || board.disk());
    let mut trend = DiskTrend::default();
    // What is there at each minute: nothing is known, it does not shrink, it lasts for years, for weeks, for hours.
    for (minute, available, left) in [
        (0, 900_000_000_000, None),
        (30, 900_000_000_000, None),
        (60, 899_999_000_000, Some(3_239_996_400)),
        (61, 899_000_000_000, Some(1_672_140)),
        (70, 860_000_000_000, Some(51_600)),
        (80, 0, Some(0)),
    ] {
        let outlook = trend.look(Nanos::from_millis(minute * 60_000), available);
        assert_eq!(outlook.seconds_left, left, "{minute}");
        state.board.show_disk(outlook);

        let (_, status) = ask(&state, "/status").await;
        assert_eq!(status["disk"]["seconds_left"], serde_json::json!(left), "{minute}");
        // An answer is shown for a while.
        let fresh = HttpState {
            live: crate::http::live::fresh(),
            ..state.clone()
        };
        assert_eq!(look(&fresh).await.disk.seconds_left, left, "{minute}");

        let (_, metrics) = ask_text(&state, "/metrics").await;
        let shown = metrics
            .lines()
            .find_map(|line| line.strip_prefix("ultramarine_disk_left_seconds "));
        assert_eq!(shown.map(|seconds| seconds.parse().expect(seconds)), left, "{minute}");
        assert!(
            metrics.contains(&format!("\nultramarine_disk_available_bytes {available}\n")),
            "{metrics}"
        );

        let (_, health) = ask(&state, "/health").await;
        let conditions = health["conditions"].as_array().expect("a list").iter();
        let mut told = conditions
            .filter_map(|condition| condition["what"].as_str())
            .filter(|what| what.contains("is full in"));
        match left.filter(|left| *left < disk::LEFT_SECONDS_MIN) {
            None => assert_eq!(told.next(), None, "{minute}"),
            Some(left) => {
                let words = told.next().expect("it is told");
                assert!(words.contains(&format!("is full in {} h ", left / 3_600)), "{words}");
            }
        }
    }
}

/// Rules, alerts and dashboards take it from the node: none looks at how the room changes.
#[test]
fn no_rule_computes_when_the_disk_is_full() {
    let perf = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../perf"));
    let mut uses = 0;
    for file in ["prometheus/rules.yml", "prometheus/alerts.yml", "grafana/operator.json"] {
        let text = std::fs::read_to_string(perf.join(file)).expect(file);
        assert!(!text.contains("predict_linear") && !text.contains("deriv("), "{file}");
        assert!(!text.contains("ultramarine_disk_available_bytes["), "{file}");
        uses += text.matches("ultramarine_disk_left_seconds").count();
    }
    assert_eq!(uses, 1, "one rule, which everybody reads");
}
