//! What the node does with a built block: the execution client's answer to `engine_getPayloadV4`.
//!
//! It is a quarter of a megabyte of hex a blob. It is fetched over HTTP and over a Unix socket, and read beside alloy's
//! types for the same answer.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use alloy_rpc_types_engine::ExecutionPayloadEnvelopeV4;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::json;
use ultramarine_engine::client::read_built;
use ultramarine_engine::transport::Transport;
use ultramarine_engine::{Endpoint, Secret};
use ultramarine_runtime::{Io, IoMode, Registry, RingOps, block_on_net};
use ultramarine_types::limits::BLOB_BYTES;

/// An answer as a client gives it.
fn answer(blobs: usize) -> Vec<u8> {
    let hex = |byte: u8, count: usize| format!("0x{}", format!("{byte:02x}").repeat(count));
    let all = |byte: u8, count: usize| vec![hex(byte, count); blobs];
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {
        "executionPayload": {
            "parentHash": hex(1, 32), "feeRecipient": hex(2, 20), "stateRoot": hex(3, 32), "receiptsRoot": hex(4, 32),
            "logsBloom": hex(0, 256), "prevRandao": hex(5, 32), "blockNumber": "0x7", "gasLimit": "0x1c9c380",
            "gasUsed": "0x5208", "timestamp": "0x64", "extraData": "0x", "baseFeePerGas": "0x7",
            "blockHash": hex(6, 32),
            "transactions": all(7, 200), "withdrawals": [], "blobGasUsed": "0x20000", "excessBlobGas": "0x0",
        },
        "blockValue": "0x1",
        "blobsBundle": {"commitments": all(8, 48), "proofs": all(9, 48), "blobs": all(10, BLOB_BYTES)},
        "shouldOverrideBuilder": false,
        "executionRequests": [],
    }});
    answer.to_string().into_bytes()
}

fn built_blocks(criterion: &mut Criterion) {
    #[derive(Deserialize)]
    struct Alloy {
        result: ExecutionPayloadEnvelopeV4,
    }
    let mut group = criterion.benchmark_group("read a built block");
    group.sample_size(20);
    for blobs in [6, 64] {
        let answer = answer(blobs);
        group.throughput(Throughput::Elements(blobs as u64));
        group.bench_with_input(BenchmarkId::new("ours", blobs), &answer, |bencher, answer| {
            bencher.iter(|| {
                let built = read_built(black_box(answer), true, blobs).expect("a good answer");
                assert_eq!(built.bundle.blobs.len(), blobs);
            });
        });
        group.bench_with_input(BenchmarkId::new("alloy", blobs), &answer, |bencher, answer| {
            bencher.iter(|| {
                let built: Alloy = serde_json::from_slice(black_box(answer)).expect("a good answer");
                assert_eq!(built.result.envelope_inner.blobs_bundle.blobs.len(), blobs);
            });
        });
    }
    group.finish();
}

/// Answers every call over HTTP, as long as its client is there.
fn serve_http(mut stream: std::net::TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    loop {
        let mut length = 0;
        while requests.read_line(&mut line)? > 2 {
            if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().expect("a number");
            }
            line.clear();
        }
        if std::mem::take(&mut line).is_empty() {
            return Ok(());
        }
        requests.read_exact(&mut vec![0; length])?;
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len())?;
        stream.write_all(answer)?;
    }
}

/// The same over a Unix socket, a line a call.
fn serve_ipc(mut stream: std::os::unix::net::UnixStream, answer: &[u8]) -> std::io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut line = Vec::new();
    while requests.read_until(b'\n', &mut line)? > 0 {
        line.clear();
        stream.write_all(answer)?;
        stream.write_all(b"\n")?;
    }
    Ok(())
}

fn fetched_blocks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch a built block");
    group.sample_size(20);
    let directory = tempfile::tempdir().expect("a directory");
    for blobs in [6, 64] {
        let answer = std::sync::Arc::new(answer(blobs));
        let path = directory.path().join(format!("{blobs}.ipc"));
        let socket = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", port.local_addr().expect("an address"));
        let (served, length) = (std::sync::Arc::clone(&answer), answer.len());
        // A client that goes ends its connection alone.
        std::thread::spawn(move || {
            for stream in port.incoming() {
                let _ = stream.and_then(|stream| serve_http(stream, &served));
            }
        });
        let served = std::sync::Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let _ = stream.and_then(|stream| serve_ipc(stream, &served));
            }
        });
        let secret = Secret::new([1; 32]);
        let ways = [
            ("HTTP", Endpoint::Http { url, secret }, Io::Fallback),
            ("IPC, epoll", Endpoint::Ipc { path: path.clone() }, Io::Fallback),
            (
                "IPC, ring",
                Endpoint::Ipc { path },
                IoMode::Auto.resolve().expect("auto never fails"),
            ),
        ];
        group.throughput(Throughput::Elements(blobs as u64));
        for (name, endpoint, io) in ways {
            group.bench_function(BenchmarkId::new(name, blobs), |bencher| {
                bencher.iter_custom(|rounds| block_on_net(io, |io| fetch(&endpoint, io, length, rounds)));
            });
        }
    }
    group.finish();
}

async fn fetch(endpoint: &Endpoint, io: Io, length: usize, rounds: u64) -> Duration {
    let ring = RingOps::new(&Registry::new(), "engine");
    let transport = Transport::new(endpoint, io, ring, 2 * length).expect("a way");
    let body = bytes::Bytes::from_static(b"{}");
    // The first makes the connection.
    transport.exchange(&body).await.expect("answered");
    let started = Instant::now();
    for _ in 0..rounds {
        let fetched = transport.exchange(&body).await.expect("answered");
        // The end of the line before may come with it.
        assert_eq!(black_box(fetched).trim_ascii().len(), length);
    }
    started.elapsed()
}

criterion_group!(node, fetched_blocks, built_blocks);
criterion_main!(node);
