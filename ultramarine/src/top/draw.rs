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
mod lines;
mod lists;
mod round;
#[cfg(test)]
mod tests;

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use ultramarine_node::board::Condition;
use ultramarine_node::http::live::Live;

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
        _ if app.shows_help => help(&mut pen, area),
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
        at += pen.wrapped(rows(area, at, 4), &line, ALARM);
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
    lines::client(pen, row(area, at), live);
    lines::disk(pen, row(area, at + 1), live);
}

fn help(pen: &mut Pen<'_>, area: Rect) {
    const LINES: [(&str, &str); 15] = [
        ("q, Ctrl-C", "end"),
        ("tab, right", "next node"),
        ("left", "node before; escape: all nodes"),
        ("up, down", "move the lists of tiles and peers"),
        ("space", "pause, and go on"),
        ("?", "this page"),
        ("", ""),
        ("round", "bars: where each stage of the current height began and ended"),
        ("", "light: where it usually does; usual, worst: of the newest heights"),
        ("busy", "share of the time in which a tile worked"),
        ("wait", "share in which it could work and had no CPU: give it more"),
        ("queue", "the fullest link into a tile: a full one holds up its sender"),
        ("score", "points of a peer's faults: at 100 it is banned for a while"),
        ("tip", "the newest height that a peer says it has decided"),
        ("growth", "what is stored anew in a second; days left follow from it"),
    ];
    pen.text(row(area, 0), " ultramarine top: help", TITLE);
    for (at, (key, what)) in (2..).zip(LINES) {
        pen.text(columns(row(area, at), 2, 12), key, BOLD);
        pen.text(columns(row(area, at), 15, area.width), what, PLAIN);
    }
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
}

impl Pen<'_> {
    /// Text from the left end of an area's first line.
    pub fn text(&mut self, area: Rect, text: &str, style: Style) {
        if area.height > 0 && area.width > 0 {
            self.cells.set_stringn(area.x, area.y, text, area.width.into(), style);
        }
    }

    /// Text at the right end. If there is too much of it, its beginning is seen.
    pub fn right(&mut self, area: Rect, text: &str, style: Style) {
        let width = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        self.text(columns(area, area.width.saturating_sub(width), width), text, style);
    }

    /// Texts one after the other.
    pub fn parts(&mut self, area: Rect, parts: &[(&str, Style)]) {
        let mut left = area;
        for (text, style) in parts {
            self.text(left, text, *style);
            let width = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
            left = columns(left, width, left.width);
        }
    }

    /// Text over as many lines as it needs and the area has. Returns how many that are.
    pub fn wrapped(&mut self, area: Rect, text: &str, style: Style) -> u16 {
        let mut used = 0;
        let mut line = String::new();
        let mut words = text.split_whitespace().peekable();
        while let Some(word) = words.next() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            let next = words.peek().map_or(0, |next| next.chars().count() + 1);
            let is_full = line.chars().count() + next > usize::from(area.width);
            let is_last_line = used + 1 >= area.height;
            if words.peek().is_none() || (is_full && !is_last_line) {
                self.text(row(area, used), &line, style);
                used += 1;
                // What follows is indented.
                line = String::from(" ");
            }
        }
        used.min(area.height)
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

/// How long a condition lasts.
pub(super) fn lasts(live: &Live, since_unix_s: Option<u64>) -> String {
    let since = since_unix_s.map(|since| (live.unix_ms / 1_000).saturating_sub(since));
    since.map_or_else(String::new, |seconds| format!("for {}", text::span(seconds as f64)))
}
