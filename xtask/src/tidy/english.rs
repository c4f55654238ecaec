//! This file knows how plain the English of the comments is: two shares, for people to watch. It breaks no rule.

use std::fmt::Write;

use crate::tree::Tree;

/// A sentence of more words is hard to read at night.
const WORDS_MAX: usize = 30;
/// A doc comment of as few words mostly says what the name says.
const DOC_WORDS_MIN: usize = 4;

/// What was counted, and each line that counts against us.
#[derive(Default)]
pub struct English {
    docs: usize,
    short: Vec<String>,
    sentences: usize,
    long: Vec<String>,
}

/// The shares, with every line if wanted.
pub fn report(tree: &Tree, with_lines: bool) -> String {
    let english = English::of(tree);
    let mut text = String::new();
    if with_lines {
        for line in english.short.iter().chain(&english.long) {
            let _ = writeln!(text, "{line}");
        }
    }
    let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
    let _ = write!(
        text,
        "English: {} of {} doc comments have fewer than {DOC_WORDS_MIN} words ({:.1} %); {} of {} sentences have more \
         than \
         {WORDS_MAX} ({:.1} %)",
        english.short.len(),
        english.docs,
        share(english.short.len(), english.docs),
        english.long.len(),
        english.sentences,
        share(english.long.len(), english.sentences),
    );
    text
}

impl English {
    /// Reads every comment of every Rust file.
    pub fn of(tree: &Tree) -> Self {
        let mut english = Self::default();
        for source in &tree.rust {
            let (mut block, mut first, mut kind) = (Vec::new(), 0, "");
            for (index, line) in source.text.lines().enumerate() {
                let (found, words) = comment(line);
                if found != kind {
                    english.block(&source.path, first, kind, &std::mem::take(&mut block));
                    (first, kind) = (index + 1, found);
                }
                if !found.is_empty() {
                    block.push(words);
                }
            }
            english.block(&source.path, first, kind, &block);
        }
        english
    }

    fn block(&mut self, path: &str, line: usize, kind: &str, block: &[&str]) {
        if block.is_empty() {
            return;
        }
        if kind == "///" {
            self.docs += 1;
            if words(&block.join(" ")) < DOC_WORDS_MIN {
                self.short.push(format!("{path}:{line}: short: {}", block.join(" ")));
            }
        }
        for sentence in paragraphs(block).iter().flat_map(|paragraph| sentences(paragraph)) {
            self.sentences += 1;
            let count = words(&sentence);
            if count > WORDS_MAX {
                self.long.push(format!("{path}:{line}: {count} words: {sentence}"));
            }
        }
    }
}

/// The kind of comment that a line is, and its words; the kind is empty for code.
fn comment(line: &str) -> (&'static str, &str) {
    let line = line.trim_start();
    ["//!", "///", "//"]
        .into_iter()
        .find_map(|kind| line.strip_prefix(kind).map(|words| (kind, words.trim())))
        .unwrap_or(("", ""))
}

/// Paragraphs and items of lists; drawings and tables are none.
fn paragraphs(block: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = vec![String::new()];
    let mut is_drawing = false;
    for line in block {
        if line.starts_with("```") {
            is_drawing = !is_drawing;
            continue;
        }
        let item = line
            .strip_prefix("- ")
            .or_else(|| line.strip_prefix("* "))
            .or_else(|| numbered(line));
        if is_drawing || line.starts_with('|') {
            continue;
        }
        if line.is_empty() || item.is_some() {
            all.push(String::new());
        }
        let last = all.last_mut().expect("one at least");
        last.push_str(item.unwrap_or(line));
        last.push(' ');
    }
    all
}

fn numbered(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(". ")?;
    (!number.is_empty() && number.chars().all(|character| character.is_ascii_digit())).then_some(rest)
}

/// Sentences end with a full stop, a question or an exclamation mark before a space and a capital letter.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut ended = false;
    for word in paragraph.split_whitespace() {
        let begins = word.starts_with(|first: char| first.is_uppercase() || "`\"([".contains(first));
        if ended && begins {
            all.push(String::new());
        }
        let last = all.last_mut().expect("one at least");
        last.push_str(word);
        last.push(' ');
        ended = word.ends_with(['.', '?', '!']);
    }
    all.retain(|sentence| words(sentence) > 0);
    all
}

fn words(text: &str) -> usize {
    text.split_whitespace()
        .filter(|word| word.contains(|letter: char| letter.is_alphanumeric()))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree_of;

    #[test]
    fn short_docs_and_long_sentences_are_counted() {
        let long = "word ".repeat(31);
        let text = format!(
            "//! Knows x.\n\n/// Which one.\nfn a() {{}}\n\n/// Four words are enough.\nfn b() {{}}\n// A {long}\n// \
             end. And\n// - an item\n"
        );
        let english = English::of(&tree_of(&[("a/src/x.rs", &text)]));
        assert_eq!((english.docs, english.short.len(), english.long.len()), (2, 1, 1));
        assert_eq!(
            english.sentences, 6,
            "the head, two docs, the long one, the next, the item"
        );
    }

    #[test]
    fn drawings_are_no_sentences() {
        let text = format!("//! ```text\n//! {}\n//! ```\n", "box ".repeat(40));
        assert_eq!(English::of(&tree_of(&[("a/src/x.rs", &text)])).sentences, 0);
    }
}
