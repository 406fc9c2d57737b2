//! Answers: 202, and every way to say no. JSON bodies, lower-case reasons, and when to come again.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::edge::journal::AppendError;
use crate::flow::body::Fault;

use super::memory::Exhausted;

/// Seconds until a full journal may have been released: checkpoints come every few seconds.
const RETRY_FULL: u64 = 5;
/// Seconds until other requests will be through.
const RETRY_BUSY: u64 = 1;
/// Seconds until somebody may have mended the disk.
const RETRY_DISK: u64 = 30;

/// A body was taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accepted {
    pub(super) events: usize,
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        answer(StatusCode::ACCEPTED, &json!({ "accepted": self.events }))
    }
}

/// Why a request was refused, beside the answer, for the log.
#[derive(Clone, Debug)]
pub(super) struct Reason(pub(super) String);

/// Nothing of a body was taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No token, or not the right one.
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    /// Not a type of body we read.
    MediaType,
    /// Not a content encoding we read.
    Encoding,
    TooLarge {
        bytes_max: usize,
    },
    /// The body did not come in time.
    TooSlow,
    /// The connection broke, or the encoding is not what the header says.
    Broken {
        reason: String,
    },
    Malformed(Fault),
    /// Too many bodies at once.
    Busy,
    Journal(AppendError),
}

impl From<Exhausted> for Refusal {
    fn from(_: Exhausted) -> Self {
        Self::Busy
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken { .. } | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Journal(AppendError::Full { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Journal(AppendError::NoSpace) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Journal(AppendError::Poisoned { .. } | AppendError::Closed) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Busy => Some(RETRY_BUSY),
            Self::Journal(AppendError::Full { .. } | AppendError::Closed) => Some(RETRY_FULL),
            Self::Journal(AppendError::NoSpace | AppendError::Poisoned { .. }) => Some(RETRY_DISK),
            _ => None,
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Unauthorized => "a valid bearer token is needed".to_owned(),
            Self::NotFound => {
                "no such path: post to /v1/events, /v1/predictions or /v1/labels".to_owned()
            }
            Self::MethodNotAllowed => "only POST is allowed here".to_owned(),
            Self::MediaType => {
                "unsupported content type: send application/json or application/x-ndjson".to_owned()
            }
            Self::Encoding => "unsupported content encoding: send gzip or identity".to_owned(),
            Self::TooLarge { bytes_max } => {
                format!(
                    "the body is larger than {bytes_max} bytes, before or after decompression: send smaller ones"
                )
            }
            Self::TooSlow => "the body did not arrive in time".to_owned(),
            Self::Broken { reason } => reason.clone(),
            Self::Malformed(fault) => fault.to_string(),
            Self::Busy => "too many requests at once: try again".to_owned(),
            // Where the disk hurts is for the log, not for the network.
            Self::Journal(AppendError::Poisoned { .. }) => {
                "the journal stopped after a failed write: modelbeat must be restarted".to_owned()
            }
            Self::Journal(error) => error.to_string(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let reason = self.reason();
        let body = match &self {
            Self::Malformed(Fault { line, byte, .. }) => {
                json!({ "error": &reason, "line": line, "byte": byte })
            }
            _ => json!({ "error": &reason }),
        };
        let mut response = answer(self.status(), &body);
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(self, Self::Unauthorized) {
            let challenge = HeaderValue::from_static("Bearer realm=\"modelbeat\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(Reason(reason));
        response
    }
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response {
    let headers = [(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )];
    (status, headers, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(refusal: Refusal, status: u16, retry_after: Option<&str>) {
        let response = refusal.into_response();
        let header = response.headers().get(header::RETRY_AFTER);
        let found = header.map(|value| value.to_str().expect("text"));
        assert_eq!((response.status().as_u16(), found), (status, retry_after));
    }

    #[test]
    fn what_may_succeed_later_says_when() {
        check(Refusal::Busy, 429, Some("1"));
        check(
            Refusal::Journal(AppendError::Full { bytes_max: 1 }),
            429,
            Some("5"),
        );
        check(Refusal::Journal(AppendError::NoSpace), 507, Some("30"));
        check(
            Refusal::Journal(AppendError::Poisoned {
                reason: "fire".into(),
            }),
            503,
            Some("30"),
        );
        check(Refusal::Journal(AppendError::Closed), 503, Some("5"));
        check(Refusal::TooLarge { bytes_max: 1 }, 413, None);
        check(Refusal::TooSlow, 408, None);
    }
}
