//! This file knows how to tell a run on one page that needs nothing else: style and pictures are inside it.

use std::fmt::Write;

use ultramarine_types::Stage;

use crate::figures::RunSetting;
use crate::outcome::Outcome;
use crate::stages::{Stages, quantile_ns};
use crate::watch::Seenings;

pub mod comparison;
mod distribution;
mod figures;
mod heat;
mod scale;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;
mod waterfall;

use figures::{bytes, count, duration, escape, moment};

/// All that is told.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// One line that names the run.
    pub title: String,
    pub setting: RunSetting,
    pub load: String,
    /// How long it took from start to end.
    pub seconds: f64,
    /// What the devnet said.
    pub outcome: Outcome,
    /// What was seen meanwhile.
    pub seen: Seenings,
}

pub fn render(run: &Run) -> String {
    let stages = run.seen.stages();
    let mut page = begin_page(&run.title);
    write_header(&mut page, run);
    write_tiles(&mut page, run, &stages);
    section(
        &mut page,
        "Where a block’s time goes",
        "Each bar is a stage’s median, placed where the stages it waits for end; the pale part reaches to its 99th \
         percentile. The band at its foot is the client’s share: how long calls to the execution client were open. \
         Execution runs beside the stream and its checks, so it starts with them.",
        &waterfall::render(&stages),
    );
    section(
        &mut page,
        "Percentiles",
        "All nodes together, from their HdrHistograms (three significant digits). The full distributions lie beside \
         this file as <code>.hgrm</code>. The client’s share is how long calls to it were open. Stages \
         between build and import that show none wait for no client; that of commit is what was open from the start of \
         its height’s first round to the decision.",
        &tables::percentiles(&stages),
    );
    section(
        &mut page,
        "Distributions",
        "Time on a logarithmic axis, one bar per equal ratio. The lines mark the 50th, 90th and 99th percentile.",
        &distributions(&stages),
    );
    if let Some(pictures) = heat(&run.seen) {
        section(
            &mut page,
            "Latency over time",
            "Time to the right, latency upwards on a logarithmic axis, all nodes together. The more blocks, the \
             darker.",
            &pictures,
        );
    }
    if let Some(picture) = timeline::render(&run.seen.timeline) {
        section(
            &mut page,
            "Over time",
            "Blobs decided per second, as the first node saw them.",
            &picture,
        );
    }
    section(
        &mut page,
        "Nodes",
        "CPU, memory and disk are the node’s process’s; its execution client has one of its own. Agreement compares \
         the decided value of every height.",
        &tables::nodes(run),
    );
    section(
        &mut page,
        "This run",
        "Ratios travel between machines; absolute times do not.",
        &tables::parameters(run),
    );
    end_page(page)
}

/// A page up to its content.
fn begin_page(title: &str) -> String {
    let mut page = String::with_capacity(96 * 1024);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>Ultramarine: {title}</title>\n<style>\n{style}</style></head>\n<body><main>\n",
        title = escape(title),
        style = include_str!("report/style.css"),
    );
    page
}

fn end_page(page: String) -> String {
    page + "</main></body></html>\n"
}

fn write_header(page: &mut String, run: &Run) {
    let agreement = if run.outcome.agreement {
        "<span class=\"chip good\">all nodes agree</span>"
    } else {
        "<span class=\"chip bad\">nodes disagree</span>"
    };
    let _ = writeln!(
        page,
        "<header><p class=\"mark\">Ultramarine · block latency</p><h1>{}</h1><p class=\"when\">{} · \
         {}</p>{agreement}</header>",
        escape(&run.title),
        moment(run.setting.finished_unix),
        escape(&run.setting.machine.cpu),
    );
}

fn write_tiles(page: &mut String, run: &Run, stages: &Stages) {
    let outcome = &run.outcome;
    let quantile = |quantile| quantile_ns(stages, Stage::Commit, quantile).map_or_else(|| "–".to_owned(), duration);
    let rate = run
        .seen
        .blobs_per_second()
        .map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}"));
    #[allow(clippy::cast_precision_loss)] // Counts of one run.
    let per_block = if outcome.heights > 0 {
        format!("{:.1} a block", outcome.blobs as f64 / outcome.heights as f64)
    } else {
        String::new()
    };
    let tiles = [
        ("Commit, median", quantile(0.5), "proposal to decision".to_owned()),
        ("Commit, p99", quantile(0.99), "proposal to decision".to_owned()),
        ("Blobs per second", rate, "while deciding".to_owned()),
        ("Blobs decided", count(outcome.blobs), per_block),
        ("Blob data", bytes(outcome.bytes), "decided".to_owned()),
        (
            "Heights",
            count(outcome.heights),
            format!("{} above round 0", outcome.rounds_above_zero),
        ),
    ];
    page.push_str("<div class=\"tiles\">");
    for (name, value, note) in tiles {
        let _ = write!(
            page,
            "<div class=\"tile\"><p class=\"name\">{name}</p><p class=\"value\">{value}</p><p \
             class=\"note\">{note}</p></div>"
        );
    }
    page.push_str("</div>\n");
}

fn distributions(stages: &Stages) -> String {
    let pictures = stages
        .iter()
        .map(|(stage, histogram)| (stage, distribution::render(stage, histogram)));
    cards(pictures).unwrap_or_else(|| "<p class=\"empty\">No node reported a stage.</p>".to_owned())
}

fn heat(seen: &Seenings) -> Option<String> {
    cards(
        Stage::ALL
            .into_iter()
            .filter_map(|stage| Some((stage, heat::render(stage, &seen.heat)?))),
    )
}

/// A picture for each stage, two in a row; `None` if there is none.
fn cards(pictures: impl Iterator<Item = (Stage, String)>) -> Option<String> {
    let mut cards = String::new();
    for (stage, picture) in pictures {
        let _ = write!(
            cards,
            "<figure class=\"card\"><figcaption><b>{}</b><span>{}</span></figcaption>{picture}</figure>",
            title_of(stage),
            meaning_of(stage),
        );
    }
    (!cards.is_empty()).then(|| format!("<div class=\"cards\">{cards}</div>"))
}

fn section(page: &mut String, title: &str, about: &str, body: &str) {
    let _ = writeln!(
        page,
        "<section><h2>{title}</h2><p class=\"about\">{about}</p>{body}</section>"
    );
}

/// A stage's name as a title.
fn title_of(stage: Stage) -> String {
    let name = stage.name();
    name[..1].to_uppercase() + &name[1..]
}

/// What a stage spans, for a reader who has not read the code.
const fn meaning_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Build => "asked for a block → payload and blobs in hand",
        Stage::Stream => "first part seen → last part seen",
        Stage::Verify => "last blob’s last byte → last proof checked",
        Stage::Persist => "bytes handed to the store → durable",
        Stage::Execute => "payload handed to the execution client → its answer",
        Stage::Vote => "value valid here → decision",
        Stage::Import => "decision → execution client’s head",
        Stage::Commit => "first round’s proposal started → decision, the whole way",
    }
}
