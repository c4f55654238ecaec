//! This file knows what a terminal can show: how wide it is, and what fits one row of it.

use std::ffi::OsStr;
use std::os::fd::AsFd;

/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Whether a terminal of this kind understands more than plain text.
pub fn can_move(term: Option<&OsStr>) -> bool {
    term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// How wide a terminal is.
pub fn columns(terminal: impl AsFd) -> usize {
    let size = rustix::termios::tcgetwinsize(terminal).ok();
    let columns = size.map(|size| usize::from(size.ws_col));
    columns.filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// The beginning of a line, in one row of so many columns. The last column stays free: behind a character in it, some
/// terminals go to the next row at once.
pub fn cut(line: &str, columns: usize) -> String {
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
