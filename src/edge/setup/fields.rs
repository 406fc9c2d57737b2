//! Every field of every document against the templates: it has a mapping, and one that takes its value.
//!
//! A field without a mapping is stored and cannot be searched; one with a wrong mapping has its document refused.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::flow::alert::{self, Basis, Check, Rule, Side, Threshold, Watch, WindowRule};
use crate::flow::document::Documents;
use crate::flow::engine::{Agent, Engine, Input, Operations, Settings};
use crate::flow::event::{Batch, Head, InputId, SourceKey, Timestamp};
use crate::flow::host::{HostSnapshot, Kind as HostKind, Metric};
use crate::flow::mapping::{LabelPaths, PredictionPaths, ScoreSource, Source};
use crate::flow::operation::{Action, Entry, Operation};
use crate::flow::quality::Task;
use crate::flow::windows::Length;
use crate::flow::{decode, join, mapping};

const NINE: i64 = 1_795_510_800_000; // 2026-11-24T09:00:00Z

fn settings(task: Task) -> Settings {
    let path = |path: &str| Source::Path(path.into());
    let score = match &task {
        Task::Binary { .. } => Some(ScoreSource::Path("score".into())),
        Task::Multiclass { classes } => {
            let column = |class: &String| (class.clone(), format!("scores.{class}"));
            Some(ScoreSource::PerClass(classes.iter().map(column).collect()))
        }
        Task::Regression => None,
    };
    let prediction = PredictionPaths {
        when: BTreeMap::from([("event".to_owned(), "prediction".to_owned())]),
        id: "id".into(),
        time: "ts".into(),
        time_format: None,
        model: Source::Const("m".into()),
        version: Some(path("version")),
        predicted: Some("predicted".into()),
        score,
        latency_ms: Some("latency".into()),
        slices: ["country", "device"]
            .map(|name| (name.to_owned(), name.to_owned()))
            .to_vec(),
    };
    let label = LabelPaths {
        when: BTreeMap::from([("event".to_owned(), "label".to_owned())]),
        id: "id".into(),
        time: Some("ts".into()),
        time_format: None,
        model: None,
        actual: "label".into(),
    };
    Settings {
        pipeline: "p".into(),
        agent: Agent {
            id: "agent".into(),
            name: "host".into(),
        },
        index_prefix: "mb".into(),
        inputs: vec![Input {
            format: decode::Format::Json,
            kind: None,
        }],
        mapping: mapping::Settings {
            prediction: Some(prediction),
            label: Some(label),
            timezone: None,
        },
        task,
        windows: vec![
            Length::Fixed(3_600_000),
            Length::Hopping {
                length: 7_200_000,
                every: 3_600_000,
            },
            Length::Cumulative,
        ],
        join: join::Settings::default(),
        slice_values_max: 9,
        slice_crosses: vec![vec!["country".into(), "device".into()]],
        keep_record: true,
        privacy: crate::flow::privacy::Settings::default(),
        publish_every_ms: 1_000,
        min_support: 1,
        window_bytes_max: 64 << 20,
        host_tolerance_ms: 60_000,
        alerts: alerts(),
        expires: true,
    }
}

/// Every window is bad, of the whole and by country.
fn alerts() -> alert::Settings {
    let rule = |name: &str, slices: &[&str]| Rule {
        name: name.into(),
        severity: alert::Severity::Info,
        notify: Vec::new(),
        watch: Watch::Windows(Box::new(WindowRule {
            metric: "quality.coverage".into(),
            window: Length::Fixed(3_600_000),
            model: None,
            version: None,
            slices: slices.iter().map(|name| (*name).into()).collect(),
            min_support: 1,
            windows_in_a_row: 1,
            wait_ms: 0,
            open: false,
            check: Check::Threshold(Threshold {
                side: Side::Above,
                at: -1.0,
                clear: -1.0,
                basis: Basis::Value,
            }),
        })),
    };
    alert::Settings {
        rules: vec![rule("whole", &[]), rule("sliced", &["country"])],
        ..alert::Settings::default()
    }
}

/// A host that reads everything there is to read, then two versions and their labels, and one label too many.
fn documents(task: Task, answers: [&str; 2]) -> Vec<(String, Value)> {
    let mut engine = Engine::new(settings(task)).unwrap();
    let mut out = Documents::default();
    let mut snapshot = HostSnapshot::default();
    snapshot.time = Timestamp(NINE);
    for metric in Metric::all() {
        match metric.kind() {
            HostKind::Integer => snapshot.set(metric, 7_u64),
            HostKind::Float => snapshot.set(metric, 0.5),
            HostKind::Text => snapshot.set(metric, "text"),
        }
    }
    engine.observe(snapshot, Timestamp(NINE), &mut out);
    let mut lines = Vec::new();
    for id in 0..60 {
        for version in ["v1", "v2"] {
            // v2 errs now and then.
            let answer =
                answers[usize::from(id % 3 == 0) ^ usize::from(version == "v2" && id % 2 == 0)];
            lines.push(format!(
                "{{\"event\":\"prediction\",\"id\":\"{id}\",\"ts\":{},\"version\":\"{version}\",\"predicted\":{answer},\"score\":0.{id:02},\
                 \"scores\":{{\"a\":0.25,\"b\":0.75}},\"latency\":{id}.5,\"country\":\"DE\",\"device\":\"pc\"}}\n",
                NINE + 1_000 + id
            ));
        }
        let truth = answers[usize::from(id % 3 == 0)];
        lines.push(format!(
            "{{\"event\":\"label\",\"id\":\"{id}\",\"ts\":{},\"label\":{truth}}}\n",
            NINE + 5_000
        ));
    }
    lines.push(format!(
        "{{\"event\":\"label\",\"id\":\"nobody\",\"ts\":{NINE},\"label\":{}}}\n",
        answers[0]
    ));
    let batch = Batch {
        input: InputId(0),
        source: SourceKey("file".into()),
        origin: "a.jsonl".into(),
        kind: None,
        base: 0,
        bytes: lines.concat().into(),
        head: Head::default(),
        restart: false,
        faults: Vec::new(),
    };
    engine.push(&batch, Timestamp(NINE + 10_000), &mut out);
    engine.push_operations(&happenings(), Timestamp(NINE + 10_000), &mut out);
    engine.finish(Timestamp(NINE + 20_000), &mut out);
    assert_eq!(out.dead_letters, []);
    let document = |item: &crate::flow::document::Item| {
        let (_, source) = out.bytes[item.lines.clone()].split_at(item.action_length);
        let mut source: Value = serde_json::from_slice(source).unwrap();
        if let Some(upsert) = source.get_mut("upsert") {
            source = upsert.take();
        } else if let Some(part) = source.pointer_mut("/script/params") {
            source = part.take();
        }
        (out.index_of(item).to_owned(), source)
    };
    out.items.iter().map(document).collect()
}

/// An entry of the operation log, with every kind of detail.
fn happenings() -> Operations {
    let operation = Operation::failure(Action::DeadLetter, "documents became dead letters");
    let operation = operation
        .with("n", 1)
        .with("on", true)
        .with("list", vec!["a", "b"]);
    Operations {
        source: SourceKey("operations".into()),
        entries: vec![Entry {
            number: 1,
            at: Timestamp(NINE),
            operation,
        }],
        head: Head::default(),
    }
}

/// What the cluster makes of the two templates of an index.
fn mappings(index: &str) -> Value {
    let kind = index.split('-').nth(1).unwrap();
    let (_, own) = TEMPLATES.iter().find(|(name, _)| *name == kind).unwrap();
    let mut all = rendered(COMMON, "mb")["template"]["mappings"].take();
    overlay(&mut all, &rendered(own, "mb")["template"]["mappings"]);
    all
}

fn overlay(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (name, value) in over {
                overlay(under.entry(name).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Why a value would be lost or refused at this path, if it would. `at` is the mapping of the object it is in.
fn complaint(
    mappings: &Value,
    at: &Value,
    dynamic: bool,
    path: &[&str],
    whole: &str,
    value: &Value,
) -> Option<String> {
    let Some((name, rest)) = path.split_first() else {
        return Some("an object's mapping for a single value".into());
    };
    let Some(field) = at["properties"].get(*name) else {
        return if dynamic {
            no_dynamic_template(mappings, whole, value)
        } else {
            Some("no mapping".into())
        };
    };
    match (field["type"].as_str().unwrap_or("object"), value) {
        ("flattened", _) => None,
        ("object", _) if field["enabled"] == false => None,
        ("object", _) => complaint(
            mappings,
            field,
            field["dynamic"].as_bool().unwrap_or(dynamic),
            rest,
            whole,
            value,
        ),
        ("keyword" | "date" | "text", Value::String(_))
        | ("double", Value::Number(_))
        | ("boolean", Value::Bool(_))
            if rest.is_empty() =>
        {
            None
        }
        ("long", Value::Number(number)) if rest.is_empty() && number.is_u64() => None,
        (kind, _) => Some(format!("`{kind}` does not take it")),
    }
}

fn no_dynamic_template(mappings: &Value, path: &str, value: &Value) -> Option<String> {
    let kind = match value {
        // As Elasticsearch has it without a template.
        Value::Bool(_) => return None,
        Value::Number(number) if number.is_f64() => "double",
        Value::Number(_) => "long",
        Value::String(_) => "string",
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Some("neither a number nor a text".into());
        }
    };
    let fits = |template: &&Value| {
        let wanted = template["match_mapping_type"].as_str().unwrap_or("*");
        let pattern = template["path_match"].as_str().unwrap_or("*");
        let (start, end) = pattern.split_once('*').unwrap();
        (wanted == "*" || wanted == kind) && path.starts_with(start) && path.ends_with(end)
    };
    let templates = mappings["dynamic_templates"].as_array().unwrap().iter();
    let found = templates
        .map(|named| named.as_object().unwrap().values().next().unwrap())
        .find(fits);
    found
        .is_none()
        .then(|| format!("no dynamic template for a {kind}"))
}

fn leaves<'v>(value: &'v Value, path: &str, into: &mut Vec<(String, &'v Value)>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                leaves(value, &path, into);
            }
        }
        Value::Array(values) => into.extend(values.first().map(|first| (path.to_owned(), first))),
        single => into.push((path.to_owned(), single)),
    }
}

#[test]
fn every_field_that_is_written_has_a_mapping_that_takes_it() {
    let classes = vec!["a".to_owned(), "b".to_owned()];
    let binary = Task::Binary {
        positive: "a".into(),
        negative: "b".into(),
        threshold: 0.5,
    };
    let documents = [
        documents(binary, ["\"a\"", "\"b\""]),
        documents(Task::Multiclass { classes }, ["\"a\"", "\"b\""]),
        documents(Task::Regression, ["1.5", "2"]),
    ]
    .concat();
    let mut complaints = BTreeSet::new();
    let mut datasets = BTreeSet::new();
    for (index, document) in &documents {
        let mappings = mappings(index);
        datasets.insert(document["event"]["dataset"].as_str().unwrap_or_default());
        let mut found = Vec::new();
        leaves(document, "", &mut found);
        for (path, value) in found {
            let names: Vec<&str> = path.split('.').collect();
            if let Some(complaint) = complaint(&mappings, &mappings, false, &names, &path, value) {
                complaints.insert(format!(
                    "{}: {path}: {complaint}",
                    index.split('-').nth(1).unwrap()
                ));
            }
        }
    }
    let expected = [
        "modelbeat.alert",
        "modelbeat.comparison",
        "modelbeat.confusion",
        "modelbeat.host",
        "modelbeat.label",
        "modelbeat.operation",
        "modelbeat.prediction",
        "modelbeat.quality",
        "modelbeat.quality.class",
        "modelbeat.quality.threshold",
    ];
    assert!(
        expected.iter().all(|dataset| datasets.contains(dataset)),
        "{datasets:?}"
    );
    assert!(complaints.is_empty(), "{complaints:#?}");
}
