//! This file knows how we refuse a request: with a status code, and JSON that says why, whichever part refuses.

use axum::Json;
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use ultramarine_types::Height;
use ultramarine_types::storage::{Absent, Source};

/// A refusal, in the Beacon API's shape: `{"code": 404, "message": "…"}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    oldest: Option<Oldest>,
}

/// From where on a node has blobs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oldest {
    pub height: Height,
    /// The slot of the height's block; `None` before it is decided here.
    pub slot: Option<u64>,
}

impl Oldest {
    /// As a sentence says it.
    fn text(&self) -> String {
        let Self { height, slot } = self;
        match slot {
            Some(slot) => format!("the oldest height with blobs here is {height}, in slot {slot}"),
            None => "this node has no blobs yet".to_owned(),
        }
    }
}

impl ApiError {
    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            oldest: None,
        }
    }

    /// Whoever asks so is not answered.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message: message.into(),
            oldest: None,
        }
    }

    /// The caller accepts no form that we have.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_ACCEPTABLE,
            message: message.into(),
            oldest: None,
        }
    }

    /// There is no such thing here.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: message.into(),
            oldest: None,
        }
    }

    /// We have too much to do.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: message.into(),
            oldest: None,
        }
    }

    /// Something is wrong with us.
    pub fn internal(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            message: message.into(),
            oldest: None,
        }
    }

    /// Why a height's blobs cannot be served.
    pub fn absent(height: Height, absent: Absent) -> Self {
        match absent {
            Absent::Unknown => Self::not_found(format!("height {height} is not decided here")),
            Absent::Pruned { .. } => Self::not_found(format!("blobs of height {height} are pruned")),
            Absent::NeverHeld => Self::not_found(format!(
                "height {height} was synced after its blobs' retention had ended: this node never held them"
            )),
            Absent::Damaged => {
                tracing::error!(%height, "a damaged height was asked for; check the disk and the log above");
                Self::unavailable(format!(
                    "height {height} is damaged on this node's disk and is fetched again from its peers; try again"
                ))
            }
        }
    }

    /// A height's blobs were freed here, and the archive has them.
    pub fn archived(height: Height) -> Self {
        Self::not_found(format!(
            "blobs of height {height} are archived and no longer here: `ultramarine archive import` brings them back"
        ))
    }

    /// The same refusal, with the oldest height whose blobs are here.
    pub fn with_oldest(self, oldest: Oldest) -> Self {
        Self {
            message: format!("{}; {}", self.message, oldest.text()),
            oldest: Some(oldest),
            ..self
        }
    }

    /// Why a decision cannot be shown.
    pub fn undecided(source: &dyn Source, height: Height) -> Self {
        let is_damaged = source.is_damaged(height);
        Self::absent(height, if is_damaged { Absent::Damaged } else { Absent::Unknown })
    }

    /// Runs `work` away from the thread that owns sockets: it may read cold maps and the index on disk.
    pub async fn off_core<T: Send + 'static>(
        work: impl FnOnce() -> Result<T, Self> + Send + 'static,
    ) -> Result<T, Self> {
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(%error, "a request's work failed");
                Err(Self::internal("the request could not be worked on; see the node's log"))
            }
        }
    }
}

/// The body of a refusal.
fn body(status: StatusCode, message: &str) -> serde_json::Value {
    json!({ "code": status.as_u16(), "message": message })
}

/// A whole answer to a request that we cannot pass on. The connection ends with it.
pub fn raw(status: StatusCode, message: &str) -> Vec<u8> {
    let body = body(status, message).to_string();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Gives a refusal our JSON body, if it has another: routers and layers refuse with a status and at most a line of
/// text.
pub fn in_json(response: Response) -> Response {
    let status = response.status();
    let headers = response.headers();
    let is_json = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let message = match status {
        // A part of a path is a text: nothing else can be wrong with it here.
        StatusCode::BAD_REQUEST => "the path of this URL is not percent-encoded UTF-8",
        StatusCode::METHOD_NOT_ALLOWED => "this URL is for reading: GET or HEAD",
        StatusCode::PAYLOAD_TOO_LARGE => "no request here has use for a body",
        StatusCode::GATEWAY_TIMEOUT => "the answer was not ready in time; try again",
        _ => status.canonical_reason().unwrap_or("the request is refused"),
    };
    let (mut head, _) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(head, Body::from(body(status, message).to_string()))
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = body(self.status, &self.message);
        if let Some(oldest) = self.oldest {
            body["oldest_height"] = json!(oldest.height.to_string());
            if let Some(slot) = oldest.slot {
                body["oldest_slot"] = json!(slot.to_string());
            }
        }
        (self.status, Json(body)).into_response()
    }
}
