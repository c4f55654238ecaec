//! This file knows what a process has used so far, as the kernel counts it.

use std::fs;

use crate::machine::{field, kibibytes};

/// What a process used.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Resources {
    /// User and system time, in seconds.
    pub cpu_seconds: f64,
    /// Peak resident memory, in bytes.
    pub memory_bytes_max: u64,
    /// Bytes sent to block devices.
    pub written_bytes: u64,
}

impl Resources {
    /// A process now; `None` once it is ending. Its memory goes before its other figures: a reading without it is none.
    pub fn read(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // Another user's process keeps this one to itself; the rest is still worth showing.
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        field(&status, "VmHWM")?;
        Some(Self {
            cpu_seconds: cpu_seconds(&stat)?,
            memory_bytes_max: kibibytes(&status, "VmHWM"),
            written_bytes: field(&io, "write_bytes")
                .and_then(|value| value.parse().ok())
                .unwrap_or(0),
        })
    }
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, counted after the name, which may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    /// `USER_HZ` is 100 on every architecture that Linux still builds for, whatever the kernel's own tick.
    const TICKS_PER_SECOND: f64 = 100.0;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_nasty_name() {
        let stat = "7 (a ) (b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn this_process_has_used_memory() {
        let own = Resources::read(std::process::id()).expect("it runs");
        assert!(own.memory_bytes_max > 0);
    }

    #[test]
    fn a_process_that_has_ended_has_no_reading_even_while_the_kernel_names_it() {
        let mut child = std::process::Command::new("true").spawn().expect("true runs");
        let pid = child.id();
        // Not waited for, so it stays a zombie: with a status and a time, and without memory.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
            if stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")) {
                break;
            }
            assert!(std::time::Instant::now() < until, "it does not end");
            std::thread::yield_now();
        }
        assert_eq!(Resources::read(pid), None);
        child.wait().expect("it ended");
    }
}
