//! The pipeline of a story, as the engine is told it.

use std::collections::BTreeMap;

use modelbeat::flow::decode::Format;
use modelbeat::flow::engine::{Agent, Input, Settings};
use modelbeat::flow::event::Kind;
use modelbeat::flow::quality::Task;
use modelbeat::flow::windows::Length;
use modelbeat::flow::{join, mapping};

use super::story::{DAY, HOUR, LogKind, Setting};

/// Predictions wait so long for their labels.
const HORIZON_MS: i64 = 30 * DAY;

/// Labels wait so long for their prediction: longer than an era lasts, shorter than a silence.
const PATIENCE_MS: i64 = 2 * DAY;

impl Setting {
    /// The windows' lengths.
    pub(super) fn lengths(self) -> Vec<Length> {
        let mut lengths = vec![Length::Fixed(HOUR)];
        if self.hopping {
            lengths.push(Length::Hopping {
                length: 2 * HOUR,
                every: HOUR,
            });
        }
        if self.cumulative {
            lengths.push(Length::Cumulative);
        }
        lengths
    }

    /// What the engine is told.
    pub(super) fn engine(self) -> Settings {
        let mut inputs = vec![
            Input {
                format: Format::Json,
                kind: None,
            };
            3
        ];
        inputs[usize::from(LogKind::Csv.input())] = Input {
            format: Format::Csv,
            kind: Some(Kind::Prediction),
        };
        Settings {
            pipeline: "simulation".into(),
            agent: Agent {
                id: "agent-1".into(),
                name: "host-1".into(),
            },
            index_prefix: "modelbeat".into(),
            inputs,
            mapping: self.mapping(),
            task: self.task(),
            windows: self.lengths(),
            join: join::Settings {
                label_horizon_ms: HORIZON_MS,
                early_label_ttl_ms: PATIENCE_MS,
                hold_ms: self.hold_ms,
                hold_bytes_max: 2_000,
                mark_expired: self.mark_expired,
                state_bytes_max: self.memory,
            },
            slice_values_max: 200,
            slice_crosses: Vec::new(),
            keep_record: true,
            privacy: modelbeat::flow::privacy::Settings::default(),
            publish_every_ms: 10_000,
            min_support: 1,
            window_bytes_max: self.memory,
            host_tolerance_ms: HOUR,
            alerts: modelbeat::flow::alert::Settings::default(),
            expires: !self.once,
        }
    }

    fn mapping(self) -> mapping::Settings {
        let when = |event: &str| BTreeMap::from([("event".to_owned(), event.to_owned())]);
        let slices = if self.slices {
            vec![("country".to_owned(), "segment.country".to_owned())]
        } else {
            Vec::new()
        };
        let score = mapping::ScoreSource::Path("score".into());
        mapping::Settings {
            prediction: Some(mapping::PredictionPaths {
                when: when("prediction"),
                id: "id".into(),
                time: "ts".into(),
                time_format: None,
                model: mapping::Source::Const("fraud".into()),
                version: Some(mapping::Source::Path("version".into())),
                predicted: Some("predicted".into()),
                score: self.scores.then_some(score),
                latency_ms: None,
                slices,
            }),
            label: Some(mapping::LabelPaths {
                when: when("label"),
                id: "id".into(),
                time: Some("ts".into()),
                time_format: None,
                model: None,
                actual: "label".into(),
            }),
            timezone: None,
        }
    }

    fn task(self) -> Task {
        if self.multiclass {
            Task::Multiclass {
                classes: Vec::new(),
            }
        } else {
            Task::Binary {
                positive: "fraud".into(),
                negative: "legit".into(),
                threshold: 0.5,
            }
        }
    }
}
