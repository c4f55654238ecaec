//! This file knows which keys were pressed, from the bytes that a terminal sends.

use std::io::Read;

use tokio::sync::mpsc;

/// A key that means something here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    Quit,
    /// To the next page, or the one before.
    Next,
    Previous,
    Up,
    Down,
    Pause,
    Help,
    /// Escape alone: back to what was before.
    Back,
}

/// Finds keys in a stream of bytes. A sequence may come in pieces.
#[derive(Debug, Default)]
pub struct KeyReader {
    sequence: Vec<u8>,
}

/// Longest sequence that is waited for; ours have three bytes.
const SEQUENCE_BYTES_MAX: usize = 8;
const ESCAPE: u8 = 0x1b;

impl KeyReader {
    /// The keys of the next bytes. `is_last`: nothing follows at once, so a lone escape is the key itself.
    pub fn read(&mut self, bytes: &[u8], is_last: bool) -> Vec<Key> {
        let mut keys: Vec<Key> = bytes.iter().filter_map(|byte| self.take(*byte)).collect();
        if is_last && self.sequence == [ESCAPE] {
            self.sequence.clear();
            keys.push(Key::Back);
        }
        keys
    }

    fn take(&mut self, byte: u8) -> Option<Key> {
        if self.sequence.is_empty() && byte != ESCAPE {
            return plain(byte);
        }
        self.sequence.push(byte);
        match self.sequence[..] {
            [ESCAPE] | [ESCAPE, b'[' | b'O'] => None,
            [ESCAPE, b'[' | b'O', last] if !last.is_ascii_digit() => {
                self.sequence.clear();
                arrow(last)
            }
            [ESCAPE, b'[', .., last] if self.sequence.len() < SEQUENCE_BYTES_MAX => {
                // Keys with a number or a modifier end in a letter or a tilde, and mean nothing here.
                if last.is_ascii_alphabetic() || last == b'~' {
                    self.sequence.clear();
                }
                None
            }
            _ => {
                self.sequence.clear();
                None
            }
        }
    }
}

fn plain(byte: u8) -> Option<Key> {
    match byte {
        // Ctrl-C and Ctrl-D come as bytes, as the terminal is raw.
        b'q' | b'Q' | 0x03 | 0x04 => Some(Key::Quit),
        b'\t' | b'l' | b'n' => Some(Key::Next),
        b'h' | b'p' => Some(Key::Previous),
        b'k' => Some(Key::Up),
        b'j' => Some(Key::Down),
        b' ' => Some(Key::Pause),
        b'?' => Some(Key::Help),
        _ => None,
    }
}

fn arrow(last: u8) -> Option<Key> {
    match last {
        b'A' => Some(Key::Up),
        b'B' => Some(Key::Down),
        b'C' => Some(Key::Next),
        b'D' | b'Z' => Some(Key::Previous),
        _ => None,
    }
}

/// Reads standard input on a thread of its own. The channel closes when the terminal is gone.
pub fn listen(waiting_max: usize) -> mpsc::Receiver<Key> {
    let (pressed, keys) = mpsc::channel(waiting_max);
    // It ends with the process: a read of a terminal cannot be called off.
    std::thread::spawn(move || {
        let (mut reader, mut input, mut bytes) = (KeyReader::default(), std::io::stdin(), [0; 64]);
        while let Ok(count @ 1..) = input.read(&mut bytes) {
            // A terminal sends a sequence in one piece.
            for key in reader.read(&bytes[..count], count < bytes.len()) {
                if pressed.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        KeyReader::default().read(bytes, true)
    }

    #[test]
    fn each_key_is_known_by_what_terminals_send() {
        assert_eq!(keys(b"q"), [Key::Quit]);
        assert_eq!(keys(b"\x03"), [Key::Quit]);
        assert_eq!(
            keys(b"\t \x1b[A\x1bOB?"),
            [Key::Next, Key::Pause, Key::Up, Key::Down, Key::Help]
        );
        assert_eq!(keys(b"\x1b[C\x1b[D\x1b[Z"), [Key::Next, Key::Previous, Key::Previous]);
        assert_eq!(keys(b"\x1b"), [Key::Back]);
    }

    #[test]
    fn a_sequence_in_pieces_is_one_key_and_unknown_ones_are_none() {
        let mut reader = KeyReader::default();
        assert_eq!(reader.read(b"\x1b", false), []);
        assert_eq!(reader.read(b"[", false), []);
        assert_eq!(reader.read(b"B", true), [Key::Down]);
        assert_eq!(keys(b"\x1b[15~\x1b[1;5Cxyzq"), [Key::Quit]);
        assert_eq!(
            keys(&[b"\x1b[".as_slice(), &[b'1'; 100], b"q"].concat()).last(),
            Some(&Key::Quit)
        );
    }
}
