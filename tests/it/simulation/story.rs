//! The story: what is written to the logs, in which era, and how long the silence between two eras is.
//!
//! Within an era the order in which the logs are read must not matter, and only then can a replay, which reads them in
//! another, come to the same end. So the story keeps to what DESIGN §7 leaves to the order of arrival: contradicting labels of the same
//! time stand in one log, and so do different predictions of one id and version; a copy in another log is an exact one.

use modelbeat::flow::event::Kind;

/// 2026-11-03T09:00:00Z
pub(super) const NINE: i64 = 1_793_696_400_000;
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const CLASSES: [&str; 3] = ["fraud", "legit", "chargeback"];
pub(super) const COUNTRIES: [&str; 2] = ["DE", "FR"];

/// A longer record is over-long.
pub(super) const RECORD_BYTES_MAX: usize = 10_000;

/// A text in a record that makes its document longer than a cluster with a small `http.max_content_length` takes.
pub(super) const FAT_BYTES: usize = 8_000;

/// What is switched on. A failing story is told again with less, to find the least that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Means {
    /// Records of the story that are written.
    pub(super) records: usize,
    pub(super) crashes: bool,
    /// The cluster fails, refuses, forgets to answer.
    pub(super) trouble: bool,
    /// Next to nothing fits in memory.
    pub(super) spill: bool,
    /// The clock is set back.
    pub(super) clock: bool,
}

impl Means {
    pub(super) const ALL: Self = Self {
        records: usize::MAX,
        crashes: true,
        trouble: true,
        spill: true,
        clock: true,
    };

    /// Nothing goes wrong.
    pub(super) const NONE: Self = Self {
        crashes: false,
        trouble: false,
        spill: false,
        clock: false,
        ..Self::ALL
    };
}

/// All of it.
#[derive(Debug)]
pub(super) struct Story {
    pub(super) logs: Vec<Log>,
    /// The silence behind each era but the last.
    pub(super) silences: Vec<Silence>,
    pub(super) setting: Setting,
}

/// What the pipeline file says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Nothing expires, and the end is the end of all data.
    pub(super) once: bool,
    pub(super) multiclass: bool,
    pub(super) scores: bool,
    pub(super) hopping: bool,
    pub(super) cumulative: bool,
    pub(super) slices: bool,
    pub(super) mark_expired: bool,
    pub(super) hold_ms: i64,
    pub(super) memory: usize,
}

/// How much time passes between two eras, and so what is over then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The patience of labels without a prediction.
    Patience,
    /// The horizon of predictions, too.
    Horizon,
}

impl Silence {
    pub(super) fn milliseconds(self) -> i64 {
        match self {
            Self::Patience => 3 * DAY,
            Self::Horizon => 31 * DAY,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogKind {
    Json,
    Csv,
    Http,
}

/// One replayable log: a file, or the journal of an HTTP input.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) name: &'static str,
    pub(super) kind: LogKind,
    /// It is deleted once a saved checkpoint has all of it.
    pub(super) goes: bool,
    /// Era and what is written then, in order.
    pub(super) entries: Vec<(usize, Entry)>,
    pub(super) layout: Layout,
}

/// A log as bytes, and what lies where in it.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) text: Vec<u8>,
    /// End of what is written in each era and before.
    pub(super) eras: Vec<usize>,
    /// End of each entry.
    pub(super) entries: Vec<usize>,
    /// Start of each record, and the number of its facts.
    pub(super) records: Vec<(usize, usize)>,
}

impl LogKind {
    /// Its number among the pipeline's inputs.
    pub(super) fn input(self) -> u16 {
        self as u16
    }
}

/// What is written at once: lines of a file, or the body of a post.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// What the path of a post says.
    pub(super) kind: Option<Kind>,
    pub(super) records: Vec<Record>,
}

/// One record, with its line feed.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) text: Vec<u8>,
    pub(super) facts: Vec<Fact>,
}

/// What a record says.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Prediction(Prediction),
    Label(Label),
    /// Unreadable: a dead letter.
    Bad,
    /// Nobody wants it.
    Ignored,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prediction {
    pub(super) id: String,
    pub(super) version: u8,
    /// `None`: the model gave no answer.
    pub(super) class: Option<usize>,
    pub(super) time: i64,
    pub(super) country: Option<usize>,
    pub(super) score: Option<usize>,
    /// Length of a text beside it.
    pub(super) fat: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Label {
    pub(super) id: String,
    pub(super) class: usize,
    pub(super) time: Option<i64>,
}

impl Story {
    /// Lays the logs out.
    pub(super) fn laid_out(mut self) -> Self {
        for log in &mut self.logs {
            let layout = &mut log.layout;
            layout.eras = vec![0; self.silences.len() + 1];
            for (era, entry) in &log.entries {
                for record in &entry.records {
                    layout.records.push((layout.text.len(), record.facts.len()));
                    layout.text.extend_from_slice(&record.text);
                }
                layout.entries.push(layout.text.len());
                layout.eras[*era..].fill(layout.text.len());
            }
        }
        self
    }
}
