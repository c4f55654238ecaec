//! This file knows what a node answers while it opens its data directory: how far it is, and that nothing else is to be
//! had yet.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower_http::limit::RequestBodyLimitLayer;
use ultramarine_runtime::Registry;

use crate::http::metrics::Told;
use crate::http::{BODY_BYTES_MAX, error};
use crate::opening::DirectoryOpening;

/// When a caller should try again, in seconds.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

#[derive(Clone)]
struct OpeningState {
    opening: DirectoryOpening,
    registry: Arc<Registry>,
}

/// All routes. Each answer ends its connection: the next request is the open node's.
pub fn router(opening: DirectoryOpening, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .fallback(refuse)
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .layer(map_response(async |response: Response| {
            let mut response = error::in_json(response);
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }))
        .with_state(OpeningState { opening, registry })
}

async fn metrics(State(state): State<OpeningState>) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        state.registry.render(),
    )
}

async fn health(State(state): State<OpeningState>) -> impl IntoResponse {
    unavailable(json!({ "ready": false, "reasons": [state.opening.words()], "conditions": [] }))
}

/// `/status` and all else.
async fn refuse(State(state): State<OpeningState>) -> impl IntoResponse {
    unavailable(json!({
        "code": StatusCode::SERVICE_UNAVAILABLE.as_u16(),
        "message": format!("{}; try again", state.opening.words()),
        "opening": state.opening.status(),
    }))
}

fn unavailable(body: Value) -> impl IntoResponse {
    let retry_after = [(RETRY_AFTER, RETRY_AFTER_S)];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after, Told, Json(body))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use ultramarine_runtime::halt::{Halt, Reason};
    use ultramarine_runtime::{Clock, Registry};

    use super::*;
    use crate::http::hosts::HostNames;
    use crate::http::serve_from_the_start;
    use crate::http::server::{BeforeState, ServerLimits};
    use crate::http::tests::state;

    /// Longest wait for what comes at once on an idle machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("it listens")
    }

    /// Reads to the end.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        let reading = stream.read_to_string(&mut text);
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.expect("the connection ends").expect("text");
        text
    }

    async fn get(address: SocketAddr, path: &str) -> (String, String) {
        exchange(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await
    }

    async fn exchange(address: SocketAddr, request: &str) -> (String, String) {
        let mut stream = connect(address).await;
        stream.write_all(request.as_bytes()).await.expect("sends");
        let text = rest(&mut stream).await;
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        (head.to_lowercase(), body.to_owned())
    }

    /// Another's name, another method, and a body are refused in JSON.
    async fn refuses_as_an_open_node_does(address: SocketAddr) {
        for (request, code, said) in [
            (
                "GET /health HTTP/1.1\r\nhost: evil.example\r\nconnection: close",
                403,
                "`evil.example`",
            ),
            ("POST /metrics HTTP/1.1\r\nhost: localhost", 405, "GET or HEAD"),
            (
                "GET /status HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2000",
                413,
                "no request here has use for a body",
            ),
        ] {
            let (head, body) = exchange(address, &format!("{request}\r\n\r\n")).await;
            assert!(head.starts_with(&format!("http/1.1 {code} ")), "{request}: {head}");
            assert!(head.contains("content-type: application/json"), "{request}: {head}");
            let body: Value = serde_json::from_str(&body).expect("JSON");
            let message = body["message"].as_str().expect("a text");
            assert!(body["code"] == code && message.contains(said), "{request}: {body}");
        }
    }

    #[tokio::test]
    async fn a_node_that_opens_its_directory_says_how_far_it_is_and_then_answers_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (halt, registry) = (Halt::new(), Registry::new());
        let opening = DirectoryOpening::begin(Clock::start());
        let before = BeforeState {
            opening: opening.clone(),
            hosts: HostNames::default(),
            registry: Arc::clone(&registry),
        };
        let (give_state, given) = oneshot::channel();
        let serving = serve_from_the_start(listener, before, given, ServerLimits::default(), halt.clone());
        let serving = tokio::spawn(serving);

        let (_, body) = get(address, "/health").await;
        assert!(
            body.contains(r#"["opening the data directory"]"#),
            "nothing is read yet: {body}"
        );
        opening.observe(3_000_000, 12_000_000);
        let (head, body) = get(address, "/health").await;
        assert!(
            head.starts_with("http/1.1 503 ") && head.contains("retry-after: 1"),
            "{head}"
        );
        let words = "opening the data directory: 3.0 of 12.0 MB, time left unknown";
        assert!(body.contains(words) && body.contains(r#""ready":false"#), "{body}");
        for path in ["/status", "/eth/v1/beacon/headers/head"] {
            let (head, body) = get(address, path).await;
            let body: Value = serde_json::from_str(&body).expect("JSON");
            let expected = json!({ "bytes": 3_000_000, "all_bytes": 12_000_000, "seconds_left": null });
            assert!(head.starts_with("http/1.1 503 "), "{path}: {head}");
            assert_eq!((&body["opening"], &body["code"]), (&expected, &json!(503)), "{path}");
            assert_eq!(body["message"], format!("{words}; try again"), "{path}");
        }
        refuses_as_an_open_node_does(address).await;
        let (head, body) = get(address, "/metrics").await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        let told = "ultramarine_http_requests_total{answer=\"ok\"} 4\n";
        assert!(
            body.contains(told),
            "an answer that says how it is is no failure: {body}"
        );

        let mut early = connect(address).await;
        opening.end();
        assert_eq!(opening.status(), None);
        let state = state(3);
        assert!(give_state.send(state).is_ok(), "the server waits for it");
        let request = "GET /status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let is_whole = |answer: &str| answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"height\"");
        // Who came before the server took the state is told to try again.
        let asking = async {
            loop {
                let mut late = connect(address).await;
                late.write_all(request.as_bytes()).await.expect("sends");
                let answer = rest(&mut late).await;
                if is_whole(&answer) {
                    return;
                }
                assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("it answers all");
        // Who connected early comes again, or was not accepted before.
        let mut answer = Vec::new();
        let asking = async {
            early.write_all(request.as_bytes()).await?;
            early.read_to_end(&mut answer).await
        };
        let _ = tokio::time::timeout(PATIENCE, asking).await.expect("it ends");
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.is_empty() || is_whole(&answer), "{answer}");

        halt.stop(Reason::Asked);
        tokio::time::timeout(PATIENCE, serving)
            .await
            .expect("it ends")
            .expect("without a panic");
    }
}
