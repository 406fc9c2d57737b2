//! The answer as it reads, and that it stays small whatever a pipeline holds.

use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::config::Config;
use crate::edge::status::board::Report;
use crate::flow::document::Documents;
use crate::flow::engine::{Bounds, Engine, Looked, SeriesView, WindowView};
use crate::flow::event::{Batch, Head, InputId, SourceKey};
use crate::flow::host::{HostSnapshot, Metric};
use crate::flow::quality::{Judgement, Outcome, Scored, Tally, TaskKind, summarise};
use crate::flow::windows::Length;

const PIPELINE: &str = r"
pipeline: fraud
inputs: [{type: file, paths: [a.jsonl], format: json}]
mapping:
  prediction: {when: {event: p}, id: id, time: ts, model: {const: m}, version: version, predicted: class, latency_ms: ms, slices: {country: country}}
  label: {when: {event: l}, id: id, time: ts, actual: class}
task: {kind: TASK}
windows: [1h]
quality: {min_support: 3}
output: {file: {path: out}}
";

/// 2026-11-24T09:00:00Z
const NINE: i64 = 1_795_510_800_000;
const HOUR: i64 = 3_600_000;

/// Three predictions at nine, all labelled, and one at ten: as it is at half past ten.
fn told(task: &str) -> Value {
    told_with(task, "")
}

fn told_with(task: &str, more: &str) -> Value {
    let text = PIPELINE.replace("TASK", task) + more;
    let config = Config::parse("fraud.yml", &text, &|_| None).unwrap();
    let mut engine = Engine::new(config.engine).unwrap();
    let lines = [
        r#"{"event":"p","id":"1","ts":1795510800,"version":"v1","class":"1","ms":20,"country":"DE"}"#,
        r#"{"event":"p","id":"2","ts":1795510801,"version":"v1","class":"1","ms":20,"country":"<b>"}"#,
        r#"{"event":"p","id":"3","ts":1795510802,"version":"v1","class":"0","ms":20,"country":"DE"}"#,
        r#"{"event":"p","id":"4","ts":1795514400,"version":"v1","class":"0","ms":20,"country":"DE"}"#,
        r#"{"event":"l","id":"1","ts":1795510860,"class":"1"}"#,
        r#"{"event":"l","id":"2","ts":1795514460,"class":"0"}"#,
        r#"{"event":"l","id":"3","ts":1795510862,"class":"0"}"#,
        r#"{"event":"l","id":"2","ts":1795514470,"class":"1"}"#,
        r#"{"event":"heartbeat"}"#,
        "{",
    ];
    let bytes = lines.join("\n") + "\n";
    let batch = Batch {
        input: InputId(0),
        source: SourceKey("file-1".into()),
        origin: "a.jsonl".into(),
        kind: None,
        head: Head {
            input: 0,
            offset: bytes.len() as u64,
            evidence: String::new(),
        },
        bytes: bytes.into(),
        base: 0,
        faults: Vec::new(),
        restart: false,
    };
    let half_past_ten = Timestamp(NINE + HOUR + HOUR / 2);
    let mut snapshot = HostSnapshot::new(Timestamp(NINE + 1_000));
    snapshot.set(Metric::CpuTotal, 0.5);
    snapshot.set(Metric::MemoryUsed, 0.25);
    snapshot.set(Metric::Load15, 9.0);
    engine.observe(snapshot, half_past_ten, &mut Documents::default());
    engine.push(&batch, half_past_ten, &mut Documents::default());
    let bounds = Bounds {
        series_max: 2,
        whole_max: 9,
        slice_max: 1,
        windows_max: 9,
        host_max: 9,
    };
    let a_minute_later = half_past_ten.plus(60_000);
    // What is published is held against the rules.
    engine.advance(a_minute_later, &mut Documents::default());
    let view = engine.view(a_minute_later, bounds, &mut Looked::default());
    let board = Board::new(true);
    let vitals = board.enter("fraud");
    vitals.enter(Stage::Running);
    vitals.reports(Report {
        totals: engine.totals().clone(),
        load: engine.load(),
        alerts: engine.alerts(1),
        view: Some(view.into()),
        ..Report::default()
    });
    let mut told = read(&board);
    let agent = told["agent"].take();
    assert_eq!(agent["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        agent["started"].as_i64() > Some(0) && agent["now"].as_i64() >= agent["started"].as_i64()
    );
    // What it holds in memory is not this test's.
    told["pipelines"][0]["waiting"]["open_bytes"].take();
    told
}

fn read(board: &Board) -> Value {
    let mut told: Value = serde_json::from_slice(&answer(board).unwrap().body).unwrap();
    told.sort_all_objects();
    told
}

fn number(told: &Value, pointer: &str) -> f64 {
    let found = told.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no number at {pointer} in {told}"))
}

/// Expected, by hand: predicted 1 1 0, true 1 1 0 after a correction. Wilson's low for 3 of 3 is 3 / (3 + 1.96²) = 0.4385.
#[test]
fn a_binary_pipeline_is_told_in_full() {
    let told = told("binary, positive: \"1\"");
    let current = "/pipelines/0/series/0/current";
    let metric = |name: &str| number(&told, &format!("{current}/metrics/{name}"));
    for name in [
        "coverage/value",
        "accuracy/value",
        "precision/value",
        "recall/value",
        "f1/value",
    ] {
        assert!((metric(name) - 1.0).abs() < 1e-12, "{name}");
    }
    assert!((metric("accuracy/low") - 0.438_5).abs() < 1e-4);
    assert_eq!(
        told.pointer(&format!("{current}/corrected_labels")),
        Some(&1.into())
    );
    assert_eq!(
        told.pointer(&format!("{current}/late_labels")),
        Some(&1.into())
    );
    insta::assert_json_snapshot!(told);
}

/// Of the two countries one value is a hostile text; one alert is shown, and one is left out.
#[test]
fn alerts_are_told_where_there_are_rules() {
    let rules = "agent: {id: a}\nalerts: {rules: [{name: few, metric: counts.predictions, below: 3, min_support: 1, wait: 0s, severity: critical, slices: [country]}]}\n";
    let told = told_with("binary, positive: \"1\"", rules);
    let mut alerts = told["pipelines"][0]["alerts"].clone();
    // It is a hash of all that the alert is about.
    let id = alerts["active"][0]["id"].take();
    assert_eq!(id.as_str().map(str::len), Some(22), "{id}");
    insta::assert_json_snapshot!(alerts);
}

#[test]
fn classes_and_numbers_are_told_by_what_fits_them() {
    let names = |told: &Value| -> Vec<String> {
        let metrics = told.pointer("/pipelines/0/series/0/history/0/metrics");
        let metrics = metrics.and_then(Value::as_object).unwrap();
        metrics.keys().cloned().collect()
    };
    let classes = told("multiclass");
    assert_eq!(
        names(&classes),
        [
            "accuracy",
            "coverage",
            "macro.f1",
            "macro.precision",
            "macro.recall"
        ]
    );
    let counts = classes.pointer("/pipelines/0/series/0/confusion/counts");
    assert_eq!(counts, Some(&serde_json::json!([[1, 0], [0, 2]])));
    let numbers = told("regression");
    assert_eq!(names(&numbers), ["bias", "coverage", "mae", "r2", "rmse"]);
    assert_eq!(numbers.pointer("/pipelines/0/series/0/confusion"), None);
    let kind = numbers.pointer("/pipelines/0/task");
    assert_eq!(kind, Some(&serde_json::json!({"kind": "regression"})));
}

/// A window of as many classes as a pipeline may have, with names as long as a record.
fn crowded(classes: u32) -> WindowView {
    let task = TaskKind::Multiclass {
        classes: Vec::new(),
    };
    let mut tally = Tally::default();
    for class in 0..classes {
        let scored = Scored {
            predicted: Outcome::Class(class),
            score: None,
            scores: &[],
            latency_ms: Some(0.1),
        };
        tally.predict(&task, &scored);
        tally.label(
            &task,
            &scored,
            Judgement::timeless(Outcome::Class(classes - 1)),
        );
    }
    let names: Vec<String> = (0..classes)
        .map(|class| format!("{class}{}", "\u{1}".repeat(1_000)))
        .collect();
    let name = |class: u32| names.get(class as usize).map_or("", String::as_str);
    WindowView {
        from: Timestamp(NINE),
        until: Timestamp(NINE + HOUR),
        is_filling: false,
        is_final: false,
        summary: summarise(&tally, &task, &name, 30),
        host: None,
    }
}

/// 500 series, 2,500 windows, 20 classes: what the agent asks the engine for, with the longest texts.
#[test]
fn the_answer_is_bounded() {
    let long = "\u{1}".repeat(10_000);
    let (whole, window) = (Arc::new(crowded(1_000)), Arc::new(crowded(3)));
    let series = (0..500).map(|at| SeriesView {
        model: long.clone(),
        version: long.clone(),
        slice_name: long.clone(),
        slice_value: (at >= 6).then(|| long.clone()),
        length: Length::Fixed(HOUR),
        current: Arc::clone(&whole),
        history: vec![window.clone(); 5],
        history_left_out: 0,
    });
    let view = View {
        at: Timestamp(NINE),
        agent_name: long.as_str().into(),
        task: Task::Multiclass {
            classes: Vec::new(),
        },
        min_support: 30,
        series: series.collect(),
        left_out: 0,
        host: vec![HostSnapshot::new(Timestamp(NINE)); 360],
    };
    let board = Board::new(true);
    board.enter("fraud").reports(Report {
        view: Some(view.into()),
        ..Report::default()
    });
    let answer = answer(&board).unwrap();
    assert!(answer.body.len() < 8 << 20, "{}", answer.body.len());
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let confusion = told.pointer("/pipelines/0/series/0/confusion").unwrap();
    assert_eq!(confusion["classes"].as_array().map(Vec::len), Some(20));
    assert_eq!(confusion["classes_left_out"], 980);
    let of_slice = told.pointer("/pipelines/0/series/9/confusion");
    assert_eq!(of_slice, None, "too many classes for a slice");
    let packed = answer.packed().unwrap();
    assert!(packed.len() < answer.body.len() / 10);
}
