//! A model server's log is rotated in every usual way while the agent tails it: no line is lost, none counts twice.

use std::fs;
use std::io::Write;

use serde_json::json;

use crate::agent::{Home, Modelbeat};
use crate::cluster::{Cluster, Prefix};
use crate::published::Published;

const LOG: &str = "logs/events.jsonl";

const PIPELINE: &str = r#"
pipeline: rotation
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1d]
join: {hold: 1s}
host: off
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

#[test]
fn a_log_that_is_rotated_truncated_and_cut_in_mid_line_is_read_once() {
    let prefix = Prefix::new(Cluster::plain(), "rotation");
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", PIPELINE);
    home.write(LOG, &predictions(0..100));
    let mut agent = Modelbeat::run(&home, &pipeline)
        .shipping_to(&prefix)
        .start();
    let mut wait_for = |count: u64| {
        agent.wait_until_equal("predictions stored", &count, || {
            let indices = prefix.indices("predictions");
            prefix
                .cluster()
                .count(&indices, &json!({ "match_all": {} }))
        });
    };
    wait_for(100);

    // Half a line is no line: another file's lines, written later, are counted, and it is not.
    let line = predictions(100..101);
    let (half, rest) = line.split_at(line.len() / 2);
    home.append(LOG, half);
    home.append("logs/other.jsonl", &predictions(1_000..1_010));
    wait_for(110);
    home.append(LOG, rest);
    wait_for(111);

    // Rename: the server writes on into the renamed file, which no glob matches any more, then opens a new one.
    let mut server = home.open_to_append(LOG);
    fs::rename(home.path(LOG), home.path("logs/events.jsonl.1")).expect("rename");
    server
        .write_all(predictions(101..120).as_bytes())
        .expect("append");
    drop(server);
    home.append(LOG, &predictions(120..150));
    wait_for(160);

    // Copy and truncate: the same file starts again at zero, shorter than it was.
    fs::copy(home.path(LOG), home.path("logs/events.jsonl.2")).expect("copy");
    home.write(LOG, &predictions(150..155));
    wait_for(165);

    // Labels for all of them, in the rotated file and in a new one; a last run closes the windows.
    home.append(LOG, &labels(0..155));
    home.append("logs/late-labels.jsonl", &labels(1_000..1_010));
    agent.stop().expect_code(0);
    Modelbeat::once(&home, &pipeline)
        .shipping_to(&prefix)
        .finish()
        .expect_code(0);
    assert_window(&prefix, 165);
}

/// The one window counts every prediction once, with its label, and everyone was right.
#[track_caller]
fn assert_window(prefix: &Prefix, predictions: u64) {
    let counts = Published::under(prefix).counts_of_the_one_window();
    for name in ["predictions", "labelled", "correct"] {
        assert_eq!(counts[name], predictions, "{name}: {counts}");
    }
    let duplicates = &counts["duplicates"];
    assert!(duplicates.is_null() || *duplicates == 0, "{counts}");
}

/// Predictions, all of class 1, in one day.
fn predictions(ids: std::ops::Range<u32>) -> String {
    lines(
        ids,
        |id| json!({ "event": "prediction", "id": id, "ts": "2026-01-02T03:04:05Z", "predicted": 1 }),
    )
}

/// Labels that agree.
fn labels(ids: std::ops::Range<u32>) -> String {
    lines(
        ids,
        |id| json!({ "event": "label", "id": id, "actual": "1" }),
    )
}

fn lines(ids: std::ops::Range<u32>, record: impl Fn(u32) -> serde_json::Value) -> String {
    ids.map(|id| format!("{}\n", record(id))).collect()
}
