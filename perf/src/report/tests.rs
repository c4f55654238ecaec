use super::*;
use crate::heat::Heat;
use crate::machine::MachineFacts;
use crate::outcome::NodeOutcome;
use crate::resources::Resources;
use crate::stages::tests::{histogram, stages_of};
use crate::watch::{Seen, WatchedMoment};

/// A log-normal-looking cloud of durations around a median, from a fixed little generator.
fn cloud(median_ns: f64, records: u64, seed: u64) -> hdrhistogram::Histogram<u64> {
    let mut state = seed;
    let mut uniform = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    histogram((0..records).map(|_| {
        let bell: f64 = (0..6).map(|_| uniform()).sum::<f64>() - 3.0;
        let tail = if uniform() > 0.97 { 4.0 } else { 1.0 };
        (median_ns * (bell * 0.5).exp() * tail) as u64
    }))
}

/// Forty seconds of a run in which every stage takes longer in the middle.
fn heat(medians: &[(Stage, f64)]) -> Heat {
    let (mut heat, mut stages) = (Heat::default(), Stages::default());
    for second in 0..40u64 {
        let slower = if (15..22).contains(&second) { 4.0 } else { 1.0 };
        for (stage, median) in medians {
            let more = cloud(median * slower, 9, second * 17 + *stage as u64);
            stages.merge(&stages_of(&[(*stage, more)], &[]));
        }
        heat.look(second as f64 + 1.0, &stages);
    }
    heat
}

pub(super) fn sample() -> Run {
    let medians = [
        (Stage::Build, 16.0e6, 10),
        (Stage::Stream, 9.0e6, 30),
        (Stage::Verify, 6.5e6, 40),
        (Stage::Persist, 1.4e6, 40),
        (Stage::Execute, 8.0e6, 40),
        (Stage::Vote, 11.0e6, 40),
        (Stage::Import, 5.0e6, 40),
        (Stage::Commit, 46.0e6, 40),
    ];
    let node = |at: u64| {
        let stages =
            medians.map(|(stage, median, records)| (stage, cloud(median, records * 10, at * 31 + stage as u64)));
        let shares = [(Stage::Build, 9.0e6), (Stage::Execute, 7.0e6), (Stage::Import, 4.0e6)]
            .map(|(stage, median)| (stage, cloud(median, 300, at * 37 + stage as u64)));
        Seen {
            name: at.to_string(),
            stages: stages_of(&stages, &shares),
            resources: Resources {
                cpu_seconds: 9.75 + at as f64,
                memory_bytes_max: 141_000_000,
                written_bytes: 27_000_000,
            },
            client: Some(Resources {
                cpu_seconds: 20.5,
                memory_bytes_max: 180_000_000,
                written_bytes: 0,
            }),
            samples: None,
            ring_operations: vec![("net".to_owned(), 1204), ("store".to_owned(), 20_811)],
        }
    };
    let head =
        serde_json::Value::String("0x8f2e4c1ab77d0000000000000000000000000000000000000000000000000000".to_owned());
    Run {
        title: "4 validators, 6 blobs a block".to_owned(),
        setting: RunSetting {
            command: "target/release/ultramarine devnet --validators 4 --until-height 40 --json".to_owned(),
            machine: MachineFacts {
                cpu: "Example CPU @ 2.50GHz".to_owned(),
                cores: 2,
                kernel: "6.18.0".to_owned(),
                memory_bytes: 8_000_000_000,
            },
            version: "ultramarine 0.1.0".to_owned(),
            io: "auto".to_owned(),
            finished_unix: 1_795_000_000,
        },
        load: "2 files, 1.5 MB of pseudo-random content".to_owned(),
        seconds: 52.4,
        outcome: Outcome {
            agreement: true,
            heights: 40,
            blobs: 196,
            bytes: 196 * 131_072,
            rounds_above_zero: 1,
            load: crate::outcome::Published::default(),
            nodes: (0..4)
                .map(|at| NodeOutcome {
                    id: at.into(),
                    height: 40,
                    head: head.clone(),
                    blobs: 196,
                })
                .collect(),
        },
        seen: Seenings {
            nodes: (0..4).map(node).collect(),
            timeline: (0..42)
                .map(|at| WatchedMoment {
                    at_seconds: at as f64 * 1.01,
                    height: at,
                    blobs: at * 5 - (at % 3),
                })
                .collect(),
            heat: heat(&medians.map(|(stage, median, _)| (stage, median))),
        },
    }
}

#[test]
fn every_stage_has_a_picture_a_row_and_a_bar() {
    let page = render(&sample());
    for stage in Stage::ALL {
        assert!(
            page.contains(&format!("Distribution of {}:", stage.name())),
            "no picture of {}",
            stage.name()
        );
        assert!(page.contains(&format!(
            "<th scope=\"row\" title=\"{}\">{}</th>",
            meaning_of(stage),
            title_of(stage)
        )));
        assert!(
            page.contains(&format!("<title>{}: median", stage.name())),
            "no bar of {}",
            stage.name()
        );
        assert!(
            page.contains(&format!("aria-label=\"{} over the run:", stage.name())),
            "no heatmap of {}",
            stage.name()
        );
    }
    assert!(page.contains("all nodes agree") && page.contains("Blobs decided per second"));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = render(&sample());
    for foreign in ["http://", "https://", "src=", "href=", "@import", "url(", "<script"] {
        assert!(!page.contains(foreign), "{foreign} is in the page");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn tags_are_closed_in_order() {
    tags_close(&render(&sample()));
}

pub(super) fn tags_close(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        let tag = &rest[at + 1..at + rest[at..].find('>').expect("a tag ends")];
        rest = &rest[at + tag.len() + 2..];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
        if tag.starts_with('!') || tag.ends_with('/') || ["meta"].contains(&name) {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "near {}", &rest[..rest.len().min(80)]);
        } else {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn what_was_run_cannot_break_the_page() {
    let mut run = sample();
    run.title = "<script>alert(1)</script>".to_owned();
    run.setting.command = "a & b \"<c>\"".to_owned();
    run.outcome.nodes[0].id = serde_json::Value::String("<i>".to_owned());
    let page = render(&run);
    assert!(!page.contains("<script>") && !page.contains("<i>") && page.contains("a &amp; b &quot;&lt;c&gt;&quot;"));
}

#[test]
fn a_stage_starts_where_what_it_waits_for_ends() {
    let ms = |ms: u64| histogram([ms * 1_000_000]);
    let lengths = [
        (Stage::Build, ms(10)),
        (Stage::Stream, ms(20)),
        (Stage::Verify, ms(5)),
        (Stage::Execute, ms(100)),
        (Stage::Vote, ms(7)),
    ];
    let stages = stages_of(&lengths, &[(Stage::Execute, ms(60))]);
    let starts: std::collections::BTreeMap<_, _> = waterfall::spans(&stages)
        .into_iter()
        .map(|span| (span.stage, (span.start / 1e6).round() as u64))
        .collect();
    assert_eq!(starts[&Stage::Build], 0);
    assert_eq!(
        (starts[&Stage::Stream], starts[&Stage::Execute]),
        (10, 10),
        "they run beside each other"
    );
    assert_eq!(starts[&Stage::Verify], 30);
    assert_eq!(
        starts[&Stage::Vote],
        110,
        "the slower of the two is waited for, and persist took no time"
    );
    assert!(!starts.contains_key(&Stage::Import));
    let shares = waterfall::spans(&stages);
    let told: Vec<_> = shares
        .iter()
        .filter_map(|span| Some((span.stage, (span.client? / 1e6).round())))
        .collect();
    assert_eq!(told, [(Stage::Execute, 60.0)]);
    let picture = waterfall::render(&stages);
    assert!(
        picture.contains("execute: the client’s share, median 60.0")
            && picture.matches("class=\"client\"").count() == 1
    );
}

#[test]
fn a_run_that_recorded_nothing_still_has_a_page() {
    let page = render(&Run::default());
    assert!(page.contains("nodes disagree") && page.contains("No node reported a stage."));
}

#[test]
fn a_single_record_is_drawn() {
    let mut run = sample();
    run.seen.nodes = vec![Seen {
        stages: stages_of(&[(Stage::Vote, histogram([0]))], &[]),
        ..Seen::default()
    }];
    assert!(!render(&run).contains("NaN"));
}

/// Writes the sample page where a person can look at it: `ULTRAMARINE_SAMPLE_REPORT=/some/file.html cargo test …`.
#[test]
fn the_sample_page_can_be_looked_at() {
    if let Some(path) = std::env::var_os("ULTRAMARINE_SAMPLE_REPORT") {
        std::fs::write(path, render(&sample())).expect("the page is written");
    }
}
