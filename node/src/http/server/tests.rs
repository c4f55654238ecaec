//! Claims about connections: what callers who do not read, do not write or write nonsense can do to others, over real
//! sockets.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use ultramarine_runtime::Registry;
use ultramarine_runtime::halt::Reason;

use super::*;
use crate::http::tests::events::decide;
use crate::http::tests::{Memory, state, state_of};

/// Longest wait for what comes at once on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server under test; it ends with the test.
struct Served {
    address: SocketAddr,
    registry: Arc<Registry>,
    halt: Halt,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.halt.stop(Reason::Asked);
    }
}

impl Served {
    async fn start(state: HttpState, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (halt, registry) = (Halt::new(), state.registry.clone());
        tokio::spawn(serve(listener, state, limits, halt.clone()));
        Self {
            address,
            registry,
            halt,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// A caller with a small window sends this and reads nothing.
    async fn mute(&self, request: &str) -> TcpStream {
        self.ask(2048, request).await
    }

    /// A caller whose kernel takes so many bytes before it reads sends this.
    async fn ask(&self, window_bytes: u32, request: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(window_bytes).expect("a window");
        let mut stream = socket.connect(self.address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("sends");
        stream
    }

    /// The whole of what comes back for these bytes, until the server ends the connection.
    async fn exchange(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        // A refusal may come before all is written.
        let _ = stream.write_all(request).await;
        Answer::read(&mut stream).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.exchange(get(path).as_bytes()).await
    }

    /// A counter of closed connections.
    fn closed(&self, why: &str) -> u64 {
        let series = format!("ultramarine_http_connections_closed_total{{why=\"{why}\"}} ");
        let shown = self.registry.render();
        let line = shown.lines().find_map(|line| line.strip_prefix(&series));
        line.expect("registered").parse().expect("a number")
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes))
            .await
            .expect("the connection ends")
            .expect("and is not reset");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {head}")),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// The message of a refusal with this code.
    fn refusal(&self, code: u16) -> String {
        assert_eq!(self.status, code, "{self:?}");
        assert!(self.head.contains("content-type: application/json"), "{self:?}");
        let json: Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        assert_eq!(json["code"], code);
        json["message"].as_str().expect("a message").to_owned()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Impatient enough for a test that waits for an end, patient enough for a busy machine.
fn impatient() -> Patience {
    Patience {
        idle: Duration::from_millis(600),
        head: Duration::from_millis(500),
        stall: Duration::from_millis(700),
        ..Patience::default()
    }
}

#[tokio::test]
async fn readers_that_do_not_read_close_nobody_out() {
    // Far more than the kernel keeps for a reader: 6 MB, 12.6 MB of hex.
    let limits = ServerLimits {
        patience: Patience {
            stall: Duration::from_secs(4),
            ..Patience::default()
        },
        ..ServerLimits::default()
    };
    let served = Served::start(state_of(Memory::large(48)), limits).await;
    let mut mute = Vec::new();
    for _ in 0..limits.requests_max {
        mute.push(served.mute(&get("/eth/v1/beacon/blobs/3")).await);
    }
    for page in ["/metrics", "/status"] {
        mute.push(served.mute(&get(page)).await);
    }
    // One address has three quarters of the downloads, and not one more. The answers before it may not have begun yet.
    let full = async {
        while served.get("/ultramarine/v1/decided").await.status == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, full)
        .await
        .expect("all downloads are taken");
    let message = served.get("/eth/v1/beacon/blobs/3").await.refusal(503);
    assert!(message.contains("try again"), "{message}");
    for page in ["/metrics", "/status"] {
        assert_eq!(served.get(page).await.status, 200, "{page}");
    }
    // This node is not ready, and says so itself.
    assert!(served.get("/health").await.body.contains("\"ready\":false"));
    let again = async {
        while served.get("/ultramarine/v1/decided").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("who reads nothing is cut off");
    assert!(served.closed("late") > 0);
    drop(mute);
}

#[tokio::test]
async fn a_new_caller_finds_a_place_among_those_who_do_not_ask() {
    let limits = ServerLimits {
        connections_max: 8,
        ..ServerLimits::default()
    };
    let served = Served::start(state(3), limits).await;
    let mut crowd = Vec::new();
    for at in 0..20 {
        let words = ["", "GET /status HTT", "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"][at % 3];
        crowd.push(served.mute(words).await);
        assert_eq!(served.get("/status").await.status, 200);
    }
    assert!(served.closed("displaced") > 10);
    // Who had sent half a head is told.
    let mut told = 0;
    for mut stream in crowd {
        let mut bytes = [0; 4096];
        if let Ok(Ok(count)) = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut bytes)).await {
            told += usize::from(String::from_utf8_lossy(&bytes[..count]).contains("its seat was wanted"));
        }
    }
    assert!(told >= 3, "{told}");
}

#[tokio::test]
async fn who_does_not_write_is_ended() {
    let limits = ServerLimits {
        patience: impatient(),
        ..ServerLimits::default()
    };
    let served = Served::start(state(3), limits).await;
    let mut silent = served.connect().await;
    let mut nothing = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, silent.read_to_end(&mut nothing)).await;
    assert!(matches!(ended, Ok(Ok(0))), "without a word: {nothing:?}");
    let message = served.exchange(b"GET /status HTTP/1.1\r\nHos").await.refusal(408);
    assert!(message.contains("in time"), "{message}");
    assert!(served.closed("late") >= 2);
    // A connection that is used stays.
    let mut used = served.connect().await;
    for _ in 0..4 {
        let request = "GET /ultramarine/v1/decided HTTP/1.1\r\nHost: localhost\r\n\r\n";
        used.write_all(request.as_bytes()).await.expect("sends");
        let mut bytes = [0; 64 * 1024];
        let count = used.read(&mut bytes).await.expect("answers");
        assert!(bytes[..count].starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_its_answer() {
    let patience = Patience {
        stall: Duration::from_secs(1),
        ..Patience::default()
    };
    let served = Served::start(
        state_of(Memory::large(48)),
        ServerLimits {
            patience,
            ..ServerLimits::default()
        },
    )
    .await;
    let mut reader = served.ask(256 * 1024, &get("/eth/v1/beacon/blobs/3")).await;
    let (begun, mut all, mut bytes) = (Instant::now(), 0, vec![0; 256 * 1024]);
    while let Ok(count @ 1..) = tokio::time::timeout(PATIENCE, reader.read(&mut bytes))
        .await
        .expect("it goes on")
    {
        all += count;
        tokio::time::sleep(Duration::from_millis(all as u64 / 6000).saturating_sub(begun.elapsed())).await;
    }
    assert!(begun.elapsed() > patience.stall, "longer than a reader may stand still");
    assert!(all > 48 * 2 * 131_072, "{all}");
}

#[tokio::test]
async fn others_have_their_turn_between_the_requests_of_one_connection() {
    let served = Served::start(state(3), ServerLimits::default()).await;
    let many = "GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let mut greedy = Vec::new();
    for _ in 0..4 {
        let mut stream = served.connect().await;
        stream.write_all(many.as_bytes()).await.expect("sends");
        greedy.push(stream);
    }
    assert_eq!(served.get("/status").await.status, 200);
    let shown = served.registry.render();
    let answered = shown
        .lines()
        .find_map(|line| line.strip_prefix("ultramarine_http_requests_total{answer=\"ok\"} "));
    let answered: u64 = answered.expect("registered").parse().expect("a number");
    assert!(answered < 100, "{answered}");
    drop(greedy);
}

#[tokio::test]
async fn the_names_of_all_blobs_of_the_largest_block_fit_one_query() {
    let memory = Memory::large(3);
    let commitments = memory.commitments(1);
    let served = Served::start(state_of(memory), ServerLimits::default()).await;
    let mut names: Vec<String> = (0..1022).map(|number| format!("0x01{number:062x}")).collect();
    for commitment in &commitments[1..] {
        names.push(crate::http::index::versioned_hash(commitment).to_string());
    }
    let base = "/eth/v1/beacon/blobs/3?";
    for query in [
        format!("versioned_hashes={}", names.join(",")),
        format!("versioned_hashes={}", names.join("%2C")),
        names
            .iter()
            .map(|name| format!("versioned_hashes={name}"))
            .collect::<Vec<_>>()
            .join("&"),
        names
            .iter()
            .map(|name| format!("versioned_hashes%5B%5D={name}"))
            .collect::<Vec<_>>()
            .join("&"),
        format!("versioned_hashes={}", names[722..].join(",")),
    ] {
        // Behind empty lines, in two pieces, and twice on one connection.
        let mut stream = served.connect().await;
        let request = format!("\r\n\r\nGET {base}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (first, second) = request.split_at(request.len() / 2);
        stream.write_all(first.as_bytes()).await.expect("sends");
        tokio::task::yield_now().await;
        stream.write_all(second.as_bytes()).await.expect("sends");
        stream
            .write_all(get("/eth/v1/beacon/blobs/3?versioned_hashes=0x1").as_bytes())
            .await
            .expect("sends");
        let both = Answer::read(&mut stream).await;
        assert_eq!(both.status, 200, "{} bytes: {}", query.len(), both.body);
        let has = |byte: u8| {
            both.body
                .contains(&format!("\"0x{}\"", format!("{byte:02x}").repeat(131_072)))
        };
        assert_eq!([1, 2, 3].map(has), [false, true, true], "{} bytes", query.len());
        assert!(
            both.body.contains("HTTP/1.1 400 Bad Request"),
            "the next request is its own"
        );
    }
    // A connection that stays open takes one after the other.
    let mut stream = served.connect().await;
    let list = |names: &[String]| format!("GET {base}versioned_hashes={}", names.join(","));
    let request = format!("{} HTTP/1.1\r\nHost: localhost\r\n\r\n", list(&names));
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        assert!(matches!(read, Ok(Ok(1..))), "{read:?}");
    }
    let request = format!(
        "{} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        list(&names[..1023])
    );
    stream.write_all(request.as_bytes()).await.expect("sends");
    let second = Answer::read(&mut stream).await;
    assert_eq!(second.status, 200, "{}", second.body);
    assert!(answer.len() > second.body.len() + 2 * 131_072 && second.body.len() > 2 * 131_072);
    names.push(names[0].clone());
    let message = served
        .get(&format!("{base}versioned_hashes={}", names.join(",")))
        .await
        .refusal(400);
    assert!(message.contains("more than 1024"), "{message}");
    let long = format!("/ultramarine/v1/decided?{}from=2", "from=1&".repeat(3000));
    assert!(
        served.get(&long).await.refusal(400).contains("parameters"),
        "no query is dropped unseen"
    );
}

#[tokio::test]
async fn every_refusal_is_json_whoever_refuses() {
    let served = Served::start(state(3), ServerLimits::default()).await;
    let exchange = async |request: &str| served.exchange(request.as_bytes()).await;
    let header = |bytes: usize| {
        format!(
            "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(bytes)
        )
    };
    for (code, request) in [
        (400, "what is this\r\n\r\n".to_owned()),
        (400, "GET /status\r\n\r\n".to_owned()),
        (400, "GET /status HTTP/7.0\r\n\r\n".to_owned()),
        (400, "GE\u{7f}T /status HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET /\u{1} HTTP/1.1\r\n\r\n".to_owned()),
        (400, format!("GET /status?{}\u{1} HTTP/1.1\r\n\r\n", "x".repeat(20_000))),
        (400, "GET /status HTTP/1.1\r\nno colon\r\n\r\n".to_owned()),
        (400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (404, get("/nothing")),
        (404, get("/status/")),
        (
            405,
            "POST /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        ),
        (
            405,
            "BREW /eth/v1/beacon/blobs/3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".to_owned(),
        ),
        (
            413,
            "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n".to_owned(),
        ),
        (414, get(&format!("/{}", "x".repeat(70_000)))),
        (414, get(&format!("/{}", "x".repeat(200_000)))),
        (414, get(&format!("/status?{}", "x".repeat(200_000)))),
        (431, header(300_000)),
        (431, format!("GET /status HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(500))),
    ] {
        let answer = exchange(&request).await;
        let begin: String = request.chars().take(60).collect();
        assert_eq!(answer.status, code, "{begin:?}: {answer:?}");
        assert!(answer.refusal(code).len() > 10, "{begin:?}");
        let allowed = answer.head.contains("\r\nallow: get,head");
        assert_eq!(allowed, code == 405, "{begin:?}: {answer:?}");
    }
    assert_eq!(exchange(&header(100_000)).await.status, 200, "a large head is one");
    // The caller closes its side behind a whole request, and behind half of one.
    let mut stream = served.connect().await;
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .expect("sends");
    stream.shutdown().await.expect("closes one side");
    assert_eq!(Answer::read(&mut stream).await.status, 200);
    let mut stream = served.connect().await;
    stream.write_all(b"GET /sta").await.expect("sends");
    stream.shutdown().await.expect("closes one side");
    Answer::read(&mut stream).await.refusal(400);
}

#[tokio::test]
async fn head_is_answered_as_get_is_without_the_body() {
    let served = Served::start(state(3), ServerLimits::default()).await;
    for (path, status) in [
        ("/status", 200),
        ("/eth/v1/beacon/blobs/9", 200),
        ("/nothing", 404),
        ("/eth/v1/beacon/blobs/6", 404),
    ] {
        let request = get(path).replacen("GET", "HEAD", 1);
        let answer = served.exchange(request.as_bytes()).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{path}");
        assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    }
}

const HEADS: &str = "/eth/v1/events?topics=head";

/// Reads until this is among what came.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let (mut text, mut searched) = (String::new(), 0);
    while !text[searched..].contains(wanted) {
        searched = text.len().saturating_sub(wanted.len());
        let mut bytes = [0; 4096];
        let count = tokio::time::timeout(PATIENCE, stream.read(&mut bytes)).await;
        let count = count.expect("in time").expect("is not reset");
        assert!(count > 0, "it ended: {text}");
        text.push_str(std::str::from_utf8(&bytes[..count]).expect("ASCII"));
    }
    text
}

#[tokio::test]
async fn a_stream_of_events_outlasts_every_patience_and_takes_no_download() {
    let limits = ServerLimits {
        requests_max: 2,
        patience: Patience {
            answer: Duration::from_millis(500),
            ..impatient()
        },
        ..ServerLimits::default()
    };
    let state = state(9);
    let served = Served::start(state.clone(), limits).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = served.connect().await;
        stream.write_all(get(HEADS).as_bytes()).await.expect("sends");
        let head = read_until(&mut stream, "\r\n\r\n").await;
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"),
            "{head}"
        );
        streams.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(served.get("/ultramarine/v1/decided").await.status, 200);
    for height in 1..=2 {
        decide(&state, [height]);
        for stream in &mut streams {
            read_until(stream, &format!("\"slot\":\"{}\"", 3 * height)).await;
        }
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    assert_eq!(served.closed("late") + served.closed("displaced"), 0);
}

#[tokio::test]
async fn streams_are_few_and_a_place_comes_back_when_its_reader_has_gone() {
    let limits = ServerLimits {
        streams_max: 4,
        ..ServerLimits::default()
    };
    let state = state(9);
    let served = Served::start(state.clone(), limits).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = served.connect().await;
        stream.write_all(get(HEADS).as_bytes()).await.expect("sends");
        read_until(&mut stream, "\r\n\r\n").await;
        streams.push(stream);
    }
    let refused = served.get(HEADS).await;
    assert!(refused.refusal(503).contains("streams of events"), "{refused:?}");
    assert!(refused.head.contains("\r\nretry-after: 5"), "{refused:?}");
    assert_eq!(
        served.get("/ultramarine/v1/decided").await.status,
        200,
        "downloads have places of their own"
    );
    let head = get(HEADS).replacen("GET", "HEAD", 1);
    streams.pop();
    let again = async {
        let mut heights = 1..=9;
        loop {
            // What is sent to a reader that has gone tells us so.
            decide(&state, heights.next());
            let answer = served.exchange(head.as_bytes()).await;
            if answer.status == 200 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, again).await.expect("its place is free");
    assert!(
        answer.head.contains("text/event-stream") && answer.body.is_empty(),
        "{answer:?}"
    );
    // One that asks for nonsense gives its place back at once.
    for _ in 0..8 {
        served.get("/eth/v1/events?topics=x").await.refusal(400);
    }
}

#[tokio::test]
async fn who_does_not_take_its_events_is_cut_and_nothing_is_kept_for_it() {
    const HEIGHTS: u64 = 20_000;
    let limits = ServerLimits {
        patience: impatient(),
        ..ServerLimits::default()
    };
    let state = state_of(Memory::bare(HEIGHTS));
    let served = Served::start(state.clone(), limits).await;
    let mut stream = served
        .mute(&get("/eth/v1/events?topics=head,finalized_checkpoint"))
        .await;
    let mut reader = served.connect().await;
    reader.write_all(get(HEADS).as_bytes()).await.expect("sends");
    read_until(&mut reader, "\r\n\r\n").await;
    // More than the kernel keeps for a reader: 14 MB.
    decide(&state, [HEIGHTS]);
    let read = tokio::spawn(async move { read_until(&mut reader, &format!("\"slot\":\"{}\"", 3 * HEIGHTS)).await });
    let cut = async {
        while served.closed("late") == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("it is cut");
    let told = tokio::time::timeout(PATIENCE, read)
        .await
        .expect("in time")
        .expect("no panic");
    assert_eq!(
        told.matches("event: head").count() as u64,
        HEIGHTS,
        "who reads is told all"
    );
    assert_eq!(served.closed("late"), 1);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok() && rest.len() < 14_000_000, "{}", rest.len());
}

#[tokio::test]
async fn a_served_connection_answers_is_counted_and_ends_with_the_node() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (halt, state) = (Halt::new(), state(3));
    let registry = state.registry.clone();
    let serving = tokio::spawn(serve(listener, state, ServerLimits::default(), halt.clone()));
    let mut stream = TcpStream::connect(address).await.expect("listening");
    stream.write_all(get("/status").as_bytes()).await.expect("sends");
    let answer = Answer::read(&mut stream).await;
    assert!(
        answer.status == 200 && answer.body.contains("\"chain_id\":7"),
        "{answer:?}"
    );
    let shown = registry.render();
    for line in [
        "ultramarine_http_requests_total{answer=\"ok\"} 1",
        "ultramarine_http_requests_total{answer=\"refused\"} 0",
        "ultramarine_http_answer_seconds_count 1",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    let mut open = TcpStream::connect(address).await.expect("listening");
    halt.stop(Reason::Asked);
    serving.await.expect("no panic");
    let mut nothing = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, open.read_to_end(&mut nothing)).await;
    assert!(ended.is_ok(), "connections end with the node");
}
