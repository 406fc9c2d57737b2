//! What people are told of an alert: one notice a change that concerns them.
//!
//! Invariant: the id follows from the alert and the number of its change, so that the same change, found again in a replay, is
//! the same notice. A notice rides behind the documents of its step and is durable with the checkpoint behind them.

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;

/// One change of an alert, as it is told to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The alert's id, a dot, and the number of the change: the same after every replay, so an idempotency key.
    pub id: String,
    /// The alert: from pipeline, agent, rule, model, version, slice and first window. `_id` of its first document starts with it.
    pub alert_id: String,
    /// The pipeline.
    pub pipeline: String,
    /// The rule's name.
    pub rule: String,
    /// What happened.
    pub change: Change,
    /// How bad the rule says it is.
    pub severity: Severity,
    /// Model name; empty where the rule is about no model (host figures, silence of a pipeline).
    pub model: String,
    /// Model version; empty where there is none.
    pub version: String,
    /// Name and value of the slice; `None` for the whole.
    pub slice: Option<(String, String)>,
    /// First millisecond of the window that brought the change; `None` where no window did.
    pub window_start: Option<Timestamp>,
    /// The first millisecond behind that window.
    pub window_end: Option<Timestamp>,
    /// What was measured, in the metric's unit; `None` where there is no number.
    pub value: Option<f64>,
    /// What the value was held against, in words: `recall below 0.9`.
    pub threshold: String,
    /// Why this change came about: one sentence without a full stop.
    pub reason: String,
    /// When the change was found, by the agent's clock.
    pub at: Timestamp,
    /// When the alert began to fire, by the agent's clock.
    pub starts_at: Timestamp,
    /// Names of the notifiers to tell, from the rule.
    pub notify: Vec<String>,
}

/// What happened to an alert that people are told of. That one is pending is nobody's concern yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It fires.
    Firing,
    /// Somebody has seen it.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// How bad it is, ascending.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth looking at.
    #[default]
    Warning,
    /// Worth getting up for.
    Critical,
}

impl Change {
    /// As documents, log lines and messages say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

impl Severity {
    /// As the pipeline file and documents say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}
