//! A window against a reference: the difference, and whether it is larger than chance makes it.
//!
//! The difference's interval is made of the two sides' intervals, squared and added (Newcombe 1998, method 10), and stretched
//! from 95 % to the rule's number of standard errors. Shares are pooled from their counts; other metrics are averaged by
//! their rows, their intervals shrinking accordingly.

use crate::flow::alert::history::History;
use crate::flow::alert::judge::{Judged, is_sound, verdict};
use crate::flow::alert::reading::Reading;
use crate::flow::alert::rule::{Against, By, Shift, Side, WindowRule};
use crate::flow::event::Timestamp;
use crate::flow::quality::intervals::{Z95, wilson};
use crate::flow::windows::Length;

/// Below so many windows a trailing reference says little about the next one.
const TRAILING_MIN: usize = 3;

/// What a window is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::flow::alert) struct Reference {
    /// The value.
    pub(in crate::flow::alert) value: f64,
    /// Ends of its 95 % interval; the value itself where it has none.
    pub(in crate::flow::alert) interval: (f64, f64),
    /// Rows behind it, where they are counted.
    pub(in crate::flow::alert) support: u64,
}

pub(super) fn judge(
    rule: &WindowRule,
    change: &Shift,
    history: &History,
    start: Timestamp,
    reading: Reading,
    other: &dyn Fn(&str) -> Option<Reading>,
) -> Judged {
    let alone = |reading: Reading| Reference::of([reading]);
    let reference = match &change.against {
        Against::Previous => history
            .before(start)
            .find(|window| is_sound_number(rule, &window.reading))
            .and_then(|window| alone(window.reading)),
        Against::LastWeek => history
            .get(start.plus(-7 * Length::DAY))
            .filter(|window| is_sound_number(rule, &window.reading))
            .and_then(|window| alone(window.reading)),
        Against::Trailing(count) => {
            let sound = history.before(start);
            let sound = sound.filter(|window| is_sound(window, rule.min_support));
            let readings: Vec<Reading> = sound
                .take(*count as usize)
                .map(|window| window.reading)
                .collect();
            (readings.len() >= TRAILING_MIN.min(*count as usize))
                .then(|| Reference::of(readings))
                .flatten()
        }
        Against::Version(version) => other(version)
            .filter(|reading| is_sound_number(rule, reading))
            .and_then(alone),
        Against::Baseline(value) => Some(Reference {
            value: *value,
            interval: (*value, *value),
            support: 0,
        }),
    };
    match (reference, reading.value) {
        (Some(reference), Some(value)) => compare(change, reading, value, reference),
        _ => Judged::UNKNOWN,
    }
}

fn is_sound_number(rule: &WindowRule, reading: &Reading) -> bool {
    reading.value.is_some() && reading.support >= rule.min_support.max(1)
}

fn compare(change: &Shift, reading: Reading, value: f64, reference: Reference) -> Judged {
    let (low, high) = reading.interval.unwrap_or((value, value));
    let by = match change.by {
        By::Absolute(by) => by,
        By::Share(share) => share * reference.value.abs(),
    };
    let difference = value - reference.value;
    // How much worse it is, and how far chance alone reaches on that side.
    let (worse, half) = match change.side {
        Side::Below => (
            -difference,
            (high - value).hypot(reference.value - reference.interval.0),
        ),
        Side::Above => (
            difference,
            (value - low).hypot(reference.interval.1 - reference.value),
        ),
    };
    let error = half / Z95;
    Judged {
        verdict: verdict(
            worse > by && worse - change.limit * error > by,
            worse <= by.max(half),
        ),
        limit: Some(reference.value),
        ..Judged::UNKNOWN
    }
}

impl Reference {
    /// Several windows taken together; `None` where there are none with a number.
    pub(in crate::flow::alert) fn of(
        readings: impl IntoIterator<Item = Reading> + Clone,
    ) -> Option<Self> {
        let shares = readings.clone().into_iter().map(|reading| reading.share);
        let pooled = shares
            .into_iter()
            .try_fold((0, 0), |(hits, trials), share| {
                share.map(|(more, of)| (hits + more, trials + of))
            });
        if let Some((hits, trials)) = pooled.filter(|(_, trials)| *trials > 0) {
            let interval = wilson(hits, trials)?;
            return Some(Self {
                value: hits as f64 / trials as f64,
                interval: (interval.low, interval.high),
                support: trials,
            });
        }
        let (mut rows, mut sum, mut below, mut above) = (0, 0.0, 0.0_f64, 0.0_f64);
        for reading in readings {
            let Some(value) = reading.value else { continue };
            let weight = reading.support as f64;
            let (low, high) = reading.interval.unwrap_or((value, value));
            rows += reading.support;
            sum += weight * value;
            below = below.hypot(weight * (value - low));
            above = above.hypot(weight * (high - value));
        }
        let whole = rows as f64;
        (rows > 0).then(|| Self {
            value: sum / whole,
            interval: ((sum - below) / whole, (sum + above) / whole),
            support: rows,
        })
    }
}
