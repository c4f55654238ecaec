//! This file knows how to draw one stage's latencies over a run: time to the right, latency upwards, darker where more
//! blocks were.

use std::fmt::Write;

use ultramarine_types::Stage;

use super::figures::{count, duration, shortest, three_digits, tick as tick_label};
use super::scale::{Linear, Logarithmic};
use crate::heat::{Bands, Heat, While, band_start_ns};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 10.0;
const BASE: f64 = HEIGHT - 24.0;
/// Fewer whiles than this are no picture of a time.
const WHILES_MIN: usize = 3;
/// The palest cell that is still seen beside the darkest.
const PALEST: f64 = 0.16;

/// The picture, as SVG; `None` when too little was seen of the stage to draw.
pub fn render(stage: Stage, heat: &Heat) -> Option<String> {
    let whiles: Vec<(&While, &Bands)> = heat
        .whiles
        .iter()
        .filter_map(|part| Some((part, part.stages.get(&stage)?)))
        .collect();
    if whiles.len() < WHILES_MIN {
        return None;
    }
    let bands = || whiles.iter().flat_map(|(_, bands)| bands.keys().copied());
    let (lowest, highest) = (bands().min()?, bands().max()?);
    let darkest = whiles.iter().flat_map(|(_, bands)| bands.values().copied()).max()?;
    let (first, last) = (whiles.first()?.0.from_seconds, whiles.last()?.0.to_seconds);
    let across = Linear {
        end: (last - first).max(f64::MIN_POSITIVE),
        from: LEFT,
        to: RIGHT,
    };
    let up = Logarithmic::around(band_start_ns(lowest), band_start_ns(highest + 1), BASE, TOP);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over the run: {} to {}\">",
        stage.name(),
        duration(in_ns(band_start_ns(lowest))),
        duration(in_ns(band_start_ns(highest + 1))),
    );
    write_axes(&mut svg, &across, &up);
    for (part, bands) in whiles {
        let (x, end) = (across.at(part.from_seconds - first), across.at(part.to_seconds - first));
        for (band, records) in bands {
            let (low, high) = (band_start_ns(*band), band_start_ns(band + 1));
            let (y, base) = (up.at(high), up.at(low));
            let _ = write!(
                svg,
                "<rect class=\"heat\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                 opacity=\"{:.2}\"><title>{} to {}\u{202f}s, {} to {}: {}</title></rect>",
                (end - x).max(1.0),
                (base - y).max(1.0),
                shade(*records, darkest),
                three_digits(part.from_seconds - first),
                three_digits(part.to_seconds - first),
                duration(in_ns(low)),
                duration(in_ns(high)),
                count(*records),
            );
        }
    }
    let _ = write!(
        svg,
        "<line class=\"base\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BASE}\" y2=\"{BASE}\"/></svg>"
    );
    Some(svg)
}

fn write_axes(svg: &mut String, across: &Linear, up: &Logarithmic) {
    for tick in up.ticks() {
        let y = up.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"tick\" \
             x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            (y + 4.0).clamp(TOP + 8.0, BASE),
            tick_label(tick)
        );
    }
    for tick in across.ticks(5) {
        let x = across.at(tick);
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"{}\">{}\u{202f}s</text>",
            BASE + 16.0,
            if x > RIGHT - 16.0 { "end" } else { "middle" },
            shortest(tick)
        );
    }
}

/// By the root, so that a single block is seen beside many.
#[allow(clippy::cast_precision_loss)] // Counts of one run.
fn shade(records: u64, darkest: u64) -> f64 {
    PALEST + (1.0 - PALEST) * (records as f64 / darkest as f64).sqrt()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A positive number of nanoseconds.
fn in_ns(ns: f64) -> u64 {
    ns.round() as u64
}
