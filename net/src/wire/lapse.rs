//! This file knows how to say that an attestation has expired: it names the expiry and the clock that found it.
//!
//! The end that refuses writes both times into the text of the close frame, so that the other end can log them too.

use std::fmt;

/// We read at most this much of a close frame's text.
const TEXT_BYTES_MAX: usize = 256;

/// An attestation that has expired by somebody's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lapse {
    /// The attestation held until then, in Unix seconds.
    pub expiry: u64,
    /// The clock of the end that refused it, in Unix seconds.
    pub clock: u64,
}

impl Lapse {
    /// The text for a close frame.
    pub fn text(self) -> String {
        format!(
            "the attestation expired at {} and the clock here says {} (Unix seconds)",
            self.expiry, self.clock
        )
    }

    /// Reads a text that [`text`](Self::text) wrote; `None` for any other.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.get(..text.len().min(TEXT_BYTES_MAX))?).ok()?;
        let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        Some(Self {
            expiry: numbers.next()?,
            clock: numbers.next()?,
        })
    }
}

/// Unix seconds as people read them: `2026-11-29T16:57:43Z`.
pub struct Utc(pub u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Counts years of the Gregorian calendar that begin in March, in eras of 400 years (146,097 days). Day 0 is 1
        // March of the year 0.
        let day = days.saturating_add(719_468);
        let (era, of_era) = (day / 146_097, day % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day_of_month:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_times_survive_a_close_frame_and_nothing_else_is_read_as_such() {
        let lapse = Lapse {
            expiry: 1_795_000_000,
            clock: 1_827_000_123,
        };
        assert_eq!(Lapse::parse(lapse.text().as_bytes()), Some(lapse));
        for other in [&b""[..], b"expired", b"at 17 only", b"\xff 1 2", &[b'7'; 1_000]] {
            assert_eq!(Lapse::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn times_are_written_as_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_971_463, "2026-11-29T16:57:43Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(seconds).to_string(), text);
        }
        // Whatever a peer sends has some form.
        assert!(Utc(u64::MAX).to_string().ends_with('Z'));
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(
            letters in proptest::collection::vec(any::<char>(), 0..300),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let text: String = letters.into_iter().collect();
            for bytes in [text.as_bytes(), &noise] {
                if let Some(lapse) = Lapse::parse(bytes) {
                    prop_assert_eq!(Lapse::parse(lapse.text().as_bytes()), Some(lapse));
                }
            }
        }

        #[test]
        fn any_two_numbers_are_read(expiry in any::<u64>(), clock in any::<u64>()) {
            let lapse = Lapse { expiry, clock };
            prop_assert_eq!(Lapse::parse(lapse.text().as_bytes()), Some(lapse));
        }
    }
}
