//! This file knows the execution client that this build has inside, for development networks.

use anyhow::Context;
use ultramarine_node::embedded::EmbeddedClient;

/// The client, if this build has one (feature `dev-el`).
pub const fn client() -> Option<EmbeddedClient> {
    #[cfg(feature = "dev-el")]
    return Some(ethrex::CLIENT);
    #[cfg(not(feature = "dev-el"))]
    None
}

/// The client, for what cannot be done without one.
pub fn required() -> anyhow::Result<EmbeddedClient> {
    client().context("this build has no embedded execution client; build with the feature `dev-el`")
}

#[cfg(feature = "dev-el")]
mod ethrex {
    use tokio_util::sync::CancellationToken;
    use ultramarine_dev_el::DevElOptions;
    use ultramarine_node::embedded::{EmbeddedClient, EmbeddedOptions};
    use ultramarine_runtime::TileContext;
    use ultramarine_types::Hash;

    use crate::program::causes;

    /// Threads it executes blocks and answers calls with.
    const WORKERS: usize = 2;

    pub const CLIENT: EmbeddedClient = EmbeddedClient { genesis_hash, run };

    fn genesis_hash(genesis: &serde_json::Value) -> Result<Hash, String> {
        ultramarine_dev_el::genesis_hash(genesis)
            .map(Hash)
            .map_err(|error| format!("{error:#}"))
    }

    fn run(ctx: &TileContext, options: EmbeddedOptions) -> Result<(), String> {
        let EmbeddedOptions {
            genesis,
            http,
            auth,
            jwt,
            wait_for_setup,
        } = options;
        let options = DevElOptions {
            genesis,
            http,
            auth,
            jwt,
            wait_for_setup,
        };
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
                .map_err(|error| causes(&error))?;
            tracing::info!(rpc = %running.http, engine = %running.auth, "embedded execution client is up");
            let mut stopped = std::pin::pin!(running.stopped());
            tokio::select! {
                ended = ctx.pulse.beside(&mut stopped) => ended.map_err(|error| causes(&error)),
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
}

#[cfg(all(test, feature = "dev-el"))]
mod tests {
    use ultramarine_node::genesis::execution::{self, GenesisOptions, execution_genesis};

    use super::*;

    #[test]
    fn the_client_inside_reads_what_a_chain_begins_with() {
        let client = required().expect("this build has one");
        let mut genesis = execution_genesis(&GenesisOptions {
            chain_id: 7,
            genesis_time: 1_700_000_000,
            blobs_per_block: 6,
            gas_limit: 36_000_000,
            prague_time: None,
            accounts: 1,
        });
        let ours = execution::genesis_hash(&genesis).expect("a genesis");
        assert_eq!((client.genesis_hash)(&genesis), Ok(ours));
        genesis["config"]["depositContractAddress"] = serde_json::Value::Null;
        let error = (client.genesis_hash)(&genesis).expect_err("it wants one");
        assert!(
            error.contains("depositContractAddress") || error.contains("null"),
            "{error}"
        );
    }
}
