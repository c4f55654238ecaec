//! This file knows how to draw what was decided, second by second.

use std::fmt::Write;

use super::figures::{shortest, three_digits};
use super::scale::{Linear, round_up};
use crate::watch::WatchedMoment;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 170.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 12.0;
const BASE: f64 = HEIGHT - 26.0;

/// The picture, as SVG; `None` when too little was seen to draw.
#[allow(clippy::cast_precision_loss)] // Pixels.
pub fn render(moments: &[WatchedMoment]) -> Option<String> {
    let steps: Vec<(WatchedMoment, WatchedMoment, f64)> = moments
        .windows(2)
        .filter_map(|pair| {
            let [before, after] = pair else { return None };
            let seconds = after.at_seconds - before.at_seconds;
            (seconds > 0.0).then(|| {
                (
                    *before,
                    *after,
                    after.blobs.saturating_sub(before.blobs) as f64 / seconds,
                )
            })
        })
        .collect();
    let (first, last) = (steps.first()?.0.at_seconds, steps.last()?.1.at_seconds);
    if steps.len() < 3 {
        return None;
    }
    let highest = round_up(steps.iter().map(|step| step.2).fold(1.0, f64::max));
    let across = Linear {
        end: last - first,
        from: LEFT,
        to: RIGHT,
    };
    let up = Linear {
        end: highest,
        from: BASE,
        to: TOP,
    };
    let mut svg = format!(
        "<figure class=\"card wide\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Blobs decided \
         per second over the run\">"
    );
    for tick in up.ticks(4) {
        let y = up.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            shortest(tick)
        );
    }
    for tick in across.ticks(8) {
        let x = across.at(tick);
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}\u{202f}s</text>",
            BASE + 17.0,
            shortest(tick)
        );
    }
    for (before, after, rate) in &steps {
        let (x, end) = (
            across.at(before.at_seconds - first),
            across.at(after.at_seconds - first),
        );
        let y = up.at(*rate);
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"1.5\"><title>height \
             {}: {} blobs per second</title></rect>",
            x + 0.75,
            (end - x - 1.5).max(1.0),
            BASE - y,
            after.height,
            three_digits(*rate)
        );
    }
    let _ = write!(
        svg,
        "<line class=\"base\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BASE}\" y2=\"{BASE}\"/></svg></figure>"
    );
    Some(svg)
}
