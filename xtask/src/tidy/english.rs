//! This file knows how plain our English is: how many sentences are long, in comments and in documents.
//!
//! One long sentence is no fault. A share of them above its ceiling is one: see [`comments_are_plain`] and
//! [`documents_are_plain`].

mod markdown;

use std::fmt::Write;

use super::Complaint;
use crate::tree::Tree;

/// A sentence of more words is hard to read at night.
const WORDS_MAX: usize = 30;
/// A doc comment of as few words mostly says what the name says.
const DOC_WORDS_MIN: usize = 4;
/// How many sentences of comments may be long, in percent: one that has to be, now and then.
const LONG_IN_COMMENTS_MAX: f64 = 1.0;
/// How many doc comments may be short, in percent: a field now and then has nothing more to say.
const SHORT_DOCS_MAX: f64 = 2.0;
/// How many sentences of documents may be long, in percent: they argue more than comments do.
const LONG_IN_DOCUMENTS_MAX: f64 = 2.0;

/// What was counted, and each line that counts against us.
#[derive(Default)]
pub struct English {
    docs: usize,
    short: Vec<String>,
    comments: Sentences,
    documents: Sentences,
}

/// The sentences of one kind of text.
#[derive(Default)]
struct Sentences {
    count: usize,
    long: Vec<String>,
}

/// Doc comments that say little, and long sentences in comments, are few.
pub fn comments_are_plain(tree: &Tree) -> Vec<Complaint> {
    let english = English::of(tree);
    let mut wrong = Vec::new();
    wrong.extend(too_many(
        "doc comments are short",
        share(english.short.len(), english.docs),
        SHORT_DOCS_MAX,
    ));
    wrong.extend(too_many(
        "sentences of comments are long",
        english.comments.share(),
        LONG_IN_COMMENTS_MAX,
    ));
    wrong
}

/// Long sentences in documents are few.
pub fn documents_are_plain(tree: &Tree) -> Vec<Complaint> {
    let share = English::of(tree).documents.share();
    let complaint = too_many("sentences of documents are long", share, LONG_IN_DOCUMENTS_MAX);
    complaint.into_iter().collect()
}

fn too_many(what: &str, share: f64, ceiling: f64) -> Option<Complaint> {
    let advice = "`cargo xtask tidy --sentences` names them";
    let complaint = || {
        Complaint::new(
            "the tree",
            0,
            format!("{share:.1} % of its {what}, and {ceiling} % may be: {advice}"),
        )
    };
    (share > ceiling).then(complaint)
}

/// The shares, with every line if wanted.
pub fn report(tree: &Tree, with_lines: bool) -> String {
    let english = English::of(tree);
    let mut text = String::new();
    if with_lines {
        let long = english.comments.long.iter().chain(&english.documents.long);
        for line in english.short.iter().chain(long) {
            let _ = writeln!(text, "{line}");
        }
    }
    let _ = write!(
        text,
        "English: {} of {} doc comments have fewer than {DOC_WORDS_MIN} words ({:.1} %); more than {WORDS_MAX} words \
         have {} of {} sentences in comments ({:.1} %), and {} of {} in documents ({:.1} %)",
        english.short.len(),
        english.docs,
        share(english.short.len(), english.docs),
        english.comments.long.len(),
        english.comments.count,
        english.comments.share(),
        english.documents.long.len(),
        english.documents.count,
        english.documents.share(),
    );
    text
}

/// How much of the whole a part is, in percent.
fn share(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

impl Sentences {
    fn share(&self) -> f64 {
        share(self.long.len(), self.count)
    }

    fn text(&mut self, path: &str, line: usize, text: &str) {
        for sentence in sentences(text) {
            self.count += 1;
            let count = words(&sentence);
            if count > WORDS_MAX {
                self.long.push(format!("{path}:{line}: {count} words: {sentence}"));
            }
        }
    }
}

impl English {
    /// Reads every comment of every Rust file, and every document.
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
        for (path, document) in tree.files.iter().filter(|(path, _)| path.ends_with(".md")) {
            for text in markdown::texts(document) {
                english.documents.text(path, text.line, &text.words);
            }
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
        for paragraph in paragraphs(block) {
            self.comments.text(path, line, &paragraph);
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

/// Sentences end with a full stop, a question or an exclamation mark before a space and a capital letter or a number.
/// Brackets, quotes and stars may stand between.
fn sentences(paragraph: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut ended = false;
    for word in paragraph.split_whitespace() {
        let begins =
            word.starts_with(|first: char| first.is_uppercase() || first.is_numeric() || "`\"([*".contains(first));
        if ended && begins {
            all.push(String::new());
        }
        let last = all.last_mut().expect("one at least");
        last.push_str(word);
        last.push(' ');
        ended = word.trim_end_matches([')', '"', '*', '_']).ends_with(['.', '?', '!']);
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
        assert_eq!(
            (english.docs, english.short.len(), english.comments.long.len()),
            (2, 1, 1)
        );
        assert_eq!(
            english.comments.count, 6,
            "the head, two docs, the long one, the next, the item"
        );
    }

    #[test]
    fn drawings_are_no_sentences() {
        let text = format!("//! ```text\n//! {}\n//! ```\n", "box ".repeat(40));
        assert_eq!(English::of(&tree_of(&[("a/src/x.rs", &text)])).comments.count, 0);
    }

    #[test]
    fn a_sentence_ends_within_brackets_or_stars_too() {
        let found = sentences("*Soundness.* All hold. (None fails.) 16 bound it, e.g. so. and on.");
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn documents_are_counted_apart_from_comments() {
        let document = format!(
            "A {}.\n\nShort it is.\n\n| {}|\n",
            "word ".repeat(31),
            "cell ".repeat(40)
        );
        let english = English::of(&tree_of(&[("README.md", &document), ("a/src/x.rs", "// Short.\n")]));
        assert_eq!((english.documents.count, english.documents.long.len()), (3, 2));
        assert_eq!((english.comments.count, english.comments.long.len()), (1, 0));
    }

    #[test]
    fn too_many_long_sentences_are_a_complaint() {
        let long = "word ".repeat(31);
        let (few, many) = (format!("{long}. {}", "Short. ".repeat(49)), format!("{long}. Short."));
        assert_eq!(documents_are_plain(&tree_of(&[("README.md", &few)])), []);
        assert_eq!(documents_are_plain(&tree_of(&[("README.md", &many)])).len(), 1);
        let (few, many) = (
            format!("// {long}. {}", "Short. ".repeat(99)),
            format!("// {long}. Short."),
        );
        assert_eq!(comments_are_plain(&tree_of(&[("a/src/x.rs", &few)])), []);
        assert_eq!(comments_are_plain(&tree_of(&[("a/src/x.rs", &many)])).len(), 1);
    }

    #[test]
    fn too_many_short_docs_are_a_complaint() {
        let plain = "/// What the name does not say.\nfn a() {}\n".repeat(49);
        let (few, many) = (format!("{plain}/// One.\nfn b() {{}}\n"), "/// One.\nfn b() {}\n");
        assert_eq!(comments_are_plain(&tree_of(&[("a/src/x.rs", &few)])), []);
        assert_eq!(comments_are_plain(&tree_of(&[("a/src/x.rs", many)])).len(), 1);
    }
}
