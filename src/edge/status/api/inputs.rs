//! What each input brought and still holds, and the sums over all of them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::before;
use crate::edge::status::board::{self, Durable, Report, Wiring};
use crate::edge::tail;
use crate::flow::engine::{Ignored, InputTotals, Totals};
use crate::flow::event::InputId;

#[derive(Serialize)]
pub(super) struct Input {
    name: String,
    r#type: &'static str,
    #[serde(flatten)]
    events: Outcomes,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ignored_reasons: Ignored,
    lag_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_since: Option<i64>,
    unacknowledged_bytes: u64,
    #[serde(flatten)]
    files: Option<Files>,
    #[serde(flatten)]
    journal: Option<Journal>,
    #[serde(flatten)]
    receiver: Option<Receiver>,
}

/// Outcomes by what became of them.
#[derive(Default, Serialize)]
struct Outcomes {
    events: u64,
    predictions: u64,
    labels: u64,
    duplicates: u64,
    dead_letters: u64,
    ignored: u64,
}

#[derive(Serialize)]
struct Files {
    files: usize,
    read_bytes: u64,
}

#[derive(Serialize)]
struct Journal {
    journal_bytes: u64,
    journal_bytes_max: u64,
}

#[derive(Serialize)]
struct Receiver {
    answers: BTreeMap<u16, u64>,
    accepted_records: u64,
}

/// Over all inputs.
#[derive(Serialize)]
pub(super) struct Sums {
    #[serde(flatten)]
    events: Outcomes,
    orphans: u64,
    expired: u64,
    too_old: u64,
    lost_bytes: u64,
    balanced: bool,
}

/// Those of a pipeline, in its order.
pub(super) fn all(wiring: &Wiring, report: &Report, durable: Option<&Durable>) -> Vec<Input> {
    let snapshot = wiring.files.snapshot();
    let of = |input: &board::Input| {
        let totals = report.totals.inputs.get(usize::from(input.id().0));
        match input {
            board::Input::Files(id) => file_input(*id, input.name(), totals, &snapshot, durable),
            board::Input::Http {
                journal, counters, ..
            } => {
                let unread_from = journal.unread_from(report, durable);
                Input {
                    lag_bytes: journal.size.end().saturating_sub(unread_from),
                    waiting_since: journal.size.age(unread_from).map(|age| before(age).0),
                    unacknowledged_bytes: journal.unacknowledged(durable),
                    journal: Some(Journal {
                        journal_bytes: journal.size.bytes(),
                        journal_bytes_max: journal.bytes_max,
                    }),
                    receiver: counters.as_ref().map(|counters| Receiver {
                        answers: counters.answers_total().collect(),
                        accepted_records: counters.events_total(),
                    }),
                    ..Input::new(input.name(), "http", totals)
                }
            }
        }
    };
    wiring.inputs.iter().map(of).collect()
}

fn file_input(
    id: InputId,
    name: String,
    totals: Option<&InputTotals>,
    snapshot: &tail::Snapshot,
    durable: Option<&Durable>,
) -> Input {
    let of_it = |source: &&tail::SourceStatus| source.input == id;
    let safe = |source: &tail::SourceStatus| {
        let key = source.key.as_ref();
        key.and_then(|key| durable?.offsets.get(key).copied())
    };
    let unacknowledged = snapshot.sources.iter().filter(of_it);
    let unacknowledged =
        unacknowledged.map(|source| source.size.saturating_sub(safe(source).unwrap_or(0)));
    let status = snapshot.inputs.iter().find(|input| input.input == id);
    Input {
        lag_bytes: status.map_or(0, |status| status.lag_bytes),
        waiting_since: status.and_then(|status| Some(status.waiting_since?.0)),
        unacknowledged_bytes: unacknowledged.sum(),
        files: status.map(|status| Files {
            files: status.files,
            read_bytes: status.read_bytes_total,
        }),
        ..Input::new(name, "file", totals)
    }
}

impl Input {
    fn new(name: String, r#type: &'static str, totals: Option<&InputTotals>) -> Self {
        Self {
            name,
            r#type,
            events: totals.map(Outcomes::of).unwrap_or_default(),
            ignored_reasons: totals
                .map(|totals| totals.ignored.clone())
                .unwrap_or_default(),
            lag_bytes: 0,
            waiting_since: None,
            unacknowledged_bytes: 0,
            files: None,
            journal: None,
            receiver: None,
        }
    }
}

impl Outcomes {
    fn of(totals: &InputTotals) -> Self {
        Self {
            events: totals.events(),
            predictions: totals.predictions,
            labels: totals.labels,
            duplicates: totals.duplicates,
            dead_letters: totals.dead_letters,
            ignored: totals.ignored.values().sum(),
        }
    }
}

impl Sums {
    pub(super) fn of(totals: &Totals, wiring: Option<&Wiring>) -> Self {
        let mut events = Outcomes::default();
        for input in totals.inputs.iter().map(Outcomes::of) {
            events.events += input.events;
            events.predictions += input.predictions;
            events.labels += input.labels;
            events.duplicates += input.duplicates;
            events.dead_letters += input.dead_letters;
            events.ignored += input.ignored;
        }
        Self {
            events,
            orphans: totals.orphans,
            expired: totals.expired,
            too_old: totals.too_old,
            lost_bytes: wiring.map_or(0, |wiring| wiring.files.snapshot().lost_bytes_total),
            balanced: totals.is_balanced(),
        }
    }
}
