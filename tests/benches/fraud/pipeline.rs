//! The pipeline over that log, as `tests/benches/run` writes it, but for an engine alone; and the log as the edge hands it over.

use std::collections::BTreeMap;

use bytes::Bytes;
use modelbeat::flow::engine::{Agent, Input, Settings};
use modelbeat::flow::event::{Batch, Head, InputId, SourceKey};
use modelbeat::flow::mapping::{LabelPaths, PredictionPaths, ScoreSource, Source};
use modelbeat::flow::quality::Task;
use modelbeat::flow::windows::Length;
use modelbeat::flow::{alert, decode, join, mapping, privacy};

const MINUTE_MS: i64 = 60_000;

/// Of the pipeline; without labels, predictions are not held back.
pub(crate) fn settings(reads_labels: bool) -> Settings {
    Settings {
        pipeline: "bench".into(),
        agent: Agent {
            id: "agent-1".into(),
            name: "host-1".into(),
        },
        index_prefix: "bench".into(),
        inputs: vec![Input {
            format: decode::Format::Json,
            kind: None,
        }],
        mapping: mapping(reads_labels),
        task: task(),
        windows: [1, 60, 24 * 60]
            .map(|minutes| Length::Fixed(minutes * MINUTE_MS))
            .to_vec(),
        join: join::Settings::default(),
        slice_values_max: 200,
        slice_crosses: Vec::new(),
        keep_record: true,
        privacy: privacy::Settings::default(),
        publish_every_ms: 10_000,
        min_support: 1,
        window_bytes_max: 64 << 20,
        host_tolerance_ms: MINUTE_MS,
        alerts: alert::Settings::default(),
        expires: true,
    }
}

pub(crate) fn task() -> Task {
    Task::Binary {
        positive: "fraud".into(),
        negative: "ok".into(),
        threshold: 0.5,
    }
}

pub(crate) fn mapping(reads_labels: bool) -> mapping::Settings {
    let when = |event: &str| BTreeMap::from([("event".to_owned(), event.to_owned())]);
    let prediction = PredictionPaths {
        when: when("prediction"),
        id: "prediction_id".into(),
        time: "ts".into(),
        time_format: None,
        model: Source::Path("model".into()),
        version: Some(Source::Path("model_version".into())),
        predicted: Some("predicted".into()),
        score: Some(ScoreSource::Path("score".into())),
        latency_ms: Some("latency_ms".into()),
        slices: ["country", "device"]
            .map(|name| (name.to_owned(), format!("segment.{name}")))
            .to_vec(),
    };
    let label = LabelPaths {
        when: when("label"),
        id: "prediction_id".into(),
        time: Some("ts".into()),
        time_format: None,
        model: None,
        actual: "label".into(),
    };
    mapping::Settings {
        prediction: Some(prediction),
        label: reads_labels.then_some(label),
        timezone: None,
    }
}

/// A run of whole lines that starts at `base` of its file.
pub(crate) fn batch(base: u64, bytes: Bytes) -> Batch {
    Batch {
        input: InputId(0),
        source: SourceKey("log".into()),
        origin: "log".into(),
        kind: None,
        head: Head {
            input: 0,
            offset: base + bytes.len() as u64,
            evidence: String::new(),
        },
        bytes,
        base,
        faults: Vec::new(),
        restart: false,
    }
}
