//! Claims about the stream of events: what it tells, in which order, and which topics there are.

use super::*;

/// The core says that it decided these heights.
pub(crate) fn decide(state: &HttpState, heights: impl IntoIterator<Item = u64>) {
    decide_with(state, heights, false);
}

/// The same, and whether the client has called their blocks `VALID` before.
fn decide_with(state: &HttpState, heights: impl IntoIterator<Item = u64>, client_valid: bool) {
    for height in heights.into_iter().map(Height) {
        let decided = state.source.decided(height).expect("the chain has it");
        state.board.apply(&Event::Decided {
            certificate: decided.certificate.clone(),
            blobs: decided.init.metadata.blobs_count,
            bytes: 0,
            origin_proposer: decided.init.metadata.origin_proposer,
            origin_round: Round(0),
            block_hash: decided.init.metadata.header.block_hash,
            synced: false,
            client_valid,
        });
    }
}

/// A stream, as its reader has it.
struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    async fn open(state: &HttpState, topics: &str) -> Self {
        let request = Request::get(format!("/eth/v1/events?topics={topics}")).header("accept-encoding", "gzip");
        let request = request.body(Body::empty()).expect("a valid request");
        let answer = router(state.clone(), &ServerLimits::default()).call(request).await;
        let answer = answer.expect("routers never fail");
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert!(
            !answer.headers().contains_key("content-encoding"),
            "events are not held back"
        );
        Self {
            body: answer.into_body(),
            text: String::new(),
        }
    }

    /// The next event; comments are passed over.
    async fn next(&mut self) -> (String, Value) {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                let mut lines = event.lines().filter(|line| !line.starts_with(':'));
                if let (Some(name), Some(data)) = (lines.next(), lines.next()) {
                    assert_eq!(lines.next(), None, "{event}");
                    let name = name.strip_prefix("event: ").expect("a name");
                    let data = data.strip_prefix("data: ").expect("data");
                    return (name.to_owned(), serde_json::from_str(data).expect("JSON"));
                }
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let frame = tokio::time::timeout(Duration::from_secs(30), self.body.frame()).await;
        let frame = frame.expect("in time").expect("it goes on").expect("and does not fail");
        let piece = frame.into_data().expect("no trailers");
        self.text.push_str(std::str::from_utf8(&piece).expect("text"));
    }
}

#[tokio::test]
async fn every_height_is_told_in_order_with_each_of_its_blobs() {
    let state = state(9);
    decide(&state, 1..=4);
    let mut stream = Stream::open(&state, "head,finalized_checkpoint,blob_sidecar").await;
    state.board.apply(&Event::Executed { height: Height(6) });
    // The stream wakes once, for all of them.
    decide(&state, 5..=9);
    for height in 5..=9 {
        let metadata = &state.source.decided(Height(height)).expect("decided").init.metadata;
        let header = sidecar::header(metadata, GENESIS_TIME);
        let (root, at, optimistic) = (header.root(), slot(height).to_string(), height > 6);
        let lists = state.source.decided_payload(Height(height)).expect("decided").lists;
        for (index, commitment) in lists.commitments.iter().enumerate() {
            let data = serde_json::json!({
                "block_root": root, "index": index.to_string(), "slot": at, "kzg_commitment": commitment,
                "versioned_hash": versioned_hash(commitment),
            });
            assert_eq!(
                stream.next().await,
                ("blob_sidecar".to_owned(), data),
                "height {height}"
            );
        }
        let data = serde_json::json!({
            "slot": at, "block": root, "state": header.state_root, "epoch_transition": true,
            "previous_duty_dependent_root": header.parent_root, "current_duty_dependent_root": header.parent_root,
            "execution_optimistic": optimistic,
        });
        assert_eq!(stream.next().await, ("head".to_owned(), data), "height {height}");
        let data = serde_json::json!({
            "block": root, "state": header.state_root, "epoch": at, "execution_optimistic": optimistic,
        });
        assert_eq!(
            stream.next().await,
            ("finalized_checkpoint".to_owned(), data),
            "height {height}"
        );
    }
}

#[tokio::test]
async fn a_block_that_our_client_has_called_valid_is_not_optimistic() {
    let state = state(9);
    decide(&state, 1..=4);
    state.board.apply(&Event::Executed { height: Height(4) });
    let mut stream = Stream::open(&state, "head,finalized_checkpoint").await;
    // Voted for, then taken from others by their certificate, then executed and told before the client's head moves.
    for (height, client_valid) in [(5, true), (6, false), (7, true)] {
        decide_with(&state, [height], client_valid);
        for name in ["head", "finalized_checkpoint"] {
            let (told, data) = stream.next().await;
            assert_eq!(told, name);
            assert_eq!(data["execution_optimistic"], !client_valid, "height {height}: {data}");
        }
    }
    let optimistic = async |height: u64| {
        let (_, json) = ask(&state, &format!("/eth/v1/beacon/headers/{}", slot(height))).await;
        json["execution_optimistic"].clone()
    };
    assert_eq!(optimistic(7).await, false);
    state.board.apply(&Event::Executed { height: Height(7) });
    // The client has lost its newest blocks.
    state.board.apply(&Event::Executed { height: Height(5) });
    assert_eq!((optimistic(5).await, optimistic(6).await), (false.into(), true.into()));
}

#[tokio::test]
async fn only_what_was_asked_for_is_told_and_a_quiet_stream_says_that_it_lives() {
    let mut state = state(9);
    state.keep_alive = Duration::from_millis(20);
    decide(&state, 1..=6);
    let mut heads = Stream::open(&state, "head").await;
    let mut blobs = Stream::open(&state, "blob_sidecar&topics=blob_sidecar").await;
    heads.more().await;
    assert!(
        heads.text.starts_with(':') && heads.text.ends_with("\n\n"),
        "{:?}",
        heads.text
    );
    decide(&state, 7..=9);
    for height in 7..=9 {
        let (name, data) = heads.next().await;
        assert_eq!(
            (name.as_str(), &data["slot"]),
            ("head", &slot(height).to_string().into())
        );
    }
    // Height 7 has three, height 8 none, height 9 one.
    for height in [7, 7, 7, 9] {
        let (name, data) = blobs.next().await;
        assert_eq!(
            (name.as_str(), &data["slot"]),
            ("blob_sidecar", &slot(height).to_string().into())
        );
    }
}

#[tokio::test]
async fn a_height_that_cannot_be_read_is_passed_over() {
    let mut memory = Memory::chain(3);
    memory.blocks.remove(&2);
    let whole = state(3);
    let state = HttpState::new(chain(), Arc::new(memory), whole.board.clone(), Registry::new());
    let mut stream = Stream::open(&state, "head").await;
    decide(&whole, 1..=3);
    for height in [1, 3] {
        assert_eq!(stream.next().await.1["slot"], slot(height).to_string());
    }
}

#[tokio::test]
async fn topics_that_nobody_tells_are_named_with_those_that_there_are() {
    let state = state(1);
    for (query, named) in [
        ("", "topics is missing"),
        ("?topics=", "topics is missing"),
        ("?topics=head,attestation", "`attestation`"),
        ("?topics=head&topics=Head", "`Head`"),
        ("?topics=head,", "``"),
        ("?topic=head", "`topic`"),
    ] {
        let (status, error) = ask(&state, &format!("/eth/v1/events{query}")).await;
        assert_eq!((status.as_u16(), &error["code"]), (400, &400.into()), "{query}");
        let said = error["message"].as_str().expect("a text");
        assert!(said.contains(named), "{query}: {said}");
        assert!(
            query.starts_with("?topic=") || said.contains("blob_sidecar, head, finalized_checkpoint"),
            "{said}"
        );
    }
}
