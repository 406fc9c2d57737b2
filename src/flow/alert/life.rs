//! The life of an alert: pending → firing → (acknowledged) → resolved, and never back.
//!
//! Invariant: what becomes of an alert follows from what its subject's windows were found to be, newest first, and from nothing
//! else. An alert that has resolved is over: what comes later is another one, with another id.

use serde::{Deserialize, Serialize};

use crate::flow::alert::event::Event;
use crate::flow::alert::history::Verdict;
use crate::flow::event::Timestamp;

/// An alert that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Alert {
    /// The same over restarts and replays.
    pub(super) id: String,
    /// Start of its first bad window; of silence, when it began.
    pub(super) first: Timestamp,
    /// Where it stands.
    pub(super) phase: Phase,
    /// Number of its latest change, from 1; 0 before the first.
    pub(super) number: u32,
    /// When it began to fire.
    pub(super) fired: Option<Timestamp>,
    /// People were told that it fires, or are about to be.
    pub(super) told: bool,
    /// Its latest change to pending or firing.
    pub(super) event: Box<Event>,
}

/// Where an alert stands, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Bad, but not yet for long enough.
    Pending,
    /// Bad.
    Firing,
    /// Bad, and somebody knows.
    Acknowledged,
    /// Over.
    Resolved,
}

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) to: Phase,
    /// Start of the first bad window.
    pub(super) first: Timestamp,
    /// Bad windows in a row.
    pub(super) row: u32,
}

/// What to do, given where the alert stands (if there is one), the windows newest first, and how many bad ones make it fire.
pub(super) fn next(
    phase: Option<Phase>,
    newest_first: impl Iterator<Item = (Timestamp, Verdict)>,
    in_a_row: u32,
) -> Option<Move> {
    let mut known = newest_first.filter(|(_, verdict)| *verdict != Verdict::Unknown);
    let (start, newest) = known.next()?;
    let mut first = start;
    let mut row = u32::from(newest == Verdict::Breach);
    if row > 0 {
        for (start, _) in known.take_while(|(_, verdict)| *verdict == Verdict::Breach) {
            (first, row) = (start, row + 1);
        }
    }
    let to = match (phase, newest) {
        (None | Some(Phase::Pending), Verdict::Breach) if row >= in_a_row => Phase::Firing,
        (None, Verdict::Breach) => Phase::Pending,
        (Some(Phase::Pending), Verdict::Clear | Verdict::Held)
        | (Some(Phase::Firing | Phase::Acknowledged), Verdict::Clear) => Phase::Resolved,
        _ => return None,
    };
    Some(Move { to, first, row })
}

impl Alert {
    /// One that is about to begin.
    pub(super) fn new(id: String, first: Timestamp, event: Event) -> Self {
        Self {
            id,
            first,
            phase: Phase::Pending,
            number: 0,
            fired: None,
            told: false,
            event: Box::new(event),
        }
    }

    /// Its next change, of which `event` says what was measured, when and why.
    pub(super) fn turns(&mut self, to: Phase, event: Event) -> Event {
        debug_assert!(
            self.number == 0 || self.phase < to,
            "an alert never goes back: {:?} to {to:?}",
            self.phase
        );
        self.phase = to;
        self.number += 1;
        if to == Phase::Firing {
            self.fired = Some(event.at);
        }
        let event = Event {
            alert: self.id.clone(),
            number: self.number,
            phase: to,
            began: self.first,
            fired: self.fired,
            ..event
        };
        if matches!(to, Phase::Pending | Phase::Firing) {
            *self.event = event.clone();
        }
        event
    }

    /// Its next change, by something else than a measurement: what was measured stays as it was.
    pub(super) fn becomes(&mut self, to: Phase, reason: String, now: Timestamp) -> Event {
        let event = Event {
            reason,
            at: now,
            ..(*self.event).clone()
        };
        self.turns(to, event)
    }

    /// It fires, and nobody was told, since nobody was to be told then.
    pub(super) fn is_untold(&self) -> bool {
        !self.told && self.event.phase == Phase::Firing
    }
}

impl Phase {
    /// As documents and log lines say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows' verdicts as letters, oldest first: `b`reach, `h`eld, `c`lear, `.` unknown. Starts count from 0.
    fn check(phase: Option<Phase>, letters: &str, in_a_row: u32, expect: Option<(Phase, i64)>) {
        let verdict = |letter| match letter {
            'b' => Verdict::Breach,
            'h' => Verdict::Held,
            'c' => Verdict::Clear,
            _ => Verdict::Unknown,
        };
        let windows = (0..).map(Timestamp).zip(letters.chars().map(verdict));
        let mut windows: Vec<_> = windows.collect();
        windows.reverse();
        let found = next(phase, windows.into_iter(), in_a_row);
        let found = found.map(|found| (found.to, found.first.0));
        assert_eq!(found, expect, "{phase:?} {letters} {in_a_row}");
    }

    #[test]
    fn so_many_bad_windows_in_a_row_make_it_fire() {
        use Phase::{Firing, Pending};
        check(None, "ccb", 1, Some((Firing, 2)));
        check(None, "ccb", 2, Some((Pending, 2)));
        check(None, "cbb", 2, Some((Firing, 1)));
        check(Some(Pending), "cb", 2, None);
        check(Some(Pending), "cb.b", 2, Some((Firing, 1)));
        check(None, "cbcb", 2, Some((Pending, 3)));
        check(None, "c..", 1, None);
        check(None, "...", 1, None);
        check(Some(Firing), "bbb", 2, None);
    }

    #[test]
    fn it_is_over_when_the_newest_window_is_good() {
        use Phase::{Acknowledged, Firing, Pending, Resolved};
        check(Some(Firing), "bbc", 1, Some((Resolved, 2)));
        check(Some(Firing), "bbh", 1, None);
        check(Some(Firing), "bb.", 1, None);
        check(Some(Acknowledged), "bbc.", 1, Some((Resolved, 2)));
        check(Some(Pending), "bh", 2, Some((Resolved, 1)));
    }
}
