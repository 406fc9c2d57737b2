//! One change of an alert: the fact itself, its document, and what people are told of it.
//!
//! Invariant: it is decided once, kept until everybody has it, and never made anew; so its document and its notice are the same
//! however often they are sent.

use serde::{Deserialize, Serialize};

use crate::flow::alert::life::Phase;
use crate::flow::alert::notice::{Change, Notice, Severity};
use crate::flow::document::{Dataset, Letterhead};
use crate::flow::event::Timestamp;
use crate::flow::json::{write_integer, write_number, write_text, write_time};

/// What a rule is about: a model's version, or a slice of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// Model name; empty where the rule is about no model.
    pub model: String,
    /// Model version; empty where there is none.
    pub version: String,
    /// Name and value of the slice; `None`: the whole.
    pub slice: Option<(String, String)>,
}

/// The window that brought a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Its first millisecond.
    pub start: Timestamp,
    /// The first millisecond behind it.
    pub end: Timestamp,
    /// `1h`
    pub length: String,
}

/// One change of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The alert.
    pub alert: String,
    /// Which of its changes, from 1.
    pub number: u32,
    /// What it became.
    pub phase: Phase,
    /// The rule's name.
    pub rule: String,
    /// The rule's kind.
    pub kind: String,
    /// The metric; empty for silence.
    pub metric: String,
    /// How bad the rule says it is.
    pub severity: Severity,
    /// Whom it is about.
    pub subject: Subject,
    /// The window that brought it.
    pub window: Option<At>,
    /// What was measured.
    pub value: Option<f64>,
    /// Ends of its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Rows behind it.
    pub support: Option<u64>,
    /// What it was held against, as a number.
    pub limit: Option<f64>,
    /// … and in words.
    pub threshold: String,
    /// Why: one sentence without a full stop.
    pub reason: String,
    /// When it was found, by the agent's clock.
    pub at: Timestamp,
    /// First bad window's start; of silence, when it began.
    pub began: Timestamp,
    /// When the alert began to fire.
    pub fired: Option<Timestamp>,
    /// Nobody is told now.
    pub muted: bool,
    /// Whom to tell.
    pub notify: Vec<String>,
}

impl Event {
    /// `_id` of its document, and id of its notice.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.{}", self.alert, self.number)
    }

    /// What people are told; `None` where they are not.
    #[must_use]
    pub fn notice(&self, pipeline: &str) -> Option<Notice> {
        let change = match self.phase {
            Phase::Pending => return None,
            Phase::Firing => Change::Firing,
            Phase::Acknowledged => Change::Acknowledged,
            Phase::Resolved => Change::Resolved,
        };
        Some(Notice {
            id: self.id(),
            alert_id: self.alert.clone(),
            pipeline: pipeline.to_owned(),
            rule: self.rule.clone(),
            change,
            severity: self.severity,
            model: self.subject.model.clone(),
            version: self.subject.version.clone(),
            slice: self.subject.slice.clone(),
            window_start: self.window.as_ref().map(|window| window.start),
            window_end: self.window.as_ref().map(|window| window.end),
            value: self.value,
            threshold: self.threshold.clone(),
            reason: self.reason.clone(),
            at: self.at,
            starts_at: self.fired?,
            notify: self.notify.clone(),
        })
    }

    /// Writes its document's source, one line of JSON.
    pub fn write(&self, letterhead: &Letterhead, out: &mut Vec<u8>) {
        letterhead.open(self.at, Dataset::Alert, self.at, out);
        if !self.subject.model.is_empty() {
            text(",\"model\":{\"name\":", &self.subject.model, out);
            if !self.subject.version.is_empty() {
                text(",\"version\":", &self.subject.version, out);
            }
            out.push(b'}');
            let (name, value) = match &self.subject.slice {
                Some((name, value)) => (name.as_str(), Some(value)),
                None => ("_all", None),
            };
            text(",\"slice\":{\"name\":", name, out);
            if let Some(value) = value {
                text(",\"value\":", value, out);
            }
            out.push(b'}');
        }
        if let Some(window) = &self.window {
            time(",\"window\":{\"start\":", window.start, out);
            time(",\"end\":", window.end, out);
            text(",\"length\":", &window.length, out);
            out.push(b'}');
        }
        text(",\"rule\":{\"name\":", &self.rule, out);
        text(",\"kind\":", &self.kind, out);
        if !self.metric.is_empty() {
            text(",\"metric\":", &self.metric, out);
        }
        text(",\"threshold\":", &self.threshold, out);
        text("},\"alert\":{\"id\":", &self.alert, out);
        out.extend_from_slice(b",\"number\":");
        write_integer(self.number, out);
        text(",\"state\":", self.phase.name(), out);
        text(",\"severity\":", self.severity.name(), out);
        let (low, high) = self.interval.unzip();
        for (name, number) in [
            ("value", self.value),
            ("low", low),
            ("high", high),
            ("limit", self.limit),
        ] {
            if let Some(number) = number.filter(|number| number.is_finite()) {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                write_number(number, out);
            }
        }
        if let Some(support) = self.support {
            out.extend_from_slice(b",\"support\":");
            write_integer(support, out);
        }
        time(",\"began\":", self.began, out);
        if let Some(fired) = self.fired {
            time(",\"fired\":", fired, out);
        }
        out.extend_from_slice(if self.muted {
            b",\"muted\":true"
        } else {
            b",\"muted\":false"
        });
        text(",\"reason\":", &self.reason, out);
        text("},\"message\":", &self.message(), out);
        out.push(b'}');
    }

    /// For people: `recall-low is firing for fraud v7, country DE: quality.recall below 0.85 in 2 windows (0.79 of 212)`
    #[must_use]
    pub fn message(&self) -> String {
        let (rule, phase, reason) = (&self.rule, self.phase.name(), &self.reason);
        match self.subject.to_string() {
            nobody if nobody.is_empty() => format!("{rule} is {phase}: {reason}"),
            subject => format!("{rule} is {phase} for {subject}: {reason}"),
        }
    }
}

impl std::fmt::Display for Subject {
    /// `fraud v7, country DE`
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.model)?;
        if !self.version.is_empty() {
            write!(formatter, " {}", self.version)?;
        }
        match &self.slice {
            Some((name, value)) => write!(formatter, ", {name} {value}"),
            None => Ok(()),
        }
    }
}

fn text(before: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(before.as_bytes());
    write_text(text, out);
}

fn time(before: &str, time: Timestamp, out: &mut Vec<u8>) {
    out.extend_from_slice(before.as_bytes());
    write_time(time, out);
}
