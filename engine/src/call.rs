//! This file knows how a call ends: with an answer, or with one of the errors that we tell apart.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use ultramarine_types::execution::PayloadStatus;

use crate::foreign::{bounded, quoted};
use crate::http::{HttpAnswer, HttpError};
use crate::ipc::IpcError;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No connection over the socket, or it broke.
    #[error(transparent)]
    Ipc(#[from] IpcError),
    #[error("no answer to {method} within {after:?}")]
    Timeout { method: &'static str, after: Duration },
    /// The client refuses our token.
    #[error("the token was refused: {0}")]
    Unauthorized(String),
    /// An HTTP status whose body holds no JSON-RPC answer.
    #[error("HTTP {status}: {what}")]
    Status {
        status: StatusCode,
        /// The beginning of the body, or where the server points to.
        what: String,
    },
    /// An answer without what the method promises.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The client answered with a JSON-RPC error.
    #[error("{code}: {message}")]
    Rpc { code: Code, message: String },
}

/// Error codes of JSON-RPC and the Engine API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    Parse,
    InvalidRequest,
    MethodNotFound,
    /// -32602; EthereumJS also says this for attributes that others call -38003.
    InvalidParams,
    Internal,
    Server,
    /// -38001; EthereumJS says -32001.
    UnknownPayload,
    InvalidForkchoiceState,
    InvalidPayloadAttributes,
    TooLargeRequest,
    UnsupportedFork,
    TooDeepReorg,
    Other(i64),
    /// The error had none.
    Missing,
}

impl Code {
    /// The meaning of a code.
    pub const fn of(code: i64) -> Self {
        match code {
            -32700 => Self::Parse,
            -32600 => Self::InvalidRequest,
            -32601 => Self::MethodNotFound,
            -32602 => Self::InvalidParams,
            -32603 => Self::Internal,
            -32000 => Self::Server,
            -32001 | -38001 => Self::UnknownPayload,
            -38002 => Self::InvalidForkchoiceState,
            -38003 => Self::InvalidPayloadAttributes,
            -38004 => Self::TooLargeRequest,
            -38005 => Self::UnsupportedFork,
            -38006 => Self::TooDeepReorg,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parse => "parse error (-32700)",
            Self::InvalidRequest => "invalid request (-32600)",
            Self::MethodNotFound => "method not found (-32601)",
            Self::InvalidParams => "invalid parameters (-32602)",
            Self::Internal => "internal error (-32603)",
            Self::Server => "server error (-32000)",
            Self::UnknownPayload => "unknown payload (-38001)",
            Self::InvalidForkchoiceState => "invalid forkchoice state (-38002)",
            Self::InvalidPayloadAttributes => "invalid payload attributes (-38003)",
            Self::TooLargeRequest => "too large request (-38004)",
            Self::UnsupportedFork => "unsupported fork (-38005)",
            Self::TooDeepReorg => "too deep reorg (-38006)",
            Self::Other(code) => return write!(f, "error {code}"),
            Self::Missing => "an error without a code",
        })
    }
}

impl CallError {
    /// The word that metrics show.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(HttpError::Connect { .. }) | Self::Ipc(IpcError::Connect { .. }) => "unreachable",
            Self::Http(HttpError::Broken { .. }) | Self::Ipc(IpcError::Broken { .. }) => "broken",
            Self::Http(HttpError::Oversize { .. }) | Self::Ipc(IpcError::Oversize { .. }) => "oversize",
            Self::Http(HttpError::Request(_)) => "request",
            Self::Http(HttpError::Encoded { .. }) | Self::Ipc(IpcError::Foreign(_)) => "answer",
            Self::Timeout { .. } => "timeout",
            Self::Unauthorized(_) => "unauthorized",
            Self::Status { .. } => "status",
            Self::Answer(_) => "answer",
            Self::Rpc { .. } => "error",
        }
    }

    /// Tells the core that there is no usable answer, and why.
    pub fn into_status(self) -> PayloadStatus {
        PayloadStatus::Unavailable {
            reason: bounded(&self.to_string()),
        }
    }
}

/// Takes the JSON-RPC answer out of an HTTP answer. The error says what came in its place.
pub fn json_of(answer: HttpAnswer) -> Result<Bytes, CallError> {
    let HttpAnswer { status, location, body } = answer;
    let is_object = body.trim_ascii_start().starts_with(b"{");
    if status.is_success() {
        // A list answers a batch, which we never send. Anything else is a page for people, or nothing.
        return match is_object {
            true => Ok(body),
            false => Err(CallError::Answer(format!("HTTP {status} with {}", quoted(&body)))),
        };
    }
    let what = match location {
        Some(location) => format!("it points to {}", bounded(&location)),
        None => quoted(&body),
    };
    // A client that refuses our host name answers 403 too, so the body of a 403 must speak of the token.
    let is_about_token = || {
        let text = what.to_ascii_lowercase();
        ["token", "jwt", "auth", "bearer"]
            .iter()
            .any(|word| text.contains(word))
    };
    match status {
        StatusCode::UNAUTHORIZED => Err(CallError::Unauthorized(format!("HTTP {status}: {what}"))),
        StatusCode::FORBIDDEN if is_about_token() => Err(CallError::Unauthorized(format!("HTTP {status}: {what}"))),
        // Some clients answer a failed call with 4xx or 5xx, and say in the body what failed.
        _ if is_object && memchr::memmem::find(&body, b"\"jsonrpc\"").is_some() => Ok(body),
        _ => Err(CallError::Status { status, what }),
    }
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Envelope<T> {
    /// `None` if the answer has no result. A result of `null` is an answer: `Some(None)`.
    #[serde(default = "none", deserialize_with = "present")]
    result: Option<Option<T>>,
    #[serde(default)]
    error: Option<Value>,
}

const fn none<T>() -> Option<T> {
    None
}

fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Reads an answer; `None` if the result is `null`. We ignore its `id`: a connection carries one call at a time, and
/// some clients answer with a text where we sent a number.
pub fn read<'de, T: Deserialize<'de>>(answer: &'de [u8]) -> Result<Option<T>, CallError> {
    // serde would read a list as the fields in their order, and we send no batches.
    if !answer.trim_ascii_start().starts_with(b"{") {
        return Err(CallError::Answer(format!("it is no JSON object: {}", quoted(answer))));
    }
    let envelope: Envelope<T> =
        serde_json::from_slice(answer).map_err(|error| CallError::Answer(bounded(&error.to_string())))?;
    match (envelope.error, envelope.result) {
        (Some(error), _) => Err(refusal(&error)),
        (None, Some(result)) => Ok(result),
        (None, None) => Err(CallError::Answer(format!(
            "it has neither a result nor an error: {}",
            quoted(answer)
        ))),
    }
}

/// Reads an error. JSON-RPC wants an object with a code and a message; we show anything else as it came.
fn refusal(error: &Value) -> CallError {
    let code = error["code"].as_i64().map_or(Code::Missing, Code::of);
    let text = match (error["message"].as_str(), error.as_str()) {
        (Some(message), _) => message.to_owned(),
        (None, Some(text)) => text.to_owned(),
        (None, None) => error.to_string(),
    };
    let message = match &error["data"] {
        Value::Null => bounded(&text),
        data => bounded(&format!("{text} ({data})")),
    };
    // ethrex answers a missing or wrong token with HTTP 200 and this.
    if code == Code::Server && message.starts_with("Auth failed") {
        return CallError::Unauthorized(message);
    }
    CallError::Rpc { code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_code_has_its_own_meaning() {
        let known = [
            -32700, -32600, -32601, -32602, -32603, -32000, -38001, -38002, -38003, -38004, -38005, -38006,
        ];
        for code in known {
            let meaning = Code::of(code);
            assert!(!matches!(meaning, Code::Other(_)), "{code}");
            assert!(meaning.to_string().contains(&code.to_string()), "{meaning}");
        }
        assert_eq!(Code::of(-32001), Code::UnknownPayload);
        assert_eq!(Code::of(7), Code::Other(7));
    }

    #[test]
    fn an_error_of_the_client_is_told_apart_from_a_refused_token() {
        let error = read::<u64>(
            br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"Auth failed: Invalid or missing token"}}"#,
        );
        assert!(matches!(error, Err(CallError::Unauthorized(_))));
        let error =
            read::<u64>(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no such thing","data":"x"}}"#);
        assert!(
            matches!(error, Err(CallError::Rpc { code: Code::Server, message }) if message == "no such thing (\"x\")")
        );
    }

    #[test]
    fn a_null_result_is_an_answer_and_nonsense_is_none() {
        assert!(matches!(read::<u64>(br#"{"id":1,"result":null}"#), Ok(None)));
        assert!(matches!(read::<u64>(br#"{"id":1,"result":7}"#), Ok(Some(7))));
        for nonsense in [b"".as_slice(), b"{", b"[]", br#"{"result":"x"}"#] {
            assert!(matches!(read::<u64>(nonsense), Err(CallError::Answer(_))));
        }
    }

    #[test]
    fn an_answer_is_read_whatever_its_id_and_an_error_whatever_its_shape() {
        for id in ["1", "\"1\"", "null", "\"0x1\"", "1.5"] {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":7}}"#);
            assert!(matches!(read::<u64>(answer.as_bytes()), Ok(Some(7))), "{id}");
        }
        assert!(matches!(read::<u64>(br#" {"result":7,"error":null}"#), Ok(Some(7))));
        let errors = [
            (r#"{"code":-32601,"message":"no"}"#, Code::MethodNotFound, "no"),
            (r#"{"message":"no"}"#, Code::Missing, "no"),
            (r#"{"code":"x","message":null,"data":[1]}"#, Code::Missing, "[1]"),
            (r#""busy""#, Code::Missing, "busy"),
            ("[7]", Code::Missing, "[7]"),
            (r#"{"code":-38003}"#, Code::InvalidPayloadAttributes, "-38003"),
        ];
        for (error, expected, part) in errors {
            for rest in ["", r#","result":null"#, r#","result":7"#] {
                let answer = format!(r#"{{"error":{error}{rest}}}"#);
                let Err(CallError::Rpc { code, message }) = read::<u64>(answer.as_bytes()) else {
                    panic!("{answer}")
                };
                assert!(
                    code == expected && message.contains(part),
                    "{answer}: {code}, {message}"
                );
            }
        }
        let deep = format!(r#"{{"error":{}}}"#, "[".repeat(100_000));
        assert!(matches!(read::<u64>(deep.as_bytes()), Err(CallError::Answer(_))));
    }

    #[test]
    fn what_is_no_answer_is_quoted() {
        let error = |answer: &[u8]| read::<u64>(answer).expect_err("no answer").to_string();
        assert!(error(b"[{\"id\":1,\"result\":7}]").contains("[{\"id\""), "a batch");
        assert!(error(br#"{"message":"denied by policy"}"#).contains("denied by policy"));
        assert!(error(b"").contains("an empty body"));
        assert!(error(b"{\"result\":\"\xff\"}").contains("unicode"));
    }

    #[test]
    fn an_http_answer_is_told_apart_by_its_status_and_body() {
        let answer = |status: u16, body: &str| HttpAnswer {
            status: StatusCode::from_u16(status).expect("a status"),
            location: None,
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        let call = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"x"}}"#;
        for status in [200, 400, 403, 404, 500] {
            assert!(json_of(answer(status, call)).is_ok(), "{status}");
        }
        for (status, body) in [(200, "<html>"), (200, ""), (200, "[]"), (204, "")] {
            assert!(
                matches!(json_of(answer(status, body)), Err(CallError::Answer(_))),
                "{status}"
            );
        }
        for (status, body) in [
            (401, ""),
            (401, "{}"),
            (403, "stale token"),
            (403, "Authentication error"),
        ] {
            assert!(
                matches!(json_of(answer(status, body)), Err(CallError::Unauthorized(_))),
                "{body}"
            );
        }
        for (status, body) in [
            (403, "invalid host specified"),
            (404, "<html>"),
            (413, ""),
            (503, r#"{"message":"busy"}"#),
        ] {
            let error = json_of(answer(status, body)).expect_err("no answer");
            assert!(matches!(error, CallError::Status { .. }), "{status}: {error}");
            assert!(
                error.to_string().contains(&status.to_string()) && error.to_string().contains(body),
                "{error}"
            );
        }
        let moved = HttpAnswer {
            location: Some("https://el.example/".to_owned()),
            ..answer(301, "<html>")
        };
        assert!(json_of(moved).is_err_and(|error| error.to_string().contains("points to https://el.example/")));
    }
}
