//! A model's log for the dashboards: two agents, two versions, slices, late, corrected, missing and orphaned labels, and
//! predictions made while the host is watched; and a naive recount of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::agent::{Home, Modelbeat};
use crate::cluster::Prefix;
use crate::gpu::Driver;
use crate::wait;

const PIPELINE: &str = r#"
pipeline: fraud
inputs:
  - {type: file, paths: [events.jsonl], format: json}
mapping:
  prediction:
    when: {event: prediction}
    id: id
    time: ts
    model: {const: fraud}
    version: version
    predicted: predicted
    score: score
    latency_ms: latency
    slices: {country: country}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: fraud}
windows: [1h, 1d, cumulative, {length: 1h, every: 30m}]
join: {label_horizon: 365d, early_label_ttl: 30d}
publish_every: 1s
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

/// Beside it, a model that predicts numbers.
const NUMBERS: &str = r#"
pipeline: price
inputs:
  - {type: file, paths: [events.jsonl], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: price}, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: regression}
windows: [1h]
host: off
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

/// How far off its predictions are, all of one hour.
pub(super) const ERRORS: [f64; 5] = [1.5, -2.0, 0.25, 4.0, -0.75];

/// One prediction, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    id: String,
    version: &'static str,
    /// Empty: the record names none.
    pub(super) country: &'static str,
    is_predicted: bool,
    score: f64,
    /// The label that counts in the end.
    is_true: Option<bool>,
    /// A wrong label came first.
    is_corrected: bool,
}

/// What was logged long ago, by two agents, and what is logged while the story is told, by the first.
pub(super) struct Log {
    old: [Vec<Row>; 2],
    recent: Vec<Row>,
}

/// A recount.
#[derive(Debug, Default)]
pub(super) struct Told {
    predictions: f64,
    labelled: f64,
    /// By what was predicted and what was true.
    cells: [[f64; 2]; 2],
}

impl Log {
    pub(super) fn draw() -> Self {
        let mut draw = Draw(7);
        let mut rows = |start: &str, count: usize| -> Vec<Row> {
            (0..count)
                .map(|index| draw.row(format!("{start}{index}")))
                .collect()
        };
        Self {
            old: [rows("a", 300), rows("b", 120)],
            recent: rows("now", 40),
        }
    }

    /// Counts the rows that match, as they stand in the end.
    pub(super) fn recount(&self, matches: impl Fn(&Row) -> bool) -> Told {
        let mut told = Told::default();
        for row in self
            .old
            .iter()
            .flatten()
            .chain(&self.recent)
            .filter(|row| matches(row))
        {
            told.predictions += 1.0;
            if let Some(is_true) = row.is_true {
                told.labelled += 1.0;
                told.cells[usize::from(row.is_predicted)][usize::from(is_true)] += 1.0;
            }
        }
        told
    }
}

impl Told {
    /// `cells`: by what was predicted and what was true.
    pub(super) fn of(predictions: f64, cells: [[f64; 2]; 2]) -> Self {
        Self {
            predictions,
            labelled: cells.iter().flatten().sum(),
            cells,
        }
    }

    /// What the figures of Model quality must say, by the column that shows it.
    pub(super) fn figures(&self) -> BTreeMap<String, f64> {
        let [[tn, fn_], [fp, tp]] = self.cells;
        let figures = [
            ("predictions", self.predictions),
            ("coverage", self.labelled / self.predictions),
            ("accuracy", (tp + tn) / self.labelled),
            ("precision", tp / (tp + fp)),
            ("recall", tp / (tp + fn_)),
            ("f1", 2.0 * tp / (2.0 * tp + fp + fn_)),
        ];
        figures.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// The same numbers every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn row(&mut self, id: String) -> Row {
        let is_true = self.below(3) == 0;
        // v2 is the better one; DE the worse country; some records name none.
        let version = ["v1", "v2"][usize::from(self.below(2) == 0)];
        let country = ["CH", "DE", ""][usize::try_from(self.below(9) / 4).expect("small")];
        let errs = self.below(if version == "v1" { 5 } else { 9 }) == 0
            || (country == "DE" && self.below(6) == 0);
        let is_predicted = is_true != errs;
        let spread = self.below(50) as f64 / 100.0;
        Row {
            id,
            version,
            country,
            is_predicted,
            score: if is_predicted {
                0.5 + spread
            } else {
                0.49 - spread
            },
            is_true: (self.below(5) != 0).then_some(is_true),
            is_corrected: self.below(10) == 0,
        }
    }
}

fn class(is_fraud: bool) -> &'static str {
    if is_fraud { "fraud" } else { "ok" }
}

/// The lines of some rows: predictions `apart` from each other from `start` on, then their labels.
fn lines(rows: &[Row], start: Timestamp, apart: SignedDuration) -> String {
    let mut text = String::new();
    for (index, row) in (0_i32..).zip(rows) {
        let mut line = json!({
            "event": "prediction", "id": row.id, "ts": start + apart * index, "version": row.version,
            "predicted": class(row.is_predicted), "score": row.score, "latency": 5.5 + f64::from(index % 17),
        });
        if !row.country.is_empty() {
            line["country"] = json!(row.country);
        }
        text += &format!("{line}\n");
        if index % 50 == 0 {
            text += &format!("{line}\n"); // a duplicate
        }
    }
    for (index, row) in (0_i32..).zip(rows) {
        let Some(is_true) = row.is_true else { continue };
        let came = start + apart * index + SignedDuration::from_secs(30);
        let mut label = |at: Timestamp, is_fraud: bool| {
            let line =
                json!({ "event": "label", "id": row.id, "ts": at, "actual": class(is_fraud) });
            text += &format!("{line}\n");
        };
        if row.is_corrected {
            label(came, !is_true);
        }
        label(
            came + SignedDuration::from_secs(i64::from(index % 7)),
            is_true,
        );
    }
    text
}

/// Installs the templates, lets both agents read their log to the end, the first of them while it watches the host, and then
/// the model that predicts numbers.
pub(super) fn tell(log: &Log, prefix: &Prefix) {
    let start: Timestamp = "2024-11-20T01:00:00Z".parse().expect("a time");
    let apart = SignedDuration::from_mins(7);
    let command = |command: Modelbeat| command.shipping_to(prefix);

    let first = Home::new();
    let host = format!(
        "host: {{every: 1s, process: {{pid: {}}}}}\n",
        std::process::id()
    );
    let pipeline = first.write(
        "pipeline.yml",
        &format!("{PIPELINE}agent: {{id: first, name: first}}\n{host}"),
    );
    command(Modelbeat::new(&first, &["setup"]).argument(&pipeline))
        .finish()
        .expect_code(0);
    let nobody = json!({ "event": "label", "id": "nobody", "ts": start, "actual": "ok" });
    first.write(
        "events.jsonl",
        &(lines(&log.old[0], start, apart) + &format!("{nobody}\n")),
    );
    let driver = Driver::compiled();
    let agent = command(Modelbeat::run(&first, &pipeline))
        .env("LD_LIBRARY_PATH", driver.folder())
        .start();
    let everything = json!({ "match_all": {} });
    wait_for(prefix, "readings of the host", "host", &everything, 3);
    let now = Timestamp::now();
    first.append(
        "events.jsonl",
        &lines(&log.recent, now, SignedDuration::from_millis(1)),
    );
    let watched = json!({ "exists": { "field": "system.cpu.total.norm.pct" } });
    wait_for(
        prefix,
        "predictions with a reading",
        "predictions",
        &watched,
        log.recent.len(),
    );
    agent.stop().expect_code(0);
    command(Modelbeat::once(&first, &pipeline))
        .finish()
        .expect_code(0);

    let second = Home::new();
    let pipeline = second.write(
        "pipeline.yml",
        &format!("{PIPELINE}agent: {{id: second, name: second}}\nhost: off\n"),
    );
    second.write("events.jsonl", &lines(&log.old[1], start, apart));
    command(Modelbeat::once(&second, &pipeline))
        .finish()
        .expect_code(0);

    let third = Home::new();
    let pipeline = third.write("pipeline.yml", NUMBERS);
    let lines = ERRORS.iter().enumerate().map(|(id, error)| {
        let prediction =
            json!({ "event": "prediction", "id": id, "ts": start, "predicted": 10.0 + error });
        let label = json!({ "event": "label", "id": id, "ts": start, "actual": 10.0 });
        format!("{prediction}\n{label}\n")
    });
    third.write("events.jsonl", &lines.collect::<String>());
    command(Modelbeat::once(&third, &pipeline))
        .finish()
        .expect_code(0);
    prefix.cluster().ask(
        &reqwest::Method::POST,
        &format!("{}-*/_refresh", prefix.name),
        None,
    );
}

#[track_caller]
fn wait_for(prefix: &Prefix, what: &str, family: &str, query: &serde_json::Value, at_least: usize) {
    wait::until(what, || {
        let count = prefix.cluster().count(&prefix.indices(family), query);
        if usize::try_from(count).expect("small") >= at_least {
            Ok(())
        } else {
            Err(format!("{count}"))
        }
    });
}
