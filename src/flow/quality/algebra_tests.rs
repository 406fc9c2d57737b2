//! The law of the room: whatever order events come in, however they are split over tallies, whenever a tally is written down
//! and read again, and in whatever order the parts are merged, the sum equals a batch count over the final truth, to the bit.

use proptest::prelude::*;

use super::histogram::{BINS, Histogram, bin, edge};
use super::*;

const PARTS: usize = 3;

/// One prediction and the labels it gets, the last one being the truth.
#[derive(Clone, Debug)]
struct Story {
    predicted: Outcome,
    score: Option<f64>,
    scores: Vec<(Class, f64)>,
    latency_ms: Option<f64>,
    labels: Vec<Outcome>,
    delay_ms: i64,
    late: bool,
    duplicates: usize,
}

impl Story {
    fn scored(&self) -> Scored<'_> {
        Scored {
            predicted: self.predicted,
            score: self.score,
            scores: &self.scores,
            latency_ms: self.latency_ms,
        }
    }

    /// What its `at`-th label means: each is of a later time than the one before.
    fn judgement(&self, at: usize) -> Judgement {
        Judgement {
            actual: self.labels[at],
            delay_ms: Some(self.delay_ms + at.cast_signed() as i64 * 1_000_000),
            late: self.late ^ (at % 2 == 1),
        }
    }

    /// Its `step`-th event; `None` after the last.
    fn tell(&self, step: usize, task: &TaskKind, tally: &mut Tally) -> Option<()> {
        let scored = self.scored();
        let labels = self.labels.len();
        match step {
            0 => tally.predict(task, &scored),
            1 if labels > 0 => {
                tally.label(task, &scored, self.judgement(0));
            }
            _ if step <= labels => {
                tally.correct(
                    task,
                    &scored,
                    self.judgement(step - 2),
                    self.judgement(step - 1),
                );
            }
            _ if step <= labels + self.duplicates => tally.duplicate(),
            _ => return None,
        }
        Some(())
    }
}

/// What a batch job over the final truth counts.
fn recount(task: &TaskKind, stories: &[Story]) -> Tally {
    let mut tally = Tally::default();
    for story in stories {
        tally.predict(task, &story.scored());
        if let Some(last) = story.labels.len().checked_sub(1) {
            tally.label(task, &story.scored(), story.judgement(last));
        }
        for _ in 0..story.duplicates {
            tally.duplicate();
        }
    }
    tally
}

/// Tells all stories, `choices` deciding which goes on, in which part, and which part restarts from its bytes.
fn interleave(task: &TaskKind, stories: &[Story], choices: &[(usize, usize, bool)]) -> Tally {
    let mut parts = vec![Tally::default(); PARTS];
    let mut open: Vec<(usize, &Story)> = stories.iter().map(|story| (0, story)).collect();
    let mut turn = 0;
    while !open.is_empty() {
        let (who, part, restart) = choices[turn % choices.len()];
        turn += 1;
        let (place, part) = (who % open.len(), part % PARTS);
        if restart {
            let bytes = postcard::to_stdvec(&parts[part]).unwrap();
            parts[part] = postcard::from_bytes(&bytes).unwrap();
        }
        let (step, story) = open[place];
        match story.tell(step, task, &mut parts[part]) {
            Some(()) => open[place].0 += 1,
            None => drop(open.swap_remove(place)),
        }
    }
    let mut whole = Tally::default();
    let first = choices[0].1;
    for part in 0..PARTS {
        whole.merge(&parts[(first + part) % PARTS]);
    }
    whole
}

fn class() -> impl Strategy<Value = Outcome> {
    (0_u32..4).prop_map(Outcome::Class)
}

fn answer() -> impl Strategy<Value = Outcome> {
    prop_oneof![9 => class(), 1 => Just(Outcome::None)]
}

fn number() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(0.0),
        -1e3_f64..1e3,
        prop::num::f64::ANY.prop_filter("labels are finite", |number| number.is_finite()),
    ]
    .prop_map(Outcome::Number)
}

fn score() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        Just(Some(0.0)),
        Just(Some(1.0)),
        Just(Some(f64::NAN)),
        (0.0_f64..=1.0).prop_map(Some),
    ]
}

fn scores() -> impl Strategy<Value = Vec<(Class, f64)>> {
    let score = prop_oneof![Just(0.25), 0.0_f64..=1.0];
    prop::collection::vec(score, 0..6).prop_map(|scores| (0..).zip(scores).collect())
}

fn stories(
    predicted: impl Strategy<Value = Outcome>,
    label: impl Strategy<Value = Outcome>,
) -> impl Strategy<Value = Vec<Story>> {
    let story = (
        predicted,
        score(),
        scores(),
        prop::option::of(0.0_f64..1e5),
        prop::collection::vec(label, 0..5),
        (-1_000_i64..1_000_000, any::<bool>(), 0_usize..2),
    );
    let story = story.prop_map(
        |(predicted, score, scores, latency_ms, labels, rest)| Story {
            predicted,
            score,
            scores,
            latency_ms,
            labels,
            delay_ms: rest.0,
            late: rest.1,
            duplicates: rest.2,
        },
    );
    prop::collection::vec(story, 0..25)
}

fn choices() -> impl Strategy<Value = Vec<(usize, usize, bool)>> {
    prop::collection::vec((0_usize..1_000, 0_usize..PARTS, any::<bool>()), 1..80)
}

fn check(
    task: &TaskKind,
    stories: &[Story],
    choices: &[(usize, usize, bool)],
) -> Result<(), TestCaseError> {
    let (whole, expected) = (interleave(task, stories, choices), recount(task, stories));
    prop_assert_eq!(whole.settled(), expected.settled());
    prop_assert!(whole.revision() >= expected.revision());

    // The published bytes as well, corrections apart, which a batch job cannot know of.
    let publish = |tally: &Tally| {
        let mut summary = summarise(
            tally,
            task,
            &|class| ["d", "c", "b", "a", "z", "y"][class as usize],
            3,
        );
        summary.counts.corrected_labels = 0;
        let mut out = Vec::new();
        summary.write_members(&mut out);
        String::from_utf8(out).unwrap()
    };
    prop_assert_eq!(publish(&whole), publish(&expected));
    Ok(())
}

proptest! {
    #[test]
    fn any_interleaving_of_binary_events_is_a_recount(stories in stories(answer(), class()), choices in choices()) {
        check(&TaskKind::Binary { positive: 1 }, &stories, &choices)?;
    }

    #[test]
    fn any_interleaving_of_multiclass_events_is_a_recount(stories in stories(answer(), class()), choices in choices()) {
        check(&TaskKind::Multiclass { classes: vec![0, 1, 2] }, &stories, &choices)?;
    }

    #[test]
    fn any_interleaving_of_regression_events_is_a_recount(stories in stories(number(), number()), choices in choices()) {
        check(&TaskKind::Regression, &stories, &choices)?;
    }

    #[test]
    fn merging_commutes_and_associates(all in prop::collection::vec(stories(answer(), class()), 3)) {
        let task = TaskKind::Multiclass { classes: Vec::new() };
        let [a, b, c] = [0, 1, 2].map(|part| recount(&task, &all[part]));
        let plus = |left: &Tally, right: &Tally| {
            let mut sum = left.clone();
            sum.merge(right);
            sum
        };
        prop_assert_eq!(plus(&a, &b), plus(&b, &a));
        prop_assert_eq!(plus(&plus(&a, &b), &c), plus(&a, &plus(&b, &c)));
        prop_assert_eq!(plus(&a, &Tally::default()), a);
    }

    #[test]
    fn both_areas_lie_within_their_bounds(rows in prop::collection::vec((0_u32..60, 0.0_f64..0.02, any::<bool>()), 1..80)) {
        // Scores crowd into 20 bins, so that order within a bin matters.
        let rows: Vec<(f64, bool)> = rows.iter().map(|row| (f64::from(row.0 % 3) / 2.0 * 0.9 + row.1, row.2)).collect();
        let mut histogram = Histogram::default();
        for &(score, hit) in &rows {
            histogram.put(score, hit, 1);
        }
        if let Some(area) = histogram.roc_auc() {
            let exact = naive_roc_auc(&rows);
            prop_assert!(area.low <= exact + 1e-12 && exact <= area.high + 1e-12, "{exact} in {area:?}");
            prop_assert!(area.low <= area.value && area.value <= area.high);
        }
        if let Some(area) = histogram.average_precision() {
            let exact = naive_average_precision(&rows);
            prop_assert!(area.low <= exact + 1e-12 && exact <= area.high + 1e-12, "{exact} in {area:?}");
            prop_assert!(area.low <= area.value + 1e-12 && area.value <= area.high + 1e-12);
        }
    }

    #[test]
    fn a_bin_holds_the_scores_from_its_edge_on(score in 0.0_f64..=1.0, near in 0_u16..=BINS, nudge in -1_i8..=1) {
        let beside = match nudge {
            -1 => edge(near).next_down().max(0.0),
            1 => edge(near).next_up().min(1.0),
            _ => edge(near),
        };
        for score in [score, beside] {
            let bin = bin(score);
            prop_assert!(edge(bin) <= score);
            prop_assert!(bin == BINS || score < edge(bin + 1));
        }
    }
}

#[test]
fn a_withdrawn_label_leaves_only_its_trace_in_the_counts() {
    let task = TaskKind::Binary { positive: 1 };
    let scored = Scored {
        predicted: Outcome::Class(1),
        score: Some(0.75),
        scores: &[],
        latency_ms: None,
    };
    let mut tally = Tally::default();
    tally.predict(&task, &scored);
    let label = Judgement::timeless(Outcome::Class(0));
    tally.label(&task, &scored, label);
    tally.dispute();
    tally.correct(&task, &scored, label, Judgement::timeless(Outcome::None));
    let summary = summarise(&tally, &task, &|class| ["no", "yes"][class as usize], 1);
    assert_eq!((summary.counts.labelled, summary.judged), (0, 0));
    assert_eq!(summary.counts.corrected_labels, 1);
    for metric in [
        "accuracy", "f1", "log_loss", "ece", "roc_auc", "mcc", "macro.f1",
    ] {
        assert_eq!(summary.value(metric), None, "{metric}");
        assert!(summary.metric(metric).unwrap().value.is_err(), "{metric}");
    }
    assert_eq!(summary.value("coverage"), Some(0.0));
    assert_eq!(summary.cells().len(), 1, "the emptied cell is rewritten");
    assert_eq!(summary.cells()[0].count, 0);
}

/// By definition: pairs in the right order, ties counting half.
fn naive_roc_auc(rows: &[(f64, bool)]) -> f64 {
    let (mut right, mut pairs) = (0.0, 0.0);
    for high in rows.iter().filter(|row| row.1) {
        for low in rows.iter().filter(|row| !row.1) {
            pairs += 1.0;
            right += match high.0.total_cmp(&low.0) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    right / pairs
}

/// By definition: the precision at each hit's own score, averaged.
fn naive_average_precision(rows: &[(f64, bool)]) -> f64 {
    let hits: Vec<f64> = rows.iter().filter(|row| row.1).map(|row| row.0).collect();
    let precision = |score: f64| {
        let taken: Vec<bool> = rows
            .iter()
            .filter(|row| row.0 >= score)
            .map(|row| row.1)
            .collect();
        taken.iter().filter(|hit| **hit).count() as f64 / taken.len() as f64
    };
    hits.iter().map(|&score| precision(score)).sum::<f64>() / hits.len() as f64
}
