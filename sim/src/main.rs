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
use ultramarine_sim::liveness::table::Table;
use ultramarine_sim::liveness::{self, FaultClass, LivenessReport};
use ultramarine_sim::scenarios::{self, Scenario};
use ultramarine_sim::shown::{self, Shown};
use ultramarine_sim::{RunConfig, RunReport, faults, run};
use ultramarine_types::Nanos;

/// Runs whole networks from seeds, with faults, and checks every invariant.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Seeds, half-open: `0..500`.
    #[arg(long, global = true, default_value = "0..100", value_parser = range)]
    seeds: Range<u64>,
    /// Print every event, and what nodes log
    #[arg(long, global = true)]
    trace: bool,
    /// Of the trace, only what this node does, says and logs, and what reaches it
    #[arg(long, global = true, value_name = "POSITION", requires = "trace")]
    node: Option<usize>,
    /// Of the trace, nothing before this simulated time
    #[arg(long, global = true, value_name = "SECONDS", requires = "trace", value_parser = seconds)]
    from: Option<Nanos>,
    /// Of the trace, nothing after this simulated time
    #[arg(long, global = true, value_name = "SECONDS", requires = "trace", value_parser = seconds)]
    until: Option<Nanos>,
    /// Run a named scenario for each seed instead; `list` names them.
    #[arg(long)]
    scenario: Option<String>,
    /// Threads; one per core unless said.
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// Fail if any class of fault happened less often than this over all seeds.
    #[arg(long, global = true)]
    at_least: Option<u64>,
    /// Print one line per seed only when it fails.
    #[arg(long, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Mode {
    /// Leaves a connected quorum whole after a storm, breaks all else for ever, and demands that the quorum decides in
    /// time.
    Liveness,
    /// Prints how long networks take to decide a block: one line each, times in simulated seconds.
    Curves(Curves),
}

#[derive(Args)]
struct Curves {
    /// Validators of the networks.
    #[arg(long, value_delimiter = ',', default_value = "4,10,31,100")]
    validators: Vec<usize>,
    /// Blobs of the block.
    #[arg(long, value_delimiter = ',', default_value = "6,24,96,1024")]
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

    /// Measures all, and prints each line when those before it are printed. Answers whether nothing broke.
    fn print(&self, threads: usize) -> bool {
        let cells = self.cells();
        let next = AtomicUsize::new(0);
        let done = Mutex::new((0, BTreeMap::new()));
        let is_clean = AtomicBool::new(true);
        print::line_or_end(Measured::HEAD);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(position) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|it| *it < cells.len())
                    {
                        let measured = cells[position].measure(self.seed, Nanos::from_millis(self.limit * 1000));
                        is_clean.fetch_and(measured.violation.is_none(), Ordering::Relaxed);
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
        is_clean.into_inner()
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
    arguments.shown().into_iter().for_each(shown::words);
    let is_clean = match &arguments.mode {
        Some(Mode::Curves(curves)) => curves.print(arguments.threads()),
        Some(Mode::Liveness) => arguments.liveness(),
        None if arguments.scenario.as_deref() == Some("list") => {
            for scenario in scenarios::ALL {
                print::line_or_end(format_args!("{:<28} {}", scenario.name, scenario.claim));
            }
            true
        }
        None => match arguments.scenario() {
            Ok(scenario) => arguments.safety(scenario),
            Err(why) => {
                print::reason(why);
                false
            }
        },
    };
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Arguments {
    fn threads(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // Events of two seeds would mix.
        let most = if self.trace { 1 } else { usize::MAX };
        self.threads.unwrap_or(cores).clamp(1, most)
    }

    fn scenario(&self) -> Result<Option<Scenario>, String> {
        let Some(name) = &self.scenario else { return Ok(None) };
        let known = scenarios::ALL.iter().find(|scenario| scenario.name == name);
        let known = known.ok_or_else(|| format!("no scenario {name}; `--scenario list` names them"));
        known.map(|scenario| Some(*scenario))
    }

    /// Runs seeds with faults, or a scenario's, and prints what came of them. Answers whether all is well.
    fn safety(&self, scenario: Option<Scenario>) -> bool {
        let shown = self.shown();
        let one = |seed: u64| match scenario {
            Some(scenario) => scenarios::report(scenario, seed, shown),
            None => run(RunConfig {
                shown,
                ..RunConfig::of(seed)
            }),
        };
        let script = scenario.map_or(String::new(), |it| format!(" --scenario {}", it.name));
        let mut totals = Totals::default();
        let mut is_clean = self.each_seed(&script, one, |report| {
            totals.add(&report);
            report
        });
        totals.print();
        for name in totals.faults.keys().filter(|name| !faults::is_listed(name)) {
            print::line_or_end(format_args!("FAILED {name} is counted and not listed among the faults"));
            is_clean = false;
        }
        let count = |class: &str| totals.faults.get(class).copied().unwrap_or(0);
        is_clean & self.happened_enough(faults::CLASSES.iter().map(|class| (*class, count(class))))
    }

    /// Runs liveness seeds, and prints the table of their classes. Answers whether all is well.
    fn liveness(&self) -> bool {
        let shown = self.shown();
        let (mut totals, mut table) = (Totals::default(), Table::default());
        let is_clean = self.each_seed(
            " liveness",
            |seed| liveness::run(seed, shown),
            |run: LivenessReport| {
                totals.add(&run.report);
                table.add(&run);
                run.report
            },
        );
        totals.print_runs();
        print::line_or_end(Table::head());
        table.lines().for_each(print::line_or_end);
        is_clean
            & self.happened_enough(
                FaultClass::ALL
                    .iter()
                    .map(|class| (class.name(), table.injected(*class))),
            )
    }

    /// Whether each class happened as often as was asked for.
    fn happened_enough(&self, classes: impl Iterator<Item = (&'static str, u64)>) -> bool {
        let least = self.at_least.unwrap_or(0);
        let mut is_enough = true;
        for (class, count) in classes.filter(|(_, count)| *count < least) {
            print::line_or_end(format_args!("FAILED {class} happened {count} times, not {least}"));
            is_enough = false;
        }
        is_enough
    }

    /// Runs `one` for each seed, in several threads, and prints what `add` makes of it. `mode` goes into the command
    /// that replays a seed. Answers whether all seeds ran clean.
    fn each_seed<T: Send>(
        &self,
        mode: &str,
        one: impl Fn(u64) -> T + Sync + std::panic::RefUnwindSafe,
        add: impl FnMut(T) -> RunReport + Send,
    ) -> bool {
        let replay = |seed: u64| {
            format!(
                "cargo run --release --bin ultramarine-sim --{mode} --seeds {seed}..{} --trace",
                seed + 1
            )
        };
        let next = AtomicU64::new(self.seeds.start);
        let failed = AtomicBool::new(false);
        let add = Mutex::new(add);
        std::thread::scope(|scope| {
            for _ in 0..self.threads() {
                scope.spawn(|| {
                    while let Some(seed) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|it| *it < self.seeds.end)
                    {
                        // The panic's own message is printed by then; whoever reads it needs the seed.
                        let Ok(done) = std::panic::catch_unwind(|| one(seed)) else {
                            failed.store(true, Ordering::Relaxed);
                            print::line_or_end(format_args!(
                                "seed {seed}\n  FAILED it panicked\n  replay: {}",
                                replay(seed)
                            ));
                            continue;
                        };
                        let mut add = add.lock().expect("no thread panics while it adds");
                        let report = add(done);
                        match &report.violation {
                            None if self.quiet => {}
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
        !failed.into_inner()
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

    fn print_runs(&self) {
        print::line_or_end(format_args!(
            "runs {} failures {} heights {} blobs {}",
            self.runs, self.failures, self.heights, self.blobs
        ));
    }

    fn print(&self) {
        self.print_runs();
        print::line_or_end(format_args!("faults injected:"));
        for (name, count) in &self.faults {
            print::line_or_end(format_args!("  {name:<24} {count}"));
        }
    }
}
