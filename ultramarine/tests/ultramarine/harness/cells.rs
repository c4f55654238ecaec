//! A blob transaction as senders write it for Osaka, which clients take before it as well.

use alloy_consensus::{BlobTransactionSidecar, EthereumTxEnvelope, Signed, TxEip4844WithSidecar};
use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_eips::eip4844::{Blob, Bytes48};
use alloy_eips::eip7594::BlobTransactionSidecarEip7594;
use ultramarine::publish::transaction::SignedTransaction;

/// The same transaction with a sidecar of cell proofs (EIP-7594), as some senders write it before Osaka too.
pub fn with_cells(transaction: &SignedTransaction) -> SignedTransaction {
    type Plain = TxEip4844WithSidecar<BlobTransactionSidecar>;
    let Ok(EthereumTxEnvelope::<Plain>::Eip4844(signed)) =
        EthereumTxEnvelope::<Plain>::decode_2718_exact(&transaction.raw)
    else {
        panic!("it is ours, and carries blobs")
    };
    let (Plain { tx, sidecar }, signature, hash) = signed.into_parts();
    let settings = c_kzg::ethereum_kzg_settings(0);
    let cells = |blob: &Blob| {
        let blob = Box::new(c_kzg::Blob::from_bytes(blob.as_slice()).expect("a blob"));
        let (_, proofs) = settings.compute_cells_and_kzg_proofs(&blob).expect("computed");
        proofs.map(|proof| Bytes48::from(proof.to_bytes().into_inner()))
    };
    let sidecar = BlobTransactionSidecarEip7594 {
        cell_proofs: sidecar.blobs.iter().flat_map(cells).collect(),
        blobs: sidecar.blobs,
        commitments: sidecar.commitments,
    };
    let mut raw = Vec::new();
    Signed::new_unchecked(TxEip4844WithSidecar { tx, sidecar }, signature, hash).encode_2718(&mut raw);
    SignedTransaction {
        raw,
        ..transaction.clone()
    }
}
