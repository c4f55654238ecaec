//! This file knows how to read a URL's query: lists by commas or by repetition, numbers, and what is wrong with them.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use ultramarine_types::Height;

use crate::http::error::ApiError;

/// Items one list may have; no block has more blobs.
const ITEMS_MAX: usize = ultramarine_types::limits::BLOBS_PER_BLOCK_MAX as usize;
/// Parameters one query may have: one for each item, and as many that mean nothing to us.
const PARAMETERS_MAX: usize = 2 * ITEMS_MAX;
/// Characters of a wrong value that an error repeats.
const QUOTED_MAX: usize = 80;

/// A query that is too long for hyper's URLs. [`wire`](super::wire) keeps it apart.
#[derive(Clone, Debug)]
pub struct LongQuery(pub String);

/// The parameters of a query, decoded, in their order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let long = parts.extensions.get::<LongQuery>().map(|query| query.0.as_str());
        Self::read(long.or(parts.uri.query()).unwrap_or_default())
    }
}

/// Of URLs that take no parameters: one that is given is refused by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoParameters;

impl<S: Sync> FromRequestParts<S> for NoParameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Query::from_request_parts(parts, state).await?.only(&[])?;
        Ok(Self)
    }
}

impl Query {
    /// Reads the text after the question mark.
    pub fn read(text: &str) -> Result<Self, ApiError> {
        let mut parameters = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if parameters.len() == PARAMETERS_MAX {
                return Err(ApiError::bad_request(format!(
                    "the query has more than {PARAMETERS_MAX} parameters"
                )));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            parameters.push((decoded(name)?, decoded(value)?));
        }
        Ok(Self(parameters))
    }

    /// The items of a list: `a=1,2`, `a=1&a=2` and `a[]=1&a[]=2` are the same. Empty if it is not given.
    /// `a=` is refused: whoever filters by nothing, such as a variable that was never set, does not want all.
    pub fn list<T>(&self, name: &str, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, ApiError> {
        if self.values(name).any(str::is_empty) {
            return Err(ApiError::bad_request(format!(
                "{name} is empty: give {what}, or leave it out"
            )));
        }
        let mut items = Vec::new();
        for item in self.values(name).flat_map(|value| value.split(',')) {
            if items.len() == ITEMS_MAX {
                return Err(ApiError::bad_request(format!(
                    "{name} lists more than {ITEMS_MAX} items"
                )));
            }
            let parsed = parse(item)
                .ok_or_else(|| ApiError::bad_request(format!("{name} lists `{}`, which is not {what}", quoted(item))));
            items.push(parsed?);
        }
        Ok(items)
    }

    /// What is given for a list, each as it is written.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let is_it = move |key: &str| key == name || key.strip_suffix("[]") == Some(name);
        let given = self.0.iter().filter(move |(key, _)| is_it(key));
        given.map(|(_, value)| value.as_str())
    }

    /// A text that may be given once.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let first = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            None => Ok(first),
            Some(_) => Err(ApiError::bad_request(format!("{name} is given twice"))),
        }
    }

    /// A number that may be given once.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.text(name)? else {
            return Ok(None);
        };
        match number(value) {
            Some(number) => Ok(Some(number)),
            None => Err(ApiError::bad_request(format!(
                "{name} is `{}`, which is not a number from 0 to {}",
                quoted(value),
                u64::MAX
            ))),
        }
    }

    /// As [`Query::only`], where every parameter is a list, so that `a[]` is `a`.
    pub fn only_lists(&self, known: &[&str]) -> Result<(), ApiError> {
        let names = self.0.iter().map(|(name, _)| name.strip_suffix("[]").unwrap_or(name));
        Self::check(names, known)
    }

    /// Refuses all other parameters: otherwise we would ignore a misspelt one without a word.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        Self::check(self.0.iter().map(|(name, _)| name.as_str()), known)
    }

    fn check<'a>(mut names: impl Iterator<Item = &'a str>, known: &[&str]) -> Result<(), ApiError> {
        match names.find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let known = match known {
                    [] => "this URL takes none".to_owned(),
                    known => format!("there are {}", known.join(", ")),
                };
                let name = quoted(name);
                Err(ApiError::bad_request(format!(
                    "no parameter `{name}` is known here; {known}"
                )))
            }
        }
    }
}

/// A number in decimal digits alone.
pub fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The height that a path names.
pub fn height(text: &str) -> Result<Height, ApiError> {
    let found = number(text).map(Height);
    found.ok_or_else(|| no(text, "height", &format!("a number from 0 to {}", u64::MAX)))
}

/// Refuses a part of a path: `what` it should be, and what that `is`.
pub fn no(text: &str, what: &str, is: &str) -> ApiError {
    ApiError::bad_request(format!("`{}` is no {what}: give {is}", quoted(text)))
}

pub fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Percent-decoding, as forms do it: `+` is a space.
fn decoded(text: &str) -> Result<String, ApiError> {
    let wrong = || ApiError::bad_request(format!("`{}` in the query is not percent-encoded UTF-8", quoted(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>().ok_or_else(wrong)?;
                rest = after;
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (high, low) = digit(digits[0]).zip(digit(digits[1])).ok_or_else(wrong)?;
                high << 4 | low
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Result<Vec<u64>, ApiError> {
        Query::read(text)?.list("indices", "a number", number)
    }

    #[test]
    fn every_way_to_write_a_list_says_the_same() {
        for text in [
            "indices=1,2",
            "indices=1&indices=2",
            "indices=1%2C2",
            "indices=1%2c2&other=x,y",
            "indices[]=1&indices%5B%5D=2",
            "%69ndices=1&&indices=%32",
        ] {
            assert_eq!(list(text), Ok(vec![1, 2]), "{text}");
        }
        for text in ["", "&", "index=1", "indices[0]=1"] {
            assert_eq!(list(text), Ok(Vec::new()), "{text}");
        }
    }

    #[test]
    fn what_is_no_item_is_refused_by_its_text() {
        for (text, named) in [
            ("indices", "indices is empty"),
            ("indices=", "indices is empty"),
            ("indices=1&indices=", "indices is empty"),
            ("indices[]=", "indices is empty"),
            ("indices=one", "`one`"),
            ("indices=1,,2", "``"),
            ("indices=1,", "``"),
            ("indices=,", "``"),
            ("indices=-1", "`-1`"),
            ("indices=+1", "` 1`"),
            ("indices=%2B1", "`+1`"),
            ("indices=0x1", "`0x1`"),
            ("indices=18446744073709551616", "`18446744073709551616`"),
            ("indices=%zz", "`%zz`"),
            ("indices=%4", "`%4`"),
            ("indices=%ff", "`%ff`"),
        ] {
            let error = format!("{:?}", list(text).expect_err(text));
            assert!(error.contains(named), "{text}: {error}");
        }
        let long = format!("indices={}", "x".repeat(100_000));
        assert!(
            format!("{:?}", list(&long)).len() < 400,
            "a long value is not repeated whole"
        );
    }

    #[test]
    fn lists_and_parameters_are_bounded() {
        let items = |count: usize| vec!["7"; count].join(",");
        assert_eq!(
            list(&format!("indices={}", items(ITEMS_MAX))).map(|all| all.len()),
            Ok(ITEMS_MAX)
        );
        assert!(list(&format!("indices={}", items(ITEMS_MAX + 1))).is_err());
        assert!(list(&"a&".repeat(PARAMETERS_MAX)).is_ok());
        assert!(list(&"a&".repeat(PARAMETERS_MAX + 1)).is_err());
    }

    #[test]
    fn a_number_is_given_once_and_known_names_alone() {
        let query = |text| Query::read(text).expect("decodes");
        assert_eq!(query("from=7&to=9").number("to"), Ok(Some(9)));
        assert_eq!(query("from=7").number("to"), Ok(None));
        assert!(query("to=7&to=7").number("to").is_err());
        assert!(query("to=").number("to").is_err());
        assert_eq!(query("from=7&to=9").only(&["from", "to"]), Ok(()));
        let error = format!("{:?}", query("form=7").only(&["from", "to"]));
        assert!(error.contains("`form`") && error.contains("from, to"), "{error}");
    }
}
