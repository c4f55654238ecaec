//! This file knows where everything stands on the screen.
//!
//! ```text
//!   name, chain, version, uptime
//!   height, round, rates
//!   what is wrong, and what to do
//!   the current round as a waterfall      │ the newest heights
//!   tiles                                 │ peers
//!   execution client
//!   disk
//!   keys
//! ```

mod all;
#[cfg(test)]
pub(super) mod fixture;
mod help;
mod lines;
mod lists;
mod round;
#[cfg(test)]
mod tests;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use ultramarine_node::board::Condition;
use ultramarine_node::http::live::{Live, LiveCondition};

use super::app::{TopApp, WatchedNode};
use super::text::{self, Glyphs};

/// Rows of the waterfall: its head and one for each stage.
const ROUND_ROWS: u16 = 9;
/// Rows that lists keep, however much is wrong.
const LIST_ROWS_MIN: u16 = 5;
/// Columns of the right half, where there are few.
const RIGHT_COLUMNS: u16 = 33;
/// A terminal with less has no room for anything.
const COLUMNS_MIN: u16 = 60;
const ROWS_MIN: u16 = 16;

/// Draws the page that the app is on.
pub fn draw(app: &TopApp, cells: &mut Buffer) {
    let area = cells.area;
    let mut pen = Pen {
        cells,
        glyphs: app.glyphs,
        is_whole: app.is_whole,
    };
    if area.width < COLUMNS_MIN || area.height < ROWS_MIN {
        let words = format!(
            "top needs {COLUMNS_MIN} x {ROWS_MIN}; this is {} x {}",
            area.width, area.height
        );
        pen.text(row(area, 0), &words, PLAIN);
        return;
    }
    match app.shown() {
        _ if app.help > 0 => help::draw(&mut pen, area, app.help),
        None => all::draw(&mut pen, area, app),
        Some(node) => page(&mut pen, area, app, node),
    }
    if app.has_keys {
        footer(&mut pen, row(area, area.height - 1), app);
    }
}

/// The page of one node.
fn page(pen: &mut Pen<'_>, area: Rect, app: &TopApp, node: &WatchedNode) {
    lines::title(pen, row(area, 0), node);
    let mut at = 1;
    if let Some(why) = &node.trouble {
        let times = if node.failures > 1 {
            format!(" ({} times)", node.failures)
        } else {
            String::new()
        };
        let line = format!("unreachable{times}: {}", pen.glyphs.show(why));
        let room = if pen.is_whole { area.height } else { 4 };
        at += pen.wrapped(rows(area, at, room), &line, ALARM);
    }
    let Some(live) = &node.live else {
        if node.trouble.is_none() {
            pen.text(row(area, at), &format!("asking {} ...", node.address.url), DIM);
        }
        return;
    };
    lines::rates(pen, row(area, at), live);
    at += 1;
    let below = ROUND_ROWS + LIST_ROWS_MIN + 2 + 1;
    let room = area.height.saturating_sub(at + below).max(1);
    at += lines::conditions(pen, rows(area, at, room), live);
    let (left, right) = halves(rows(area, at, ROUND_ROWS));
    round::waterfall(pen, left, live);
    round::heights(pen, right, live);
    at += ROUND_ROWS;
    let lists = rows(area, at, area.height.saturating_sub(at + 3));
    let (left, right) = halves(lists);
    lists::tiles(pen, left, live, app.scroll);
    lists::peers(pen, right, live, app.scroll);
    // Below what the longer list takes; on a small terminal that is the bottom.
    at += lists::rows_of(live).min(lists.height);
    at += lines::client(pen, rows(area, at, area.height), live);
    lines::disk(pen, row(area, at), live);
}

fn footer(pen: &mut Pen<'_>, line: Rect, app: &TopApp) {
    let mut keys = String::from(" q quit  ? help  space ");
    keys.push_str(if app.is_paused { "go on" } else { "pause" });
    if app.nodes.len() > 1 {
        keys.push_str("  tab next node  esc all nodes");
    }
    keys.push_str("  up/down lists");
    pen.text(line, &keys, DIM);
    if app.is_paused {
        pen.right(line, "PAUSED ", ALARM);
    }
}

pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);
pub(super) const TITLE: Style = Style::new().add_modifier(Modifier::REVERSED);
pub(super) const HEAD: Style = Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD);
pub(super) const GOOD: Style = Style::new().fg(Color::Green);
pub(super) const BAR: Style = Style::new().fg(Color::Blue);
pub(super) const WARNING: Style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
pub(super) const ALARM: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);

/// One line of an area.
const fn row(area: Rect, at: u16) -> Rect {
    rows(area, at, 1)
}

const fn rows(area: Rect, at: u16, count: u16) -> Rect {
    let at = if at > area.height { area.height } else { at };
    let left = area.height - at;
    Rect {
        y: area.y + at,
        height: if count < left { count } else { left },
        ..area
    }
}

const fn columns(area: Rect, at: u16, count: u16) -> Rect {
    let at = if at > area.width { area.width } else { at };
    let left = area.width - at;
    Rect {
        x: area.x + at,
        width: if count < left { count } else { left },
        ..area
    }
}

/// The two columns of a page.
const fn halves(area: Rect) -> (Rect, Rect) {
    let left = area.width.saturating_sub(RIGHT_COLUMNS + 2);
    (columns(area, 0, left), columns(area, left + 2, RIGHT_COLUMNS))
}

/// Writes on cells, within areas.
pub(super) struct Pen<'a> {
    cells: &'a mut Buffer,
    pub glyphs: Glyphs,
    /// Whether texts take as many lines as they need.
    pub is_whole: bool,
}

impl Pen<'_> {
    /// Text from the left end of an area's first line. What is cut ends with a mark.
    pub fn text(&mut self, area: Rect, text: &str, style: Style) {
        if area.height > 0 && area.width > 0 {
            self.cells.set_stringn(area.x, area.y, text, area.width.into(), style);
            if text.trim_end().chars().count() > usize::from(area.width) {
                self.cut(area, style);
            }
        }
    }

    /// Marks the end of an area's first line as cut.
    fn cut(&mut self, area: Rect, style: Style) {
        let end = columns(area, area.width.saturating_sub(1), 1);
        if end.width > 0 && end.height > 0 {
            let mark = self.glyphs.cut;
            self.cells
                .set_stringn(end.x, end.y, mark.encode_utf8(&mut [0; 4]), 1, style);
        }
    }

    /// Text at the right end. If there is too much of it, its beginning is seen.
    pub fn right(&mut self, area: Rect, text: &str, style: Style) {
        let width = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        self.text(
            columns(area, area.width.saturating_sub(width), width.min(area.width)),
            text,
            style,
        );
    }

    /// Texts one after the other.
    pub fn parts(&mut self, area: Rect, parts: &[(&str, Style)]) {
        let mut left = area;
        for (text, style) in parts {
            if left.width == 0 && !text.trim().is_empty() {
                self.cut(area, *style);
                return;
            }
            self.text(left, text, *style);
            let width = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
            left = columns(left, width, left.width);
        }
    }

    /// Text over as many lines as it needs and the area has. Returns how many that are.
    pub fn wrapped(&mut self, area: Rect, text: &str, style: Style) -> u16 {
        let lines = text::wrapped(text, area.width.into());
        for (at, line) in (0..area.height).zip(&lines) {
            self.text(row(area, at), line, style);
        }
        if lines.len() > usize::from(area.height) && area.height > 0 {
            let last = row(area, area.height - 1);
            let end = lines
                .get(usize::from(area.height) - 1)
                .map_or(0, |line| line.chars().count());
            // Behind the last word, or over its end.
            let end = u16::try_from(end + 1).unwrap_or(u16::MAX).min(last.width);
            self.cut(columns(last, 0, end), style);
        }
        area.height.min(u16::try_from(lines.len()).unwrap_or(u16::MAX))
    }

    /// A character over some columns of an area's first line.
    pub fn fill(&mut self, area: Rect, from: u16, to: u16, character: char, style: Style) {
        for column in from..to.min(area.width) {
            self.text(columns(area, column, 1), character.encode_utf8(&mut [0; 4]), style);
        }
    }
}

/// The word for how a node is, and its style.
pub(super) fn state_of(live: &Live) -> (&'static str, Style) {
    let has = |severity: &str| live.conditions.iter().any(|condition| condition.severity == severity);
    if has("critical") {
        ("NOT READY", ALARM)
    } else if live.conditions.is_empty() {
        ("ready", GOOD)
    } else {
        ("warnings", WARNING)
    }
}

/// The words for a client that is not ready, with how long that lasts if the node says so.
pub(super) fn closed_gate(live: &Live, gate: &Condition) -> String {
    let since = Some(gate.since_unix_s).filter(|since| *since > 0);
    format!("NOT READY {}", lasts(live, since)).trim_end().to_owned()
}

/// How long a condition lasts, in brackets; nothing of what is over, whose words say how long ago it was.
pub(super) fn lasts_in_brackets(live: &Live, condition: &LiveCondition) -> String {
    match lasts(live, condition.since_unix_s.filter(|_| !condition.is_over)) {
        lasts if lasts.is_empty() => lasts,
        lasts => format!(" ({lasts})"),
    }
}

/// How long a condition lasts.
fn lasts(live: &Live, since_unix_s: Option<u64>) -> String {
    let since = since_unix_s.map(|since| (live.unix_ms / 1_000).saturating_sub(since));
    since.map_or_else(String::new, |seconds| format!("for {}", text::span(seconds as f64)))
}
