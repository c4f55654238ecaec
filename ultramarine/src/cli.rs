//! This file knows the commands of `ultramarine`.

mod archive;
mod bench;
mod blob;
mod config;
mod dev_el;
mod devnet;
mod home;
mod init;
mod log_level;
mod metrics;
mod parent;
mod start;
mod store;
mod testnet;
#[cfg(test)]
mod tests;
mod top;
mod topology;
mod whole;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ultramarine_runtime::print::{self, Unprinted};
use ultramarine_runtime::signals::make_file_size_an_error;

use crate::log;

/// A validator node for chains whose blocks carry EIP-4844 blobs.
#[derive(Debug, Parser)]
#[command(
    name = "ultramarine",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = "Begin with `ultramarine devnet`: a local network of four validators with everything inside.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a local network of real validator processes under blob load; Ctrl-C stops it
    Devnet(devnet::Args),
    /// Write homes, keys, genesis and configuration for the validators of a new network
    Testnet(testnet::Args),
    /// Write the home of a full node that joins an existing network
    Init(init::Args),
    /// Run a node from its home directory
    Start(start::Args),
    /// Watch nodes live in the terminal: rounds, tiles, peers, client, disk, and what is wrong
    Top(top::Args),
    /// Say what a running node logs, or change it until the next start
    LogLevel(log_level::Args),
    /// Print the tiles, links and cores a node would run with here
    Topology(topology::Args),
    /// Check or show a node's configuration
    #[command(subcommand)]
    Config(config::Action),
    /// Fill an archive, look it over, or bring heights back from it
    #[command(subcommand)]
    Archive(archive::Action),
    /// Publish a file as blobs, or restore one
    #[command(subcommand)]
    Blob(blob::Action),
    /// Say what a node's store holds, or what is wrong with it
    #[command(subcommand)]
    Store(store::Action),
    /// Measure what this machine can do
    #[command(subcommand)]
    Bench(bench::Action),
    /// Print docs/METRICS.md, made of what a node registers
    #[command(hide = true)]
    MetricsReference,
    /// Run the embedded development execution client alone (in memory, for local networks)
    DevEl(dev_el::Args),
}

/// A command was given what it cannot be used on.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Misused(anyhow::Error);

/// Runs the command line. Exit code 0: done, or nobody reads what it prints any more; 1: failed, with the reason on
/// standard error; 2: wrong usage.
pub fn main() -> ExitCode {
    make_file_size_an_error();
    log::catch_panics();
    let result = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        // Help and version are answers, not mistakes.
        Err(answer) if !answer.use_stderr() => show(&answer),
        Err(mistake) => {
            // Whoever closed standard error has the exit code.
            let _ = mistake.print();
            return ExitCode::from(2);
        }
    };
    let code = match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if print::is_quiet(error.chain()) => ExitCode::SUCCESS,
        Err(error) => {
            log::reason(&crate::program::causes(&error));
            if error.is::<Misused>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    };
    print::finish();
    code
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Devnet(args) => devnet::run(args),
        Command::Testnet(args) => testnet::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Start(args) => start::run(args),
        Command::Top(args) => top::run(&args),
        Command::LogLevel(args) => log_level::run(&args),
        Command::Topology(args) => topology::run(&args),
        Command::Config(action) => config::run(&action),
        Command::Archive(action) => archive::run(&action),
        Command::Blob(action) => blob::run(action),
        Command::Store(action) => store::run(&action),
        Command::Bench(action) => bench::run(&action),
        Command::MetricsReference => metrics::run(),
        Command::DevEl(args) => dev_el::run(args),
    }
}

fn show(answer: &clap::Error) -> anyhow::Result<()> {
    let shown = answer.print().and_then(|()| std::io::stdout().flush());
    Ok(shown.map_err(Unprinted::from)?)
}

/// A runtime for commands that are clients only.
fn client_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
