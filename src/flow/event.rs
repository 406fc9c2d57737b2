//! The words everybody uses: times, positions, batches of records, and the two events.
//!
//! Borrowed types (`'a`) live as long as the batch they were read from; nothing here allocates.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// A moment, in milliseconds since the Unix epoch, UTC. Event time unless the name says otherwise.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `milliseconds` later; saturates at the ends of time.
    #[must_use]
    pub const fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to here; negative where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Which of the pipeline's `inputs:` a record came in by: its index in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InputId(pub u16);

/// The durable name of one replayable log: one tailed file (by identity, not by path) or one HTTP journal.
///
/// It keys the read heads of a checkpoint, so it must be the same after a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceKey(pub Arc<str>);

impl fmt::Display for SourceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A record's place: what an error message points at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The log.
    pub source: SourceKey,
    /// First byte of the record in it.
    pub offset: u64,
}

/// Where reading of a source goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The input that reads this source.
    pub input: u16,
    /// First byte not yet taken in by the engine.
    pub offset: u64,
    /// What the edge needs to recognise the source again (for a file: path, device, inode, fingerprint). Opaque to flow.
    pub evidence: String,
}

/// What a record is, where its source already says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A model's answer.
    Prediction,
    /// The ground truth for one.
    Label,
}

/// A run of whole records from one source, as the edge hands it to the engine.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The input it came in by.
    pub input: InputId,
    /// The log it was read from.
    pub source: SourceKey,
    /// What to call the source in messages and dead letters: a path, or `http`.
    pub origin: Arc<str>,
    /// Forced kind (HTTP path); otherwise the input's setting or the mapping decides.
    pub kind: Option<Kind>,
    /// Whole records, each ended by a line feed (the last record of a finished source may lack it).
    pub bytes: Bytes,
    /// Offset of `bytes[0]` in the source.
    pub base: u64,
    /// Records that could not be read as such (over-long): dead letters in the making.
    pub faults: Vec<Fault>,
    /// The source's first byte is in this batch or the content was replaced: forget decoder state (a CSV header).
    pub restart: bool,
    /// Where to go on after this batch.
    pub head: Head,
}

/// A stretch of a source that is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// First byte of the stretch in the source.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Why: lower case, no full stop.
    pub reason: String,
    /// As much of it as is worth keeping.
    pub excerpt: Vec<u8>,
}

/// A value as found in a record, before the mapping gives it a meaning.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<'a> {
    /// The path is not in the record.
    #[default]
    Absent,
    /// JSON null, or an empty CSV cell.
    Null,
    /// JSON true or false.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A whole number too large for [`Field::Int`].
    UInt(u64),
    /// Any other number; always finite.
    Float(f64),
    /// Text, unescaped.
    Text(Cow<'a, str>),
    /// An object's scalar members, in order.
    Object(Vec<(Cow<'a, str>, Field<'a>)>),
    /// An array's scalar elements, in order.
    Array(Vec<Field<'a>>),
}

/// A class or a number: what was predicted, or what was true.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A class, in canonical text form.
    Class(Cow<'a, str>),
    /// A regression target.
    Number(f64),
}

/// A model's answer, as mapped from one record.
#[derive(Clone, Debug)]
pub struct Prediction<'a> {
    /// Caller's id: what a label joins on. Canonical text.
    pub id: Cow<'a, str>,
    /// Row in a batch request, where one record holds many predictions.
    pub row: Option<u32>,
    /// Event time.
    pub time: Timestamp,
    /// Model name.
    pub model: Cow<'a, str>,
    /// Model version; empty where the record has none.
    pub version: Cow<'a, str>,
    /// What the model said. `None`: neither `predicted` nor a usable score was there.
    pub predicted: Option<Value<'a>>,
    /// Binary: probability of the positive class, in 0..=1.
    pub score: Option<f64>,
    /// Multiclass: class → probability, in the record's order. Empty where the record has none.
    pub scores: Vec<(Cow<'a, str>, f64)>,
    /// Time the model took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Slice values in the order of the pipeline's `slices`; `None` where the record lacks one.
    pub slices: SmallVec<[Option<Cow<'a, str>>; 4]>,
}

/// A ground-truth label, as mapped from one record.
#[derive(Clone, Debug)]
pub struct Label<'a> {
    /// Id of the prediction it belongs to. Canonical text.
    pub id: Cow<'a, str>,
    /// Row in a batch request.
    pub row: Option<u32>,
    /// When the truth was established, where the record says.
    pub time: Option<Timestamp>,
    /// Model it is meant for; `None`: every model that scored this id.
    pub model: Option<Cow<'a, str>>,
    /// The truth.
    pub actual: Value<'a>,
}

/// What one record turned out to be.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A model's answer.
    Prediction(Prediction<'a>),
    /// Its ground truth.
    Label(Label<'a>),
}
