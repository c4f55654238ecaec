//! This file knows how to write and sign a transaction that carries blobs (EIP-4844, type 3).

use alloy_consensus::{BlobTransactionSidecar, SignableTransaction, TxEip4844, TxEip4844WithSidecar};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip4844::{Blob, Bytes48};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_signer::SignerSync;
use alloy_signer_local::PrivateKeySigner;
use anyhow::{Context, Result, bail};

use super::prove::ProvenBlob;
use super::rpc::Fees;

/// Most blobs in one transaction: what Cancun allows a block, and below ethrex's body limit of 2 MB (7 blobs in hex).
pub const BLOBS_MAX: usize = 6;
/// A transfer without data; blobs pay with their own gas.
const GAS: u64 = 21_000;
/// One gwei of tip: clients leave out what pays the builder nothing.
const TIP: u128 = 1_000_000_000;

/// What one transaction needs besides its blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The chain id of EIP-155.
    pub chain_id: u64,
    /// The sender's count of transactions so far.
    pub nonce: u64,
    /// What the chain asks now; we offer a multiple, so that the transaction stays good while it waits.
    pub fees: Fees,
}

/// A transaction ready for `eth_sendRawTransaction`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedTransaction {
    /// Network form, sidecar included.
    pub raw: Vec<u8>,
    pub hash: B256,
    /// Names of its blobs, in order.
    pub versioned_hashes: Vec<B256>,
}

/// Signs a transaction of `signer` to itself that carries `blobs`.
pub fn sign(signer: &PrivateKeySigner, terms: &Terms, blobs: &[ProvenBlob]) -> Result<SignedTransaction> {
    if blobs.is_empty() || blobs.len() > BLOBS_MAX {
        bail!("a transaction carries 1 to {BLOBS_MAX} blobs, not {}", blobs.len());
    }
    let versioned_hashes: Vec<B256> = blobs.iter().map(ProvenBlob::versioned_hash).collect();
    let transaction = TxEip4844 {
        chain_id: terms.chain_id,
        nonce: terms.nonce,
        gas_limit: GAS,
        max_fee_per_gas: terms.fees.base_fee.saturating_mul(4).saturating_add(2 * TIP),
        max_priority_fee_per_gas: TIP,
        to: own_address(signer),
        value: U256::ZERO,
        access_list: Default::default(),
        blob_versioned_hashes: versioned_hashes.clone(),
        max_fee_per_blob_gas: terms.fees.blob_base_fee.saturating_mul(8).max(1000),
        input: Bytes::new(),
    };
    let signature = signer
        .sign_hash_sync(&transaction.signature_hash())
        .context("signing the transaction")?;
    let with_sidecar = TxEip4844WithSidecar::from_tx_and_sidecar(transaction, sidecar(blobs));
    let signed = with_sidecar.into_signed(signature);
    let mut raw = Vec::with_capacity(blobs.len() * (ultramarine_types::limits::BLOB_BYTES + 128) + 512);
    signed.encode_2718(&mut raw);
    Ok(SignedTransaction {
        raw,
        hash: *signed.hash(),
        versioned_hashes,
    })
}

fn own_address(signer: &PrivateKeySigner) -> Address {
    signer.address()
}

fn sidecar(blobs: &[ProvenBlob]) -> BlobTransactionSidecar {
    // Filled in place: a blob never passes over the stack.
    let mut bytes = vec![Blob::ZERO; blobs.len()];
    for (room, blob) in bytes.iter_mut().zip(blobs) {
        room.copy_from_slice(&blob.blob);
    }
    BlobTransactionSidecar {
        blobs: bytes,
        commitments: blobs.iter().map(|blob| Bytes48::from(blob.commitment.0)).collect(),
        proofs: blobs.iter().map(|blob| Bytes48::from(blob.proof.0)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_node::genesis::execution::dev_account;

    use super::*;
    use crate::publish::{Prover, encode::encode};
    use alloy_consensus::EthereumTxEnvelope;
    use alloy_eips::eip2718::Decodable2718;

    const TERMS: Terms = Terms {
        chain_id: 7,
        nonce: 3,
        fees: Fees {
            base_fee: 10,
            blob_base_fee: 1,
        },
    };

    #[tokio::test]
    async fn a_signed_transaction_reads_back_with_sender_and_blobs() {
        let blobs = Prover::new(2)
            .prove(&encode(&[5; 1000]).expect("small"))
            .await
            .expect("proven");
        let signer = dev_account(0);
        let signed = sign(&signer, &TERMS, &blobs).expect("signed");
        let read = EthereumTxEnvelope::<TxEip4844WithSidecar<BlobTransactionSidecar>>::decode_2718_exact(&signed.raw)
            .expect("decodes");
        let EthereumTxEnvelope::Eip4844(read) = read else {
            panic!("type 3")
        };
        let sender = read.signature().recover_address_from_prehash(&read.signature_hash());
        assert_eq!(sender.expect("signed"), signer.address());
        assert_eq!((read.tx().tx.nonce, read.tx().tx.chain_id), (3, 7));
        assert_eq!(read.tx().sidecar.blobs[0].as_slice(), &blobs[0].blob[..]);
        assert_eq!(*read.hash(), signed.hash);
        assert!(
            signed.raw.len() * 2 < 2 * 1024 * 1024 / 7,
            "seven fit ethrex's body limit"
        );
    }

    #[test]
    fn too_many_blobs_or_none_are_refused() {
        let one = ProvenBlob {
            blob: bytes::Bytes::from(vec![0; ultramarine_types::limits::BLOB_BYTES]),
            commitment: ultramarine_types::KzgCommitment([0; 48]),
            proof: ultramarine_types::KzgProof([0; 48]),
        };
        assert!(sign(&dev_account(0), &TERMS, &[]).is_err());
        assert!(sign(&dev_account(0), &TERMS, &vec![one; BLOBS_MAX + 1]).is_err());
    }
}
