//! When nobody is told (mute times, by the week), and when nothing is judged (maintenance).

use jiff::tz::TimeZone;

use crate::flow::event::Timestamp;

/// A stretch of time, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first millisecond.
    pub from: Timestamp,
    /// The first millisecond behind it.
    pub until: Timestamp,
}

/// A weekly time in which nobody is told. What still fires when it ends is told then.
#[derive(Clone, Debug, PartialEq)]
pub struct Mute {
    /// Days on which it begins, Monday first.
    pub days: [bool; 7],
    /// Minute of the day at which it begins.
    pub from_minute: u16,
    /// Minute of the day at which it ends: of the next day where it is not after `from_minute`.
    pub until_minute: u16,
    /// Whose days and minutes.
    pub zone: TimeZone,
    /// Names of the rules it holds for; empty: of all.
    pub rules: Vec<String>,
}

/// Minutes of a day.
const DAY: i64 = 24 * 60;

impl Stretch {
    /// True if the two have a moment in common.
    #[must_use]
    pub fn overlaps(self, from: Timestamp, until: Timestamp) -> bool {
        self.from < until && from < self.until
    }
}

impl Mute {
    /// True if nobody is told of this rule's alerts at this moment.
    #[must_use]
    pub fn holds(&self, rule: &str, at: Timestamp) -> bool {
        if !self.rules.is_empty() && !self.rules.iter().any(|name| name == rule) {
            return false;
        }
        let Ok(moment) = jiff::Timestamp::from_millisecond(at.0) else {
            return false;
        };
        let local = self.zone.to_datetime(moment);
        let today = usize::try_from(local.weekday().to_monday_zero_offset()).unwrap_or(0);
        let minute = i64::from(local.hour()) * 60 + i64::from(local.minute());
        let (from, until) = (i64::from(self.from_minute), i64::from(self.until_minute));
        let until = if until <= from { until + DAY } else { until };
        let begins = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        let holds = |day: usize, minute: i64| begins(day) && (from..until).contains(&minute);
        holds(today, minute) || holds(today + 6, minute + DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUESDAY_NINE: i64 = 1_795_510_800_000; // 2026-11-24T09:00:00Z, a Tuesday (GNU date)
    const HOUR: i64 = 3_600_000;

    /// Hours after Tuesday nine, UTC, at which it holds.
    fn hours(mute: &Mute) -> Vec<i64> {
        (0..168)
            .filter(|hour| mute.holds("r", Timestamp(TUESDAY_NINE + hour * HOUR)))
            .collect()
    }

    fn mute(days: [bool; 7], from: u16, until: u16, zone: &str) -> Mute {
        Mute {
            days,
            from_minute: from * 60,
            until_minute: until * 60,
            zone: TimeZone::get(zone).unwrap(),
            rules: Vec::new(),
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let saturday = [false, false, false, false, false, true, false];
        // Saturday 22:00 is 109 hours after Tuesday nine; until Sunday six.
        let expected: Vec<i64> = (109..117).collect();
        assert_eq!(hours(&mute(saturday, 22, 6, "UTC")), expected);
        // In Berlin it is an hour later in winter.
        let expected: Vec<i64> = (108..116).collect();
        assert_eq!(hours(&mute(saturday, 22, 6, "Europe/Berlin")), expected);
    }

    #[test]
    fn a_whole_day_ends_where_the_next_begins() {
        let tuesday = [false, true, false, false, false, false, false];
        // Fifteen hours are left of this Tuesday; nine of the next are in the week looked at.
        let expected: Vec<i64> = (0..15).chain(159..168).collect();
        assert_eq!(hours(&mute(tuesday, 0, 0, "UTC")), expected);
        assert_eq!(hours(&mute(tuesday, 0, 24, "UTC")), expected);
    }

    #[test]
    fn it_may_hold_for_some_rules_only() {
        let mut all = mute([true; 7], 0, 24, "UTC");
        all.rules = vec!["a".into()];
        let holds = |rule| all.holds(rule, Timestamp(TUESDAY_NINE));
        assert_eq!((holds("a"), holds("b")), (true, false));
    }

    #[test]
    fn stretches_overlap_where_they_share_a_moment() {
        let stretch = Stretch {
            from: Timestamp(10),
            until: Timestamp(20),
        };
        let overlaps = |from, until| stretch.overlaps(Timestamp(from), Timestamp(until));
        assert!(!overlaps(0, 10) && overlaps(0, 11) && overlaps(19, 30) && !overlaps(20, 30));
    }
}
