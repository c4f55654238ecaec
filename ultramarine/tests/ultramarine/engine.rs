//! The engine driver against the embedded execution client, over its real Engine API.

mod misplaced;
pub mod rig;

use std::sync::Arc;
use std::time::Duration;

use ultramarine_engine::http::HttpClient;
use ultramarine_engine::payload::Payload;
use ultramarine_engine::{Endpoint, Secret, header};
use ultramarine_node::genesis::execution::dev_account;
use ultramarine_runtime::{IoMode, Mark, Registry, RingOps};
use ultramarine_types::execution::{Built, EngineCall, EngineReply, Executed, PayloadStatus};
use ultramarine_types::lists::chunk_hashes;
use ultramarine_types::{Hash, Height, Lists, Nanos, Stage};

use crate::harness::cells::with_cells;
use bytes::Bytes;
use hdrhistogram::Histogram;
use rig::{Driver, El, first_parent, genesis, init_of, options, parent_of, unix_seconds};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use ultramarine::publish::encode::PIECE_BYTES;
use ultramarine::publish::rpc::Rpc;
use ultramarine::publish::transaction::{BLOBS_MAX, SignedTransaction};
use ultramarine::publish::{DecidedBlock, Progress, Prover, PutOptions, put};

#[test]
fn five_blocks_with_blobs_are_built_by_one_client_and_executed_by_another() {
    let genesis = genesis(6, None);
    let (builder_el, follower_el) = (El::start(&genesis), El::start(&genesis));
    let mut builder = Driver::start(options(builder_el.endpoint(), &genesis, 6));
    let mut follower = Driver::start(options(follower_el.endpoint(), &genesis, 6));
    let chain = grow(&mut builder, &builder_el, &genesis, 5, 2);
    assert_eq!(builder.newest(), Some(5));
    follower.forkchoice(first_parent(&genesis).hash, Height(0));
    for built in &chain {
        let valid = PayloadStatus::Valid {
            latest: Some(built.header.block_hash),
        };
        assert_eq!(follower.execute(built), Executed::Answered(valid.clone()));
        assert_eq!(follower.import(built), (valid.clone(), valid));
        assert_eq!(
            built.header.parent_beacon_block_root,
            rig::root_above(&built.header.parent_hash)
        );
    }
    assert_eq!(follower.newest(), Some(5));
    let (log, heights) = (follower.registry.stage_log(), (1..=5).map(Height));
    for (height, stage) in heights.flat_map(|height| [Stage::Execute, Stage::Import].map(|stage| (height, stage))) {
        let open = log.of(Mark::Client(stage), height);
        assert!(
            open.is_some_and(|open| open.took() > Nanos::ZERO),
            "{height}, {stage:?}: {open:?}"
        );
    }
    let text = builder.registry.render();
    assert!(
        text.contains("ultramarine_stage_seconds_count{stage=\"build\"} 5"),
        "{text}"
    );
    for driver in [&builder, &follower] {
        for (stage, whole, client) in stages_and_shares(&driver.registry) {
            assert_eq!(whole.len(), client.len(), "{stage}");
            let (whole, client) = (whole.mean(), client.mean());
            assert!(0.0 < client && client <= whole, "{stage}: {client} of {whole} ns");
        }
    }
    assert_eq!(
        stages_and_shares(&builder.registry).len() + stages_and_shares(&follower.registry).len(),
        2
    );
    assert!(
        text.contains("method=\"engine_getPayloadV3\",outcome=\"answered\"} 5"),
        "{text}"
    );
}

/// The stages that a driver measured: all of each, and the client's share.
fn stages_and_shares(registry: &Registry) -> Vec<(&'static str, Histogram<u64>, Histogram<u64>)> {
    let of = |wanted: &str, stage: &str| {
        let mut all = registry.histograms().into_iter();
        let found = all.find(|(name, labels, _)| name == wanted && labels.iter().any(|(_, value)| value == stage));
        found.map(|(_, _, histogram)| histogram).expect("it is registered")
    };
    ["build", "execute"]
        .into_iter()
        .map(|stage| {
            let share = of("ultramarine_stage_client_seconds", stage);
            (stage, of("ultramarine_stage_seconds", stage), share)
        })
        .filter(|(_, whole, _)| !whole.is_empty())
        .collect()
}

#[test]
fn a_client_that_lost_its_state_is_fed_the_chain_again() {
    let genesis = genesis(6, None);
    let first = El::start(&genesis);
    let auth = first.auth;
    let mut driver = Driver::start(options(first.endpoint(), &genesis, 6));
    let chain = grow(&mut driver, &first, &genesis, 3, 1);
    let head = chain[2].header.block_hash;
    drop(first);
    let gone = driver.ask(EngineCall::Forkchoice {
        head,
        height: Height(3),
    });
    assert!(
        matches!(
            gone,
            EngineReply::Forkchoice {
                status: PayloadStatus::Unavailable { .. },
                ..
            }
        ),
        "{gone:?}"
    );
    assert_eq!(driver.newest(), None);
    let _second = El::start_on(&genesis, auth);
    assert_eq!(
        driver.forkchoice(head, Height(3)),
        PayloadStatus::Syncing,
        "it has only the genesis block"
    );
    assert_eq!(driver.newest(), Some(0));
    for built in &chain {
        let valid = PayloadStatus::Valid {
            latest: Some(built.header.block_hash),
        };
        assert_eq!(driver.import(built), (valid.clone(), valid));
    }
    assert!(matches!(
        driver.forkchoice(head, Height(3)),
        PayloadStatus::Valid { .. }
    ));
}

#[test]
fn a_block_may_carry_as_many_blobs_as_the_chain_allows() {
    let genesis = genesis(24, None);
    let el = El::start(&genesis);
    let mut driver = Driver::start(options(el.endpoint(), &genesis, 24));
    let parent = first_parent(&genesis);
    driver.forkchoice(parent.hash, Height(0));
    let prover = Prover::new(2);
    for nonce in 0..5 {
        el.feed(&prover, nonce, 6);
    }
    let built = driver.build(parent, unix_seconds()).expect("built");
    assert_eq!(built.blobs.len(), 24);
    let valid = PayloadStatus::Valid {
        latest: Some(built.header.block_hash),
    };
    assert_eq!(driver.import(&built), (valid.clone(), valid));
    let next = driver.build(parent_of(&built), unix_seconds()).expect("built");
    assert_eq!(next.blobs.len(), 6, "the fifth transaction waited");
}

#[test]
fn a_chain_that_reaches_prague_changes_to_the_fourth_version() {
    let prague = unix_seconds() + 1000;
    let genesis = genesis(6, Some(prague));
    let el = El::start(&genesis);
    let mut driver = Driver::start(options(el.endpoint(), &genesis, 6));
    let chain = grow(&mut driver, &el, &genesis, 1, 1);
    assert_eq!(chain[0].header.requests_hash, None);
    let after = driver.build(parent_of(&chain[0]), prague).expect("built");
    assert!(after.header.requests_hash.is_some());
    let valid = PayloadStatus::Valid {
        latest: Some(after.header.block_hash),
    };
    assert_eq!(driver.execute(&after), Executed::Answered(valid.clone()));
    assert_eq!(driver.import(&after), (valid.clone(), valid));
    let calls = driver.registry.render();
    assert!(
        calls.contains("method=\"engine_newPayloadV4\",outcome=\"answered\"} 3"),
        "{calls}"
    );
}

#[test]
fn a_client_that_is_not_there_yet_is_waited_for() {
    let genesis = genesis(6, None);
    let auth = {
        let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        probe.local_addr().expect("an address")
    };
    let endpoint = Endpoint::Http {
        url: format!("http://{auth}"),
        secret: Secret::new(rig::JWT),
    };
    let mut driver = Driver::start(options(endpoint, &genesis, 6));
    let parent = first_parent(&genesis);
    let waiting = driver.ask(EngineCall::Forkchoice {
        head: parent.hash,
        height: Height(0),
    });
    assert!(
        matches!(
            waiting,
            EngineReply::Forkchoice {
                status: PayloadStatus::Unavailable { .. },
                ..
            }
        ),
        "{waiting:?}"
    );
    assert!(driver.build(parent, unix_seconds()).is_err());
    assert_eq!(driver.newest(), None);
    let _el = El::start_on(&genesis, auth);
    assert!(matches!(
        driver.forkchoice(parent.hash, Height(0)),
        PayloadStatus::Valid { .. }
    ));
}

#[test]
fn broken_bytes_never_reach_the_client_and_a_wrong_state_is_its_verdict() {
    let genesis = genesis(6, None);
    let el = El::start(&genesis);
    let mut driver = Driver::start(options(el.endpoint(), &genesis, 6));
    let chain = grow(&mut driver, &el, &genesis, 1, 1);
    let next = driver.build(parent_of(&chain[0]), unix_seconds()).expect("built");
    let init = init_of(&next);
    let broken = |outcome| matches!(outcome, Executed::Broken { .. });
    assert!(broken(driver.execute_as(&next, &Bytes::from_static(b"noise"))));
    assert!(
        broken(driver.execute_as(&chain[0], &next.payload)),
        "another block's bytes"
    );
    let mut truncated = next.payload.to_vec();
    truncated.pop();
    assert!(broken(driver.execute_as(&next, &truncated.into())));
    // Well-formed and self-consistent in every hash, but not what execution gives.
    let wrong = forged(&next, |payload| {
        payload.execution.payload_inner.payload_inner.state_root = alloy_primitives::B256::repeat_byte(9);
    });
    let outcome = driver.execute(&wrong);
    assert!(
        matches!(&outcome, Executed::Answered(PayloadStatus::Invalid { .. })),
        "{outcome:?}"
    );
    // A block on a parent that nobody has.
    let orphan = forged(&next, |payload| {
        payload.execution.payload_inner.payload_inner.parent_hash = alloy_primitives::B256::repeat_byte(8);
    });
    let outcome = driver.execute(&orphan);
    assert_eq!(outcome, Executed::Answered(PayloadStatus::Syncing));
    let inspected = driver.ask(EngineCall::Inspect {
        key: init.key(),
        init,
        lists: Arc::new(next.lists.clone()),
        payload: next.payload.clone(),
    });
    assert!(
        matches!(inspected, EngineReply::Inspected { result: Ok(()), .. }),
        "{inspected:?}"
    );
}

/// The block with a change, and every hash made to fit it.
fn forged(built: &Built, change: impl Fn(&mut Payload)) -> Built {
    let mut payload = Payload::decode(&built.payload).expect("our own");
    change(&mut payload);
    let root = built.header.parent_beacon_block_root;
    let hash = header::of(&payload, &root).block_hash;
    payload.execution.payload_inner.payload_inner.block_hash = hash.0.into();
    let bytes = payload.encode();
    Built {
        header: header::of(&payload, &root).claimed,
        lists: Lists {
            chunks: chunk_hashes(&bytes),
            ..built.lists.clone()
        },
        payload: bytes,
        blobs: built.blobs.clone(),
    }
}

#[test]
fn forkchoice_updates_are_answered_in_the_order_they_were_asked() {
    let genesis = genesis(6, None);
    let el = El::start(&genesis);
    let mut driver = Driver::start(options(el.endpoint(), &genesis, 6));
    let chain = grow(&mut driver, &el, &genesis, 3, 0);
    let heads: Vec<Hash> = chain.iter().map(|built| built.header.block_hash).collect();
    let order: Vec<Hash> = heads.iter().cycle().take(30).copied().collect();
    for (index, head) in order.iter().enumerate() {
        driver.send(EngineCall::Forkchoice {
            head: *head,
            height: Height(index as u64),
        });
    }
    for expected in order {
        match driver.receive() {
            EngineReply::Forkchoice { head, .. } => assert_eq!(head, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_same_driver_speaks_over_a_unix_socket_on_either_reactor() {
    let genesis = genesis(6, None);
    for mode in [IoMode::Fallback, IoMode::Auto] {
        let io = mode.resolve().expect("neither mode fails");
        let el = El::start(&genesis);
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("el.ipc");
        bridge(&el, &path);
        let mut settings = options(Endpoint::Ipc { path }, &genesis, 6);
        settings.io = io;
        let mut driver = Driver::start(settings);
        grow(&mut driver, &el, &genesis, 2, 2);
        let submitted = RingOps::new(&driver.registry, "engine").get();
        assert_eq!(
            submitted > 0,
            io == ultramarine_runtime::Io::Uring,
            "{submitted} operations on {}",
            io.name()
        );
    }
}

/// Serves the client's Engine API on a Unix socket, a line per call, as geth and reth do.
fn bridge(el: &El, path: &std::path::Path) {
    let _inside = el.runtime.enter();
    let listener = tokio::net::UnixListener::bind(path).expect("a socket");
    let url = format!("http://{}", el.auth);
    el.runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let http = HttpClient::new(&url, 64 * 1024 * 1024).expect("a URL");
            tokio::spawn(async move {
                let mut stream = BufStream::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
                    let token = Secret::new(rig::JWT).token(unix_seconds());
                    let answer = http
                        .post(Bytes::from(std::mem::take(&mut line)), Some(&token))
                        .await
                        .expect("answered");
                    stream.write_all(&answer.body).await.expect("written");
                    stream.write_all(b"\n").await.expect("written");
                    stream.flush().await.expect("flushed");
                }
            });
        }
    });
}

#[test]
fn a_block_is_built_whatever_proofs_its_transactions_come_with() {
    let genesis = genesis(12, None);
    let el = El::start(&genesis);
    let mut driver = Driver::start(options(el.endpoint(), &genesis, 12));
    let mut parent = first_parent(&genesis);
    driver.forkchoice(parent.hash, Height(0));
    let prover = Prover::new(2);
    let mut nonce = 0;
    // Blobs of each transaction, and whether it comes with cell proofs.
    let blocks: [&[(usize, bool)]; 3] = [
        &[(2, false), (3, true), (1, false)],
        &[(1, true), (2, true)],
        &[(1, true), (1, false), (2, true), (2, false)],
    ];
    for transactions in blocks {
        let mut named = Vec::new();
        for (blobs, cells) in transactions {
            let form = if *cells { with_cells } else { SignedTransaction::clone };
            named.extend(el.feed_as(&prover, nonce, *blobs, form).versioned_hashes);
            nonce += 1;
        }
        // What cannot be made in time is made for the next try.
        let until = std::time::Instant::now() + rig::PATIENCE;
        let built = loop {
            match driver.build(parent, unix_seconds()) {
                Ok(built) => break built,
                Err(reason) => assert!(
                    reason.contains("not made yet") && std::time::Instant::now() < until,
                    "{reason}"
                ),
            }
        };
        let hashes: Vec<_> = built
            .lists
            .commitments
            .iter()
            .map(|commitment| alloy_eips::eip4844::kzg_to_versioned_hash(&commitment.0))
            .collect();
        assert_eq!(hashes, named);
        assert_eq!(
            built.lists.proofs.len(),
            built.blobs.len(),
            "one each, which the lane verified"
        );
        let valid = PayloadStatus::Valid {
            latest: Some(built.header.block_hash),
        };
        assert_eq!(driver.import(&built), (valid.clone(), valid));
        parent = parent_of(&built);
    }
}

#[test]
fn a_file_of_several_transactions_in_one_block_is_published() {
    let genesis = genesis(48, None);
    let el = El::start(&genesis);
    let mut driver = Driver::start(options(el.endpoint(), &genesis, 48));
    let mut parent = first_parent(&genesis);
    driver.forkchoice(parent.hash, Height(0));
    for (account, transactions) in [(0, 2), (1, 7)] {
        let file = vec![7; (transactions - 1) * BLOBS_MAX * PIECE_BYTES + 1];
        let blobs = (transactions - 1) * BLOBS_MAX + 1;
        let put = el.runtime.spawn(put(
            PutOptions {
                file,
                rpc: el.rpc_url(),
                signer: dev_account(account),
                patience: Duration::from_secs(30),
                threads: 2,
            },
            std::future::pending(),
            |_| (),
        ));
        let rpc = Rpc::new(&el.rpc_url()).expect("a URL");
        let until = std::time::Instant::now() + rig::PATIENCE;
        let pooled = || el.runtime.block_on(rpc.pending_nonce(dev_account(account).address()));
        while pooled().expect("it answers") < transactions as u64 {
            assert!(!put.is_finished() && std::time::Instant::now() < until, "not pooled");
            std::thread::sleep(Duration::from_millis(20));
        }
        // The block with all of them, and others behind it.
        let mut first = None;
        for index in 0..4 {
            let built = driver.build(parent, unix_seconds()).expect("built");
            assert_eq!(built.blobs.len(), if index == 0 { blobs } else { 0 });
            first.get_or_insert(DecidedBlock {
                height: built.header.number,
                slot: built.header.timestamp - first_parent(&genesis).timestamp,
            });
            let valid = PayloadStatus::Valid {
                latest: Some(built.header.block_hash),
            };
            assert_eq!(driver.import(&built), (valid.clone(), valid));
            parent = parent_of(&built);
        }
        let outcome = el.runtime.block_on(put).expect("no panic").expect("it was sent");
        assert!(outcome.trouble.is_none(), "{:?}", outcome.trouble);
        let decided = Progress::Decided(first.expect("built"));
        assert_eq!(outcome.blobs.len(), blobs);
        assert!(
            outcome.blobs.iter().all(|blob| blob.progress == decided),
            "{:?}",
            outcome.blobs
        );
    }
}

#[test]
fn a_call_that_is_not_answered_in_time_is_unavailable() {
    let genesis = genesis(6, None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut settings = options(
        Endpoint::Http {
            url,
            secret: Secret::new(rig::JWT),
        },
        &genesis,
        6,
    );
    settings.timeout = Duration::from_millis(50);
    let mut driver = Driver::start(settings);
    // The listener accepts and never answers, so the start-up checks time out and are tried again.
    let answer = driver.ask(EngineCall::Forkchoice {
        head: Hash([0; 32]),
        height: Height(0),
    });
    assert!(
        matches!(
            answer,
            EngineReply::Forkchoice {
                status: PayloadStatus::Unavailable { .. },
                ..
            }
        ),
        "{answer:?}"
    );
    let until = std::time::Instant::now() + rig::PATIENCE;
    while !driver.registry.render().contains("outcome=\"timeout\"") {
        assert!(std::time::Instant::now() < until, "no call timed out");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_waited_for_is_named_while_it_is() {
    let genesis = genesis(6, None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let secret = Secret::new(rig::JWT);
    let settings = options(Endpoint::Http { url, secret }, &genesis, 6);
    let waiting = settings.waiting.clone();
    let _driver = Driver::start(settings);
    let until = std::time::Instant::now() + rig::PATIENCE;
    let reason = loop {
        if let Some(reason) = waiting.reason() {
            break reason;
        }
        assert!(std::time::Instant::now() < until, "nothing is named");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(
        reason.contains("has not answered engine_exchangeCapabilities for 2 s"),
        "{reason}"
    );
}

/// Builds `count` blocks with `blobs` blobs each on one driver, importing each.
fn grow(driver: &mut Driver, el: &El, genesis: &Value, count: u64, blobs: usize) -> Vec<Built> {
    let prover = Prover::new(2);
    let mut parent = first_parent(genesis);
    assert!(matches!(
        driver.forkchoice(parent.hash, Height(0)),
        PayloadStatus::Valid { .. }
    ));
    let mut chain = Vec::new();
    for nonce in 0..count {
        if blobs > 0 {
            el.feed(&prover, nonce, blobs);
        }
        let built = driver.build(parent, unix_seconds()).expect("built");
        assert_eq!(built.blobs.len(), blobs, "block {}", nonce + 1);
        let valid = PayloadStatus::Valid {
            latest: Some(built.header.block_hash),
        };
        assert_eq!(driver.import(&built), (valid.clone(), valid));
        parent = parent_of(&built);
        chain.push(*built);
    }
    chain
}
