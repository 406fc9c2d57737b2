//! What is told during the storm, by whom and when, all of it drawn from the seed: predictions of a card model, some of them
//! twice; labels that come before them, late, twice, wrong first, or contradicted by an older one; labels for nobody.
//!
//! It has as many chapters as the storm has lives. What decides between two labels of one prediction is their time, and equal
//! times come only with equal labels: so the final truth does not depend on who was delayed.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::chance::Chance;
use crate::told::{CLASSES, Label, Prediction, Told};

/// Windows of the storm's pipeline.
const LENGTHS: &[&str] = &["1m", "1h"];

/// Two months and two days meet here, so that four indices are written to.
const MIDNIGHT: &str = "2026-03-01T00:00:00Z";

/// Predictions in each minute of event time, on average.
const PREDICTIONS_A_MINUTE: u64 = 60;

/// How far predictions are out of order, either way.
const DISORDER_MS: u64 = 120_000;

/// A class that only mistaken labels name.
const MISTAKEN_CLASS: &str = "debit_card";

const CHANNELS: [&str; 3] = ["app", "branch", "web"];

/// Labels for nobody: one in so many predictions.
const NOBODY: usize = 100;

pub(super) const SENDERS: usize = 4;

/// Who tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The log that is rotated by renaming.
    Renamed,
    /// The log that is copied and truncated.
    Copied,
    /// One of [`SENDERS`] programs that speak HTTP.
    Sender(usize),
}

#[derive(Clone)]
pub(super) enum Event {
    Prediction(Prediction),
    Label(Label),
}

/// The whole story.
pub(super) struct Story {
    /// Chapter → what is told in it and by whom, in order.
    pub(super) chapters: Vec<Vec<(Way, Event)>>,
}

/// How much there is to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) chapters: usize,
    pub(super) predictions_a_chapter: usize,
}

impl Story {
    pub(super) fn draw(seed: u64, size: Size) -> Self {
        let mut teller = Teller {
            chance: Chance::new(seed, "story"),
            chapters: vec![Vec::new(); size.chapters],
            size,
        };
        for number in 0..size.chapters * size.predictions_a_chapter {
            teller.predict(number);
        }
        let Teller {
            mut chance,
            mut chapters,
            ..
        } = teller;
        for told in &mut chapters {
            chance.shuffle(told);
        }
        Self { chapters }
    }

    /// What one of them tells, chapter by chapter.
    pub(super) fn of(&self, way: Way) -> Vec<Vec<Event>> {
        let of_chapter = |told: &Vec<(Way, Event)>| {
            let by_this = told.iter().filter(|(by, _)| *by == way);
            by_this.map(|(_, event)| event.clone()).collect()
        };
        self.chapters.iter().map(of_chapter).collect()
    }

    /// All that has been told when so many chapters are over.
    pub(super) fn told(&self, chapters: usize) -> Told {
        let mut told = Told::new(LENGTHS);
        for (_, event) in self.chapters.iter().take(chapters).flatten() {
            match event {
                Event::Prediction(prediction) => told.predictions.push(prediction.clone()),
                Event::Label(label) => told.labels.push(label.clone()),
            }
        }
        told
    }

    pub(super) fn events(&self) -> usize {
        self.chapters.iter().map(Vec::len).sum()
    }
}

impl Event {
    /// As JSON, in one line. A file has times as text, a sender as milliseconds.
    pub(super) fn line(&self, way: Way) -> String {
        let time = |time: Timestamp| match way {
            Way::Sender(_) => json!(time.as_millisecond()),
            Way::Renamed | Way::Copied => json!(time.to_string()),
        };
        let record: Value = match self {
            Self::Prediction(row) => json!({
                "event": "prediction", "id": row.id, "ts": time(row.time), "version": row.version,
                "predicted": row.predicted, "channel": row.channel,
                "scores": { CLASSES[0]: row.scores[0], CLASSES[1]: row.scores[1], CLASSES[2]: row.scores[2] },
            }),
            Self::Label(label) => json!({
                "event": "label", "id": label.id, "ts": time(label.time), "actual": label.actual,
            }),
        };
        record.to_string()
    }
}

/// The story in the making.
struct Teller {
    chance: Chance,
    chapters: Vec<Vec<(Way, Event)>>,
    size: Size,
}

impl Teller {
    /// One prediction, and all that is ever said of it.
    fn predict(&mut self, number: usize) {
        let chapter = number / self.size.predictions_a_chapter;
        let prediction = self.prediction(number);
        self.label(chapter, &prediction);
        if self.chance.is_one_in(6) {
            // A second version is asked the same, and answers otherwise.
            let mut scores = prediction.scores;
            scores.rotate_left(1);
            let shadow = Prediction {
                version: "2",
                scores,
                predicted: CLASSES[self.chance.index(3)].to_owned(),
                ..prediction.clone()
            };
            self.tell(chapter, Event::Prediction(shadow));
        }
        if self.chance.is_one_in(20) {
            let later = chapter + self.chance.index(4);
            self.tell(later, Event::Prediction(prediction.clone()));
        }
        if number.is_multiple_of(NOBODY) {
            let id = format!("nobody-{number}");
            let (time, actual) = (prediction.time, CLASSES[self.chance.index(3)].to_owned());
            self.tell(chapter, Event::Label(Label { id, time, actual }));
        }
        self.tell(chapter, Event::Prediction(prediction));
    }

    fn prediction(&mut self, number: usize) -> Prediction {
        let all = (self.size.chapters * self.size.predictions_a_chapter) as u64;
        let since_start = milliseconds(number as u64 * 60_000 / PREDICTIONS_A_MINUTE);
        let half = milliseconds(all * 60_000 / PREDICTIONS_A_MINUTE / 2);
        let disorder = milliseconds(self.chance.below(2 * DISORDER_MS)) - milliseconds(DISORDER_MS);
        let midnight: Timestamp = MIDNIGHT.parse().expect("a time");
        let a = self.chance.below(1_001);
        let b = self.chance.below(1_001 - a);
        let scores = [a, b, 1_000 - a - b].map(|score| score as f64 / 1_000.0);
        let best = (0..3).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        Prediction {
            id: format!("request-{number:06}"),
            time: midnight + (since_start - half + disorder),
            version: "1",
            predicted: CLASSES[best.expect("three")].to_owned(),
            scores,
            channel: CHANNELS[self.chance.index(CHANNELS.len())].to_owned(),
        }
    }

    fn label(&mut self, chapter: usize, prediction: &Prediction) {
        // Seconds to hours, as many in each doubling.
        let octave = 1_000_u64 << self.chance.below(13);
        let delay = octave + self.chance.below(octave);
        let later = delay + 1_000 + self.chance.below(3_600_000);
        let [truth, other] = {
            let place = self.chance.index(3);
            [place, place + 1].map(|place| CLASSES[place % 3])
        };
        // Mostly soon, some before the prediction itself, some long after.
        let first = match self.chance.below(8) {
            0 => chapter.saturating_sub(1),
            1..6 => chapter + self.chance.index(2),
            _ => chapter + self.chance.index(self.size.chapters),
        };
        let second = first + self.chance.index(4);
        let label = |delay: u64, actual: &str| {
            Event::Label(Label {
                id: prediction.id.clone(),
                time: prediction.time + milliseconds(delay),
                actual: actual.to_owned(),
            })
        };
        match self.chance.below(100) {
            0..8 => {} // never
            8..25 => {
                self.tell(first, label(delay, other));
                self.tell(second, label(later, truth));
            }
            25..31 => {
                self.tell(first, label(delay, MISTAKEN_CLASS));
                self.tell(second, label(later, truth));
            }
            31..41 => {
                self.tell(first, label(delay, truth));
                self.tell(second, label(delay, truth));
            }
            41..47 => {
                self.tell(first, label(delay, truth));
                self.tell(second, label(later, truth));
            }
            // Older, and so it loses.
            47..55 => {
                self.tell(first, label(later, truth));
                self.tell(second, label(delay, other));
            }
            _ => self.tell(first, label(delay, truth)),
        }
    }

    /// Somebody says it, in this chapter or the last.
    fn tell(&mut self, chapter: usize, event: Event) {
        let way = match self.chance.index(SENDERS + 4) {
            0 | 1 => Way::Renamed,
            2 | 3 => Way::Copied,
            sender => Way::Sender(sender - 4),
        };
        let last = self.chapters.len() - 1;
        self.chapters[chapter.min(last)].push((way, event));
    }
}

fn milliseconds(number: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(number).expect("small"))
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_seed_another() {
    let size = Size {
        chapters: 3,
        predictions_a_chapter: 50,
    };
    let lines = |seed| -> Vec<String> {
        let story = Story::draw(seed, size);
        let all = story.chapters.iter().flatten();
        all.map(|(way, event)| format!("{way:?} {}", event.line(*way)))
            .collect()
    };
    assert_eq!(lines(1), lines(1));
    assert_ne!(lines(1), lines(2));
}
