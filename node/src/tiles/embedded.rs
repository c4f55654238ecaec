//! This file knows how to run the embedded execution client beside the node that uses it, for development networks.
//!
//! The node talks to it over loopback exactly as to a client of another process.

use tokio_util::sync::CancellationToken;
use ultramarine_dev_el::DevElOptions;
use ultramarine_runtime::TileContext;

/// Threads it executes blocks and answers calls with.
const WORKERS: usize = 2;

/// Runs the client until the node halts.
pub fn run(ctx: &TileContext, options: DevElOptions) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("el-worker")
        .enable_all()
        .build()
        .map_err(|error| format!("no threads for the embedded execution client: {error}"))?;
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        let running = ultramarine_dev_el::run(options, cancel.clone())
            .await
            .map_err(|error| crate::program::causes(&error))?;
        tracing::info!(rpc = %running.http, engine = %running.auth, "embedded execution client is up");
        let mut stopped = std::pin::pin!(running.stopped());
        tokio::select! {
            ended = ctx.pulse.beside(&mut stopped) => ended.map_err(|error| crate::program::causes(&error)),
            () = ctx.halt.stopped() => {
                cancel.cancel();
                // It has no state worth waiting long for.
                let _ = tokio::time::timeout(std::time::Duration::from_secs(1), stopped).await;
                Ok(())
            }
        }
    })?;
    runtime.shutdown_background();
    Ok(())
}
