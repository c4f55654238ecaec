//! This file knows where one JSON object or list ends, in bytes that arrive piece by piece.
//!
//! It looks at each byte once. It skips strings, and so blobs, many bytes at a time.

use memchr::memchr2;

/// The search for the end of one value.
#[derive(Debug, Default)]
pub struct ValueEnd {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

/// What the search found in one piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PieceScan {
    /// The value goes on after the piece, or has not begun.
    More,
    /// The value ends before this position of the piece.
    End(usize),
    /// Something begins here that is neither an object nor a list.
    NoValue,
}

impl ValueEnd {
    /// Searches the next piece. After [`PieceScan::End`] or [`PieceScan::NoValue`] the search is over.
    pub fn find(&mut self, piece: &[u8]) -> PieceScan {
        let mut at = 0;
        if std::mem::take(&mut self.escaped) {
            if piece.is_empty() {
                self.escaped = true;
                return PieceScan::More;
            }
            at = 1;
        }
        loop {
            let rest = piece.get(at..).unwrap_or_default();
            if self.in_string {
                let Some(offset) = memchr2(b'"', b'\\', rest) else {
                    return PieceScan::More;
                };
                at += offset + 1;
                if rest[offset] == b'"' {
                    self.in_string = false;
                } else if at < piece.len() {
                    at += 1;
                } else {
                    self.escaped = true;
                    return PieceScan::More;
                }
                continue;
            }
            let Some(byte) = rest.first() else {
                return PieceScan::More;
            };
            at += 1;
            match byte {
                b'{' | b'[' => self.depth += 1,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if self.depth == 0 => return PieceScan::NoValue,
                b'"' => self.in_string = true,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return PieceScan::End(at);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Feeds `text` cut at the given positions; where the value ends in it, if it does.
    fn end_of(text: &[u8], cuts: &[usize]) -> Option<usize> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut end = ValueEnd::default();
        for pair in cuts.windows(2) {
            match end.find(&text[pair[0]..pair[1]]) {
                PieceScan::More => {}
                PieceScan::End(at) => return Some(pair[0] + at),
                PieceScan::NoValue => return None,
            }
        }
        None
    }

    /// Any JSON, with what looks like brackets and quotes in its strings.
    fn json() -> impl Strategy<Value = Value> {
        let text = r#"[\[\]{}"\\a-c\u{e9}\n ]{0,12}"#;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(text, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_value_ends_where_a_parser_says_wherever_the_pieces_are_cut(
            values in prop::collection::vec(json(), 1..4),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
            pretty: bool,
            gap in "[ \n\t\r]{0,3}",
        ) {
            // A bare number or text has no end of its own, and is no answer: each stands in a list.
            let write = |value: &Value| {
                let listed = Value::from(vec![value.clone()]);
                if pretty { format!("{listed:#}") } else { listed.to_string() }
            };
            let text: String = values.iter().map(|value| write(value) + &gap).collect();
            let mut stream = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            let mut from = 0;
            while let Some(Ok(_)) = stream.next() {
                let rest = &text.as_bytes()[from..];
                prop_assert_eq!(end_of(rest, &cuts).map(|end| from + end), Some(stream.byte_offset()));
                from = stream.byte_offset();
            }
        }
    }

    #[test]
    fn the_end_is_found_with_a_cut_at_every_position() {
        let value = br#" {"a":"}\"]{","b":[{},[1]],"c":"\\"}"#;
        let text = [value.as_slice(), b"\n{"].concat();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                assert_eq!(end_of(&text, &[first, second]), Some(value.len()), "{first}, {second}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_known_by_its_first_byte() {
        for text in ["<html>", "null", "\"{\"", "}", "]", "\n\n1"] {
            assert_eq!(ValueEnd::default().find(text.as_bytes()), PieceScan::NoValue, "{text}");
        }
        assert_eq!(ValueEnd::default().find(b"\r\n \t"), PieceScan::More);
    }

    #[test]
    fn hostile_nesting_costs_a_counter() {
        let deep = vec![b'['; 1_000_000];
        let mut end = ValueEnd::default();
        assert_eq!(end.find(&deep), PieceScan::More);
        assert_eq!(std::mem::size_of_val(&end), 16);
        assert_eq!(end.find(&vec![b'}'; 999_999]), PieceScan::More);
        assert_eq!(end.find(b"]}"), PieceScan::End(1));
    }
}
