//! This file knows how figures are written: three digits that matter, and a unit.

/// A duration given in nanoseconds: always three digits, so that a column of them reads evenly.
pub fn duration(ns: u64) -> String {
    let (value, unit) = in_unit(ns);
    format!("{}\u{202f}{unit}", three_digits(value))
}

/// A round duration, as an axis names it: `5 ms`, not `5.00 ms`.
pub fn tick(ns: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A positive number of nanoseconds.
    let ns = ns.round() as u64;
    let (value, unit) = in_unit(ns);
    if ns == 0 {
        "0".to_owned()
    } else {
        format!("{}\u{202f}{unit}", shortest(value))
    }
}

#[allow(clippy::cast_precision_loss)] // Three digits are shown.
fn in_unit(ns: u64) -> (f64, &'static str) {
    match ns {
        0..1_000 => (ns as f64, "ns"),
        // From here on three digits would round up to 1000 of the smaller unit.
        1_000..999_500 => (ns as f64 / 1e3, "µs"),
        999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    }
}

/// A byte count in decimal units.
#[allow(clippy::cast_precision_loss)] // Three digits are shown.
pub fn bytes(bytes: u64) -> String {
    let (value, unit) = match bytes {
        0..1_000 => return format!("{bytes}\u{202f}B"),
        1_000..1_000_000 => (bytes as f64 / 1e3, "kB"),
        1_000_000..1_000_000_000 => (bytes as f64 / 1e6, "MB"),
        _ => (bytes as f64 / 1e9, "GB"),
    };
    format!("{}\u{202f}{unit}", three_digits(value))
}

/// A count, its thousands apart.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A value with three significant digits.
pub fn three_digits(value: f64) -> String {
    if value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// A value without the zeros that say nothing.
pub fn shortest(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text inside HTML, also inside a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A moment in seconds since 1970, as a date and time in UTC.
pub fn moment(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Howard Hinnant's `civil_from_days`, for days since 1970 only: years start in March, eras are 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        seconds / 3600,
        seconds / 60 % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_show_three_digits_and_a_unit() {
        assert_eq!(duration(950), "950\u{202f}ns");
        assert_eq!(duration(12_345), "12.3\u{202f}µs");
        assert_eq!(duration(1_999_999), "2.00\u{202f}ms");
        assert_eq!(duration(999_700), "1.00\u{202f}ms");
        assert_eq!(
            (tick(5e6), tick(2e5), tick(0.0)),
            ("5\u{202f}ms".to_owned(), "200\u{202f}µs".to_owned(), "0".to_owned())
        );
        assert_eq!(duration(61_200_000), "61.2\u{202f}ms");
        assert_eq!(duration(1_250_000_000), "1.25\u{202f}s");
        assert_eq!(bytes(20_971_520), "21.0\u{202f}MB");
        assert_eq!(bytes(7), "7\u{202f}B");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(999), "999");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00 UTC");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(moment(1_798_761_599), "2026-12-31 23:59 UTC");
    }

    #[test]
    fn nothing_leaves_its_place_in_the_page() {
        assert_eq!(escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }
}
