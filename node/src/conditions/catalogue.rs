//! This file knows every condition: its id, how bad it is, its words, what to do, and when it holds.
//!
//! `…` in the words stands for what is filled in. The alerts have the same words and the same actions.

use super::{Facts, Severity};
use crate::board::{DisturbanceKind, HUNG_SECONDS, ProposalRecord};
use crate::disk::LEFT_SECONDS_MIN;

/// Heights that the execution client may be behind without a word: the newest are always on their way to it.
const CLIENT_LAG_MAX: u64 = 2;
/// A validator may come late to heights for this long without a word.
const USUAL_SILENCE_SECONDS: u64 = 10;
/// For how long a clock that was set, or a pause of the process, is told.
const DISTURBED_SECONDS: u64 = 600;
/// Own proposals, among those remembered, that may go by without a word: one may be chance.
const MISSED_MAX: usize = 1;
/// One height in this many may take more than one round without a word.
const LATE_SHARE: usize = 4;
/// Names of missing peers in one line.
const NAMED_MAX: usize = 3;

/// A condition as the catalogue has it.
#[derive(Debug)]
pub struct CatalogueEntry {
    /// Its name, for machines: in `/health`, in the label of the metric, and in the alerts.
    pub id: &'static str,
    pub severity: Severity,
    /// Its words, `…` for each part that is filled in.
    pub words: &'static str,
    /// What the operator does.
    pub action: &'static str,
    /// Whether it tells of something that is over, for a while.
    pub is_over: bool,
    what: fn(&Facts<'_>) -> Option<String>,
}

impl CatalogueEntry {
    /// Whether a line is in these words.
    pub fn fits(&self, what: &str) -> bool {
        let mut pieces = self.words.split('…');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = what.strip_prefix(first) else {
            return false;
        };
        let mut last = first;
        for piece in pieces {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
            last = piece;
        }
        // What is filled in may stand at the end, or have the last piece's words in it.
        last.is_empty() || rest.is_empty() || what.ends_with(last)
    }

    /// Its words with the numbers that matter, if it holds.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Option<String> {
        (self.what)(facts)
    }
}

const fn critical(
    id: &'static str,
    words: &'static str,
    action: &'static str,
    what: fn(&Facts<'_>) -> Option<String>,
) -> CatalogueEntry {
    CatalogueEntry {
        id,
        severity: Severity::Critical,
        words,
        action,
        is_over: false,
        what,
    }
}

const fn warning(
    id: &'static str,
    words: &'static str,
    action: &'static str,
    what: fn(&Facts<'_>) -> Option<String>,
) -> CatalogueEntry {
    CatalogueEntry {
        severity: Severity::Warning,
        ..critical(id, words, action, what)
    }
}

/// A warning of an event: its words say how long ago that was.
const fn event(
    id: &'static str,
    words: &'static str,
    action: &'static str,
    what: fn(&Facts<'_>) -> Option<String>,
) -> CatalogueEntry {
    CatalogueEntry {
        is_over: true,
        ..warning(id, words, action, what)
    }
}

/// Every condition that a node can tell of.
pub static CATALOGUE: [CatalogueEntry; 25] = [
    critical(
        "client-unconfirmed",
        "the execution client has not confirmed our head yet",
        "wait while the client starts; if it lasts, look at the client's log and at engine.url",
        client_unconfirmed,
    ),
    critical(
        "client-not-ready",
        "the execution client is not ready: …",
        "look at the client's log: it is down, still syncing, or on another chain",
        client_not_ready,
    ),
    critical(
        "client-silent",
        "the execution client has not answered … for … s",
        "see that the client runs and that its CPU and disk keep up; restart it if it hangs",
        |facts| facts.snapshot.waiting.clone(),
    ),
    critical(
        "behind",
        "… heights behind: at …, peers at …",
        "wait while the node catches up; if the number does not fall, look at the network and the execution client",
        behind,
    ),
    critical(
        "no-peers",
        "no peer is connected",
        "see that UDP reaches network.listen and network.peers through the firewall, and that the peers run",
        no_peers,
    ),
    critical(
        "not-signing",
        "not signing: …",
        "read the reason: it says until when; never start a second node with this key",
        not_signing,
    ),
    critical(
        "clock-wrong",
        "our clock is … s … the validators' (their median); set it right, with NTP for one",
        "set the clock right, with chrony or another NTP client, and see that it stays so",
        |facts| facts.snapshot.clock.clone(),
    ),
    critical(
        "stalled",
        "height … has not been decided for … s: …",
        "read what the height waits for; if it is votes, ask the other validators' operators",
        |facts| facts.snapshot.stall.clone(),
    ),
    critical(
        "archive-away",
        "the archive … has taken nothing for …: …",
        "make the archive reachable again; until then blobs stay here and the disk fills",
        |facts| facts.snapshot.archive.as_ref()?.reason(),
    ),
    critical(
        "damaged-heights",
        "… decided heights are damaged on disk: they are not served, and fetched from peers; check the disk (dmesg, \
         smartctl)",
        "check the disk with dmesg and smartctl, and replace it if it reports errors",
        damaged_heights,
    ),
    critical(
        "tile-hung",
        "tile … has taken no turn for … s",
        "look for a stalled disk or a machine without CPU; if it lasts, restart the node and report it",
        tile_hung,
    ),
    critical(
        "disk-full",
        "the disk has no room for another file of values: …",
        "free as much room as the words say, or give the data directory a larger disk",
        |facts| facts.shortage.map(str::to_owned),
    ),
    warning(
        "client-behind",
        "the execution client has imported height …, … behind ours",
        "see that the client's CPU and disk keep up; it must import each block within a block's time",
        client_behind,
    ),
    event(
        "client-slow",
        "a call of … to the execution client took … s, … s ago",
        "see that the client's CPU and disk keep up, and what else runs on its machine",
        |facts| facts.snapshot.slow_call.clone(),
    ),
    warning(
        "clock-off",
        "our clock is off by more than it should be: … s … the validators' (their median)",
        "see that chrony or another NTP client runs: a clock that is further off makes blocks wait",
        |facts| facts.snapshot.clock_off.clone(),
    ),
    event(
        "clock-stepped",
        "the wall clock stepped … s …: it was set…; … s ago",
        "see that NTP slews the clock instead of setting it, and that nobody sets it by hand",
        |facts| disturbance(facts, DisturbanceKind::ClockStep),
    ),
    event(
        "process-paused",
        "nothing in this process ran for … s: it was stopped, or the machine has too little CPU; … s ago",
        "look for a debugger, a frozen container, a paused or overcommitted virtual machine, and swapping",
        |facts| disturbance(facts, DisturbanceKind::Pause),
    ),
    warning(
        "peers-missing",
        "… of … configured peers are not connected: …",
        "see whether these nodes run and are reachable by UDP; take those that left for ever out of network.peers",
        peers_missing,
    ),
    warning(
        "proposals-missed",
        "… of our last … proposals were not decided in their round",
        "look at the stages build and stream, at the execution client, and at the uplink",
        proposals_missed,
    ),
    warning(
        "rounds-late",
        "… of the last … heights took more than one round",
        "see which proposers they were: a validator is down, slow, or cut off",
        rounds_late,
    ),
    warning(
        "archive-failing",
        "the archive … failed just now: …",
        "see that the archive is reachable and has room; nothing is freed before it has its heights",
        archive_failing,
    ),
    warning(
        "disk-filling",
        "the disk has … GB left and is full in … h at the pace of the last hour",
        "give the data directory a larger disk, set retention.blobs_heights, or archive what is old",
        disk_filling,
    ),
    warning(
        "io-fallback",
        "io_uring is not used: epoll and pwrite drive network and disk",
        "the log's first lines say what refuses io_uring: a low ulimit -l, seccomp, or the kernel's settings",
        |facts| facts.snapshot.io_fallback.then(|| IO_FALLBACK.to_owned()),
    ),
    warning(
        "limits-low",
        "… is … and should be at least …",
        "raise each limit as the words say, then restart the node",
        limits_low,
    ),
    warning(
        "blocks-crowded",
        "blocks come close to the chain's bounds: …",
        "agree with the other operators on a lower gas limit in the execution clients",
        |facts| {
            let crowded = facts.crowded?;
            Some(format!("blocks come close to the chain's bounds: {crowded}"))
        },
    ),
];

const IO_FALLBACK: &str = "io_uring is not used: epoll and pwrite drive network and disk";

fn client_unconfirmed(facts: &Facts<'_>) -> Option<String> {
    let unknown = facts.snapshot.readiness.is_none();
    unknown.then(|| "the execution client has not confirmed our head yet".to_owned())
}

fn client_not_ready(facts: &Facts<'_>) -> Option<String> {
    let readiness = facts.snapshot.readiness.as_ref().filter(|readiness| !readiness.on)?;
    Some(format!("the execution client is not ready: {}", readiness.why))
}

fn behind(facts: &Facts<'_>) -> Option<String> {
    let snapshot = facts.snapshot;
    snapshot.is_behind().then(|| {
        format!(
            "{} heights behind: at {}, peers at {}",
            snapshot.lag(),
            snapshot.height,
            snapshot.best_tip
        )
    })
}

fn no_peers(facts: &Facts<'_>) -> Option<String> {
    let identity = &facts.snapshot.identity;
    let others = match identity.address {
        Some(_) => identity.validators.saturating_sub(1),
        None => identity.validators,
    };
    (others > 0 && facts.snapshot.peers == 0).then(|| "no peer is connected".to_owned())
}

fn not_signing(facts: &Facts<'_>) -> Option<String> {
    let signing = facts.snapshot.signing.as_ref()?;
    let should_sign = facts.snapshot.identity.address.is_some();
    // Others may decide a height before we come there. If that lasts, nothing that we sign counts.
    let comes_late = facts.snapshot.usual_silence_s;
    if comes_late.is_some_and(|seconds| seconds < USUAL_SILENCE_SECONDS) {
        return None;
    }
    (!signing.on && should_sign).then(|| format!("not signing: {}", signing.why))
}

fn damaged_heights(facts: &Facts<'_>) -> Option<String> {
    let damaged = facts.snapshot.damaged_heights;
    (damaged > 0).then(|| {
        format!(
            "{damaged} decided heights are damaged on disk: they are not served, and fetched from peers; check the \
             disk (dmesg, smartctl)"
        )
    })
}

fn tile_hung(facts: &Facts<'_>) -> Option<String> {
    let hung = facts.snapshot.hung.iter();
    let lines = hung
        .filter(|tile| tile.seconds >= HUNG_SECONDS)
        .map(|tile| format!("tile {} has taken no turn for {} s", tile.tile, tile.seconds));
    joined(lines, ", ")
}

fn client_behind(facts: &Facts<'_>) -> Option<String> {
    let snapshot = facts.snapshot;
    // Before its first word, the height is not known.
    snapshot.readiness.as_ref()?;
    let lag = snapshot.height.0.saturating_sub(snapshot.executed_height.0);
    (lag > CLIENT_LAG_MAX).then(|| {
        format!(
            "the execution client has imported height {}, {lag} behind ours",
            snapshot.executed_height
        )
    })
}

fn disturbance(facts: &Facts<'_>, kind: DisturbanceKind) -> Option<String> {
    let recent = facts.snapshot.disturbances.iter().rev().find(|one| one.kind == kind)?;
    let ago = recent.seconds_ago;
    (ago < DISTURBED_SECONDS).then(|| format!("{}; {ago} s ago", recent.what))
}

fn peers_missing(facts: &Facts<'_>) -> Option<String> {
    let configured = &facts.snapshot.configured_peers;
    let missing: Vec<&str> = configured
        .iter()
        .filter(|peer| !peer.connected)
        .map(|peer| peer.address.as_str())
        .collect();
    let named = joined(missing.iter().take(NAMED_MAX).map(|name| (*name).to_owned()), ", ")?;
    let more = missing.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!(
        "{} of {} configured peers are not connected: {named}{rest}",
        missing.len(),
        configured.len()
    ))
}

fn proposals_missed(facts: &Facts<'_>) -> Option<String> {
    let ProposalRecord { missed, .. } = &facts.snapshot.proposals;
    let count = missed.iter().filter(|missed| **missed).count();
    (count > MISSED_MAX).then(|| {
        format!(
            "{count} of our last {} proposals were not decided in their round",
            missed.len()
        )
    })
}

fn rounds_late(facts: &Facts<'_>) -> Option<String> {
    let decided = &facts.snapshot.decided;
    let late = decided.iter().filter(|decision| decision.round.0 > 0).count();
    let enough = decided.len() >= crate::board::RECENT_MAX;
    (enough && late * LATE_SHARE >= decided.len())
        .then(|| format!("{late} of the last {} heights took more than one round", decided.len()))
}

fn archive_failing(facts: &Facts<'_>) -> Option<String> {
    let archive = facts.snapshot.archive.as_ref()?;
    let trouble = archive.trouble.as_ref()?;
    // Once it lasts, it is the critical one.
    archive
        .reason()
        .is_none()
        .then(|| format!("the archive {} failed just now: {}", archive.url, trouble.what))
}

fn disk_filling(facts: &Facts<'_>) -> Option<String> {
    let disk = facts.snapshot.disk?;
    let seconds = disk.seconds_left.filter(|seconds| *seconds < LEFT_SECONDS_MIN)?;
    Some(format!(
        "the disk has {:.1} GB left and is full in {} h at the pace of the last hour",
        disk.available_bytes as f64 / 1e9,
        seconds / 3_600
    ))
}

fn limits_low(facts: &Facts<'_>) -> Option<String> {
    joined(facts.snapshot.limits_low.iter().cloned(), " ")
}

/// The lines as one; `None` if there is none.
fn joined(lines: impl Iterator<Item = String>, between: &str) -> Option<String> {
    lines.reduce(|all, line| all + between + &line)
}
