//! What happened, as a bank's systems would have logged it: five days of real predictions across the end of a month, two
//! versions of the model, and labels that come minutes to days later, in five batches. Some are corrected, repeated,
//! contradicted by an older one, or name nobody's prediction. Always the same: chance is a hash of the id.

use std::collections::HashMap;
use std::fs;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::nannyml;
use crate::told::{CLASSES, Label, Prediction};

/// The days taken, by how their rows' times begin.
const DAYS: [&str; 5] = [
    "2020-09-28",
    "2020-09-29",
    "2020-09-30",
    "2020-10-01",
    LATE_DAY,
];

/// Its predictions come after two batches of labels.
const LATE_DAY: &str = "2020-10-02";

/// A class that only mistaken labels name, all of which are corrected in the end.
pub(super) const MISTAKEN_CLASS: &str = "debit_card";

pub(super) const BATCHES: usize = 5;

/// How many labels name a prediction that nobody made.
const UNKNOWN: u64 = 40;

pub(super) struct Log {
    /// In order of time, a few of them twice.
    pub(super) predictions: Vec<Prediction>,
    /// Of the last day.
    pub(super) late_predictions: Vec<Prediction>,
    /// In order of arrival, which is not that of their times.
    pub(super) batches: [Vec<Label>; BATCHES],
}

impl Log {
    pub(super) fn of_real_predictions() -> Self {
        let mut log = Self {
            predictions: Vec::new(),
            late_predictions: Vec::new(),
            batches: Default::default(),
        };
        let truths = truths();
        for row in rows() {
            let actual = &truths[&row.id];
            log.label(&row, actual);
            let predictions = if row.time < first_moment(LATE_DAY) {
                &mut log.predictions
            } else {
                &mut log.late_predictions
            };
            let is = |purpose, below| draw(&row.id, purpose, below) == 0;
            if is("shadow", 3) {
                // A second version is asked the same, and answers what it was least sure of.
                let scores = [row.scores[2], row.scores[0], row.scores[1]];
                let best = (0..3).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
                let predicted = CLASSES[best.expect("three")].to_owned();
                predictions.push(Prediction {
                    version: "2",
                    scores,
                    predicted,
                    ..row.clone()
                });
            }
            if is("doubled", 50) {
                predictions.push(row.clone());
            }
            predictions.push(row);
        }
        log.label_nobody();
        log
    }

    /// What the label systems say of one prediction.
    fn label(&mut self, row: &Prediction, truth: &str) {
        let id = &row.id;
        let random = |purpose, below| draw(id, purpose, below);
        let at = |delay_ms| row.time + SignedDuration::from_millis(delay_ms);
        let label = |delay_ms, actual: &str| Label {
            id: id.clone(),
            time: at(delay_ms),
            actual: actual.to_owned(),
        };
        // Five minutes to three and a half days, as many in each doubling.
        let octave = 300_000_i64 << random("octave", 10);
        let delay = octave + signed(random("delay", octave.unsigned_abs()));
        let later = delay + 60_000 + signed(random("later", 86_400_000));
        let other = CLASSES
            .iter()
            .find(|class| **class != truth)
            .expect("three classes");
        let first = usize::try_from(random("first", 4)).expect("small");
        let rest = u64::try_from(BATCHES - 1 - first).expect("small");
        let second = first + 1 + usize::try_from(random("second", rest)).expect("small");
        let last = BATCHES - 1;
        match random("kind", 100) {
            0..8 => {} // never labelled
            8..20 => self.put([(first, label(delay, other)), (second, label(later, truth))]),
            20..26 => self.put([
                (first, label(delay, MISTAKEN_CLASS)),
                (second, label(later, truth)),
            ]),
            26..36 => self.put([(first, label(delay, truth)), (second, label(delay, truth))]),
            36..42 => self.put([(first, label(delay, truth)), (second, label(later, truth))]),
            // Older, and so it loses.
            42..52 => self.put([
                (first, label(delay, truth)),
                (second, label(delay / 2, other)),
            ]),
            // As old: the last to come wins.
            52..55 => self.put([(first, label(delay, truth)), (last, label(delay, other))]),
            // In one batch, the later label first.
            55..60 => self.put([(first, label(later, truth)), (first, label(delay, other))]),
            60..70 => self.put([(last, label(delay, truth))]),
            _ => self.put([(first, label(delay, truth))]),
        }
    }

    fn label_nobody(&mut self) {
        for number in 0..UNKNOWN {
            let id = format!("nobody-{number}");
            let batch = usize::try_from(draw(&id, "first", 5)).expect("small");
            let minute = signed(draw(&id, "minute", 1_000)) * 60_000;
            let label = |delay_ms, actual: &str| Label {
                id: id.clone(),
                time: first_moment(LATE_DAY) + SignedDuration::from_millis(delay_ms),
                actual: actual.to_owned(),
            };
            self.put([(batch, label(minute, CLASSES[0]))]);
            if number % 4 == 0 {
                self.put([(BATCHES - 1, label(minute + 1, CLASSES[1]))]);
            }
        }
    }

    fn put<const N: usize>(&mut self, labels: [(usize, Label); N]) {
        for (batch, label) in labels {
            self.batches[batch].push(label);
        }
    }
}

/// A number below `below` that depends on id and purpose alone.
pub(super) fn draw(id: &str, purpose: &str, below: u64) -> u64 {
    let hash = blake3::hash(format!("{purpose} of {id}").as_bytes());
    let (head, _) = hash.as_bytes().split_first_chunk().expect("32 bytes");
    u64::from_le_bytes(*head) % below
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("small")
}

/// Rows of `mc_analysis.csv`: no field of it is quoted.
fn rows() -> Vec<Prediction> {
    let text = fs::read_to_string(nannyml::data().join("mc_analysis.csv")).expect("fetched");
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|column| *column == name)
            .expect("a column")
    };
    let [id, time, predicted, channel] = ["id", "timestamp", "y_pred", "app_channel"].map(column);
    let scores = CLASSES.map(|class| column(&format!("y_pred_proba_{class}")));
    lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|row| DAYS.iter().any(|day| row[time].starts_with(day)))
        .map(|row| Prediction {
            id: row[id].to_owned(),
            time: utc(row[time]),
            version: "1",
            predicted: row[predicted].to_owned(),
            scores: scores.map(|column| row[column].parse().expect("a number")),
            channel: row[channel].to_owned(),
        })
        .collect()
}

/// Id → class.
fn truths() -> HashMap<String, String> {
    let text = fs::read_to_string(nannyml::data().join("mc_analysis_gt.csv")).expect("fetched");
    let rows = text.lines().filter_map(|line| line.split_once(','));
    rows.map(|(id, actual)| (id.to_owned(), actual.to_owned()))
        .collect()
}

fn first_moment(day: &str) -> Timestamp {
    utc(&format!("{day} 00:00:00"))
}

fn utc(text: &str) -> Timestamp {
    let time: DateTime = text.parse().expect("a time");
    time.to_zoned_datetime(TimeZone::UTC)
        .expect("in range")
        .timestamp()
}
