//! Predictions and windows that do not fit in memory lie on disk; the agent is killed while they go there and come back.
//! Needs no node: the documents are read from the output files, by the rules of `_bulk`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::agent::{Home, Modelbeat};
use crate::wait;

/// More than the least bounds hold: 80,000 open predictions of about 130 bytes, and the windows of ten seconds of
/// nine days.
const PREDICTIONS: u64 = 80_000;

const PIPELINE: &str = r#"
pipeline: spill
agent: {id: one}
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [10s, 1d]
publish_every: 1s
join: {hold: 0s, max_state: 8MiB}
quality: {max_state: 8MiB}
host: off
operations: {ship: false}
output: {file: {path: out}}
"#;

#[test]
fn what_is_on_disk_joins_and_counts_once_though_the_agent_is_killed() {
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", PIPELINE);
    home.write("logs/predictions.jsonl", &lines("prediction", "predicted"));
    let spilled = || {
        let store = home.path("data/spill/open-predictions");
        store
            .try_exists()
            .unwrap()
            .then_some(())
            .ok_or_else(|| "no store yet".to_owned())
    };
    let mut agent = Modelbeat::run(&home, &pipeline).start();
    wait::until("predictions to be on disk", spilled);
    agent.kill();
    home.write("logs/labels.jsonl", &lines("label", "actual"));
    let mut agent = Modelbeat::run(&home, &pipeline).start();
    wait::until("some labels to join", || {
        let labelled = counts(&home).get("1d").map_or(0, |counts| counts[1]);
        (labelled > 0)
            .then_some(())
            .ok_or_else(|| "none has".to_owned())
    });
    agent.kill();
    Modelbeat::once(&home, &pipeline).finish().expect_code(0);
    let all = [PREDICTIONS, PREDICTIONS, 0, PREDICTIONS / 4];
    let expected = BTreeMap::from([("10s".to_owned(), all), ("1d".to_owned(), all)]);
    assert_eq!(counts(&home), expected);
}

/// One line each, ten seconds apart. Predictions say 1 of every other id, labels of every fourth: so a quarter of all are
/// false positives.
fn lines(event: &str, field: &str) -> String {
    let mut lines = String::new();
    for id in 0..PREDICTIONS {
        let (ts, modulus) = (
            1_700_000_000 + id * 10,
            if event == "label" { 4 } else { 2 },
        );
        let class = u8::from(id % modulus == 0);
        writeln!(
            lines,
            r#"{{"event":"{event}","id":"{id}","ts":{ts},"{field}":"{class}"}}"#
        )
        .expect("a string takes all");
    }
    lines
}

/// Window length → predictions, labelled, duplicates, false positives, summed over the newest document of each window.
fn counts(home: &Home) -> BTreeMap<String, [u64; 4]> {
    let mut newest: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    for file in fs::read_dir(home.path("out")).into_iter().flatten() {
        let path = file.expect("a file").path();
        let text = fs::read(&path).expect("readable");
        if !path.to_string_lossy().contains("-quality-") {
            continue;
        }
        // A kill may cut a line, which the next start writes again behind it.
        let text = String::from_utf8_lossy(&text);
        let mut lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut action: Option<Value> = None;
        for line in &mut lines {
            if line.get("index").is_some() {
                action = Some(line);
            } else if let Some(meta) = action.take().map(|action| action["index"].clone()) {
                let (id, version) = (&meta["_id"], meta["version"].as_u64().unwrap_or(0));
                let held = newest.entry(id.to_string()).or_default();
                if held.0 < version {
                    *held = (version, line);
                }
            }
        }
    }
    let mut sums: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    for (_, document) in newest.values() {
        if document["event"]["dataset"] == "modelbeat.quality" {
            let length = document["window"]["length"].as_str().expect("a length");
            let sum = sums.entry(length.to_owned()).or_default();
            for (total, name) in sum
                .iter_mut()
                .zip(["predictions", "labelled", "duplicates", "fp"])
            {
                *total += document["counts"][name].as_u64().unwrap_or(0);
            }
        }
    }
    sums
}
