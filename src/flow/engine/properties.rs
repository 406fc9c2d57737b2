//! Any story of predictions, duplicates, early, late, repeated and contradicting labels, told to an engine that is
//! stopped, killed and resumed anywhere and keeps next to nothing in memory, against a count of the final truth that
//! knows no panes, no join, no disk and no order: in tumbling, hopping and cumulative windows, in slices and their
//! crosses, and version against version.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{Index, NINE, batch, settings};
use super::*;
use crate::flow::join::shelf::Shelf;
use crate::flow::windows::Length;
use crate::flow::windows::shelf::RowShelf;

const HOUR: i64 = 3_600_000;
const CLASSES: [&str; 3] = ["fraud", "legit", "chargeback"];
const COUNTRIES: [&str; 2] = ["DE", "FR"];
const DEVICES: [&str; 2] = ["pc", "tv,4k"];

#[derive(Clone, Debug)]
enum Step {
    Predict(Predict),
    Label {
        id: u8,
        class: usize,
        minute: Option<i64>,
    },
    Wait(i64),
    Restart,
    /// A checkpoint is made, and is on its way.
    Checkpoint,
    /// It is saved; the engine hears of it, or not yet.
    Save {
        heard: bool,
    },
    /// The process is killed, and what was read since the last saved checkpoint is read again.
    Crash,
}

#[derive(Clone, Copy, Debug)]
struct Predict {
    id: u8,
    version: u8,
    class: usize,
    hour: i64,
    country: usize,
    device: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..5_u8, 0..3_u8, 0..3_usize, 0..3_i64, 0..2_usize, prop::option::of(0..2_usize))
            .prop_map(|(id, version, class, hour, country, device)| Step::Predict(Predict { id, version, class, hour, country, device })),
        5 => (0..5_u8, 0..3_usize, prop::option::weighted(0.8, 0..300_i64))
            .prop_map(|(id, class, minute)| Step::Label { id, class, minute }),
        1 => (0..20_000_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        2 => Just(Step::Checkpoint),
        2 => any::<bool>().prop_map(|heard| Step::Save { heard }),
        1 => Just(Step::Crash),
    ]
}

/// Tumbling, hopping, cumulative; two slices and their cross.
fn story_settings() -> Settings {
    let mut settings = settings();
    settings.windows = vec![
        Length::Fixed(HOUR),
        Length::Hopping {
            length: 2 * HOUR,
            every: HOUR,
        },
        Length::Cumulative,
    ];
    let prediction = settings.mapping.prediction.as_mut().unwrap();
    prediction
        .slices
        .push(("device".into(), "segment.device".into()));
    settings.slice_crosses = vec![vec!["country".into(), "device".into()]];
    settings
}

/// Counts by their names in the document.
type Counts = BTreeMap<&'static str, u64>;

/// Length, start and slice, as text.
type Place = (&'static str, String, String);

impl Predict {
    /// The windows and slices it belongs to, with the hour each window ends.
    fn places(&self) -> Vec<(Place, i64)> {
        let Self { hour, .. } = *self;
        let mut slices = vec![
            "_all".to_owned(),
            format!("country={}", COUNTRIES[self.country]),
        ];
        if let Some(device) = self.device {
            slices.push(format!("device={}", DEVICES[device]));
            slices.push(format!(
                "country,device={},{}",
                COUNTRIES[self.country],
                DEVICES[device].replace(',', "\\,")
            ));
        }
        let windows = [
            ("1h", hour, hour + 1),
            ("2h/1h", hour - 1, hour + 1),
            ("2h/1h", hour, hour + 2),
            ("cumulative", 0, i64::MAX / HOUR),
        ];
        let place = |slice: &String| {
            let slice = slice.clone();
            windows.map(move |(length, start, end)| {
                let start = if length == "cumulative" {
                    String::new()
                } else {
                    format!("2026-11-24T{:02}:00:00.000Z", 9 + start)
                };
                ((length, start, slice.clone()), end)
            })
        };
        slices.iter().flat_map(place).collect()
    }
}

/// First predictions of an (id, version), and what is true of an id in the end.
struct Facts {
    firsts: BTreeMap<(u8, u8), Predict>,
    duplicates: Vec<Predict>,
    /// Label time in minutes, class, whether other labels said otherwise.
    truths: BTreeMap<u8, (Option<i64>, usize, bool)>,
}

fn facts(steps: &[Step]) -> Facts {
    let mut facts = Facts {
        firsts: BTreeMap::new(),
        duplicates: Vec::new(),
        truths: BTreeMap::new(),
    };
    let mut labels: BTreeMap<u8, Vec<(Option<i64>, usize)>> = BTreeMap::new();
    for step in steps {
        match *step {
            Step::Predict(predict) => match facts.firsts.get(&(predict.id, predict.version)) {
                Some(first) => facts.duplicates.push(*first),
                None => {
                    facts.firsts.insert((predict.id, predict.version), predict);
                }
            },
            Step::Label { id, class, minute } => {
                labels.entry(id).or_default().push((minute, class));
            }
            Step::Wait(_) | Step::Restart | Step::Checkpoint | Step::Save { .. } | Step::Crash => {}
        }
    }
    for (id, labels) in labels {
        // `max_by_key` takes the last of equal times; a label without a time comes before every other.
        let Some((minute, class)) = labels.iter().max_by_key(|(minute, _)| *minute).copied() else {
            continue;
        };
        facts.truths.insert(
            id,
            (
                minute,
                class,
                labels
                    .iter()
                    .map(|(_, class)| class)
                    .collect::<BTreeSet<_>>()
                    .len()
                    > 1,
            ),
        );
    }
    facts
}

fn recount(facts: &Facts) -> BTreeMap<(u8, Place), Counts> {
    let mut windows: BTreeMap<(u8, Place), Counts> = BTreeMap::new();
    let mut count = |version: u8, place: &Place, name: &'static str| {
        *windows
            .entry((version, place.clone()))
            .or_default()
            .entry(name)
            .or_default() += 1;
    };
    for duplicate in &facts.duplicates {
        for (place, _) in duplicate.places() {
            count(duplicate.version, &place, "duplicates");
        }
    }
    for (&(id, version), first) in &facts.firsts {
        for (place, end) in first.places() {
            count(version, &place, "predictions");
            let Some(&(minute, actual, disputed)) = facts.truths.get(&id) else {
                continue;
            };
            count(version, &place, "labelled");
            let quadrant = match (first.class == 0, actual == 0) {
                (true, true) => "tp",
                (true, false) => "fp",
                (false, true) => "fn",
                (false, false) => "tn",
            };
            count(version, &place, quadrant);
            if minute.is_some_and(|minute| minute >= end * 60) {
                count(version, &place, "late_labels");
            }
            if disputed {
                count(version, &place, "corrected_labels");
            }
        }
    }
    windows
}

fn version_of(name: &serde_json::Value) -> u8 {
    name.as_str()
        .unwrap()
        .trim_start_matches('v')
        .parse()
        .unwrap()
}

fn place_of(document: &serde_json::Value) -> Place {
    let window = &document["window"];
    let length = match (window["length"].as_str().unwrap(), window.get("every")) {
        ("1h", None) => "1h",
        ("cumulative", None) => "cumulative",
        (length, every) => {
            assert_eq!((length, every.unwrap().as_str().unwrap()), ("2h", "1h"));
            "2h/1h"
        }
    };
    let start = if length == "cumulative" {
        ""
    } else {
        window["start"].as_str().unwrap()
    };
    let slice = &document["slice"];
    let name = slice["name"].as_str().unwrap();
    (
        length,
        start.to_owned(),
        slice.get("value").map_or(name.to_owned(), |value| {
            format!("{name}={}", value.as_str().unwrap())
        }),
    )
}

/// The same counts as [`recount`], from the documents.
fn published(index: &Index) -> BTreeMap<(u8, Place), Counts> {
    let mut windows = BTreeMap::new();
    for window in index.of("modelbeat.quality") {
        let names = [
            "predictions",
            "labelled",
            "tp",
            "fp",
            "fn",
            "tn",
            "duplicates",
            "late_labels",
            "corrected_labels",
        ];
        let counts = names
            .map(|name| (name, window["counts"][name].as_u64().unwrap_or(0)))
            .into_iter();
        let key = (version_of(&window["model"]["version"]), place_of(window));
        assert!(
            windows
                .insert(key, counts.filter(|(_, count)| *count > 0).collect())
                .is_none(),
            "one document a window"
        );
    }
    windows
}

/// Each comparison says what a count of the final truth says, and each version of a window is compared with its baseline.
fn check_comparisons(index: &Index, facts: &Facts) {
    let mut here: BTreeMap<Place, BTreeSet<u8>> = BTreeMap::new();
    for ((_, version), first) in &facts.firsts {
        for (place, _) in first.places() {
            here.entry(place).or_default().insert(*version);
        }
    }
    // Version names are in the order of the numbers.
    let rank = |version: u8| {
        (
            facts
                .firsts
                .values()
                .filter(|first| first.version == version)
                .map(|first| first.hour)
                .min(),
            version,
        )
    };
    let mut due: BTreeSet<(Place, u8, u8)> = BTreeSet::new();
    for (place, versions) in &here {
        for baseline in versions {
            let candidates = versions
                .iter()
                .filter(|version| rank(**version) > rank(*baseline));
            due.extend(candidates.map(|candidate| (place.clone(), *baseline, *candidate)));
        }
    }
    let mut seen = BTreeSet::new();
    for document in index.of("modelbeat.comparison") {
        let (place, comparison) = (place_of(document), &document["comparison"]);
        let [baseline, candidate] =
            ["baseline", "candidate"].map(|side| version_of(&comparison[side]));
        assert!(rank(baseline) < rank(candidate), "{document}");
        assert_eq!(version_of(&document["model"]["version"]), candidate);
        let of = |version: u8| {
            let inside = facts
                .firsts
                .values()
                .filter(move |first| first.version == version);
            let inside =
                inside.filter(|first| first.places().iter().any(|(other, _)| *other == place));
            let judged = inside.filter_map(|first| {
                Some((
                    first.id,
                    (first.class == 0) == (facts.truths.get(&first.id)?.1 == 0),
                ))
            });
            judged.collect::<BTreeMap<u8, bool>>()
        };
        let (ours, theirs) = (of(baseline), of(candidate));
        let both: Vec<_> = ours
            .iter()
            .filter_map(|(id, right)| Some((*right, *theirs.get(id)?)))
            .collect();
        assert_eq!(comparison["pairs"], both.len(), "{document}");
        for (name, disagree) in [
            ("baseline_only", (true, false)),
            ("candidate_only", (false, true)),
        ] {
            let count = both.iter().filter(|pair| **pair == disagree).count();
            assert_eq!(
                comparison["mcnemar"][name].as_u64(),
                (!both.is_empty()).then_some(count as u64),
                "{document}"
            );
        }
        if !ours.is_empty() && !theirs.is_empty() {
            assert_eq!(
                (
                    &comparison["accuracy"]["baseline_count"],
                    &comparison["accuracy"]["candidate_count"]
                ),
                (&ours.len().into(), &theirs.len().into())
            );
        }
        assert!(
            seen.insert((place, baseline, candidate)),
            "one document a pair"
        );
    }
    assert_eq!(due, seen);
}

/// A cumulative window spans the predictions it counts.
fn check_spans(index: &Index, facts: &Facts) {
    for window in index
        .of("modelbeat.quality")
        .into_iter()
        .filter(|window| window["window"]["length"] == "cumulative")
    {
        let (version, place) = (version_of(&window["model"]["version"]), place_of(window));
        let inside = facts.firsts.values().filter(|first| {
            first.version == version && first.places().iter().any(|(other, _)| *other == place)
        });
        let hours: BTreeSet<i64> = inside.map(|first| first.hour).collect();
        let (first, last) = (hours.first().unwrap(), hours.last().unwrap());
        assert_eq!(
            window["window"]["start"],
            format!("2026-11-24T{:02}:00:00.000Z", 9 + first)
        );
        assert_eq!(
            window["window"]["end"],
            format!("2026-11-24T{:02}:00:00.001Z", 9 + last)
        );
        assert_eq!(
            window["@timestamp"],
            format!("2026-11-24T{:02}:00:00.000Z", 9 + last)
        );
        assert_eq!(window["window"]["final"], false);
    }
}

fn line(step: &Step) -> Option<String> {
    match step {
        Step::Predict(Predict {
            id,
            version,
            class,
            hour,
            country,
            device,
        }) => {
            let device = device.map_or("null".into(), |device| format!("{:?}", DEVICES[device]));
            Some(format!(
                r#"{{"event":"prediction","id":"p-{id}","ts":{},"version":"v{version}","predicted":"{}","segment":{{"country":"{}","device":{device}}}}}"#,
                NINE + hour * HOUR,
                CLASSES[*class],
                COUNTRIES[*country]
            ))
        }
        Step::Label { id, class, minute } => {
            let time = minute.map_or("null".into(), |minute| (NINE + minute * 60_000).to_string());
            Some(format!(
                r#"{{"event":"label","id":"p-{id}","ts":{time},"label":"{}"}}"#,
                CLASSES[*class]
            ))
        }
        Step::Wait(_) | Step::Restart | Step::Checkpoint | Step::Save { .. } | Step::Crash => None,
    }
}

/// An engine with its store and its checkpoints.
struct Machine {
    settings: Settings,
    engine: Engine,
    shelf: Shelf,
    rows: RowShelf,
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
        let rows = RowShelf::default();
        engine.spill_windows_to(Box::new(rows.clone()));
        let mut machine = Self {
            settings,
            engine,
            shelf,
            rows,
            index: Index::default(),
            now: NINE + 6 * HOUR,
            under_way: None,
            saved: None,
        };
        machine.begin(0);
        machine
    }

    /// As the agent does: before the first document of a life, a checkpoint that leases its versions.
    fn begin(&mut self, known: usize) {
        let checkpoint = self.engine.start(Timestamp(self.now)).unwrap();
        self.under_way = Some((checkpoint, known));
        self.save(true);
    }

    fn push(&mut self, step: &Step) {
        let mut out = Documents::default();
        if let Some(line) = line(step) {
            self.engine
                .push(&batch(&[line]), Timestamp(self.now), &mut out);
        }
        self.engine.advance(Timestamp(self.now), &mut out);
        assert_eq!(out.dead_letters, []);
        assert_eq!(self.engine.fault(), None);
        self.index.store(&out);
    }

    fn save(&mut self, heard: bool) {
        if let Some((checkpoint, steps)) = self.under_way.take() {
            self.shelf.apply(&checkpoint.cold);
            self.rows.apply(&checkpoint.rows);
            if heard {
                self.engine.committed(checkpoint.cold.edges.number);
            }
            self.saved = Some((checkpoint, steps));
        }
    }

    /// Dies, and reads again what came after the last saved checkpoint.
    fn crash(&mut self, steps: &[Step]) {
        self.under_way = None;
        let (engine, known) = match &self.saved {
            Some((checkpoint, known)) => (
                Engine::resume(self.settings.clone(), checkpoint).unwrap(),
                *known,
            ),
            None => (Engine::new(self.settings.clone()).unwrap(), 0),
        };
        self.engine = engine;
        self.engine.spill_to(Box::new(self.shelf.clone()));
        self.engine.spill_windows_to(Box::new(self.rows.clone()));
        self.begin(known);
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

/// Tells the story to an engine; what Elasticsearch then holds.
fn tell(steps: &[Step], state_bytes_max: usize) -> Index {
    let mut settings = story_settings();
    settings.join.state_bytes_max = state_bytes_max;
    settings.window_bytes_max = state_bytes_max;
    let mut machine = Machine::new(settings);
    for at in 0..steps.len() {
        machine.take(steps, at);
    }
    let mut out = Documents::default();
    machine.engine.finish(Timestamp(machine.now + 1), &mut out);
    let mut index = machine.index;
    index.store(&out);
    index
}

proptest! {
    // A story is long: 64 of them, and as many more as PROPTEST_CASES asks for.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn windows_equal_a_count_of_the_final_truth(
        steps in prop::collection::vec(step(), 1..80),
        state_bytes_max in prop_oneof![2 => Just(0), 1 => 0..5_000_usize, 1 => 5_000..60_000_usize, 1 => Just(1 << 20)],
    ) {
        let (index, facts) = (tell(&steps, state_bytes_max), facts(&steps));
        prop_assert_eq!(published(&index), recount(&facts));
        check_spans(&index, &facts);
        check_comparisons(&index, &facts);
        // And each stored prediction says what its label is in the end.
        let judged = facts.firsts.keys().filter(|(id, _)| facts.truths.contains_key(id)).count();
        let joined = index.of("modelbeat.prediction").iter().filter(|document| document["label"]["state"] == "joined").count();
        prop_assert_eq!(joined, judged);
    }

    /// Two agents beside two replicas of a model, each with its own part of the ids: their partial windows add up.
    #[test]
    fn two_engines_add_up_to_a_count_of_the_final_truth(steps in prop::collection::vec(step(), 1..80)) {
        let mut sum: BTreeMap<(u8, Place), Counts> = BTreeMap::new();
        for replica in [0, 1] {
            let mine = |step: &&Step| match step {
                Step::Predict(Predict { id, .. }) | Step::Label { id, .. } => id % 2 == replica,
                Step::Wait(_) | Step::Restart | Step::Checkpoint | Step::Save { .. } | Step::Crash => true,
            };
            let mine: Vec<Step> = steps.iter().filter(mine).cloned().collect();
            for (window, counts) in published(&tell(&mine, 0)) {
                let total = sum.entry(window).or_default();
                for (name, count) in counts {
                    *total.entry(name).or_default() += count;
                }
            }
        }
        prop_assert_eq!(sum, recount(&facts(&steps)));
    }
}
