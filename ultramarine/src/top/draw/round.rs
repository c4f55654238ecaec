//! This file knows the picture of a height: its stages one below the other, and beside it the newest heights.

use ratatui_core::layout::Rect;
use ultramarine_node::http::live::{Live, LiveBlock, LiveSpan};
use ultramarine_types::Stage;

use super::super::text;
use super::{BAR, BOLD, DIM, HEAD, PLAIN, Pen, WARNING, columns, row};

/// Columns of a stage's name, and of each figure.
const NAME: u16 = 8;
const FIGURE: u16 = 7;

/// What a stage usually is, over the newest heights.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Usual {
    pub begin_ms: f64,
    pub end_ms: f64,
    pub took_ms: f64,
    /// The longest.
    pub worst_ms: f64,
}

/// What a stage usually is; `None`: no height had it.
pub fn usual(heights: &[LiveBlock], stage: Stage) -> Option<Usual> {
    let spans = || heights.iter().filter_map(|height| span(height, stage));
    let median = |of: fn(&LiveSpan) -> f64| {
        let mut all: Vec<f64> = spans().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    let took = |span: &LiveSpan| span.took_ms(span.begin_ms);
    Some(Usual {
        begin_ms: median(|span| span.begin_ms)?,
        end_ms: median(|span| span.end_ms.unwrap_or(span.begin_ms))?,
        took_ms: median(took)?,
        worst_ms: spans().map(took).fold(0.0, f64::max),
    })
}

fn span(block: &LiveBlock, stage: Stage) -> Option<&LiveSpan> {
    block.spans.iter().find(|span| span.stage == stage.name())
}

pub fn waterfall(pen: &mut Pen<'_>, area: Rect, live: &Live) {
    let current_ms = live.current.began_ms_ago.unwrap_or_default();
    // Between two blocks the newest one is worth seeing.
    let newest = live.heights.last().filter(|_| live.current.spans.is_empty());
    let block = newest.unwrap_or(&live.current);
    let now_ms = if newest.is_some() { 0.0 } else { current_ms };
    let usual: Vec<Option<Usual>> = Stage::ALL.iter().map(|stage| usual(&live.heights, *stage)).collect();
    let usual_end = usual.iter().flatten().map(|usual| usual.end_ms).fold(0.0, f64::max);
    let begin = usual
        .iter()
        .flatten()
        .map(|usual| usual.begin_ms)
        .fold(0.0, f64::min)
        .max(-60_000.0);
    // A height that takes long squeezes the picture, and so is seen to take long.
    let end = [usual_end * 1.1, now_ms.min(600_000.0), 1.0]
        .into_iter()
        .fold(0.0, f64::max);
    let bar = columns(area, NAME + 1, area.width.saturating_sub(NAME + 1 + 3 * FIGURE));
    head(pen, area, live, newest, end);
    for (at, (stage, usual)) in (1..).zip(Stage::ALL.into_iter().zip(usual)) {
        let line = row(area, at);
        pen.text(columns(line, 0, NAME), stage.name(), PLAIN);
        let bar = Rect {
            y: line.y,
            height: line.height,
            ..bar
        };
        let place = |ms: f64| place(ms, begin, end, bar.width);
        if let Some(usual) = usual {
            pen.fill(
                bar,
                place(usual.begin_ms),
                place(usual.end_ms).max(place(usual.begin_ms) + 1),
                pen.glyphs.light,
                DIM,
            );
        }
        let current = span(block, stage);
        if let Some(span) = current {
            let (from, to) = (place(span.begin_ms), place(span.end_ms.unwrap_or(now_ms)));
            let style = if span.end_ms.is_none() { WARNING } else { BAR };
            pen.fill(bar, from, to.max(from + 1), pen.glyphs.full, style);
        }
        let figures = columns(line, area.width.saturating_sub(3 * FIGURE), 3 * FIGURE);
        let current = current.map(|span| {
            let under_way = if span.end_ms.is_none() { "+" } else { "" };
            format!("{}{under_way}", text::ms(span.took_ms(now_ms)))
        });
        figure(pen, figures, 0, current.as_deref().unwrap_or(""), BOLD);
        figure(
            pen,
            figures,
            1,
            &usual.map(|usual| text::ms(usual.took_ms)).unwrap_or_default(),
            PLAIN,
        );
        figure(
            pen,
            figures,
            2,
            &usual.map(|usual| text::ms(usual.worst_ms)).unwrap_or_default(),
            DIM,
        );
    }
}

fn head(pen: &mut Pen<'_>, area: Rect, live: &Live, newest: Option<&LiveBlock>, end: f64) {
    let block = &live.current;
    let since = block.began_ms_ago.map(|ms| match ms {
        ms if ms < 10_000.0 => format!(" {} ms", text::ms(ms)),
        ms => format!(" {}", text::span(ms / 1e3)),
    });
    let since = format!("{} r{}{}", block.height, block.round, since.unwrap_or_default());
    let by = if block.proposer.is_empty() {
        String::new()
    } else {
        format!(" by {}", short(&block.proposer).chars().take(4).collect::<String>())
    };
    let bars = newest
        .map(|newest| format!(" bars: {}", newest.height))
        .unwrap_or_default();
    let axis = if area.width > 60 {
        format!("  axis {} ms", text::ms(end))
    } else {
        String::new()
    };
    let style = if block.round > 0 { WARNING } else { BOLD };
    // Up to the names of the last two figures, with a gap. What explains the bars is dropped last.
    let line = columns(row(area, 0), 0, area.width.saturating_sub(2 * FIGURE));
    let mut left = usize::from(line.width).saturating_sub("round ".len() + since.chars().count());
    let mut fits = |text: &str| {
        let fits = text.chars().count() <= left;
        left -= if fits { text.chars().count() } else { 0 };
        fits
    };
    let [bars, by, axis] = [bars, by, axis].map(|text| if fits(&text) { text } else { String::new() });
    pen.parts(
        line,
        &[
            ("round ", HEAD),
            (&since, style),
            (&by, DIM),
            (&bars, DIM),
            (&axis, DIM),
        ],
    );
    let figures = columns(row(area, 0), area.width.saturating_sub(3 * FIGURE), 3 * FIGURE);
    // On a narrow page the height needs the first figure's room, which is seen to be what is now.
    for (at, name) in (1..).zip(["usual", "worst"]) {
        figure(pen, figures, at, name, DIM);
    }
}

fn figure(pen: &mut Pen<'_>, figures: Rect, at: u16, text: &str, style: ratatui_core::style::Style) {
    pen.right(columns(figures, at * FIGURE, FIGURE), text, style);
}

/// The column of a moment.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Clamped to the bar.
fn place(ms: f64, begin: f64, end: f64, width: u16) -> u16 {
    let share = ((ms - begin) / (end - begin)).clamp(0.0, 1.0);
    (share * f64::from(width.saturating_sub(1))).round() as u16
}

/// The newest heights, newest first.
pub fn heights(pen: &mut Pen<'_>, area: Rect, live: &Live) {
    let line = row(area, 0);
    table(
        pen,
        line,
        ["height", "r", "blobs", "bytes", "commit", "by"].map(str::to_owned),
        [HEAD, HEAD, HEAD, HEAD, HEAD, HEAD],
    );
    for (at, block) in (1..area.height).zip(live.heights.iter().rev()) {
        let commit = span(block, Stage::Commit).map(|span| text::ms(span.took_ms(span.begin_ms)));
        let proposer: String = short(&block.proposer).chars().take(4).collect();
        let cells = [
            block.height.to_string(),
            block.round.to_string(),
            block.blobs.to_string(),
            text::bytes(block.bytes as f64),
            commit.unwrap_or_default(),
            proposer,
        ];
        let round = if block.round > 0 { WARNING } else { PLAIN };
        table(pen, row(area, at), cells, [PLAIN, round, PLAIN, PLAIN, BOLD, DIM]);
    }
}

fn table(pen: &mut Pen<'_>, line: Rect, cells: [String; 6], styles: [ratatui_core::style::Style; 6]) {
    const WIDTHS: [u16; 6] = [8, 3, 6, 8, 7, 0];
    let mut at = 0;
    for ((text, width), style) in cells.iter().zip(WIDTHS).zip(styles).take(5) {
        // Heights grow, and what they lack comes from the gaps.
        pen.right(columns(line, at, width), text, style);
        at += width;
    }
    if line.width >= at + 5 {
        pen.text(
            columns(line, at + 1, 4),
            cells.last().map_or("", String::as_str),
            styles[5],
        );
    }
}

fn short(hex: &str) -> String {
    text::short(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(build: f64) -> LiveBlock {
        LiveBlock {
            spans: vec![LiveSpan {
                stage: "build".to_owned(),
                begin_ms: 1.0,
                end_ms: Some(1.0 + build),
            }],
            ..LiveBlock::default()
        }
    }

    #[test]
    fn the_usual_is_the_median_and_the_worst_the_longest() {
        let heights: Vec<LiveBlock> = [10.0, 500.0, 20.0].map(block).to_vec();
        let build = usual(&heights, Stage::Build).expect("it is there");
        assert_eq!((build.took_ms, build.worst_ms, build.end_ms), (20.0, 500.0, 21.0));
        assert_eq!(usual(&heights, Stage::Vote), None);
    }

    #[test]
    fn every_moment_has_a_column_of_the_bar() {
        for odd in [f64::NEG_INFINITY, -1e300, 0.0, 5.0, 1e300, f64::INFINITY] {
            assert!(place(odd, -1.0, 10.0, 18) < 18);
        }
        assert_eq!(place(10.0, 0.0, 10.0, 18), 17);
    }
}
