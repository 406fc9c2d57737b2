//! Any story of predictions, duplicates, early, late, repeated and contradicting labels, told to an engine that is
//! stopped, killed and resumed anywhere and keeps next to nothing in memory, against a count of the final truth that
//! knows no windows, no join, no disk and no order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{Index, NINE, batch, settings};
use super::*;
use crate::flow::join::shelf::Shelf;

const HOUR: i64 = 3_600_000;
const CLASSES: [&str; 3] = ["fraud", "legit", "chargeback"];
const COUNTRIES: [&str; 2] = ["DE", "FR"];

#[derive(Clone, Debug)]
enum Step {
    Predict { id: u8, version: u8, class: usize, hour: i64, country: usize },
    Label { id: u8, class: usize, minute: Option<i64> },
    Wait(i64),
    Restart,
    /// A checkpoint is made, and is on its way.
    Checkpoint,
    /// It is saved; the engine hears of it, or not yet.
    Save { heard: bool },
    /// The process is killed, and what was read since the last saved checkpoint is read again.
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u8, 0..2_u8, 0..3_usize, 0..2_i64, 0..2_usize)
            .prop_map(|(id, version, class, hour, country)| Step::Predict { id, version, class, hour, country }),
        5 => (0..5_u8, 0..3_usize, prop::option::weighted(0.8, 0..180_i64))
            .prop_map(|(id, class, minute)| Step::Label { id, class, minute }),
        1 => (0..20_000_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        2 => Just(Step::Checkpoint),
        2 => any::<bool>().prop_map(|heard| Step::Save { heard }),
        1 => Just(Step::Crash),
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
            _ => None,
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
        Step::Wait(_) | Step::Restart | Step::Checkpoint | Step::Save { .. } | Step::Crash => None,
    }
}

/// An engine with its store and its checkpoints.
struct Machine {
    settings: Settings,
    engine: Engine,
    shelf: Shelf,
    index: Index,
    now: i64,
    /// The checkpoint on its way, and how many steps it knows.
    under_way: Option<(Checkpoint, usize)>,
    saved: Option<(Checkpoint, usize)>,
}

impl Machine {
    fn new(settings: Settings) -> Self {
        let shelf = Shelf::default();
        let mut engine = Engine::new(settings.clone()).unwrap();
        engine.spill_to(Box::new(shelf.clone()));
        Self { settings, engine, shelf, index: Index::default(), now: NINE + 4 * HOUR, under_way: None, saved: None }
    }

    fn push(&mut self, step: &Step) {
        let mut out = Documents::default();
        if let Some(line) = line(step) {
            self.engine.push(&batch(&[line]), Timestamp(self.now), &mut out);
        }
        self.engine.advance(Timestamp(self.now), &mut out);
        assert_eq!(out.dead_letters, []);
        assert_eq!(self.engine.fault(), None);
        self.index.store(&out);
    }

    fn save(&mut self, heard: bool) {
        if let Some((checkpoint, steps)) = self.under_way.take() {
            self.shelf.apply(&checkpoint.cold);
            if heard {
                self.engine.committed(checkpoint.cold.edges.number);
            }
            self.saved = Some((checkpoint, steps));
        }
    }

    /// Dies, and reads again what came after the last saved checkpoint.
    fn crash(&mut self, steps: &[Step]) {
        self.under_way = None;
        // Versions go on from the clock, and starting takes a moment.
        self.now += 1_000;
        let (engine, known) = match &self.saved {
            Some((checkpoint, known)) => (Engine::resume(self.settings.clone(), checkpoint).unwrap(), *known),
            None => (Engine::new(self.settings.clone()).unwrap(), 0),
        };
        self.engine = engine;
        self.engine.spill_to(Box::new(self.shelf.clone()));
        for step in &steps[known..] {
            self.push(step);
        }
    }

    fn take(&mut self, steps: &[Step], at: usize) {
        match &steps[at] {
            Step::Wait(milliseconds) => self.now += milliseconds,
            Step::Checkpoint => self.under_way = Some((self.engine.checkpoint().unwrap(), at)),
            Step::Save { heard } => self.save(*heard),
            Step::Restart => {
                self.under_way = Some((self.engine.checkpoint().unwrap(), at));
                self.save(true);
                self.crash(&steps[..at]);
            }
            Step::Crash => self.crash(&steps[..at]),
            Step::Predict { .. } | Step::Label { .. } => {}
        }
        self.push(&steps[at]);
    }
}

proptest! {
    #[test]
    fn windows_equal_a_count_of_the_final_truth(
        steps in prop::collection::vec(step(), 1..80),
        state_bytes_max in prop_oneof![2 => Just(0), 1 => 0..5_000_usize, 1 => Just(1 << 20)],
    ) {
        let mut settings = settings();
        settings.join.state_bytes_max = state_bytes_max;
        let mut machine = Machine::new(settings);
        for at in 0..steps.len() {
            machine.take(&steps, at);
        }
        let mut out = Documents::default();
        machine.engine.finish(Timestamp(machine.now + 1), &mut out);
        let mut index = machine.index;
        index.store(&out);
        prop_assert_eq!(published(&index), recount(&steps));
        // And each stored prediction says what its label is in the end.
        let judged = recount(&steps).iter().filter(|((.., slice), _)| slice.is_none()).map(|(_, counts)| counts.get("labelled").copied().unwrap_or(0)).sum::<u64>();
        let joined = index.of("modelbeat.prediction").iter().filter(|document| document["label"]["state"] == "joined").count();
        prop_assert_eq!(joined as u64, judged);
    }
}
