//! This file knows how to lay the stages of a block behind and beside each other.

use std::collections::BTreeMap;
use std::fmt::Write;

use ultramarine_types::Stage;

use super::figures::{duration, tick as tick_label};
use super::scale::Linear;
use super::title_of;
use crate::stages::Stages;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 92.0;
const RIGHT: f64 = WIDTH - 150.0;
const TOP: f64 = 30.0;
const ROW: f64 = 34.0;
const BAR: f64 = 18.0;
/// The axis ends here at most, in multiples of the last median's end: a rare tail must not squeeze everything else.
const TAIL_MAX: f64 = 2.0;

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Span {
    pub stage: Stage,
    /// Where it starts, in nanoseconds after the build's start.
    pub start: f64,
    pub median: f64,
    /// Its 99th percentile.
    pub tail: f64,
    /// The median of how long calls to the execution client were open in it, if it waits for the client.
    pub client: Option<f64>,
}

/// What a stage waits for before it can start.
const fn waits_for(stage: Stage) -> &'static [Stage] {
    match stage {
        Stage::Build | Stage::Commit => &[],
        // The payload is the first thing that is streamed, so its execution and the stream start about together.
        Stage::Stream | Stage::Execute => &[Stage::Build],
        Stage::Verify => &[Stage::Stream],
        Stage::Persist => &[Stage::Verify],
        Stage::Vote => &[Stage::Persist, Stage::Execute],
        Stage::Import => &[Stage::Vote],
    }
}

/// Places every recorded stage behind the medians of what it waits for.
#[allow(clippy::cast_precision_loss)] // Pixels.
pub fn spans(stages: &Stages) -> Vec<Span> {
    let mut ends: BTreeMap<Stage, f64> = BTreeMap::new();
    let mut spans = Vec::new();
    for stage in Stage::ALL {
        let start = waits_for(stage)
            .iter()
            .filter_map(|before| ends.get(before))
            .copied()
            .fold(0.0, f64::max);
        let Some(histogram) = stages.get(stage) else {
            // Nobody recorded it: what waits for it starts where it would have started.
            ends.insert(stage, start);
            continue;
        };
        let (median, tail) = (
            histogram.value_at_quantile(0.5) as f64,
            histogram.value_at_quantile(0.99) as f64,
        );
        ends.insert(stage, start + median);
        spans.push(Span {
            stage,
            start,
            median,
            tail,
            client: stages.client(stage).map(|share| share.value_at_quantile(0.5) as f64),
        });
    }
    spans
}

/// The picture, as SVG.
pub fn render(stages: &Stages) -> String {
    let spans = spans(stages);
    if spans.is_empty() {
        return "<p class=\"empty\">No node reported a stage.</p>".to_owned();
    }
    let medians_end = spans.iter().map(|span| span.start + span.median).fold(1.0, f64::max);
    let tails_end = spans.iter().map(|span| span.start + span.tail).fold(1.0, f64::max);
    let axis = Linear {
        end: tails_end.min(medians_end * TAIL_MAX),
        from: LEFT,
        to: RIGHT,
    };
    #[allow(clippy::cast_precision_loss)] // A handful of rows.
    let height = TOP + ROW * spans.len() as f64 + 8.0;
    let mut svg = format!(
        "<figure class=\"card wide\"><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"Waterfall of a \
         block’s stages\">"
    );
    for tick in axis.ticks(6) {
        let x = axis.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{height}\"/>"
        );
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            TOP - 10.0,
            tick_label(tick)
        );
    }
    let mut y = TOP;
    for span in &spans {
        write_row(&mut svg, span, &axis, y);
        y += ROW;
    }
    let _ = write!(
        svg,
        "<line class=\"base\" x1=\"{LEFT}\" x2=\"{LEFT}\" y1=\"{TOP}\" y2=\"{height}\"/>"
    );
    svg.push_str("</svg></figure>");
    svg
}

fn write_row(svg: &mut String, span: &Span, axis: &Linear, y: f64) {
    let Span {
        stage,
        start,
        median,
        tail,
        client,
    } = *span;
    let (x, end, tail_end) = (axis.at(start), axis.at(start + median), axis.at(start + tail));
    let (top, middle) = (y + (ROW - BAR) / 2.0, y + ROW / 2.0);
    let class = if stage == Stage::Commit { "bar whole" } else { "bar" };
    let _ = write!(
        svg,
        "<text class=\"row\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        LEFT - 12.0,
        middle + 4.5,
        title_of(stage)
    );
    let _ = write!(
        svg,
        "<g><title>{}: median {}, 99th percentile {}</title>",
        stage.name(),
        whole(median),
        whole(tail)
    );
    let _ = write!(
        svg,
        "<rect class=\"tail\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"3\"/>",
        (tail_end - x).max(2.0)
    );
    let _ = write!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"3\"/>",
        (end - x).max(2.0)
    );
    if let Some(client) = client {
        // At its end: the client answers, and then the stage is over.
        let width = axis.at(start + client.min(median)) - x;
        let _ = write!(
            svg,
            "<rect class=\"client\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"2\"><title>{}: the \
             client’s share, median {}</title></rect>",
            end - width,
            top + BAR - 5.0,
            width.max(1.0),
            5.0,
            stage.name(),
            whole(client)
        );
    }
    svg.push_str("</g>");
    if start + tail > axis.end * 1.000_001 {
        let _ = write!(
            svg,
            "<path class=\"cut\" d=\"M{0:.1} {1:.1} l5 {2} l-5 {2}\"/>",
            RIGHT + 4.0,
            middle - 5.0,
            5.0
        );
    }
    let _ = write!(
        svg,
        "<text class=\"figure\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{} <tspan class=\"quiet\">· {}</tspan></text>",
        WIDTH - 4.0,
        middle + 4.5,
        whole(median),
        whole(tail)
    );
}

/// A span as text.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Positive numbers of nanoseconds.
fn whole(ns: f64) -> String {
    duration(ns.round() as u64)
}
