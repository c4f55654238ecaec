//! Claims about requests that come for another name, over real sockets.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use ultramarine_runtime::halt::{Halt, Reason};

use super::*;
use crate::http::server::serve;

#[tokio::test]
async fn a_page_whose_name_points_to_this_machine_reads_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let halt = Halt::new();
    let state = state(3).answer_to(HostNames::new(&["node.example".to_owned()], "test"));
    let serving = tokio::spawn(serve(listener, state, ServerLimits::default(), halt.clone()));
    let ask = async |host: &str, path: &str| {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sends");
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await;
        read.expect("the connection ends").expect("and is not reset");
        answer
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
