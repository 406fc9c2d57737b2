//! The one place that reads the wall clock, and makes a clock of it that never goes back while the process lives.
//!
//! A wall clock that is set back would stop everything that is due at a time of day: what is held for a moment would be
//! held for an hour. So after such a step time goes on from where it was, at its own pace, until the wall clock has caught
//! up or the process is started anew. A step forwards is followed: a machine that starts in 1970 and hears of the date later
//! must not refuse today's events as the future.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

use crate::flow::event::Timestamp;

/// A step back that is worth a word: smaller ones are a time server's daily work.
const STEP_WORTH_A_WORD_MS: i64 = 1_000;

static CLOCK: Mutex<Option<Clock>> = Mutex::new(None);

/// What is known of the time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Clock {
    /// What the wall clock said when it was last believed.
    believed: Timestamp,
    /// When that was, by a clock that nobody sets.
    at: Instant,
    /// How far the wall clock was behind at the last reading.
    behind_ms: i64,
}

/// The time, UTC. A clock set before 1970 reads as the epoch.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let wall = Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
    let at = Instant::now();
    let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = clock.unwrap_or(Clock {
        believed: wall,
        at,
        behind_ms: 0,
    });
    let (after, now) = before.read(wall, at);
    *clock = Some(after);
    drop(clock);
    if after.behind_ms - before.behind_ms >= STEP_WORTH_A_WORD_MS {
        let behind_ms = after.behind_ms;
        warn!(
            behind_ms,
            "the system clock was set back, time goes on from where it was"
        );
    }
    now
}

impl Clock {
    /// The clock after a reading, and the time. `at` never goes back.
    fn read(self, wall: Timestamp, at: Instant) -> (Self, Timestamp) {
        let elapsed = at.saturating_duration_since(self.at).as_millis();
        let expected = self
            .believed
            .plus(i64::try_from(elapsed).unwrap_or(i64::MAX));
        if wall >= expected {
            let clock = Self {
                believed: wall,
                at,
                behind_ms: 0,
            };
            return (clock, wall);
        }
        let behind_ms = expected.since(wall);
        (Self { behind_ms, ..self }, expected)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Each step: milliseconds that pass, what the wall clock says then, and what the time is.
    #[track_caller]
    fn check(steps: &[(u64, i64, i64)]) {
        let mut at = Instant::now();
        let mut clock = Clock {
            believed: Timestamp(steps[0].1),
            at,
            behind_ms: 0,
        };
        for (elapsed_ms, wall, expected) in steps {
            at += Duration::from_millis(*elapsed_ms);
            let (after, now) = clock.read(Timestamp(*wall), at);
            assert_eq!(now, Timestamp(*expected));
            clock = after;
        }
    }

    #[test]
    fn a_steady_wall_clock_is_believed() {
        check(&[(0, 1_000, 1_000), (250, 1_250, 1_250), (249, 1_500, 1_500)]);
    }

    #[test]
    fn a_step_forwards_is_followed() {
        check(&[(0, 1_000, 1_000), (250, 99_000, 99_000)]);
    }

    #[test]
    fn after_a_step_back_time_goes_on_until_the_wall_clock_has_caught_up() {
        check(&[
            (0, 99_000, 99_000),
            (250, 1_000, 99_250),
            (750, 1_750, 100_000),
            (10, 100_020, 100_020),
        ]);
    }

    proptest! {
        #[test]
        fn time_never_goes_back_and_never_stands_still(
            steps in prop::collection::vec((0_u64..3_000_000, 0_i64..10_000), 1..200),
        ) {
            let start = Instant::now();
            let mut clock = Clock { believed: Timestamp(5_000), at: start, behind_ms: 0 };
            let (mut at, mut last, first) = (start, Timestamp(5_000), Timestamp(5_000));
            for (elapsed_us, wall) in steps {
                at += Duration::from_micros(elapsed_us);
                let (after, now) = clock.read(Timestamp(wall), at);
                prop_assert!(now >= last && now >= Timestamp(wall));
                let passed = i64::try_from((at - start).as_millis()).unwrap();
                // One millisecond is cut off each time the wall clock is believed; it is then what the wall clock says.
                prop_assert!(now.since(first) + 200 >= passed);
                (clock, last) = (after, now);
            }
        }
    }

    #[test]
    fn readings_never_go_back() {
        let readings: Vec<Timestamp> = (0..1_000).map(|_| now()).collect();
        assert!(readings.is_sorted());
    }
}
