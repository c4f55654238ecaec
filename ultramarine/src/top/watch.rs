//! This file knows how to ask a node for its live view, over and over.

use std::time::Duration;

use anyhow::{Context, ensure};
use hyper::StatusCode;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use ultramarine_engine::foreign::quoted;
use ultramarine_engine::http::HttpClient;
use ultramarine_node::http::live::{LIVE, Live};

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes of an answer: with as many peers as a node may have it is 150 kB.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A node to be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeAddress {
    /// What it is called here, before it says its own name.
    pub name: String,
    pub url: String,
}

/// What came of asking a node.
pub type Reading = Result<Box<Live>, String>;

/// Asks once.
pub async fn ask_once(node: &NodeAddress) -> Reading {
    match client(node) {
        Ok(client) => ask(&client, ANSWER_TIMEOUT).await,
        Err(why) => Err(why),
    }
}

/// Asks every `every`, and tells what came of it, until nobody listens.
pub async fn keep_asking(number: usize, node: NodeAddress, every: Duration, told: mpsc::Sender<(usize, Reading)>) {
    let client = match client(&node) {
        Ok(client) => client,
        Err(why) => {
            let _ = told.send((number, Err(why))).await;
            return;
        }
    };
    let mut turns = tokio::time::interval_at(Instant::now(), every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if told.send((number, ask(&client, ANSWER_TIMEOUT).await)).await.is_err() {
            return;
        }
    }
}

fn client(node: &NodeAddress) -> Result<HttpClient, String> {
    HttpClient::new(&node.url, ANSWER_BYTES_MAX).map_err(|error| format!("{}: {error}", node.url))
}

async fn ask(client: &HttpClient, timeout: Duration) -> Reading {
    let asked = tokio::time::timeout(timeout, client.get(LIVE)).await;
    let read = || {
        let late = || format!("{} did not answer within {timeout:?}", client.authority());
        let answer = asked.with_context(late)??;
        ensure!(
            answer.status == StatusCode::OK,
            "{} answered {}: {}",
            client.authority(),
            answer.status,
            quoted(&answer.body)
        );
        let foreign = || {
            format!(
                "{} answered what is no live view: {}",
                client.authority(),
                quoted(&answer.body)
            )
        };
        serde_json::from_slice(&answer.body).with_context(foreign)
    };
    read()
        .map(Box::new)
        .map_err(|error| crate::program::causes(&error).to_string())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that answers every request with these bytes, and then closes if `closes`.
    async fn asked(answer: Vec<u8>, closes: bool) -> Reading {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(&answer).await;
                if !closes {
                    std::future::pending::<()>().await;
                }
            }
        });
        let name = "hostile".to_owned();
        let client = client(&NodeAddress { name, url }).expect("a URL");
        let reading = ask(&client, Duration::from_secs(1)).await;
        server.abort();
        reading
    }

    fn http(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    async fn refusal(answer: Vec<u8>, closes: bool) -> String {
        let why = asked(answer, closes).await.expect_err("it is no live view");
        assert!(why.len() < 2_000, "{why}");
        why
    }

    #[tokio::test]
    async fn what_is_no_live_view_is_quoted_and_bounded() {
        let why = refusal(http("<html>\x1b[2J"), false).await;
        assert!(why.contains("no live view: `<html> [2J`"), "{why}");
        assert!(refusal(http("{}"), false).await.contains("missing field"));
        assert!(
            refusal(b"SSH-2.0-OpenSSH\r\n".to_vec(), true)
                .await
                .contains("broke off")
        );
        let nested = format!("{{\"x\":{}", "[".repeat(100_000));
        assert!(refusal(http(&nested), false).await.contains("EOF"), "no stack is blown");
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
        endless.resize(ANSWER_BYTES_MAX + 70_000, b' ');
        let why = refusal(endless, false).await;
        assert!(why.contains("above 1048576 bytes"), "{why}");
    }

    #[tokio::test]
    async fn a_node_that_says_nothing_is_not_waited_for_for_ever() {
        let why = refusal(Vec::new(), false).await;
        assert!(why.contains("did not answer within 1s"), "{why}");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_named_with_the_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let name = "gone".to_owned();
        let why = ask_once(&NodeAddress { name, url }).await.expect_err("nobody listens");
        assert!(
            why.contains("cannot connect to 127.0.0.1:") && why.contains("refused"),
            "{why}"
        );
    }
}
