//! How the agent itself fares, as rules on its health hear it: by its own clock, now and then.
//!
//! A pulse is no replayable record. What is decided from it is kept and told as every alert is: once a checkpoint holds it. So
//! what holds checkpoints up holds its own alert up, too, unless a spool takes the documents meanwhile.

use std::collections::VecDeque;

use crate::flow::event::Timestamp;

/// Moments that are remembered, for figures over a stretch of time: six hours of one every ten seconds.
const MOMENTS_MAX: usize = 2_160;

/// How the agent fares at a moment, as its edges see it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pulse {
    /// For how long the oldest byte that waits to be read may have been waiting, of the input that is furthest behind: seconds.
    pub input_lag_seconds: f64,
    /// Bytes that wait to be read, over all inputs.
    pub input_lag_bytes: u64,
    /// For how long documents have been under way without any being settled: seconds.
    pub held_up_seconds: f64,
    /// None was settled since the agent's start, though some are under way: it may be for longer than that.
    pub held_up_longer: bool,
    /// Share of the spool that is filled; `None`: there is none.
    pub spool_filled: Option<f64>,
    /// Of the fullest journal, the share of it that no checkpoint covers; `None`: there is none.
    pub journal_filled: Option<f64>,
    /// Documents that Elasticsearch refused, since the agent's start.
    pub documents_refused: u64,
}

/// What was counted since the agent's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records.
    pub records: u64,
    /// … that became dead letters.
    pub dead_records: u64,
    /// Documents that became dead letters.
    pub dead_documents: u64,
}

/// What a rule on the agent's health may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// [`Pulse::input_lag_seconds`]
    InputLagSeconds,
    /// [`Pulse::input_lag_bytes`]
    InputLagBytes,
    /// [`Pulse::held_up_seconds`]
    HeldUpSeconds,
    /// [`Pulse::spool_filled`]
    SpoolFilled,
    /// [`Pulse::journal_filled`]
    JournalFilled,
    /// Records and documents that became dead letters, in a stretch of time.
    DeadLetters,
    /// Of the records of a stretch of time, the share that became dead letters.
    DeadLetterRate,
}

/// A figure above which the agent is not well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthRule {
    /// Which.
    pub figure: Figure,
    /// More is bad.
    pub above: f64,
    /// The figure must be back here for an alert to be over.
    pub clear: f64,
    /// It must be bad for so long, in milliseconds.
    pub for_ms: i64,
    /// The stretch of time that dead letters are counted in, in milliseconds.
    pub over_ms: i64,
    /// Records of that stretch below which a share of them says nothing.
    pub min_support: u64,
}

impl Figure {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::InputLagSeconds,
        Self::InputLagBytes,
        Self::HeldUpSeconds,
        Self::SpoolFilled,
        Self::JournalFilled,
        Self::DeadLetters,
        Self::DeadLetterRate,
    ];

    /// As the pipeline file says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InputLagSeconds => "input_lag_seconds",
            Self::InputLagBytes => "input_lag_bytes",
            Self::HeldUpSeconds => "held_up_seconds",
            Self::SpoolFilled => "spool_filled",
            Self::JournalFilled => "journal_filled",
            Self::DeadLetters => "dead_letters",
            Self::DeadLetterRate => "dead_letter_rate",
        }
    }

    /// True if it is counted over a stretch of time.
    #[must_use]
    pub const fn is_counted(self) -> bool {
        matches!(self, Self::DeadLetters | Self::DeadLetterRate)
    }
}

impl HealthRule {
    /// The figure, and the records behind it where it is a share of them; `None`: there is none now.
    pub(super) fn measure(&self, pulse: &Pulse, recent: &Recent) -> Option<(f64, Option<u64>)> {
        let counted = || recent.within(self.over_ms);
        let value = match self.figure {
            Figure::InputLagSeconds => pulse.input_lag_seconds,
            Figure::InputLagBytes => pulse.input_lag_bytes as f64,
            // After a restart nobody can tell yet that it is better.
            Figure::HeldUpSeconds
                if pulse.held_up_longer && pulse.held_up_seconds <= self.above =>
            {
                return None;
            }
            Figure::HeldUpSeconds => pulse.held_up_seconds,
            Figure::SpoolFilled => pulse.spool_filled?,
            Figure::JournalFilled => pulse.journal_filled?,
            Figure::DeadLetters => {
                let Counted {
                    dead_records,
                    dead_documents,
                    ..
                } = counted();
                (dead_records + dead_documents) as f64
            }
            Figure::DeadLetterRate => {
                let Counted {
                    records,
                    dead_records,
                    ..
                } = counted();
                let is_enough = records >= self.min_support.max(1);
                return is_enough.then(|| (dead_records as f64 / records as f64, Some(records)));
            }
        };
        Some((value, None))
    }
}

/// What was counted up to each of the latest pulses.
#[derive(Debug)]
pub(super) struct Recent(VecDeque<(Timestamp, Counted)>);

impl Default for Recent {
    /// Before the first pulse nothing was counted.
    fn default() -> Self {
        Self(VecDeque::from([(Timestamp(i64::MIN), Counted::default())]))
    }
}

impl Recent {
    pub(super) fn add(&mut self, now: Timestamp, counted: Counted) {
        if self.0.len() >= MOMENTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, counted));
    }

    /// What was counted since the last moment that is so long ago, or longer.
    fn within(&self, over_ms: i64) -> Counted {
        let Some((now, last)) = self.0.back() else {
            return Counted::default();
        };
        let begin = now.plus(-over_ms);
        let before = self.0.iter().rev().find(|(at, _)| *at <= begin);
        let first = before.or(self.0.front()).map_or(*last, |(_, first)| *first);
        Counted {
            records: last.records.saturating_sub(first.records),
            dead_records: last.dead_records.saturating_sub(first.dead_records),
            dead_documents: last.dead_documents.saturating_sub(first.dead_documents),
        }
    }
}
