//! Changes that are decided and not told yet.
//!
//! Invariant: a change becomes *ready* with the first durable checkpoint that holds it, and leaves when it is handed out. A
//! checkpoint made after that does not hold it, and is behind its documents and notices.

use serde::{Deserialize, Serialize};

use crate::flow::alert::event::Event;

/// A change on its way out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The change.
    pub event: Event,
    /// It becomes a document and a log line; false for one that did so while nobody was to be told.
    pub as_document: bool,
    /// People are told.
    pub as_notice: bool,
}

/// All of them, in the order they were decided.
#[derive(Debug, Default)]
pub(super) struct Outbox(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    told: Told,
    /// The first checkpoint that holds it.
    cut: Option<u64>,
    ready: bool,
}

impl Outbox {
    /// A change of an alert; `tell`: people are told, if the rule names any.
    pub(super) fn put(&mut self, event: Event, tell: bool) {
        let as_notice = tell && !event.notify.is_empty();
        self.add(event, true, as_notice);
    }

    /// That an alert fires, after a time in which nobody was to be told.
    pub(super) fn put_late(&mut self, event: Event) {
        let as_notice = !event.notify.is_empty();
        self.add(event, false, as_notice);
    }

    fn add(&mut self, event: Event, as_document: bool, as_notice: bool) {
        let told = Told {
            event,
            as_document,
            as_notice,
        };
        self.0.push(Entry {
            told,
            cut: None,
            ready: false,
        });
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// True if something may be told.
    pub(super) fn is_ready(&self) -> bool {
        self.0.iter().any(|entry| entry.ready)
    }

    /// True if something waits for a checkpoint.
    pub(super) fn waits(&self) -> bool {
        self.0.iter().any(|entry| entry.cut.is_none())
    }

    /// What checkpoint `number` must hold.
    pub(super) fn cut(&mut self, number: u64) -> Vec<Told> {
        for entry in &mut self.0 {
            entry.cut.get_or_insert(number);
        }
        self.0.iter().map(|entry| entry.told.clone()).collect()
    }

    /// Checkpoint `number` is durable.
    pub(super) fn committed(&mut self, number: u64) {
        for entry in &mut self.0 {
            entry.ready |= entry.cut.is_some_and(|cut| cut <= number);
        }
    }

    /// As a checkpoint held it: all of it may be told, and may have been.
    pub(super) fn resume(kept: Vec<Told>) -> Self {
        let ready = |told| Entry {
            told,
            cut: Some(0),
            ready: true,
        };
        Self(kept.into_iter().map(ready).collect())
    }

    /// What may be told now; with `all`, whatever there is.
    pub(super) fn take(&mut self, all: bool) -> Vec<Told> {
        let (gone, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition::<Vec<_>, _>(|entry| all || entry.ready);
        self.0 = left;
        gone.into_iter().map(|entry| entry.told).collect()
    }
}
