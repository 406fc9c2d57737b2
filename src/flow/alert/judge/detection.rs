//! Windows as a detector sees them: a control chart, ADWIN or Page-Hinkley, fed in the order of event time.
//!
//! A chart says of each window whether its moving average is outside the limits. ADWIN and Page-Hinkley say once that the level
//! has changed and take the new one for normal; what they found holds for [`HELD_WINDOWS`], or until they say that the level has
//! gone the other way.

use crate::flow::alert::history::Verdict;
use crate::flow::alert::judge::Judged;
use crate::flow::alert::reading::Reading;
use crate::flow::alert::rule::{Detection, Side};
use crate::flow::detect::{self, Feed, Sample, Turn};
use crate::flow::event::Timestamp;

/// A change of level holds for so many windows: a day of hours.
const HELD_WINDOWS: usize = 24;

/// Puts a window in, and says what every window is that may still change. `sample`: what the window is judged by, if it can be.
pub(in crate::flow::alert) fn judge(
    detection: &Detection,
    feed: &mut Feed,
    start: Timestamp,
    sample: Option<Sample>,
) -> Vec<(Timestamp, Judged)> {
    feed.put(start, sample);
    let is_bad = |turn: Turn| match detection.side {
        None => true,
        Some(Side::Below) => turn == Turn::Down,
        Some(Side::Above) => turn == Turn::Up,
    };
    let mut changed: Option<usize> = None;
    let readings = feed.readings().into_iter().enumerate();
    let judged = readings.map(|(place, (start, reading))| {
        match reading.turn {
            Some(turn) if is_bad(turn) => changed = Some(place),
            Some(_) => changed = None,
            None => {}
        }
        let verdict = match reading.turn {
            Some(turn) if is_bad(turn) => Verdict::Breach,
            _ if reading.level.is_none() => Verdict::Unknown,
            _ if reading
                .bounds
                .is_some_and(|_| is_near(&reading, detection.side)) =>
            {
                Verdict::Held
            }
            // A chart shows where the level is; of the others only the change is known.
            _ if reading.bounds.is_none()
                && changed.is_some_and(|change| place - change < HELD_WINDOWS) =>
            {
                Verdict::Held
            }
            _ => Verdict::Clear,
        };
        let judged = Judged {
            verdict,
            limit: limit(&reading, detection.side),
            level: reading.level,
            ..Judged::UNKNOWN
        };
        (start, judged)
    });
    judged.collect()
}

/// What a window brings a detector; `None` where it has no number.
pub(in crate::flow::alert) fn sample(reading: Reading) -> Option<Sample> {
    match reading.share {
        Some((hits, trials)) => (trials > 0).then_some(Sample::Share { hits, trials }),
        None => reading.value.map(Sample::Single),
    }
}

/// Within the limits, but more than half of the way to the bad one: an alert would go to and fro.
fn is_near(reading: &detect::Reading, side: Option<Side>) -> bool {
    let (Some(level), Some(bounds)) = (reading.level, reading.bounds) else {
        return false;
    };
    let is_low = level < f64::midpoint(bounds.low, bounds.center);
    let is_high = level > f64::midpoint(bounds.high, bounds.center);
    match side {
        None => is_low || is_high,
        Some(Side::Below) => is_low,
        Some(Side::Above) => is_high,
    }
}

/// The limit that the level is nearer to, or the one that matters.
fn limit(reading: &detect::Reading, side: Option<Side>) -> Option<f64> {
    let (level, bounds) = (reading.level?, reading.bounds?);
    let is_low = match side {
        None => level < bounds.center,
        Some(side) => side == Side::Below,
    };
    Some(if is_low { bounds.low } else { bounds.high })
}
