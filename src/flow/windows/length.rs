//! Window lengths, aligned to the epoch in UTC, and the panes that windows are made of.
//!
//! A tumbling window is one pane. Hopping windows overlap: an event counts once, in the pane of its time, and a window
//! is the sum of its panes. So an event costs the same whether an hour's windows start every hour or every minute.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::json::Date;

/// How long windows are, and how often one starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Length {
    /// Tumbling. Milliseconds: 10 s to 1 d, a divisor of a day.
    Fixed(i64),
    /// A calendar month.
    Month,
    /// A window of `length` starts every `every`. Milliseconds; `every` divides a day and `length`.
    Hopping {
        /// Up to [`Length::HOPPING_MAX`].
        length: i64,
        /// 10 s to 1 d; at most [`Length::PANES_MAX`] of them are a `length`.
        every: i64,
    },
    /// Everything since a version's first prediction: one window that never ends.
    Cumulative,
}

impl Length {
    /// A day, in milliseconds.
    pub const DAY: i64 = 86_400_000;

    /// The longest hopping window, in milliseconds.
    pub const HOPPING_MAX: i64 = 31 * Self::DAY;

    /// Windows an event may fall into: each is a document that is written again whenever the event's label changes.
    pub const PANES_MAX: u16 = 288;

    /// The first millisecond of the pane that holds `time`: of a hopping window's part, else of the window itself.
    pub const fn start(self, time: Timestamp) -> Timestamp {
        match self {
            Self::Fixed(length) | Self::Hopping { every: length, .. } => {
                Timestamp(time.0 - time.0.rem_euclid(length))
            }
            Self::Month => {
                let date = Date::of(time);
                Date { day: 1, ..date }.start()
            }
            Self::Cumulative => Timestamp(0),
        }
    }

    /// The first millisecond after the window that starts at `start`.
    pub const fn end(self, start: Timestamp) -> Timestamp {
        match self {
            Self::Fixed(length) | Self::Hopping { length, .. } => start.plus(length),
            // The 31st day after a month's first lies in the next month; 28 to 31 days later is its start.
            Self::Month => self.start(start.plus(31 * Self::DAY)),
            Self::Cumulative => Timestamp(i64::MAX),
        }
    }

    /// The first millisecond after the pane that starts at `start`.
    pub(super) const fn pane_end(self, start: Timestamp) -> Timestamp {
        match self {
            Self::Hopping { every, .. } => start.plus(every),
            Self::Fixed(_) | Self::Month | Self::Cumulative => self.end(start),
        }
    }

    /// How many panes a window is the sum of, and how far apart they start, in milliseconds (0: there is only one).
    pub const fn panes(self) -> (i64, i64) {
        match self {
            Self::Hopping { length, every } => (length / every, every),
            Self::Fixed(_) | Self::Month | Self::Cumulative => (1, 0),
        }
    }

    /// The starts of the windows that the pane at `pane` is part of, ascending.
    pub(super) fn windows_over(self, pane: Timestamp) -> impl Iterator<Item = Timestamp> {
        let (panes, every) = self.panes();
        (0..panes)
            .rev()
            .map(move |before| pane.plus(-before * every))
    }

    /// The starts of the panes of the window at `window`, ascending.
    pub fn panes_of(self, window: Timestamp) -> impl Iterator<Item = Timestamp> {
        let (panes, every) = self.panes();
        (0..panes).map(move |after| window.plus(after * every))
    }

    /// The start of the last pane of the window at `window`.
    pub const fn last_pane(self, window: Timestamp) -> Timestamp {
        let (panes, every) = self.panes();
        window.plus((panes - 1) * every)
    }

    /// True if some window holds both panes.
    pub const fn share_a_window(self, one: Timestamp, other: Timestamp) -> bool {
        let (panes, every) = self.panes();
        one.since(other).abs() <= (panes - 1) * every
    }

    /// A label of `time` is late for the one window that is the pane at `pane`. Hopping windows end at different times:
    /// see [`overdue`](Self::overdue).
    pub fn is_late(self, pane: Timestamp, time: Timestamp) -> bool {
        !matches!(self, Self::Hopping { .. }) && time >= self.end(pane)
    }

    /// How many hops after the pane's start a label of `time` lies, as far as it matters: it is late for the hopping
    /// windows that end by then. 0 for all others.
    pub fn overdue(self, pane: Timestamp, time: Timestamp) -> u32 {
        let (panes, every) = self.panes();
        if every == 0 {
            return 0;
        }
        u32::try_from(time.since(pane).div_euclid(every).clamp(0, panes)).unwrap_or(0)
    }

    /// How often a window starts, where that is not its length: `5m`.
    pub fn every(self) -> Option<String> {
        let Self::Hopping { every, .. } = self else {
            return None;
        };
        Some(duration(every))
    }

    /// How long a window is, as the pipeline file writes it: `30s`, `1m`, `1h`, `1d`, `1mo`, `cumulative`.
    pub fn text(self) -> String {
        match self {
            Self::Fixed(length) | Self::Hopping { length, .. } => duration(length),
            Self::Month => "1mo".into(),
            Self::Cumulative => "cumulative".into(),
        }
    }
}

impl fmt::Display for Length {
    /// What tells one kind of window from all others: `1h`, `1h/5m`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text())?;
        self.every()
            .map_or(Ok(()), |every| write!(formatter, "/{every}"))
    }
}

/// In the largest unit that leaves a whole number.
fn duration(milliseconds: i64) -> String {
    let units = [
        (Length::DAY, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let (unit, name) = units
        .into_iter()
        .find(|(unit, _)| milliseconds % unit == 0)
        .unwrap_or((1, "ms"));
    format!("{}{name}", milliseconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected: GNU date, e.g. `date -ud 2024-02-01 +%s`.
    #[test]
    fn months_have_their_own_lengths() {
        let leap_day = Timestamp(1_709_210_096_000); // 2024-02-29 12:34:56
        assert_eq!(Length::Month.start(leap_day), Timestamp(1_706_745_600_000));
        assert_eq!(
            Length::Month.end(Timestamp(1_706_745_600_000)),
            Timestamp(1_709_251_200_000)
        );
        let december = Timestamp(1_764_547_200_000);
        assert_eq!(Length::Month.end(december), Timestamp(1_767_225_600_000));
        assert_eq!(
            Length::Month.start(Timestamp(-1)),
            Timestamp(-2_678_400_000)
        );
    }

    #[test]
    fn a_length_reads_as_it_is_written() {
        let texts = [10_000, 60_000, 5_400_000, 3_600_000, 86_400_000]
            .map(|length| Length::Fixed(length).to_string());
        assert_eq!(texts, ["10s", "1m", "90m", "1h", "1d"]);
        let week = Length::Hopping {
            length: 7 * Length::DAY,
            every: Length::DAY,
        };
        assert_eq!(
            (week.to_string(), week.text(), week.every()),
            ("7d/1d".into(), "7d".into(), Some("1d".into()))
        );
    }

    #[test]
    fn a_label_is_overdue_for_the_hopping_windows_that_have_ended() {
        let hopping = Length::Hopping {
            length: 30,
            every: 10,
        };
        let over: Vec<_> = hopping.windows_over(Timestamp(100)).collect();
        assert_eq!(over, [80, 90, 100].map(Timestamp));
        // By hand: windows 80..110, 90..120 and 100..130 hold the pane at 100.
        let overdue = [99, 109, 110, 119, 120, 130, 999]
            .map(|time| hopping.overdue(Timestamp(100), Timestamp(time)));
        assert_eq!(overdue, [0, 0, 1, 1, 2, 3, 3]);
        assert_eq!(Length::Fixed(10).overdue(Timestamp(100), Timestamp(999)), 0);
    }
}
