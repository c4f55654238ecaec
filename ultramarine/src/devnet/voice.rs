//! This file knows how a devnet speaks to people, without waiting for them.
//!
//! Its words go to standard output, or to standard error when standard output belongs to a JSON object. They are for
//! people: when whoever reads standard output leaves, or it can take no more, the network ends in order.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::time::Duration;

use ultramarine_runtime::outlet::{self, Descriptor, Outlet};
use ultramarine_runtime::print::{self, Unprinted};

use crate::terminal::{can_move, columns, cut};

/// How often standard output is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long the last words may take to arrive.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Voice {
    /// Absent with JSON.
    stdout: Option<Outlet>,
    is_live: bool,
    /// A terminal has no reader who leaves: when it hangs up there is a signal for that, which may be ignored.
    is_terminal: bool,
}

impl Voice {
    /// Speaks to standard output, or to standard error if that is for JSON.
    pub fn new(json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let heard_on_terminal = if json { io::stderr().is_terminal() } else { is_terminal };
        Self {
            stdout: (!json).then(|| Outlet::start("stdout", Descriptor::Stdout, None)),
            is_live: heard_on_terminal && can_move(std::env::var_os("TERM").as_deref()),
            is_terminal,
        }
    }

    /// Whether the last line can be written over.
    pub const fn is_live(&self) -> bool {
        self.is_live
    }

    /// Says a line that the next live one is written over: no longer than the terminal is wide, or rows of it would
    /// stay. The window may change between two of them.
    pub fn live_line(&self, line: &str) {
        let columns = match &self.stdout {
            Some(_) => columns(io::stdout()),
            None => columns(io::stderr()),
        };
        self.text(format_args!("\r\x1b[2K{}", cut(line, columns)));
    }

    /// Says text as it is.
    pub fn text(&self, text: impl Display) {
        let outlet = self.stdout.as_ref().unwrap_or_else(|| outlet::stderr());
        outlet.push(text.to_string().into_bytes());
    }

    pub fn line(&self, text: impl Display) {
        self.text(format_args!("{text}\n"));
    }

    /// Waits until nobody reads standard output any more, or it takes no more.
    pub async fn unheard(&self) -> Unprinted {
        loop {
            if let Some(unprinted) = self.trouble() {
                return unprinted;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn trouble(&self) -> Option<Unprinted> {
        if self.is_terminal {
            return None;
        }
        if Descriptor::Stdout.is_abandoned() {
            return Some(Unprinted::Abandoned);
        }
        self.stdout.as_ref()?.trouble().map(Unprinted::from)
    }

    /// Gives what was said a moment to arrive.
    pub fn finish(&self) {
        if let Some(stdout) = &self.stdout {
            stdout.flush(LAST_WORDS_WAIT);
        }
    }
}

/// Says something unexpected on standard error, on a line of its own.
pub fn complain(text: impl Display) {
    print::note(format_args!("\n{text}"));
}
