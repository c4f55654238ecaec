//! This file knows how to show a text that is not ours: bounded, in one line, printable.

use ultramarine_types::limits;

/// Keeps at most [`limits::REASON_BYTES_MAX`] bytes of a text that is not ours, in one line.
pub fn bounded(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(limits::REASON_BYTES_MAX));
    for character in text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
    {
        if kept.len() + character.len_utf8() > limits::REASON_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

/// Quotes the beginning of a foreign body, so that a person can tell what it is.
pub fn quoted(body: &[u8]) -> String {
    let body = body.trim_ascii();
    if body.is_empty() {
        return "an empty body".to_owned();
    }
    if body.starts_with(&GZIP) {
        return "a body compressed with gzip, which we did not ask for".to_owned();
    }
    let shown = &body[..body.len().min(QUOTED_BYTES)];
    let text: String = String::from_utf8_lossy(shown)
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let more = if shown.len() < body.len() { "…" } else { "" };
    bounded(&format!("`{text}{more}`"))
}

/// How many bytes of a foreign body are shown.
const QUOTED_BYTES: usize = 200;
/// What a gzip file begins with (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_bounded_and_stays_on_its_line() {
        // Of two texts with such characters one has a character across the bound.
        for begin in ["\n", "\n\n"] {
            let text = bounded(&(begin.to_owned() + &"é".repeat(1000)));
            assert!(text.len() <= limits::REASON_BYTES_MAX && !text.contains('\n'));
        }
    }

    #[test]
    fn a_foreign_body_is_quoted_by_its_beginning() {
        let quote = quoted(&b"\x1b[31m<html>\r\n\xff hi".repeat(100));
        assert!(quote.len() < 2 * QUOTED_BYTES && quote.ends_with("…`"), "{quote}");
        assert!(!quote.chars().any(char::is_control), "{quote}");
        assert!(quoted(&[0x1f, 0x8b, 8, 0]).contains("gzip"));
    }
}
