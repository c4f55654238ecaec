//! This file knows `ultramarine dev-el`: the embedded execution client in a process of its own.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[cfg_attr(not(feature = "dev-el"), allow(dead_code))]
pub struct Args {
    /// The chain's execution-genesis.json
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// File with the secret shared with the node
    #[arg(long, value_name = "FILE")]
    jwt_secret: PathBuf,
    /// Port of the public JSON-RPC on loopback; 0 chooses a free one
    #[arg(long, value_name = "PORT", default_value_t = 8545)]
    http_port: u16,
    /// Port of the Engine API on loopback; 0 chooses a free one
    #[arg(long, value_name = "PORT", default_value_t = 8551)]
    auth_port: u16,
    /// What to log
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// Stop when the process with this id, which must be our parent, is gone
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

#[cfg(not(feature = "dev-el"))]
pub fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("this build has no embedded execution client; build with the feature `dev-el`")
}

#[cfg(feature = "dev-el")]
pub fn run(args: Args) -> anyhow::Result<()> {
    use std::net::{Ipv4Addr, SocketAddr};

    use anyhow::{Context, ensure};
    use tokio_util::sync::CancellationToken;
    use ultramarine_dev_el::DevElOptions;
    use ultramarine_runtime::print;
    use ultramarine_runtime::signals::Signal;

    use ultramarine_node::signals::Signals;

    if let Some(parent) = args.parent {
        super::parent::end_with(parent, Signal::KILL)?;
    }
    crate::log::start(&args.log)?;
    ensure!(
        args.http_port == 0 || args.http_port != args.auth_port,
        "--http-port and --auth-port are both {}: give each a port of its own",
        args.http_port
    );
    ultramarine_node::signals::keep_ignored().context("cannot take over signals")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    let text = std::fs::read(&args.genesis).with_context(|| format!("cannot read {}", args.genesis.display()))?;
    let genesis = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", args.genesis.display()))?;
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = DevElOptions {
        genesis,
        http: loopback(args.http_port),
        auth: loopback(args.auth_port),
        jwt: ultramarine_node::keys::read_secret(&args.jwt_secret)?,
        wait_for_setup: false,
    };
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let running = ultramarine_dev_el::run(options, cancel.clone())
            .await
            .map_err(name_flag)?;
        print::line(format_args!(
            "JSON-RPC http://{}\nEngine API http://{}",
            running.http, running.auth
        ))?;
        tokio::select! {
            ended = running.stopped() => ended,
            why = signals.asked() => {
                tracing::info!("{why}: stopping");
                signals.let_another_end_it();
                Ok(())
            }
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Says which of our flags holds an address that cannot be had.
#[cfg(feature = "dev-el")]
fn name_flag(error: anyhow::Error) -> anyhow::Error {
    use ultramarine_dev_el::{ListenError, Service};

    let Some(ListenError {
        service,
        address,
        source,
    }) = error.downcast_ref()
    else {
        return error;
    };
    let flag = match service {
        Service::JsonRpc => "--http-port",
        Service::EngineApi => "--auth-port",
    };
    match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("{address} is in use by another process; stop it, or choose another port with {flag}")
        }
        _ => anyhow::anyhow!("{address} cannot be listened on for {service}: {source}; see {flag}"),
    }
}
