//! Claims about the Beacon API: its statuses, its two forms, and what it says of blocks and of the node.

use std::io::Read;

use super::*;
use crate::http::index::versioned_hash;

const SSZ: (&str, &str) = ("accept", "application/octet-stream");

/// What each way to ask is answered with, for both kinds of blobs.
#[tokio::test]
async fn each_status_has_its_cause() {
    let state = state(9);
    let root = "0x".to_owned() + &"ab".repeat(32);
    for (question, status) in [
        ("head".to_owned(), 200),
        ("finalized".to_owned(), 200),
        ("justified".to_owned(), 200),
        ("genesis".to_owned(), 200),
        ("0".to_owned(), 200),
        (slot(7).to_string(), 200),
        // No blobs, and no slot of a block.
        (slot(4).to_string(), 200),
        ((slot(7) + 1).to_string(), 404),
        (slot(100).to_string(), 404),
        (u64::MAX.to_string(), 404),
        (root.clone(), 404),
        // Pruned.
        (slot(PRUNED).to_string(), 404),
        ("latest".to_owned(), 400),
        ("-1".to_owned(), 400),
        ("0x12".to_owned(), 400),
        ("18446744073709551616".to_owned(), 400),
        (format!("{}?indices=0,2", slot(7)), 200),
        (format!("{}?indices[]=0&indices[]=2", slot(7)), 200),
        (format!("{}?indices=9", slot(7)), 200),
        (format!("{}?versioned_hashes={root}", slot(7)), 200),
        (format!("{}?indices=x", slot(7)), 400),
        (format!("{}?versioned_hashes=0x12", slot(7)), 400),
        (format!("{}?index=0", slot(7)), 400),
    ] {
        for kind in ["blob_sidecars", "blobs"] {
            for accept in ["application/json", "application/octet-stream"] {
                let url = format!("/eth/v1/beacon/{kind}/{question}");
                let (got, headers, body) = ask_with(&state, &url, &[("accept", accept)]).await;
                assert_eq!(got.as_u16(), status, "{url}: {body:?}");
                if status == 200 {
                    assert_eq!(headers["content-type"], accept, "{url}");
                    assert!(
                        headers.contains_key("eth-consensus-version") && headers.contains_key("etag"),
                        "{url}"
                    );
                } else {
                    let error: Value = serde_json::from_slice(&body).expect("a refusal is JSON");
                    assert_eq!(error["code"], status, "{url}");
                }
            }
        }
    }
    let (_, error) = ask(&state, &format!("/eth/v1/beacon/blobs/{}", slot(PRUNED))).await;
    assert_eq!(error["oldest_slot"], slot(PRUNED + 1).to_string());
    let (_, error) = ask(&state, "/eth/v1/beacon/blobs/head?index=0").await;
    let said = error["message"].as_str().expect("a text");
    assert!(
        said.contains("`index`") && said.contains("indices, versioned_hashes"),
        "{said}"
    );
    let (status, ..) = ask_with(&state, "/eth/v1/beacon/blobs/head", &[("accept", "text/html")]).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
}

/// Every URL of the Beacon API that a node answers at any time, with parameters that it takes.
fn every_url() -> Vec<String> {
    let block = slot(7);
    [
        format!("/eth/v1/beacon/blob_sidecars/{block}?indices=0"),
        format!("/eth/v1/beacon/blobs/{block}?versioned_hashes=0x{:064x}", 1),
        format!("/eth/v1/beacon/headers/{block}"),
        format!("/eth/v1/beacon/headers?slot={block}"),
        "/eth/v1/beacon/genesis".to_owned(),
        "/eth/v1/config/spec".to_owned(),
        "/eth/v1/node/version".to_owned(),
        "/eth/v1/node/syncing".to_owned(),
        "/eth/v1/node/identity".to_owned(),
        "/eth/v1/node/peers?state=connected&direction=inbound,outbound".to_owned(),
        format!("/eth/v1/node/peers/{}", PeerId([1; 32])),
        "/eth/v1/node/peer_count".to_owned(),
        "/eth/v1/node/health?syncing_status=200".to_owned(),
        "/eth/v1/events?topics=head".to_owned(),
    ]
    .into()
}

#[tokio::test]
async fn every_url_answers_head_pages_gzip_and_what_it_does_not_know() {
    let origin = ("origin", "https://a.example");
    let state = with_peers(state(7)).allow_origins(vec![axum::http::HeaderValue::from_static(origin.1)]);
    state.board.peer_up(&PeerId::ZERO);
    state.board.apply(&Event::Readiness {
        ready: true,
        why: String::new(),
        is_news: true,
    });
    for url in every_url() {
        let ask = async |method: &str, url: &str, headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(url);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let request = request.body(Body::empty()).expect("a valid request");
            let answer = router(state.clone(), &ServerLimits::default()).call(request).await;
            answer.expect("routers never fail")
        };
        let (plain, head) = (ask("GET", &url, &[origin]).await, ask("HEAD", &url, &[origin]).await);
        for answer in [&plain, &head] {
            assert_eq!(answer.status(), StatusCode::OK, "{url}");
            assert_eq!(answer.headers()["access-control-allow-origin"], origin.1, "{url}");
            assert!(!answer.headers().contains_key("content-encoding"), "{url}");
        }
        let kind = |answer: &Response| answer.headers().get("content-type").cloned();
        assert_eq!(kind(&plain), kind(&head), "{url}");
        let tag = plain.headers().get("etag");
        assert_eq!(tag, head.headers().get("etag"), "{url}");
        let is_one_block = ["blob_sidecars/", "blobs/", "headers/"];
        assert_eq!(
            tag.is_some(),
            is_one_block.iter().any(|kind| url.contains(kind)),
            "{url}"
        );
        assert!(
            head.into_body().collect().await.expect("ends").to_bytes().is_empty(),
            "{url}"
        );

        let packed = ask("GET", &url, &[("accept-encoding", "gzip")]).await;
        let is_json = kind(&plain).is_some_and(|kind| kind == "application/json");
        assert_eq!(packed.headers().contains_key("content-encoding"), is_json, "{url}");

        let mark = if url.contains('?') { '&' } else { '?' };
        let (status, error) = super::ask(&state, &format!("{url}{mark}colour=red")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{url}");
        let said = error["message"].as_str().expect("a text");
        assert!(said.contains("`colour`"), "{url}: {said}");

        let refused = ask("POST", &url, &[]).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{url}");
        let asked_first = [origin, ("access-control-request-method", "GET")];
        let preflight = ask("OPTIONS", &url, &asked_first).await;
        assert!(
            preflight.headers().contains_key("access-control-allow-methods"),
            "{url}"
        );
    }
}

/// Two peers: one that we dialed, and one that dialed us.
fn with_peers(state: HttpState) -> HttpState {
    let peer = |number: u8, dialed, address: &str| ultramarine_net::PeerView {
        peer: PeerId([number; 32]),
        validator: None,
        is_listed: false,
        address: address.parse().expect("an address"),
        dialed,
        round_trip: Duration::from_millis(1),
        points: 0,
        tip: None,
    };
    let book = PeerBook::default();
    book.show(vec![peer(1, true, "10.0.0.1:26650"), peer(2, false, "[2001:db8::1]:9")]);
    state.show_peers(book)
}

#[tokio::test]
async fn peers_are_shown_with_their_direction_and_filtered() {
    let state = with_peers(state(1));
    let (_, json) = ask(&state, "/eth/v1/node/peers").await;
    let shown = serde_json::json!({
        "peer_id": PeerId([1; 32]), "enr": null, "last_seen_p2p_address": "/ip4/10.0.0.1/udp/26650/quic-v1",
        "state": "connected", "direction": "outbound",
    });
    assert_eq!(
        (&json["data"][0], &json["meta"]),
        (&shown, &serde_json::json!({ "count": 2 }))
    );
    assert_eq!(
        json["data"][1]["last_seen_p2p_address"],
        "/ip6/2001:db8::1/udp/9/quic-v1"
    );
    for (query, directions) in [
        ("state=connected", &["outbound", "inbound"][..]),
        ("state=connecting&state=connected&direction=inbound", &["inbound"]),
        ("direction=outbound,inbound", &["outbound", "inbound"]),
        ("state[]=disconnected", &[]),
    ] {
        let (_, json) = ask(&state, &format!("/eth/v1/node/peers?{query}")).await;
        let data = json["data"].as_array().expect("a list").iter();
        let found: Vec<_> = data.filter_map(|peer| peer["direction"].as_str()).collect();
        assert_eq!(
            (found, &json["meta"]["count"]),
            (directions.to_vec(), &directions.len().into()),
            "{query}"
        );
    }
    let (_, json) = ask(&state, &format!("/eth/v1/node/peers/{}", PeerId([1; 32]))).await;
    assert_eq!(json["data"], shown);
    for (url, status, named) in [
        (format!("/{}", PeerId([3; 32])), 404, "0x0303"),
        ("/x".to_owned(), 400, "64 hex digits"),
        (
            "?state=up".to_owned(),
            400,
            "`up`, which is not one of disconnected, connecting, connected",
        ),
        (
            "?direction=left".to_owned(),
            400,
            "`left`, which is not one of inbound, outbound",
        ),
        ("?peer=1".to_owned(), 400, "`peer`"),
    ] {
        let (got, error) = ask(&state, &format!("/eth/v1/node/peers{url}")).await;
        assert_eq!((got.as_u16(), &error["code"]), (status, &status.into()), "{url}");
        let said = error["message"].as_str().expect("a text");
        assert!(said.contains(named), "{url}: {said}");
    }
}

#[tokio::test]
async fn as_ssz_each_field_stands_in_its_place() {
    let state = state(7);
    let (_, assembly) = state.source.decided_value(Height(7)).expect("held");
    let (_, headers, blobs) = ask_with(&state, "/eth/v1/beacon/blobs/21", &[SSZ]).await;
    for (name, value) in [
        ("eth-consensus-version", "deneb"),
        ("eth-execution-optimistic", "true"),
        ("eth-consensus-finalized", "true"),
    ] {
        assert_eq!(headers[name], value);
    }
    assert_eq!(blobs, assembly.blobs.concat());

    let (_, json) = ask(&state, "/eth/v1/beacon/blob_sidecars/21?indices=1,2").await;
    let (_, _, bytes) = ask_with(&state, "/eth/v1/beacon/blob_sidecars/21?indices=1,2", &[SSZ]).await;
    // Deneb's BlobSidecar: index, blob, commitment, proof, signed header, inclusion proof.
    let sidecars: Vec<_> = bytes.chunks(131_928).collect();
    assert_eq!((sidecars.len(), bytes.len()), (2, 2 * 131_928));
    for (sidecar, json) in sidecars.iter().zip(json["data"].as_array().expect("a list")) {
        let mut rest = *sidecar;
        let mut take = |length: usize| {
            let (field, behind) = rest.split_at(length);
            rest = behind;
            field
        };
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes")).to_string();
        let hex = |bytes: &[u8]| format!("0x{}", hex::encode(bytes));
        assert_eq!(json["index"], number(take(8)));
        assert_eq!(json["blob"], hex(take(BLOB_BYTES)));
        assert_eq!(json["kzg_commitment"], hex(take(48)));
        assert_eq!(json["kzg_proof"], hex(take(48)));
        let header = &json["signed_block_header"];
        for name in ["slot", "proposer_index"] {
            assert_eq!(header["message"][name], number(take(8)), "{name}");
        }
        for name in ["parent_root", "state_root", "body_root"] {
            assert_eq!(header["message"][name], hex(take(32)), "{name}");
        }
        assert_eq!(header["signature"], hex(take(96)));
        for node in json["kzg_commitment_inclusion_proof"].as_array().expect("a list") {
            assert_eq!(*node, hex(take(32)));
        }
        assert!(rest.is_empty());
    }
}

/// What leaves is the store's own memory: each blob's bytes are handed to the socket from where the store has them.
#[tokio::test]
async fn as_ssz_no_blob_is_copied() {
    let state = state(7);
    let (_, assembly) = state.source.decided_value(Height(7)).expect("held");
    let held: Vec<*const u8> = assembly.blobs.iter().map(|blob| blob.as_ptr()).collect();
    for kind in ["blobs", "blob_sidecars"] {
        let request = Request::get(format!("/eth/v1/beacon/{kind}/21")).header(SSZ.0, SSZ.1);
        let request = request.body(Body::empty()).expect("a valid request");
        let answer = router(state.clone(), &ServerLimits::default()).call(request).await;
        let mut body = answer.expect("routers never fail").into_body();
        let mut sent = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("it does not fail").into_data().expect("no trailers");
            sent.extend((piece.len() == BLOB_BYTES).then(|| piece.as_ptr()));
        }
        assert_eq!(sent, held, "{kind}");
    }
}

#[tokio::test]
async fn indices_and_hashes_together_choose_what_both_name() {
    let state = state(7);
    let (_, assembly) = state.source.decided_value(Height(7)).expect("held");
    let hash = versioned_hash(&assembly.lists.commitments[1]);
    for (query, count) in [
        (format!("indices=1&versioned_hashes={hash}"), 1),
        (format!("indices=0,2&versioned_hashes={hash}"), 0),
        (format!("versioned_hashes={hash},{hash}"), 1),
    ] {
        for kind in ["blob_sidecars", "blobs"] {
            let (_, json) = ask(&state, &format!("/eth/v1/beacon/{kind}/21?{query}")).await;
            assert_eq!(json["data"].as_array().map(Vec::len), Some(count), "{kind}: {query}");
        }
    }
}

#[tokio::test]
async fn who_has_an_answer_is_told_so_and_no_blob_is_read() {
    let memory = Arc::new(Memory::chain(7));
    let state = HttpState::new(chain(), memory.clone(), state(7).board, Registry::new());
    let url = "/eth/v1/beacon/blobs/head?indices=0";
    let (_, headers, _) = ask_with(&state, url, &[]).await;
    let tag = headers["etag"].to_str().expect("ASCII").to_owned();
    let before = memory.blobs_read.load(Ordering::Relaxed);
    let (status, headers, body) = ask_with(&state, url, &[("if-none-match", &tag)]).await;
    assert_eq!(
        (status, headers["etag"].to_str().ok(), body.len()),
        (StatusCode::NOT_MODIFIED, Some(tag.as_str()), 0)
    );
    assert_eq!(memory.blobs_read.load(Ordering::Relaxed), before);
    // Another form, other blobs, another block, and other news of the client are other answers.
    for (url, form) in [
        (url, SSZ),
        ("/eth/v1/beacon/blobs/head?indices=1", ("accept", "*/*")),
        ("/eth/v1/beacon/blobs/15?indices=0", ("accept", "*/*")),
    ] {
        let (status, ..) = ask_with(&state, url, &[("if-none-match", &tag), form]).await;
        assert_eq!(status, StatusCode::OK, "{url}");
    }
    state.board.apply(&Event::Executed { height: Height(7) });
    let (status, ..) = ask_with(&state, url, &[("if-none-match", &tag)]).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_header_has_a_tag_by_which_its_reader_is_told_that_nothing_changed() {
    let state = state(5);
    let url = "/eth/v1/beacon/headers/head";
    let (_, headers, _) = ask_with(&state, url, &[]).await;
    let tag = headers["etag"].to_str().expect("ASCII").to_owned();
    let known = [("if-none-match", tag.as_str())];
    for url in [url.to_owned(), format!("/eth/v1/beacon/headers/{}", slot(5))] {
        let (status, headers, body) = ask_with(&state, &url, &known).await;
        assert_eq!(
            (status, headers["etag"].to_str().ok(), body.len()),
            (StatusCode::NOT_MODIFIED, Some(tag.as_str()), 0),
            "{url}"
        );
    }
    // Another block, and other news of the client.
    let other = format!("/eth/v1/beacon/headers/{}", slot(4));
    assert_eq!(ask_with(&state, &other, &known).await.0, StatusCode::OK);
    state.board.apply(&Event::Executed { height: Height(5) });
    let (status, headers, _) = ask_with(&state, url, &known).await;
    assert_eq!(status, StatusCode::OK);
    assert_ne!(headers["etag"], tag);
}

#[tokio::test]
async fn a_header_is_told_also_of_a_block_whose_blobs_are_gone() {
    let state = state(5);
    let mut parent = Hash::ZERO.to_string();
    for height in 1..=5 {
        let (status, json) = ask(&state, &format!("/eth/v1/beacon/headers/{}", slot(height))).await;
        assert_eq!(status, StatusCode::OK, "{json}");
        let data = &json["data"];
        let message = &data["header"]["message"];
        assert_eq!(
            (&message["slot"], &message["parent_root"]),
            (&slot(height).to_string().into(), &parent.clone().into())
        );
        assert_eq!((&data["canonical"], &json["finalized"]), (&true.into(), &true.into()));
        let by_parent = ask(&state, &format!("/eth/v1/beacon/headers?parent_root={parent}"))
            .await
            .1;
        assert_eq!(by_parent["data"][0], *data);
        let both = format!("/eth/v1/beacon/headers?slot={}&parent_root={parent}", slot(height));
        assert_eq!(ask(&state, &both).await.1["data"][0], *data);
        parent = data["root"].as_str().expect("hex").to_owned();
        let by_root = ask(&state, &format!("/eth/v1/beacon/headers/{parent}")).await.1;
        assert_eq!(by_root["data"], *data);
    }
    let (_, newest) = ask(&state, "/eth/v1/beacon/headers").await;
    assert_eq!(newest["data"][0]["root"], parent);
    for (url, status) in [
        ("/eth/v1/beacon/headers/genesis".to_owned(), 404),
        ("/eth/v1/beacon/headers/99".to_owned(), 404),
        (format!("/eth/v1/beacon/headers?parent_root={parent}"), 404),
        (
            format!("/eth/v1/beacon/headers?slot={}&parent_root={parent}", slot(3)),
            404,
        ),
        ("/eth/v1/beacon/headers?parent_root=0x1".to_owned(), 400),
        ("/eth/v1/beacon/headers?slot=x".to_owned(), 400),
        ("/eth/v1/beacon/headers?root=x".to_owned(), 400),
    ] {
        let (got, error) = ask(&state, &url).await;
        assert_eq!((got.as_u16(), &error["code"]), (status, &status.into()), "{url}");
    }
}

#[tokio::test]
async fn a_node_says_how_far_it_is_and_who_it_is() {
    let state = state(5);
    state.board.resume(state.source.as_ref());
    let health = async |query: &str| {
        let url = format!("/eth/v1/node/health{query}");
        ask_with(&state, &url, &[]).await.0.as_u16()
    };
    assert_eq!(health("").await, 503, "no word of the client");
    state.board.peer_up(&ultramarine_types::PeerId::ZERO);
    let readiness = |ready| Event::Readiness {
        ready,
        why: "test".to_owned(),
        is_news: true,
    };
    state.board.apply(&readiness(true));
    assert_eq!(health("").await, 206, "the client has not imported the newest block");
    assert_eq!(health("?syncing_status=299").await, 299);
    assert_eq!(health("?syncing_status=99").await, 400);
    assert_eq!(health("?syncing=1").await, 400);
    let (_, json) = ask(&state, "/eth/v1/node/syncing").await;
    assert_eq!(
        json["data"],
        serde_json::json!({
            "head_slot": slot(5).to_string(), "sync_distance": "0", "is_syncing": false, "is_optimistic": true,
            "el_offline": false,
        })
    );
    state.board.apply(&Event::Executed { height: Height(5) });
    assert_eq!(health("").await, 200);
    state.board.apply(&Event::Lag {
        ours: Height(5),
        best: Height(15),
    });
    assert_eq!(health("").await, 206);
    state.board.peer_down(&ultramarine_types::PeerId::ZERO);
    assert_eq!(health("").await, 503, "nobody tells it how far the chain is");
    assert_eq!(health("?syncing_status=299").await, 503);
    let (_, json) = ask(&state, "/eth/v1/node/syncing").await;
    let away: u64 = json["data"]["sync_distance"]
        .as_str()
        .expect("a text")
        .parse()
        .expect("a number");
    let now_s = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let slots = now_s - GENESIS_TIME - slot(5);
    assert!((slots - 60..=slots).contains(&away), "{away} of {slots} slots");
    assert_eq!(json["data"]["is_syncing"], true);
    state.board.peer_up(&ultramarine_types::PeerId::ZERO);
    state.board.apply(&readiness(false));
    let (_, json) = ask(&state, "/eth/v1/node/syncing").await;
    assert_eq!(
        (
            &json["data"]["sync_distance"],
            &json["data"]["is_syncing"],
            &json["data"]["el_offline"]
        ),
        (&"10".into(), &true.into(), &true.into())
    );
    let (_, json) = ask(&state, "/eth/v1/node/peer_count").await;
    assert_eq!(json["data"]["connected"], "1");
    let (_, json) = ask(&state, "/eth/v1/node/identity").await;
    assert_eq!(json["data"]["peer_id"], PeerId::ZERO.to_string());
}

#[tokio::test]
async fn text_is_compressed_for_whoever_asks_and_ssz_is_not() {
    let state = state(7);
    let (_, headers, body) = ask_with(&state, "/eth/v1/beacon/blobs/21", &[("accept-encoding", "gzip")]).await;
    assert_eq!(headers["content-encoding"], "gzip");
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_string(&mut plain)
        .expect("gzip");
    assert_eq!(plain, ask_text(&state, "/eth/v1/beacon/blobs/21").await.1);
    let accept = [("accept-encoding", "gzip"), SSZ];
    let (_, headers, body) = ask_with(&state, "/eth/v1/beacon/blobs/21", &accept).await;
    assert!(!headers.contains_key("content-encoding"));
    assert_eq!(
        (headers["content-length"].to_str().ok(), body.len()),
        (Some((3 * BLOB_BYTES).to_string().as_str()), 3 * BLOB_BYTES)
    );
}

#[tokio::test]
async fn pages_of_named_origins_may_read_and_no_others() {
    let allowed = async |state: &HttpState, origin: &str| {
        let (_, headers, _) = ask_with(state, "/status", &[("origin", origin)]).await;
        let header = headers.get("access-control-allow-origin");
        header.map(|value| value.to_str().expect("ASCII").to_owned())
    };
    let origin = |text| axum::http::HeaderValue::from_static(text);
    let closed = state(1);
    assert_eq!(allowed(&closed, "https://a.example").await, None);
    let open = state(1).allow_origins(vec![origin("https://a.example"), origin("http://localhost:3000")]);
    for named in ["https://a.example", "http://localhost:3000"] {
        assert_eq!(allowed(&open, named).await.as_deref(), Some(named));
    }
    assert_eq!(allowed(&open, "https://b.example").await, None);
    let all = state(1).allow_origins(vec![origin("*")]);
    assert_eq!(allowed(&all, "https://b.example").await.as_deref(), Some("*"));
}
