//! This file knows every tile and link of a node: the one table that `start` builds from and `topology` prints.

use ultramarine_runtime::topology::{CorePolicy, LinkSpec, TileSpec, Topology};

// Names of the tiles. The table below says what each does.
pub const CORE: &str = "core";
pub const NET: &str = "net";
pub const STORE: &str = "store";
pub const ENGINE: &str = "engine";
pub const HTTP: &str = "http";
/// Only where an archive is configured.
pub const ARCHIVE: &str = "archive";
/// The embedded execution client of a devnet node.
pub const EMBEDDED_EL: &str = "el";
/// Verifier lanes, by position.
pub const LANES: [&str; 8] = ["kzg-0", "kzg-1", "kzg-2", "kzg-3", "kzg-4", "kzg-5", "kzg-6", "kzg-7"];

// Names of the links. The table below says what each carries, between whom.
pub const NET_CORE: &str = "net-core";
pub const CORE_NET: &str = "core-net";
pub const TO_STORE: &str = "store";
pub const STORE_CORE: &str = "store-core";
pub const CORE_ENGINE: &str = "core-engine";
pub const ENGINE_CORE: &str = "engine-core";
pub const NET_KZG: &str = "net-kzg";
pub const KZG_NET: &str = "kzg-net";
pub const ENGINE_KZG: &str = "engine-kzg";
pub const KZG_ENGINE: &str = "kzg-engine";

/// Control messages wait here while the core is busy. If the link is full, its sender waits.
const CONTROL_DEPTH: usize = 4096;
/// Verifier jobs and verdicts in flight per client: two of the largest blocks.
const VERIFY_DEPTH: usize = 2 * ultramarine_types::limits::BLOBS_PER_BLOCK_MAX as usize;
/// Store requests: log appends are many and small, values few.
const STORE_DEPTH: usize = 4096;
/// Calls to the execution client; the core never has more than a handful under way.
const ENGINE_DEPTH: usize = 256;

/// What a node's table depends on.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Verifier lanes.
    pub lanes: usize,
    /// Whether the execution client is inside.
    pub embedded_el: bool,
    pub archive: bool,
}

/// A node's table.
pub fn table(shape: Shape) -> Topology {
    let Shape {
        lanes,
        embedded_el,
        archive,
    } = shape;
    assert!(
        (1..=LANES.len()).contains(&lanes),
        "the configuration bounds the number of lanes"
    );
    let tile = |name, core, what| TileSpec {
        name,
        core,
        // Everything passes the core, in small steps, so a wake costs as much there as the work. The other tiles sleep
        // in rings of their own, or work for milliseconds.
        spin: name == CORE,
        what,
    };
    let mut tiles = vec![
        tile(
            CORE,
            CorePolicy::Dedicated,
            "consensus, gate, sync and retention decisions",
        ),
        tile(NET, CorePolicy::Dedicated, "QUIC, streaming, assembly"),
        tile(STORE, CorePolicy::Dedicated, "segments, consensus log, index"),
        tile(ENGINE, CorePolicy::Floating, "Engine API client"),
        tile(HTTP, CorePolicy::Floating, "metrics, status, blob API"),
    ];
    let link = |name, from, to, depth, carries| LinkSpec {
        name,
        from,
        to,
        depth,
        carries,
    };
    // Every lane serves the same clients; the table shows each pair once.
    let links = vec![
        link(NET_CORE, &[NET], CORE, CONTROL_DEPTH, "messages, offers, statuses"),
        link(CORE_NET, &[CORE], NET, CONTROL_DEPTH, "sends, admissions, fetches"),
        link(
            TO_STORE,
            if archive { &[CORE, NET, ARCHIVE] } else { &[CORE, NET] },
            STORE,
            STORE_DEPTH,
            "log records, commits, assembled values",
        ),
        link(STORE_CORE, &[STORE], CORE, CONTROL_DEPTH, "receipts"),
        link(
            CORE_ENGINE,
            &[CORE],
            ENGINE,
            ENGINE_DEPTH,
            "build, execute, import, forkchoice",
        ),
        link(ENGINE_CORE, &[ENGINE], CORE, ENGINE_DEPTH, "built blocks, statuses"),
        link(NET_KZG, &[NET], LANES[0], VERIFY_DEPTH, "blobs to verify"),
        link(KZG_NET, &[LANES[0]], NET, VERIFY_DEPTH, "verdicts"),
        link(
            ENGINE_KZG,
            &[ENGINE],
            LANES[0],
            VERIFY_DEPTH,
            "our own bundles to verify",
        ),
        link(KZG_ENGINE, &[LANES[0]], ENGINE, VERIFY_DEPTH, "verdicts"),
    ];
    for lane in &LANES[..lanes] {
        tiles.push(tile(lane, CorePolicy::Dedicated, "batch verification of blob proofs"));
    }
    if archive {
        tiles.push(tile(
            ARCHIVE,
            CorePolicy::Floating,
            "archiving of decided heights, healing from the archive",
        ));
    }
    if embedded_el {
        tiles.push(tile(
            EMBEDDED_EL,
            CorePolicy::Floating,
            "embedded execution client (development)",
        ));
    }
    Topology { tiles, links }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_together_for_every_number_of_lanes() {
        for lanes in 1..=LANES.len() {
            for (embedded_el, archive) in [(false, false), (false, true), (true, false), (true, true)] {
                let table = table(Shape {
                    lanes,
                    embedded_el,
                    archive,
                });
                table.validate().expect("names are unique and every link has its ends");
                let more = usize::from(embedded_el) + usize::from(archive);
                assert_eq!(table.tiles.len(), 5 + lanes + more);
            }
        }
    }
}
