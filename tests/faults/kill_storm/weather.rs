//! How hard it storms: what the environment asks for, and the pipeline that has to stand it.

use std::fs;

use super::story::Size;

/// `@JOIN@` and `@QUALITY@` are the storm's settings of memory.
const PIPELINE: &str = r#"
pipeline: storm
agent: {id: storm}
inputs:
  - {type: file, paths: ["logs/renamed.jsonl*", "logs/copied.jsonl*"], format: json}
  - {type: http, listen: 127.0.0.1:0}
mapping:
  prediction:
    when: {event: prediction}
    id: id
    time: ts
    model: {const: credit-card}
    version: version
    predicted: predicted
    score: scores
    slices: {app_channel: channel}
  label: {when: {event: label}, id: id, time: ts, actual: actual}
task: {kind: multiclass}
windows: [1m, 1h]
join: {early_label_ttl: 30d, hold: 1s@JOIN@}
quality: {@QUALITY@}
publish_every: 2s
host: off
operations: {ship: false}
output:
  elasticsearch:
    hosts: ["${ELASTICSEARCH_URL}"]
    index_prefix: ${INDEX_PREFIX}
"#;

/// How hard it storms.
#[derive(Clone, Debug)]
pub(super) struct Weather {
    pub(super) seed: u64,
    pub(super) kills: usize,
    predictions_a_life: usize,
    /// Memory is so little that predictions and windows go to disk.
    is_crowded: bool,
}

impl Weather {
    pub(super) fn from_environment() -> Self {
        let number = |name: &str, default: usize| {
            std::env::var(name).map_or(default, |text| {
                text.parse()
                    .unwrap_or_else(|_| panic!("{name} is no number: {text}"))
            })
        };
        let is_crowded = number("STORM_CROWDED", 0) > 0;
        // The least bound of memory holds some 25,000 of them.
        let predictions_a_life = if is_crowded { 400 } else { 300 };
        Self {
            seed: number("STORM_SEED", 1) as u64,
            kills: number("STORM_KILLS", 6),
            predictions_a_life: number("STORM_PREDICTIONS", predictions_a_life),
            is_crowded,
        }
    }

    pub(super) fn pipeline(&self) -> String {
        if let Some(path) = std::env::var_os("STORM_PIPELINE") {
            return fs::read_to_string(path).expect("the pipeline of STORM_PIPELINE");
        }
        // The least that can be asked for.
        let (join, quality) = if self.is_crowded {
            (", max_state: 8MiB", "max_state: 8MiB")
        } else {
            ("", "")
        };
        PIPELINE
            .replace("@JOIN@", join)
            .replace("@QUALITY@", quality)
    }

    pub(super) fn size(&self) -> Size {
        Size {
            chapters: self.kills,
            predictions_a_chapter: self.predictions_a_life,
        }
    }
}
