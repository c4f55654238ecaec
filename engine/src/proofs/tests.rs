use proptest::prelude::*;
use tokio::sync::OnceCell;
use ultramarine_runtime::{Receiver, Sender, link};
use ultramarine_types::Hash;
use ultramarine_types::limits::BLOB_BYTES;
use ultramarine_types::verify::{Refutation, ValueOutcome, Verdict, VerifyRequest};

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
            at += if *cells { count * CELL_PROOFS } else { *count };
        }
        prop_assert_eq!(at, proofs);
        let mut tries = 0;
        let assigned = assign(&sizes, blobs, proofs, |first, _, at| {
            tries += 1;
            *begins.get(&(first, at)).expect("asked where a transaction's proofs begin")
        });
        prop_assert_eq!(assigned, Some(truth));
        prop_assert!(tries <= transactions.len());
        let is_choice = [true, false].iter().all(|kind| transactions.iter().any(|(_, cells)| cells == kind));
        prop_assert!(is_choice || tries == 0, "a proof is tried where there is a choice only");
    }

    #[test]
    fn any_list_and_any_answers_end_in_a_place_for_each_blob_or_none(
        sizes in prop::collection::vec(1..7usize, 0..20),
        cells in 0..40usize,
        stray in prop_oneof![3 => Just(0), 1 => 0..4000usize],
        answers in prop::collection::vec(any::<bool>(), 20),
    ) {
        let blobs: usize = sizes.iter().sum();
        let proofs = if stray > 0 { stray } else { blobs + cells * CELLS_MORE };
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

/// Judges as the lanes do, for values that come one behind the other.
fn judge(requests: &mut Receiver<VerifyRequest>, fails: &mut Option<u16>, own_bundles: &OwnBundles) {
    while let Some(request) = requests.try_recv() {
        let VerifyRequest::Job(job) = request else { continue };
        if !holds(&job.commitment, &job.blob, &job.proof) {
            fails.get_or_insert(job.index);
        }
        own_bundles.settle(&Verdict::Part {
            key: job.key,
            index: job.index,
            sender: job.sender,
            digest: Hash::ZERO,
            is_right: true,
        });
        if job.index + 1 == job.blobs_count {
            let why = Refutation::Wrong;
            let outcome = fails.take().map_or(ValueOutcome::Holds, |index| ValueOutcome::Fails {
                index,
                why,
                proof: job.proof,
            });
            own_bundles.settle(&Verdict::Value { key: job.key, outcome });
        }
    }
}

/// Completes a bundle with lanes beside it.
async fn complete(
    proofs: &Proofs,
    transactions: &[usize],
    bundle: &Bundle,
    within: Duration,
) -> Result<Vec<OwnBlob>, ProofsError> {
    let (requests, mut queue): (Sender<VerifyRequest>, _) = link("jobs", 64).expect("a link");
    let own_bundles = OwnBundles::new(requests);
    let mut fails = None;
    let completed = proofs.complete(&own_bundles, Height(1), transactions, bundle.clone(), within);
    let mut completed = std::pin::pin!(completed);
    loop {
        tokio::select! {
            completed = &mut completed => return completed,
            () = tokio::time::sleep(Duration::from_millis(1)) => judge(&mut queue, &mut fails, &own_bundles),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn missing_proofs_are_made_whatever_the_bundle_holds() {
    let local = tokio::task::LocalSet::new();
    local.run_until(mixtures()).await;
}

/// Three blobs with both kinds of proofs. The second is one element again and again, of which either kind is the same.
#[derive(Clone)]
struct Three {
    blobs: Vec<(KzgCommitment, Bytes)>,
    plain: [Vec<KzgProof>; 3],
    cells: Vec<Vec<KzgProof>>,
}

/// Made once: cell proofs take a second of each core.
async fn three() -> Three {
    static THREE: OnceCell<Three> = OnceCell::const_new();
    THREE.get_or_init(make_three).await.clone()
}

async fn make_three() -> Three {
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
    Three {
        blobs: proven.iter().map(|one| (one.commitment, one.blob.clone())).collect(),
        plain: [0, 1, 2].map(|index: usize| vec![proven[index].proof]),
        cells,
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_first_proof_that_can_differ_tells_which_kind_a_transaction_has() {
    let Three { blobs, plain, cells } = three().await;
    let plain = |index: usize| plain[index].clone();
    let known = HashMap::from([(blobs[2].0, Some(plain(2)[0]))]);
    for (proofs, first, count, at, expected) in [
        (vec![plain(0), plain(1), plain(2)], 0, 1, 0, true),
        (vec![plain(0), plain(1), plain(2)], 1, 1, 1, true),
        (vec![plain(0), plain(1), plain(2)], 1, 2, 1, true),
        (vec![cells[0].clone(), plain(1), plain(2)], 0, 1, 0, false),
        (vec![plain(0), cells[1].clone(), plain(2)], 1, 1, 1, false),
        (vec![plain(0), cells[1].clone(), cells[2].clone()], 1, 2, 1, false),
        (vec![plain(0), plain(1)], 2, 1, 2, false),
    ] {
        let proofs = proofs.concat();
        let bundle = Bundle {
            blobs: blobs.clone(),
            proofs,
        };
        let found = has_blob_proofs(&bundle, &known, first, count, at);
        assert_eq!(
            found,
            expected,
            "{count} from {first} with {} proofs",
            bundle.proofs.len()
        );
    }
    prove(&blobs[0].0, &blobs[0].1).expect("its own");
    prove(&blobs[0].0, &blobs[2].1).expect_err("another blob's commitment");
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_remembered_and_what_is_being_made_is_bounded() {
    let proofs = Proofs::default();
    let commitment = |number: usize| {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        KzgCommitment(bytes)
    };
    for number in 0..2 * REMEMBERED_MAX {
        let is_made = number % 8 != 0;
        proofs.shared.remember(commitment(number), is_made.then_some(INFINITY));
        assert!(proofs.shared.known.borrow().len() <= REMEMBERED_MAX);
    }
    let under_way = || {
        proofs
            .shared
            .known
            .borrow()
            .values()
            .filter(|proof| proof.is_none())
            .count()
    };
    assert_eq!(
        under_way(),
        BLOBS_PER_BLOCK_MAX as usize,
        "what is being made is not forgotten"
    );
    let local = tokio::task::LocalSet::new();
    let _inside = local.enter();
    proofs.make(&(commitment(usize::MAX), Bytes::new()));
    assert_eq!(
        under_way(),
        BLOBS_PER_BLOCK_MAX as usize,
        "no more are made at one time"
    );
}

async fn mixtures() {
    let Three { blobs, plain, cells } = three().await;
    let expected: Vec<_> = blobs.iter().map(|one| one.0).zip(plain.clone()).collect();
    let bundle = |proofs: Vec<KzgProof>| Bundle {
        blobs: blobs.clone(),
        proofs,
    };
    let plain = |index: usize| plain[index].clone();
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
            .map(|part| (part.commitment, vec![part.proof]))
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
        // Each that is being made holds a clone.
        assert!(Rc::strong_count(&proofs.shared) <= 1 + 3, "each is made once");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
