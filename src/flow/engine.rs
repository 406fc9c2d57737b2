//! The composition: batches in, documents out. A value between two calls.
//!
//! The verbs: [`Engine::push`] takes records, [`Engine::observe`] a host snapshot, [`Engine::advance`] lets time pass
//! and must be called again at [`Engine::deadline`]; [`Engine::checkpoint`] and [`Engine::resume`] are a pair;
//! [`Engine::release`] ships what is held back (before stopping), [`Engine::finish`] is the end of all data.
//!
//! Invariant: what comes out depends on the records, their order within a source and `now`; replaying the records
//! since a checkpoint gives the same document ids and the same counts.

mod alerts;
mod beaten;
mod closed;
mod comparisons;
mod events;
mod held;
mod letters;
mod looked;
mod operations;
mod publish;
mod settings;
mod shipping;
mod small_groups;
mod stamps;
mod state;
mod totals;
mod versions;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::flow::alert::Book;
use crate::flow::decode::{Decoder, Format, Record, SourceState, Wanted};
use crate::flow::document::{Action, Documents, HostDocument, Indices, Kept, Letterhead};
use crate::flow::document::{Dataset, key_of_id};
use crate::flow::event::{Batch, Event, Head, InputId, Kind, SourceKey, Timestamp};
use crate::flow::host::{History, HostSnapshot, Metric};
use crate::flow::join::Join;
use crate::flow::json;
use crate::flow::lines;
use crate::flow::mapping::{Mapping, Unmapped};
use crate::flow::windows::Windows;

pub use alerts::AlertsView;
use letters::{Found, dead_letter};
pub use looked::Looked;
pub use settings::{Again, Agent, Checkpoint, Input, Intake, Operations, Settings};
pub use state::{CheckpointError, ResumeError};
pub use totals::{Ignored, InputTotals, Totals};
pub use view::{Bounds, Load, SeriesView, View, WindowView};

/// A record's time may lie this far ahead of the agent's clock; beyond, its clock is wrong and it is a dead letter.
const AHEAD_MAX_MS: i64 = 3_600_000;

/// The machine.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    /// What can be told from the settings alone.
    compiled: Compiled,
    /// What a checkpoint keeps.
    state: State,
    /// When dirty windows are published next.
    publish_at: Option<Timestamp>,
    /// When next a window may have become final.
    close_at: Option<Timestamp>,
    /// Version of the orphans that found their prediction in this step: their ids differ.
    found_version: Option<i64>,
    /// Counted since this engine was made.
    totals: Totals,
    /// Of no checkpoint: for those who look.
    closed: closed::Closed,
    /// Counted by the engines before it, up to the checkpoint that it was resumed from.
    earlier: Totals,
    /// Predictions and labels that rules on silence have heard of.
    heard: (u64, u64),
}

/// How the records of a batch are read.
#[derive(Clone, Copy)]
struct Reading<'b> {
    batch: &'b Batch,
    kind: Option<Kind>,
    now: Timestamp,
}

#[derive(Debug)]
struct Compiled {
    mapping: Mapping,
    wanted: Wanted,
    letterhead: Letterhead,
    indices: Indices,
    host_name: Vec<u8>,
    slice_names: Vec<String>,
    /// Where a document is written that is kept for a moment.
    scratch: Vec<u8>,
}

/// Everything that is remembered between two calls and over a restart.
#[derive(Debug)]
struct State {
    heads: BTreeMap<SourceKey, Head>,
    sources: BTreeMap<SourceKey, SourceState>,
    tables: state::Tables,
    join: Join,
    windows: Windows,
    held: held::Held,
    history: History,
    hosts: publish::HostWindows,
    versions: versions::Versions,
    stamps: stamps::Stamps,
    alerts: Book,
    /// Number of the latest checkpoint.
    checkpoints: u64,
}

impl Engine {
    /// An engine that has seen nothing.
    ///
    /// # Errors
    /// The mapping cannot work, in words (a time zone that is not in the database).
    pub fn new(settings: Settings) -> Result<Self, String> {
        let (mapping, wanted) = Mapping::compile(&settings.mapping, &settings.task)?;
        let slices = settings
            .mapping
            .prediction
            .as_ref()
            .map(|paths| paths.slices.as_slice())
            .unwrap_or_default();
        let slice_names: Vec<String> = slices.iter().map(|(name, _)| name.clone()).collect();
        let mut host_name = Vec::new();
        json::write_text(&settings.agent.name, &mut host_name);
        let compiled = Compiled {
            mapping,
            wanted,
            letterhead: Letterhead::new(
                &settings.pipeline,
                &settings.agent.id,
                &settings.agent.name,
            ),
            indices: Indices::new(&settings.index_prefix),
            host_name,
            slice_names,
            scratch: Vec::new(),
        };
        let state = State {
            heads: BTreeMap::new(),
            sources: BTreeMap::new(),
            tables: state::Tables::new(&settings, &compiled.slice_names),
            join: Join::new(&settings.join),
            windows: Windows::new(&settings.windows, settings.window_bytes_max),
            held: held::Held::default(),
            history: History::default(),
            hosts: publish::HostWindows::default(),
            versions: versions::Versions::default(),
            stamps: stamps::Stamps::default(),
            alerts: Book::new(
                settings.alerts.clone(),
                &settings.pipeline,
                &settings.agent.id,
            ),
            checkpoints: 0,
        };
        let totals = Totals::new(settings.inputs.len());
        Ok(Self {
            settings,
            compiled,
            state,
            publish_at: None,
            close_at: None,
            found_version: None,
            totals,
            closed: closed::Closed::default(),
            earlier: Totals::default(),
            heard: (0, 0),
        })
    }

    /// Takes in the records of a batch.
    pub fn push(&mut self, batch: &Batch, now: Timestamp, out: &mut Documents) {
        let input = self
            .settings
            .inputs
            .get(usize::from(batch.input.0))
            .copied();
        let Some(input) = input else {
            debug_assert!(false, "the agent numbers inputs as the settings do");
            return;
        };
        self.begin(now, out);
        // About what is made of it: a buffer that grows is copied, and all of its pages are new. So is one that is empty,
        // with all that was in it.
        let room = 3 * batch.bytes.len();
        if out.bytes.is_empty() && out.bytes.capacity() < room {
            out.bytes = Vec::with_capacity(room);
        } else {
            out.bytes.reserve(room);
        }
        let kind = batch.kind.or(input.kind);
        if batch.restart {
            self.state.sources.remove(&batch.source);
        }
        let mut source_state = self.state.sources.remove(&batch.source).flatten();
        for fault in &batch.faults {
            self.totals.record(batch.input).unreadable();
            // A beginning cannot be cleaned: what `privacy` looks for may go on behind it.
            let withheld = self.settings.privacy.cleaning.is_some();
            let (text, kept): (&[u8], _) = if withheld {
                (&[], Kept::Withheld)
            } else {
                (&fault.excerpt, Kept::Cut)
            };
            let found = Found {
                at: fault.offset,
                text,
                bytes: fault.length,
                kept,
                header: None,
            };
            out.dead_letters
                .push(dead_letter(batch, fault.reason.clone(), &found));
        }
        let wanted = std::mem::take(&mut self.compiled.wanted);
        self.records(
            batch,
            input.format,
            kind,
            &wanted,
            &mut source_state,
            now,
            out,
        );
        self.compiled.wanted = wanted;
        if source_state.is_some() {
            self.state
                .sources
                .insert(batch.source.clone(), source_state);
        }
        self.end(&batch.source, &batch.head, now, out);
    }

    /// Before anything is taken in: what is over by `now` is over before. Whether a label came in time, or a window is final,
    /// must not hang on who was called first, or a replay would say otherwise.
    fn begin(&mut self, now: Timestamp, out: &mut Documents) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.advance(now, out);
            while self.has_more(now) {
                self.advance(now, out);
            }
        }
        self.found_version = None;
    }

    /// After something was taken in of a source.
    fn end(&mut self, source: &SourceKey, head: &Head, now: Timestamp, out: &mut Documents) {
        self.state.heads.insert(source.clone(), head.clone());
        self.hear(now);
        self.ship_over_bound(now, out);
        self.schedule_publication(now);
        debug_assert!(self.totals.is_balanced(), "{:?}", self.totals);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of `push` that must be borrowed apart"
    )]
    fn records(
        &mut self,
        batch: &Batch,
        format: Format,
        kind: Option<Kind>,
        wanted: &Wanted,
        source_state: &mut SourceState,
        now: Timestamp,
        out: &mut Documents,
    ) {
        let mark = if batch.base == 0 {
            lines::byte_order_mark(&batch.bytes)
        } else {
            0
        };
        let text = batch.bytes.get(mark..).unwrap_or_default();
        let records = lines::records(text, format.framing())
            .map(|(at, record)| (batch.base + (at + mark) as u64, record));
        let reading = Reading { batch, kind, now };
        if let Some(cleaning) = self.settings.privacy.cleaning.clone() {
            let mut cleaned = Vec::new();
            for (at, record) in records {
                let bytes = record.len() as u64;
                match cleaning.clean(format, source_state.as_ref(), record, &mut cleaned) {
                    Ok(()) => {
                        let mut decoder = Decoder::new(format, wanted);
                        let place = (at, bytes);
                        self.record(&reading, &mut decoder, source_state, place, &cleaned, out);
                    }
                    Err(reason) => {
                        self.totals.record(batch.input).unreadable();
                        let rest = cleaning.rest(record);
                        let found = Found {
                            at,
                            text: rest.as_bytes(),
                            bytes,
                            kept: Kept::Withheld,
                            header: source_state.as_ref(),
                        };
                        let reason = cleaning.message(reason);
                        out.dead_letters.push(dead_letter(batch, reason, &found));
                    }
                }
            }
            return;
        }
        let mut decoder = Decoder::new(format, wanted);
        for (at, record) in records {
            let place = (at, record.len() as u64);
            self.record(&reading, &mut decoder, source_state, place, record, out);
        }
    }

    /// Takes in one record; `place` is where it was found, and its length there.
    fn record<'a>(
        &mut self,
        reading: &Reading<'_>,
        decoder: &mut Decoder<'_, 'a>,
        source_state: &mut SourceState,
        (at, bytes): (u64, u64),
        record: &'a [u8],
        out: &mut Documents,
    ) {
        let Reading { batch, kind, now } = *reading;
        let had_header = source_state.is_some();
        let mut rows = 0_usize;
        let decoded = decoder.rows(source_state, record, |row| {
            rows += 1;
            let mapped = self.map(row, kind, batch.input, now, out);
            match mapped {
                Ok(()) => {}
                Err(Unmapped::Ignored(reason)) => {
                    self.totals.record(batch.input).ignore(reason);
                }
                Err(Unmapped::Faulty(reason)) => {
                    self.totals.record(batch.input).dead_letters += 1;
                    // Of an array of records, only the one that is at fault.
                    let (text, header) = match row.record {
                        Record::Json(text) => (text.as_bytes(), None),
                        Record::Csv(header, _) => (record, Some(header)),
                    };
                    let kept = Kept::Whole;
                    let found = Found {
                        at,
                        text,
                        bytes,
                        kept,
                        header,
                    };
                    out.dead_letters.push(dead_letter(batch, reason, &found));
                }
            }
        });
        if let Err(reason) = decoded {
            self.totals.record(batch.input).unreadable();
            let kept = if rows == 0 { Kept::Whole } else { Kept::Begun };
            let found = Found {
                at,
                text: record,
                bytes,
                kept,
                header: source_state.as_ref(),
            };
            out.dead_letters.push(dead_letter(batch, reason, &found));
        } else if rows == 0 && source_state.is_some() == had_header {
            self.totals.record(batch.input).records += 1;
            self.totals.record(batch.input).ignore("an empty array");
        }
    }

    fn map(
        &mut self,
        row: &crate::flow::decode::Row<'_, '_>,
        kind: Option<Kind>,
        input: InputId,
        now: Timestamp,
        out: &mut Documents,
    ) -> Result<(), Unmapped> {
        // A record holds at most a prediction and its label; collected, since taking one in needs the whole engine.
        let mut events: smallvec::SmallVec<[Event<'_>; 2]> = smallvec::SmallVec::new();
        let mapped = self
            .compiled
            .mapping
            .events(row, kind, |event| events.push(event));
        // All of a record or nothing: what is a dead letter has left no trace, and may be read anew.
        let mapped = mapped.and_then(|()| {
            events.iter().try_for_each(|event| match event {
                Event::Prediction(prediction) => events::refuse_the_future(prediction.time, now),
                Event::Label(label) => label
                    .time
                    .map_or(Ok(()), |time| events::refuse_the_future(time, now)),
            })
        });
        let cleaning = self.settings.privacy.cleaning.as_ref();
        let mapped = mapped
            .and_then(|()| cleaning.map_or(Ok(()), |how| events::refuse_lost_ids(how, &events)));
        if mapped.is_err() {
            self.totals.record(input).records += 1;
            return mapped;
        }
        for event in &events {
            self.totals.record(input).records += 1;
            match event {
                Event::Prediction(prediction) => {
                    self.predict(prediction, &row.record, input, now, out);
                }
                Event::Label(label) => self.label(label, input, now, out),
            }
        }
        Ok(())
    }

    /// Takes in what the host was doing, and ships it.
    pub fn observe(&mut self, mut snapshot: HostSnapshot, now: Timestamp, out: &mut Documents) {
        snapshot.set(Metric::HostName, self.settings.agent.name.as_ref());
        let mut members = Vec::new();
        snapshot.write_members(&mut members);
        let document = HostDocument {
            time: snapshot.time,
            members: &members,
        };
        let index = self.compiled.indices.name(Dataset::Host, snapshot.time);
        let id = crate::flow::document::window_id(&[
            &self.settings.pipeline,
            &self.settings.agent.id,
            &snapshot.time.0.to_string(),
        ]);
        let key = key_of_id(&id);
        out.add(Action::Create, &index, &id, key, |bytes| {
            document.write(&self.compiled.letterhead, now, bytes);
        });
        self.state.hosts.add(&self.settings.windows, &snapshot);
        let tolerance_ms = self.settings.host_tolerance_ms;
        self.state.history.push(snapshot, tolerance_ms);
    }

    /// Forgets a source that is gone for good.
    pub fn forget(&mut self, source: &SourceKey) {
        self.state.heads.remove(source);
        self.state.sources.remove(source);
    }

    /// Lets time pass: ships what was held long enough, gives up on labels and predictions past their time, publishes
    /// windows that changed. Spurious calls do nothing.
    pub fn advance(&mut self, now: Timestamp, out: &mut Documents) {
        self.ship_held_until(now, out);
        self.expire(now, out);
        if [self.publish_at, self.close_at]
            .into_iter()
            .flatten()
            .any(|at| at <= now)
        {
            if self.publish_some(now, out) {
                self.publish_at = Some(now);
            } else {
                self.close_windows(now, out);
                self.publish_at = None;
            }
        }
        self.look_at_alerts(now, out);
    }

    /// Windows are still to be published by `now`: [`advance`](Self::advance) again, once its documents are handed on.
    #[must_use]
    pub fn has_more(&self, now: Timestamp) -> bool {
        self.publish_at.is_some_and(|at| at <= now) && self.state.windows.any_dirty()
    }

    /// When [`advance`](Self::advance) has work next; ask again after every other verb.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        let join = &self.settings.join;
        let horizon = self
            .state
            .join
            .opens
            .oldest()
            .map(|arrived| arrived.plus(join.label_horizon_ms));
        let patience = self.state.join.earlies.deadline(join.early_label_ttl_ms);
        let waiting = [self.state.held.deadline(), self.publish_at];
        let expiring = if self.settings.expires {
            [
                horizon,
                patience,
                self.close_at,
                self.state.alerts.deadline(),
            ]
        } else {
            [None; 4]
        };
        waiting.into_iter().chain(expiring).flatten().min()
    }

    /// Ships what is held back, so that nothing waits while the agent is stopped. Stopping is not the end of data.
    pub fn release(&mut self, now: Timestamp, out: &mut Documents) {
        self.ship_held_until(Timestamp(i64::MAX), out);
        while self.publish_some(now, out) {}
        self.publish_at = None;
    }

    /// The end of all data (`--once`): ships and publishes everything, labels without a prediction as orphans.
    pub fn finish(&mut self, now: Timestamp, out: &mut Documents) {
        self.release(now, out);
        self.publish_orphans(now, out);
        self.finish_alerts(now, out);
    }

    /// What came in since the pipeline's first start, each record once, however often a crash had it replayed.
    #[must_use]
    pub fn counted(&self) -> Totals {
        self.totals.after(&self.earlier)
    }

    /// What came in and what became of it, since this engine was made or resumed.
    #[must_use]
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Predictions that may still get a label, labels that wait for their prediction, windows that may still change.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize, usize) {
        (
            self.state.join.opens.len(),
            self.state.join.earlies.len(),
            self.state.windows.len(),
        )
    }

    fn schedule_publication(&mut self, now: Timestamp) {
        if self.state.windows.are_crowded() {
            self.publish_at = Some(now);
        } else if self.publish_at.is_none() && self.state.windows.any_dirty() {
            self.publish_at = Some(now.plus(self.settings.publish_every_ms));
        }
    }
}

/// An index name is shared by all documents of its day.
type Index = Arc<str>;

#[cfg(test)]
mod alert_tests;
#[cfg(test)]
mod counted_tests;
#[cfg(test)]
mod found_tests;
#[cfg(test)]
mod order_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
