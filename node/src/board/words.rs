//! This file knows how the board words a clock that is off and a height that stands still.

use ultramarine_types::{Height, Nanos};

/// Words an offset for people; `whose` ends in a verb.
pub fn clock_words(whose: &str, offset_ns: i64) -> String {
    let (seconds, side) = offset_parts(offset_ns);
    format!("{whose} {seconds:.1} s {side} the validators' (their median); set it right, with NTP for one")
}

/// Words an offset that is a warning.
pub(super) fn clock_off_words(offset_ns: i64) -> String {
    let (seconds, side) = offset_parts(offset_ns);
    format!("our clock is off by more than it should be: {seconds:.1} s {side} the validators' (their median)")
}

fn offset_parts(offset_ns: i64) -> (f64, &'static str) {
    let seconds = offset_ns.unsigned_abs() as f64 / 1e9;
    (seconds, if offset_ns < 0 { "behind" } else { "ahead of" })
}

/// Words a stall for people.
pub fn stall_words(height: Height, still: Nanos, why: &str) -> String {
    let seconds = still.0 / 1_000_000_000;
    format!("height {height} has not been decided for {seconds} s: {why}")
}
