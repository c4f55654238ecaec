//! This file knows the scenario `devnet`: a local network of validators under blob load, watched to its last height.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use ultramarine_runtime::{outlet, print};
use ultramarine_types::limits;

use crate::figures::{Figures, Setting};
use crate::folder::{self, FolderUse, ReportFolder};
use crate::machine::MachineFacts;
use crate::outcome::Outcome;
use crate::report::{self, Run};
use crate::watch::{DevnetWatch, Seenings};
use crate::{figures, hgrm, stages};

/// How often the nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A local network under blob load.
#[derive(clap::Args, Debug)]
pub struct PerfOptions {
    /// Validators of the network
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=limits::VALIDATORS_MAX as i64))]
    validators: u32,
    /// Height at which the run ends
    #[arg(long, default_value_t = 40)]
    until_height: u64,
    /// Most blobs a block, written into the chain's genesis
    #[arg(
        long,
        default_value_t = limits::BLOBS_PER_BLOCK_MIN,
        value_parser = clap::value_parser!(u32)
            .range(limits::BLOBS_PER_BLOCK_MIN as i64..=limits::BLOBS_PER_BLOCK_MAX as i64)
    )]
    blobs_per_block: u32,
    /// File, or folder of files, to publish round and round [default: fresh blobs, none of which comes twice]
    #[arg(long)]
    blobs: Option<PathBuf>,
    /// Make the same fresh blobs as another run with this seed [default: a random one]
    #[arg(long, conflicts_with = "blobs")]
    seed: Option<u64>,
    /// Run the network so many times, each from its beginning, and print medians beside the runs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Which I/O the nodes use
    #[arg(long, default_value = "auto", value_parser = ["auto", "uring", "fallback"])]
    io: String,
    /// Where the report, the .hgrm files and the nodes' homes (in net) go; only what an earlier run wrote there is
    /// replaced
    #[arg(long, default_value = "perf-report")]
    out: PathBuf,
    /// The node to run; by default the one built beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs the network, as often as asked for, and writes a report of each run and the figures of all.
pub fn run(options: &PerfOptions) -> Result<()> {
    let out = std::path::absolute(&options.out).context("finding the folder of --out")?;
    ensure!(
        out.to_str().is_some(),
        "--out {}: this path is not UTF-8, and the devnet could not write it into its devnet.json",
        out.display()
    );
    let planned = planned(&out, options.runs);
    // Before anything runs: it may take long, and find this only then.
    for (folder, usage) in &planned {
        folder::check(folder, *usage)?;
    }
    let beside = std::env::current_exe()
        .context("finding this program")?
        .with_file_name("ultramarine");
    let binary = find_binary(options.binary.as_deref(), std::env::var_os("CARGO"), &beside)?;
    let mut folders = Vec::with_capacity(planned.len());
    for (folder, usage) in &planned {
        folders.push(ReportFolder::claim(folder, *usage)?);
    }
    let mut all = Vec::new();
    let mut disagreed = Vec::new();
    let first_run = folders.len().saturating_sub(options.runs as usize);
    for (number, folder) in (1..).zip(&mut folders[first_run..]) {
        let title = match options.runs {
            1 => String::new(),
            runs => format!(", run {number} of {runs}"),
        };
        let run = run_once(options, &binary, folder, &title)?;
        let figures = Figures::of(options.blobs_per_block, &run.outcome, &run.seen);
        all.push(Figures {
            setting: run.setting,
            ..figures
        });
        if !run.outcome.agreement {
            disagreed.push(folder.path().join(folder::REPORT).display().to_string());
        }
    }
    let text = serde_json::to_string_pretty(&all).context("figures have a JSON form")? + "\n";
    let path = folders[0].write(folder::FIGURES, &text)?;
    print::line(format_args!("\n{}\nfigures: {}", figures::tables(&all), path.display()))?;
    if !disagreed.is_empty() {
        bail!("the nodes did not agree on every height: see {}", disagreed.join(", "));
    }
    Ok(())
}

/// The folders of so many runs. The first is that of the figures, which is also that of a single run.
fn planned(out: &Path, runs: u32) -> Vec<(PathBuf, FolderUse)> {
    if runs == 1 {
        return vec![(out.to_owned(), FolderUse::Whole)];
    }
    let runs = runs as usize;
    let of_runs = (1..=runs).map(|number| (folder::of_run(out, number, runs), FolderUse::Run));
    std::iter::once((out.to_owned(), FolderUse::Figures))
        .chain(of_runs)
        .collect()
}

/// Runs the network once and writes its report into `out`.
fn run_once(options: &PerfOptions, binary: &Path, out: &mut ReportFolder, title: &str) -> Result<Run> {
    let net = out.fresh_net()?;
    let arguments = arguments(options, &net)?;
    let command = command_line(binary, &arguments);
    print::note(format_args!("running {command}"));
    let (outcome, seen, seconds) = watch_to_the_end(binary, &arguments, out, &net, options.until_height)?;

    let all = seen.stages();
    for (stage, histogram) in all.iter() {
        out.write(&folder::hgrm_name(stage), &hgrm::render(histogram))?;
    }
    out.write(folder::HISTOGRAMS, &all.to_json()?)?;
    let run = Run {
        title: format!(
            "{} validators, {} blobs a block{title}",
            options.validators, options.blobs_per_block
        ),
        setting: Setting {
            command,
            machine: MachineFacts::read(),
            version: version_of(binary),
            io: options.io.clone(),
            finished_unix: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
        },
        load: outcome.load.line(),
        seconds,
        outcome,
        seen,
    };
    let path = out.write(folder::REPORT, &report::render(&run))?;
    let commit = stages::quantile_ns(&all, ultramarine_types::Stage::Commit, 0.5).map_or(0.0, |ns| ns as f64 / 1e6);
    print::line(format_args!(
        "{} heights, {} blobs, agreement {}, commit p50 {commit:.1} ms\nreport: {report}",
        run.outcome.heights,
        run.outcome.blobs,
        run.outcome.agreement,
        report = path.display()
    ))
    .with_context(|| format!("{} is written; only this was not printed", path.display()))?;
    Ok(run)
}

/// The devnet's arguments for these options.
fn arguments(options: &PerfOptions, net: &Path) -> Result<Vec<OsString>> {
    // Apart, what a node costs and what its client costs are known each by itself.
    let mut arguments: Vec<OsString> = vec!["devnet".into(), "--json".into(), "--separate-clients".into()];
    let mut flag = |name: &str, value: OsString| arguments.extend([name.into(), value]);
    flag("--validators", options.validators.to_string().into());
    flag("--until-height", options.until_height.to_string().into());
    flag("--blobs-per-block", options.blobs_per_block.to_string().into());
    flag("--io", options.io.clone().into());
    if let Some(blobs) = &options.blobs {
        let path = blobs.canonicalize();
        flag(
            "--blobs",
            path.with_context(|| format!("finding {}", blobs.display()))?.into(),
        );
    }
    if let Some(seed) = options.seed {
        flag("--seed", seed.to_string().into());
    }
    flag("--dir", net.into());
    Ok(arguments)
}

fn command_line(binary: &Path, arguments: &[OsString]) -> String {
    let words = std::iter::once(binary.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Starts the devnet and looks at its nodes until it ends; its result, what was seen, and how long it took.
fn watch_to_the_end(
    binary: &Path,
    arguments: &[OsString],
    out: &mut ReportFolder,
    net: &Path,
    until_height: u64,
) -> Result<(Outcome, Seenings, f64)> {
    // Its output goes to files: a pipe that nobody reads for a second would hold it up.
    let (stdout, printed) = out.create(folder::PRINTED)?;
    let (stderr, said) = out.create(folder::SAID)?;
    let started = std::time::Instant::now();
    let child = Command::new(binary)
        .args(arguments)
        // However this program ends, the network ends with it.
        .args(["--parent", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(printed)
        .stderr(said)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))?;
    let mut child = Running(child);
    let devnet_json = net.join("devnet.json");
    let mut watch = DevnetWatch::new();
    let status = loop {
        if let Some(status) = child.0.try_wait().context("waiting for the devnet")? {
            break status;
        }
        watch.look(&devnet_json);
        if let Some(height) = watch.height() {
            outlet::stderr().push(format!("\rheight {height} of {until_height} ").into_bytes());
        }
        std::thread::sleep(LOOK_EVERY);
    };
    print::note("");
    let seconds = started.elapsed().as_secs_f64();
    let printed = fs::read_to_string(&stdout).with_context(|| format!("reading {}", stdout.display()))?;
    match Outcome::find(&printed) {
        Some(outcome) if status.success() => Ok((outcome, watch.finish(), seconds)),
        Some(_) => bail!("{}", failure(&status.to_string(), &stderr)),
        None => bail!("{}", failure(&format!("{status} and without a result"), &stderr)),
    }
}

/// Ends the devnet when the watcher stops early: its nodes end with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn failure(end: &str, stderr: &Path) -> String {
    let text = fs::read_to_string(stderr).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(12)..];
    format!(
        "the devnet ended with {end}; the end of {}:\n{}",
        stderr.display(),
        tail.join("\n")
    )
}

/// The node to run: as told, or built beside this program. Run by cargo, it is built first, or it might be an old one.
fn find_binary(told: Option<&Path>, cargo: Option<OsString>, beside: &Path) -> Result<PathBuf> {
    if let Some(path) = told {
        return path
            .canonicalize()
            .with_context(|| format!("finding {}", path.display()));
    }
    if let Some(cargo) = cargo {
        // The folder of a profile has its name, except the one of `dev`.
        let folder = beside.parent().and_then(Path::file_name).unwrap_or_default();
        let profile = if folder == "debug" { "dev".as_ref() } else { folder };
        let mut build = Command::new(cargo);
        build
            .args(["build", "--bin", "ultramarine", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
            .arg("--profile")
            .arg(profile);
        // What cargo says of this package makes build scripts of others run again, and all that depends on them be
        // compiled.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(&name);
            }
        }
        let status = build.status().context("starting cargo")?;
        if !status.success() {
            bail!("cargo could not build the node ({status}): see above, or name one with --binary");
        }
    }
    if !beside.exists() {
        bail!(
            "{} does not exist: run `cargo build --release` first, or name the node with --binary",
            beside.display()
        );
    }
    Ok(beside.to_owned())
}

fn version_of(binary: &Path) -> String {
    let output = Command::new(binary).arg("--version").output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests;
