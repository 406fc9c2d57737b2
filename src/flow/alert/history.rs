//! What is remembered of a subject's windows: their readings, and what they were found to be.
//!
//! A window is *looked at* when its number can be trusted, not whenever it changes: first some time after it has ended, and
//! again when it has not changed for as long, when the labels behind it have doubled, or when it is complete. To look at each
//! of a thousand late labels would find by chance what is not there. A bad window is looked at with every change: that it is
//! repaired is told at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::alert::reading::Reading;
use crate::flow::event::Timestamp;

/// Windows of one subject, by their start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History(BTreeMap<Timestamp, Window>);

/// One window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// The first millisecond behind it.
    pub(super) until: Timestamp,
    /// Its number, as published last.
    pub(super) reading: Reading,
    /// What it was found to be, when it was looked at last.
    pub(super) looked: Option<Looked>,
    /// When it is to be looked at, by the agent's clock.
    pub(super) due: Option<Timestamp>,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Looked {
    /// Rows there were.
    pub(super) support: u64,
    /// What it is.
    pub(super) verdict: Verdict,
}

/// What a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// Nobody can tell: too few rows, no number, or nothing to compare with.
    Unknown,
    /// Bad.
    Breach,
    /// Not bad, but not so good that an alert would be over.
    Held,
    /// Good.
    Clear,
}

/// When windows are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Milliseconds after a window's end, and after its latest change.
    pub(super) wait_ms: i64,
    /// Windows that have not ended are looked at, too.
    pub(super) open: bool,
    /// Rows below which a look tells nothing.
    pub(super) min_support: u64,
}

impl History {
    /// A window was published. Returns true if that is news.
    pub(super) fn publish(
        &mut self,
        start: Timestamp,
        until: Timestamp,
        reading: Reading,
        patience: Patience,
        now: Timestamp,
    ) -> bool {
        let opens = if patience.open { now } else { until };
        let Some(window) = self.0.get_mut(&start) else {
            // It may have ended long ago, and be on its way in: what is read on from a log is not its last word.
            let due = opens.max(now).plus(patience.wait_ms);
            let window = Window {
                until,
                reading,
                looked: None,
                due: Some(due),
            };
            self.0.insert(start, window);
            return true;
        };
        let complete = reading.complete && !window.reading.complete;
        let same = Reading {
            complete: reading.complete,
            ..window.reading
        };
        if same == reading && window.until == until {
            // That no label is to come any more is no news of what was found already.
            window.reading = reading;
            window.due = window.due.map(|due| {
                if complete {
                    due.min(opens.max(now))
                } else {
                    due
                }
            });
            return false;
        }
        (window.reading, window.until) = (reading, until);
        if let Some(looked) = window.looked {
            let is_bad = looked.verdict == Verdict::Breach;
            let enough = patience.min_support.max(looked.support.saturating_mul(2));
            let soon = is_bad || reading.complete || reading.support >= enough;
            let due = if soon {
                now
            } else {
                now.plus(patience.wait_ms)
            };
            window.due = Some(due);
        }
        true
    }

    /// Forgets a window.
    pub(super) fn remove(&mut self, start: Timestamp) {
        self.0.remove(&start);
    }

    /// Windows whose time has come by `now`, oldest first.
    pub(super) fn due(&self, now: Timestamp) -> Vec<(Timestamp, Window)> {
        let due = |window: &Window| window.due.is_some_and(|due| due <= now);
        let windows = self.0.iter().filter(|(_, window)| due(window));
        windows.map(|(start, window)| (*start, *window)).collect()
    }

    /// When next a window's time comes.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.0.values().filter_map(|window| window.due).min()
    }

    /// Writes down what a window was found to be, `looked`: by a look at itself. Returns what it was before. One that nobody
    /// has looked at yet stays so.
    pub(super) fn found(
        &mut self,
        start: Timestamp,
        verdict: Verdict,
        looked: bool,
    ) -> Option<Verdict> {
        let window = self.0.get_mut(&start)?;
        let support = match window.looked {
            Some(before) if !looked => before.support,
            None if !looked => return None,
            _ => window.reading.support,
        };
        if looked {
            window.due = None;
        }
        let before = window.looked.replace(Looked { support, verdict });
        before.map(|looked| looked.verdict)
    }

    /// Bad windows behind `start`: what they are compared with has changed.
    pub(super) fn bad_after(&self, start: Timestamp) -> Vec<Timestamp> {
        let behind = self.0.range(start.plus(1)..);
        let bad = behind.filter(|(_, window)| window.verdict() == Verdict::Breach);
        bad.map(|(start, _)| *start).collect()
    }

    /// Forgets windows beyond `most`: the oldest of which nothing is known (labels that come for them later bring them back),
    /// then the oldest. None that was not looked at yet.
    pub(super) fn forget(&mut self, most: usize) {
        let surplus = self.0.len().saturating_sub(most);
        if surplus == 0 {
            return;
        }
        let looked = self.0.iter().filter(|(_, window)| window.looked.is_some());
        let (unknown, known): (Vec<_>, Vec<_>) =
            looked.partition(|(_, window)| window.verdict() == Verdict::Unknown);
        let starts = unknown.into_iter().chain(known).map(|(start, _)| *start);
        for start in starts.take(surplus).collect::<Vec<_>>() {
            self.0.remove(&start);
        }
    }

    /// Nobody can tell any more what the windows were that were looked at.
    pub(super) fn forget_verdicts(&mut self) {
        for window in self.0.values_mut() {
            if let Some(looked) = &mut window.looked {
                looked.verdict = Verdict::Unknown;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, start: Timestamp) -> Option<&Window> {
        self.0.get(&start)
    }

    /// Windows that were looked at, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = (Timestamp, &Window)> {
        let looked = self.0.iter().rev();
        let looked = looked.filter(|(_, window)| window.looked.is_some());
        looked.map(|(start, window)| (*start, window))
    }

    /// Windows that start before `start`, newest first.
    pub(super) fn before(&self, start: Timestamp) -> impl Iterator<Item = &Window> {
        self.0.range(..start).rev().map(|(_, window)| window)
    }

    /// Every window is to be looked at, now that all data is in.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        for window in self.0.values_mut() {
            window.due = window.due.map(|due| due.min(now));
        }
    }
}

impl Window {
    /// What it was found to be.
    pub(super) fn verdict(&self) -> Verdict {
        self.looked
            .map_or(Verdict::Unknown, |looked| looked.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        wait_ms: 10,
        open: false,
        min_support: 30,
    };

    fn reading(support: u64, complete: bool) -> Reading {
        Reading {
            value: Some(0.5),
            support,
            complete,
            ..Reading::default()
        }
    }

    /// When a window of 100 to 200 is due after these publications: (now, support, complete), looked at whenever it is due.
    fn dues(publications: &[(i64, u64, bool)]) -> Vec<Option<i64>> {
        let mut history = History::default();
        let mut dues = Vec::new();
        for &(now, support, complete) in publications {
            let (start, until) = (Timestamp(100), Timestamp(200));
            history.publish(
                start,
                until,
                reading(support, complete),
                PATIENCE,
                Timestamp(now),
            );
            let due = history.deadline();
            dues.push(due.map(|due| due.0));
            if due.is_some_and(|due| due.0 <= now) {
                history.found(start, Verdict::Clear, true);
            }
        }
        dues
    }

    #[test]
    fn a_window_is_looked_at_after_its_end_when_labels_have_doubled_and_when_it_rests() {
        assert_eq!(
            dues(&[(150, 5, false), (160, 40, false)]),
            [Some(210), Some(210)]
        );
        let late = dues(&[
            (150, 40, false),
            (210, 50, false),
            (220, 60, false),
            (221, 99, false),
            (222, 100, false),
        ]);
        assert_eq!(
            late,
            [Some(210), Some(210), Some(230), Some(231), Some(222)]
        );
        let complete = dues(&[
            (300, 40, false),
            (310, 40, false),
            (320, 41, true),
            (330, 41, true),
        ]);
        assert_eq!(complete, [Some(310), Some(310), Some(320), None]);
    }

    #[test]
    fn what_is_final_is_no_news() {
        assert_eq!(
            dues(&[(300, 40, false), (310, 40, false), (999, 40, true)]),
            [Some(310), Some(310), None]
        );
    }

    #[test]
    fn windows_of_which_nothing_is_known_are_forgotten_first() {
        let mut history = History::default();
        let verdicts = [
            Verdict::Breach,
            Verdict::Unknown,
            Verdict::Clear,
            Verdict::Unknown,
        ];
        for (start, verdict) in [0, 100, 200, 300].map(Timestamp).into_iter().zip(verdicts) {
            history.publish(start, start.plus(100), reading(9, false), PATIENCE, start);
            history.found(start, verdict, true);
        }
        let new = Timestamp(900);
        history.publish(new, new.plus(100), reading(0, false), PATIENCE, new);
        let starts = |history: &History| history.0.keys().map(|start| start.0).collect::<Vec<_>>();
        history.forget(4);
        assert_eq!(starts(&history), [0, 200, 300, 900]);
        history.forget(2);
        assert_eq!(starts(&history), [200, 900]);
        history.forget(0);
        assert_eq!(starts(&history), [900], "nobody has looked at it");
    }
}
