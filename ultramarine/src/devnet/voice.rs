//! This file knows how a devnet speaks to people, without waiting for them.
//!
//! Its words go to standard output, or to standard error when standard output belongs to a JSON object. They are for
//! people: when whoever reads standard output leaves, or it can take no more, the network ends in order.

use std::fmt::Display;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;

use ultramarine_runtime::outlet::{self, Descriptor, Outlet};
use ultramarine_runtime::print::{self, Unprinted};

use crate::log::can_move;

/// How often standard output is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;
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

/// How wide a terminal is.
fn columns(terminal: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal).ok();
    let columns = size.map(|size| usize::from(size.ws_col));
    columns.filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// The beginning of a line, in one row of so many columns. The last column stays free: behind a character in it, some
/// terminals go to the next row at once.
fn cut(line: &str, columns: usize) -> String {
    let room = columns.saturating_sub(1);
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    if line.chars().count() <= room {
        return line.chars().map(printable).collect();
    }
    let mut kept: String = line.chars().take(room.saturating_sub(1)).map(printable).collect();
    if room > 0 {
        kept.push('…');
    }
    kept
}

/// Says something unexpected on standard error, on a line of its own.
pub fn complain(text: impl Display) {
    print::note(format_args!("\n{text}"));
}

#[cfg(test)]
mod tests {
    use rustix::termios::{Winsize, tcsetwinsize};

    use super::*;

    #[test]
    fn a_live_line_stays_in_its_row() {
        let line = "height 123456  blobs 654321  85764.7 MB  block 1.02 s  commit p50 44 ms p99 81 ms  nodes 4/4";
        let width = line.chars().count();
        assert_eq!(cut(line, width + 1), line);
        for columns in [0, 1, 2, 40, 80, width] {
            let cut = cut(line, columns);
            assert!(cut.chars().count() < columns.max(1), "{columns}: {cut}");
            assert!(columns < 2 || cut.ends_with('…'), "{columns}: {cut}");
        }
        assert_eq!(cut("node1: it said\r\nnothing", 80), "node1: it said  nothing");
    }

    #[test]
    fn a_terminal_is_asked_how_wide_it_is() {
        let terminal = std::fs::File::options().read(true).write(true).open("/dev/ptmx");
        let terminal = terminal.expect("Linux has it");
        let mut size = Winsize {
            ws_row: 40,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).expect("it is ours");
        assert_eq!(columns(&terminal), COLUMNS, "it does not know");
        size.ws_col = 132;
        tcsetwinsize(&terminal, size).expect("it is ours");
        assert_eq!(columns(&terminal), 132);
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(columns(&file), COLUMNS, "no terminal");
    }
}
