use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::response::IntoResponse;
use axum::{Json, Router, routing};
use serde_json::{Value, json};
use ultramarine_node::genesis::execution::dev_account;

use super::*;

const FIFTH: DecidedBlock = DecidedBlock { height: 5, slot: 5 };

/// A client whose pool holds one transaction, and whose chain takes one and no other.
#[derive(Default)]
struct SmallPool {
    sent: usize,
    decided: Option<Value>,
    /// Answers to transactions that are lost.
    losses: usize,
    /// Whether it says nothing to transactions.
    is_mute: bool,
    /// How often it was asked where a transaction is.
    looks: usize,
    /// Transactions as they came.
    came: Vec<Value>,
}

impl SmallPool {
    fn answer(&mut self, call: &Value) -> Value {
        match call["method"].as_str().expect("a method") {
            "eth_sendRawTransaction" if self.sent > usize::from(self.decided.is_some()) => {
                json!({ "error": { "code": -32000, "message": "account limit exceeded" } })
            }
            "eth_sendRawTransaction" => {
                self.sent += 1;
                json!({ "result": B256::ZERO })
            }
            "eth_getTransactionByHash" if self.sent == 0 => json!({ "result": null }),
            "eth_getTransactionByHash" => {
                self.looks += 1;
                let hash = &call["params"][0];
                let is_first = self.decided.get_or_insert_with(|| hash.clone()) == hash;
                json!({ "result": { "blockNumber": is_first.then_some("0x5") } })
            }
            // A block of the slot with its number.
            "eth_getBlockByNumber" => {
                let number = call["params"][0].as_str().expect("a number or a tag");
                let number = number
                    .strip_prefix("0x")
                    .map_or(5, |digits| digits.parse().expect("small"));
                json!({ "result": { "timestamp": format!("{:#x}", 100 + number) } })
            }
            _ => json!({ "result": "0x0" }),
        }
    }
}

async fn serve(pool: &Arc<Mutex<SmallPool>>) -> String {
    let answer = |State(pool): State<Arc<Mutex<SmallPool>>>, Json(call): Json<Value>| async move {
        let is_transaction = call["method"] == "eth_sendRawTransaction";
        if is_transaction && pool.lock().expect("no test panics in it").is_mute {
            pool.lock().expect("no test panics in it").came.push(Value::Null);
            std::future::pending::<()>().await;
        }
        let mut pool = pool.lock().expect("no test panics in it");
        if is_transaction {
            pool.came.push(call["params"][0].clone());
            if pool.losses > 0 {
                pool.losses -= 1;
                // Less than is promised: the connection breaks.
                return ([("content-length", "9")], "{").into_response();
            }
        }
        let mut answer = pool.answer(&call);
        answer["jsonrpc"] = json!("2.0");
        answer["id"] = call["id"].clone();
        Json(answer).into_response()
    };
    let router = Router::new().route("/", routing::post(answer)).with_state(pool.clone());
    listen(router).await
}

/// Serves, and says where.
async fn listen(router: Router) -> String {
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback has ports");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_transaction_whose_answer_was_lost_is_sent_again_as_it_was() {
    let pool = Arc::new(Mutex::new(SmallPool {
        losses: 2,
        ..SmallPool::default()
    }));
    let options = PutOptions {
        file: vec![1; 10],
        rpc: serve(&pool).await,
        signer: dev_account(0),
        patience: Duration::from_secs(60),
        threads: 1,
    };
    let outcome = put(options, std::future::pending(), |_| ()).await.expect("it was sent");
    assert!(outcome.trouble.is_none());
    assert_eq!(outcome.blobs[0].progress, Progress::Decided(FIFTH));
    let came = &pool.lock().expect("no test panics in it").came;
    assert_eq!(came.len(), 3);
    assert!(came.iter().all(|transaction| *transaction == came[0]));
}

#[tokio::test]
async fn a_client_that_never_answers_may_have_the_file() {
    let pool = Arc::new(Mutex::new(SmallPool {
        losses: usize::MAX,
        ..SmallPool::default()
    }));
    let options = PutOptions {
        file: vec![1; 10],
        rpc: serve(&pool).await,
        signer: dev_account(0),
        patience: Duration::ZERO,
        threads: 1,
    };
    let outcome = put(options, std::future::pending(), |_| ())
        .await
        .expect("it may have been sent");
    assert_eq!(outcome.blobs[0].progress, Progress::Unanswered);
    assert!(outcome.trouble.is_some());
}

#[tokio::test]
async fn a_file_that_stops_on_its_way_tells_how_far_every_blob_came() {
    let options = PutOptions {
        file: vec![1; 2 * BLOBS_MAX * PIECE_BYTES + 1],
        rpc: serve(&Arc::default()).await,
        signer: dev_account(0),
        patience: Duration::ZERO,
        threads: 2,
    };
    let mut told = Vec::new();
    let outcome = put(options, std::future::pending(), |news| match news {
        News::Decided(blob) => told.push(*blob),
        News::Step { .. } => {}
    })
    .await
    .expect("some was sent");
    let progress: Vec<Progress> = outcome.blobs.iter().map(|blob| blob.progress).collect();
    let mut expected = vec![Progress::Decided(FIFTH); BLOBS_MAX];
    expected.extend([Progress::Pooled; BLOBS_MAX]);
    expected.push(Progress::Unsent);
    assert_eq!(progress, expected);
    assert_eq!(
        told,
        outcome.blobs[..BLOBS_MAX],
        "told when decided, in the file's order"
    );
    let trouble = outcome.trouble.expect("it did not come through").to_string();
    assert!(trouble.contains("is in no block yet"), "{trouble}");
}

/// A client that answers each method with the next of a list, and with the last of it for ever.
type Script = Arc<Mutex<std::collections::HashMap<&'static str, Vec<Value>>>>;

async fn follow(script: &Script) -> Rpc {
    let answer = |State(script): State<Script>, Json(call): Json<Value>| async move {
        let mut script = script.lock().expect("no test panics in it");
        let method = call["method"].as_str().expect("a method");
        let Some(answers) = script.get_mut(method) else {
            return Json(json!({ "id": 1, "error": { "code": -32601, "message": "no such method" } }));
        };
        let answer = if answers.len() > 1 {
            answers.remove(0)
        } else {
            answers[0].clone()
        };
        Json(answer)
    };
    let router = Router::new()
        .route("/", routing::post(answer))
        .with_state(script.clone());
    Rpc::new(&listen(router).await).expect("a URL")
}

#[tokio::test]
async fn a_file_that_is_interrupted_tells_how_far_every_blob_came() {
    // So many transactions come, and are looked for, before it is interrupted.
    let (pooled, unsent) = (Progress::Pooled, Progress::Unsent);
    for (is_mute, transactions, looks, expected) in [
        // The third comes twice, and is refused, before the second is looked for.
        (false, 4, 2, [Progress::Decided(FIFTH), pooled, unsent]),
        (true, 1, 0, [Progress::Unanswered, unsent, unsent]),
    ] {
        let pool = Arc::new(Mutex::new(SmallPool {
            is_mute,
            ..SmallPool::default()
        }));
        let options = PutOptions {
            file: vec![1; 2 * BLOBS_MAX * PIECE_BYTES + 1],
            rpc: serve(&pool).await,
            signer: dev_account(0),
            patience: Duration::from_secs(600),
            threads: 2,
        };
        let is_time = || {
            let pool = pool.lock().expect("no test panics in it");
            pool.came.len() >= transactions && pool.looks >= looks
        };
        let stop = async {
            while !is_time() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            "interrupted"
        };
        let outcome = put(options, stop, |_| ()).await.expect("some was sent");
        let progress = outcome.blobs.iter().map(|blob| blob.progress);
        let firsts: Vec<Progress> = progress.step_by(BLOBS_MAX).collect();
        assert_eq!(firsts, expected);
        assert_eq!(outcome.trouble.expect("it is not whole").to_string(), "interrupted");
    }
    let options = PutOptions {
        file: vec![1; 10],
        rpc: serve(&Arc::default()).await,
        signer: dev_account(0),
        patience: Duration::from_secs(600),
        threads: 1,
    };
    let stop = std::future::ready("interrupted");
    let error = put(options, stop, |_| ()).await.expect_err("at once").to_string();
    assert_eq!(error, "interrupted; nothing was sent");
}

#[tokio::test]
async fn a_transaction_is_found_wherever_it_is_and_else_it_is_said_what_became_of_it() {
    let (null, pending) = (json!({ "result": null }), json!({ "result": { "blockNumber": null } }));
    let block = json!({ "result": { "blockNumber": "0x7", "status": "0x0" } });
    let lost = json!({ "error": { "code": -32603, "message": "Expected 2 receipts, got 1" } });
    let number = |number: u64| json!({ "result": format!("{number:#x}") });
    let sent = json!({ "result": B256::ZERO });
    let (at, receipt, nonce, of_number) = (
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getTransactionCount",
        "eth_getBlockByNumber",
    );
    // The block's, then the genesis'.
    let times = [107, 100].map(|time: u64| json!({ "result": { "timestamp": format!("{time:#x}") } }));
    // What the client answers, whether there is time to wait, and how it ends: a height, or a part of the reason.
    let cases = [
        (
            vec![(at, vec![block.clone()]), (receipt, vec![lost.clone()])],
            true,
            Ok(7),
        ),
        (
            vec![(at, vec![null.clone(), pending.clone(), null.clone(), block.clone()])],
            true,
            Ok(7),
        ),
        (vec![(receipt, vec![null.clone(), block.clone()])], true, Ok(7)),
        (vec![(at, vec![lost.clone(), block.clone()])], true, Ok(7)),
        (
            vec![(at, vec![null.clone(); 9]), (nonce, vec![number(4)])],
            true,
            Err("in place of"),
        ),
        (
            vec![(at, vec![null.clone(); 9]), (nonce, vec![number(3)])],
            false,
            Err("does not know it any more"),
        ),
        (
            vec![(at, vec![pending.clone()]), (nonce, vec![number(1)])],
            false,
            Err("has earlier ones"),
        ),
        (
            vec![(at, vec![pending.clone()]), (nonce, vec![number(3)])],
            false,
            Err("stays in the pool"),
        ),
        (vec![(at, vec![lost])], false, Err("Expected 2 receipts")),
        // One that does not know its own block for a moment, and one that never does.
        (
            vec![
                (at, vec![block.clone()]),
                (of_number, [std::slice::from_ref(&null), times.as_slice()].concat()),
            ],
            true,
            Ok(7),
        ),
        (
            vec![(at, vec![block]), (of_number, vec![null])],
            false,
            Err("whose slot is not known"),
        ),
    ];
    let pooled = Pooled {
        nonce: 3,
        transaction: SignedTransaction {
            raw: vec![3; 100],
            hash: B256::repeat_byte(9),
            versioned_hashes: Vec::new(),
        },
    };
    let account = dev_account(0).address();
    for (answers, has_time, expected) in cases {
        let mut script: std::collections::HashMap<_, _> = answers.into_iter().collect();
        script.insert("eth_sendRawTransaction", vec![sent.clone()]);
        script.entry("eth_getBlockByNumber").or_insert(times.to_vec());
        let rpc = follow(&Arc::new(Mutex::new(script))).await;
        let until = Instant::now()
            + if has_time {
                Duration::from_secs(60)
            } else {
                Duration::ZERO
            };
        let found = wait(&rpc, account, &pooled, until, Duration::from_millis(300)).await;
        match (found, expected) {
            (Ok(block), Ok(expected)) => assert_eq!((block.height, block.slot), (expected, expected)),
            (Err(error), Err(part)) => assert!(format!("{error:#}").contains(part), "{error:#}"),
            (found, expected) => panic!("{found:?} where {expected:?} was expected"),
        }
    }
}

#[tokio::test]
async fn a_transaction_that_the_client_dropped_is_sent_again() {
    let script: Script = Arc::default();
    let null = json!({ "result": null });
    let answers = [
        ("eth_getTransactionByHash", vec![null; 4]),
        ("eth_getTransactionCount", vec![json!({ "result": "0x3" })]),
        ("eth_sendRawTransaction", vec![json!({ "result": B256::ZERO }); 2]),
        (
            "eth_getBlockByNumber",
            vec![json!({ "result": { "timestamp": "0x64" } })],
        ),
    ];
    script.lock().expect("ours alone").extend(answers);
    let rpc = follow(&script).await;
    let pooled = Pooled {
        nonce: 3,
        transaction: SignedTransaction {
            raw: vec![3; 100],
            hash: B256::repeat_byte(9),
            versioned_hashes: Vec::new(),
        },
    };
    let until = Instant::now() + Duration::from_secs(60);
    let waiting = wait(
        &rpc,
        dev_account(0).address(),
        &pooled,
        until,
        Duration::from_millis(300),
    );
    let resent = async {
        while script.lock().expect("no test panics in it")["eth_sendRawTransaction"].len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let block = json!({ "result": { "blockNumber": "0x7" } });
        script
            .lock()
            .expect("no test panics in it")
            .insert("eth_getTransactionByHash", vec![block]);
    };
    let (found, ()) = tokio::join!(waiting, resent);
    assert_eq!(found.expect("it is there after all").height, 7);
}
