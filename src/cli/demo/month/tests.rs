//! The month has the shares and delays that its description promises; the bounds are five standard deviations.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn a_seed_is_a_month() {
    assert_eq!(Month::draw(7), Month::draw(7));
    assert_ne!(Month::draw(7), Month::draw(8));
    let incidents: BTreeSet<_> = (0..50)
        .map(|seed| Month::draw(seed).incident)
        .map(|incident| (incident.country, incident.from_ms / DAY_MS))
        .collect();
    assert!(incidents.len() > 8, "{incidents:?}");
}

#[test]
fn events_are_in_order_and_within_the_month() {
    let month = Month::draw(1);
    assert!(month.events.is_sorted_by_key(|event| event.at_ms));
    assert!(month.events.first().unwrap().at_ms >= 0);
    assert!(month.events.last().unwrap().at_ms < DAYS * DAY_MS);
    let Incident {
        from_ms, until_ms, ..
    } = month.incident;
    assert_eq!(from_ms % DAY_MS, 0);
    assert_eq!(until_ms - from_ms, 3 * DAY_MS);
    assert!(until_ms <= 23 * DAY_MS, "its labels have a week to come");
}

#[test]
fn labels_are_late_lost_corrected_and_about_nobody_as_often_as_they_should() {
    let told = Told::of(&Month::draw(3));
    let first_labels = told.labels.values().map(|labels| labels[0]);
    let delays: Vec<i64> = first_labels
        .filter_map(|(at, number, _)| Some(at - told.predictions.get(&number)?.0))
        .collect();
    assert!(
        delays
            .iter()
            .all(|delay| (HOUR_MS..=7 * DAY_MS).contains(delay))
    );

    // What happened in the first three weeks has all its labels but those that never come.
    let old: Vec<usize> = told
        .predictions
        .iter()
        .filter(|(_, (at, ..))| *at < 21 * DAY_MS)
        .map(|(number, _)| *number)
        .collect();
    let share = |is: &dyn Fn(&usize) -> bool| {
        old.iter().filter(|number| is(number)).count() as f64 / old.len() as f64
    };
    check(
        share(&|number| !told.labels.contains_key(number)),
        0.08,
        old.len(),
    );
    let corrected = |number: &usize| {
        let labels = told.labels.get(number);
        labels.is_some_and(|labels| labels[0].2 != labels[labels.len() - 1].2)
    };
    check(share(&corrected), 0.92 * 0.03, old.len());
    let nobodys = told
        .labels
        .keys()
        .filter(|number| !told.predictions.contains_key(number));
    check(nobodys.count() as f64 / 30_000.0, 0.003 * 0.9, 30_000);
    check(told.twice as f64 / 30_000.0, 0.002, 30_000);
}

#[test]
fn recall_falls_in_one_country_during_the_incident_and_the_canary_is_better() {
    // Of ten months together, so that the bounds are narrow.
    let mut caught: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut count = |what, hit| {
        let [hits, all] = caught.entry(what).or_default();
        *hits += usize::from(hit);
        *all += 1;
    };
    for seed in 0..10 {
        let month = Month::draw(seed);
        let told = Told::of(&month);
        for (number, (at, prediction)) in &told.predictions {
            let truth = told.labels.get(number).and_then(|labels| labels.last());
            let Some((_, _, true)) = truth else {
                continue;
            };
            let is_caught = prediction.score >= 0.5;
            let is_there = prediction.country == month.incident.country;
            match (month.incident.is_on(*at), is_there, prediction.version) {
                (true, true, _) => count("incident", is_caught),
                (_, _, "1") => count("1", is_caught),
                (_, _, version) => {
                    assert_eq!(version, "2");
                    assert!(*at >= CANARY_DAY * DAY_MS);
                    count("2", is_caught);
                }
            }
        }
    }
    // A correction that comes after the month is none: a few labels are wrong, and most of those say fraud of what is not.
    for (what, share) in [("incident", 0.25), ("1", 0.84), ("2", 0.91)] {
        let [hits, all] = caught[what];
        let found = hits as f64 / all as f64;
        assert!((found - share).abs() < 0.06, "{what}: {found} of {all}");
    }
}

/// A month by number.
struct Told {
    predictions: BTreeMap<usize, (i64, Prediction)>,
    /// (time, number, is fraud), in order.
    labels: BTreeMap<usize, Vec<(i64, usize, bool)>>,
    twice: usize,
}

impl Told {
    fn of(month: &Month) -> Self {
        let mut told = Self {
            predictions: BTreeMap::new(),
            labels: BTreeMap::new(),
            twice: 0,
        };
        for Event { at_ms, what } in &month.events {
            match what {
                What::Prediction(prediction) => {
                    let entry = (*at_ms, prediction.clone());
                    let before = told.predictions.insert(prediction.number, entry);
                    told.twice += usize::from(before.is_some());
                }
                What::Label(Label { number, is_fraud }) => {
                    let labels = told.labels.entry(*number).or_default();
                    labels.push((*at_ms, *number, *is_fraud));
                }
            }
        }
        told
    }
}

#[track_caller]
fn check(found: f64, share: f64, of: usize) {
    let deviation = (share * (1.0 - share) / of as f64).sqrt();
    assert!(
        (found - share).abs() < 5.0 * deviation,
        "{found}, not {share}"
    );
}
