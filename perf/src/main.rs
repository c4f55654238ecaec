//! Runs real nodes under load and shows where a block's time went.
//!
//! ```text
//!   ultramarine devnet ──devnet.json──▶ watch ──▶ stages, resources, timeline
//!          └── final JSON ──▶ outcome ─────────▶ report.html, figures.json, histograms.json, <stage>.hgrm
//!   two folders of these ──▶ compare ─────────▶ comparison.html
//! ```
//!
//! - A *run* is one network from start to its last height.
//! - A *stage* is a span of a block's life, as the nodes' own histograms measure it.
//! - The *report* is one HTML file that needs nothing else to be read.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ultramarine_runtime::print;

mod compare;
mod devnet;
mod figures;
mod folder;
mod heat;
mod hgrm;
mod http;
mod machine;
mod outcome;
mod report;
mod resources;
mod sample;
mod stages;
mod watch;

#[derive(Parser)]
#[command(
    name = "ultramarine-perf",
    about = "Run real nodes under load and write a latency report"
)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// A local network of validators under blob load
    Devnet(devnet::PerfOptions),
    /// Two runs side by side: a table, and a page with both
    Compare(compare::CompareOptions),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().scenario {
        Scenario::Devnet(options) => devnet::run(&options),
        Scenario::Compare(options) => compare::run(&options),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if print::is_quiet(error.chain()) => ExitCode::SUCCESS,
        Err(error) => {
            print::reason(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    };
    print::finish();
    code
}
