//! Labels come days late, twice, wrong first and then right, for nobody, or never. After each batch of them, every quality,
//! class and confusion document that a search finds says what a recount of all predictions and labels so far says; killing the
//! agent in the middle changes nothing of that; and labels for nobody are kept as orphans in the end.

mod log;

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::log::{Log, draw};
use crate::agent::{Agent, Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::documents::field;
use crate::nannyml;
use crate::published::Published;
use crate::told::{self, Label, Prediction, Told};
use crate::wait;

/// Labels wait for their prediction longer than any machine takes over this story.
const PIPELINE: &str = r#"
pipeline: late
inputs:
  - {type: file, paths: [predictions.csv], format: csv, kind: prediction}
  - {type: file, paths: ["labels-*.csv"], format: csv, kind: label}
  - {type: http, listen: 127.0.0.1:0}
mapping:
  prediction:
    id: id
    time: time
    model: {const: credit-card}
    version: version
    predicted: predicted
    score: {prepaid_card: prepaid_card, highstreet_card: highstreet_card, upmarket_card: upmarket_card}
    slices: {app_channel: app_channel}
  label: {id: id, time: time, actual: actual}
task: {kind: multiclass}
windows: [1d, 1mo]
join: {early_label_ttl: 30d, hold: 1s}
publish_every: 1s
host: off
operations: {ship: false}
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

#[test]
fn after_each_of_five_batches_of_late_labels_the_documents_say_what_a_recount_says() {
    let log = Log::of_real_predictions();
    let mut story = Story::begin();
    story.predict(&log.predictions);
    story.wait_for_recount();

    let [first, second, third, fourth, fifth] = &log.batches;
    story.label("first", first);
    story.wait_for_recount();
    story.label("second", second);
    story.wait_for_recount();

    // Some labels of this day have been waiting since the first batch.
    story.predict(&log.late_predictions);
    story.wait_for_recount();

    // Killed with the labels accepted, and perhaps read and perhaps published in part.
    story.label("third", third);
    story.kill_and_start_again();
    story.wait_for_recount();

    story.label("fourth", fourth);
    story.wait_for_recount();
    story.label("fifth", fifth);
    let published = story.wait_for_recount();
    assert_the_story_was_told(&published);

    let Story {
        home,
        prefix,
        pipeline,
        agent,
        told,
        ..
    } = story;
    agent.stop().expect_code(0);
    nannyml::with_variables(Modelbeat::once(&home, &pipeline), &prefix)
        .finish()
        .expect_code(0);
    told.compare(&Published::under(&prefix))
        .expect("nothing came since");
    told::first(told.differences_of_predictions(&prefix)).expect("each with its label");
    assert!(!told.orphans().is_empty(), "some labels name nobody");
    told::first(told.differences_of_orphans(&prefix)).expect("just the labels for nobody");
}

/// The story would prove less if nothing had been late, doubled or corrected, or if no correction had emptied a class.
#[track_caller]
fn assert_the_story_was_told(published: &Published) {
    for (key, document) in &published.windows {
        if (
            key.length.as_str(),
            key.version.as_str(),
            key.slice.as_str(),
        ) == ("1d", "1", "_all")
        {
            for count in ["duplicates", "late_labels", "corrected_labels"] {
                assert_ne!(document["counts"][count], 0, "{key:?} {count}");
            }
        }
    }
    let mistaken = |classes: &&BTreeMap<String, Value>| classes.contains_key(log::MISTAKEN_CLASS);
    let windows = published.classes.values().filter(mistaken).count();
    assert!(
        windows > 10,
        "only {windows} windows ever had labels of the mistaken class"
    );
    for key in published.cells.keys() {
        for ((actual, _), count) in published.cell_counts(key) {
            assert!(
                actual != log::MISTAKEN_CLASS || count == 0,
                "{key:?}: {count}"
            );
        }
    }
}

struct Story {
    home: Home,
    prefix: Prefix,
    pipeline: PathBuf,
    agent: Agent,
    http: Runtime,
    told: Told,
    /// As found at the last wait, to see what grows.
    before: Option<Published>,
    /// A killed agent counts the same, not always in the same order.
    was_killed: bool,
}

impl Story {
    fn begin() -> Self {
        let prefix = Prefix::new(Cluster::plain(), "late");
        let home = Home::new();
        let pipeline = nannyml::write_pipeline(&home, PIPELINE);
        nannyml::set_up(&home, &pipeline, &prefix);
        home.write(
            "predictions.csv",
            "id,time,version,predicted,highstreet_card,prepaid_card,upmarket_card,app_channel\n",
        );
        let agent = nannyml::with_variables(Modelbeat::run(&home, &pipeline), &prefix).start();
        let http = Runtime::new().expect("a runtime");
        Self {
            home,
            prefix,
            pipeline,
            agent,
            http,
            told: Told::new(&["1d", "1mo"]),
            before: None,
            was_killed: false,
        }
    }

    fn predict(&mut self, predictions: &[Prediction]) {
        let line = |row: &Prediction| {
            let Prediction {
                id,
                time,
                version,
                predicted,
                scores: [a, b, c],
                channel,
            } = row;
            format!("{id},{time},{version},{predicted},{a},{b},{c},{channel}\n")
        };
        self.home.append(
            "predictions.csv",
            &predictions.iter().map(line).collect::<String>(),
        );
        self.told.predictions.extend_from_slice(predictions);
    }

    /// Half of them in a file, half over HTTP; those for one id not always the same way.
    #[track_caller]
    fn label(&mut self, batch: &str, labels: &[Label]) {
        let goes_by_file =
            |label: &&Label| draw(&format!("{} {}", label.id, label.time), "way", 2) == 0;
        let (by_file, by_http): (Vec<&Label>, Vec<&Label>) = labels.iter().partition(goes_by_file);
        assert!(
            by_file.len() > 100 && by_http.len() > 100,
            "both ways are taken"
        );
        let line = |label: &&Label| format!("{},{},{}\n", label.id, label.time, label.actual);
        let lines: String = by_file.iter().map(line).collect();
        self.home.write(
            &format!("labels-{batch}.csv"),
            &format!("id,time,actual\n{lines}"),
        );
        // The same times, written as epoch milliseconds.
        let record = |label: &&Label| json!({ "id": label.id, "time": label.time.as_millisecond(), "actual": label.actual });
        let body: String = by_http
            .iter()
            .map(|label| format!("{}\n", record(label)))
            .collect();
        let url = format!("http://{}/v1/labels", self.agent.http_address());
        let request = Client::builder()
            .no_proxy()
            .build()
            .expect("a client")
            .post(url);
        let request = request
            .header("content-type", "application/x-ndjson")
            .body(body);
        let status = self
            .http
            .block_on(async { request.send().await.expect("the agent answers").status() });
        assert_eq!(status, StatusCode::ACCEPTED);
        self.told.labels.extend_from_slice(labels);
    }

    fn kill_and_start_again(&mut self) {
        self.agent.kill();
        self.agent =
            nannyml::with_variables(Modelbeat::run(&self.home, &self.pipeline), &self.prefix)
                .start();
        self.was_killed = true;
    }

    /// Waits until a search finds what the recount says, in every document; what changed has a newer revision.
    #[track_caller]
    fn wait_for_recount(&mut self) -> Published {
        let found = wait::until("all documents to say what a recount says", || {
            assert!(self.agent.is_running());
            let found = Published::under(&self.prefix);
            self.told.compare(&found).map(|()| found)
        });
        if let Some(before) = &self.before {
            assert_grown(before, &found, self.was_killed);
        }
        self.was_killed = false;
        self.before = Some(found.clone());
        found
    }
}

/// What says something else than before is a newer version, and a later revision.
#[track_caller]
fn assert_grown(before: &Published, now: &Published, was_killed: bool) {
    for (key, old) in &before.windows {
        let new = &now.windows[key];
        let [old_version, new_version] = [before, now].map(|published| published.versions[key]);
        let [old_revision, new_revision] = [old, new].map(|document| {
            field(document, "window.revision")
                .as_u64()
                .expect("a revision")
        });
        let is_same = ["counts", "quality", "label_delay"]
            .iter()
            .all(|part| old[part] == new[part]);
        assert!(
            old_version <= new_version,
            "{key:?}: version {old_version}, then {new_version}"
        );
        if !is_same {
            assert!(
                old_version < new_version,
                "{key:?} changed, its version did not"
            );
        }
        if !is_same && !was_killed {
            assert!(
                old_revision < new_revision,
                "{key:?}: revision {old_revision}, then {new_revision}"
            );
        }
    }
}
