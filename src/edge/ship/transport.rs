//! How requests reach a cluster: a trait because it has two lives, Elasticsearch and the fake of the tests.

use std::time::Duration;

use bytes::Bytes;

/// Sends `_bulk` bodies.
pub trait Transport: Send + Sync + 'static {
    /// Sends one body and waits for the answer, whatever its status. The answer holds at least `errors`,
    /// `items.*.status` and `items.*.error`.
    ///
    /// Cancel safe: dropping the future leaves the outcome unknown, which a resend with the same ids repairs.
    fn bulk(&self, body: Bytes) -> impl Future<Output = Result<Reply, Unanswered>> + Send;
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, where it gives seconds.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

/// No answer: the outcome is unknown, and the request is sent again. Each holds a sentence for people: what, where,
/// why, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unanswered {
    /// Not within the time-out of a request: it passes by itself, and fewer or smaller requests may help.
    #[error("{0}")]
    Late(String),
    /// Refused, not to be found, broken off: it passes by itself.
    #[error("{0}")]
    Unreachable(String),
    /// The certificate is not trusted, or the name is wrong: someone must mend it.
    #[error("{0}")]
    Distrusted(String),
}
