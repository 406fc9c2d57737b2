//! The routes, and the way of one request: token → header → body → records → journal → answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::warn;

use super::accept::Places;
use super::answer::{Accepted, Reason, Refusal};
use super::body::{self, Encoding};
use super::memory::{Memory, Share};
use super::{Counters, Settings};
use crate::edge::journal::Journal;
use crate::edge::operations::Operations;
use crate::flow;
use crate::flow::event::Kind;
use crate::flow::operation::{Action, Operation};

/// Bytes of all bodies under way, packed and unpacked. At least four of the largest.
const MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// Bodies from this size, and packed ones, are taken apart on a blocking thread: it would hold up other connections.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// Of those, as many at once: more would only make each slower, and each holds a second copy for a moment.
const WORK_MAX: usize = 4;

/// What all handlers share.
#[derive(Debug)]
struct Shared {
    journal: Journal,
    counters: Arc<Counters>,
    places: Places,
    /// Hash of the token: comparing hashes takes the same time wherever they differ.
    token: Option<blake3::Hash>,
    body_bytes_max: usize,
    memory: Memory,
    work: Semaphore,
    operations: Option<Operations>,
}

impl Shared {
    fn turned_away(&self, peer: IpAddr) {
        if let Some(operations) = &self.operations {
            let message = format!("http: {peer} gave no valid bearer token");
            let peer = peer.to_string();
            let operation = Operation::failure(Action::AuthenticationFailure, message)
                .with("input", "http")
                .with("peer", peer.as_str());
            operations.repeated(&peer, operation);
        }
    }
}

pub(super) fn router(
    settings: &Settings,
    journal: Journal,
    counters: Arc<Counters>,
    places: Places,
    operations: Option<Operations>,
) -> Router {
    let shared = Arc::new(Shared {
        journal,
        counters,
        places,
        token: settings
            .token
            .as_ref()
            .map(|token| blake3::hash(token.0.as_bytes())),
        body_bytes_max: settings.body_bytes_max,
        memory: Memory::new(MEMORY_BYTES.max(settings.body_bytes_max.saturating_mul(4))),
        work: Semaphore::new(WORK_MAX),
        operations,
    });
    let route = |kind| post(move |State(shared), request| take(shared, kind, request));
    Router::new()
        .route("/v1/events", route(None))
        .route("/v1/predictions", route(Some(Kind::Prediction)))
        .route("/v1/labels", route(Some(Kind::Label)))
        .fallback(async || Refusal::NotFound)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), front))
        .with_state(shared)
}

/// Every request passes here: the token before anything else, and the count.
async fn front(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = if is_known(shared.token, request.headers()) {
        next.run(request).await
    } else {
        shared.turned_away(peer.ip());
        body::discard(request.into_body(), shared.body_bytes_max).await;
        Refusal::Unauthorized.into_response()
    };
    let status = response.status().as_u16();
    shared.counters.answered(status);
    shared.places.waits_for(peer);
    if let Some(Reason(reason)) = response.extensions_mut().remove() {
        // The port is another one each time, and says nothing.
        warn!(peer = %peer.ip(), status, reason, "http request was refused");
    }
    response
}

pub(in crate::edge) fn is_known(token: Option<blake3::Hash>, headers: &HeaderMap) -> bool {
    let Some(token) = token else { return true };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, given) = value.as_bytes().split_at_checked(b"Bearer ".len())?;
        scheme
            .eq_ignore_ascii_case(b"Bearer ")
            .then_some(given.trim_ascii())
    });
    given.is_some_and(|given| blake3::hash(given) == token)
}

async fn take(shared: Arc<Shared>, kind: Option<Kind>, request: Request) -> Response {
    match try_take(&shared, kind, request).await {
        Ok(accepted) => {
            shared.counters.accepted(accepted.events);
            accepted.into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn try_take(
    shared: &Shared,
    kind: Option<Kind>,
    request: Request,
) -> Result<Accepted, Refusal> {
    let (head, body) = request.into_parts();
    let bytes_max = shared.body_bytes_max;
    let encoding = match body::check_head(&head.headers, bytes_max) {
        Ok(encoding) => encoding,
        Err(refusal) => {
            body::discard(body, bytes_max).await;
            return Err(refusal);
        }
    };
    let mut share = shared.memory.share();
    let bytes = body::read(body, bytes_max, &mut share, &shared.counters).await?;
    if let Some(ConnectInfo(peer)) = head.extensions.get() {
        shared.places.works_for(*peer);
    }
    let (payload, events, _share) =
        if encoding == Encoding::Identity && bytes.len() < INLINE_BYTES_MAX {
            records(bytes, encoding, bytes_max, share)?
        } else {
            // Neither is ever closed nor panics; if so, nothing was taken.
            let _turn = shared.work.acquire().await.map_err(|_| Refusal::Busy)?;
            let work = move || records(bytes, encoding, bytes_max, share);
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Refusal::Busy)??
        };
    if events > 0 {
        shared
            .journal
            .append(kind, payload)
            .await
            .map_err(Refusal::Journal)?;
    }
    Ok(Accepted { events })
}

/// Unpacks a body and takes it apart; the share goes along to the journal's answer.
fn records(
    bytes: Bytes,
    encoding: Encoding,
    bytes_max: usize,
    mut share: Share,
) -> Result<(Bytes, usize, Share), Refusal> {
    let bytes = match encoding {
        Encoding::Identity => bytes,
        Encoding::Gzip => body::unpack(&bytes, bytes_max, &mut share)?,
    };
    let found = flow::body::records(&bytes).map_err(Refusal::Malformed)?;
    let payload = match found.bytes {
        std::borrow::Cow::Borrowed(same) => bytes.slice_ref(same),
        std::borrow::Cow::Owned(copy) => copy.into(),
    };
    Ok((payload, found.count, share))
}
