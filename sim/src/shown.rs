//! This file knows which lines of a run somebody wants to read, and prints them: the trace's, and what nodes log.
//!
//! Nothing here is part of a trace's hash.

use std::cell::Cell;
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use ultramarine_runtime::print;
use ultramarine_types::Nanos;

/// What of the nodes' own words is shown.
const WORDS: &str = "ultramarine_core=debug,arc_malachitebft_core_consensus=warn";

/// A part of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// The node whose lines are shown, by position; `None`: those of all.
    pub node: Option<usize>,
    /// Simulated time of the first line.
    pub from: Nanos,
    /// Simulated time after which nothing is shown.
    pub until: Nanos,
}

impl Shown {
    pub const ALL: Self = Self {
        node: None,
        from: Nanos(0),
        until: Nanos(u64::MAX),
    };

    /// Prints a line of the trace if it is wanted.
    pub fn line(&self, now: Nanos, line: &str) {
        if self.is_time(now) && self.node.is_none_or(|node| is_of(line, node)) {
            print::line_or_end(line.trim_end());
        }
    }

    fn is_time(&self, now: Nanos) -> bool {
        (self.from..=self.until).contains(&now)
    }
}

/// Whether a line of the trace is about a node: `3 says …`, `3 > 5 …`, `5 = 3 …`.
fn is_of(line: &str, node: usize) -> bool {
    let mut words = line.split_whitespace().skip(1);
    let is = |word: Option<&str>| word.and_then(|word| word.parse().ok()) == Some(node);
    is(words.next()) || (matches!(words.next(), Some(">" | "=")) && is(words.next()))
}

thread_local! {
    /// Which node thinks now, and when.
    static THINKING: Cell<Option<(Nanos, usize)>> = const { Cell::new(None) };
}

/// What is logged from here on, in this thread, is of this node at this time.
pub fn thinks(now: Nanos, node: usize) {
    THINKING.set(Some((now, node)));
}

/// Shows what nodes log, for the rest of the process.
pub fn words(shown: Shown) {
    // Only a second call could fail, and it would want the same.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(WORDS))
        .with_writer(Words(shown))
        .without_time()
        .with_ansi(false)
        .try_init();
}

#[derive(Clone, Copy)]
struct Words(Shown);

impl MakeWriter<'_> for Words {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Words {
    fn write(&mut self, words: &[u8]) -> io::Result<usize> {
        let (now, node) = THINKING.get().unwrap_or_default();
        let text = String::from_utf8_lossy(words);
        let line = format!("{:>14.6} {node} thinks {}", now.0 as f64 / 1e9, text.trim());
        self.0.line(now, &line);
        Ok(words.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_of_whoever_it_is_about() {
        for (line, nodes) in [
            ("     10.013038 5 starts life 0 head 3", &[5][..]),
            ("     10.120473 6 = 7 connected", &[6, 7]),
            ("     10.139949 6 > 7 status tip 0 round 1", &[6, 7]),
            ("     10.139949 calm", &[]),
        ] {
            let found: Vec<usize> = (0..10).filter(|node| is_of(line, *node)).collect();
            assert_eq!(found, nodes, "{line}");
        }
    }
}
