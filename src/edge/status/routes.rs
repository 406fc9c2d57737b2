//! The answers: metrics, two verdicts, and every way to say no. Only `GET` and `HEAD`; bodies are not looked at.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{self, Answer};
use super::board::{Board, Stage};
use super::page::{Format, Labels, Page};
use super::{metrics, process, verdict, web};
use crate::edge::receive::{Counters, Token, is_known};
use crate::flow::operation::{Action, Operation};

/// A page serves everybody who asks within this time: a storm of scrapes costs one.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Shared {
    board: Board,
    counters: Arc<Counters>,
    /// Hash of the token: comparing hashes takes the same time wherever they differ.
    token: Option<blake3::Hash>,
    /// Only this machine can reach it: then a name that is not this machine's is a trick of some page in a browser on it,
    /// whose host's name was made to mean us.
    is_local: bool,
    /// The latest page of each format.
    pages: [Mutex<Option<(Instant, Bytes)>>; 2],
    /// The latest status.
    status: Mutex<Option<(Instant, Answer)>>,
}

pub(super) fn router(
    token: Option<&Token>,
    is_local: bool,
    board: Board,
    counters: Arc<Counters>,
) -> Router {
    let shared = Arc::new(Shared {
        board,
        counters,
        token: token.map(|token| blake3::hash(token.0.as_bytes())),
        is_local,
        pages: Default::default(),
        status: Mutex::default(),
    });
    Router::new()
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(status))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(web::router())
        .fallback(async || {
            let hint = "no such path: get /, /api/v1/status, /metrics, /healthz or /readyz";
            answer(StatusCode::NOT_FOUND, &json!({ "error": hint }))
        })
        .method_not_allowed_fallback(async || {
            let hint = "only GET is allowed here";
            answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": hint }))
        })
        .with_state(shared)
}

async fn metrics(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if !is_known(shared.token, &headers) {
        return shared.turned_away(peer.ip()).await;
    }
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept);
    // Thousands of samples are put together: not on a thread that others' answers wait for.
    let page = tokio::task::spawn_blocking(move || shared.page(format)).await;
    let Ok(Some(page)) = page else {
        let hint = "the metrics could not be put together; this is a bug, please report it";
        return answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": hint }));
    };
    ([(header::CONTENT_TYPE, format.content_type())], page).into_response()
}

/// All that the page shows.
async fn status(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    if !is_known(shared.token, &headers) {
        return shared.turned_away(peer.ip()).await;
    }
    if shared.is_local && shared.token.is_none() && !names_this_machine(&headers) {
        let hint = "ask for 127.0.0.1 or localhost by that name, or set MODELBEAT_STATUS_TOKEN";
        return answer(StatusCode::FORBIDDEN, &json!({ "error": hint }));
    }
    let wants_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("gzip"));
    let made = tokio::task::spawn_blocking(move || {
        let made = shared.status()?;
        let has_it = web::is_same(&made.tag, &headers);
        let packed = if wants_gzip && !has_it {
            made.packed()
        } else {
            None
        };
        Some((made, has_it, packed))
    });
    let Ok(Some((made, has_it, packed))) = made.await else {
        let hint = "the status could not be put together; this is a bug, please report it";
        return answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": hint }));
    };
    let tags = [
        (header::ETAG, made.tag.clone()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::VARY, "accept-encoding, authorization".to_owned()),
    ];
    if has_it {
        return (StatusCode::NOT_MODIFIED, tags).into_response();
    }
    let kind = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match packed {
        Some(packed) => {
            let gzip = [(header::CONTENT_ENCODING, "gzip")];
            (tags, kind, gzip, packed).into_response()
        }
        None => (tags, kind, made.body).into_response(),
    }
}

/// The name that was asked for is an address, or `localhost`: none that somebody else's name server could have given us.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority.host();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

/// 200 while the process lives, 503 where a restart would help.
async fn healthz(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared.verdicts(&headers, ("ok", "failing"), |verdict| &verdict.unhealthy)
}

/// 200 while all that comes in gets through.
async fn readyz(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    shared.verdicts(&headers, ("ready", "not ready"), |verdict| {
        &verdict.not_ready
    })
}

impl Shared {
    /// No to somebody without the token: entered in the operation log of every pipeline, for the port is all of theirs.
    async fn turned_away(&self, peer: IpAddr) -> Response {
        let board = self.board.clone();
        // It is written to disks, which nobody else's answer must wait for.
        let entered = tokio::task::spawn_blocking(move || {
            let (message, peer) = (
                format!("status: {peer} gave no valid bearer token"),
                peer.to_string(),
            );
            for vitals in board.all() {
                let Some(wiring) = vitals.wiring() else {
                    continue;
                };
                let operation = Operation::failure(Action::AuthenticationFailure, message.as_str())
                    .with("input", "status")
                    .with("peer", peer.as_str());
                let kind = format!("status {peer}");
                wiring.operations.repeated(&kind, operation);
            }
        });
        entered.await.ok();
        let hint = "a valid bearer token is needed";
        answer(StatusCode::UNAUTHORIZED, &json!({ "error": hint }))
    }

    /// A fresh page, or the one made a moment ago.
    fn page(&self, format: Format) -> Option<Bytes> {
        let [prometheus, open_metrics] = &self.pages;
        let place = match format {
            Format::Prometheus => prometheus,
            Format::OpenMetrics => open_metrics,
        };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, page)) = &*place
            && made.elapsed() < FRESH
        {
            return Some(page.clone());
        }
        let mut page = Page::default();
        process::add(&mut page);
        page.counter(
            "modelbeat_status_connections_refused",
            "Connections to this port closed at once because there were too many",
            &Labels::new(),
            self.counters.connections_refused_total(),
        );
        for vitals in self.board.all() {
            metrics::add(&mut page, &vitals);
        }
        let page: Bytes = page.write(format).ok()?.into();
        *place = Some((Instant::now(), page.clone()));
        Some(page)
    }

    /// A fresh status, or the one made a moment ago.
    fn status(&self) -> Option<Answer> {
        let mut place = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, answer)) = &*place
            && made.elapsed() < FRESH
        {
            return Some(answer.clone());
        }
        let answer = api::answer(&self.board).ok()?;
        *place = Some((Instant::now(), answer.clone()));
        Some(answer)
    }

    /// One verdict on all pipelines: the worst of them. Reasons name hosts and paths: where there is a token, they are for
    /// those who have it, and a probe without it sees the status.
    fn verdicts(
        &self,
        headers: &HeaderMap,
        (good, bad): (&str, &str),
        reasons: fn(&verdict::Verdict) -> &Vec<String>,
    ) -> Response {
        let mut is_good = true;
        let mut is_over = true;
        let mut pipelines = Vec::new();
        for vitals in self.board.all() {
            let verdict = verdict::judge(&vitals);
            let reasons = reasons(&verdict);
            is_good &= reasons.is_empty();
            is_over &= vitals.stage() == Stage::Ended;
            let stage = vitals.stage().name();
            let trouble = vitals.wiring().and_then(|wiring| wiring.shipping.trouble());
            pipelines.push(json!({
                "pipeline": vitals.pipeline, "stage": stage, "reasons": reasons,
                "notes": verdict.notes, "trouble": trouble,
            }));
        }
        let (status, word) = if is_good {
            (StatusCode::OK, good)
        } else if is_over {
            // As the page has it: nothing is wrong, and nothing more gets through.
            (StatusCode::SERVICE_UNAVAILABLE, "finished")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, bad)
        };
        let mut body = json!({ "status": word });
        if is_known(self.token, headers) {
            body["version"] = env!("CARGO_PKG_VERSION").into();
            body["pipelines"] = pipelines.into();
        }
        answer(status, &body)
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    let headers = [
        (header::CONTENT_TYPE, JSON),
        // A verdict is of this moment.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body.to_string()).into_response()
}
