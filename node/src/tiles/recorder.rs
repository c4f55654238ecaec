//! This file knows how to keep every signature received, one JSON line each: an audit trail of who is said to have
//! signed what, and who sent it.
//!
//! The core tile hands a message over before the core sees it, so that a crash loses the last lines at most. Nobody has
//! verified the signatures then; a reader of the trail must. A thread of the file's own writes, so that a stuck disk
//! does not hold up a vote.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use ultramarine_runtime::outlet::Outlet;
use ultramarine_types::consensus::{CommitCertificate, VoteKind};
use ultramarine_types::{ConsensusMessage, Init, PeerId};

/// How long the node waits at its end for the last lines to be written.
const LAST_LINES_WAIT: Duration = Duration::from_secs(2);

/// Why no message is recorded any more.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    #[error("cannot append to the message record {path}: {error}")]
    Append { path: PathBuf, error: io::Error },
    /// Lines were lost, and a trail with holes would be taken for a whole one.
    #[error("the disk of the message record {path} does not keep up")]
    Behind { path: PathBuf },
}

/// Appends messages to a file.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: Outlet,
}

impl Recorder {
    /// Opens the file to append to it, and creates it if it is missing. A line that a crash cut short stays on its own.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        if last != [b'\n'] {
            file.write_all(b"\n")?;
        }
        Ok(Self {
            path: path.to_owned(),
            file: Outlet::onto("messages", file),
        })
    }

    /// Writes one line per signed vote or proposal in `message`.
    pub fn message(&mut self, peer: &PeerId, message: &ConsensusMessage) -> Result<(), RecorderError> {
        self.write(&lines(peer, message))
    }

    /// Writes one line for the origin proposer's signature over a value, and one for each signature of the certificate
    /// that came with it.
    pub fn offer(
        &mut self,
        peer: &PeerId,
        init: &Init,
        certificate: Option<&CommitCertificate>,
    ) -> Result<(), RecorderError> {
        let metadata = &init.metadata;
        let mut lines = vec![json!({
            "from": peer, "signer": metadata.origin_proposer, "kind": "init", "height": metadata.height,
            "round": metadata.origin_round, "value_id": metadata.id(), "signature": init.signature,
        })];
        lines.extend(certificate.into_iter().flat_map(|certificate| {
            certificate.signatures.iter().map(|entry| {
                json!({
                    "from": peer, "signer": entry.address, "kind": kind_name(VoteKind::Precommit),
                    "height": certificate.height, "round": certificate.round, "value_id": certificate.value_id,
                    "signature": entry.signature,
                })
            })
        }));
        self.write(&lines)
    }

    fn write(&mut self, lines: &[serde_json::Value]) -> Result<(), RecorderError> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.file.push(text.into_bytes());
        let path = || self.path.clone();
        // We ask first whether lines were lost, then why: the file notes the reason before it counts the loss.
        match (self.file.lost(), self.file.trouble()) {
            (_, Some(error)) => Err(RecorderError::Append { path: path(), error }),
            (0, None) => Ok(()),
            (_, None) => Err(RecorderError::Behind { path: path() }),
        }
    }

    /// Gives the last lines a moment to be written.
    pub fn finish(self) {
        self.file.flush(LAST_LINES_WAIT);
    }
}

fn kind_name(kind: VoteKind) -> &'static str {
    match kind {
        VoteKind::Prevote => "prevote",
        VoteKind::Precommit => "precommit",
    }
}

fn lines(peer: &PeerId, message: &ConsensusMessage) -> Vec<serde_json::Value> {
    match message {
        ConsensusMessage::Vote(vote) => vec![json!({
            "from": peer, "signer": vote.voter, "kind": kind_name(vote.kind), "height": vote.height,
            "round": vote.round, "value_id": vote.value_id, "signature": vote.signature,
        })],
        ConsensusMessage::Proposal(proposal) => vec![json!({
            "from": peer, "signer": proposal.proposer, "kind": "proposal", "height": proposal.height,
            "round": proposal.round, "value_id": proposal.value_id, "valid_round": proposal.valid_round,
            "signature": proposal.signature,
        })],
        ConsensusMessage::Polka(polka) => polka
            .signatures
            .iter()
            .map(|entry| {
                json!({
                    "from": peer, "signer": entry.address, "kind": "prevote", "height": polka.height,
                    "round": polka.round, "value_id": polka.value_id, "signature": entry.signature,
                })
            })
            .collect(),
        ConsensusMessage::Round(round) => round
            .signatures
            .iter()
            .map(|entry| {
                json!({
                    "from": peer, "signer": entry.address, "kind": kind_name(entry.kind), "height": round.height,
                    "round": round.round, "value_id": entry.value_id, "signature": entry.signature,
                })
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use ultramarine_types::{Address, Height, Round, Signature, Vote};

    use super::*;

    fn vote() -> ConsensusMessage {
        ConsensusMessage::Vote(Vote {
            kind: VoteKind::Prevote,
            height: Height(1),
            round: Round(0),
            value_id: None,
            voter: Address::ZERO,
            signature: Signature([0; 64]),
        })
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_and_one_that_is_stuck_holds_nobody_up() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::Error::from_raw_os_error(libc::ENOSPC))
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        // Each is refused at last, and no call waits for the file.
        let refusal = |file: Outlet| {
            let mut recorder = Recorder {
                path: PathBuf::from("messages.jsonl"),
                file,
            };
            let mut tries = std::iter::repeat_with(|| recorder.message(&PeerId::ZERO, &vote()));
            tries
                .find_map(Result::err)
                .expect("it is never accepted for ever")
                .to_string()
        };
        let full = refusal(Outlet::onto("full", Full));
        assert!(full.contains("No space left"), "{full}");
        let (release, stuck) = std::sync::mpsc::channel();
        let slow = refusal(Outlet::onto("stuck", Stuck(stuck)));
        assert!(slow.contains("does not keep up"), "{slow}");
        drop(release);
    }

    #[test]
    fn a_line_that_a_crash_cut_short_spoils_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("messages.jsonl");
        let record = || {
            let mut recorder = Recorder::open(&path).expect("the folder is writable");
            recorder.message(&PeerId::ZERO, &vote()).expect("there is room");
            recorder.finish();
        };
        record();
        let whole = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(&path, format!("{whole}{{\"from\":")).expect("the folder is writable");
        record();
        record();
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(text, format!("{whole}{{\"from\":\n{whole}{whole}"));
    }
}
