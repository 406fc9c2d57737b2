//! A cluster that counts: answers `_bulk` as Elasticsearch does with the agent's `filter_path`, inflates what comes deflated,
//! keeps nothing. Of lines that say when they were written it remembers how long they took to get here.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use memchr::memmem;

/// In the name of their index.
const EVENTS: &[u8] = b"-predictions-";

/// The member that `whole pace` puts into its lines.
const WRITTEN: &[u8] = b"\"written_us\":";

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    /// As they came over the wire.
    bytes: AtomicU64,
    documents: AtomicU64,
    /// Of `documents`, those of predictions, or of their labels.
    events: AtomicU64,
    /// From written to arrived, in microseconds.
    delays: Mutex<Vec<i64>>,
}

pub(crate) fn run() {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(serve());
}

async fn serve() {
    let counts = Arc::new(Counts::default());
    let routes = Router::new()
        .route("/", get(info))
        .route("/count", get(count))
        .route("/delays", get(delays))
        .route("/_bulk", post(bulk))
        .fallback(info)
        .layer(DefaultBodyLimit::disable())
        .with_state(counts);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    axum::serve(listener, routes).await.unwrap();
}

async fn info() -> Response {
    answer(r#"{"name":"sink","cluster_name":"sink","version":{"number":"8.19.8","build_flavor":"default"},"tagline":"You Know, for Search"}"#.to_owned())
}

async fn count(State(counts): State<Arc<Counts>>) -> Response {
    let [requests, bytes, documents, events] = [
        &counts.requests,
        &counts.bytes,
        &counts.documents,
        &counts.events,
    ]
    .map(|count| count.load(Ordering::Relaxed));
    answer(format!(
        r#"{{"requests":{requests},"bytes":{bytes},"documents":{documents},"events":{events}}}"#
    ))
}

/// How many, and of how long they took in microseconds: the median, the 99th percentile, the longest.
async fn delays(State(counts): State<Arc<Counts>>) -> Response {
    let mut delays = counts.delays.lock().unwrap().clone();
    delays.sort_unstable();
    let at = |percent: usize| {
        let place = (delays.len() * percent).div_ceil(100);
        delays
            .get(place.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    };
    answer(format!(
        r#"{{"count":{},"p50":{},"p99":{},"max":{}}}"#,
        delays.len(),
        at(50),
        at(99),
        at(100)
    ))
}

async fn bulk(State(counts): State<Arc<Counts>>, headers: HeaderMap, body: Bytes) -> Response {
    let arrived = Timestamp::now().as_microsecond();
    let mut inflated = Vec::new();
    let mut lines: &[u8] = &body;
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding == "gzip")
    {
        flate2::read::GzDecoder::new(&*body)
            .read_to_end(&mut inflated)
            .unwrap();
        lines = &inflated;
    }
    let mut reply = String::from(r#"{"took":1,"errors":false,"items":["#);
    let (mut documents, mut events, mut start) = (0, 0, 0);
    for (number, end) in memchr::memchr_iter(b'\n', lines).enumerate() {
        if number % 2 == 0 {
            let (action, status) = match lines[start + 2] {
                b'c' => ("create", 201),
                b'u' => ("update", 200),
                _ => ("index", 201),
            };
            events += u64::from(memmem::find(&lines[start..end], EVENTS).is_some());
            let comma = if documents > 0 { "," } else { "" };
            reply.push_str(comma);
            reply.push_str("{\"");
            reply.push_str(action);
            reply.push_str(if status == 201 {
                "\":{\"status\":201}}"
            } else {
                "\":{\"status\":200}}"
            });
            documents += 1;
        }
        start = end + 1;
    }
    reply.push_str("]}");
    let mut delays = counts.delays.lock().unwrap();
    delays.extend(written(lines).map(|written| arrived - written));
    drop(delays);
    counts.requests.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    counts.documents.fetch_add(documents, Ordering::Relaxed);
    counts.events.fetch_add(events, Ordering::Relaxed);
    answer(reply)
}

/// When the documents of a body were written, in microseconds since the epoch, as far as they say.
fn written(lines: &[u8]) -> impl Iterator<Item = i64> {
    memmem::find_iter(lines, WRITTEN).map(|at| {
        let digits = &lines[at + WRITTEN.len()..];
        let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    })
}

fn answer(json: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json"),
        ("x-elastic-product", "Elasticsearch"),
    ];
    (headers, json).into_response()
}
