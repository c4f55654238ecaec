//! The engine driver against EthereumJS, an independent execution client, beside the embedded one on the same chain.
//!
//! Wants EthereumJS, see `harness/program.rs`.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ultramarine_engine::{Endpoint, Secret};
use ultramarine_node::genesis::execution::dev_account;
use ultramarine_types::Height;
use ultramarine_types::execution::{Executed, PayloadStatus};

use crate::engine::rig::{Driver, El, JWT, first_parent, genesis, options, parent_of, unix_seconds};
use crate::harness::program;
use crate::harness::turn::Turn;
use serde_json::Value;
use ultramarine::publish::Prover;
use ultramarine::publish::rpc::Rpc;
use ultramarine::publish::transaction::{Terms, sign};

/// A running EthereumJS, killed when dropped.
struct EthereumJs {
    child: Child,
    directory: tempfile::TempDir,
    rpc: String,
    engine: String,
    _turn: Turn,
}

impl EthereumJs {
    fn start(program: &Path, genesis: &Value) -> Self {
        let turn = Turn::shared();
        let directory = tempfile::tempdir().expect("a directory");
        let file = |name: &str| directory.path().join(name);
        std::fs::write(file("genesis.json"), genesis.to_string()).expect("written");
        std::fs::write(file("jwt.hex"), hex::encode(JWT)).expect("written");
        std::fs::set_permissions(file("jwt.hex"), std::fs::Permissions::from_mode(0o600)).expect("mode set");
        let ports = free_ports();
        let log = std::fs::File::create(file("log")).expect("a log");
        // It leaves files of its own where it is started.
        let child = Command::new(program)
            .current_dir(directory.path())
            .arg("--gethGenesis")
            .arg(file("genesis.json"))
            .arg("--dataDir")
            .arg(file("data"))
            .arg("--jwtSecret")
            .arg(file("jwt.hex"))
            .args([
                "--rpc",
                "--rpcAddr",
                "127.0.0.1",
                "--rpcEngine",
                "--rpcEngineAddr",
                "127.0.0.1",
            ])
            .args([
                "--rpcPort",
                &ports[0].to_string(),
                "--rpcEnginePort",
                &ports[1].to_string(),
            ])
            .args(["--port", &ports[2].to_string()])
            .args([
                "--isSingleNode",
                "--sync",
                "none",
                "--discDns=false",
                "--discV4=false",
                "--logFile=false",
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("EthereumJS starts");
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            child,
            directory,
            rpc: url(ports[0]),
            engine: url(ports[1]),
            _turn: turn,
        }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Http {
            url: self.engine.clone(),
            secret: Secret::new(JWT),
        }
    }

    /// Puts a transaction with `blobs` blobs into its pool, which it then fails to describe.
    async fn feed(&self, prover: &Prover, account: usize, nonce: u64, blobs: u8) {
        let rpc = Rpc::new(&self.rpc).expect("a URL");
        let contents: Vec<_> = (0..blobs)
            .flat_map(|blob| ultramarine::publish::encode::encode(&[blob]).expect("small"))
            .collect();
        let proven = prover.prove(&contents).await.expect("proven");
        let terms = Terms {
            chain_id: 20_250,
            nonce,
            fees: rpc.fees().await.expect("fees"),
        };
        rpc.send(&sign(&dev_account(account), &terms, &proven).expect("signed").raw)
            .await
            .expect("pooled");
    }
}

impl Drop for EthereumJs {
    fn drop(&mut self) {
        // Nothing is to be saved, and it may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            println!(
                "EthereumJS said last:\n{}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}

fn free_ports() -> [u16; 3] {
    // All are held until all are known, so they differ.
    let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|listener| listener.local_addr().expect("an address").port())
}

#[test]
fn ethereumjs_executes_builds_and_imports_beside_the_embedded_client() {
    let Some(program) = program::ethereumjs() else { return };
    let genesis = genesis(6, None);
    let other = EthereumJs::start(&program, &genesis);
    let embedded = El::start(&genesis);
    // The start-up checks compare genesis hashes, so both agree with the one we compute.
    let mut ethereumjs = Driver::start(options(other.endpoint(), &genesis, 6));
    let mut ethrex = Driver::start(options(embedded.endpoint(), &genesis, 6));
    let mut parent = first_parent(&genesis);
    assert!(matches!(
        ethereumjs.forkchoice(parent.hash, Height(0)),
        PayloadStatus::Valid { .. }
    ));
    assert!(matches!(
        ethrex.forkchoice(parent.hash, Height(0)),
        PayloadStatus::Valid { .. }
    ));
    let prover = Prover::new(2);
    for round in 0..3 {
        // Each client proposes in turn and the other judges what it proposed; each pool holds its own account's blobs.
        for ethereumjs_builds in [false, true] {
            let (builder, judge, blobs) = if ethereumjs_builds {
                embedded.runtime.block_on(other.feed(&prover, 1, round, 2));
                (&mut ethereumjs, &mut ethrex, 2)
            } else {
                embedded.feed(&prover, round, 3);
                (&mut ethrex, &mut ethereumjs, 3)
            };
            let built = builder.build(parent, unix_seconds()).expect("built");
            assert_eq!(built.blobs.len(), blobs, "EthereumJS builds: {ethereumjs_builds}");
            let valid = PayloadStatus::Valid {
                latest: Some(built.header.block_hash),
            };
            assert_eq!(judge.execute(&built), Executed::Answered(valid.clone()));
            for client in [builder, judge] {
                assert_eq!(client.import(&built), (valid.clone(), valid.clone()));
            }
            parent = parent_of(&built);
        }
    }
    assert_eq!((ethereumjs.newest(), ethrex.newest()), (Some(6), Some(6)));
    let calls = ethereumjs.registry.render();
    assert!(
        calls.contains("method=\"engine_getPayloadV3\",outcome=\"answered\"} 3"),
        "{calls}"
    );
}

#[test]
fn ethereumjs_refuses_a_wrong_secret_and_the_node_says_what_to_do() {
    let Some(program) = program::ethereumjs() else { return };
    let genesis = genesis(6, None);
    let other = EthereumJs::start(&program, &genesis);
    let endpoint = Endpoint::Http {
        url: other.engine.clone(),
        secret: Secret::new([1; 32]),
    };
    let error = Driver::start(options(endpoint, &genesis, 6))
        .verdict()
        .expect_err("refused");
    assert!(error.contains("JWT") && error.contains("engine.jwt_secret"), "{error}");
}
