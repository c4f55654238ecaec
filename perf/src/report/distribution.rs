//! This file knows how to draw one stage's distribution.

use std::fmt::Write;

use hdrhistogram::Histogram;
use ultramarine_types::Stage;

use super::figures::{count, duration, tick as tick_label};
use super::scale::Logarithmic;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 12.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 38.0;
const BASE: f64 = HEIGHT - 24.0;
/// Bars over the whole axis: each then is as wide as four pixels and their gap at the width of a card.
const BARS: usize = 56;

/// Room for a label such as `200 ms`, half of it turned inwards at the ends.
const TICK_LABEL_WIDTH: f64 = 52.0;

/// The picture, as SVG.
#[allow(clippy::cast_precision_loss)] // Pixels.
pub fn render(stage: Stage, histogram: &Histogram<u64>) -> String {
    let axis = Logarithmic::around(histogram.min().max(1) as f64, histogram.max() as f64, LEFT, RIGHT);
    let bars = bars(histogram, &axis);
    let highest = bars.iter().copied().max().unwrap_or(0).max(1);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Distribution of {}: median {}, 99th \
         percentile {}\">",
        stage.name(),
        duration(histogram.value_at_quantile(0.5)),
        duration(histogram.value_at_quantile(0.99)),
    );
    write_ticks(&mut svg, &axis);
    let step = (RIGHT - LEFT) / BARS as f64;
    for (at, recorded) in bars.iter().enumerate().filter(|(_, recorded)| **recorded > 0) {
        // A single record must be seen beside thousands.
        let height = ((BASE - TOP) * *recorded as f64 / highest as f64).max(2.0);
        let (x, share) = (
            LEFT + step * at as f64,
            100.0 * *recorded as f64 / histogram.len() as f64,
        );
        let (low, high) = (
            axis.value(at as f64 / BARS as f64),
            axis.value((at + 1) as f64 / BARS as f64),
        );
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Positive numbers of nanoseconds.
        let span = format!("{} to {}", duration(low as u64), duration(high as u64));
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" \
             rx=\"1.5\"><title>{span}: {} ({share:.1} %)</title></rect>",
            x + 0.75,
            BASE - height,
            step - 1.5,
            count(*recorded),
        );
    }
    let _ = write!(
        svg,
        "<line class=\"base\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BASE}\" y2=\"{BASE}\"/>"
    );
    write_marks(&mut svg, histogram, &axis);
    svg.push_str("</svg>");
    svg
}

/// The picture of two distributions of a stage: the first as bars, the second as a line over them. Each has the same
/// area.
#[allow(clippy::cast_precision_loss)] // Pixels.
pub fn render_two(stage: Stage, a: &Histogram<u64>, b: &Histogram<u64>) -> String {
    let (least, most) = (a.min().min(b.min()).max(1), a.max().max(b.max()));
    let axis = Logarithmic::around(least as f64, most as f64, LEFT, RIGHT);
    let shares = [a, b].map(|histogram| bars(histogram, &axis).map(|records| records as f64 / histogram.len() as f64));
    let highest = shares.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let medians = [a, b].map(|histogram| histogram.value_at_quantile(0.5));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Distribution of {}: A median {}, B median \
         {}\">",
        stage.name(),
        duration(medians[0]),
        duration(medians[1]),
    );
    write_ticks(&mut svg, &axis);
    let step = (RIGHT - LEFT) / BARS as f64;
    let height = |share: f64| (BASE - TOP) * share / highest;
    for (at, share) in shares[0].iter().enumerate().filter(|(_, share)| **share > 0.0) {
        let _ = write!(
            svg,
            "<rect class=\"bar soft\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            LEFT + step * at as f64 + 0.5,
            BASE - height(*share),
            step - 1.0,
            height(*share),
        );
    }
    let mut line = format!("M{LEFT:.1} {BASE}");
    for (at, share) in shares[1].iter().enumerate() {
        let (x, y) = (LEFT + step * at as f64, BASE - height(*share));
        let _ = write!(line, " L{x:.1} {y:.1} L{:.1} {y:.1}", x + step);
    }
    let _ = write!(
        svg,
        "<path class=\"other\" d=\"{line} L{RIGHT:.1} {BASE}\"/><line class=\"base\" x1=\"{LEFT}\" x2=\"{RIGHT}\" \
         y1=\"{BASE}\" y2=\"{BASE}\"/>"
    );
    for (name, class, median, x, anchor) in [
        ("A", "side-a", medians[0], LEFT, "start"),
        ("B", "side-b", medians[1], RIGHT, "end"),
    ] {
        let _ = write!(
            svg,
            "<text class=\"mark-label {class}\" x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{name} p50 {}</text>",
            TOP - 15.0,
            duration(median)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn write_ticks(svg: &mut String, axis: &Logarithmic) {
    let mut labels_end = f64::NEG_INFINITY;
    for tick in axis.ticks() {
        let x = axis.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BASE}\"/>"
        );
        // A tick whose label would touch its neighbour's keeps its line only.
        if x - labels_end >= TICK_LABEL_WIDTH {
            labels_end = x;
            let label = tick_label(tick);
            let _ = write!(
                svg,
                "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"{}\">{label}</text>",
                BASE + 16.0,
                anchor(x)
            );
        }
    }
}

fn bars(histogram: &Histogram<u64>, axis: &Logarithmic) -> [u64; BARS] {
    let mut bars = [0; BARS];
    for step in histogram.iter_recorded() {
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )] // A share of 0 to 1.
        let at = (axis.share(histogram.median_equivalent(step.value_iterated_to()) as f64) * BARS as f64) as usize;
        bars[at.min(BARS - 1)] += step.count_at_value();
    }
    bars
}

/// The percentiles' lines, their labels kept apart when the lines stand close.
fn write_marks(svg: &mut String, histogram: &Histogram<u64>, axis: &Logarithmic) {
    const LABEL_WIDTH: f64 = 90.0;
    let marks = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)]
        .map(|(name, quantile)| (name, histogram.value_at_quantile(quantile)));
    #[allow(clippy::cast_precision_loss)] // Pixels.
    let lines = marks.map(|(_, value)| axis.at(value as f64));
    // Placed from the right, so that the last label ends inside the picture and each other one left of its neighbour.
    let mut labels = lines;
    let mut limit = RIGHT - LABEL_WIDTH / 2.0;
    for label in labels.iter_mut().rev() {
        *label = label.min(limit);
        limit = *label - LABEL_WIDTH;
    }
    let mut limit = LEFT + LABEL_WIDTH / 2.0;
    for label in &mut labels {
        *label = label.max(limit);
        limit = *label + LABEL_WIDTH;
    }
    for (((name, value), line), label) in marks.into_iter().zip(lines).zip(labels) {
        let _ = write!(
            svg,
            "<path class=\"mark-line\" d=\"M{line:.1} {BASE} V{TOP} L{label:.1} {}\"/>",
            TOP - 10.0
        );
        let _ = write!(
            svg,
            "<text class=\"mark-label\" x=\"{label:.1}\" y=\"{}\" text-anchor=\"middle\"><tspan \
             class=\"mark-name\">{name}</tspan> {}</text>",
            TOP - 15.0,
            duration(value)
        );
    }
}

/// Labels at the ends of an axis stay inside the picture.
fn anchor(x: f64) -> &'static str {
    if x < LEFT + 16.0 {
        "start"
    } else if x > RIGHT - 16.0 {
        "end"
    } else {
        "middle"
    }
}
