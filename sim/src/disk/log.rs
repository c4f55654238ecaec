//! This file knows one log file byte by byte, in the store's own format: frames that a sync made durable, one that a
//! crash tore, and what recovery reads back.

use bytes::Bytes;
use ultramarine_store::Lineage;
use ultramarine_store::log::{FoundLog, LogHeader, encode_frame, read};
use ultramarine_types::ChainIdentity;
use ultramarine_types::storage::{LogCondition, LogEpoch};

use crate::dice::Dice;

#[derive(Clone, Debug)]
pub struct LogFile {
    header: LogHeader,
    /// Header page and whole frames.
    bytes: Vec<u8>,
    /// Where each frame begins.
    frames: Vec<usize>,
    /// Records of those frames.
    durable: Vec<Bytes>,
    /// Appended and not synced.
    pending: Vec<Bytes>,
}

impl LogFile {
    pub fn new(epoch: LogEpoch) -> Self {
        let header = LogHeader {
            epoch,
            salt: epoch.generation.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            chain: ChainIdentity([0x5a; 32]),
        };
        Self {
            header,
            bytes: header.encode(),
            frames: Vec::new(),
            durable: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Whose file this is.
    pub fn epoch(&self) -> LogEpoch {
        self.header.epoch
    }

    /// Appends a record; it is durable after [`sync`](Self::sync).
    pub fn append(&mut self, record: Bytes) {
        self.pending.push(record);
    }

    /// Everything appended becomes one frame, and durable.
    pub fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let frame = self.frame();
        self.frames.push(self.bytes.len());
        self.bytes.extend_from_slice(&frame);
        self.durable.append(&mut self.pending);
    }

    /// A crash: of the frame that was being written, some bytes may be on the disk. Says whether one was torn.
    pub fn tear(&mut self, dice: &mut Dice) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let frame = self.frame();
        let written = dice.below(frame.len() + 1);
        self.bytes.extend_from_slice(&frame[..written]);
        self.pending.clear();
        // Files are preallocated: what was not written reads as zeros.
        self.bytes.resize(self.bytes.len() + frame.len() - written, 0);
        written > 0
    }

    /// Flips a byte of a frame that has another one behind it.
    pub fn corrupt(&mut self, dice: &mut Dice) -> bool {
        if self.frames.len() < 2 {
            return false;
        }
        let victim = self.frames[dice.below(self.frames.len() - 1)];
        self.bytes[victim + 20] ^= 0x40;
        true
    }

    /// Reads the file as recovery does. Damage at the end is cut off; new frames begin where it was.
    pub fn scan(&mut self) -> (LogCondition, Vec<Bytes>) {
        match read(
            &Bytes::copy_from_slice(&self.bytes),
            self.header.epoch,
            self.header.chain,
        ) {
            FoundLog::Corrupt => (LogCondition::Corrupt, Vec::new()),
            FoundLog::Missing => (LogCondition::Missing, Vec::new()),
            FoundLog::Whole(records) => {
                let mut again = Self::new(self.header.epoch);
                // A frame that was written whole before the crash counts, though nobody was told.
                again.pending.clone_from(&records);
                again.sync();
                *self = again;
                (LogCondition::Whole, records)
            }
        }
    }

    /// Whether a durable record contains these bytes.
    pub fn holds(&self, needle: &[u8]) -> bool {
        // What was synced last is asked for most.
        self.durable
            .iter()
            .rev()
            .any(|record| record.windows(needle.len()).any(|window| window == needle))
    }

    fn frame(&self) -> Vec<u8> {
        let lineage: Lineage = self.header.lineage();
        encode_frame(lineage, self.frames.len() as u64, &self.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ultramarine_types::Height;

    fn file(frames: usize) -> LogFile {
        let mut log = LogFile::new(LogEpoch {
            height: Height(3),
            generation: 4,
        });
        for index in 0..frames {
            log.append(Bytes::from(vec![index as u8; 20 + index]));
            log.append(Bytes::from(vec![index as u8; 2]));
            log.sync();
        }
        log
    }

    #[test]
    fn a_crash_leaves_what_was_synced_and_all_or_nothing_of_the_rest() {
        let mut dice = Dice::of(1, "tear");
        let mut torn = 0;
        for _ in 0..50 {
            let mut log = file(3);
            log.append(Bytes::from(vec![9; 6000]));
            torn += u32::from(log.tear(&mut dice));
            let (condition, records) = log.scan();
            assert_eq!(condition, LogCondition::Whole);
            assert!(
                records.len() == 6 || records.len() == 7,
                "synced records survive, the last one whole or not at all"
            );
            log.append(Bytes::from_static(b"next"));
            log.sync();
            let (_, again) = log.scan();
            assert_eq!(
                again.len(),
                records.len() + 1,
                "what is appended after recovery is found"
            );
        }
        assert!(torn > 0, "some crash tears the last frame");
    }

    #[test]
    fn damage_before_a_whole_frame_is_corruption() {
        let mut log = file(5);
        assert!(log.corrupt(&mut Dice::of(1, "test")));
        assert_eq!(log.scan().0, LogCondition::Corrupt);
    }
}
