//! What is counted of one window. Every field is an integer, an exact sum or buckets of integers, all signed: a tally is
//! an element of a commutative group, so `merge` may run in any order and [`Tally::correct`] subtracts to the last bit.
//!
//! The engine feeds it: one `predict` for each prediction that enters the window, one `label` when its first label comes,
//! one `correct` for every label that wins against it after that, one `dispute` when two of its labels first differ. Counts are never negative once all parts are merged.

use serde::{Deserialize, Serialize};

use super::bins::Bins;
use super::exact::{Addend, Exact};
use super::regression::Moments;
use super::scores::{Headline, Scores};
use super::sketch::{Place, Sketch};
use super::{Class, Judgement, Outcome, Scored, TaskKind};

/// The counts of one window: mergeable, retractable.
///
/// An empty one takes under 200 bytes; the optional parts are boxed. Fully grown, latencies take some 1.5 KiB and scores some
/// 10 KiB (1,000 bins of distribution and curve; per class for multiclass), a confusion cell 12 bytes: up to 32,767 of a kind. Beyond,
/// counts are wide, and take four times as much.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    revision: u64,
    predictions: i64,
    unanswered: i64,
    labelled: i64,
    duplicates: i64,
    late_labels: i64,
    corrected_labels: i64,
    /// Predictions by the class they name, labelled or not.
    answers: Bins<Class, i64>,
    /// (actual, predicted) → labelled predictions. A cell that drops to zero stays: its document must be rewritten.
    cells: Bins<(Class, Class), i64>,
    timing: Option<Box<Timing>>,
    scores: Option<Box<Scores>>,
    moments: Option<Box<Moments>>,
}

/// Latencies and label delays, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) latency: Sketch,
    pub(crate) latency_sum: Exact,
    pub(crate) label_delay: Sketch,
}

/// The plain counts of a tally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Predictions in the window, duplicates left out.
    pub predictions: u64,
    /// Of these, without a usable answer: failed requests.
    pub unanswered: u64,
    /// Predictions with a label.
    pub labelled: u64,
    /// Predictions that came again under a known id.
    pub duplicates: u64,
    /// Of the labels, those established after the window had closed.
    pub late_labels: u64,
    /// Predictions that got labels which contradict each other, whichever came first.
    pub corrected_labels: u64,
}

/// A prediction as it is counted: worked out once for all the tallies it enters.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    predicted: Outcome,
    /// In milliseconds.
    latency: Option<(Place, Addend)>,
    headline: Option<Headline>,
}

impl Entry {
    /// What a prediction adds to any tally of this task.
    pub fn of(task: &TaskKind, scored: &Scored<'_>) -> Self {
        let latency = scored
            .latency_ms
            .filter(|latency| latency.is_finite() && *latency >= 0.0);
        Self {
            predicted: scored.predicted,
            latency: latency.and_then(|latency| Place::of(latency).zip(Addend::of(latency))),
            headline: Headline::of(task, scored),
        }
    }
}

impl Tally {
    /// A prediction entered the window.
    pub fn predict(&mut self, task: &TaskKind, scored: &Scored<'_>) {
        self.enter(&Entry::of(task, scored));
    }

    /// The same, for a prediction that enters several.
    pub fn enter(&mut self, entry: &Entry) {
        self.revision += 1;
        self.predictions += 1;
        match entry.predicted {
            Outcome::None => self.unanswered += 1,
            Outcome::Class(class) => self.answers.add(class, 1),
            Outcome::Number(_) => {}
        }
        if let Some((place, latency)) = entry.latency {
            let timing = self.timing.get_or_insert_default();
            timing.latency.add_at(place, 1);
            timing.latency_sum.add_one(latency);
        }
        if let Some(headline) = entry.headline {
            self.scores.get_or_insert_default().enter(headline);
        }
    }

    /// A prediction came again; the first stays.
    pub fn duplicate(&mut self) {
        self.revision += 1;
        self.duplicates += 1;
    }

    /// A prediction got its label. [`Outcome::None`] is no label.
    pub fn label(&mut self, task: &TaskKind, scored: &Scored<'_>, judgement: Judgement) {
        if judgement.actual != Outcome::None {
            self.revision += 1;
            self.put(task, scored, judgement, 1);
        }
    }

    /// A label was replaced: takes back exactly all that `old` had added and adds `new`, whose value may be the same
    /// and only its time another. Equal judgements change nothing. `new` may be [`Outcome::None`]: withdrawn.
    pub fn correct(
        &mut self,
        task: &TaskKind,
        scored: &Scored<'_>,
        old: Judgement,
        new: Judgement,
    ) {
        if old != new {
            self.revision += 1;
            self.put(task, scored, old, -1);
            self.put(task, scored, new, 1);
        }
    }

    /// A label lost against another from the start: its cell is listed all the same, with what it counts. So which cells
    /// are listed depends on the labels there are, not on the order they came in, and a replay after a crash rewrites
    /// every document that was published before it.
    pub fn list(&mut self, scored: &Scored<'_>, beaten: Outcome) {
        if let (Outcome::Class(actual), Outcome::Class(predicted)) = (beaten, scored.predicted) {
            self.cells.add((actual, predicted), 0);
        }
    }

    /// For the first time, a prediction has got a label that contradicts another of its labels.
    pub fn dispute(&mut self) {
        self.revision += 1;
        self.corrected_labels += 1;
    }

    /// Adds another tally: of the same window from elsewhere, or of the next window for a longer one.
    pub fn merge(&mut self, other: &Self) {
        self.merge_timed(other);
        if let Some(theirs) = &other.scores {
            self.scores.get_or_insert_default().merge(theirs);
        }
    }

    /// Adds all counts and times, and leaves out scores, which are most of a tally.
    pub fn merge_timed(&mut self, other: &Self) {
        self.merge_counts(other);
        if let Some(theirs) = &other.timing {
            let ours = self.timing.get_or_insert_default();
            ours.latency.merge(&theirs.latency);
            ours.latency_sum.merge(&theirs.latency_sum);
            ours.label_delay.merge(&theirs.label_delay);
        }
    }

    /// Adds all counts, and leaves out times and scores, which are most of a tally.
    pub fn merge_counts(&mut self, other: &Self) {
        self.merge_judged(other);
        self.duplicates += other.duplicates;
        self.late_labels += other.late_labels;
        self.corrected_labels += other.corrected_labels;
    }

    /// Adds what versions are compared by, and leaves out what they are not: times and scores, which are most of a tally.
    pub fn merge_judged(&mut self, other: &Self) {
        self.revision += other.revision;
        self.predictions += other.predictions;
        self.unanswered += other.unanswered;
        self.labelled += other.labelled;
        self.answers.merge(&other.answers);
        self.cells.merge(&other.cells);
        if let Some(theirs) = &other.moments {
            self.moments.get_or_insert_default().merge(theirs);
        }
    }

    /// Adds late labels that were counted elsewhere: of a pane, by each of the windows it is part of.
    pub fn late(&mut self, labels: i64) {
        self.late_labels += labels;
    }

    /// Bytes on the heap, near enough for a bound.
    pub fn heap_bytes(&self) -> usize {
        let counts = self.answers.heap_bytes() + self.cells.heap_bytes();
        let timing = self.timing.as_ref().map_or(0, |timing| {
            size_of::<Timing>()
                + timing.latency.heap_bytes()
                + timing.latency_sum.heap_bytes()
                + timing.label_delay.heap_bytes()
        });
        let scores = self.scores.as_ref().map_or(0, |scores| scores.bytes());
        let moments = self.moments.as_ref().map_or(0, |moments| moments.bytes());
        counts + timing + scores + moments
    }

    /// How many changes were taken in: grows with each, and depends on the input alone.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The plain counts.
    pub fn counts(&self) -> Counts {
        Counts {
            predictions: whole(self.predictions),
            unanswered: whole(self.unanswered),
            labelled: whole(self.labelled),
            duplicates: whole(self.duplicates),
            late_labels: whole(self.late_labels),
            corrected_labels: whole(self.corrected_labels),
        }
    }

    /// Classes as predicted, with how often.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (Class, u64)> {
        let answers = self.answers.iter();
        answers.map(|(class, count)| (class, whole(count)))
    }

    /// ((actual, predicted), count), cells that dropped to zero included.
    pub(crate) fn cells(&self) -> impl Iterator<Item = ((Class, Class), u64)> {
        self.cells.iter().map(|(cell, count)| (cell, whole(count)))
    }

    pub(crate) fn timing(&self) -> Option<&Timing> {
        self.timing.as_deref()
    }

    pub(crate) fn scores(&self) -> Option<&Scores> {
        self.scores.as_deref()
    }

    pub(crate) fn moments(&self) -> Option<&Moments> {
        self.moments.as_deref()
    }

    /// Without what only the way here shows: the number of changes, and cells that once held something.
    #[cfg(test)]
    pub(crate) fn settled(&self) -> Self {
        let mut settled = self.clone();
        settled.revision = 0;
        settled.corrected_labels = 0;
        settled.cells.retain(|count| count != 0);
        settled
    }

    /// Adds (`times` = 1) or takes back (−1) all that one label means.
    fn put(&mut self, task: &TaskKind, scored: &Scored<'_>, judgement: Judgement, times: i64) {
        if judgement.actual == Outcome::None {
            return;
        }
        self.labelled += times;
        self.late_labels += i64::from(judgement.late) * times;
        if let Some(delay) = judgement.delay_ms {
            let timing = self.timing.get_or_insert_default();
            timing.label_delay.add(delay as f64, times);
        }
        match (task, scored.predicted, judgement.actual) {
            (TaskKind::Regression, Outcome::Number(predicted), Outcome::Number(actual)) => {
                self.moments
                    .get_or_insert_default()
                    .put(predicted, actual, times);
            }
            (
                TaskKind::Binary { .. } | TaskKind::Multiclass { .. },
                predicted,
                Outcome::Class(actual),
            ) => {
                if let Outcome::Class(predicted) = predicted {
                    self.cells.add((actual, predicted), times);
                }
                if Scores::apply(task, scored) {
                    let scores = self.scores.get_or_insert_default();
                    scores.label(task, scored, actual, times);
                }
            }
            _ => {}
        }
    }
}

/// A count of a whole (merged) tally; a part may be negative, of which nothing is published.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskKind = TaskKind::Binary { positive: 1 };

    fn says(class: Class) -> Scored<'static> {
        Scored {
            predicted: Outcome::Class(class),
            score: None,
            scores: &[],
            latency_ms: None,
        }
    }

    #[test]
    fn an_empty_tally_is_small() {
        assert!(size_of::<Tally>() < 200, "{}", size_of::<Tally>());
    }

    #[test]
    fn a_cell_that_drops_to_zero_stays_listed() {
        let mut tally = Tally::default();
        tally.predict(&TASK, &says(1));
        let wrong = Judgement {
            actual: Outcome::Class(0),
            delay_ms: Some(5),
            late: true,
        };
        let right = Judgement {
            actual: Outcome::Class(1),
            delay_ms: Some(7),
            ..wrong
        };
        tally.label(&TASK, &says(1), wrong);
        tally.dispute();
        tally.correct(&TASK, &says(1), wrong, right);
        let cells: Vec<_> = tally.cells().collect();
        assert_eq!(cells, [((0, 1), 0), ((1, 1), 1)]);
        let expected = Counts {
            predictions: 1,
            labelled: 1,
            late_labels: 1,
            corrected_labels: 1,
            ..Counts::default()
        };
        assert_eq!(tally.counts(), expected);
        assert_eq!(tally.revision(), 4);
    }

    #[test]
    fn the_same_label_again_changes_nothing() {
        let mut tally = Tally::default();
        tally.predict(&TASK, &says(1));
        tally.label(&TASK, &says(1), Judgement::timeless(Outcome::Class(0)));
        let before = tally.clone();
        tally.correct(
            &TASK,
            &says(1),
            Judgement::timeless(Outcome::Class(0)),
            Judgement::timeless(Outcome::Class(0)),
        );
        assert_eq!(tally, before);
    }

    #[test]
    fn a_failed_request_counts_but_is_not_judged() {
        let mut tally = Tally::default();
        let failed = Scored {
            predicted: Outcome::None,
            ..says(0)
        };
        tally.predict(&TASK, &failed);
        tally.label(&TASK, &failed, Judgement::timeless(Outcome::Class(1)));
        assert_eq!(tally.counts().unanswered, 1);
        assert_eq!(tally.counts().labelled, 1);
        assert_eq!(tally.cells().count(), 0);
    }
}
