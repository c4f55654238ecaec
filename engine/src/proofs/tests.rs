use proptest::prelude::*;
use ultramarine_runtime::{Receiver, Sender, link};
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{Finding, Verdict, VerifyJob};

use super::*;

/// Transactions as their number of blobs, and whether they come with cell proofs.
fn list_of(transactions: &[(usize, bool)]) -> (Vec<usize>, usize, usize) {
    let sizes: Vec<usize> = transactions.iter().map(|(count, _)| *count).collect();
    let blobs = sizes.iter().sum();
    let cells: usize = transactions
        .iter()
        .filter(|(_, cells)| *cells)
        .map(|(count, _)| count)
        .sum();
    (sizes, blobs, blobs + cells * CELLS_MORE)
}

proptest! {
    #[test]
    fn every_mixture_is_taken_apart(
        transactions in prop::collection::vec((1..7usize, any::<bool>()), 0..40),
    ) {
        let (sizes, blobs, proofs) = list_of(&transactions);
        let mut truth = Vec::new();
        let mut begins = HashMap::new();
        let mut at = 0;
        for (count, cells) in &transactions {
            begins.insert((truth.len(), at), !cells);
            truth.extend((at..at + count).map(|at| (!cells).then_some(at)));
            at += if *cells { count * PROOFS_PER_BLOB_MAX } else { *count };
        }
        prop_assert_eq!(at, proofs);
        let mut tries = 0;
        let assigned = assign(&sizes, blobs, proofs, |first, _, at| {
            tries += 1;
            *begins.get(&(first, at)).expect("asked where a transaction's proofs begin")
        });
        prop_assert_eq!(assigned, Some(truth));
        prop_assert!(tries <= transactions.len());
    }

    #[test]
    fn any_list_and_any_answers_end_in_a_place_for_each_blob_or_none(
        sizes in prop::collection::vec(1..7usize, 0..20),
        proofs in 0..4000usize,
        answers in prop::collection::vec(any::<bool>(), 20),
    ) {
        let blobs = sizes.iter().sum();
        let mut answers = answers.into_iter();
        let assigned = assign(&sizes, blobs, proofs, |_, _, _| answers.next().unwrap_or(false));
        if let Some(assigned) = assigned {
            prop_assert_eq!(assigned.len(), blobs);
            prop_assert!(assigned.iter().flatten().all(|at| *at < proofs));
            let cells = assigned.iter().filter(|at| at.is_none()).count();
            prop_assert_eq!(proofs, blobs + cells * CELLS_MORE);
        }
    }
}

/// A blob with what proves it.
struct Proven {
    blob: Bytes,
    commitment: KzgCommitment,
    proof: KzgProof,
}

impl Proven {
    fn of(blob: Bytes) -> Self {
        let settings = c_kzg::ethereum_kzg_settings(0);
        let theirs = Box::new(c_kzg::Blob::from_bytes(&blob).expect("a blob"));
        let commitment = settings.blob_to_kzg_commitment(&theirs).expect("computed").to_bytes();
        let proof = settings.compute_blob_kzg_proof(&theirs, &commitment).expect("computed");
        Self {
            blob,
            commitment: KzgCommitment(commitment.into_inner()),
            proof: KzgProof(proof.to_bytes().into_inner()),
        }
    }
}

/// Judges as the lanes do.
fn judge(jobs: &mut Receiver<VerifyJob>, own_bundles: &OwnBundles) {
    while let Some(job) = jobs.try_recv() {
        let finding = match holds(&job.commitment, &job.blob, &job.proof) {
            true => Finding::Holds,
            false => Finding::Wrong,
        };
        own_bundles.settle(&Verdict {
            key: job.key,
            index: job.index,
            sender: job.sender,
            finding,
        });
    }
}

/// Completes a bundle with lanes beside it.
async fn complete(
    proofs: &Proofs,
    transactions: &[usize],
    bundle: &Bundle,
    within: Duration,
) -> Result<Vec<(KzgCommitment, BlobPart)>, ProofsError> {
    let (jobs, mut queue): (Sender<VerifyJob>, _) = link("jobs", 64).expect("a link");
    let own_bundles = OwnBundles::new(jobs);
    let completed = proofs.complete(&own_bundles, Height(1), transactions, bundle.clone(), within);
    let mut completed = std::pin::pin!(completed);
    loop {
        tokio::select! {
            completed = &mut completed => return completed,
            () = tokio::time::sleep(Duration::from_millis(1)) => judge(&mut queue, &own_bundles),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn missing_proofs_are_made_whatever_the_bundle_holds() {
    let local = tokio::task::LocalSet::new();
    local.run_until(mixtures()).await;
}

async fn mixtures() {
    // The second is one element again and again, of which either kind of proof is the same.
    let contents: Vec<Bytes> = [7, 0, 9]
        .into_iter()
        .map(|byte| {
            let mut blob = vec![0; BLOB_BYTES];
            blob[1] = byte;
            blob.into()
        })
        .collect();
    let settings = c_kzg::ethereum_kzg_settings(0);
    let proven: Vec<Proven> = contents.into_iter().map(Proven::of).collect();
    let mut cells = Vec::new();
    for one in &proven {
        let blob = Box::new(c_kzg::Blob::from_bytes(&one.blob).expect("a blob"));
        let (_, proofs) = settings.compute_cells_and_kzg_proofs(&blob).expect("computed");
        let proofs: Vec<KzgProof> = proofs
            .iter()
            .map(|proof| KzgProof(proof.to_bytes().into_inner()))
            .collect();
        cells.push(proofs);
    }
    let expected: Vec<_> = proven.iter().map(|one| (one.commitment, vec![one.proof])).collect();
    let bundle = |proofs: Vec<KzgProof>| Bundle {
        blobs: proven.iter().map(|one| (one.commitment, one.blob.clone())).collect(),
        proofs,
    };
    let plain = |index: usize| vec![proven[index].proof];
    let lists = [
        ([plain(0), plain(1), plain(2)].concat(), "all plain"),
        (
            [cells[0].clone(), cells[1].clone(), cells[2].clone()].concat(),
            "all cells",
        ),
        ([plain(0), cells[1].clone(), plain(2)].concat(), "the constant in cells"),
        ([cells[0].clone(), plain(1), plain(2)].concat(), "the first in cells"),
        ([plain(0), plain(1), cells[2].clone()].concat(), "the last in cells"),
        ([plain(1), cells[2].clone(), plain(0)].concat(), "in no order at all"),
        (Vec::new(), "none"),
        (vec![INFINITY; 200], "some number of them"),
    ];
    for (proofs, what) in lists {
        let patience = Duration::from_secs(60);
        let completed = complete(&Proofs::default(), &[1, 1, 1], &bundle(proofs), patience).await;
        let completed = completed.unwrap_or_else(|error| panic!("{what}: {error}"));
        let found: Vec<_> = completed
            .into_iter()
            .map(|(commitment, part)| (commitment, part.proofs))
            .collect();
        assert_eq!(found, expected, "{what}");
    }
    // What cannot be made in time is made for the next time, once.
    let proofs = Proofs::default();
    let none = bundle(Vec::new());
    let refused = complete(&proofs, &[1, 1, 1], &none, Duration::ZERO)
        .await
        .expect_err("no time");
    assert!(
        matches!(refused, ProofsError::NotMade { count: 3, missing: 3 }),
        "{refused}"
    );
    while complete(&proofs, &[1, 1, 1], &none, Duration::ZERO).await.is_err() {
        assert!(proofs.shared.known.borrow().len() <= 3);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
