//! The metrics that a rule may name: the numbers of a window's document, found by writing one.

use serde_json::Value as Json;

use crate::flow::host::Metric;
use crate::flow::quality::comparison::compare;
use crate::flow::quality::{Class, Judgement, Outcome, Scored, Tally, Task, TaskKind, summarise};

/// Names of all numbers that windows of this task have, by their name in the document.
#[must_use]
pub fn metrics(task: &Task) -> Vec<String> {
    let mut names = vec!["rate.predictions_per_second".to_owned()];
    let written = written(task);
    collect("", &written, &mut names);
    for metric in Metric::all().filter(|metric| metric.is_averaged()) {
        names.extend(["avg", "max"].map(|of| format!("{}.{of}", metric.path())));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// Names of the metrics that versions are compared by.
#[must_use]
pub fn compared(task: &Task) -> Vec<String> {
    let (tally, task) = example(task);
    let comparison = compare(&task, &tally, &tally, None);
    let differences = comparison.differences.iter();
    differences
        .map(|one| format!("quality.{}", one.name))
        .collect()
}

/// What the document of a window of the example says.
fn written(task: &Task) -> Json {
    let (tally, task) = example(task);
    let mut bytes = b"{".to_vec();
    summarise(&tally, &task, &|_| "class", 0).write_members(&mut bytes);
    bytes.push(b'}');
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Two predictions with labels, scores and times.
fn example(task: &Task) -> (Tally, TaskKind) {
    let mut classes: Vec<String> = Vec::new();
    let mut intern = |class: &str| {
        let known = classes.iter().position(|known| known == class);
        let place = known.unwrap_or_else(|| {
            classes.push(class.to_owned());
            classes.len() - 1
        });
        Class::try_from(place).unwrap_or(0)
    };
    let task = task.interned(&mut intern);
    let (one, two) = (intern("one"), intern("two"));
    let outcomes = match &task {
        TaskKind::Regression => [Outcome::Number(1.0), Outcome::Number(2.0)],
        TaskKind::Binary { positive } => [Outcome::Class(*positive), Outcome::Class(one)],
        TaskKind::Multiclass { classes } => {
            let declared = |place: usize, other| classes.get(place).copied().unwrap_or(other);
            [
                Outcome::Class(declared(0, one)),
                Outcome::Class(declared(1, two)),
            ]
        }
    };
    let scores: Vec<(Class, f64)> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Class(class) => Some((*class, 0.5)),
            Outcome::None | Outcome::Number(_) => None,
        })
        .collect();
    let mut tally = Tally::default();
    for outcome in outcomes {
        let scored = Scored {
            predicted: outcome,
            score: Some(0.5),
            scores: &scores,
            latency_ms: Some(1.0),
        };
        tally.predict(&task, &scored);
        let judgement = Judgement {
            delay_ms: Some(1),
            ..Judgement::timeless(outcome)
        };
        tally.label(&task, &scored, judgement);
    }
    (tally, task)
}

/// Names of the numbers below `at`. What is undefined in this window, another has.
fn collect(path: &str, at: &Json, names: &mut Vec<String>) {
    let Json::Object(members) = at else {
        if at.is_number() {
            names.push(path.to_owned());
        }
        return;
    };
    for (name, value) in members {
        let path = match (path, name.as_str()) {
            ("", "interval") => continue,
            ("", name) => name.to_owned(),
            ("quality", "undefined") => "quality".to_owned(),
            (path, name) => format!("{path}.{name}"),
        };
        // Of what is undefined, the reason stands where the number would.
        match value {
            Json::String(_) => names.push(path),
            _ => collect(&path, value, names),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names taken from the documents that the engine's snapshots and the quality room's tests show.
    #[test]
    fn what_documents_have_may_be_named() {
        let binary = Task::Binary {
            positive: "fraud".into(),
            negative: "legit".into(),
            threshold: 0.5,
        };
        let all: [(Task, &[&str]); 3] = [
            (
                binary,
                &[
                    "quality.recall",
                    "quality.roc_auc",
                    "quality.macro.f1",
                    "quality.unanswered_rate",
                    "counts.late_labels",
                    "latency.p95",
                    "label_delay.p95",
                    "score.mean",
                    "system.cpu.total.norm.pct.max",
                ],
            ),
            (
                Task::Multiclass {
                    classes: Vec::new(),
                },
                &["quality.accuracy", "quality.macro.recall", "quality.mcc"],
            ),
            (
                Task::Regression,
                &["quality.mae", "quality.r2", "quality.coverage"],
            ),
        ];
        for (task, expected) in all {
            let names = metrics(&task);
            for name in expected {
                assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
            }
            let wrong = [
                "quality.low_support",
                "interval.recall.low",
                "quality.undefined",
            ];
            assert!(
                !names.iter().any(|name| wrong.contains(&name.as_str())),
                "{names:?}"
            );
        }
    }
}
