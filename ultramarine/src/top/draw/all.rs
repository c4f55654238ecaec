//! This file knows the page on which several nodes stand side by side.

use ratatui_core::layout::Rect;
use ratatui_core::style::Style;
use ultramarine_node::board::Condition;
use ultramarine_node::http::live::Live;
use ultramarine_types::Stage;

use super::super::app::{TopApp, WatchedNode};
use super::super::text;
use super::round::usual;
use super::{
    ALARM, BOLD, GOOD, HEAD, PLAIN, Pen, TITLE, WARNING, closed_gate, columns, lasts_in_brackets, row, rows, state_of,
};

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
        Some(gate) if gate.on && live.client.waiting.is_some() => {
            (format!("silent, {} behind", live.client.lag), ALARM)
        }
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

/// Lines that one thing that is wrong may take, and what to do about it.
const WHAT_ROWS_MAX: u16 = 3;
const ACTION_ROWS_MAX: u16 = 2;

/// Something that is wrong with one node or several.
struct Wrong {
    is_critical: bool,
    what: String,
    action: String,
    names: Vec<String>,
}

/// Everything that is wrong anywhere. What several nodes say is said once.
fn all_wrong(app: &TopApp) -> Vec<Wrong> {
    let mut said: Vec<Wrong> = Vec::new();
    let mut say = |is_critical: bool, what: String, action: &str, node: &WatchedNode| {
        let name = node.name().to_owned();
        let known = said
            .iter_mut()
            .find(|wrong| wrong.is_critical == is_critical && wrong.what == what);
        match known {
            Some(wrong) => wrong.names.push(name),
            None => said.push(Wrong {
                is_critical,
                what,
                action: action.to_owned(),
                names: vec![name],
            }),
        }
    };
    for node in &app.nodes {
        if let Some(why) = &node.trouble {
            say(true, format!("unreachable: {why}"), "", node);
            continue;
        }
        let Some(live) = &node.live else { continue };
        for condition in &live.conditions {
            let what = format!("{}{}", condition.what, lasts_in_brackets(live, condition));
            say(condition.severity == "critical", what, &condition.action, node);
        }
    }
    said.sort_by_key(|wrong| !wrong.is_critical);
    said
}

/// What is wrong. What to do follows where there is room for it, the worst first.
fn wrong(pen: &mut Pen<'_>, area: Rect, app: &TopApp) {
    let said = all_wrong(app);
    let (what_max, action_max) = if pen.is_whole {
        (area.height, area.height)
    } else {
        (WHAT_ROWS_MAX, ACTION_ROWS_MAX)
    };
    let height = |text: &str, indent: u16, most: u16| {
        let lines = text::wrapped(text, area.width.saturating_sub(indent).into()).len();
        u16::try_from(lines).unwrap_or(u16::MAX).min(most)
    };
    let lines: Vec<(String, String)> = said
        .iter()
        .map(|wrong| {
            let sign = if wrong.is_critical { "!!" } else { "!" };
            let is_all = wrong.names.len() == app.nodes.len() && wrong.names.len() > 1;
            let whose = if is_all {
                "all".to_owned()
            } else {
                wrong.names.join(", ")
            };
            let what = format!("{sign} {}: {}", pen.glyphs.show(&whose), pen.glyphs.show(&wrong.what));
            let action = format!("{} {}", pen.glyphs.arrow, pen.glyphs.show(&wrong.action));
            (what, action)
        })
        .collect();
    let whats = lines.iter().map(|(what, _)| height(what, 0, what_max));
    let mut spare = area.height.saturating_sub(whats.fold(0, u16::saturating_add));
    let mut used = 0;
    for (at, (wrong, (what, action))) in said.iter().zip(&lines).enumerate() {
        let style = if wrong.is_critical { ALARM } else { WARNING };
        let more = said.len() - at;
        // The last line says how many there is no room for.
        if used + 1 >= area.height && more > 1 {
            pen.text(
                row(area, used),
                &format!("and {more} more: see each node's page"),
                WARNING,
            );
            return;
        }
        let kept = u16::from(more > 1);
        used += pen.wrapped(
            rows(area, used, what_max.min(area.height.saturating_sub(used + kept))),
            what,
            style,
        );
        let action_rows = height(action, 3, action_max);
        if !wrong.action.is_empty() && action_rows <= spare {
            spare -= action_rows;
            let below = columns(rows(area, used, action_rows), 3, area.width);
            used += pen.wrapped(below, action, PLAIN);
        }
    }
    if said.is_empty() && app.nodes.iter().all(|node| node.live.is_some()) {
        pen.text(row(area, 0), "nothing is wrong", GOOD);
    }
}
