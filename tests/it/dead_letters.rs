//! What was refused is looked into, tried again once the cause is mended, or dropped: on the real node, beside a running
//! agent or without one, and whatever is killed meanwhile, every event is there once and no letter is lost or doubled.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use crate::agent::{Agent, Ended, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::published::Published;
use crate::wait;

const PIPELINE: &str = r#"
pipeline: letters
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {when: {event: prediction}, id: PREDICTION_ID, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1d]
join: {hold: 0s}
publish_every: 1s
host: off
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

const LOG: &str = "logs/events.jsonl";

#[test]
fn refused_documents_are_sent_again_once_the_template_is_mended() {
    let story = Story::new("conflict");
    // The record's `id` is text here and a number there: Elasticsearch refuses every document.
    story.conflict();
    story
        .home
        .write(LOG, &format!("{}{}", predictions(0..20), labels(0..5)));
    story.once().expect_code(0);
    // 20 predictions, and the labels of 5 that are not there: a document each.
    assert_eq!(story.letters(&[]).len(), 25);
    assert_eq!(story.stored(), 0);
    // Not mended yet: all is refused again, and stays, in its order.
    story
        .retry(&[])
        .expect_code(1)
        .expect_words(&["25 sent again, 25 refused again"]);
    assert_eq!(story.letters(&[]).len(), 25);

    story.mend();
    story
        .retry(&[])
        .expect_code(0)
        .expect_words(&["25 sent again, 0 refused again"]);
    assert_eq!(story.stored(), 20);
    assert_eq!(story.joined(), 5);
    assert_eq!(story.letters(&[]), [] as [Value; 0]);
    story
        .list(&[])
        .expect_code(0)
        .expect_words(&["no dead letters"]);
    story.once().expect_code(0);
    assert_eq!((story.stored(), story.joined()), (20, 5));
    assert_eq!(story.window()["predictions"], 20);
}

#[test]
fn a_label_that_was_refused_does_not_undo_a_later_one() {
    let story = Story::new("stale");
    story.home.write(LOG, &predictions(0..1));
    story.once().expect_code(0);
    // Nobody may write: the first label's document is refused. Then somebody may, and the label is corrected.
    let index = story.index();
    story.close(&index);
    story.home.append(LOG, &label(0, "0"));
    story.once().expect_code(0);
    assert_eq!(story.letters(&["--kind", "document"]).len(), 1);
    story.open(&index);
    story.home.append(LOG, &label(0, "1"));
    story.once().expect_code(0);
    assert_eq!(story.label_value(), "1");
    story
        .retry(&[])
        .expect_code(0)
        .expect_words(&["1 sent again, 0 refused again"]);
    assert_eq!(story.label_value(), "1");
}

#[test]
fn records_that_could_not_be_mapped_are_read_again_once_the_pipeline_is_mended() {
    let story = Story::new("mapping");
    story.write_pipeline("request");
    let before = format!("{}not JSON\n", predictions(0..3));
    story.home.write(LOG, &before);
    story.once().expect_code(0);
    let shown = story.list(&[]).expect_code(0);
    let place = before.len() - "not JSON\n".len();
    shown.expect_words(&[
        "4 dead letters (0 documents, 4 records)",
        &format!("{LOG}:{place}"),
        "not JSON",
    ]);

    // With the old mapping they come back, each once.
    story
        .retry(&["--reason", "REQUEST"])
        .expect_code(1)
        .expect_words(&["3 read again, 3 refused again"]);
    assert_eq!(story.letters(&[]).len(), 4);

    story.write_pipeline("id");
    story.home.append(LOG, &labels(0..3));
    story
        .retry(&[])
        .expect_code(1)
        .expect_words(&["4 read again, 1 refused again"]);
    story.once().expect_code(0);
    assert_eq!((story.stored(), story.joined()), (3, 3));
    assert_eq!(story.window()["predictions"], 3);
    assert_eq!(story.window()["labelled"], 3);
    let left = story.letters(&[]);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["text"], "not JSON");
    assert_eq!(left[0]["position"]["offset"], place);
}

#[test]
fn a_running_agent_reads_what_is_handed_back() {
    let story = Story::new("running");
    story.write_pipeline("request");
    story.home.write(LOG, &predictions(0..3));
    story.once().expect_code(0);
    story.write_pipeline("id");
    let mut agent = story.start();
    story.home.append(LOG, &predictions(3..4));
    agent.wait_until_equal("predictions stored", &1, || story.stored());
    // However busy the machine, the agent reads them in the end; the command need not see it.
    story
        .retry(&[])
        .expect_code(0)
        .expect_words(&["an agent runs"]);
    agent.wait_until_equal("predictions stored", &4, || story.stored());
    agent.wait_until_equal("files handed back", &0, || story.handed_back());
    agent.stop().expect_code(0);
    assert_eq!(story.letters(&[]), [] as [Value; 0]);
    assert_eq!(story.window()["predictions"], 4);
}

#[test]
fn killed_at_any_moment_a_retry_loses_and_doubles_nothing() {
    const RECORDS: u32 = 400;
    let story = Story::new("killed");
    story.write_pipeline("request");
    story.home.write(LOG, &predictions(0..RECORDS));
    story.once().expect_code(0);
    assert_eq!(story.letters(&[]).len(), RECORDS as usize);
    story.write_pipeline("id");
    // Killed ever later, until one lives to its end: in the command's own work, and in the agent that it starts.
    for step in 0_u32.. {
        let mut retry = story
            .command(&[
                "dead-letters",
                "retry",
                "pipeline.yml",
                "--data-dir",
                "data",
            ])
            .start();
        let mut looks = 0;
        let ended = wait::until("the retry to be old enough to die", || {
            looks += 1;
            let ended = !retry.is_running();
            (ended || looks > step)
                .then_some(ended)
                .ok_or_else(|| "too young".to_owned())
        });
        if ended {
            break;
        }
        retry.killed();
    }
    story.retry(&[]).expect_code(0);
    story.once().expect_code(0);
    assert_eq!(story.stored(), u64::from(RECORDS));
    assert_eq!(story.window()["predictions"], RECORDS);
    let duplicates = &story.window()["duplicates"];
    assert!(duplicates.is_null() || *duplicates == 0, "{duplicates}");
    assert_eq!(story.letters(&[]), [] as [Value; 0]);
    assert_eq!(story.handed_back(), 0);
}

#[test]
fn only_the_letters_that_are_meant_are_dropped_and_only_if_confirmed() {
    let story = Story::new("drop");
    story.home.write(
        LOG,
        &format!(
            "one\n{}two\n{{\"event\":\"prediction\",\"id\":7,\"ts\":\"soon\"}}\n",
            predictions(0..2)
        ),
    );
    story.once().expect_code(0);
    assert_eq!(story.letters(&[]).len(), 3);
    story
        .drop(&[])
        .expect_code(2)
        .expect_words(&["--yes", "3 dead letters"]);
    assert_eq!(story.letters(&[]).len(), 3);
    story
        .drop(&["--yes", "--kind", "document"])
        .expect_code(0)
        .expect_words(&["no dead letters to drop"]);
    story
        .drop(&["--yes", "--reason", "neither a json"])
        .expect_code(0)
        .expect_words(&["dropped 2 dead letters"]);
    let left = story.letters(&[]);
    assert_eq!(left.len(), 1);
    assert!(
        left[0]["text"].as_str().expect("text").contains("soon"),
        "{left:?}"
    );
    story
        .drop(&["--yes", "--since", "1h"])
        .expect_code(0)
        .expect_words(&["dropped 1 dead letter"]);
    assert_eq!(story.letters(&[]), [] as [Value; 0]);
}

#[test]
fn a_record_too_long_to_keep_says_so_and_is_not_read_again() {
    let story = Story::new("cut");
    let long = format!(
        "{{\"event\":\"prediction\",\"id\":1,\"filler\":\"{}\"}}\n",
        "x".repeat(70_000)
    );
    story.home.write(LOG, &long);
    story.once().expect_code(0);
    story
        .list(&[])
        .expect_code(0)
        .expect_words(&["the first 65536 of 700"]);
    story
        .retry(&[])
        .expect_code(1)
        .expect_words(&["1 cannot be read again", "send it again from its source"]);
    assert_eq!(story.letters(&[]).len(), 1);
}

/// One pipeline, its log, and a prefix on the node.
struct Story {
    home: Home,
    prefix: Prefix,
}

impl Story {
    fn new(name: &str) -> Self {
        let story = Self {
            home: Home::new(),
            prefix: Prefix::new(Cluster::plain(), &format!("letters-{name}")),
        };
        story.write_pipeline("id");
        story
    }

    fn write_pipeline(&self, prediction_id: &str) {
        let text = PIPELINE.replace("PREDICTION_ID", prediction_id);
        self.home.write("pipeline.yml", &text);
    }

    fn pipeline(&self) -> PathBuf {
        self.home.path("pipeline.yml")
    }

    fn configured(&self, command: Modelbeat) -> Modelbeat {
        command.shipping_to(&self.prefix)
    }

    fn command(&self, arguments: &[&str]) -> Modelbeat {
        self.configured(Modelbeat::new(&self.home, arguments))
    }

    fn once(&self) -> Ended {
        self.configured(Modelbeat::once(&self.home, &self.pipeline()))
            .finish()
    }

    fn start(&self) -> Agent {
        self.configured(Modelbeat::run(&self.home, &self.pipeline()))
            .start()
    }

    fn letters_command(&self, what: &str, files: &[&str], filter: &[&str]) -> Ended {
        let arguments = ["dead-letters", what, "--data-dir", "data"];
        let arguments: Vec<&str> = arguments
            .iter()
            .chain(files)
            .chain(filter)
            .copied()
            .collect();
        self.command(&arguments).finish()
    }

    fn list(&self, filter: &[&str]) -> Ended {
        self.letters_command("list", &[], filter)
    }

    fn retry(&self, filter: &[&str]) -> Ended {
        self.letters_command("retry", &["pipeline.yml"], filter)
    }

    fn drop(&self, filter: &[&str]) -> Ended {
        self.letters_command("drop", &["pipeline.yml"], filter)
    }

    /// What `list --format json` shows.
    fn letters(&self, filter: &[&str]) -> Vec<Value> {
        let all = ["--format", "json", "--limit", "0"];
        let filter: Vec<&str> = all.iter().chain(filter).copied().collect();
        let ended = self
            .letters_command("list", &["pipeline.yml"], &filter)
            .expect_code(0);
        let lines = ended.output.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .collect()
    }

    fn handed_back(&self) -> usize {
        let folder = self.home.path("data/letters");
        let names = std::fs::read_dir(folder).expect("the data folder");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("retry-"))
            .count()
    }

    fn count(&self, query: &Value) -> u64 {
        let (cluster, indices) = (self.prefix.cluster(), self.prefix.indices("predictions"));
        cluster.count(&indices, query)
    }

    fn stored(&self) -> u64 {
        self.count(&json!({ "match_all": {} }))
    }

    fn joined(&self) -> u64 {
        self.count(&json!({ "match": { "label.state": "joined" } }))
    }

    /// The index of the predictions.
    fn index(&self) -> String {
        format!("{}-predictions-2026.01.02", self.prefix.name)
    }

    fn label_value(&self) -> String {
        let mut values = Vec::new();
        let indices = self.prefix.indices("predictions");
        let every = json!({ "match_all": {} });
        self.prefix.cluster().search(&indices, &every, |hit| {
            values.push(
                hit["_source"]["label"]["value"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        });
        values.join(",")
    }

    /// Makes the predictions' index with a mapping that no document fits.
    fn conflict(&self) {
        let body = json!({ "mappings": { "properties": { "pipeline": { "type": "long" } } } });
        self.prefix
            .cluster()
            .ask(&Method::PUT, &self.index(), Some(&body));
    }

    /// The index is made anew; what it held was nothing.
    fn mend(&self) {
        self.prefix
            .cluster()
            .ask(&Method::DELETE, &self.index(), None);
    }

    fn close(&self, index: &str) {
        self.prefix
            .cluster()
            .ask(&Method::POST, &format!("{index}/_close"), None);
    }

    fn open(&self, index: &str) {
        self.prefix
            .cluster()
            .ask(&Method::POST, &format!("{index}/_open"), None);
    }

    /// The counts of the one window.
    fn window(&self) -> Value {
        Published::under(&self.prefix).counts_of_the_one_window()
    }
}

/// Predictions, all of class 1, in one day.
fn predictions(ids: std::ops::Range<u32>) -> String {
    let record = |id| json!({ "event": "prediction", "id": id, "ts": "2026-01-02T03:04:05Z", "predicted": 1 });
    ids.map(|id| format!("{}\n", record(id))).collect()
}

/// Labels that agree.
fn labels(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| label(id, "1")).collect()
}

fn label(id: u32, actual: &str) -> String {
    format!(
        "{}\n",
        json!({ "event": "label", "id": id, "actual": actual })
    )
}
