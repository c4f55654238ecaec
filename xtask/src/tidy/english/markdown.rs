//! This file knows the texts of a Markdown document: paragraphs, items of lists, headings and cells of tables.

use super::numbered;

/// A cell or a heading of fewer words is a figure or a name, and no sentence.
const FRAGMENT_WORDS_MIN: usize = 4;

/// A piece of prose, and the line that it begins at, from 1.
#[derive(PartialEq, Eq, Debug)]
pub struct Text {
    pub line: usize,
    pub words: String,
}

/// Every text of a document, in order; code blocks are none, and links count by what they show.
pub fn texts(document: &str) -> Vec<Text> {
    let mut reader = Reader::default();
    for (index, line) in document.lines().enumerate() {
        reader.line(index + 1, line);
    }
    reader.texts.retain(|text| !text.words.is_empty());
    for text in &mut reader.texts {
        text.words = without_links(&text.words);
    }
    reader.texts
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    texts: Vec<Text>,
    /// Whether the line stands between two fences.
    is_fenced: bool,
    /// In a list an indented line goes on with its item, and is no code.
    is_list: bool,
    /// The next line of prose begins a text.
    is_apart: bool,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        let words = line.trim();
        if words.starts_with("```") {
            self.is_fenced = !self.is_fenced;
            self.is_apart = true;
        } else if self.is_fenced || (self.is_apart && !self.is_list && line.starts_with("    ")) {
            // Code, by a fence or by its indent.
        } else if words.is_empty() {
            self.is_apart = true;
        } else if words.starts_with('|') {
            for cell in cells(words) {
                self.fragment(number, cell);
            }
        } else if words.starts_with('#') {
            self.is_list = false;
            self.fragment(number, words.trim_start_matches('#').trim());
        } else {
            self.prose(number, line, words);
        }
    }

    fn prose(&mut self, number: usize, line: &str, words: &str) {
        let words = words.trim_start_matches("> ");
        let item = ["- ", "* ", "+ "].iter().find_map(|mark| words.strip_prefix(mark));
        let item = item.or_else(|| numbered(words));
        if item.is_some() || (self.is_apart && !line.starts_with(' ')) {
            self.is_list = item.is_some();
        }
        if item.is_some() || self.is_apart || self.texts.is_empty() {
            self.push(number, item.unwrap_or(words));
        } else {
            let last = self.texts.last_mut().expect("not empty");
            last.words.push(' ');
            last.words.push_str(words);
        }
        self.is_apart = false;
    }

    fn fragment(&mut self, number: usize, words: &str) {
        if super::words(words) >= FRAGMENT_WORDS_MIN {
            self.push(number, words);
        }
        self.is_apart = true;
    }

    fn push(&mut self, line: usize, words: &str) {
        let words = words.to_owned();
        self.texts.push(Text { line, words });
    }
}

/// The cells of a row; `\|` is a bar within one.
fn cells(row: &str) -> impl Iterator<Item = &str> {
    let mut last = ' ';
    row.split(move |character| {
        let is_border = character == '|' && last != '\\';
        last = character;
        is_border
    })
    .map(str::trim)
}

/// Leaves of `[shown](target)` what a reader sees.
fn without_links(words: &str) -> String {
    let mut left = String::new();
    let mut rest = words;
    while let Some((before, after)) = rest.split_once("](") {
        left.push_str(before);
        left.push(']');
        rest = after.split_once(')').map_or("", |(_target, after)| after);
    }
    left + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &str) -> Vec<String> {
        texts(document).into_iter().map(|text| text.words).collect()
    }

    #[test]
    fn code_is_no_text() {
        let document = "A net.\n\n    e(C, H) = 1\n\nWhere:\n```sh\ncargo run\n```\nAnd then.\n";
        assert_eq!(read(document), ["A net.", "Where:", "And then."]);
    }

    #[test]
    fn an_item_goes_on_below_its_mark() {
        let document =
            "Three:\n- the first\n  is long\n- the second\n\n    with a paragraph\n1. the third\n\nThe end.\n";
        let items = [
            "Three:",
            "the first is long",
            "the second",
            "with a paragraph",
            "the third",
            "The end.",
        ];
        assert_eq!(read(document), items);
    }

    #[test]
    fn a_cell_is_a_text_unless_it_is_a_figure() {
        let document =
            "| flag | |\n|---|---|\n| flag `a\\|b` of it | how nodes drive it all |\n| 12 | 13.5 ms |\nAfter it.\n";
        assert_eq!(
            read(document),
            ["flag `a\\|b` of it", "how nodes drive it all", "After it."]
        );
    }

    #[test]
    fn a_heading_stands_alone() {
        let document = "# Budget\nOf us.\n## What a last blob waits for\nOf it.\n";
        assert_eq!(read(document), ["Of us.", "What a last blob waits for", "Of it."]);
    }

    #[test]
    fn a_link_counts_by_what_it_shows_and_a_text_knows_its_line() {
        let found = texts("# A\n\nSee [the plan](docs/a/b.md#c) or\n[it](x).\n");
        let words = "See [the plan] or [it].".to_owned();
        assert_eq!(found, [Text { line: 3, words }]);
    }
}
