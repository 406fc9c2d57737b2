//! The book over a restart: what a checkpoint holds of it, and what a changed pipeline file makes of that.
//!
//! The form is versioned: [`FORMAT`], then postcard. A checkpoint without it is one of before there were alerts.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::flow::alert::book::outbox::{Outbox, Told};
use crate::flow::alert::book::{Book, Watched};
use crate::flow::alert::life::{Alert, Phase};
use crate::flow::alert::rule::{Check, Rule, Settings, Watch};
use crate::flow::event::Timestamp;

/// Of the bytes below. What development versions wrote as format 1 is not read: their alerts begin anew.
const FORMAT: u16 = 2;

/// A state that this version cannot go on from.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not what this version writes.
    #[error("{0}")]
    Encoding(#[from] postcard::Error),
    /// Written by a newer version.
    #[error(
        "the alerts in it are of format {0}, this version knows {FORMAT}: use the newer version"
    )]
    Newer(u16),
}

#[derive(Serialize, Deserialize)]
struct Kept<'b> {
    format: u16,
    rules: Vec<KeptRule<'b>>,
    gone: Cow<'b, [Alert]>,
    outbox: Vec<Told>,
}

#[derive(Serialize, Deserialize)]
struct KeptRule<'b> {
    name: String,
    /// What it watched: another metric's history says nothing.
    what: String,
    watched: Cow<'b, Watched>,
}

impl Book {
    /// Appends what checkpoint `number` must hold.
    ///
    /// # Errors
    /// The encoder, which has no reason to.
    pub fn cut(&mut self, number: u64, out: Vec<u8>) -> Result<Vec<u8>, postcard::Error> {
        let outbox = self.outbox.cut(number);
        let rules = self.settings.rules.iter().zip(&self.watched);
        let rules = rules.map(|(rule, watched)| KeptRule {
            name: rule.name.clone(),
            what: what(rule),
            watched: Cow::Borrowed(watched),
        });
        let kept = Kept {
            format: FORMAT,
            rules: rules.collect(),
            gone: Cow::Borrowed(&self.gone),
            outbox,
        };
        postcard::to_extend(&kept, out)
    }

    /// Checkpoint `number` is durable: what was decided before it may be told.
    pub fn committed(&mut self, number: u64) {
        self.outbox.committed(number);
    }

    /// True if a checkpoint is waited for, so that something may be told.
    pub fn waits(&self) -> bool {
        self.outbox.waits()
    }

    /// What may be told now; with `all`, whatever is decided.
    pub fn take_told(&mut self, all: bool) -> Vec<Told> {
        self.outbox.take(all)
    }

    /// Goes on from what [`cut`](Self::cut) appended; from nothing, if there was nothing.
    ///
    /// # Errors
    /// The bytes are not what this version writes.
    pub fn resume(
        settings: Settings,
        pipeline: &str,
        agent: &str,
        bytes: &[u8],
    ) -> Result<Self, Unreadable> {
        let mut book = Self::new(settings, pipeline, agent);
        if bytes.is_empty() {
            return Ok(book);
        }
        let (format, _) = postcard::take_from_bytes::<u16>(bytes)?;
        if format > FORMAT {
            return Err(Unreadable::Newer(format));
        }
        if format < FORMAT {
            return Ok(book);
        }
        let kept: Kept<'_> = postcard::from_bytes(bytes)?;
        book.outbox = Outbox::resume(kept.outbox);
        book.gone = kept.gone.into_owned();
        for old in kept.rules {
            let watched = old.watched.into_owned();
            let is_same = |rule: &&Rule| rule.name == old.name && what(rule) == old.what;
            let place = book.settings.rules.iter().position(|rule| is_same(&rule));
            match place.and_then(|place| book.watched.get_mut(place)) {
                Some(slot) => *slot = watched,
                None => book.gone.extend(watched.into_alerts()),
            }
        }
        // Time has passed: look at once.
        book.next = Some(Timestamp(0));
        Ok(book)
    }

    /// Alerts of rules that are gone are over.
    pub(super) fn bury(&mut self, now: Timestamp) {
        for mut alert in std::mem::take(&mut self.gone) {
            let reason = "its rule is not in the pipeline file any more, or watches something else";
            let event = alert.becomes(Phase::Resolved, reason.to_owned(), now);
            self.outbox.put(event, alert.told);
        }
    }
}

impl Watched {
    fn into_alerts(self) -> impl Iterator<Item = Alert> {
        let subjects = self.subjects.into_values();
        let alerts = subjects.filter_map(|known| known.alert);
        alerts.chain(self.clocked.alert)
    }
}

/// What a rule watches, as far as its history depends on it.
fn what(rule: &Rule) -> String {
    match &rule.watch {
        // A detector remembers by its own settings: with others it begins anew.
        Watch::Windows(on) => match &on.check {
            Check::Detection(detection) => {
                format!("{} {} {:?}", on.metric, on.window, detection.detector)
            }
            Check::Comparison(comparison) => format!(
                "{} {} against {:?}",
                on.metric, on.window, comparison.baseline
            ),
            Check::Threshold(_) | Check::Change(_) | Check::Distribution(_) => {
                format!("{} {}", on.metric, on.window)
            }
        },
        Watch::Silence(silence) => silence.of.name().to_owned(),
        Watch::Health(health) => health.figure.name().to_owned(),
    }
}
