//! What is published, member by member, on windows small enough to check by hand.

#![allow(clippy::float_cmp, reason = "the numbers are exact by construction")]

use serde_json::{Value, json};

use super::comparison::{Sides, adjust, compare, mcnemar};
use super::*;

const BINARY: TaskKind = TaskKind::Binary { positive: 1 };
const NAMES: [&str; 3] = ["no", "yes", "maybe"];

fn counted(task: &TaskKind, rows: &[(Outcome, Option<f64>, Outcome)]) -> Tally {
    let mut tally = Tally::default();
    for &(predicted, score, actual) in rows {
        let scored = Scored {
            predicted,
            score,
            scores: &[],
            latency_ms: Some(10.0),
        };
        tally.predict(task, &scored);
        let judgement = Judgement {
            actual,
            delay_ms: Some(60_000),
            late: false,
        };
        tally.label(task, &scored, judgement);
    }
    tally
}

fn class(class: Class) -> Outcome {
    Outcome::Class(class)
}

fn published(tally: &Tally, task: &TaskKind) -> (Summary, Value) {
    let summary = summarise(tally, task, &|class| NAMES[class as usize], 30);
    let document = read(|out| summary.write_members(out));
    (summary, document)
}

fn read(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = b"{".to_vec();
    write(&mut out);
    out.push(b'}');
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_empty_window_has_reasons_instead_of_numbers() {
    let (_, document) = published(&Tally::default(), &BINARY);
    assert_eq!(document["counts"]["predictions"], 0);
    assert_eq!(
        document["quality"]["undefined"]["coverage"],
        "no predictions"
    );
    assert_eq!(
        document["quality"]["undefined"]["accuracy"],
        "no labelled predictions"
    );
    assert_eq!(document["quality"]["low_support"], true);
    for absent in ["interval", "latency", "label_delay", "score"] {
        assert_eq!(document.get(absent), None, "{absent}");
    }
    let (_, document) = published(&Tally::default(), &TaskKind::Regression);
    assert_eq!(
        document["quality"]["undefined"]["absolute_error_p95"],
        "no labelled predictions"
    );
}

#[test]
fn a_small_window_reads_like_this() {
    let mut rows = vec![(class(1), Some(0.9), class(1)); 30];
    rows.push((class(1), Some(0.5), class(0)));
    rows.push((Outcome::None, None, Outcome::None));
    let (summary, document) = published(&counted(&BINARY, &rows), &BINARY);
    assert_eq!(
        document["counts"],
        json!({
            "predictions": 32, "labelled": 31, "judged": 31, "correct": 30, "tp": 30, "fp": 1, "fn": 0, "tn": 0,
            "unanswered": 1, "duplicates": 0, "late_labels": 0, "corrected_labels": 0,
        })
    );
    assert_eq!(document["quality"]["coverage"], 31.0 / 32.0);
    assert_eq!(document["quality"]["recall"], 1.0);
    assert_eq!(document["quality"]["low_support"], false);
    assert_eq!(
        document["quality"]["undefined"],
        json!({"mcc": "labels or predictions are all of one class"})
    );
    assert_eq!(document["interval"]["recall"]["high"], 1.0);
    assert_eq!(
        document["score"]["histogram"],
        json!({"values": [0.525, 0.925], "counts": [1, 30]})
    );
    let cells: Vec<Value> = summary
        .cells()
        .iter()
        .map(|cell| read(|out| cell.write_members(out)))
        .collect();
    assert_eq!(
        cells,
        [
            json!({"confusion": {"actual": "no", "predicted": "yes", "count": 1}}),
            json!({"confusion": {"actual": "yes", "predicted": "yes", "count": 30}}),
        ]
    );
    let row = read(|out| summary.classes()[0].write_members(out));
    assert_eq!(row["class"], json!({"name": "no"}));
    assert_eq!(
        row["counts"],
        json!({"tp": 0, "fp": 0, "fn": 1, "tn": 30, "support": 1, "predicted": 0, "predictions": 0})
    );
    assert_eq!(
        row["quality"]["undefined"]["precision"],
        "the class was never predicted"
    );
    let threshold = read(|out| summary.thresholds()[11].write_members(out));
    assert_eq!(threshold["threshold"], json!({"value": 0.55}));
    assert_eq!(
        threshold["counts"],
        json!({"tp": 30, "fp": 0, "fn": 0, "tn": 1})
    );
}

#[test]
fn a_prediction_without_label_is_seen_in_shares_and_scores() {
    let rows = [
        (class(0), Some(0.1), Outcome::None),
        (class(1), Some(1.0), Outcome::None),
    ];
    let (summary, document) = published(&counted(&BINARY, &rows), &BINARY);
    assert_eq!(document["score"]["mean"], 0.55);
    assert_eq!(
        document["quality"]["undefined"]["roc_auc"],
        "scored labels are all of one class"
    );
    let shares: Vec<Value> = summary
        .classes()
        .iter()
        .map(|row| read(|out| row.write_members(out)))
        .collect();
    assert_eq!(shares[0]["quality"]["share"], 0.5);
    assert_eq!(shares[1]["counts"]["predictions"], 1);
}

#[test]
fn classes_nobody_declared_are_counted() {
    let task = TaskKind::Multiclass {
        classes: vec![0, 1],
    };
    let rows = [
        (class(0), None, class(2)),
        (class(2), None, class(2)),
        (class(1), None, class(1)),
    ];
    let (_, document) = published(&counted(&task, &rows), &task);
    assert_eq!(document["counts"]["undeclared_predicted"], 1);
    assert_eq!(document["counts"]["undeclared_actual"], 2);
}

#[test]
fn a_number_too_large_to_square_is_labelled_but_not_judged() {
    let task = TaskKind::Regression;
    let rows = [
        (Outcome::Number(1e300), None, Outcome::Number(1.0)),
        (Outcome::Number(2.0), None, Outcome::Number(1.0)),
    ];
    let (summary, document) = published(&counted(&task, &rows), &task);
    assert_eq!((summary.counts.labelled, summary.judged), (2, 1));
    assert_eq!(document["quality"]["mae"], 1.0);
    assert_eq!(
        document["quality"]["undefined"],
        json!({"r2": "all actual values are equal"})
    );
    assert_eq!(document["latency"]["mean"], 10.0);
}

#[test]
fn a_score_that_is_no_probability_is_no_score() {
    for score in [f64::NAN, -0.1, 1.1, f64::INFINITY] {
        let (_, document) = published(
            &counted(&BINARY, &[(class(1), Some(score), class(1))]),
            &BINARY,
        );
        assert_eq!(document["quality"].get("brier"), None);
        assert_eq!(document["counts"]["tp"], 1);
    }
}

#[test]
fn two_versions_differ_like_this() {
    let baseline = counted(
        &BINARY,
        &[
            vec![(class(1), None, class(1)); 80],
            vec![(class(1), None, class(0)); 20],
        ]
        .concat(),
    );
    let candidate = counted(
        &BINARY,
        &[
            vec![(class(1), None, class(1)); 90],
            vec![(class(0), None, class(0)); 10],
        ]
        .concat(),
    );
    let mut family = [
        compare(&BINARY, &baseline, &candidate, Some((3, 13))),
        compare(&BINARY, &baseline, &baseline, None),
    ];
    adjust(&mut family);
    let document = read(|out| {
        family[0].write_members(
            Sides {
                baseline: "v1",
                candidate: "v2",
                pairs: 40,
            },
            out,
        );
    });
    let accuracy = &document["comparison"]["accuracy"];
    assert_eq!(
        (
            accuracy["baseline"].as_f64(),
            accuracy["candidate"].as_f64()
        ),
        (Some(0.8), Some(1.0))
    );
    assert_eq!(accuracy["candidate_count"], 100);
    assert!(accuracy["low"].as_f64().unwrap() > 0.0, "{accuracy}");
    // Holm over two slices doubles the smaller p-value.
    assert_eq!(
        accuracy["p_adjusted"].as_f64(),
        accuracy["p_value"].as_f64().map(|p| 2.0 * p)
    );
    let f1 = &document["comparison"]["f1"];
    assert_eq!(f1["candidate"], 1.0);
    assert_eq!(f1.get("p_value"), None);
    assert_eq!(
        document["comparison"]["recall"].get("z"),
        None,
        "both are wholly right"
    );
    // scipy.stats.binomtest(3, 16).pvalue == 0.021270751953125
    assert_eq!(
        document["comparison"]["mcnemar"]["p_value"],
        0.021_270_751_953_125
    );
    assert_eq!(document["comparison"]["mcnemar"]["exact"], true);
    assert_eq!(
        compare(&BINARY, &Tally::default(), &baseline, None).differences,
        []
    );
}

#[test]
fn versions_that_disagree_equally_often_do_not_differ() {
    for pairs in [0, 12, 13, 1_000_000] {
        assert_eq!(mcnemar(pairs, pairs).p_value, 1.0);
    }
    assert!(mcnemar(u64::MAX, 0).p_value < 1e-300);
}
