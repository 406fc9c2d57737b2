//! Times that are not what one expects: out of order, years old, in the future, or no times at all.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::agent::{Home, Modelbeat};
use crate::faults::written::Written;

const PIPELINE: &str = r#"
pipeline: clock
agent: {id: one}
inputs:
  - {type: file, paths: ["logs/*.jsonl"], format: json}
mapping:
  prediction: {when: {event: prediction}, id: id, time: ts, model: {const: m}, predicted: predicted}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: binary, positive: "1"}
windows: [1h, 1d]
publish_every: 1s
join: {hold: 0s}
host: off
output: {file: {path: out}}
"#;

/// Newest first, then the oldest, then in between; the labels in yet another order, some before their predictions.
#[test]
fn events_years_old_and_out_of_order_fall_in_the_windows_of_their_own_time() {
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", PIPELINE);
    let years_apart = [1_700_000_000_u64, 0, 1_000_000_000, 1_500_000_000, 86_399];
    home.write("logs/labels.jsonl", "");
    for (day, ts) in years_apart.iter().enumerate() {
        home.append("logs/labels.jsonl", &label(&format!("early-{day}"), *ts));
    }
    let mut agent = Modelbeat::run(&home, &pipeline).start();
    let mut sent = 0;
    for round in 0..3 {
        for (day, ts) in years_apart.iter().enumerate() {
            let kind = if round == 0 { "early" } else { "late" };
            home.append(
                "logs/predictions.jsonl",
                &prediction(&format!("{kind}-{day}{}", "x".repeat(round / 2)), *ts),
            );
            sent += 1;
        }
        // The windows of all years are published before they are opened again.
        agent.wait_until_equal("predictions in windows", &sent, || {
            Written::read(&home.path("out")).windows("1h", "predictions")
        });
    }
    agent.kill();
    for (day, ts) in years_apart.iter().enumerate().rev() {
        home.append("logs/labels.jsonl", &label(&format!("late-{day}"), ts + 1));
    }
    Modelbeat::once(&home, &pipeline).finish().expect_code(0);
    let written = Written::read(&home.path("out"));
    for length in ["1h", "1d"] {
        let count = |name| written.windows(length, name);
        assert_eq!(
            (count("predictions"), count("labelled"), count("duplicates")),
            (15, 10, 0)
        );
    }
    assert!(
        !home
            .path("data/clock/dead-letters.ndjson")
            .try_exists()
            .expect("a folder")
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "what is the future, only the wall clock says"
)]
fn the_future_and_what_is_no_time_are_dead_letters_that_say_why() {
    let home = Home::new();
    let pipeline = home.write("pipeline.yml", PIPELINE);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    // Far enough from the bound of an hour on either side that no pause of the machine matters.
    let good = [prediction("soon", now + 600), prediction("now", now)];
    let bad_prediction =
        |ts: &str| format!("{{\"event\":\"prediction\",\"id\":\"bad\",{ts}\"predicted\":\"1\"}}\n");
    let (future, unreadable) = ("ahead of this host's clock", "ts");
    let bad = [
        (prediction("tomorrow", now + 86_400), future),
        (prediction("a-century", now + 3_155_760_000), future),
        (label("now", now + 86_400), future),
        (bad_prediction(r#""ts":"yesterday","#), unreadable),
        (bad_prediction(""), unreadable),
        (bad_prediction(r#""ts":null,"#), unreadable),
        (
            bad_prediction(r#""ts":"2026-02-30T00:00:00Z","#),
            unreadable,
        ),
        (bad_prediction(r#""ts":1e300,"#), unreadable),
    ];
    let lines = bad.iter().map(|(line, _)| line.as_str());
    let text: String = good.iter().map(String::as_str).chain(lines).collect();
    home.write("logs/a.jsonl", &text);
    Modelbeat::once(&home, &pipeline).finish().expect_code(0);
    let written = Written::read(&home.path("out"));
    assert_eq!(written.predictions(), ["now", "soon"]);
    assert_eq!(written.windows("1h", "predictions"), 2);
    let log = fs::read_to_string(home.path("data/clock/dead-letters.ndjson")).expect("a log");
    let letters: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("an entry"))
        .collect();
    assert_eq!(letters.len(), bad.len(), "{log}");
    for (letter, (line, why)) in letters.iter().zip(&bad) {
        assert_eq!(letter["text"].as_str(), Some(line.trim_end()), "in order");
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(reason.contains(why), "{reason}: {line}");
    }
}

fn prediction(id: &str, ts: u64) -> String {
    format!("{{\"event\":\"prediction\",\"id\":\"{id}\",\"ts\":{ts},\"predicted\":\"1\"}}\n")
}

fn label(id: &str, ts: u64) -> String {
    format!("{{\"event\":\"label\",\"id\":\"{id}\",\"ts\":{ts},\"actual\":\"1\"}}\n")
}
