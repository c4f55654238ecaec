//! Claims about whatever answers where our execution client's Engine API should: another secret, another chain, another
//! server.

use std::io::{BufRead, Read, Write};

use serde_json::Value;
use ultramarine_engine::{Endpoint, Secret};
use ultramarine_types::execution::{EngineCall, EngineReply, PayloadStatus};
use ultramarine_types::{Hash, Height};

use super::rig::{self, Driver, El, genesis, options};

#[test]
fn a_wrong_secret_stops_the_node_and_says_what_to_do() {
    let genesis = genesis(6, None);
    let el = El::start(&genesis);
    let endpoint = Endpoint::Http {
        url: format!("http://{}", el.auth),
        secret: Secret::new([1; 32]),
    };
    let error = Driver::start(options(endpoint, &genesis, 6))
        .verdict()
        .expect_err("refused");
    assert!(error.contains("JWT") && error.contains("engine.jwt_secret"), "{error}");
}

#[test]
fn another_genesis_or_chain_stops_the_node_and_says_what_to_do() {
    let ours = genesis(6, None);
    let mut other = ours.clone();
    other["gasLimit"] = "0x1c9c380".into();
    let el = El::start(&other);
    let error = Driver::start(options(el.endpoint(), &ours, 6))
        .verdict()
        .expect_err("another genesis");
    assert!(
        error.contains("genesis") && error.contains("execution-genesis.json"),
        "{error}"
    );
    let mut other = ours.clone();
    other["config"]["chainId"] = 7.into();
    let el = El::start(&other);
    let error = Driver::start(options(el.endpoint(), &ours, 6))
        .verdict()
        .expect_err("another chain");
    assert!(error.contains("chain id 7"), "{error}");
}

#[test]
fn what_is_no_engine_api_stops_the_node_and_says_what_to_do() {
    let genesis = genesis(6, None);
    let el = El::start(&genesis);
    // The public port knows no engine methods.
    let endpoint = Endpoint::Http {
        url: el.rpc_url(),
        secret: Secret::new(rig::JWT),
    };
    let error = Driver::start(options(endpoint, &genesis, 6))
        .verdict()
        .expect_err("no Engine API");
    assert!(error.contains("public RPC port") && error.contains("8551"), "{error}");
}

/// One answer to everything, however it is asked.
fn always(answer: impl Fn(&Value) -> String + Send + 'static) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut stream = std::io::BufReader::new(stream);
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = bytes.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let _ = stream.read_exact(&mut body);
            let answer = answer(&serde_json::from_slice(&body).unwrap_or_default());
            // Whoever has seen enough may be gone.
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    url
}

/// Closed after it, so that nothing but the answer counts.
fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

#[test]
fn whatever_else_answers_stops_the_node_with_its_own_words() {
    let genesis = genesis(6, None);
    let json = |body: &str| http("200 OK", "content-type: application/json\r\n", body);
    // What is answered, and what of it the reason shows.
    let cases = [
        (
            http("403 Forbidden", "", "invalid host specified\n"),
            "`invalid host specified`",
        ),
        (
            http(
                "200 OK",
                "content-type: text/html\r\n",
                "<html><body>Welcome</body></html>\n",
            ),
            "<body>Welcome",
        ),
        (json(""), "an empty body"),
        (json("[{\"id\":1,\"result\":[]}]"), "[{\"id\":1"),
        (json("{\"message\":\"denied\"}"), "neither a result nor an error"),
        (json("{\"id\":1,\"result\":{}}"), "expected a sequence"),
        (http("200 OK", "content-encoding: gzip\r\n", "..."), "gzip"),
        (json("\u{1f}\u{8b}..."), "HTTP 200"),
        (http("404 Not Found", "", "<html>"), "HTTP 404"),
        (http("405 Method Not Allowed", "", ""), "HTTP 405"),
        (http("413 Payload Too Large", "", "too large"), "too large"),
        (
            http("301 Moved Permanently", "location: https://el.example/\r\n", ""),
            "points to https://el.example/",
        ),
        (
            http("400 Bad Request", "", "Client sent an HTTP request to an HTTPS server."),
            "HTTPS server",
        ),
        ("\u{15}\u{3}\u{1}\u{0}\u{2}\u{2}F".to_owned(), "http://"),
    ];
    for (answer, part) in cases {
        let shown = answer.clone();
        let endpoint = Endpoint::Http {
            url: always(move |_| answer.clone()),
            secret: Secret::new(rig::JWT),
        };
        let error = Driver::start(options(endpoint, &genesis, 6))
            .verdict()
            .expect_err("no Engine API");
        assert!(error.contains(part) && error.contains("engine.url"), "{shown}: {error}");
        assert!(!error.contains("JWT"), "{shown}: {error}");
    }
}

#[test]
fn a_client_without_a_method_that_is_needed_stops_the_node_with_its_name() {
    let genesis = genesis(6, None);
    let offered = r#"{"id":1,"result":["engine_forkchoiceUpdatedV3","engine_newPayloadV3","engine_getPayloadV4"]}"#;
    let endpoint = Endpoint::Http {
        url: always(move |_| http("200 OK", "", offered)),
        secret: Secret::new(rig::JWT),
    };
    let error = Driver::start(options(endpoint, &genesis, 6))
        .verdict()
        .expect_err("one is missing");
    assert!(error.contains("does not support engine_getPayloadV3: "), "{error}");
}

#[test]
fn a_client_that_starts_behind_a_proxy_is_waited_for_with_the_reason() {
    let genesis = genesis(6, None);
    for (answer, part) in [
        (http("503 Service Unavailable", "", "no upstream"), "`no upstream`"),
        (http("429 Too Many Requests", "", "slowly"), "`slowly`"),
    ] {
        let endpoint = Endpoint::Http {
            url: always(move |_| answer.clone()),
            secret: Secret::new(rig::JWT),
        };
        let mut driver = Driver::start(options(endpoint, &genesis, 6));
        let until = std::time::Instant::now() + rig::PATIENCE;
        loop {
            let EngineReply::Forkchoice {
                status: PayloadStatus::Unavailable { reason },
                ..
            } = driver.ask(EngineCall::Forkchoice {
                head: Hash([0; 32]),
                height: Height(0),
            })
            else {
                panic!("it has answered nothing")
            };
            if reason.contains(part) {
                break;
            }
            assert!(std::time::Instant::now() < until, "{reason}");
            std::thread::yield_now();
        }
    }
}
