//! This file knows the commands of `ultramarine`.

mod bench;
mod blob;
mod config;
mod dev_el;
mod devnet;
mod home;
mod init;
mod start;
mod testnet;
#[cfg(test)]
mod tests;
mod topology;
mod whole;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Print the tiles, links and cores a node would run with here
    Topology(topology::Args),
    /// Check or show a node's configuration
    #[command(subcommand)]
    Config(config::Action),
    /// Publish a file as blobs, or restore one
    #[command(subcommand)]
    Blob(blob::Action),
    /// Measure what this machine can do
    #[command(subcommand)]
    Bench(bench::Action),
    /// Run the embedded development execution client alone (in memory, for local networks)
    DevEl(dev_el::Args),
}

/// Runs the command line. Exit code 0: done; 1: failed, with the reason on standard error; 2: wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Devnet(args) => devnet::run(args),
        Command::Testnet(args) => testnet::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Start(args) => start::run(args),
        Command::Topology(args) => topology::run(&args),
        Command::Config(action) => config::run(&action),
        Command::Blob(action) => blob::run(action),
        Command::Bench(action) => bench::run(&action),
        Command::DevEl(args) => dev_el::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error. A second call changes nothing.
fn log_to_stderr(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::builder().parse_lossy(filter);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// A log filter in which the embedded execution client only speaks when something is wrong with itself, unless the operator
/// asks for more.
#[cfg(feature = "dev-el")]
fn quiet_engine(filter: &str) -> String {
    format!("{},{filter}", ultramarine_dev_el::LOG_DIRECTIVES)
}

/// Without an embedded execution client there is nothing to quieten.
#[cfg(not(feature = "dev-el"))]
fn quiet_engine(filter: &str) -> String {
    filter.to_owned()
}

/// A runtime for commands that are clients only.
fn client_runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
