//! This file knows spans of heights: how an object is named by its span, and which heights spans leave out.

use std::fmt;

use ultramarine_types::Height;

/// What the names of objects end with.
const SUFFIX: &str = ".uarc";
/// Digits of a height in a name: as many as the largest has, so that names sort as heights do.
const DIGITS: usize = 20;

/// Heights one after the other, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct HeightSpan {
    pub first: Height,
    pub last: Height,
}

impl HeightSpan {
    pub fn new(first: Height, last: Height) -> Self {
        Self { first, last }
    }

    /// The name of the object with these heights, within its chain's folder.
    pub fn object_name(self) -> String {
        format!("{:0DIGITS$}-{:0DIGITS$}{SUFFIX}", self.first.0, self.last.0)
    }

    /// The heights of the object with this name; `None` if no object is named so.
    pub fn of_name(name: &str) -> Option<Self> {
        let (first, last) = name.strip_suffix(SUFFIX)?.split_once('-')?;
        let height = |text: &str| {
            let digits = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok().map(Height)).flatten()
        };
        let span = Self::new(height(first)?, height(last)?);
        (span.first > Height::GENESIS && span.first <= span.last).then_some(span)
    }

    pub fn has(self, height: Height) -> bool {
        self.first <= height && height <= self.last
    }

    /// The heights of this span that none of the others has.
    pub fn missing_from(self, others: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut others: Vec<Self> = others.into_iter().collect();
        others.sort_unstable();
        let mut missing = Vec::new();
        let mut next = self.first;
        for other in others {
            if next > self.last {
                break;
            }
            if other.first > next {
                missing.push(Self::new(next, self.last.min(other.first.prev())));
            }
            next = next.max(other.last.next());
        }
        if next <= self.last {
            missing.push(Self::new(next, self.last));
        }
        missing
    }
}

impl fmt::Display for HeightSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}
