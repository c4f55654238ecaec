//! This file knows a node's answer that stays the same, for the captured screens.

use ultramarine_node::board::{Condition, NodeIdentity};
use ultramarine_node::http::live::{
    Live, LiveBlock, LiveBytes, LiveClient, LiveCondition, LiveDisk, LiveDistribution, LiveLatency, LiveLink, LivePeer,
    LiveRates, LiveSpan, LiveSync, LiveTile,
};
use ultramarine_types::{Address, ChainIdentity, PeerId};

/// Begin and end of every stage of a height, in milliseconds.
const STAGES: [(&str, f64, f64); 8] = [
    ("build", 2.0, 120.0),
    ("stream", 95.0, 180.0),
    ("verify", 180.0, 205.0),
    ("persist", 205.0, 222.0),
    ("execute", 130.0, 171.0),
    ("vote", 222.0, 310.0),
    ("import", 312.0, 340.0),
    ("commit", 2.0, 312.0),
];

fn spans(stretch: f64, until: f64) -> Vec<LiveSpan> {
    let stages = STAGES.iter().filter(|(_, begin, _)| begin * stretch < until);
    stages
        .map(|(stage, begin, end)| LiveSpan {
            stage: (*stage).to_owned(),
            begin_ms: begin * stretch,
            end_ms: Some(end * stretch).filter(|end| *end <= until),
        })
        .collect()
}

fn height(height: u64) -> LiveBlock {
    let stretch = 1.0 + (height % 5) as f64 / 10.0;
    LiveBlock {
        height,
        round: u32::from(height == 4_207),
        blobs: 6,
        bytes: 786_432 + height % 100 * 37,
        proposer: format!("0x{:040x}", height % 4 + 0x12ab_0000),
        began_ms_ago: Some((4_212 - height) as f64 * 1_000.0),
        spans: spans(stretch, f64::INFINITY),
    }
}

fn tile(name: &str, busy: f64, queued: f64, link: &str, items: u64) -> LiveTile {
    LiveTile {
        tile: name.to_owned(),
        busy,
        queued,
        silent_s: 0,
        links: vec![LiveLink {
            link: link.to_owned(),
            items,
            capacity: 4_096,
            refused: 0,
        }],
    }
}

fn peer(number: u8) -> LivePeer {
    LivePeer {
        peer: PeerId([number; 32]).to_string(),
        validator: (number < 4).then(|| Address([number; 20]).to_string()),
        class: if number < 4 { "validator" } else { "stranger" }.to_owned(),
        address: format!("10.0.0.{number}:9000"),
        dialed: number.is_multiple_of(2),
        round_trip_ms: 0.4 * f64::from(number),
        score: if number == 4 { 45 } else { 0 },
        tip: (number != 4).then_some(4_211),
    }
}

fn call(method: &str, count: u64, p50_ms: f64) -> LiveDistribution {
    LiveDistribution {
        stage: method.to_owned(),
        count,
        recent_count: count,
        p50_ms,
        p99_ms: 3.0 * p50_ms,
        counts: Vec::new(),
    }
}

/// A validator that does well.
pub fn live() -> Live {
    Live {
        identity: NodeIdentity {
            name: "node0".to_owned(),
            version: "0.1.0".to_owned(),
            chain_id: 1_337,
            genesis_hash: ChainIdentity::ZERO,
            address: Some(Address([1; 20])),
            peer_id: PeerId::ZERO,
            validators: 4,
        },
        unix_ms: 1_800_000_000_000,
        uptime_s: 11_520,
        height: 4_211,
        round: 0,
        best_tip: 4_211,
        signing: Some(Condition {
            on: true,
            why: String::new(),
            since_unix_s: 1_799_988_000,
        }),
        current: LiveBlock {
            height: 4_212,
            proposer: "0x12ab00010000000000000000000000000000cafe".to_owned(),
            began_ms_ago: Some(190.0),
            spans: spans(1.0, 190.0),
            ..LiveBlock::default()
        },
        heights: (4_180..=4_211).map(height).collect(),
        rates: LiveRates {
            over_s: 10.0,
            heights: 1.0,
            blobs: 5.9,
            bytes: 781_234.0,
            received_bytes: 1_204_000.0,
            sent_bytes: 3_410_000.0,
        },
        tiles: vec![
            tile("core", 0.031, 0.004, "net-core", 3),
            tile("net", 0.21, 0.02, "core-net", 0),
            tile("store", 0.08, 0.0, "store", 12),
            tile("engine", 0.05, 0.0, "core-engine", 0),
            tile("http", 0.004, 0.0, "", 0),
            tile("kzg-0", 0.86, 0.12, "net-kzg", 2_100),
            tile("el", 0.4, 0.0, "", 0),
        ],
        latency: LiveLatency::default(),
        peers: (1..=4).map(peer).collect(),
        client: LiveClient {
            gate: Some(Condition {
                on: true,
                why: "VALID".to_owned(),
                since_unix_s: 1_799_988_000,
            }),
            waiting: None,
            executed: 4_211,
            lag: 0,
            calls: vec![
                call("engine_newPayloadV4", 4_211, 12.0),
                call("engine_forkchoiceUpdatedV3", 4_300, 4.2),
            ],
        },
        disk: LiveDisk {
            kinds: [
                ("values", 3_310_000_000),
                ("free", 134_217_728),
                ("index", 21_000_000),
                ("log", 8_400_000),
            ]
            .map(|(kind, bytes)| LiveBytes {
                kind: kind.to_owned(),
                bytes,
            })
            .to_vec(),
            available: Some(412_000_000_000),
            growth: Some(786_000.0),
            seconds_left: Some(524_448),
        },
        sync: LiveSync::default(),
        conditions: Vec::new(),
    }
}

/// The same with much that is wrong.
pub fn troubled() -> Live {
    let condition = |id: &str, severity: &str, what: &str, action: &str| LiveCondition {
        id: id.to_owned(),
        severity: severity.to_owned(),
        what: what.to_owned(),
        action: action.to_owned(),
        since_unix_s: Some(1_800_000_000 - 83),
        is_over: false,
    };
    let mut live = live();
    live.round = 2;
    live.current.round = 2;
    live.current.began_ms_ago = Some(83_000.0);
    live.current.spans.truncate(2);
    live.sync = LiveSync {
        behind: 1_204,
        seconds_left: Some(340.0),
    };
    live.client.gate = Some(Condition {
        on: false,
        why: "it answers SYNCING\x1b[2J for our head".to_owned(),
        since_unix_s: 1_800_000_000 - 84,
    });
    live.client.lag = 17;
    live.tiles[2].silent_s = 7;
    live.conditions = vec![
        condition(
            "client-not-ready",
            "critical",
            "the execution client is not ready: it answers SYNCING for our head",
            "look at the client's log: it is down, still syncing, or on another chain",
        ),
        condition(
            "behind",
            "critical",
            "1204 heights behind: at 4211, peers at 5415",
            "wait while the node catches up; if the number does not fall, look at the network and the execution client",
        ),
        condition(
            "disk-filling",
            "warning",
            "the disk will be full in 145 hours",
            "free room, or add some",
        ),
    ];
    live
}
