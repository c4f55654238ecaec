//! This file knows how numbers and foreign texts are written in few columns.

use ultramarine_engine::foreign;

/// The characters that pictures are drawn with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Glyphs {
    /// What is measured now.
    pub full: char,
    /// What is usual.
    pub light: char,
    pub rule: char,
    pub dot: char,
    pub arrow: char,
    /// Ends a text that is longer than its place.
    pub cut: char,
    /// Whether texts of nodes may have characters beyond ASCII.
    pub is_unicode: bool,
}

impl Glyphs {
    pub const UNICODE: Self = Self {
        full: '█',
        light: '░',
        rule: '─',
        dot: '·',
        arrow: '→',
        cut: '…',
        is_unicode: true,
    };
    pub const ASCII: Self = Self {
        full: '#',
        light: '-',
        rule: '-',
        dot: '|',
        arrow: '>',
        cut: '~',
        is_unicode: false,
    };

    /// What this terminal shows, by the locale (POSIX, "Environment Variables": the first that is set).
    pub fn of_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
        let locale = set
            .filter(|value| !value.is_empty())
            .map(|value| value.to_uppercase())
            .next();
        let is_unicode = locale.is_some_and(|locale| locale.contains("UTF-8") || locale.contains("UTF8"));
        if is_unicode { Self::UNICODE } else { Self::ASCII }
    }

    /// A foreign text as this terminal can show it: one line, printable, bounded.
    pub fn show(&self, text: &str) -> String {
        let text = clean(text);
        if self.is_unicode {
            return text;
        }
        text.chars()
            .map(|character| match character {
                '…' => '~',
                other if other.is_ascii() => other,
                _ => '?',
            })
            .collect()
    }
}

/// A text's lines of at most so many columns. All but the first are indented. A word longer than a line is broken.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if line.trim_end().chars().count() + usize::from(!line.is_empty()) + word.len() > columns
            && !line.trim().is_empty()
        {
            lines.push(std::mem::replace(&mut line, " ".to_owned()));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        loop {
            let room = columns - line.chars().count().min(columns - 1);
            if word.len() <= room {
                break;
            }
            line.extend(word.drain(..room));
            lines.push(std::mem::replace(&mut line, "  ".to_owned()));
        }
        line.extend(word);
    }
    if !line.trim().is_empty() {
        lines.push(line);
    }
    lines
}

/// A foreign text, bounded and printable: control characters and those that turn the direction of writing are blanks.
pub fn clean(text: &str) -> String {
    let is_hidden = |character: &char| {
        matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
    };
    foreign::bounded(text)
        .chars()
        .map(|character| if is_hidden(&character) { ' ' } else { character })
        .collect()
}

/// Milliseconds in at most six columns.
pub fn ms(ms: f64) -> String {
    match ms {
        ms if !ms.is_finite() => "?".to_owned(),
        ms if ms < 9.95 => format!("{ms:.1}"),
        ms if ms < 99_999.5 => format!("{ms:.0}"),
        ms if ms < 99_999_500.0 => format!("{:.0} s", ms / 1e3),
        _ => "long".to_owned(),
    }
}

/// Bytes in at most seven columns, by thousands.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    if !bytes.is_finite() {
        return "?".to_owned();
    }
    let mut value = bytes;
    for unit in UNITS {
        // What would be written with four digits goes to the next unit.
        if value.abs() < 999.5 {
            let digits = usize::from(unit != "B" && value.abs() < 9.95);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1e3;
    }
    "much".to_owned()
}

/// A share in at most five columns.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        percent if !percent.is_finite() => "?".to_owned(),
        percent if percent < 9.95 => format!("{percent:.1}%"),
        percent => format!("{:.0}%", percent.min(9_999.0)),
    }
}

/// A span of time, in two units at most.
pub fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    let minute = 60.0;
    let hour = 60.0 * minute;
    let day = 24.0 * hour;
    match seconds {
        s if s < minute => format!("{s:.0} s"),
        s if s < hour => format!("{:.0} min", (s / minute).floor()),
        s if s < day => format!("{:.0} h {:.0} min", (s / hour).floor(), (s % hour / minute).floor()),
        s if s < 100.0 * day => format!("{:.0} d {:.0} h", (s / day).floor(), (s % day / hour).floor()),
        s if s < 100_000.0 * day => format!("{:.0} d", s / day),
        _ => "years".to_owned(),
    }
}

/// The beginning of a hash, an address or a key.
pub fn short(hex: &str) -> String {
    clean(hex).trim_start_matches("0x").chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_to_their_columns() {
        let mut number = 0.001;
        while number < 1e20 {
            assert!(ms(number).len() <= 7, "{}", ms(number));
            assert!(bytes(number).len() <= 7, "{}", bytes(number));
            assert!(percent(number).len() <= 5, "{}", percent(number));
            assert!(span(number).len() <= 12, "{}", span(number));
            number *= 1.7;
        }
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(
                (ms(odd), bytes(odd), percent(odd), span(odd)),
                ("?".into(), "?".into(), "?".into(), "?".into())
            );
        }
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(
            (ms(0.44), ms(9.96), ms(412.4)),
            ("0.4".into(), "10".into(), "412".into())
        );
        assert_eq!(
            (bytes(17.0), bytes(1_234.0), bytes(999_600.0)),
            ("17 B".into(), "1.2 kB".into(), "1.0 MB".into())
        );
        assert_eq!((span(59.0), span(11_520.0)), ("59 s".into(), "3 h 12 min".into()));
        assert_eq!((percent(0.004), percent(0.31)), ("0.4%".into(), "31%".into()));
    }

    #[test]
    fn a_text_is_wrapped_whole() {
        let text = "the execution client has not answered for long";
        let lines = wrapped(text, 20);
        assert_eq!(lines, ["the execution client", "  has not answered", "  for long"]);
        assert_eq!(wrapped("", 20), [""; 0]);
        for columns in 0..30 {
            let words = format!("{text} {}", "x".repeat(70));
            let lines = wrapped(&words, columns);
            assert!(
                lines.iter().all(|line| line.chars().count() <= columns.max(3)),
                "{columns}: {lines:?}"
            );
            let kept: String = lines.concat().split_whitespace().collect();
            assert_eq!(kept, words.split_whitespace().collect::<String>());
        }
    }

    #[test]
    fn a_hostile_text_stays_on_its_line_and_moves_no_cursor() {
        let hostile = "a\x1b[2J\r\nb\u{202e}c\u{9b}31m".to_owned() + &"x".repeat(10_000);
        let shown = clean(&hostile);
        assert!(
            shown.len() <= 512 && shown.chars().all(|character| !character.is_control()),
            "{shown}"
        );
        assert!(!shown.contains('\u{202e}'));
        assert!(Glyphs::ASCII.show("übel …").is_ascii());
    }

    #[test]
    fn the_first_locale_that_is_set_decides() {
        let locale = |all: &str, lang: &str| {
            let (all, lang) = (all.to_owned(), lang.to_owned());
            Glyphs::of_locale(move |name| match name {
                "LC_ALL" => Some(all.clone()),
                "LANG" => Some(lang.clone()),
                _ => None,
            })
        };
        assert_eq!(locale("", "en_US.UTF-8"), Glyphs::UNICODE);
        assert_eq!(locale("C", "en_US.UTF-8"), Glyphs::ASCII);
        assert_eq!(Glyphs::of_locale(|_| None), Glyphs::ASCII);
    }
}
