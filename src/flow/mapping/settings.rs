//! `mapping:` of the pipeline file, as meant.

use std::collections::BTreeMap;

/// The pipeline file's `mapping:`, as meant.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How to read a prediction; `None`: the input holds none.
    pub prediction: Option<PredictionPaths>,
    /// How to read a label.
    pub label: Option<LabelPaths>,
    /// Zone of times that name none (IANA name); UTC if `None`.
    pub timezone: Option<String>,
}

/// Where a value comes from: a constant, or a dotted path into the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `{const: text}`
    Const(String),
    /// `segment.country`; a number is an array index.
    Path(String),
}

/// Where the scores are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScoreSource {
    /// One path: a number (binary), or an object class → probability (multiclass).
    Path(String),
    /// Class → path: each class has its own column.
    PerClass(BTreeMap<String, String>),
}

/// `mapping.prediction`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictionPaths {
    /// Path → text it must equal (canonical form) for the record to be a prediction.
    pub when: BTreeMap<String, String>,
    /// Prediction id.
    pub id: String,
    /// Event time.
    pub time: String,
    /// `strptime` pattern for `time`, where it is neither ISO 8601 nor an epoch number.
    pub time_format: Option<String>,
    /// Model name.
    pub model: Source,
    /// Model version.
    pub version: Option<Source>,
    /// What the model said.
    pub predicted: Option<String>,
    /// Its score or scores.
    pub score: Option<ScoreSource>,
    /// Latency in milliseconds.
    pub latency_ms: Option<String>,
    /// Slice name → path, in the file's order.
    pub slices: Vec<(String, String)>,
}

/// `mapping.label`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelPaths {
    /// Path → text it must equal for the record to be a label.
    pub when: BTreeMap<String, String>,
    /// Id of the prediction it belongs to.
    pub id: String,
    /// When the truth was established; optional.
    pub time: Option<String>,
    /// `strptime` pattern for `time`.
    pub time_format: Option<String>,
    /// Model it is meant for; without it, every model that scored the id.
    pub model: Option<Source>,
    /// The truth.
    pub actual: String,
}
