//! This file knows the page on which several nodes stand side by side.

use ratatui_core::layout::Rect;
use ratatui_core::style::Style;
use ultramarine_node::board::Condition;
use ultramarine_node::http::live::Live;
use ultramarine_types::Stage;

use super::super::app::{TopApp, WatchedNode};
use super::super::text;
use super::round::usual;
use super::{ALARM, BOLD, GOOD, HEAD, PLAIN, Pen, TITLE, WARNING, closed_gate, columns, lasts, row, rows, state_of};

/// Columns of a figure's name, and the fewest of a node.
const NAME: u16 = 12;
const NODE_MIN: u16 = 16;

/// What is shown of each node, one line a figure.
type Figure = (&'static str, fn(&Live) -> (String, Style));

const FIGURES: [Figure; 13] = [
    ("state", |live| {
        let (state, style) = state_of(live);
        (state.to_owned(), style)
    }),
    ("height", |live| (live.height.to_string(), BOLD)),
    ("round", |live| (live.round.to_string(), marked(live.round > 0))),
    ("behind", |live| {
        (live.sync.behind.to_string(), marked(live.sync.behind > 2))
    }),
    ("heights/s", |live| (format!("{:.2}", live.rates.heights), PLAIN)),
    ("blobs/s", |live| (format!("{:.1}", live.rates.blobs), PLAIN)),
    ("net in", |live| {
        (format!("{}/s", text::bytes(live.rates.received_bytes)), PLAIN)
    }),
    ("net out", |live| {
        (format!("{}/s", text::bytes(live.rates.sent_bytes)), PLAIN)
    }),
    ("commit", |live| {
        let commit = usual(&live.heights, Stage::Commit);
        let words = commit.map(|commit| format!("{} ms", text::ms(commit.took_ms)));
        (words.unwrap_or_default(), PLAIN)
    }),
    ("busiest tile", |live| {
        let busiest = live.tiles.iter().max_by(|one, other| one.busy.total_cmp(&other.busy));
        let words = busiest.map(|tile| format!("{} {}", text::short(&tile.tile), text::percent(tile.busy)));
        (words.unwrap_or_default(), PLAIN)
    }),
    ("peers", |live| {
        (live.peers.len().to_string(), marked(live.peers.is_empty()))
    }),
    ("client", |live| match &live.client.gate {
        Some(gate) if gate.on => (
            format!("ready, {} behind", live.client.lag),
            marked(live.client.lag > 2),
        ),
        Some(gate) => (closed_for(live, gate), ALARM),
        None => ("?".to_owned(), WARNING),
    }),
    ("disk left", |live| {
        let available = live.disk.available.map(|bytes| text::bytes(bytes as f64));
        (available.unwrap_or_else(|| "?".to_owned()), PLAIN)
    }),
];

/// A closed gate, in the columns of a node that has few: `NOT READY 12m`.
fn closed_for(live: &Live, gate: &Condition) -> String {
    let whole = closed_gate(live, gate);
    let Some((state, lasts)) = whole.split_once(" for ") else {
        return whole;
    };
    // Half a figure would be a wrong one, so the largest unit stands alone.
    let mut words = lasts.split(' ');
    let (number, unit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let unit: String = unit.chars().take(1).collect();
    format!("{state} {number}{unit}")
}

fn marked(is_odd: bool) -> Style {
    if is_odd { WARNING } else { PLAIN }
}

pub fn draw(pen: &mut Pen<'_>, area: Rect, app: &TopApp) {
    let reached = app
        .nodes
        .iter()
        .filter(|node| node.live.is_some() && node.trouble.is_none());
    let words = format!(
        " ultramarine top: {} nodes, {} answer",
        app.nodes.len(),
        reached.count()
    );
    pen.fill(row(area, 0), 0, area.width, ' ', TITLE);
    pen.text(row(area, 0), &words, TITLE);
    let room = usize::from(area.width.saturating_sub(NAME) / NODE_MIN).max(1);
    let scroll = app.scroll.min(app.nodes.len().saturating_sub(room));
    let shown = app.nodes.iter().skip(scroll).take(room);
    let wide = area.width.saturating_sub(NAME) / u16::try_from(shown.clone().count().max(1)).unwrap_or(1);
    for (at, (name, _)) in (2..).zip(FIGURES) {
        pen.text(columns(row(area, at), 0, NAME), name, HEAD);
    }
    for (number, node) in (0..).zip(shown) {
        column(pen, columns(area, NAME + number * wide, wide), node);
    }
    if app.nodes.len() > room {
        let hidden = format!("{} of {} ", room, app.nodes.len());
        pen.right(row(area, 0), &hidden, TITLE);
    }
    let below = 3 + FIGURES.len() as u16;
    wrong(pen, rows(area, below, area.height.saturating_sub(below + 1)), app);
}

fn column(pen: &mut Pen<'_>, area: Rect, node: &WatchedNode) {
    let area = columns(area, 1, area.width.saturating_sub(1));
    pen.text(row(area, 1), &pen.glyphs.show(node.name()), BOLD);
    if node.trouble.is_some() {
        pen.text(row(area, 2), "UNREACHABLE", ALARM);
        return;
    }
    let Some(live) = &node.live else {
        pen.text(row(area, 2), "asking ...", PLAIN);
        return;
    };
    for (at, (_, of)) in (2..).zip(FIGURES) {
        let (words, style) = of(live);
        pen.text(row(area, at), &words, style);
    }
}

/// Everything that is wrong anywhere. What several nodes say is said once.
fn wrong(pen: &mut Pen<'_>, area: Rect, app: &TopApp) {
    let mut said: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut say = |severity: &str, what: String, node: &WatchedNode| {
        let name = node.name().to_owned();
        match said
            .iter_mut()
            .find(|(known, words, _)| known == severity && *words == what)
        {
            Some((_, _, names)) => names.push(name),
            None => said.push((severity.to_owned(), what, vec![name])),
        }
    };
    for node in &app.nodes {
        if let Some(why) = &node.trouble {
            say("critical", format!("unreachable: {why}"), node);
            continue;
        }
        let Some(live) = &node.live else { continue };
        for condition in &live.conditions {
            let lasts = lasts(live, condition.since_unix_s);
            let what = format!("{} ({lasts})", condition.what);
            say(&condition.severity, what.trim_end_matches(" ()").to_owned(), node);
        }
    }
    said.sort_by_key(|(severity, _, _)| severity != "critical");
    let mut used = 0;
    for (severity, what, names) in &said {
        let (sign, style) = if severity == "critical" {
            ("!!", ALARM)
        } else {
            ("!", WARNING)
        };
        let whose = if names.len() == app.nodes.len() && names.len() > 1 {
            "all".to_owned()
        } else {
            names.join(", ")
        };
        let line = format!("{sign} {}: {}", pen.glyphs.show(&whose), pen.glyphs.show(what));
        used += pen.wrapped(rows(area, used, 3), &line, style);
    }
    if said.is_empty() && app.nodes.iter().all(|node| node.live.is_some()) {
        pen.text(row(area, 0), "nothing is wrong", GOOD);
    }
}
