//! Any story of predictions, duplicates, early, late, repeated and contradicting labels, told to an engine that is stopped
//! and resumed anywhere, against a count of the final truth that knows no windows, no join and no order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{Index, NINE, batch, settings};
use super::*;

const HOUR: i64 = 3_600_000;
const CLASSES: [&str; 3] = ["fraud", "legit", "chargeback"];
const COUNTRIES: [&str; 2] = ["DE", "FR"];

#[derive(Clone, Debug)]
enum Step {
    Predict { id: u8, version: u8, class: usize, hour: i64, country: usize },
    Label { id: u8, class: usize, minute: Option<i64> },
    Wait(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u8, 0..2_u8, 0..3_usize, 0..2_i64, 0..2_usize)
            .prop_map(|(id, version, class, hour, country)| Step::Predict { id, version, class, hour, country }),
        5 => (0..5_u8, 0..3_usize, prop::option::weighted(0.8, 0..180_i64))
            .prop_map(|(id, class, minute)| Step::Label { id, class, minute }),
        1 => (0..20_000_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// Counts by their names in the document.
type Counts = BTreeMap<&'static str, u64>;

/// (version, hour, slice value or nothing for the whole) → counts.
type Windows = BTreeMap<(u8, i64, Option<usize>), Counts>;

fn recount(steps: &[Step]) -> Windows {
    let mut firsts: BTreeMap<(u8, u8), (usize, i64, usize)> = BTreeMap::new();
    let mut windows = Windows::new();
    let mut count = |version: u8, hour: i64, country: usize, name: &'static str| {
        for slice in [None, Some(country)] {
            *windows.entry((version, hour, slice)).or_default().entry(name).or_default() += 1;
        }
    };
    for step in steps {
        if let Step::Predict { id, version, class, hour, country } = *step {
            match firsts.get(&(id, version)) {
                Some((_, hour, country)) => count(version, *hour, *country, "duplicates"),
                None => {
                    firsts.insert((id, version), (class, hour, country));
                    count(version, hour, country, "predictions");
                }
            }
        }
    }
    for ((id, version), (predicted, hour, country)) in firsts {
        let labels = steps.iter().filter_map(|step| match step {
            Step::Label { id: of, class, minute } if *of == id => Some((*minute, *class)),
            Step::Predict { .. } | Step::Label { .. } | Step::Wait(_) | Step::Restart => None,
        });
        let labels: Vec<_> = labels.collect();
        // `max_by_key` takes the last of equal times; a label without a time comes before every other.
        let Some((minute, actual)) = labels.iter().max_by_key(|(minute, _)| *minute).copied() else { continue };
        count(version, hour, country, "labelled");
        let quadrant = match (predicted == 0, actual == 0) {
            (true, true) => "tp",
            (true, false) => "fp",
            (false, true) => "fn",
            (false, false) => "tn",
        };
        count(version, hour, country, quadrant);
        if minute.is_some_and(|minute| minute >= (hour + 1) * 60) {
            count(version, hour, country, "late_labels");
        }
        if labels.iter().map(|(_, class)| class).collect::<BTreeSet<_>>().len() > 1 {
            count(version, hour, country, "corrected_labels");
        }
    }
    windows
}

/// The same counts, from the documents.
fn published(index: &Index) -> Windows {
    let mut windows = Windows::new();
    for window in index.of("modelbeat.quality") {
        let version = if window["model"]["version"] == "v0" { 0 } else { 1 };
        let hour = i64::from(window["window"]["start"] != "2026-11-24T09:00:00.000Z");
        let slice = COUNTRIES.iter().position(|country| window["slice"]["value"] == *country);
        let names = ["predictions", "labelled", "tp", "fp", "fn", "tn", "duplicates", "late_labels", "corrected_labels"];
        let counts = names.map(|name| (name, window["counts"][name].as_u64().unwrap_or(0))).into_iter();
        windows.insert((version, hour, slice), counts.filter(|(_, count)| *count > 0).collect());
    }
    windows
}

fn line(step: &Step) -> Option<String> {
    match step {
        Step::Predict { id, version, class, hour, country } => Some(format!(
            r#"{{"event":"prediction","id":"p-{id}","ts":{},"version":"v{version}","predicted":"{}","segment":{{"country":"{}"}}}}"#,
            NINE + hour * HOUR, CLASSES[*class], COUNTRIES[*country]
        )),
        Step::Label { id, class, minute } => {
            let time = minute.map_or("null".into(), |minute| (NINE + minute * 60_000).to_string());
            Some(format!(r#"{{"event":"label","id":"p-{id}","ts":{time},"label":"{}"}}"#, CLASSES[*class]))
        }
        Step::Wait(_) | Step::Restart => None,
    }
}

proptest! {
    #[test]
    fn windows_equal_a_count_of_the_final_truth(steps in prop::collection::vec(step(), 1..60)) {
        let (mut engine, mut index) = (Engine::new(settings()).unwrap(), Index::default());
        let mut now = NINE + 4 * HOUR;
        for step in &steps {
            let mut out = Documents::default();
            match step {
                Step::Wait(milliseconds) => now += milliseconds,
                Step::Restart => engine = Engine::resume(settings(), &engine.checkpoint().unwrap()).unwrap(),
                Step::Predict { .. } | Step::Label { .. } => engine.push(&batch(&[line(step).unwrap()]), Timestamp(now), &mut out),
            }
            engine.advance(Timestamp(now), &mut out);
            prop_assert_eq!(&out.dead_letters, &[]);
            index.store(&out);
        }
        let mut out = Documents::default();
        engine.finish(Timestamp(now + 1), &mut out);
        index.store(&out);
        prop_assert_eq!(published(&index), recount(&steps));
        // And each stored prediction says what its label is in the end.
        let judged = recount(&steps).iter().filter(|((.., slice), _)| slice.is_none()).map(|(_, counts)| counts.get("labelled").copied().unwrap_or(0)).sum::<u64>();
        let joined = index.of("modelbeat.prediction").iter().filter(|document| document["label"]["state"] == "joined").count();
        prop_assert_eq!(joined as u64, judged);
    }
}
