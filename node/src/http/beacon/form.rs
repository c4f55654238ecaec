//! This file knows in which form a caller wants an answer, and whether it has that answer already.

use axum::http::header::{ACCEPT, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue};
use ultramarine_types::canonical::sha256;

use crate::http::body::{JSON, OCTET_STREAM};
use crate::http::error::ApiError;

/// Ranges read of one request; no honest caller names more.
const RANGES_MAX: usize = 16;

/// How blobs are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Json,
    /// SSZ: items of one length, one after the other.
    Ssz,
}

/// A media range of `Accept` (RFC 9110, section 12.5.1).
struct Range<'a> {
    kind: &'a str,
    /// From 0, which refuses, to 1000.
    quality: u32,
}

impl<'a> Range<'a> {
    /// `None` if it is no range.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| kind.contains('/'))?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
        let quality = match weight {
            None => 1000,
            Some(weight) => {
                let weight: f32 = weight.parse().ok().filter(|weight| (0.0..=1.0).contains(weight))?;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a weight lies between 0 and 1"
                )]
                let thousandths = (weight * 1000.0).round() as u32;
                thousandths
            }
        };
        Some(Self { kind, quality })
    }

    /// How closely it names a form; `None`: not at all.
    fn closeness(&self, form: Form) -> Option<u32> {
        if self.kind.eq_ignore_ascii_case(form.media_type()) {
            Some(2)
        } else if self.kind.eq_ignore_ascii_case("application/*") {
            Some(1)
        } else {
            (self.kind == "*/*").then_some(0)
        }
    }
}

impl Form {
    /// What `Accept` asks for: the form with the higher weight, or else the first. JSON if there is no header.
    pub fn wanted(headers: &HeaderMap) -> Result<Self, ApiError> {
        let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<_> = texts
            .flat_map(|text| text.split(','))
            .take(RANGES_MAX)
            .filter_map(Range::read)
            .collect();
        if ranges.is_empty() {
            return Ok(Self::Json);
        }
        // The closest range decides about a form; of equal forms the one that is named first is taken.
        let judged = [Self::Json, Self::Ssz].map(|form| {
            let close = ranges.iter().enumerate().filter_map(|(at, range)| {
                let closeness = range.closeness(form)?;
                Some((closeness, std::cmp::Reverse(at), range.quality))
            });
            close.max().map(|(_, at, quality)| (quality, at))
        });
        match judged {
            [Some((json, json_at)), Some((ssz, ssz_at))] if (ssz, ssz_at) > (json, json_at) && ssz > 0 => Ok(Self::Ssz),
            [Some((1.., _)), _] => Ok(Self::Json),
            [_, Some((1.., _))] => Ok(Self::Ssz),
            _ => Err(ApiError::not_acceptable(format!(
                "this URL answers as {JSON} or as {OCTET_STREAM} (SSZ); the request accepts neither"
            ))),
        }
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Ssz => OCTET_STREAM,
        }
    }
}

/// A tag of an answer's content (RFC 9110, section 8.8.3): whoever has an answer with this tag need not read it again.
/// It is weak, as a compressed answer has the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntityTag(String);

impl EntityTag {
    /// The tag of all that `parts` name.
    pub fn of(parts: &[&dyn std::fmt::Debug]) -> Self {
        let digest = sha256(format!("{parts:?}").as_bytes());
        Self(format!("W/\"{}\"", hex::encode(&digest.0[..16])))
    }

    /// Whether the caller's `If-None-Match` names it.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let ours = opaque(&self.0);
        let texts = headers
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok());
        texts
            .flat_map(|text| text.split(','))
            .any(|tag| tag.trim() == "*" || opaque(tag) == ours)
    }

    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("quotes and hex digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: axum::http::HeaderName, values: &[&'static str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| (name.clone(), HeaderValue::from_static(value)));
        values.collect()
    }

    #[test]
    fn the_form_is_the_one_with_the_higher_weight_or_the_first() {
        for (accept, form) in [
            (&[][..], Form::Json),
            (&["*/*"], Form::Json),
            (&["application/*"], Form::Json),
            (&["application/json"], Form::Json),
            (&["application/octet-stream"], Form::Ssz),
            (&["Application/Octet-Stream"], Form::Ssz),
            (&["application/octet-stream;q=1.0,application/json;q=0.9"], Form::Ssz),
            (&["application/octet-stream;q=0.5, application/json"], Form::Json),
            (&["application/json;q=0.5", "application/octet-stream"], Form::Ssz),
            (&["application/octet-stream, application/json"], Form::Ssz),
            (&["application/json, application/octet-stream"], Form::Json),
            (&["*/*;q=0.1, application/octet-stream;q=0.2"], Form::Ssz),
            (&["application/json;q=0, */*"], Form::Ssz),
            (&["text/html, */*;q=0.8"], Form::Json),
            (&["nonsense"], Form::Json),
            (&["application/octet-stream;q=7, application/json"], Form::Json),
        ] {
            assert_eq!(Form::wanted(&headers(ACCEPT, accept)), Ok(form), "{accept:?}");
        }
        for accept in [&["text/html"][..], &["application/json;q=0"], &["*/*;q=0"]] {
            let error = Form::wanted(&headers(ACCEPT, accept)).expect_err("neither");
            assert!(format!("{error:?}").contains("406"), "{accept:?}: {error:?}");
        }
    }

    #[test]
    fn a_tag_is_known_by_whoever_names_it() {
        let tag = EntityTag::of(&[&1, &"a"]);
        assert_ne!(tag, EntityTag::of(&[&1, &"b"]));
        let weak = tag.header();
        let strong = HeaderValue::from_str(&tag.0[2..]).expect("ASCII");
        for known in [&weak, &strong] {
            assert!(tag.is_known(&[(IF_NONE_MATCH, known.clone())].into_iter().collect()));
        }
        assert!(tag.is_known(&headers(IF_NONE_MATCH, &["\"x\", *"])));
        assert!(!tag.is_known(&headers(IF_NONE_MATCH, &["\"x\""])));
        assert!(!tag.is_known(&HeaderMap::new()));
    }
}
