//! This file knows when an execution client is the right one to work with, and waits for one that is not there yet.

use std::time::Duration;

use ultramarine_types::Hash;

use super::call::{CallError, Code};
use super::client::{Client, Method};

/// First pause between two attempts; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause: a client that comes up is found within this.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What our chain expects of its execution client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of the execution genesis block.
    pub genesis_hash: Hash,
    /// Whether the chain ever reaches Prague.
    pub prague: bool,
}

/// Why the node does not start with this client. Waiting does not help; the text says what does.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StartError {
    /// Its secret is not ours.
    #[error(
        "the execution client at {place} refuses our JWT ({what}): give both the same secret file \
         (engine.jwt_secret here), and check that both clocks are right to within a minute"
    )]
    Unauthorized {
        /// Where.
        place: String,
        /// What it said.
        what: String,
    },
    /// It runs another chain.
    #[error(
        "the execution client at {place} runs chain id {found}, this chain has {expected}: \
         start it with this node's execution-genesis.json and an empty data directory"
    )]
    ChainId {
        /// Where.
        place: String,
        /// Ours.
        expected: u64,
        /// Its own.
        found: u64,
    },
    /// It began from another block.
    #[error(
        "the execution client at {place} has genesis {found}, this chain has {expected}: \
         start it with this node's execution-genesis.json and an empty data directory"
    )]
    Genesis {
        /// Where.
        place: String,
        /// Ours.
        expected: Hash,
        /// Its own.
        found: Hash,
    },
    /// It cannot do what we need.
    #[error("the execution client at {place} does not support {methods}: use a version that does")]
    Unsupported {
        /// Where.
        place: String,
        /// What is missing.
        methods: String,
    },
    /// It answers, but nothing like an execution client would.
    #[error("what answers at {place} is no Engine API ({what}): check engine.url, it must be the authenticated port")]
    Stranger {
        /// Where.
        place: String,
        /// What it said.
        what: String,
    },
}

/// How one attempt ended.
#[derive(Debug)]
enum Attempt {
    /// Nobody there, or not ready: try again.
    Away(CallError),
    /// The wrong client.
    Refused(StartError),
}

/// Waits until the client answers, and checks that it is the right one. One line says what is waited for.
pub async fn wait(client: &Client, expected: &Expected) -> Result<(), StartError> {
    let mut pause = PAUSE_MIN;
    let mut told = false;
    loop {
        match attempt(client, expected).await {
            Ok(()) => {
                tracing::info!("the execution client at {} is up and on our chain", client.place());
                return Ok(());
            }
            Err(Attempt::Refused(error)) => return Err(error),
            Err(Attempt::Away(error)) if !told => {
                told = true;
                tracing::warn!("waiting for the execution client at {}: {error}", client.place());
            }
            Err(Attempt::Away(error)) => tracing::debug!("still waiting for {}: {error}", client.place()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn attempt(client: &Client, expected: &Expected) -> Result<(), Attempt> {
    let place = client.place();
    let judge = |error| judge(&place, error);
    let needed = needed(expected.prague);
    let names: Vec<&str> = needed.iter().map(|method| method.name()).collect();
    let offered = client.exchange_capabilities(&names).await.map_err(judge)?;
    let missing: Vec<&str> = names
        .into_iter()
        .filter(|name| !offered.iter().any(|offer| offer == name))
        .collect();
    if !missing.is_empty() {
        return Err(Attempt::Refused(StartError::Unsupported {
            place,
            methods: missing.join(", "),
        }));
    }
    let found = client.chain_id().await.map_err(judge)?;
    if found != expected.chain_id {
        return Err(Attempt::Refused(StartError::ChainId {
            place,
            expected: expected.chain_id,
            found,
        }));
    }
    let genesis = client.block("0x0").await.map_err(judge)?;
    match genesis.map(|block| block.hash) {
        Some(found) if found != expected.genesis_hash => Err(Attempt::Refused(StartError::Genesis {
            place,
            expected: expected.genesis_hash,
            found,
        })),
        Some(_) => Ok(()),
        // A client that is still opening its database may have no block yet.
        None => Err(Attempt::Away(CallError::Answer(
            "it has no genesis block yet".to_owned(),
        ))),
    }
}

fn needed(prague: bool) -> Vec<Method> {
    let mut methods = vec![Method::ForkchoiceUpdatedV3, Method::GetPayloadV3, Method::NewPayloadV3];
    if prague {
        methods.extend([Method::GetPayloadV4, Method::NewPayloadV4]);
    }
    methods
}

fn judge(place: &str, error: CallError) -> Attempt {
    let place = place.to_owned();
    match error {
        CallError::Unauthorized(what) => Attempt::Refused(StartError::Unauthorized { place, what }),
        CallError::Rpc {
            code: Code::MethodNotFound,
            message,
        } => Attempt::Refused(StartError::Unsupported {
            place,
            methods: message,
        }),
        CallError::Answer(what) => Attempt::Refused(StartError::Stranger { place, what }),
        CallError::Status(status) if status.is_client_error() => Attempt::Refused(StartError::Stranger {
            place,
            what: format!("HTTP {status}"),
        }),
        CallError::Http(_)
        | CallError::Ipc(_)
        | CallError::Timeout { .. }
        | CallError::Status(_)
        | CallError::Rpc { .. } => Attempt::Away(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(error: CallError) -> Option<StartError> {
        match judge("here", error) {
            Attempt::Refused(error) => Some(error),
            Attempt::Away(_) => None,
        }
    }

    #[test]
    fn a_client_that_is_not_there_is_waited_for_and_a_wrong_one_is_not() {
        assert_eq!(
            judged(CallError::Timeout {
                method: "m",
                after: Duration::ZERO
            }),
            None
        );
        assert_eq!(judged(CallError::Status(hyper::StatusCode::BAD_GATEWAY)), None);
        assert_eq!(
            judged(CallError::Rpc {
                code: Code::Internal,
                message: String::new()
            }),
            None
        );
        let refused = judged(CallError::Unauthorized("HTTP 401".to_owned()))
            .expect("refused")
            .to_string();
        assert!(
            refused.contains("JWT") && refused.contains("engine.jwt_secret"),
            "{refused}"
        );
        let refused = judged(CallError::Rpc {
            code: Code::MethodNotFound,
            message: "eth_chainId".to_owned(),
        });
        assert!(matches!(refused, Some(StartError::Unsupported { .. })));
        assert!(
            judged(CallError::Status(hyper::StatusCode::NOT_FOUND))
                .is_some_and(|error| error.to_string().contains("engine.url"))
        );
    }

    #[test]
    fn prague_needs_more_of_a_client() {
        assert!(!needed(false).contains(&Method::NewPayloadV4));
        assert!(needed(true).contains(&Method::NewPayloadV4) && needed(true).contains(&Method::GetPayloadV4));
    }
}
