//! This file knows the lines that go over the whole width: who, how fast, what is wrong, client, disk.

use ratatui_core::layout::Rect;
use ultramarine_node::disk::LEFT_SECONDS_MIN;
use ultramarine_node::http::live::{Live, LiveCondition, LiveDistribution};

use super::super::app::WatchedNode;
use super::super::text;
use super::{
    ALARM, BOLD, DIM, GOOD, HEAD, PLAIN, Pen, TITLE, WARNING, closed_gate, lasts_in_brackets, row, rows, state_of,
};

/// Lines that the words of one condition may take.
const CONDITION_ROWS_MAX: u16 = 3;
/// Lines that what to do may take.
const ACTION_ROWS_MAX: u16 = 2;
/// Calls of the execution client that fit the line.
const CALLS_MAX: usize = 3;

pub fn title(pen: &mut Pen<'_>, line: Rect, node: &WatchedNode) {
    let width = line.width;
    pen.fill(line, 0, width, ' ', TITLE);
    let name = pen.glyphs.show(node.name());
    let Some(live) = &node.live else {
        pen.text(line, &format!(" ultramarine top  {name}"), TITLE);
        return;
    };
    let dot = pen.glyphs.dot;
    let who = format!(
        " {name} {dot} chain {} {dot} {} {dot} up {}",
        live.identity.chain_id,
        pen.glyphs.show(&live.identity.version),
        text::span(live.uptime_s as f64)
    );
    pen.text(line, &who, TITLE);
    let signing = match (&live.identity.address, &live.signing) {
        (None, _) => "full node",
        (Some(_), Some(signing)) if signing.on => "validator, signing",
        (Some(_), Some(_)) => "validator, NOT SIGNING",
        (Some(_), None) => "validator",
    };
    let (state, style) = state_of(live);
    let state = format!(" {state} ");
    let width = u16::try_from(state.chars().count()).unwrap_or(u16::MAX);
    let before = super::columns(line, 0, line.width.saturating_sub(width));
    pen.right(before, &format!("{signing} "), TITLE);
    pen.right(line, &state, style.patch(TITLE));
}

pub fn rates(pen: &mut Pen<'_>, line: Rect, live: &Live) {
    let rates = &live.rates;
    let height = format!(" height {}", live.height);
    let round = format!(" r{}", live.round);
    let behind = if live.sync.behind > 0 {
        let left = live
            .sync
            .seconds_left
            .map(|left| format!(", {} left", text::span(left)));
        format!("  {} behind{}", live.sync.behind, left.unwrap_or_default())
    } else {
        String::new()
    };
    let decided = format!(
        "  {:.2}/s  {:.1} blobs/s  {}/s",
        rates.heights,
        rates.blobs,
        text::bytes(rates.bytes)
    );
    let net = format!(
        "  in {}/s  out {}/s",
        text::bytes(rates.received_bytes),
        text::bytes(rates.sent_bytes)
    );
    let round_style = if live.round > 0 { WARNING } else { PLAIN };
    let used = [&height, &round, &behind, &decided].map(|text| text.chars().count());
    let room = usize::from(line.width).saturating_sub(used.iter().sum());
    // Half a figure would be a wrong one.
    let net = if net.chars().count() > room { "" } else { &net };
    let parts = [
        (height.as_str(), BOLD),
        (&round, round_style),
        (&behind, WARNING),
        (&decided, PLAIN),
        (net, PLAIN),
    ];
    pen.parts(line, &parts);
}

/// What is wrong and what to do, as far as there is room. Returns the lines it took.
pub fn conditions(pen: &mut Pen<'_>, area: Rect, live: &Live) -> u16 {
    if live.conditions.is_empty() {
        pen.text(area, " nothing is wrong", GOOD);
        return area.height.min(1);
    }
    let mut used = 0;
    for (at, condition) in live.conditions.iter().enumerate() {
        let more = live.conditions.len() - at - 1;
        let left = area.height - used;
        if left == 0 {
            break;
        }
        // The last line says how many there is no room for.
        if left == 1 && more > 0 {
            pen.text(
                rows(area, used, 1),
                &format!(" and {} more: see /health", more + 1),
                WARNING,
            );
            return area.height;
        }
        used += one(pen, rows(area, used, left - u16::from(more > 0)), live, condition);
    }
    used
}

/// One condition; its last line says what to do, if there is a line for that.
fn one(pen: &mut Pen<'_>, area: Rect, live: &Live, condition: &LiveCondition) -> u16 {
    let style = if condition.severity == "critical" {
        ALARM
    } else {
        WARNING
    };
    let sign = if condition.severity == "critical" { "!!" } else { "!" };
    let lasts = lasts_in_brackets(live, condition);
    let what = format!("{sign} {}{lasts}", pen.glyphs.show(&condition.what));
    let (what_rows, action_rows) = if pen.is_whole {
        (area.height, area.height)
    } else {
        (CONDITION_ROWS_MAX, ACTION_ROWS_MAX)
    };
    let mut used = pen.wrapped(rows(area, 0, what_rows), &what, style);
    if !condition.action.is_empty() && used < area.height {
        let action = format!("{} {}", pen.glyphs.arrow, pen.glyphs.show(&condition.action));
        let below = super::columns(rows(area, used, action_rows), 3, area.width);
        used += pen.wrapped(below, &action, PLAIN);
    }
    used
}

/// The execution client. Returns the lines it took: one, if texts need not be whole.
pub fn client(pen: &mut Pen<'_>, area: Rect, live: &Live) -> u16 {
    let client = &live.client;
    pen.text(area, "client", HEAD);
    let area = super::columns(area, 8, area.width);
    let (gate, style) = match &client.gate {
        Some(gate) if gate.on && client.waiting.is_some() => ("silent".to_owned(), ALARM),
        Some(gate) if gate.on => ("ready".to_owned(), GOOD),
        Some(gate) => {
            let state = closed_gate(live, gate);
            (format!("{state}: {}", pen.glyphs.show(&gate.why)), ALARM)
        }
        None => ("not asked yet".to_owned(), WARNING),
    };
    let waiting = client
        .waiting
        .as_ref()
        .map(|waiting| format!("  {}", pen.glyphs.show(waiting)));
    let mut calls: Vec<&LiveDistribution> = client.calls.iter().collect();
    calls.retain(|call| call.recent_count > 0);
    calls.sort_by_key(|call| std::cmp::Reverse(call.recent_count));
    let call = |call: &&LiveDistribution| {
        let method = pen.glyphs.show(&call.stage);
        let method = method.strip_prefix("engine_").unwrap_or(&method);
        format!("  {method} {}/{} ms", text::ms(call.p50_ms), text::ms(call.p99_ms))
    };
    let calls: String = calls.iter().take(CALLS_MAX).map(call).collect();
    let lag = format!(", {} behind", client.lag);
    let lag_style = if client.lag > 2 { WARNING } else { PLAIN };
    let waiting = waiting.unwrap_or_default();
    let parts = [
        (gate.as_str(), style),
        (&lag, lag_style),
        (&waiting, ALARM),
        (&calls, PLAIN),
    ];
    let width: usize = parts.iter().map(|(part, _)| part.chars().count()).sum();
    if pen.is_whole && width > usize::from(area.width) {
        let words: Vec<&str> = parts.iter().map(|(part, _)| *part).collect();
        return pen.wrapped(area, &words.concat(), style);
    }
    pen.parts(row(area, 0), &parts);
    1
}

pub fn disk(pen: &mut Pen<'_>, line: Rect, live: &Live) {
    let disk = &live.disk;
    pen.text(line, "disk", HEAD);
    let line = super::columns(line, 8, line.width);
    let mut kinds: Vec<_> = disk.kinds.iter().filter(|kind| kind.bytes > 0).collect();
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.bytes));
    let kind = |kind: &&ultramarine_node::http::live::LiveBytes| {
        format!("{} {}  ", pen.glyphs.show(&kind.kind), text::bytes(kind.bytes as f64))
    };
    let kinds: Vec<String> = kinds.iter().map(kind).collect();
    let available = disk
        .available
        .map(|bytes| format!("available {}  ", text::bytes(bytes as f64)));
    let growth = disk.growth.map(|growth| format!("growth {}/s  ", text::bytes(growth)));
    let (left, style) = match disk.seconds_left {
        Some(seconds) => {
            let style = if seconds < LEFT_SECONDS_MIN { WARNING } else { PLAIN };
            (format!("full in {}", text::span(seconds as f64)), style)
        }
        None => (String::new(), DIM),
    };
    let (available, growth) = (available.unwrap_or_default(), growth.unwrap_or_default());
    let gap = if left.is_empty() { "" } else { "  " };
    let parts = [
        (available.as_str(), PLAIN),
        (&left, style),
        (gap, PLAIN),
        (&growth, PLAIN),
    ];
    pen.parts(line, &parts);
    // The largest kinds, as many as there is room for.
    let mut used: usize = parts.iter().map(|(text, _)| text.chars().count()).sum();
    for kind in kinds {
        let width = kind.trim_end().chars().count();
        if used + width > usize::from(line.width) {
            break;
        }
        let at = u16::try_from(used).unwrap_or(u16::MAX);
        pen.text(super::columns(line, at, line.width), &kind, DIM);
        used += kind.chars().count();
    }
}
