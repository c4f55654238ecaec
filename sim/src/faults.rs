//! This file knows which faults a run may meet, and draws the next one.

use crate::dice::Dice;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// One process dies and starts again.
    Crash,
    /// One process dies between two of its own intentions.
    CrashBetween,
    /// One process dies and stays away for many heights.
    LongAway,
    CrashAll,
    /// All processes and all execution clients die.
    CrashAllWithClients,
    /// The nodes fall into two groups.
    Partition,
    /// One direction of one link is cut.
    OneWay,
    /// One connection is reset.
    Reset,
    /// One execution client starts again at genesis.
    ElRestart,
    /// One execution client answers in a mood for a while.
    ElMood,
    /// One disk is slow for a while.
    SlowDisk,
    /// One disk is full for a while.
    FullDisk,
    /// One disk fails a sync.
    DiskFailure,
    /// One process dies and a record in the middle of its log is damaged.
    CorruptLog,
    /// One process dies after the mark of its next log epoch and before the log's file.
    LoseLog,
    /// One wall clock jumps.
    ClockJump,
    /// One wall clock stands still, until it jumps.
    ClockStop,
    /// One node's lanes and their memory lie for a while.
    LaneLies,
    /// One process does not run for a while, and goes on as if nothing had been.
    Pause,
}

impl FaultKind {
    /// Those that any run may have; frequent ones more than once.
    pub const ALL: [Self; 24] = [
        Self::Crash,
        Self::Crash,
        Self::CrashBetween,
        Self::CrashBetween,
        Self::LongAway,
        Self::CrashAll,
        Self::CrashAllWithClients,
        Self::Partition,
        Self::OneWay,
        Self::Reset,
        Self::Reset,
        Self::ElRestart,
        Self::ElMood,
        Self::ElMood,
        Self::ElMood,
        Self::ElMood,
        Self::SlowDisk,
        Self::FullDisk,
        Self::DiskFailure,
        Self::CorruptLog,
        Self::LoseLog,
        Self::ClockJump,
        Self::ClockStop,
        Self::LaneLies,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::CrashBetween => "crash-between",
            Self::LongAway => "long-away",
            Self::CrashAll => "crash-all",
            Self::CrashAllWithClients => "crash-all-with-clients",
            Self::Partition => "partition",
            Self::OneWay => "one-way-partition",
            Self::Reset => "connection-reset",
            Self::ElRestart => "el-restart",
            Self::ElMood => "el-mood",
            Self::SlowDisk => "slow-disk",
            Self::FullDisk => "full-disk",
            Self::DiskFailure => "disk-failure",
            Self::CorruptLog => "corrupt-log",
            Self::LoseLog => "lose-log",
            Self::ClockJump => "clock-jump",
            Self::ClockStop => "clock-stop",
            Self::LaneLies => "lane-lies",
            Self::Pause => "pause",
        }
    }

    /// Draws one of a list.
    pub fn draw(kinds: &[Self], dice: &mut Dice) -> Self {
        *dice.pick(kinds)
    }
}

/// What each run of seeds should make happen often: the names in a report's counts.
pub const CLASSES: &[&str] = &[
    "loss",
    "delay",
    "duplication",
    "reorder",
    "stream-break",
    "partition",
    "one-way-partition",
    "connection-reset",
    "crash",
    "crash-between",
    "crash-all",
    "crash-all-with-clients",
    "long-away",
    "torn-tail",
    "unsynced-write-lost",
    "unsynced-write-survived",
    "log-corrupted",
    "mark-without-log",
    "disk-failed",
    "disk-full",
    "slow-sync",
    "rot",
    "restored",
    "clock-jump",
    "clock-stop",
    "pause",
    "el-restart",
    "el-unavailable",
    "el-syncing",
    "el-accepted",
    "el-invalid",
    "el-payload-error",
    "el-bad-build",
    "el-stale-head",
    "el-other-head",
    "el-slow",
    "equivocation",
    "conflicting-votes",
    "flood",
    "withholding",
    "bad-init",
    "no-list",
    "long-list",
    "bad-list",
    "bad-blob",
    "bad-chunk",
    "false-status",
    "false-clock",
    "false-sync-answer",
    "false-answer-to-a-call",
    "false-package",
    "rising-tip",
    "late-refusal",
    "unanswered",
    "hollow-holding",
    "silent-sync",
    "rule-breach",
    "malformed-commitment",
    "false-proof",
    "no-proofs",
    "value-refuted",
    "lane-lies",
    "verdict-withheld",
    "old-message",
    "old-claim",
    "old-hello",
    "old-init",
    "old-package",
];

/// What is counted besides: consequences of a fault that is a class of its own, and what only scenarios do.
pub const OTHERS: &[&str] = &[
    "partition-drop",
    "adversary-charged",
    "evidence-kept",
    "closed-as-slow",
    "hello-refused",
    "disk-wiped",
    "banned",
    "pull",
    "status-flood",
    "kept-out",
    "false-link",
    "old-call",
    "unsaid",
];

/// Whether a name in a report's counts is known here: what is not is no class that anybody asks for.
pub fn is_listed(name: &str) -> bool {
    CLASSES.contains(&name) || OTHERS.contains(&name)
}
