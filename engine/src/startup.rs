//! This file knows when an execution client is the right one to work with, and waits for one that is not there yet.

use std::time::Duration;

use hyper::StatusCode;
use ultramarine_types::Hash;

use crate::call::{CallError, Code};
use crate::client::{Client, Method};
use crate::ipc::IpcError;

/// First pause between two attempts. It doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause: we find a client within this time after it comes up.
const PAUSE_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(PAUSE_MIN.as_millis() < PAUSE_MAX.as_millis());

/// A client that takes longer than this to come up is worth a warning.
const LONG: Duration = Duration::from_secs(10);

/// What our chain expects of its execution client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpectedChain {
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
        "the execution client at {address} refuses our JWT ({what}): give both the same secret file \
         (engine.jwt_secret here), and check that both clocks are right to within a minute"
    )]
    Unauthorized { address: String, what: String },
    /// It runs another chain.
    #[error(
        "the execution client at {address} runs chain id {found}, this chain has {expected}: \
         start it with this node's execution-genesis.json and an empty data directory"
    )]
    ChainId { address: String, expected: u64, found: u64 },
    /// It began from another block.
    #[error(
        "the execution client at {address} has genesis {found}, this chain has {expected}: \
         start it with this node's execution-genesis.json and an empty data directory"
    )]
    Genesis {
        address: String,
        expected: Hash,
        found: Hash,
    },
    /// It cannot do what we need.
    #[error("the execution client at {address} does not support {methods}: use a version that does")]
    Unsupported { address: String, methods: String },
    /// The port is an execution client's, and not the one for us.
    #[error(
        "{address} knows no Engine API ({what}): it looks like the execution client's public RPC port. Give the \
         authenticated port (--authrpc.port of geth, reth and ethrex, 8551 unless changed) with engine.url or --engine"
    )]
    PublicPort { address: String, what: String },
    /// It answers, but nothing like an execution client would.
    #[error("what answers at {address} is no Engine API ({what}): check engine.url, it must be the authenticated port")]
    Stranger { address: String, what: String },
}

/// How one attempt ended.
#[derive(Debug)]
enum Attempt {
    /// Nobody is there, or the client is not ready: we try again.
    Away(CallError),
    /// The wrong client: waiting does not help.
    Refused(StartError),
}

/// Waits until the client answers, and checks that it is the right one. The log says what we wait for, and again when
/// that changes. `away` hears of every failed attempt.
pub async fn wait(client: &Client, expected: &ExpectedChain, away: impl Fn(&str)) -> Result<(), StartError> {
    let mut pause = PAUSE_MIN;
    let (mut told, started) = (None, tokio::time::Instant::now());
    loop {
        match attempt(client, expected).await {
            Ok(()) => {
                let (address, limit) = (client.address(), client.timeout());
                tracing::info!("the execution client at {address} is up and on our chain; a call may take {limit:?}");
                return Ok(());
            }
            Err(Attempt::Refused(error)) => return Err(error),
            Err(Attempt::Away(error)) => {
                let why = error.to_string();
                away(&why);
                // Node and client may start together, so a short wait is no reason to warn.
                let news = (error.kind(), started.elapsed() >= LONG);
                let address = client.address();
                match (told.replace(news) == Some(news), news.1) {
                    (true, _) => tracing::debug!("still waiting for {address}: {why}"),
                    (false, false) => tracing::info!("waiting for the execution client at {address}: {why}"),
                    (false, true) => tracing::warn!("still waiting for the execution client at {address}: {why}"),
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn attempt(client: &Client, expected: &ExpectedChain) -> Result<(), Attempt> {
    let address = client.address();
    let judge = |method: Method| {
        let address = &address;
        move |error| judge(address, method, error)
    };
    let needed = needed(expected.prague);
    let names: Vec<&str> = needed.iter().map(|method| method.name()).collect();
    let offered = client.exchange_capabilities(&names).await;
    let offered = offered.map_err(judge(Method::ExchangeCapabilities))?;
    let missing: Vec<&str> = names
        .into_iter()
        .filter(|name| !offered.iter().any(|offer| offer == name))
        .collect();
    if !missing.is_empty() {
        return Err(Attempt::Refused(StartError::Unsupported {
            address,
            methods: missing.join(", "),
        }));
    }
    let found = client.chain_id().await.map_err(judge(Method::ChainId))?;
    if found != expected.chain_id {
        return Err(Attempt::Refused(StartError::ChainId {
            address,
            expected: expected.chain_id,
            found,
        }));
    }
    let genesis = client.block("0x0").await;
    let genesis = genesis.map_err(judge(Method::GetBlockByNumber))?;
    match genesis.map(|block| block.hash) {
        Some(found) if found != expected.genesis_hash => Err(Attempt::Refused(StartError::Genesis {
            address,
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

fn judge(address: &str, method: Method, error: CallError) -> Attempt {
    let address = address.to_owned();
    let stranger = |what: String| {
        let address = address.clone();
        Attempt::Refused(StartError::Stranger { address, what })
    };
    match error {
        CallError::Unauthorized(what) => Attempt::Refused(StartError::Unauthorized { address, what }),
        // Every Engine API has this method. A server that does not know it is something else.
        CallError::Rpc {
            code: Code::MethodNotFound,
            message,
        } if method == Method::ExchangeCapabilities => {
            Attempt::Refused(StartError::PublicPort { address, what: message })
        }
        CallError::Rpc {
            code: Code::MethodNotFound,
            message,
        } => Attempt::Refused(StartError::Unsupported {
            address,
            methods: format!("{} there ({message})", method.name()),
        }),
        CallError::Answer(what) => stranger(what),
        CallError::Status { status, .. } if is_worth_waiting_for(status) => Attempt::Away(error),
        CallError::Status { .. } | CallError::Ipc(IpcError::Foreign(_) | IpcError::Oversize { .. }) => {
            stranger(error.to_string())
        }
        CallError::Http(ref http) if http.is_foreign() => stranger(error.to_string()),
        CallError::Http(_) | CallError::Ipc(_) | CallError::Timeout { .. } | CallError::Rpc { .. } => {
            Attempt::Away(error)
        }
    }
}

/// Whether the status may soon be another one: a client may be starting behind a proxy, or a server may be too busy.
fn is_worth_waiting_for(status: StatusCode) -> bool {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
        _ => status.is_server_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(error: CallError) -> Option<StartError> {
        match judge("here", Method::ExchangeCapabilities, error) {
            Attempt::Refused(error) => Some(error),
            Attempt::Away(_) => None,
        }
    }

    fn status(status: u16, what: &str) -> CallError {
        CallError::Status {
            status: StatusCode::from_u16(status).expect("a status"),
            what: what.to_owned(),
        }
    }

    fn rpc(code: Code, message: &str) -> CallError {
        CallError::Rpc {
            code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_client_that_is_not_there_is_waited_for_and_a_wrong_one_is_not() {
        let timeout = CallError::Timeout {
            method: "m",
            after: Duration::ZERO,
        };
        let away = [408, 425, 429, 500, 502, 503, 504].map(|code| status(code, "busy"));
        for error in away.into_iter().chain([timeout, rpc(Code::Internal, "")]) {
            let text = error.to_string();
            assert_eq!(judged(error), None, "{text}");
        }
        let strange = [301, 307, 400, 403, 404, 405, 413, 415, 501, 505].map(|code| status(code, "`<html>`"));
        let page = CallError::Answer("HTTP 200 OK with `<html>`".to_owned());
        for error in strange.into_iter().chain([page]) {
            let text = error.to_string();
            let refused = judged(error).unwrap_or_else(|| panic!("{text}")).to_string();
            assert!(
                refused.contains("engine.url") && refused.contains("`<html>`"),
                "{refused}"
            );
            assert!(refused.contains("HTTP ") && !refused.contains("JWT"), "{refused}");
        }
    }

    #[test]
    fn a_refused_token_and_a_public_port_are_told_apart() {
        let refused = judged(CallError::Unauthorized("HTTP 401".to_owned()))
            .expect("refused")
            .to_string();
        assert!(
            refused.contains("JWT") && refused.contains("engine.jwt_secret"),
            "{refused}"
        );
        let refused = judged(rpc(
            Code::MethodNotFound,
            "Method not found: engine_exchangeCapabilities",
        ))
        .expect("refused")
        .to_string();
        assert!(
            refused.contains("public RPC port") && refused.contains("8551") && refused.contains("--engine"),
            "{refused}"
        );
        let Attempt::Refused(refused) = judge("here", Method::ChainId, rpc(Code::MethodNotFound, "no")) else {
            panic!("it is no client of ours")
        };
        assert!(
            refused.to_string().contains("does not support eth_chainId"),
            "{refused}"
        );
    }

    #[test]
    fn prague_needs_more_of_a_client() {
        assert!(!needed(false).contains(&Method::NewPayloadV4));
        assert!(needed(true).contains(&Method::NewPayloadV4) && needed(true).contains(&Method::GetPayloadV4));
    }
}
