//! This file knows `ultramarine bench`: whether this machine keeps up, and on how many lanes.

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use ultramarine_kzg_pipeline::measure::{self, MeasureReport, Processor};
use ultramarine_runtime::print;

/// Blocks an operator may have to keep up with: blobs in each, one block a second.
const BLOCKS: [usize; 5] = [6, 24, 128, 512, 1024];

#[derive(Debug, clap::Subcommand)]
pub enum Action {
    /// Measure blob verification: ours beside c-kzg and eip4844, by stage, over lanes, and from last byte to verdict
    Kzg(KzgArgs),
}

#[derive(Debug, clap::Args)]
pub struct KzgArgs {
    /// About how long to measure; the largest batches may take longer
    #[arg(long, value_name = "S", default_value_t = 30.0, value_parser = seconds)]
    seconds: f64,
    /// Play a lesser processor: the code it would choose here, and c-kzg without the SHA extension where it has none
    #[arg(long = "as", value_name = "PROCESSOR", default_value = "here", value_parser = processor())]
    processor: Processor,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    if (0.0..=3600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("between 0 and 3600 seconds".to_owned())
    }
}

fn processor() -> impl clap::builder::TypedValueParser<Value = Processor> {
    let named = |name: String| Processor::ALL.into_iter().find(|processor| processor.name() == name);
    PossibleValuesParser::new(Processor::ALL.map(Processor::name))
        .map(move |name| named(name).expect("one of the possible values"))
}

pub fn run(action: &Action) -> anyhow::Result<()> {
    let Action::Kzg(args) = action;
    print::reason(format_args!(
        "making 64 blobs with proofs, then measuring for about {} s; best on an idle machine",
        args.seconds
    ));
    let report = measure::report(args.seconds, args.processor).with_context(|| {
        let name = args.processor.name();
        format!("this processor lacks what `{name}` has; leave `--as` out to measure what it has")
    })?;
    if args.json {
        print::line(serde_json::to_string(&report)?)?;
    } else {
        print::text(format_args!("{report}{}", advice(&report)))?;
    }
    Ok(())
}

/// Which blocks, one a second, how many lanes keep up with: nine tenths of what a lane with a core to itself takes.
fn advice(report: &MeasureReport) -> String {
    let Some(one) = report.lanes.first() else {
        return String::new();
    };
    let mut text =
        String::from("\nblocks of one second, and the lanes (`node.lanes`) that verify them as they arrive:\n");
    for blobs in BLOCKS {
        let lanes = (blobs as f64 / (0.9 * one.replayed_per_second)).ceil().max(1.0);
        text.push_str(&format!("{blobs:>6} blobs a block: {lanes:.0}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use ultramarine_kzg_pipeline::measure::LanesRow;

    use super::*;

    #[test]
    fn advice_counts_lanes_by_what_one_takes() {
        let mut report = MeasureReport {
            cpu: "a processor".to_owned(),
            as_processor: Processor::Here.name(),
            path: "a path".to_owned(),
            rows: Vec::new(),
            stages: Vec::new(),
            lanes: Vec::new(),
            paced: Vec::new(),
        };
        assert_eq!(advice(&report), "");
        report.lanes = vec![LanesRow {
            lanes: 1,
            blobs_per_second: 10.0,
            replayed_per_second: 200.0,
        }];
        let text = advice(&report);
        assert!(
            text.contains("   128 blobs a block: 1\n") && text.contains("  1024 blobs a block: 6\n"),
            "{text}"
        );
    }

    #[test]
    fn seconds_are_few_and_finite() {
        assert_eq!(seconds("0"), Ok(0.0));
        for odd in ["-1", "NaN", "inf", "4000", "ten"] {
            assert!(seconds(odd).is_err(), "{odd}");
        }
    }
}
