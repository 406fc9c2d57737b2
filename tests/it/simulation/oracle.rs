//! The oracle: what must be in the index in the end, by the definitions of DESIGN §7, counted from the story as it was made
//! up. It knows no logs' order, no checkpoints, no panes, no versions, and calls nothing of what is tested.

use std::collections::{BTreeMap, BTreeSet};

use super::story::{
    CLASSES, COUNTRIES, Fact, HOUR, Label, NINE, Prediction, Setting, Silence, Story,
};

/// What must be.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// (id, version)
    pub(super) predictions: BTreeMap<(String, u8), Outcome>,
    pub(super) windows: BTreeMap<Place, Window>,
    /// Labels published as orphans: (id, months from the beginning to the index they are in).
    pub(super) orphans: BTreeMap<(String, usize), Label>,
    /// Log and offset of each record that cannot be read.
    pub(super) letters: BTreeSet<(String, u64)>,
    /// Per input: predictions, labels, duplicates, dead letters, ignored.
    pub(super) totals: [[u64; 5]; 3],
}

/// A prediction in the end.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) prediction: Prediction,
    pub(super) label: Option<Label>,
    /// Its horizon ended without one.
    pub(super) expired: bool,
}

/// Version, length, hour it starts (0 if it is cumulative), slice.
pub(super) type Place = (u8, &'static str, i64, String);

/// A window in the end.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// (actual, predicted) → labelled predictions.
    pub(super) cells: BTreeMap<(String, String), u64>,
    pub(super) is_final: bool,
}

/// A prediction that was the first with its id and version.
struct Row {
    prediction: Prediction,
    copies: u64,
    /// Windows it counts in, with the hour each ends.
    places: Vec<(Place, Option<i64>)>,
}

/// What is known so far.
struct Count {
    setting: Setting,
    rows: BTreeMap<(String, u8), Row>,
    /// Labels by id, in an order in which the last of equal times wins.
    labels: BTreeMap<String, Vec<Label>>,
    finals: BTreeSet<(u8, &'static str, i64)>,
    /// Months gone by: a horizon is one.
    months: usize,
    expected: Expected,
}

/// Counts the story.
pub(super) fn count(story: &Story) -> Expected {
    let mut count = Count {
        setting: story.setting,
        rows: BTreeMap::new(),
        labels: BTreeMap::new(),
        finals: BTreeSet::new(),
        months: 0,
        expected: Expected::default(),
    };
    count.letters(story);
    for era in 0..=story.silences.len() {
        for (input, fact) in facts(story, era) {
            count.fact(input, fact);
        }
        let silence = story.silences.get(era).copied();
        if silence.is_some() || story.setting.once {
            count.orphans();
        }
        if silence == Some(Silence::Horizon) {
            count.close();
        }
    }
    count.tally(false);
    count.expected
}

/// What is said in an era, with the input it comes by.
fn facts(story: &Story, era: usize) -> impl Iterator<Item = (usize, &Fact)> {
    story.logs.iter().flat_map(move |log| {
        let entries = log.entries.iter().filter(move |(of, _)| *of == era);
        entries
            .flat_map(|(_, entry)| &entry.records)
            .flat_map(|record| &record.facts)
            .map(|fact| (usize::from(log.kind.input()), fact))
    })
}

impl Count {
    fn letters(&mut self, story: &Story) {
        for log in &story.logs {
            let mut offset = 0;
            for record in log.entries.iter().flat_map(|(_, entry)| &entry.records) {
                if record.facts.iter().any(|fact| matches!(fact, Fact::Bad)) {
                    self.expected.letters.insert((log.name.into(), offset));
                }
                offset += record.text.len() as u64;
            }
        }
    }

    fn fact(&mut self, input: usize, fact: &Fact) {
        let kind = match fact {
            Fact::Prediction(prediction) => {
                let key = (prediction.id.clone(), prediction.version);
                if let Some(first) = self.rows.get_mut(&key) {
                    first.copies += 1;
                    2
                } else {
                    let mut places = places(self.setting, prediction);
                    places.retain(|((version, length, start, _), _)| {
                        !self.finals.contains(&(*version, *length, *start))
                    });
                    let row = Row {
                        prediction: prediction.clone(),
                        copies: 0,
                        places,
                    };
                    self.rows.insert(key, row);
                    0
                }
            }
            Fact::Label(label) => {
                let of = self.labels.entry(label.id.clone()).or_default();
                of.push(label.clone());
                1
            }
            Fact::Bad => 3,
            Fact::Ignored => 4,
        };
        self.expected.totals[input][kind] += 1;
    }

    /// Labels whose prediction did not come in time.
    fn orphans(&mut self) {
        let known: BTreeSet<String> = self.rows.keys().map(|(id, _)| id.clone()).collect();
        let labels = std::mem::take(&mut self.labels);
        for (id, labels) in labels {
            if known.contains(&id) {
                self.labels.insert(id, labels);
            } else if let Some(last) = last(&labels) {
                // Its own time decides; without one, that of its arrival.
                let month = if last.time.is_some() { 0 } else { self.months };
                self.expected.orphans.insert((id, month), last.clone());
            }
        }
    }

    /// The horizon of all predictions is over.
    fn close(&mut self) {
        self.tally(true);
        self.labels.clear();
        self.months += 1;
    }

    fn tally(&mut self, horizon_is_over: bool) {
        for (key, row) in std::mem::take(&mut self.rows) {
            let labels = self.labels.get(&key.0).map_or(&[][..], Vec::as_slice);
            let classes: BTreeSet<usize> = labels.iter().map(|label| label.class).collect();
            let label = last(labels).cloned();
            for (place, end) in &row.places {
                let window = self.expected.windows.entry(place.clone()).or_default();
                window.count(self.setting, &row, label.as_ref(), *end);
                if classes.len() > 1 {
                    *window.counts.entry("corrected_labels").or_default() += 1;
                }
                if horizon_is_over && place.1 != "cumulative" {
                    window.is_final = true;
                    self.finals.insert((place.0, place.1, place.2));
                }
            }
            let outcome = Outcome {
                expired: horizon_is_over && label.is_none(),
                prediction: row.prediction,
                label,
            };
            self.expected.predictions.insert(key, outcome);
        }
    }
}

/// The latest by its own time, one without a time before all others; of equal times the last.
fn last(labels: &[Label]) -> Option<&Label> {
    labels.iter().max_by_key(|label| label.time)
}

impl Window {
    fn count(&mut self, setting: Setting, row: &Row, label: Option<&Label>, end: Option<i64>) {
        let mut add = |name, times| {
            if times > 0 {
                *self.counts.entry(name).or_default() += times;
            }
        };
        let answer = answer(setting, &row.prediction);
        add("predictions", 1);
        add("unanswered", u64::from(answer.is_none()));
        add("duplicates", row.copies);
        let Some(label) = label else { return };
        add("labelled", 1);
        let is_late = |end: i64| label.time.is_some_and(|time| time >= NINE + end * HOUR);
        add("late_labels", u64::from(end.is_some_and(is_late)));
        let Some(answer) = answer else { return };
        let actual = judged(setting, CLASSES[label.class]);
        add("judged", 1);
        add("correct", u64::from(actual == answer));
        if !setting.multiclass {
            let quadrant = match (answer == "fraud", actual == "fraud") {
                (true, true) => "tp",
                (true, false) => "fp",
                (false, true) => "fn",
                (false, false) => "tn",
            };
            add(quadrant, 1);
        }
        let cell = (actual.to_owned(), answer.to_owned());
        *self.cells.entry(cell).or_default() += 1;
    }
}

/// What the model said, as it counts.
fn answer(setting: Setting, prediction: &Prediction) -> Option<&'static str> {
    said(setting, prediction).map(|class| judged(setting, class))
}

/// What the model said: without a class, what follows from its score.
pub(super) fn said(setting: Setting, prediction: &Prediction) -> Option<&'static str> {
    let follows = |score: usize| if score >= 50 { "fraud" } else { "legit" };
    let score = prediction
        .score
        .filter(|_| setting.scores && !setting.multiclass);
    prediction
        .class
        .map(|class| CLASSES[class])
        .or_else(|| score.map(follows))
}

/// With two classes, whatever is not the one of interest is the other.
pub(super) fn judged(setting: Setting, class: &'static str) -> &'static str {
    if setting.multiclass || class == "fraud" {
        class
    } else {
        "legit"
    }
}

/// Where a prediction counts, with the hour each window ends.
fn places(setting: Setting, prediction: &Prediction) -> Vec<(Place, Option<i64>)> {
    let hour = (prediction.time - NINE).div_euclid(HOUR);
    let mut windows = vec![("1h", hour, Some(hour + 1))];
    if setting.hopping {
        windows.extend([
            ("2h/1h", hour - 1, Some(hour + 1)),
            ("2h/1h", hour, Some(hour + 2)),
        ]);
    }
    if setting.cumulative {
        windows.push(("cumulative", 0, None));
    }
    let country = prediction.country.filter(|_| setting.slices);
    let slices = [
        Some("_all".to_owned()),
        country.map(|country| COUNTRIES[country].to_owned()),
    ];
    let mut places = Vec::new();
    for slice in slices.into_iter().flatten() {
        for (length, start, end) in &windows {
            places.push(((prediction.version, *length, *start, slice.clone()), *end));
        }
    }
    places
}
