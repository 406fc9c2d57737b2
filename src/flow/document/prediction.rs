//! The documents of single events: predictions, orphan labels, host snapshots.
//!
//! A prediction's document ends with its label part. Whether it is written at once with its label, or pending first
//! and updated later, the stored members and their order are the same.

use crate::flow::decode::Record;
use crate::flow::document::Letterhead;
use crate::flow::document::name::Dataset;
use crate::flow::event::{Prediction, Timestamp, Value};
use crate::flow::json;
use crate::flow::json::{write_integer, write_number, write_text};

/// A prediction's document, up to its label part.
#[derive(Debug)]
pub struct PredictionDocument<'d, 'a> {
    /// The prediction.
    pub prediction: &'d Prediction<'a>,
    /// The names of its slice values.
    pub slice_names: &'d [String],
    /// The host's name, as JSON text.
    pub host_name: &'d [u8],
    /// What the host did: JSON members, perhaps none.
    pub host: &'d [u8],
    /// The record, where it is kept.
    pub record: Option<&'d Record<'d, 'd>>,
}

impl PredictionDocument<'_, '_> {
    /// Writes everything before the label part: an open object, without a comma at its end.
    pub fn write_head(&self, letterhead: &Letterhead, now: Timestamp, out: &mut Vec<u8>) {
        let prediction = self.prediction;
        letterhead.open(prediction.time, Dataset::Prediction, now, out);
        out.extend_from_slice(b",\"model\":{\"name\":");
        write_text(&prediction.model, out);
        if !prediction.version.is_empty() {
            out.extend_from_slice(b",\"version\":");
            write_text(&prediction.version, out);
        }
        out.extend_from_slice(b"},\"prediction\":{\"id\":");
        write_text(&prediction.id, out);
        if let Some(row) = prediction.row {
            out.extend_from_slice(b",\"row\":");
            write_integer(row, out);
        }
        if let Some(value) = &prediction.predicted {
            write_value(value, out);
        }
        self.write_scores(out);
        if let Some(latency) = prediction.latency_ms {
            out.extend_from_slice(b",\"latency_ms\":");
            write_number(latency, out);
        }
        out.push(b'}');
        self.write_slices(out);
        out.extend_from_slice(b",\"host\":{\"name\":");
        out.extend_from_slice(self.host_name);
        out.push(b'}');
        if !self.host.is_empty() {
            out.push(b',');
            out.extend_from_slice(self.host);
        }
        if let Some(record) = self.record {
            out.extend_from_slice(b",\"record\":");
            record.write_json(out);
        }
    }

    fn write_scores(&self, out: &mut Vec<u8>) {
        if let Some(score) = self.prediction.score {
            out.extend_from_slice(b",\"score\":");
            write_number(score, out);
        }
        if !self.prediction.scores.is_empty() {
            out.extend_from_slice(b",\"scores\":{");
            for (index, (class, score)) in self.prediction.scores.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(class, out);
                out.push(b':');
                write_number(*score, out);
            }
            out.push(b'}');
        }
    }

    fn write_slices(&self, out: &mut Vec<u8>) {
        let mut separator: &[u8] = b",\"slice\":{";
        for (name, value) in self.slice_names.iter().zip(&self.prediction.slices) {
            if let Some(value) = value {
                out.extend_from_slice(separator);
                write_text(name, out);
                out.push(b':');
                write_text(value, out);
                separator = b",";
            }
        }
        if separator == b"," {
            out.push(b'}');
        }
    }
}

/// Writes the label part over what is stored, unless that is newer: no write that comes late beats a later one.
///
/// A request of ours may still wait in the cluster when the next one is done: it timed out, or the agent that sent it was
/// killed. Windows are safe from it by their external version, which `update` does not know. So this rule of
/// [`Truth::against`](crate::flow::join::Truth::against) is kept by the cluster, too: the latest label time wins, and of
/// equal times the label that was changed more often. What is there already is not written again.
const UNLESS_NEWER: &str = "def s=ctx._source;def n=params.label;def w=s.label?:[:];\
    def c=w.time==null||n.time==null?0:w.time.compareTo(n.time);\
    if(w.equals(n)||c>0||c==0&&(w.revision?:-1)>(n.revision?:0)){ctx.op='none'}else{s.putAll(params)}";

/// Writes the source line of an `update`: `part`, and, where it is still at hand, the whole document's head for the case
/// that none is stored.
pub fn write_label_update(part: &LabelPart<'_>, head: Option<&[u8]>, out: &mut Vec<u8>) {
    // Nothing in the script has to be escaped.
    out.extend_from_slice(b"{\"script\":{\"source\":\"");
    out.extend_from_slice(UNLESS_NEWER.as_bytes());
    out.extend_from_slice(b"\",\"params\":{");
    let start = out.len();
    part.write(out);
    let end = out.len();
    out.extend_from_slice(b"}}");
    if let Some(head) = head {
        out.extend_from_slice(b",\"upsert\":");
        out.extend_from_slice(head);
        out.push(b',');
        out.extend_from_within(start..end);
        out.push(b'}');
    }
    out.push(b'}');
}

/// The part of a prediction's document that a label changes.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelPart<'a> {
    /// No label yet.
    Pending,
    /// No label came within the horizon.
    Expired,
    /// The label is there.
    Joined {
        /// The truth.
        actual: Value<'a>,
        /// When it was established.
        time: Option<Timestamp>,
        /// From the prediction's time to the label's, in milliseconds.
        delay_ms: Option<i64>,
        /// How often the label was set or changed.
        revision: u32,
        /// Classification: whether the prediction was right. `None` where the model gave no answer.
        correct: Option<bool>,
        /// Regression: predicted minus actual.
        error: Option<f64>,
    },
}

impl LabelPart<'_> {
    /// Writes the members `"label":{…}` and, once joined, `"outcome":{…}`, without a comma before or behind.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self::Joined {
            actual,
            time,
            delay_ms,
            revision,
            correct,
            error,
        } = self
        else {
            let state: &[u8] = if *self == Self::Pending {
                b"pending"
            } else {
                b"expired"
            };
            out.extend_from_slice(b"\"label\":{\"state\":\"");
            out.extend_from_slice(state);
            out.extend_from_slice(b"\"}");
            return;
        };
        out.extend_from_slice(b"\"label\":{\"state\":\"joined\"");
        write_value(actual, out);
        if let Some(time) = time {
            out.extend_from_slice(b",\"time\":");
            json::write_time(*time, out);
        }
        if let Some(delay) = delay_ms {
            out.extend_from_slice(b",\"delay_ms\":");
            write_integer(*delay, out);
        }
        out.extend_from_slice(b",\"revision\":");
        write_integer(*revision, out);
        out.push(b'}');
        if let Some(correct) = correct {
            out.extend_from_slice(if *correct {
                b",\"outcome\":{\"correct\":true}"
            } else {
                b",\"outcome\":{\"correct\":false}"
            });
        } else if let Some(error) = error {
            out.extend_from_slice(b",\"outcome\":{\"error\":");
            write_number(*error, out);
            out.push(b'}');
        }
    }
}

/// `,"value":"…"` for a class, `,"number":…` for a number.
fn write_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Class(class) => {
            out.extend_from_slice(b",\"value\":");
            write_text(class, out);
        }
        Value::Number(number) => {
            out.extend_from_slice(b",\"number\":");
            write_number(*number, out);
        }
    }
}

/// A label whose prediction has not come.
#[derive(Debug)]
pub struct OrphanDocument<'d> {
    /// The prediction id it names.
    pub id: &'d str,
    /// The model it names.
    pub model: Option<&'d str>,
    /// The truth.
    pub actual: Value<'d>,
    /// When it was established.
    pub time: Option<Timestamp>,
    /// When it came in: its event time where it names none.
    pub arrived: Timestamp,
    /// Its prediction came after all.
    pub joined: bool,
}

impl OrphanDocument<'_> {
    /// Its event time.
    pub fn event_time(&self) -> Timestamp {
        self.time.unwrap_or(self.arrived)
    }

    /// Writes the document.
    pub fn write(&self, letterhead: &Letterhead, now: Timestamp, out: &mut Vec<u8>) {
        letterhead.open(self.event_time(), Dataset::Label, now, out);
        if let Some(model) = self.model {
            out.extend_from_slice(b",\"model\":{\"name\":");
            write_text(model, out);
            out.push(b'}');
        }
        out.extend_from_slice(b",\"prediction\":{\"id\":");
        write_text(self.id, out);
        out.extend_from_slice(if self.joined {
            b"},\"label\":{\"state\":\"joined\""
        } else {
            b"},\"label\":{\"state\":\"orphan\""
        });
        write_value(&self.actual, out);
        if let Some(time) = self.time {
            out.extend_from_slice(b",\"time\":");
            json::write_time(time, out);
        }
        out.extend_from_slice(b"}}");
    }
}

/// One reading of the host.
#[derive(Debug)]
pub struct HostDocument<'d> {
    /// When.
    pub time: Timestamp,
    /// Its name and readings: JSON members.
    pub members: &'d [u8],
}

impl HostDocument<'_> {
    /// Writes the document.
    pub fn write(&self, letterhead: &Letterhead, now: Timestamp, out: &mut Vec<u8>) {
        letterhead.open(self.time, Dataset::Host, now, out);
        out.push(b',');
        out.extend_from_slice(self.members);
        out.push(b'}');
    }
}
