//! A cluster that counts: answers `_bulk` as Elasticsearch does with the agent's `filter_path`, inflates what comes deflated,
//! keeps nothing.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    /// As they came over the wire.
    bytes: AtomicU64,
    documents: AtomicU64,
    /// Of `documents`, those of windows.
    windows: AtomicU64,
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
        .route("/_bulk", post(bulk))
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
    let [requests, bytes, documents, windows] = [
        &counts.requests,
        &counts.bytes,
        &counts.documents,
        &counts.windows,
    ]
    .map(|count| count.load(Ordering::Relaxed));
    answer(format!(
        r#"{{"requests":{requests},"bytes":{bytes},"documents":{documents},"windows":{windows}}}"#
    ))
}

async fn bulk(State(counts): State<Arc<Counts>>, headers: HeaderMap, body: Bytes) -> Response {
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
    let (mut documents, mut windows, mut start) = (0, 0, 0);
    for (number, end) in memchr::memchr_iter(b'\n', lines).enumerate() {
        if number % 2 == 0 {
            let (action, status) = match lines[start + 2] {
                b'c' => ("create", 201),
                b'u' => ("update", 200),
                _ => ("index", 201),
            };
            windows += u64::from(action == "index");
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
    counts.requests.fetch_add(1, Ordering::Relaxed);
    counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    counts.documents.fetch_add(documents, Ordering::Relaxed);
    counts.windows.fetch_add(windows, Ordering::Relaxed);
    answer(reply)
}

fn answer(json: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/json"),
        ("x-elastic-product", "Elasticsearch"),
    ];
    (headers, json).into_response()
}
