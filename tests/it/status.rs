//! The agent's own account of itself: the numbers at `/metrics` are those of what went in and of what is stored; a cluster
//! that is away is seen, and so is its return.

mod continues;
mod gate;
mod grafana;
mod page;
mod prometheus;
mod scrape;
mod waiting;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::documents::field;
use crate::published::Published;
use gate::Gate;
use scrape::Scrape;

const PIPELINE: &str = r#"
pipeline: watched
inputs:
  - {type: file, paths: [logs/*.jsonl], format: json}
  - {type: http, listen: 127.0.0.1:0, kind: label}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, version: version, predicted: predicted, slices: {country: country}}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1h]
publish_every: 1s
join: {hold: 0s}
quality: {min_support: 10}
host: off
operations: {ship: false}
output:
  elasticsearch:
    hosts: ["${HOST}"]
    index_prefix: ${PREFIX}
"#;

/// Of two hours and two countries.
const PREDICTIONS: u64 = 60;
const DUPLICATES: u64 = 2;
const BROKEN: u64 = 1;
const IGNORED: u64 = 3;
const LABELS: u64 = 40;
const POSTS: u64 = 4;

/// 2026-01-02T03:00:00Z, in seconds.
const START: u64 = 1_767_322_800;

#[test]
fn what_metrics_say_is_what_went_in_and_what_is_stored() {
    let prefix = Prefix::new(Cluster::plain(), "status");
    let home = Home::new();
    let mut watched = Watched::start(&home, &prefix, &prefix.cluster().url);
    let labels: Vec<String> = (0..LABELS).map(label).collect();
    for some in labels.chunks(labels.len().div_ceil(4)) {
        watched.post(&some.join("\n"));
    }

    let expected = Account {
        predictions: PREDICTIONS,
        duplicates: DUPLICATES,
        dead_letters: BROKEN,
        ignored: IGNORED,
        labels: LABELS,
        labels_accepted: LABELS,
        posts: POSTS,
        in_flight: 0,
        unanswered: 0,
        unacknowledged: 0,
        is_held_up: 0,
    };
    let address = watched.address.clone();
    watched
        .agent
        .wait_until_equal("the account", &expected, || Account::of(&scrape(&address)));
    let seen = scrape(&address);
    let lines = PREDICTIONS + DUPLICATES + BROKEN + IGNORED;
    assert_eq!(
        seen.sum("modelbeat_events_total", &[("input", "file-0")]),
        lines
    );
    assert_eq!(seen.sum("modelbeat_open_predictions", &[]), PREDICTIONS);
    assert_eq!(
        seen.sum("modelbeat_dead_letters_total", &[("kind", "record")]),
        BROKEN
    );
    assert_documents_add_up(&seen);
    assert!(seen.value("modelbeat_checkpoint_age_seconds", &[]).unwrap() >= 0.0);
    assert!(seen.sum("modelbeat_checkpoint_size_bytes", &[]) > 0);
    assert!(seen.sum("modelbeat_bulk_requests_total", &[]) > 0);
    for path in ["healthz", "readyz"] {
        watched
            .agent
            .wait_until_equal(path, &StatusCode::OK, || get(&address, path).0);
    }
    let all = json!({ "match_all": {} });
    let stored = prefix.cluster().count(&prefix.indices("predictions"), &all);
    assert_eq!(stored, PREDICTIONS);
    assert_quality_is_as_published(&mut watched.agent, &address, &prefix);
}

#[test]
fn a_cluster_that_is_away_is_seen_and_so_is_its_return() {
    let prefix = Prefix::new(Cluster::plain(), "away");
    let home = Home::new();
    let gate = Gate::before(&prefix.cluster().url);
    let mut watched = Watched::start(&home, &prefix, &gate.url);
    let address = watched.address.clone();
    let bytes = home.path("logs/events.jsonl").metadata().unwrap().len();

    let mut held_up = || {
        let seen = scrape(&address);
        let in_flight = seen.sum("modelbeat_documents_in_flight", &[]) > 0;
        let lag = [("input", "file-0")];
        let unacknowledged = seen.sum("modelbeat_input_unacknowledged_bytes", &lag);
        let held_up = seen.sum("modelbeat_shipping_held_up", &[]);
        (in_flight, unacknowledged, held_up)
    };
    watched
        .agent
        .wait_until_equal("the backlog", &(true, bytes, 1), &mut held_up);
    let (status, answer) = get(&address, "readyz");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
    let reasons = answer["pipelines"][0]["reasons"].to_string();
    assert!(reasons.contains("held up"), "{answer}");
    let (status, answer) = get(&address, "healthz");
    assert_eq!(status, StatusCode::OK, "a restart would not help: {answer}");

    gate.open();
    watched
        .agent
        .wait_until_equal("the backlog", &(false, 0, 0), &mut held_up);
    watched
        .agent
        .wait_until_equal("readiness", &StatusCode::OK, || get(&address, "readyz").0);
    let seen = scrape(&address);
    assert!(seen.sum("modelbeat_documents_retried_total", &[]) > 0);
    assert_documents_add_up(&seen);
}

#[test]
fn a_scrape_is_read_by_prometheus_own_client() {
    let prefix = Prefix::new(Cluster::plain(), "parsed");
    let home = Home::new();
    let mut watched = Watched::start(&home, &prefix, &prefix.cluster().url);
    let address = watched.address.clone();
    let has_quality = || {
        let seen = scrape(&address);
        seen.sum("modelbeat_window_predictions", &[("slice", "_all")]) > 0
    };
    watched
        .agent
        .wait_until_equal("quality to be there", &true, has_quality);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheels");
    for (form, accept) in [
        ("text", "text/plain"),
        ("openmetrics", "application/openmetrics-text"),
    ] {
        let (_, text) = fetch(&address, "metrics", accept);
        let mut script = Command::new("tests/it/status/parse-metrics")
            .arg(&folder)
            .arg(form)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut input = script.stdin.take().expect("piped");
        input.write_all(text.as_bytes()).expect("it reads all");
        drop(input);
        let ended = script.wait_with_output().expect("its output");
        assert!(ended.status.success(), "{form}:\n{text}");
        let found: usize = String::from_utf8_lossy(&ended.stdout)
            .trim()
            .parse()
            .unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(found, lines, "{form}:\n{text}");
    }
}

#[test]
fn an_address_that_is_taken_is_said_before_anything_is_read() {
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", PIPELINE);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    Modelbeat::run(&home, &pipeline)
        .argument("--status-listen")
        .argument(&address)
        .env("HOST", "http://127.0.0.1:9")
        .env("PREFIX", "none")
        .finish()
        .expect_code(1)
        .expect_words(&[&address, "--status-listen"]);
    assert!(!home.path("data").try_exists().unwrap());
}

/// What went in, and that all of it came through.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    predictions: u64,
    duplicates: u64,
    dead_letters: u64,
    ignored: u64,
    labels: u64,
    labels_accepted: u64,
    posts: u64,
    in_flight: u64,
    /// Bulk requests sent, but not in the histogram of their durations.
    unanswered: i128,
    unacknowledged: u64,
    is_held_up: u64,
}

impl Account {
    fn of(seen: &Scrape) -> Self {
        let events = |input: &str, outcome: &str| {
            let labels = [("input", input), ("outcome", outcome)];
            seen.sum("modelbeat_events_total", &labels)
        };
        let accepted = [("input", "http-1"), ("status", "202")];
        Self {
            predictions: events("file-0", "prediction"),
            duplicates: events("file-0", "duplicate"),
            dead_letters: events("file-0", "dead_letter"),
            ignored: events("file-0", "ignored"),
            labels: events("http-1", "label"),
            labels_accepted: seen.sum("modelbeat_http_accepted_records_total", &accepted[..1]),
            posts: seen.sum("modelbeat_http_requests_total", &accepted),
            in_flight: seen.sum("modelbeat_documents_in_flight", &[]),
            unanswered: i128::from(seen.sum("modelbeat_bulk_requests_total", &[]))
                - i128::from(seen.sum("modelbeat_bulk_request_duration_seconds_count", &[])),
            unacknowledged: seen.sum("modelbeat_input_unacknowledged_bytes", &[]),
            is_held_up: seen.sum("modelbeat_shipping_held_up", &[]),
        }
    }
}

/// Conservation, from the numbers of one scrape alone.
#[track_caller]
fn assert_documents_add_up(seen: &Scrape) {
    let sum = |name: &str| seen.sum(name, &[]);
    let became = sum("modelbeat_documents_stored_total")
        + sum("modelbeat_documents_superseded_total")
        + seen.sum("modelbeat_dead_letters_total", &[("kind", "document")])
        + sum("modelbeat_documents_abandoned_total")
        + sum("modelbeat_documents_in_flight");
    let made = sum("modelbeat_documents_total");
    assert!(made >= PREDICTIONS && became == made, "{became} of {made}");
}

/// The gauges of each slice are the numbers of the document of that window: of the newest hour with ten labels.
#[track_caller]
fn assert_quality_is_as_published(agent: &mut Agent, address: &str, prefix: &Prefix) {
    let agree = || {
        let (seen, published) = (scrape(address), Published::under(prefix));
        let mut compared = 0;
        for (key, document) in &published.windows {
            let labels = [
                ("model", "m"),
                ("version", key.version.as_str()),
                ("slice", key.slice.as_str()),
                ("slice_value", key.value.as_str()),
                ("window", key.length.as_str()),
            ];
            let start = seen.value("modelbeat_window_start_timestamp_seconds", &labels);
            if start != Some(key.start.as_second() as f64) {
                continue;
            }
            for name in ["coverage", "accuracy", "precision", "recall", "f1"] {
                let agree = |end: &str, path: &str| {
                    let gauge = seen.value(&format!("modelbeat_{name}{end}"), &labels);
                    match (gauge, field(document, path).as_f64()) {
                        // Read back from JSON, a number may be off by its last bit.
                        (Some(gauge), Some(stored)) => (gauge - stored).abs() < 1e-15,
                        // No label of FR is positive, so it has no recall.
                        (gauge, stored) => gauge == stored,
                    }
                };
                if !agree("", &format!("quality.{name}"))
                    || !agree("_lower", &format!("interval.{name}.low"))
                    || !agree("_upper", &format!("interval.{name}.high"))
                {
                    return format!("{name} of {key:?} differs: {document}");
                }
                compared += 1;
            }
            let counts = seen.value("modelbeat_window_labelled_predictions", &labels);
            if counts != field(document, "counts.labelled").as_f64() {
                return format!("labels of {key:?} differ: {document}");
            }
        }
        format!("{compared} metrics agree")
    };
    // Five of the whole and of two countries.
    agent.wait_until_equal("quality", &"15 metrics agree".to_owned(), agree);
}

/// An agent with the story's file, whose status is looked at.
struct Watched {
    agent: Agent,
    address: String,
    labels: String,
}

impl Watched {
    fn start(home: &Home, prefix: &Prefix, host: &str) -> Self {
        home.write("logs/events.jsonl", &events());
        Self::start_as(home, PIPELINE, prefix, host)
    }

    fn start_as(home: &Home, pipeline: &str, prefix: &Prefix, host: &str) -> Self {
        let pipeline = home.write("pipeline.yml", pipeline);
        let mut agent = Modelbeat::run(home, &pipeline)
            .argument("--status-listen")
            .argument("0")
            .env("HOST", host)
            .env("PREFIX", &prefix.name)
            .start();
        let line = agent.wait_for_log("status is listening");
        let address = line["address"].as_str().expect("an address").to_owned();
        let labels = agent.http_address();
        Self {
            agent,
            address,
            labels,
        }
    }

    #[track_caller]
    fn post(&self, lines: &str) {
        post(&self.labels, lines);
    }
}

#[track_caller]
fn post(address: &str, labels: &str) {
    let request = client()
        .post(format!("http://{address}/v1/labels"))
        .header("content-type", "application/x-ndjson")
        .body(labels.to_owned());
    let answer = Runtime::new().unwrap().block_on(request.send()).unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
}

fn events() -> String {
    let mut lines: Vec<String> = (0..PREDICTIONS).map(prediction).collect();
    lines.extend((0..DUPLICATES).map(prediction));
    lines.extend((0..BROKEN).map(|_| "{\"event\":".to_owned()));
    lines.extend((0..IGNORED).map(|_| r#"{"event":"heartbeat"}"#.to_owned()));
    lines.join("\n") + "\n"
}

fn time(id: u64) -> u64 {
    START + id / 30 * 3_600 + id
}

fn prediction(id: u64) -> String {
    let country = if id.is_multiple_of(2) { "DE" } else { "FR" };
    json!({
        "event": "prediction", "id": id, "ts": time(id), "version": "v1", "country": country,
        "predicted": u8::from(id.is_multiple_of(3)),
    })
    .to_string()
}

fn label(id: u64) -> String {
    json!({ "event": "label", "id": id, "ts": time(id), "actual": u8::from(id.is_multiple_of(4)) })
        .to_string()
}

#[track_caller]
pub(crate) fn scrape(address: &str) -> Scrape {
    let (status, text) = fetch(address, "metrics", "text/plain");
    assert_eq!(status, StatusCode::OK, "{text}");
    Scrape::read(&text)
}

#[track_caller]
fn get(address: &str, path: &str) -> (StatusCode, Value) {
    let (status, text) = fetch(address, path, "application/json");
    (status, serde_json::from_str(&text).expect("JSON"))
}

#[track_caller]
fn fetch(address: &str, path: &str, accept: &str) -> (StatusCode, String) {
    let request = client()
        .get(format!("http://{address}/{path}"))
        .header("accept", accept);
    Runtime::new().unwrap().block_on(async {
        let answer = request.send().await.expect("the agent answers");
        let status = answer.status();
        (status, answer.text().await.expect("a whole answer"))
    })
}

pub(crate) fn client() -> Client {
    Client::builder()
        .no_proxy()
        .build()
        .expect("an HTTP client")
}
