//! Elasticsearch is away, and documents go to the spool: predictions join, windows count and checkpoints pass meanwhile, a
//! kill takes nothing away, a full spool pushes back, and once the cluster is back it holds what an undisturbed run
//! stores.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::ops::Range;
use std::path::Path;

use reqwest::StatusCode;
use serde_json::Value;

use super::stub::{Answer, Stub};
use super::written::Written;
use crate::agent::{Agent, Ended, Home, Modelbeat};
use crate::wait;

/// Bounds of memory that the longest story passes: 80,000 open predictions of some 130 bytes. The file output shows what
/// the engine makes while the cluster gets nothing.
const PIPELINE: &str = r#"
pipeline: away
agent: {id: one}
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1d, 1mo]
publish_every: 1s
join: {hold: 0s, max_state: 8MiB}
privacy: {keep_record: false}
host: off
operations: {ship: false}
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: s
    bulk: {bytes: 256KiB, flush: 100ms}
    spool: ${SPOOL}
  file: {path: out}
"#;

const PREDICTIONS: u64 = 80_000;
const LABELS: u64 = 10_000;

#[test]
fn away_from_the_start_and_killed_twice_it_stores_what_an_undisturbed_run_stores() {
    let story = Story::new(PIPELINE, "64MiB");
    story.cluster.be(Answer::Close);
    story.predict(0..PREDICTIONS);
    let mut agent = story.run().start();
    // What memory does not hold leaves it with a checkpoint: so checkpoints pass.
    wait::until("predictions to be on disk", || {
        story.is_there("data/away/open-predictions")
    });
    agent.kill();

    story.label(0..LABELS);
    let mut agent = story.run().start();
    let line = agent.wait_for_log("the spool of an earlier run is sent first");
    assert!(line["documents"].as_u64().unwrap() > 0);
    agent.wait_until_equal("labelled predictions", &LABELS, || labelled(&story.home));
    assert_eq!(story.cluster.stored(), BTreeMap::new());
    agent.kill();

    story.cluster.be(Answer::Fine);
    let ended = story.run().argument("--once").finish().expect_code(0);
    story.expect_all_settled(&ended);
    story.expect_same_as_undisturbed();
}

#[test]
fn lost_in_the_middle_and_back_it_gets_what_waited_and_then_what_is_new() {
    let story = Story::new(PIPELINE, "64MiB");
    story.predict(0..500);
    let mut agent = story.run().start();
    story.wait_for_predictions(&mut agent, 500);

    story.cluster.be(Answer::Close);
    story.predict(500..1_000);
    story.label(0..700);
    agent.wait_for_complaint("documents go to the spool on disk");
    story.predict(1_000..3_000);
    story.label(700..2_000);
    story.correct(200..900);
    agent.wait_until_equal("labelled predictions", &2_000, || labelled(&story.home));
    assert_eq!(story.cluster.count("modelbeat.prediction"), 500);

    story.cluster.be(Answer::Fine);
    agent.wait_for_log("the spool is drained, documents go to elasticsearch directly again");
    story.wait_for_predictions(&mut agent, 3_000);
    story.predict(3_000..3_500);
    story.wait_for_predictions(&mut agent, 3_500);
    let ended = agent.stop().expect_code(0);
    story.expect_all_settled(&ended);
    story.expect_same_as_undisturbed();
}

/// What an HTTP input takes on top.
const RECEIVER: &str = "  - {type: http, listen: 127.0.0.1:0, max_body: 1MiB, max_journal: 4MiB}\n";

#[test]
fn a_full_spool_pushes_back_until_http_says_429_and_then_all_that_was_accepted_is_stored() {
    let inputs = "inputs:\n".to_owned() + RECEIVER;
    let pipeline = PIPELINE
        .replace("inputs:\n", &inputs)
        .replace("keep_record: false", "keep_record: true");
    let story = Story::new(&pipeline, "1MiB");
    story.cluster.be(Answer::Close);
    let mut agent = story.run().start();
    let sender = Sender::to(&mut agent);
    let mut next = 1_000;
    // Until nobody takes any more: what lies in memory and on disk on the way is bounded.
    wait::until("429", || {
        let body = long_predictions(next..next + 20);
        let status = sender.post(body);
        match status {
            StatusCode::ACCEPTED => next += 20,
            StatusCode::TOO_MANY_REQUESTS => return Ok(()),
            other => panic!("{other}"),
        }
        Err(format!("{next} accepted"))
    });
    agent.wait_for_complaint("the spool is full (1048576 bytes)");
    assert!(story.spool_bytes() <= (1 << 20) + 1_000);
    story.predict(0..500);
    assert_eq!(story.cluster.stored(), BTreeMap::new());

    story.cluster.be(Answer::Fine);
    let all = usize::try_from(next - 500).unwrap();
    story.wait_for_predictions(&mut agent, all);
    let ended = agent.stop().expect_code(0);
    story.expect_all_settled(&ended);
}

#[test]
fn a_damaged_spool_costs_its_damaged_documents_and_says_how_many() {
    let story = Story::new(PIPELINE, "64MiB");
    story.cluster.be(Answer::Close);
    story.predict(0..2_000);
    let mut agent = story.run().start();
    agent.wait_for_complaint("documents go to the spool on disk");
    // The checkpoint that waited counts on the spool: what is in it now is not made again. The one of the start knows no log.
    wait::until("a checkpoint that knows the log", || {
        let checkpoint = fs::read(story.home.path("data/away/checkpoint")).unwrap_or_default();
        let knows = String::from_utf8_lossy(&checkpoint).contains("predictions.jsonl");
        knows.then_some(()).ok_or_else(|| "none yet".to_owned())
    });
    agent.kill();

    let segment = story
        .home
        .path("data/away/spool/00000000000000000000.spool");
    let mut bytes = fs::read(&segment).unwrap();
    // In the first frame's payload: 32 bytes of the file's header and 40 of its own lie before.
    bytes[32 + 40 + 100] ^= 1;
    fs::write(&segment, bytes).unwrap();
    story.cluster.be(Answer::Fine);
    let mut agent = story.run().start();
    let line = agent.wait_for_log(
        "documents in the spool are damaged and cannot be sent, see dead-letters.ndjson in the data folder",
    );
    let lost = line["documents"].as_u64().unwrap();
    assert!((1..=2_000).contains(&lost));
    assert_eq!(line["offset"], 32);
    agent.wait_for_log("the spool is drained, documents go to elasticsearch directly again");
    let stored = usize::try_from(2_000 - lost).unwrap();
    story.wait_for_predictions(&mut agent, stored);
    let ended = agent.stop().expect_code(0);
    assert_eq!(closing(&ended)["refused"], lost);
    story.expect_all_settled(&ended);
    let letters = fs::read_to_string(story.home.path("data/away/dead-letters.ndjson")).unwrap();
    assert!(letters.contains(&format!("{lost} documents of the spool are damaged")));
}

#[test]
fn a_spool_of_a_newer_format_is_refused_in_words() {
    let story = Story::new(PIPELINE, "0");
    fs::create_dir_all(story.home.path("data/away/spool")).unwrap();
    let mut header = b"MBSPOOL\n".to_vec();
    header.extend_from_slice(&9_u32.to_le_bytes());
    header.extend_from_slice(&[0; 16]);
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    fs::write(
        story
            .home
            .path("data/away/spool/00000000000000000003.spool"),
        header,
    )
    .unwrap();
    story.run().finish().expect_code(1).expect_words(&[
        "has format 9, and this modelbeat reads up to 1",
        "start the newer modelbeat that wrote it, or move the folder away",
    ]);
}

#[test]
fn without_a_spool_nothing_is_spooled_and_the_command_line_may_ask_for_one() {
    let story = Story::new(PIPELINE, "0");
    story.predict(0..10);
    story.run().argument("--once").finish().expect_code(0);
    assert!(story.is_there("data/away/spool").is_err());
    story.cluster.be(Answer::Close);
    story.predict(10..20);
    let mut agent = story.run().argument("--spool").argument("2MiB").start();
    agent.wait_for_complaint("documents go to the spool on disk");
    story.cluster.be(Answer::Fine);
    story.wait_for_predictions(&mut agent, 20);
    agent.stop().expect_code(0);
    let words = ["--spool", "is not a size"];
    story
        .run()
        .argument("--spool")
        .argument("much")
        .finish()
        .expect_code(2)
        .expect_words(&words);
}

/// The cluster is away, and somebody is told of it before it is back.
const TOLD: &str = "notify: [{name: page, type: exec, command: [tee, -a, paged.jsonl]}]
alerts: {rules: [{name: away, agent: held_up_seconds, above: 3, notify: [page]}]}
host: off
";

#[test]
fn that_nothing_gets_through_is_told_meanwhile_and_once() {
    let pipeline = PIPELINE.replace("host: off\n", TOLD);
    let story = Story::new(&pipeline, "64MiB");
    story.cluster.be(Answer::Close);
    story.predict(0..10);
    // The kill may come before it is durable that they were told: they are then told again, of the same.
    let paged = || {
        let text = fs::read_to_string(story.home.path("paged.jsonl")).unwrap_or_default();
        let told: BTreeSet<&str> = text.lines().collect();
        let of = |word: &str| told.iter().filter(|notice| notice.contains(word)).count();
        (of("\"change\":\"firing\""), of("\"change\":\"resolved\""))
    };
    let mut agent = story.run().start();
    agent.wait_until_equal("those who are told", &(1, 0), paged);
    agent.kill();
    let mut agent = story.run().start();
    agent.wait_for_log("the spool of an earlier run is sent first");
    story.cluster.be(Answer::Fine);
    agent.wait_until_equal("those who are told", &(1, 1), paged);
    agent.wait_until_equal("alert documents", &2, || {
        story.cluster.count("modelbeat.alert")
    });
    agent.stop().expect_code(0);
}

/// A cluster, an agent's home, and what the one is to get from the other.
struct Story {
    cluster: Stub,
    home: Home,
    spool: &'static str,
}

impl Story {
    fn new(pipeline: &str, spool: &'static str) -> Self {
        let home = Home::new();
        home.write("pipeline.yml", pipeline);
        home.write("logs/predictions.jsonl", "");
        home.write("logs/labels.jsonl", "");
        Self {
            cluster: Stub::start(),
            home,
            spool,
        }
    }

    fn run(&self) -> Modelbeat {
        run(&self.home, &self.cluster, self.spool)
    }

    /// One line each, a minute apart.
    fn predict(&self, ids: Range<u64>) {
        self.home.append(
            "logs/predictions.jsonl",
            &lines("prediction", "predicted", 2, ids),
        );
    }

    fn label(&self, ids: Range<u64>) {
        self.home
            .append("logs/labels.jsonl", &lines("label", "actual", 4, ids));
    }

    /// Another label, of three years later: the winner, if it lands behind the one it corrects.
    fn correct(&self, ids: Range<u64>) {
        let lines = lines("label", "actual", 3, ids);
        self.home.append(
            "logs/labels.jsonl",
            &lines.replace("\"ts\":17", "\"ts\":18"),
        );
    }

    fn is_there(&self, name: &str) -> Result<(), String> {
        let found = self.home.path(name).try_exists().unwrap();
        found.then_some(()).ok_or_else(|| format!("no {name} yet"))
    }

    fn spool_bytes(&self) -> u64 {
        let files = fs::read_dir(self.home.path("data/away/spool")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }

    fn wait_for_predictions(&self, agent: &mut Agent, count: usize) {
        agent.wait_until_equal("predictions stored", &count, || {
            self.cluster.count("modelbeat.prediction")
        });
    }

    /// Documents made = stored + superseded + refused, and nothing is left on disk.
    #[track_caller]
    fn expect_all_settled(&self, ended: &Ended) {
        let line = closing(ended);
        let count = |name: &str| line[name].as_u64().unwrap();
        let settled = count("stored") + count("superseded") + count("refused");
        assert_eq!(
            (count("documents"), count("in_spool")),
            (settled, 0),
            "{line}"
        );
        assert_eq!(self.spool_bytes(), 0);
    }

    /// The same log, read at once by an agent whose cluster is there.
    #[track_caller]
    fn expect_same_as_undisturbed(&self) {
        let (cluster, home) = (Stub::start(), Home::new());
        for name in [
            "pipeline.yml",
            "logs/predictions.jsonl",
            "logs/labels.jsonl",
        ] {
            home.write(name, &fs::read_to_string(self.home.path(name)).unwrap());
        }
        run(&home, &cluster, "0")
            .argument("--once")
            .finish()
            .expect_code(0);
        // The disturbed run may be ahead of its windows' last publication: bring it to the end of the data too.
        self.run().argument("--once").finish().expect_code(0);
        let (left, right) = (canonical(&self.cluster), canonical(&cluster));
        assert_eq!(left.len(), right.len());
        for (place, text) in left {
            assert_eq!(Some(&text), right.get(&place), "{place}");
        }
    }
}

fn run(home: &Home, cluster: &Stub, spool: &str) -> Modelbeat {
    Modelbeat::run(home, Path::new("pipeline.yml"))
        .env("ELASTICSEARCH_URL", cluster.url())
        .env("SPOOL", spool)
}

fn lines(event: &str, field: &str, modulus: u64, ids: Range<u64>) -> String {
    let mut lines = String::new();
    for id in ids {
        let (ts, class) = (1_700_000_000 + id * 60, u8::from(id % modulus == 0));
        writeln!(
            lines,
            r#"{{"event":"{event}","id":"{id}","ts":{ts},"{field}":"{class}"}}"#
        )
        .expect("a string takes all");
    }
    lines
}

/// Of 10 KiB each, which no compression makes small.
fn long_predictions(ids: Range<u64>) -> String {
    let noise = |id: u64| {
        let mut bytes = vec![0; 5 << 10];
        blake3::Hasher::new()
            .update(&id.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    ids.map(|id| {
        let line = lines("prediction", "predicted", 2, id..id + 1);
        line.replace('}', &format!(r#","noise":"{}"}}"#, noise(id)))
    })
    .collect()
}

/// Predictions with a label, by the newest document of each day's window in the output files.
fn labelled(home: &Home) -> u64 {
    Written::read_of(&home.path("out"), "-quality-").windows("1d", "labelled")
}

/// `_index/_id` → the document without its times of writing.
fn canonical(cluster: &Stub) -> BTreeMap<String, String> {
    let text = |mut source: Value| {
        for (object, member) in [("event", "ingested"), ("window", "revision")] {
            source[object]
                .as_object_mut()
                .map(|object| object.remove(member));
        }
        source.sort_all_objects();
        source.to_string()
    };
    let stored = cluster.stored().into_iter();
    stored
        .map(|(place, stored)| (place, text(stored.source)))
        .collect()
}

/// The line that sums a run up.
#[track_caller]
fn closing(ended: &Ended) -> Value {
    let mut lines = ended
        .output
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .find(|line| line["message"] == "pipeline ended")
        .expect("a closing line")
}

struct Sender {
    url: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Sender {
    fn to(agent: &mut Agent) -> Self {
        Self {
            url: format!("http://{}/v1/events", agent.http_address()),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
        }
    }

    fn post(&self, body: String) -> StatusCode {
        let request = self.client.post(&self.url).body(body);
        self.runtime
            .block_on(async { request.send().await.unwrap().status() })
    }
}
