//! What the stories of a misbehaving cluster share: a log of predictions with their labels, an agent that ships them to a
//! [`Stub`], and the question that each of them ends with: is every event delivered, or in the dead-letter log, and counted?

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::stub::Stub;
use crate::agent::{Agent, Ended, Home, Modelbeat};

const PIPELINE: &str = r#"
pipeline: delivery
inputs:
  - {type: file, paths: [events.jsonl], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1d]
join: {hold: 10ms}
host: off
output:
  elasticsearch:
    hosts: [HOSTS]
    index_prefix: d
    timeout: TIMEOUT
    bulk: {bytes: 64KiB, requests: 4, flush: 10ms}
"#;

/// Predictions of a story: some ten requests of 64 KiB.
pub(crate) const PREDICTIONS: usize = 800;

/// A log, a pipeline, and where it ships to.
pub(crate) struct Delivery {
    pub(crate) home: Home,
    pub(crate) cluster: Stub,
    hosts: Vec<String>,
    timeout: &'static str,
    ca: Option<PathBuf>,
}

impl Delivery {
    /// To this cluster, with a request's time-out that no healthy answer meets.
    pub(crate) fn to(cluster: &Stub) -> Self {
        let home = Home::new();
        let lines: Vec<String> = (0..PREDICTIONS).map(line).collect();
        home.write("events.jsonl", &lines.concat());
        Self {
            home,
            cluster: cluster.clone(),
            hosts: vec![cluster.url()],
            timeout: "60s",
            ca: None,
        }
    }

    /// These hosts instead of the cluster's own.
    pub(crate) fn hosts(mut self, hosts: &[&str]) -> Self {
        self.hosts = hosts.iter().map(ToString::to_string).collect();
        self
    }

    /// For a cluster that hangs: long enough for a healthy answer on a busy machine, and sent again without harm if not.
    pub(crate) fn impatient(mut self) -> Self {
        self.timeout = "3s";
        self
    }

    /// Trusts this authority.
    pub(crate) fn ca(mut self, pem: &str) -> Self {
        self.ca = Some(self.home.write("ca.pem", pem));
        self
    }

    /// One more event and its label, whose document is larger than this.
    pub(crate) fn add_large(&self, id: &str, bytes: usize) {
        let padding = "x".repeat(bytes);
        let prediction = json!({ "event": "prediction", "id": id, "ts": "2026-01-02T03:04:05Z", "predicted": 1, "padding": padding });
        let label = json!({ "event": "label", "id": id, "actual": 1 });
        self.home
            .append("events.jsonl", &format!("{prediction}\n{label}\n"));
    }

    /// `modelbeat run`, on the whole log.
    pub(crate) fn run(&self) -> Modelbeat {
        Modelbeat::run(&self.home, &self.pipeline())
    }

    /// `modelbeat run --once`, to its end; everything accounted for.
    #[track_caller]
    pub(crate) fn once(&self) -> Closing {
        let ended = Modelbeat::once(&self.home, &self.pipeline()).finish();
        self.expect_all(ended.expect_code(0))
    }

    /// That every prediction is either stored, with its label, or in the dead-letter log, and the closing line says so.
    #[track_caller]
    pub(crate) fn expect_all(&self, ended: Ended) -> Closing {
        let closing = Closing::of(ended);
        closing.expect_conservation();
        let stored = self.stored();
        let dead = self.dead();
        let everyone = self.everyone();
        let both: Vec<_> = stored.intersection(&dead).collect();
        assert!(both.is_empty(), "stored and dead: {both:?}");
        assert_eq!(&stored | &dead, everyone, "{}", closing.text);
        let events = 2 * everyone.len() as u64;
        assert_eq!(closing.count("events"), events, "{}", closing.text);
        assert_eq!(
            closing.count("dead_letters"),
            0,
            "of records: {}",
            closing.text
        );
        closing
    }

    /// Waits until a running agent has delivered everything, stops it, and asks the question.
    #[track_caller]
    pub(crate) fn finish(&self, mut agent: Agent) -> Closing {
        agent.wait_until_equal("predictions stored", &self.everyone(), || self.stored());
        self.expect_all(agent.stop().expect_code(0))
    }

    /// That no document of a prediction was sent again that had been stored: only what failed is.
    #[track_caller]
    pub(crate) fn expect_only_failures_again(&self) {
        let mut stored = BTreeSet::new();
        for request in self.cluster.seen() {
            for (document, status) in request.documents.iter().zip(&request.statuses) {
                if !document.starts_with("d-predictions-") {
                    continue;
                }
                assert!(
                    !stored.contains(document),
                    "{document} was stored, and sent again"
                );
                if *status < 300 {
                    stored.insert(document.clone());
                }
            }
        }
        assert_eq!(stored.len(), self.stored().len());
    }

    /// That predictions were sent again that had been stored, and are there as they were.
    #[track_caller]
    pub(crate) fn expect_sent_twice_and_stored_once(&self) {
        let seen = self.cluster.seen();
        let sent: Vec<&String> = seen
            .iter()
            .flat_map(|request| &request.documents)
            .filter(|document| document.starts_with("d-predictions-"))
            .collect();
        let stored = self.cluster.stored();
        let stored = stored
            .iter()
            .filter(|(place, _)| place.starts_with("d-predictions-"));
        assert!(sent.len() > stored.clone().count());
        let changed: Vec<_> = stored.filter(|(_, stored)| stored.writes != 1).collect();
        assert!(changed.is_empty(), "written more than once: {changed:?}");
    }

    /// All predictions in the log.
    fn everyone(&self) -> BTreeSet<String> {
        let log = fs::read_to_string(self.home.path("events.jsonl")).expect("the log");
        let records = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a record"));
        records.map(|record| text(&record["id"])).collect()
    }

    /// Predictions that are stored, joined with their label.
    pub(crate) fn stored(&self) -> BTreeSet<String> {
        let stored = self.cluster.stored();
        let joined = stored
            .values()
            .filter(|stored| stored.source["label"]["state"] == "joined");
        joined
            .map(|stored| text(&stored.source["prediction"]["id"]))
            .collect()
    }

    /// Predictions in the dead-letter log.
    pub(crate) fn dead(&self) -> BTreeSet<String> {
        let path = self.home.path("data/delivery/dead-letters.ndjson");
        let log = fs::read_to_string(path).unwrap_or_default();
        log.lines()
            .map(|line| {
                let letter: Value = serde_json::from_str(line).expect("a dead letter");
                let document: Value =
                    serde_json::from_str(letter["text"].as_str().expect("its text"))
                        .expect("a document");
                let whole = if document["upsert"].is_object() {
                    &document["upsert"]
                } else {
                    &document
                };
                text(&whole["prediction"]["id"])
            })
            .collect()
    }

    fn pipeline(&self) -> PathBuf {
        let hosts: Vec<String> = self.hosts.iter().map(|host| format!("{host:?}")).collect();
        let mut text = PIPELINE
            .replace("HOSTS", &hosts.join(", "))
            .replace("TIMEOUT", self.timeout);
        if let Some(ca) = &self.ca {
            text.push_str(&format!("    ca: {}\n", ca.display()));
        }
        self.home.write("pipeline.yml", &text)
    }
}

/// The last line of a run: what came in, and what became of it.
pub(crate) struct Closing {
    line: Value,
    /// All that the run said.
    pub(crate) text: String,
}

impl Closing {
    #[track_caller]
    pub(crate) fn of(ended: Ended) -> Self {
        let lines = ended.output.lines();
        let line = lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == "pipeline ended")
            .unwrap_or_else(|| panic!("no closing line in:\n{}", ended.output));
        Self {
            line,
            text: ended.output,
        }
    }

    /// How often this was logged.
    pub(crate) fn times(&self, message: &str) -> usize {
        let lines = self.text.lines();
        let said = |line: &&str| {
            serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"] == message)
        };
        lines.filter(said).count()
    }

    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> u64 {
        let count = self.line[name].as_u64();
        count.unwrap_or_else(|| panic!("no count of {name} in {}", self.line))
    }

    /// Events in = predictions + labels + duplicates + dead letters + ignored; documents = stored + superseded + refused.
    #[track_caller]
    fn expect_conservation(&self) {
        let sum = |names: &[&str]| names.iter().map(|name| self.count(name)).sum::<u64>();
        let events = [
            "predictions",
            "labels",
            "duplicates",
            "dead_letters",
            "ignored",
        ];
        assert_eq!(self.count("events"), sum(&events), "{}", self.line);
        let documents = ["stored", "superseded", "refused"];
        assert_eq!(self.count("documents"), sum(&documents), "{}", self.line);
    }
}

/// A prediction and, behind it, its label: both of class 1.
fn line(number: usize) -> String {
    let id = name(number);
    let prediction =
        json!({ "event": "prediction", "id": id, "ts": "2026-01-02T03:04:05Z", "predicted": 1 });
    let label = json!({ "event": "label", "id": id, "actual": 1 });
    format!("{prediction}\n{label}\n")
}

/// The prediction of this number.
pub(crate) fn name(number: usize) -> String {
    format!("p-{number:04}")
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}
