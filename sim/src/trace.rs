//! This file knows how to boil a run down to one hash: SHA-256 over one canonical line per event.

use sha2::{Digest, Sha256};
use ultramarine_types::{Hash, Nanos};

use crate::shown::Shown;

/// The running hash of a run, and its lines when somebody wants to read them.
pub struct Trace {
    hasher: Sha256,
    lines: u64,
    shown: Option<Shown>,
    /// The newest lines, for the report of a failing run.
    recent: std::collections::VecDeque<String>,
}

/// NodeLines kept for the report of a failing run.
const RECENT_LINES: usize = 40;

impl Trace {
    /// An empty trace; what is `shown` of it goes to standard output.
    pub fn new(shown: Option<Shown>) -> Self {
        Self {
            hasher: Sha256::new(),
            lines: 0,
            shown,
            recent: std::collections::VecDeque::new(),
        }
    }

    pub fn line(&mut self, now: Nanos, what: std::fmt::Arguments<'_>) {
        let line = format!("{:>14.6} {what}\n", now.0 as f64 / 1e9);
        self.hasher.update(line.as_bytes());
        self.lines += 1;
        if let Some(shown) = self.shown {
            shown.line(now, &line);
        }
        if self.recent.len() == RECENT_LINES {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }

    /// The hash of all lines so far.
    pub fn hash(&self) -> Hash {
        Hash(self.hasher.clone().finalize().into())
    }

    /// How many lines there were.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    pub fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }
}
