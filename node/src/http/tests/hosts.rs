//! Claims about requests that come for another name, over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use ultramarine_runtime::Clock;
use ultramarine_runtime::halt::{Halt, Reason};

use super::*;
use crate::http::serve_from_the_start;
use crate::http::server::{BeforeState, serve};
use crate::opening::DirectoryOpening;

/// All that comes back for these bytes, until the server ends the connection.
async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await;
    read.expect("the connection ends").expect("and is not reset");
    answer
}

#[tokio::test]
async fn a_page_whose_name_points_to_this_machine_reads_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let halt = Halt::new();
    let state = state(3).answer_to(HostNames::new(&["node.example".to_owned()], "test"));
    let serving = tokio::spawn(serve(listener, state, ServerLimits::default(), halt.clone()));
    let ask = async |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        exchange(address, &request).await
    };
    for path in [
        "/status",
        "/health",
        "/metrics",
        "/dashboard",
        "/ultramarine/v1/live",
        "/nothing",
    ] {
        let answer = ask("evil.example", path).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{path}: {answer}");
        assert!(
            answer.contains("`evil.example`") && answer.contains("http.hosts"),
            "{path}: {answer}"
        );
    }
    for host in [address.to_string().as_str(), "localhost", "node.example:443", "test"] {
        let answer = ask(host, "/status").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
    halt.stop(Reason::Asked);
    serving.await.expect("no panic");
}

/// RFC 9112, section 3.2, for a node that is open and one that opens its directory.
#[tokio::test]
async fn a_request_names_one_host() {
    let any = HostNames::new(&["*".to_owned()], "test");
    for (is_open, hosts) in [(true, HostNames::default()), (true, any), (false, HostNames::default())] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let halt = Halt::new();
        let before = BeforeState {
            opening: DirectoryOpening::begin(Clock::start()),
            hosts: hosts.clone(),
            registry: Registry::new(),
        };
        let (give_state, given) = oneshot::channel();
        let serving = match is_open {
            true => tokio::spawn(serve(
                listener,
                state(3).answer_to(hosts),
                ServerLimits::default(),
                halt.clone(),
            )),
            false => tokio::spawn(serve_from_the_start(
                listener,
                before,
                given,
                ServerLimits::default(),
                halt.clone(),
            )),
        };
        for (first, said) in [
            ("GET /metrics HTTP/1.1\r\nHost: localhost", None),
            ("GET /metrics HTTP/1.1\r\nhost: 127.0.0.1:8580", None),
            ("GET /metrics HTTP/1.1\r\nHost: [::1]:8580", None),
            ("GET /metrics HTTP/1.1\r\nHost: localhost.:", None),
            // Of a target without a host.
            ("GET /metrics HTTP/1.1\r\nHost:", None),
            ("GET http://localhost/metrics HTTP/1.1\r\nHost: localhost", None),
            ("GET /metrics HTTP/1.0", None),
            ("GET http://localhost/metrics HTTP/1.0", None),
            ("GET /metrics HTTP/1.1", Some("no Host header")),
            ("GET http://localhost/metrics HTTP/1.1", Some("no Host header")),
            (
                "GET /metrics HTTP/1.1\r\nHost: localhost\r\nhost: localhost",
                Some("2 Host headers"),
            ),
            (
                "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost:\r\nHost: b",
                Some("3 Host headers"),
            ),
            (
                "GET /metrics HTTP/1.0\r\nHost: localhost\r\nHost: localhost",
                Some("2 Host headers"),
            ),
            (
                "GET /metrics HTTP/1.1\r\nHost: user@localhost",
                Some("`user@localhost`, which is no host"),
            ),
            ("GET /metrics HTTP/1.1\r\nHost: local host", Some("`local host`")),
            (
                "GET /metrics HTTP/1.1\r\nHost: localhost, localhost",
                Some("`localhost, localhost`"),
            ),
            (
                "GET /metrics HTTP/1.1\r\nHost: localhost/metrics",
                Some("`localhost/metrics`"),
            ),
            (
                "GET /metrics HTTP/1.1\r\nHost: http://localhost",
                Some("`http://localhost`"),
            ),
            (
                "GET /metrics HTTP/1.1\r\nHost: localhost:port",
                Some("`localhost:port`"),
            ),
            ("GET /metrics HTTP/1.1\r\nHost: ::1", Some("`::1`")),
            ("GET /metrics HTTP/1.1\r\nHost: [::1", Some("`[::1`")),
            (
                "GET /metrics HTTP/1.0\r\nHost: l\u{f6}calhost",
                Some("which is no host"),
            ),
        ] {
            let answer = exchange(address, &format!("{first}\r\nConnection: close\r\n\r\n")).await;
            let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
            let head = head.to_lowercase();
            let Some(said) = said else {
                assert!(
                    head.starts_with("http/1.1 200 ") || head.starts_with("http/1.0 200 "),
                    "{first}: {answer}"
                );
                continue;
            };
            assert!(head.contains(" 400 bad request\r\n"), "{first}: {answer}");
            assert!(head.contains("content-type: application/json"), "{first}: {answer}");
            let body: Value = serde_json::from_str(body).expect("JSON");
            let message = body["message"].as_str().expect("a text");
            assert!(body["code"] == 400 && message.contains(said), "{first}: {body}");
        }
        halt.stop(Reason::Asked);
        serving.await.expect("no panic");
        drop(give_state);
    }
}
