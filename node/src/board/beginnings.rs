//! This file knows since when something on the board is so. Beginnings lie on the monotonic clock, and are shown by the
//! wall clock as that is at each answer.

use serde::{Deserialize, Serialize};
use ultramarine_runtime::Moment;

use super::Snapshot;

/// What happened to the process as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisturbanceKind {
    /// The wall clock was set.
    ClockStep,
    /// Nothing here ran for a while.
    Pause,
}

/// Something that happened to the process as a whole, and may have cost it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disturbance {
    pub kind: DisturbanceKind,
    /// When it was seen, in Unix seconds by the wall clock as it is now.
    pub unix_s: u64,
    /// How long ago that is.
    #[serde(default)]
    pub seconds_ago: u64,
    #[serde(skip)]
    seen: Moment,
    /// One line for the operator.
    pub what: String,
}

impl Disturbance {
    pub(super) fn seen(kind: DisturbanceKind, what: String, now: Moment) -> Self {
        Self {
            kind,
            unix_s: now.unix_s,
            seconds_ago: 0,
            seen: now,
            what,
        }
    }
}

/// Whether something is so, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Condition {
    pub on: bool,
    /// One line for the operator.
    pub why: String,
    /// Since when it is so, in Unix seconds by the wall clock as it is now. A new reason alone does not change it.
    #[serde(default)]
    pub since_unix_s: u64,
}

impl Condition {
    /// What a condition is from now on. `begun`: when the last turn was.
    pub(super) fn turned(before: Option<&Self>, on: bool, why: &str, begun: &mut Moment, now: Moment) -> Self {
        if before.is_none_or(|before| before.on != on) {
            *begun = now;
        }
        Self {
            on,
            why: why.to_owned(),
            since_unix_s: begun.unix_s_as_of(now),
        }
    }
}

/// When the node's conditions last turned.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Turns {
    pub(super) signing: Moment,
    pub(super) readiness: Moment,
}

impl Snapshot {
    /// Writes every beginning by the wall clock as it is now.
    pub(super) fn date(&mut self, now: Moment) {
        let turns = [
            (&mut self.signing, self.turns.signing),
            (&mut self.readiness, self.turns.readiness),
        ];
        for (condition, begun) in turns {
            if let Some(condition) = condition {
                condition.since_unix_s = begun.unix_s_as_of(now);
            }
        }
        for disturbance in &mut self.disturbances {
            disturbance.unix_s = disturbance.seen.unix_s_as_of(now);
            disturbance.seconds_ago = disturbance.seen.seconds_ago(now);
        }
    }
}
