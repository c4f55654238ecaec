//! This file knows the lists of tiles and peers.

use ratatui_core::layout::Rect;
use ratatui_core::style::Style;
use ultramarine_node::http::live::{Live, LivePeer, LiveTile};

use super::super::text;
use super::{ALARM, BAR, DIM, HEAD, PLAIN, Pen, WARNING, columns, row};

/// From this share on a tile has little room left.
const BUSY: f64 = 0.8;
/// From this share on a tile waits for the machine.
const QUEUED: f64 = 0.1;
/// Columns of a tile's name, its bar and its shares.
const NAME: u16 = 8;
const METER: u16 = 8;
const SHARE: u16 = 6;

/// Lines that the longer list takes, with its head.
pub fn rows_of(live: &Live) -> u16 {
    let longer = live.tiles.len().max(live.peers.len()).max(1);
    u16::try_from(longer + 1).unwrap_or(u16::MAX)
}

/// A list below its head, moved up by some lines, but never so far that lines stay empty.
fn entries<T>(all: &[T], area: Rect, scroll: usize) -> impl Iterator<Item = (Rect, &T)> {
    let room = usize::from(area.height.saturating_sub(1));
    let scroll = scroll.min(all.len().saturating_sub(room));
    (1..area.height)
        .map(move |at| row(area, at))
        .zip(all.iter().skip(scroll))
}

pub fn tiles(pen: &mut Pen<'_>, area: Rect, live: &Live, scroll: usize) {
    pen.text(row(area, 0), "tile", HEAD);
    let shares = NAME + 1 + METER;
    pen.right(columns(row(area, 0), shares, SHARE), "busy", HEAD);
    pen.right(columns(row(area, 0), shares + SHARE, SHARE), "wait", HEAD);
    pen.text(columns(row(area, 0), shares + 2 * SHARE + 2, area.width), "queue", HEAD);
    for (line, tile) in entries(&live.tiles, area, scroll) {
        one_tile(pen, line, tile);
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A share of the meter.
fn one_tile(pen: &mut Pen<'_>, line: Rect, tile: &LiveTile) {
    pen.text(columns(line, 0, NAME), &pen.glyphs.show(&tile.tile), PLAIN);
    let meter = columns(line, NAME + 1, METER);
    let lit = (tile.busy.clamp(0.0, 1.0) * f64::from(METER)).round() as u16;
    let style = |is_much: bool, usual: Style| if is_much { WARNING } else { usual };
    pen.fill(meter, 0, lit, pen.glyphs.full, style(tile.busy >= BUSY, BAR));
    pen.fill(meter, lit, METER, pen.glyphs.light, DIM);
    let shares = NAME + 1 + METER;
    let busy = columns(line, shares, SHARE);
    pen.right(busy, &text::percent(tile.busy), style(tile.busy >= BUSY, PLAIN));
    let wait = columns(line, shares + SHARE, SHARE);
    pen.right(wait, &text::percent(tile.queued), style(tile.queued >= QUEUED, PLAIN));
    let queue = columns(line, shares + 2 * SHARE + 2, line.width);
    if tile.silent_s > 0 {
        pen.text(queue, &format!("SILENT {} s", tile.silent_s), ALARM);
        return;
    }
    let fullest = tile.links.iter().max_by(|one, other| fill(one).total_cmp(&fill(other)));
    if let Some(link) = fullest {
        let refused = if link.refused > 0 {
            format!(" full {}x", link.refused)
        } else {
            String::new()
        };
        let words = format!("{}/{}{refused}", link.items, link.capacity);
        pen.text(queue, &words, style(fill(link) >= 0.5, PLAIN));
    }
}

fn fill(link: &ultramarine_node::http::live::LiveLink) -> f64 {
    link.items as f64 / link.capacity.max(1) as f64
}

pub fn peers(pen: &mut Pen<'_>, area: Rect, live: &Live, scroll: usize) {
    let head = ["peer", "kind", "ms", "score", "tip"].map(str::to_owned);
    line_of(pen, row(area, 0), &head, [HEAD; 5]);
    if live.peers.is_empty() {
        pen.text(row(area, 1), "none is connected", WARNING);
    }
    for (line, peer) in entries(&live.peers, area, scroll) {
        one_peer(pen, line, peer, live.height);
    }
}

fn one_peer(pen: &mut Pen<'_>, line: Rect, peer: &LivePeer, height: u64) {
    let kind = match peer.class.as_str() {
        "validator" => "val",
        "listed" => "list",
        _ => "any",
    };
    let is_behind = peer.tip.is_some_and(|tip| tip.saturating_add(2) < height);
    let cells = [
        text::short(&peer.peer),
        kind.to_owned(),
        text::ms(peer.round_trip_ms),
        peer.score.to_string(),
        peer.tip.map_or_else(|| "?".to_owned(), |tip| tip.to_string()),
    ];
    let score = if peer.score > 0 { WARNING } else { PLAIN };
    let tip = if is_behind { WARNING } else { PLAIN };
    line_of(pen, line, &cells, [PLAIN, DIM, PLAIN, score, tip]);
}

fn line_of(pen: &mut Pen<'_>, line: Rect, cells: &[String; 5], styles: [Style; 5]) {
    const WIDTHS: [u16; 5] = [8, 5, 6, 6, 8];
    let mut at = 0;
    for (column, ((text, width), style)) in cells.iter().zip(WIDTHS).zip(styles).enumerate() {
        let area = columns(line, at, width);
        match column {
            0 => pen.text(area, text, style),
            1 => pen.text(columns(area, 1, width), text, style),
            _ => pen.right(area, text, style),
        }
        at += width;
    }
}
