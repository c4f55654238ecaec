//! This file knows how a request is refused: a status code, and JSON that says why.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use ultramarine_types::Height;
use ultramarine_types::storage::Absent;

/// A refusal, in the Beacon API's shape: `{"code": 404, "message": "…"}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
    oldest: Option<Height>,
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

    /// There is no such thing here.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
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
            Absent::Pruned { oldest } => Self {
                oldest: Some(oldest),
                ..Self::not_found(format!(
                    "blobs of height {height} are pruned; the oldest height with blobs here is {oldest}"
                ))
            },
            Absent::NeverHeld => Self::not_found(format!(
                "height {height} was synced after its blobs' retention had ended: this node never held them"
            )),
            Absent::Damaged => {
                tracing::error!(%height, "the index names blobs that cannot be read; check the disk and the log above");
                Self::internal(format!("blobs of height {height} should be here and cannot be read"))
            }
        }
    }

    /// Runs `work` away from the threads that own sockets: it may touch cold maps and the index on disk.
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

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "code": self.status.as_u16(), "message": self.message });
        if let Some(oldest) = self.oldest {
            body["oldest_height"] = json!(oldest.to_string());
        }
        (self.status, Json(body)).into_response()
    }
}
