//! This file knows the simulator's command line: which seeds or scenario, in how many threads, and how a failure is
//! told.

#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use clap::{Args, Parser, Subcommand};
use ultramarine_runtime::print;
use ultramarine_sim::curves::{Cell, Measured};
use ultramarine_sim::shown::{self, Shown};
use ultramarine_sim::{RunConfig, RunReport, faults, run, scenarios};
use ultramarine_types::Nanos;

/// Runs whole networks from seeds, with faults, and checks every invariant.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Seeds, half-open: `0..500`.
    #[arg(long, default_value = "0..100", value_parser = range)]
    seeds: Range<u64>,
    /// Print every event, and what nodes log
    #[arg(long)]
    trace: bool,
    /// Of the trace, only what this node does, says and logs, and what reaches it
    #[arg(long, value_name = "POSITION", requires = "trace")]
    node: Option<usize>,
    /// Of the trace, nothing before this simulated time
    #[arg(long, value_name = "SECONDS", requires = "trace", value_parser = seconds)]
    from: Option<Nanos>,
    /// Of the trace, nothing after this simulated time
    #[arg(long, value_name = "SECONDS", requires = "trace", value_parser = seconds)]
    until: Option<Nanos>,
    /// Run a named scenario for each seed instead; `list` names them.
    #[arg(long)]
    scenario: Option<String>,
    /// Threads; one per core unless said.
    #[arg(long)]
    threads: Option<usize>,
    /// Fail if any class of fault happened less often than this over all seeds.
    #[arg(long)]
    at_least: Option<u64>,
    /// Print one line per seed only when it fails.
    #[arg(long)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// Prints how long networks take to decide a block: one line each, times in simulated seconds.
    Curves(Curves),
}

#[derive(Args)]
struct Curves {
    /// Validators of the networks.
    #[arg(long, value_delimiter = ',', default_value = "4,10,31,100")]
    validators: Vec<usize>,
    /// Blobs of the block.
    #[arg(long, value_delimiter = ',', default_value = "6,24,96,384,1024")]
    blobs: Vec<u32>,
    /// What each node's line carries each way, in megabits a second.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    rates: Vec<u64>,
    /// Milliseconds from node to node.
    #[arg(long, value_delimiter = ',', default_value = "5,50,100")]
    latencies: Vec<u64>,
    /// Simulated seconds after which a network is given up.
    #[arg(long, default_value_t = 600)]
    limit: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads; one per core unless said.
    #[arg(long)]
    threads: Option<usize>,
}

impl Curves {
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for megabits_per_second in self.rates.iter().copied() {
            for latency_ms in self.latencies.iter().copied() {
                for validators in self.validators.iter().copied() {
                    cells.extend(self.blobs.iter().map(|blobs| Cell {
                        validators,
                        blobs: *blobs,
                        megabits_per_second,
                        latency_ms,
                    }));
                }
            }
        }
        cells
    }

    /// Measures all, and prints each line when those before it are printed.
    fn print(&self, threads: usize) {
        let cells = self.cells();
        let next = AtomicUsize::new(0);
        let done = Mutex::new((0, BTreeMap::new()));
        print::line_or_end(Measured::HEAD);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(position) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|it| *it < cells.len())
                    {
                        let measured = cells[position].measure(self.seed, Nanos::from_millis(self.limit * 1000));
                        let mut done = done.lock().expect("no thread panics while it prints");
                        let (printed, waiting) = &mut *done;
                        waiting.insert(position, measured);
                        while let Some(measured) = waiting.remove(printed) {
                            print::line_or_end(measured.line());
                            *printed += 1;
                        }
                    }
                });
            }
        });
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("seeds are written A..B, B not included")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let range = number(from)?..number(to)?;
    if range.is_empty() {
        Err("no seed in that range".to_owned())
    } else {
        Ok(range)
    }
}

fn seconds(text: &str) -> Result<Nanos, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=1e9).contains(&seconds) => Ok(Nanos((seconds * 1e9) as u64)),
        _ => Err(format!("{text:?} is no number of seconds, such as 12.5")),
    }
}

impl Arguments {
    /// What of a run is printed as it happens.
    fn shown(&self) -> Option<Shown> {
        self.trace.then(|| Shown {
            node: self.node,
            from: self.from.unwrap_or(Shown::ALL.from),
            until: self.until.unwrap_or(Shown::ALL.until),
        })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let shown = arguments.shown();
    shown.into_iter().for_each(shown::words);
    let scenario = match arguments.scenario.as_deref() {
        None => None,
        Some("list") => {
            for scenario in scenarios::ALL {
                print::line_or_end(format_args!("{:<28} {}", scenario.name, scenario.claim));
            }
            return ExitCode::SUCCESS;
        }
        Some(name) => match scenarios::ALL.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => Some(*scenario),
            None => {
                print::reason(format_args!("no scenario {name}; `--scenario list` names them"));
                return ExitCode::FAILURE;
            }
        },
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some(Mode::Curves(curves)) = &arguments.mode {
        curves.print(curves.threads.unwrap_or(cores).max(1));
        return ExitCode::SUCCESS;
    }
    // Events of two seeds would mix.
    let threads = if arguments.trace {
        1
    } else {
        arguments.threads.unwrap_or(cores).max(1)
    };
    let one = |seed: u64| match scenario {
        Some(scenario) => scenarios::report(scenario, seed, shown),
        None => run(RunConfig {
            shown,
            ..RunConfig::of(seed)
        }),
    };

    let script = scenario.map_or(String::new(), |it| format!(" --scenario {}", it.name));
    let replay = |seed: u64| {
        format!(
            "cargo run --release --bin ultramarine-sim -- --seeds {seed}..{}{script} --trace",
            seed + 1
        )
    };

    let next = AtomicU64::new(arguments.seeds.start);
    let failed = AtomicBool::new(false);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seeds.end {
                        return;
                    }
                    // The panic's own message is printed by then; whoever reads it needs the seed.
                    let Ok(report) = std::panic::catch_unwind(|| one(seed)) else {
                        failed.store(true, Ordering::Relaxed);
                        print::line_or_end(format_args!(
                            "seed {seed}\n  FAILED it panicked\n  replay: {}",
                            replay(seed)
                        ));
                        continue;
                    };
                    let mut totals = totals.lock().expect("no thread panics while it adds");
                    totals.add(&report);
                    match &report.violation {
                        None if arguments.quiet => {}
                        None => print::line_or_end(line(&report)),
                        Some(violation) => {
                            failed.store(true, Ordering::Relaxed);
                            print::line_or_end(line(&report));
                            print::line_or_end(format_args!("  FAILED {violation}"));
                            for line in &report.recent {
                                print::line_or_end(format_args!("  | {}", line.trim_end()));
                            }
                            print::line_or_end(format_args!("  replay: {}", replay(seed)));
                        }
                    }
                }
            });
        }
    });
    let totals = totals.into_inner().expect("no thread panics while it adds");
    totals.print();
    for name in totals.faults.keys().filter(|name| !faults::is_listed(name)) {
        print::line_or_end(format_args!("FAILED {name} is counted and not listed among the faults"));
        failed.store(true, Ordering::Relaxed);
    }
    if let Some(least) = arguments.at_least {
        for class in faults::CLASSES {
            let count = totals.faults.get(class).copied().unwrap_or(0);
            if count < least {
                print::line_or_end(format_args!("FAILED {class} happened {count} times, not {least}"));
                failed.store(true, Ordering::Relaxed);
            }
        }
    }
    if failed.load(Ordering::Relaxed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn line(report: &RunReport) -> String {
    let faults: u64 = report.faults.values().sum();
    format!(
        "seed {} trace {} height {} blobs {} rounds above zero {} signed {} faults {} events {} simulated {:.1} s",
        report.seed,
        hex(&report.hash.0),
        report.height,
        report.blobs,
        report.rounds_above_zero,
        report.signed,
        faults,
        report.events,
        report.simulated.0 as f64 / 1e9
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sums over all seeds.
#[derive(Default)]
struct Totals {
    runs: u64,
    failures: u64,
    heights: u64,
    blobs: u64,
    faults: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, report: &RunReport) {
        self.runs += 1;
        self.failures += u64::from(report.violation.is_some());
        self.heights += report.height.0;
        self.blobs += report.blobs;
        for (name, count) in &report.faults {
            *self.faults.entry(name).or_default() += count;
        }
    }

    fn print(&self) {
        print::line_or_end(format_args!(
            "runs {} failures {} heights {} blobs {}",
            self.runs, self.failures, self.heights, self.blobs
        ));
        print::line_or_end(format_args!("faults injected:"));
        for (name, count) in &self.faults {
            print::line_or_end(format_args!("  {name:<24} {count}"));
        }
    }
}
