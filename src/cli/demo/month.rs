//! What happens to a fraud model in a month, drawn from a seed: predictions of two versions, labels that come hours to days
//! later, are corrected or never come, and an incident. Pure: nothing here reads a clock or writes a file.
//!
//! Invariant: the same seed gives the same month; times count from its beginning, ascending, and none lies outside.

use crate::cli::demo::chance::Chance;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
pub(super) const DAYS: i64 = 30;

/// Enough for some forty frauds a day in the largest country, few enough for a minute on a laptop.
const PREDICTIONS: usize = 30_000;

/// Where the payments come from, and their shares.
const COUNTRIES: [(&str, f64); 4] = [("DE", 0.4), ("FR", 0.3), ("CH", 0.18), ("AT", 0.12)];

/// The incident is in one of the large ones, where a day's recall says something.
const INCIDENT_COUNTRIES: [(&str, f64); 2] = [("DE", 0.5), ("FR", 0.5)];
const INCIDENT_DAYS: i64 = 3;

/// The second version answers a share of the payments from this day on.
const CANARY_DAY: i64 = 10;
const CANARY_SHARE: f64 = 0.25;

const FRAUD_SHARE: f64 = 0.1;

/// Shares of frauds that are caught and of others that are accused, by version; the canary is the better one.
const CAUGHT: [f64; 2] = [0.84, 0.91];
const ACCUSED: [f64; 2] = [0.012, 0.008];
const CAUGHT_IN_INCIDENT: f64 = 0.25;

const LATENCY_MS: f64 = 12.0;
const LATENCY_IN_INCIDENT_MS: f64 = 55.0;

/// Labels: these never come, come wrong at first, come twice.
const LOST: f64 = 0.08;
const CORRECTED: f64 = 0.03;
const REPEATED: f64 = 0.01;
const LABEL_DELAY_LEAST_MS: i64 = HOUR_MS;
const LABEL_DELAY_MOST_MS: i64 = 7 * DAY_MS;
const LABEL_DELAY_MEAN_MS: f64 = 30.0 * HOUR_MS as f64;

/// Predictions that the server logs twice, and such as it never logs, though their label comes.
const LOGGED_TWICE: f64 = 0.002;
const NEVER_LOGGED: f64 = 0.003;

/// A month.
#[derive(Debug, PartialEq)]
pub(super) struct Month {
    pub(super) incident: Incident,
    /// In the order in which they happen.
    pub(super) events: Vec<Event>,
}

/// Recall falls in one country, and the server is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) country: &'static str,
    /// Its first millisecond, and the first one behind it: whole days.
    pub(super) from_ms: i64,
    pub(super) until_ms: i64,
}

/// What happens, and when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) at_ms: i64,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Prediction(Prediction),
    Label(Label),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prediction {
    /// Unique in the month.
    pub(super) number: usize,
    pub(super) version: &'static str,
    pub(super) country: &'static str,
    /// The probability of fraud, to four digits; from 0.5 on the model says fraud.
    pub(super) score: f64,
    /// To one digit.
    pub(super) latency_ms: f64,
    /// To two digits.
    pub(super) amount: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// Of the prediction that it is about.
    pub(super) number: usize,
    pub(super) is_fraud: bool,
}

impl Incident {
    pub(super) const fn is_on(&self, at_ms: i64) -> bool {
        self.from_ms <= at_ms && at_ms < self.until_ms
    }
}

impl Month {
    pub(super) fn draw(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let from_ms = chance.between(15, 21) * DAY_MS;
        let incident = Incident {
            country: chance.one_of(&INCIDENT_COUNTRIES).unwrap_or_default(),
            from_ms,
            until_ms: from_ms + INCIDENT_DAYS * DAY_MS,
        };
        let mut events = Vec::with_capacity(PREDICTIONS * 2);
        for number in 0..PREDICTIONS {
            payment(&mut chance, number, incident, &mut events);
        }
        events.retain(|event| event.at_ms < DAYS * DAY_MS);
        // Stable: a prediction stays before what came of it in the same millisecond.
        events.sort_by_key(|event| event.at_ms);
        Self { incident, events }
    }
}

/// A payment: its prediction, and the labels that come of it.
fn payment(chance: &mut Chance, number: usize, incident: Incident, events: &mut Vec<Event>) {
    let at_ms = chance.between(0, DAYS) * DAY_MS + time_of_day(chance);
    let country = chance.one_of(&COUNTRIES).unwrap_or_default();
    let is_canary = chance.happens(CANARY_SHARE) && at_ms >= CANARY_DAY * DAY_MS;
    let (caught, accused) = if is_canary {
        (CAUGHT[1], ACCUSED[1])
    } else {
        (CAUGHT[0], ACCUSED[0])
    };
    let suffers = incident.is_on(at_ms) && incident.country == country;
    let caught = if suffers { CAUGHT_IN_INCIDENT } else { caught };
    let latency_ms = if suffers {
        LATENCY_IN_INCIDENT_MS
    } else {
        LATENCY_MS
    };
    let is_fraud = chance.happens(FRAUD_SHARE);
    let is_flagged = chance.happens(if is_fraud { caught } else { accused });
    // Most scores are near the ends.
    let doubt = chance.unit().powi(3) * 0.49;
    let prediction = Prediction {
        number,
        version: if is_canary { "2" } else { "1" },
        country,
        score: rounded(if is_flagged { 1.0 - doubt } else { doubt }, 10_000.0),
        latency_ms: rounded(3.0 + chance.wait(latency_ms - 3.0), 10.0),
        amount: rounded(1.0 + chance.wait(80.0), 100.0),
    };
    if !chance.happens(NEVER_LOGGED) {
        let times = if chance.happens(LOGGED_TWICE) { 2 } else { 1 };
        for _ in 0..times {
            events.push(Event {
                at_ms,
                what: What::Prediction(prediction.clone()),
            });
        }
    }
    labels(chance, number, at_ms, is_fraud, events);
}

fn labels(
    chance: &mut Chance,
    number: usize,
    predicted_at_ms: i64,
    is_fraud: bool,
    events: &mut Vec<Event>,
) {
    if chance.happens(LOST) {
        return;
    }
    let mut label = |at_ms, is_fraud| {
        let what = What::Label(Label { number, is_fraud });
        events.push(Event { at_ms, what });
    };
    let came = predicted_at_ms + label_delay(chance);
    let is_wrong = chance.happens(CORRECTED);
    label(came, is_fraud != is_wrong);
    if is_wrong {
        label(came + chance.between(6 * HOUR_MS, 48 * HOUR_MS), is_fraud);
    } else if chance.happens(REPEATED) {
        label(came + HOUR_MS, is_fraud);
    }
}

fn label_delay(chance: &mut Chance) -> i64 {
    loop {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "milliseconds are precise enough"
        )]
        let waited_ms = chance.wait(LABEL_DELAY_MEAN_MS) as i64;
        let delay_ms = LABEL_DELAY_LEAST_MS + waited_ms;
        if delay_ms <= LABEL_DELAY_MOST_MS {
            return delay_ms;
        }
    }
}

/// By day there is three times as much to do as by night.
fn time_of_day(chance: &mut Chance) -> i64 {
    loop {
        let at_ms = chance.between(0, DAY_MS);
        let is_day = (7 * HOUR_MS..22 * HOUR_MS).contains(&at_ms);
        if is_day || chance.happens(1.0 / 3.0) {
            return at_ms;
        }
    }
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

#[cfg(test)]
mod tests;
