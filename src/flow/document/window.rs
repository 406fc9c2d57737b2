//! The documents of a window: its counts and metrics, and beside them, flat so that Kibana can aggregate them, one a
//! class and one a confusion cell.

use crate::flow::document::Letterhead;
use crate::flow::document::name::{Dataset, window_id};
use crate::flow::event::Timestamp;
use crate::flow::json::{write_integer, write_number, write_text, write_time};
use crate::flow::windows::Length;

/// All that tells one window from another.
#[derive(Clone, Debug)]
pub struct WindowIdentity<'d> {
    /// Pipeline name.
    pub pipeline: &'d str,
    /// The agent that counted.
    pub agent_id: &'d str,
    /// Model name.
    pub model: &'d str,
    /// Model version; empty where there is none.
    pub version: &'d str,
    /// Slice name; `_all` for the whole.
    pub slice_name: &'d str,
    /// Slice value.
    pub slice_value: Option<&'d str>,
    /// The window's length.
    pub length: Length,
    /// What tells it from others of its length: its first millisecond, or 0 if it is cumulative.
    pub start: Timestamp,
    /// `window.start`: its first millisecond; if it is cumulative, its earliest prediction so far.
    pub from: Timestamp,
    /// `window.end`: the first millisecond behind it; if it is cumulative, behind its latest prediction so far.
    pub until: Timestamp,
}

impl WindowIdentity<'_> {
    /// The `_id` of the window's document, or (with `part` not empty) of one of its companions.
    pub fn id(&self, part: &[&str]) -> String {
        let (length, start) = (self.length.to_string(), self.start.0.to_string());
        let value = self.slice_value.unwrap_or_default();
        let mut parts = vec![
            self.pipeline,
            self.agent_id,
            self.model,
            self.version,
            self.slice_name,
            value,
            &length,
            &start,
        ];
        parts.extend(part);
        window_id(&parts)
    }

    /// The `_id` of the comparison with `other` version of the model: the same whichever of the two is the baseline.
    pub fn comparison_id(&self, other: &str) -> String {
        let (low, high) = (self.version.min(other), self.version.max(other));
        Self {
            version: "",
            ..self.clone()
        }
        .id(&["comparison", low, high])
    }

    /// `@timestamp`. A cumulative window goes on: it is found where its latest prediction is.
    fn time(&self) -> Timestamp {
        if self.length == Length::Cumulative {
            self.until.plus(-1)
        } else {
            self.from
        }
    }

    /// Writes `"rate":{"predictions_per_second":…},` over the window's whole length, or nothing for no time at all.
    pub fn write_rate(&self, predictions: u64, out: &mut Vec<u8>) {
        // A cumulative window reaches from its earliest prediction to its latest.
        let until = if self.length == Length::Cumulative {
            self.time()
        } else {
            self.until
        };
        let milliseconds = until.since(self.from);
        if milliseconds > 0 {
            out.extend_from_slice(b"\"rate\":{\"predictions_per_second\":");
            write_number(predictions as f64 * 1_000.0 / milliseconds as f64, out);
            out.extend_from_slice(b"},");
        }
    }
}

/// A document of a window.
#[derive(Debug)]
pub struct WindowDocument<'d> {
    /// Which window.
    pub identity: &'d WindowIdentity<'d>,
    /// What the document is.
    pub dataset: Dataset,
    /// How many changes it has taken in.
    pub revision: u64,
    /// No label can change it any more.
    pub last: bool,
}

impl WindowDocument<'_> {
    /// Writes everything that says which window it is: an open object, without a comma at its end.
    pub fn write_head(&self, letterhead: &Letterhead, now: Timestamp, out: &mut Vec<u8>) {
        let identity = self.identity;
        letterhead.open(identity.time(), self.dataset, now, out);
        out.extend_from_slice(b",\"model\":{\"name\":");
        write_text(identity.model, out);
        if !identity.version.is_empty() {
            out.extend_from_slice(b",\"version\":");
            write_text(identity.version, out);
        }
        out.extend_from_slice(b"},\"slice\":{\"name\":");
        write_text(identity.slice_name, out);
        if let Some(value) = identity.slice_value {
            out.extend_from_slice(b",\"value\":");
            write_text(value, out);
        }
        out.extend_from_slice(b"},\"window\":{\"start\":");
        write_time(identity.from, out);
        out.extend_from_slice(b",\"end\":");
        write_time(identity.until, out);
        out.extend_from_slice(b",\"length\":\"");
        out.extend_from_slice(identity.length.text().as_bytes());
        if let Some(every) = identity.length.every() {
            out.extend_from_slice(b"\",\"every\":\"");
            out.extend_from_slice(every.as_bytes());
        }
        out.extend_from_slice(b"\",\"revision\":");
        write_integer(self.revision, out);
        out.extend_from_slice(if self.last {
            b",\"final\":true}"
        } else {
            b",\"final\":false}"
        });
    }
}
