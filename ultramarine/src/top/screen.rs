//! This file knows how cells reach a terminal: raw mode, escape sequences (ECMA-48), and the terminal as it was at the
//! end. And how they become plain text.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::{Context, ensure};
use ratatui_core::backend::{Backend, ClearType, WindowSize};
use ratatui_core::buffer::{Buffer, Cell};
use ratatui_core::layout::{Position, Size};
use ratatui_core::style::{Color, Modifier};
use ratatui_core::terminal::Terminal;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use ultramarine_runtime::outlet::Descriptor;

/// A terminal that is smaller has no room for a frame; a larger one is drawn on in part.
const SIZE_MAX: Size = Size {
    width: 400,
    height: 200,
};

/// The user's terminal, as long as it is ours.
pub struct Screen {
    terminal: Terminal<EscapeBackend>,
    /// How it was before.
    before: Termios,
}

impl Screen {
    /// Takes the terminal.
    pub fn open(color: bool) -> anyhow::Result<Self> {
        ensure!(
            isatty(io::stdin()) && isatty(io::stdout()),
            "standard input and output are no terminal; `--once` prints one frame as text"
        );
        let before = tcgetattr(io::stdin()).context("reading the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Flush, &raw).context("setting the terminal to raw mode")?;
        let mut backend = EscapeBackend {
            pending: String::new(),
            color,
        };
        // The alternate screen keeps what stood on the terminal.
        backend.pending.push_str("\x1b[?1049h\x1b[?25l\x1b[2J");
        let terminal = Terminal::new(backend).context("looking at the terminal's size");
        match terminal {
            Ok(terminal) => Ok(Self { terminal, before }),
            Err(error) => {
                let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &before);
                Err(error)
            }
        }
    }

    /// Shows what `draw` leaves in the cells.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame.buffer_mut()))?;
        Ok(())
    }

    /// Whatever is on the terminal now, all of it is drawn anew.
    pub fn forget(&mut self) {
        // Nothing is written yet; whatever fails fails again in the next draw.
        let _ = self.terminal.clear();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no farewell.
        let _ = Descriptor::Stdout.write_all(b"\x1b[0m\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Writes cells as escape sequences, once a frame.
struct EscapeBackend {
    pending: String,
    color: bool,
}

impl EscapeBackend {
    /// The way a cell is written ("Select graphic rendition").
    fn rendition(&self, cell: &Cell) -> String {
        let mut codes = String::from("0");
        for (modifier, code) in [
            (Modifier::BOLD, ";1"),
            (Modifier::DIM, ";2"),
            (Modifier::UNDERLINED, ";4"),
            (Modifier::REVERSED, ";7"),
        ] {
            if cell.modifier.contains(modifier) {
                codes.push_str(code);
            }
        }
        if self.color {
            codes.push_str(match cell.fg {
                Color::Red => ";31",
                Color::Green => ";32",
                Color::Yellow => ";33",
                Color::Blue => ";34",
                Color::Cyan => ";36",
                _ => "",
            });
        }
        codes
    }
}

impl Backend for EscapeBackend {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let (mut next, mut rendition) = (None, String::new());
        for (x, y, cell) in content {
            if next != Some((x, y)) {
                let _ = write!(self.pending, "\x1b[{};{}H", y + 1, x + 1);
            }
            let wanted = self.rendition(cell);
            if wanted != rendition {
                let _ = write!(self.pending, "\x1b[{wanted}m");
                rendition = wanted;
            }
            self.pending.push_str(cell.symbol());
            // After a wide character the terminal's cursor is elsewhere than we would count.
            let is_narrow = cell.symbol().is_ascii() || cell.symbol().chars().all(|c| "█░─·→…".contains(c));
            next = is_narrow.then_some((x + 1, y));
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        self.pending.push_str("\x1b[?25l");
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        self.pending.push_str("\x1b[?25h");
        Ok(())
    }

    /// Nobody here asks the terminal where its cursor is.
    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> io::Result<()> {
        let Position { x, y } = position.into();
        let _ = write!(self.pending, "\x1b[{};{}H", y + 1, x + 1);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.pending.push_str("\x1b[0m\x1b[2J");
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> io::Result<()> {
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        let size = tcgetwinsize(io::stdout())?;
        Ok(Size {
            width: size.ws_col.clamp(1, SIZE_MAX.width),
            height: size.ws_row.clamp(1, SIZE_MAX.height),
        })
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize {
            columns_rows: self.size()?,
            pixels: Size::ZERO,
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        Descriptor::Stdout.write_all(pending.as_bytes())
    }
}

/// Cells as lines of text, without blanks and empty lines at their ends.
pub fn plain(cells: &Buffer) -> String {
    let width = usize::from(cells.area.width).max(1);
    let line = |row: &[Cell]| {
        let text: String = row.iter().map(Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    let lines: Vec<String> = cells.content().chunks(width).map(line).collect();
    let mut text = lines.join("\n").trim_end().to_owned();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use ratatui_core::layout::Rect;
    use ratatui_core::style::Style;

    use super::*;

    fn drawn(color: bool) -> String {
        let mut cells = Buffer::empty(Rect::new(0, 0, 6, 2));
        cells.set_string(1, 1, "ab", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        let mut backend = EscapeBackend {
            pending: String::new(),
            color,
        };
        let before = Buffer::empty(cells.area);
        backend
            .draw(before.diff(&cells).into_iter())
            .expect("a string takes everything");
        backend.pending
    }

    #[test]
    fn only_what_changed_is_written_and_colour_only_where_it_is_wanted() {
        assert_eq!(drawn(true), "\x1b[2;2H\x1b[0;1;31mab");
        assert_eq!(drawn(false), "\x1b[2;2H\x1b[0;1mab");
    }

    #[test]
    fn plain_text_has_no_blanks_at_its_ends() {
        let mut cells = Buffer::empty(Rect::new(0, 0, 6, 4));
        cells.set_string(1, 1, "ab", Style::new());
        assert_eq!(plain(&cells), "\n ab\n");
    }
}
