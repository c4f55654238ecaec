//! What the node does with a built block: the execution client's answer to `engine_getPayloadV4`, a quarter of a megabyte of hex
//! a blob, read beside alloy's types for the same answer.

use std::hint::black_box;

use alloy_rpc_types_engine::ExecutionPayloadEnvelopeV4;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::json;
use ultramarine_node::engine::client::read_built;
use ultramarine_types::limits::BLOB_BYTES;

/// An answer as a client gives it.
fn answer(blobs: usize) -> Vec<u8> {
    let hex = |byte: u8, count: usize| format!("0x{}", format!("{byte:02x}").repeat(count));
    let all = |byte: u8, count: usize| vec![hex(byte, count); blobs];
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {
        "executionPayload": {
            "parentHash": hex(1, 32), "feeRecipient": hex(2, 20), "stateRoot": hex(3, 32), "receiptsRoot": hex(4, 32),
            "logsBloom": hex(0, 256), "prevRandao": hex(5, 32), "blockNumber": "0x7", "gasLimit": "0x1c9c380",
            "gasUsed": "0x5208", "timestamp": "0x64", "extraData": "0x", "baseFeePerGas": "0x7", "blockHash": hex(6, 32),
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
                assert_eq!(built.blobs.len(), blobs);
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

criterion_group!(node, built_blocks);
criterion_main!(node);
