//! Window lengths, aligned to the epoch in UTC.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::document::json::Date;
use crate::flow::event::Timestamp;

/// A tumbling window's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Length {
    /// Milliseconds: 10 s to 1 d, a divisor of a day.
    Fixed(i64),
    /// A calendar month.
    Month,
}

impl Length {
    /// A day, in milliseconds.
    pub const DAY: i64 = 86_400_000;

    /// The first millisecond of the window that holds `time`.
    pub const fn start(self, time: Timestamp) -> Timestamp {
        match self {
            Self::Fixed(length) => Timestamp(time.0 - time.0.rem_euclid(length)),
            Self::Month => {
                let date = Date::of(time);
                Date { day: 1, ..date }.start()
            }
        }
    }

    /// The first millisecond after the window that starts at `start`.
    pub const fn end(self, start: Timestamp) -> Timestamp {
        match self {
            Self::Fixed(length) => start.plus(length),
            // The 31st day after a month's first lies in the next month; 28 to 31 days later is its start.
            Self::Month => self.start(start.plus(31 * Self::DAY)),
        }
    }
}

impl fmt::Display for Length {
    /// As the pipeline file writes it: `30s`, `1m`, `1h`, `1d`, `1mo`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Month => formatter.write_str("1mo"),
            Self::Fixed(length) => {
                let units = [(Self::DAY, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
                let (unit, name) = units.into_iter().find(|(unit, _)| length % unit == 0).unwrap_or((1, "ms"));
                write!(formatter, "{}{name}", length / unit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: GNU date, e.g. `date -ud 2024-02-01 +%s`.
    #[test]
    fn months_have_their_own_lengths() {
        let leap_day = Timestamp(1_709_210_096_000); // 2024-02-29 12:34:56
        assert_eq!(Length::Month.start(leap_day), Timestamp(1_706_745_600_000));
        assert_eq!(Length::Month.end(Timestamp(1_706_745_600_000)), Timestamp(1_709_251_200_000));
        let december = Timestamp(1_764_547_200_000);
        assert_eq!(Length::Month.end(december), Timestamp(1_767_225_600_000));
        assert_eq!(Length::Month.start(Timestamp(-1)), Timestamp(-2_678_400_000));
    }

    #[test]
    fn a_length_reads_as_it_is_written() {
        let texts = [10_000, 60_000, 5_400_000, 3_600_000, 86_400_000].map(|length| Length::Fixed(length).to_string());
        assert_eq!(texts, ["10s", "1m", "90m", "1h", "1d"]);
    }
}
