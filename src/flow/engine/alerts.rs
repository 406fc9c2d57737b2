//! Alerts: what the book lets out becomes documents, notices and log lines.
//!
//! Windows are read into the book as they are published (`publish`). What it decides waits for a durable checkpoint; only the
//! end of all data does not wait, since what is decided there is decided again after a kill.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::flow::alert::{Active, Counted, Phase, Pulse, Severity, Told};
use crate::flow::document::{Action, Dataset, Documents};
use crate::flow::engine::{Engine, key_of_id};
use crate::flow::event::Timestamp;

/// The alerts that are not over, for somebody who looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertsView {
    /// Those that fire, then those that somebody has seen, then those that are pending; of each the newest first.
    pub shown: Vec<Active>,
    /// How many there are, shown or not.
    pub counts: BTreeMap<(Phase, Severity), usize>,
}

impl AlertsView {
    /// Alerts that are not shown.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.counts.values().sum::<usize>() - self.shown.len()
    }
}

impl Engine {
    /// The alerts that are not over, at most `max` of them; `None` if the pipeline has no alert rules.
    #[must_use]
    pub fn alerts(&self, max: usize) -> Option<AlertsView> {
        if !self.has_rules() {
            return None;
        }
        let mut view = AlertsView::default();
        let mut all: Vec<_> = self.state.alerts.active().collect();
        for (phase, event) in &all {
            *view.counts.entry((*phase, event.severity)).or_default() += 1;
        }
        let place = |phase| match phase {
            Phase::Firing => 0,
            Phase::Acknowledged => 1,
            Phase::Pending | Phase::Resolved => 2,
        };
        all.sort_unstable_by_key(|(phase, event)| (place(*phase), Reverse(event.at), &event.alert));
        all.truncate(max);
        let shown = all.into_iter().map(|(phase, event)| Active {
            phase,
            event: event.clone(),
        });
        view.shown = shown.collect();
        Some(view)
    }

    /// True if the pipeline has alert rules.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.state.alerts.is_empty()
    }

    /// Something was decided that may not be told before the next checkpoint is durable.
    #[must_use]
    pub fn has_news(&self) -> bool {
        self.state.alerts.waits()
    }

    /// Somebody has seen the alert of this id. Returns false if none of it fires.
    pub fn acknowledge(&mut self, alert: &str, now: Timestamp) -> bool {
        self.state.alerts.acknowledge(alert, now)
    }

    /// Somebody takes what the alert of this id is about for the new normal. Returns false if it is no control chart's.
    pub fn accept(&mut self, alert: &str, now: Timestamp) -> bool {
        self.state.alerts.accept(alert, now)
    }

    /// True if rules ask how the agent fares: they want a [`Pulse`] now and then.
    #[must_use]
    pub fn feels(&self) -> bool {
        self.state.alerts.feels()
    }

    /// The agent fares so.
    pub fn feel(&mut self, pulse: &Pulse, now: Timestamp) {
        let inputs = &self.totals.inputs;
        let counted = Counted {
            records: inputs.iter().map(|input| input.records).sum(),
            dead_records: inputs.iter().map(|input| input.dead_letters).sum(),
            dead_documents: pulse.documents_refused,
        };
        self.state.alerts.feel(pulse, counted, now);
    }

    /// Records were taken in: rules on silence hear of it.
    pub(super) fn hear(&mut self, now: Timestamp) {
        if self.state.alerts.is_empty() {
            return;
        }
        let inputs = self.totals.inputs.iter();
        let heard = inputs.fold((0, 0), |(predictions, labels), input| {
            let predicted = input.predictions + input.duplicates;
            (predictions + predicted, labels + input.labels)
        });
        let (predictions, labels) = std::mem::replace(&mut self.heard, heard);
        let book = &mut self.state.alerts;
        book.hear(heard.0 > predictions, heard.1 > labels, now);
    }

    pub(super) fn look_at_alerts(&mut self, now: Timestamp, out: &mut Documents) {
        let book = &mut self.state.alerts;
        if self.settings.expires {
            if book.deadline().is_some_and(|at| at <= now) {
                book.look(now);
            }
        } else if book.is_crowded() {
            // The end of all data is better, but memory is bounded.
            book.look_at_all(now);
        }
        self.tell(false, out);
    }

    /// The end of all data: every window is looked at, and all is told at once.
    pub(super) fn finish_alerts(&mut self, now: Timestamp, out: &mut Documents) {
        loop {
            self.state.alerts.look_at_all(now);
            let is_full = self.state.alerts.is_full();
            self.tell(true, out);
            if !is_full {
                return;
            }
        }
    }

    fn tell(&mut self, all: bool, out: &mut Documents) {
        for told in self.state.alerts.take_told(all) {
            let Told {
                event,
                as_document,
                as_notice,
            } = told;
            if as_notice {
                out.notices.extend(event.notice(&self.settings.pipeline));
            }
            if as_document {
                let index = self.compiled.indices.name(Dataset::Alert, event.at);
                let (id, letterhead) = (event.id(), &self.compiled.letterhead);
                // A change never changes: sent again, it is the same version, which is there already.
                let version = event.at.0.max(1);
                let action = Action::Index { version };
                out.add(action, &index, &id, key_of_id(&id), |bytes| {
                    event.write(letterhead, bytes);
                });
                out.changes.push(event);
            }
        }
    }
}
