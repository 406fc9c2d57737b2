//! The cluster is away while inputs are full: the file is read no further, HTTP is told to come again later, and memory stays
//! within the bound that `src/agent.rs` states, however long it lasts. Then it comes back, and everything is there.
//!
//! `OUTAGE_MINUTES=10 cargo test --release --test it outage -- --nocapture` stays in the outage for ten minutes, under full
//! input all the while, and says what it saw.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::stub::{Answer, Stub};
use crate::agent::{Agent, Home, Modelbeat};
use crate::wait;

const PIPELINE: &str = r#"
pipeline: outage
inputs:
  - {type: file, paths: [events.jsonl], format: json}
  - {type: http, listen: "127.0.0.1:0", max_body: 1MiB, max_journal: 4MiB}
mapping:
  prediction: {id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1d]
join: {hold: 0s, max_state: 8MiB}
quality: {max_state: 8MiB}
host: off
operations: {ship: false}
output:
  elasticsearch:
    hosts: [HOST]
    index_prefix: d
"#;

/// What the process may take: the pipe's 58 MiB and 8 MiB of buffers for reuse (`src/agent.rs`), 2 × 8 MiB of open predictions,
/// 8 MiB of windows, and 38 MiB for the program, its threads, and what an allocator keeps.
const MEMORY_MAX: u64 = 128 << 20;

/// 192 MiB: half of it is less than the process would have to take if it read on.
const RECORDS_IN_FILE: usize = 24_000;
const RECORD_BYTES: usize = 8 << 10;

/// Records of one post.
const POSTED: usize = 64;

#[test]
fn an_outage_under_full_input_takes_no_more_memory_than_is_stated() {
    let cluster = Stub::start();
    cluster.be(Answer::Whole(503, None));
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", &PIPELINE.replace("HOST", &cluster.url()));
    let records: String = (0..RECORDS_IN_FILE)
        .map(|number| record("file", number))
        .collect();
    home.write("events.jsonl", &records);
    let in_file = records.len() as u64;
    drop(records);

    let mut agent = Modelbeat::run(&home, &pipeline).start();
    let mut sender = Sender::to(&mut agent);
    wait::until("HTTP to be full", || match sender.send() {
        StatusCode::TOO_MANY_REQUESTS => Ok(()),
        status => Err(status.to_string()),
    });
    let read = wait_until_the_file_waits(&agent);
    assert!(
        read < in_file / 2,
        "the file waits, and was not swallowed: {read} of {in_file} bytes"
    );
    assert!(agent.is_running());
    stay(&agent, &mut sender);
    eprintln!("{} MiB resident at most", agent.memory("VmHWM") >> 20);
    let peak = agent.memory("VmHWM");
    assert!(
        peak < MEMORY_MAX,
        "{peak} bytes resident at most, while full"
    );

    cluster.be(Answer::Fine);
    wait::until("HTTP to take records again", || match sender.send() {
        StatusCode::ACCEPTED => Ok(()),
        status => Err(status.to_string()),
    });
    let mut expected: BTreeSet<String> = (0..sender.accepted)
        .map(|number| name("http", number))
        .collect();
    expected.extend((0..RECORDS_IN_FILE).map(|number| name("file", number)));
    agent.wait_until_equal("documents stored", &expected.len(), || {
        cluster.count("modelbeat.prediction")
    });
    let peak = agent.memory("VmHWM");
    assert!(peak < MEMORY_MAX, "{peak} bytes resident at most, draining");
    assert_eq!(stored(&cluster), expected);
    agent.stop().expect_code(0);
}

/// Goes on sending for as long as a person wants to see it, and says every half minute how it is.
fn stay(agent: &Agent, sender: &mut Sender) {
    let minutes =
        std::env::var("OUTAGE_MINUTES").map_or(0, |minutes| minutes.parse().expect("a number"));
    let (begin, mut said) = (Instant::now(), Instant::now());
    while begin.elapsed() < Duration::from_mins(minutes) {
        sender.send();
        thread::sleep(Duration::from_millis(20));
        if said.elapsed() >= Duration::from_secs(30) {
            said = Instant::now();
            eprintln!(
                "{} s: {} MiB resident, {} at most; {} MiB read; {} records accepted by HTTP, {} posts refused",
                begin.elapsed().as_secs(),
                agent.memory("VmRSS") >> 20,
                agent.memory("VmHWM") >> 20,
                bytes_read(agent) >> 20,
                sender.accepted,
                sender.refused,
            );
        }
    }
}

/// Waits until the log is read no further, and says how much was read. (Were it fooled by a slow machine, the story would only
/// be a weaker one.)
#[track_caller]
fn wait_until_the_file_waits(agent: &Agent) -> u64 {
    let (mut before, mut times) = (0, 0);
    wait::until("the file to wait", || {
        let now = bytes_read(agent);
        // What the cluster answers is read, too.
        times = if now - before < 64 << 10 {
            times + 1
        } else {
            0
        };
        before = now;
        if times >= 60 {
            Ok(now)
        } else {
            Err(format!("{now} bytes"))
        }
    })
}

/// All that the agent has read: the log, and little else.
#[track_caller]
fn bytes_read(agent: &Agent) -> u64 {
    let about = fs::read_to_string(format!("/proc/{}/io", agent.id())).expect("a running agent");
    let line = about.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.and_then(|bytes| bytes.parse().ok())
        .expect("a number of bytes")
}

/// A model server that posts its predictions, and posts them again if it is told to.
struct Sender {
    url: String,
    client: reqwest::Client,
    runtime: Runtime,
    accepted: usize,
    refused: usize,
}

impl Sender {
    fn to(agent: &mut Agent) -> Self {
        Self {
            url: format!("http://{}/v1/predictions", agent.http_address()),
            client: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            runtime: Runtime::new().expect("a runtime"),
            accepted: 0,
            refused: 0,
        }
    }

    /// The next records, or once more those that were refused.
    #[track_caller]
    fn send(&mut self) -> StatusCode {
        let next = self.accepted..self.accepted + POSTED;
        let body: String = next.map(|number| record("http", number)).collect();
        let request = self
            .client
            .post(&self.url)
            .header("content-type", "application/x-ndjson")
            .body(body);
        let response = self
            .runtime
            .block_on(request.send())
            .expect("the agent answers");
        match response.status() {
            StatusCode::ACCEPTED => self.accepted += POSTED,
            StatusCode::TOO_MANY_REQUESTS => {
                assert!(
                    response.headers().contains_key("retry-after"),
                    "it says when"
                );
                self.refused += 1;
            }
            status => panic!("an answer of {status}"),
        }
        response.status()
    }
}

/// Ids of all predictions that are stored.
fn stored(cluster: &Stub) -> BTreeSet<String> {
    let stored = cluster.stored();
    let ids = stored
        .values()
        .filter_map(|stored| stored.source["prediction"]["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// 8 KiB of a prediction, and a line feed.
fn record(input: &str, number: usize) -> String {
    let mut record = json!({ "id": name(input, number), "ts": "2026-01-02T03:04:05Z", "predicted": 1, "text": "" });
    record["text"] = Value::from("x".repeat(RECORD_BYTES - record.to_string().len()));
    format!("{record}\n")
}

fn name(input: &str, number: usize) -> String {
    format!("{input}-{number:06}")
}
