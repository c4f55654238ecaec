//! This file knows how a call ends: its answer, or one of the errors that are told apart.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use ultramarine_types::execution::PayloadStatus;
use ultramarine_types::limits;

use super::http::HttpError;
use super::ipc::IpcError;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection, or it broke.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No connection over the socket, or it broke.
    #[error(transparent)]
    Ipc(#[from] IpcError),
    /// The deadline passed.
    #[error("no answer to {method} within {after:?}")]
    Timeout {
        /// Which call.
        method: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// The client does not take our token.
    #[error("the token was refused: {0}")]
    Unauthorized(String),
    /// An HTTP status with no JSON behind it.
    #[error("HTTP {0}")]
    Status(hyper::StatusCode),
    /// An answer that is not the one the method promises.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
    /// The client answered with an error.
    #[error("{code}: {message}")]
    Rpc {
        /// Which.
        code: Code,
        /// Its text, bounded.
        message: String,
    },
}

/// Error codes of JSON-RPC and the Engine API.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// -32700.
    Parse,
    /// -32600.
    InvalidRequest,
    /// -32601.
    MethodNotFound,
    /// -32602; EthereumJS also says this for attributes that others call -38003.
    InvalidParams,
    /// -32603.
    Internal,
    /// -32000.
    Server,
    /// -38001; EthereumJS says -32001.
    UnknownPayload,
    /// -38002.
    InvalidForkchoiceState,
    /// -38003.
    InvalidPayloadAttributes,
    /// -38004.
    TooLargeRequest,
    /// -38005.
    UnsupportedFork,
    /// -38006.
    TooDeepReorg,
    /// Any other.
    Other(i64),
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
        })
    }
}

impl CallError {
    /// The short word of metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(HttpError::Connect { .. }) | Self::Ipc(IpcError::Connect { .. }) => "unreachable",
            Self::Http(HttpError::Broken { .. }) | Self::Ipc(IpcError::Broken { .. }) => "broken",
            Self::Http(HttpError::Oversize { .. }) | Self::Ipc(IpcError::Oversize { .. }) => "oversize",
            Self::Http(HttpError::Request(_)) => "request",
            Self::Timeout { .. } => "timeout",
            Self::Unauthorized(_) => "unauthorized",
            Self::Status(_) => "status",
            Self::Answer(_) => "answer",
            Self::Rpc { .. } => "error",
        }
    }

    /// What the core is told: there is no usable answer, and why.
    pub fn into_status(self) -> PayloadStatus {
        PayloadStatus::Unavailable {
            reason: bounded(&self.to_string()),
        }
    }
}

/// At most [`limits::REASON_BYTES_MAX`] bytes of a text that is not ours, in one line.
pub fn bounded(text: &str) -> String {
    let mut kept = String::with_capacity(text.len().min(limits::REASON_BYTES_MAX));
    for character in text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
    {
        if kept.len() + character.len_utf8() > limits::REASON_BYTES_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

#[derive(Deserialize)]
struct Envelope<T> {
    // `Option` would need `T: Default` without this when the field is absent.
    #[serde(default = "none")]
    result: Option<T>,
    #[serde(default)]
    error: Option<RpcError>,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: serde_json::Value,
}

const fn none<T>() -> Option<T> {
    None
}

/// Reads an answer; `None` if the result is `null`.
pub fn read<'de, T: Deserialize<'de>>(answer: &'de [u8]) -> Result<Option<T>, CallError> {
    // A list would read as the fields in their order, and batches are not for us.
    if !answer.trim_ascii_start().starts_with(b"{") {
        return Err(CallError::Answer("it is no JSON object".to_owned()));
    }
    let envelope: Envelope<T> =
        serde_json::from_slice(answer).map_err(|error| CallError::Answer(bounded(&error.to_string())))?;
    match envelope.error {
        None => Ok(envelope.result),
        Some(error) => Err(refusal(error)),
    }
}

fn refusal(error: RpcError) -> CallError {
    let code = Code::of(error.code);
    let message = match &error.data {
        serde_json::Value::Null => bounded(&error.message),
        data => bounded(&format!("{} ({data})", error.message)),
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
    fn a_foreign_text_is_bounded_and_stays_on_its_line() {
        let text = bounded(&"é\n".repeat(1000));
        assert!(text.len() <= limits::REASON_BYTES_MAX && !text.contains('\n'));
    }
}
