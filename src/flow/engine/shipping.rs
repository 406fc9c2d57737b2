//! What is known of predictions and labels becomes documents: at once, when held long enough, or when given up on.

use std::borrow::Cow;

use crate::flow::decode::Record;
use crate::flow::document::{
    Action, Dataset, Documents, LabelPart, OrphanDocument, PredictionDocument, PredictionId,
    write_label_update,
};
use crate::flow::engine::held::HeldPrediction;
use crate::flow::engine::{Engine, Index};
use crate::flow::event::{Prediction, Timestamp, Value};
use crate::flow::join::{Address, Early, Key, Open, Ticket};
use crate::flow::quality::Outcome;

impl Engine {
    /// Writes the prediction's document up to its label part.
    fn write_head(
        &self,
        prediction: &Prediction<'_>,
        record: &Record<'_, '_>,
        now: Timestamp,
        head: &mut Vec<u8>,
    ) {
        let compiled = &self.compiled;
        let host = self
            .state
            .history
            .attached_at(prediction.time, self.settings.host_tolerance_ms)
            .unwrap_or_default();
        let document = PredictionDocument {
            prediction,
            slice_names: &compiled.slice_names,
            host_name: &compiled.host_name,
            host,
            record: self.settings.keep_record.then_some(record),
        };
        document.write_head(&compiled.letterhead, now, head);
    }

    /// The prediction's document up to its label part.
    pub(super) fn render(
        &mut self,
        prediction: &Prediction<'_>,
        record: &Record<'_, '_>,
        now: Timestamp,
    ) -> HeldPrediction {
        // Written in one place over and over, and kept in as few bytes as it has.
        let mut scratch = std::mem::take(&mut self.compiled.scratch);
        scratch.clear();
        self.write_head(prediction, record, now, &mut scratch);
        let head = scratch.as_slice().into();
        self.compiled.scratch = scratch;
        HeldPrediction {
            index: self
                .compiled
                .indices
                .name(Dataset::Prediction, prediction.time),
            head,
        }
    }

    /// Ships a prediction that nobody will label in a moment: stored unless it is there.
    pub(super) fn ship_at_once(
        &mut self,
        ticket: Ticket,
        prediction: &Prediction<'_>,
        record: &Record<'_, '_>,
        now: Timestamp,
        out: &mut Documents,
    ) {
        let index = self
            .compiled
            .indices
            .name(Dataset::Prediction, prediction.time);
        let write_head = |bytes: &mut Vec<u8>| self.write_head(prediction, record, now, bytes);
        self.ship_pending(ticket, &index, write_head, out);
    }

    /// Ships a prediction that was held back, and has no label yet: the same.
    fn ship_held(&self, ticket: Ticket, held: &HeldPrediction, out: &mut Documents) {
        let write_head = |bytes: &mut Vec<u8>| bytes.extend_from_slice(&held.head);
        self.ship_pending(ticket, &held.index, write_head, out);
    }

    fn ship_pending(
        &self,
        ticket: Ticket,
        index: &str,
        write_head: impl FnOnce(&mut Vec<u8>),
        out: &mut Documents,
    ) {
        let Some((id, key)) = self.name_of(ticket) else {
            return;
        };
        out.add(Action::Create, index, id.as_str(), key, |bytes| {
            write_head(bytes);
            bytes.push(b',');
            LabelPart::Pending.write(bytes);
            bytes.push(b'}');
        });
    }

    /// Ships a prediction's label part; with the whole document beside it where that is still at hand.
    pub(super) fn ship_joined(
        &mut self,
        ticket: Ticket,
        actual: &Value<'_>,
        held: Option<&HeldPrediction>,
        out: &mut Documents,
    ) {
        let (Some((id, key)), Some(part), Some(time)) = (
            self.name_of(ticket),
            self.label_part(ticket, actual),
            self.state.join.opens.get(ticket).map(|open| open.time),
        ) else {
            return;
        };
        let index: Index = self.compiled.indices.name(Dataset::Prediction, time);
        out.add(Action::Update, &index, id.as_str(), key, |bytes| {
            write_label_update(&part, held.map(|held| &*held.head), bytes);
        });
    }

    /// Ships what is held and due by `until`.
    pub(super) fn ship_held_until(&mut self, until: Timestamp, out: &mut Documents) {
        while let Some((ticket, held)) = self.state.held.pop(until, usize::MAX) {
            self.ship_held(ticket, &held, out);
        }
    }

    /// Ships the oldest of what is held, while that is more than may be.
    pub(super) fn ship_over_bound(&mut self, now: Timestamp, out: &mut Documents) {
        while let Some((ticket, held)) = self.state.held.pop(now, self.settings.join.hold_bytes_max)
        {
            self.ship_held(ticket, &held, out);
        }
    }

    /// Gives up on labels without a prediction and on predictions without a label, once their time has come.
    pub(super) fn expire(&mut self, now: Timestamp, out: &mut Documents) {
        if !self.settings.expires {
            return;
        }
        let patience_ended = now.plus(-self.settings.join.early_label_ttl_ms);
        let mut orphans = Vec::new();
        while let Some((address, early)) = self.state.join.earlies.pop(patience_ended) {
            self.totals.orphans += 1;
            if !early.published {
                orphans.push((address, early));
            }
        }
        self.ship_orphans(&orphans, now, out);
        let horizon_ended = now.plus(-self.settings.join.label_horizon_ms);
        while self
            .state
            .join
            .opens
            .oldest()
            .is_some_and(|arrived| arrived <= horizon_ended)
        {
            let Some(open) = self.state.join.opens.pop() else {
                break;
            };
            if open.truth().is_none() {
                self.totals.expired += 1;
                if self.settings.join.mark_expired {
                    let (id, key) = self.name_of_open(&open);
                    let index = self.compiled.indices.name(Dataset::Prediction, open.time);
                    out.add(Action::Update, &index, id.as_str(), key, |bytes| {
                        write_label_update(&LabelPart::Expired, None, bytes);
                    });
                }
            }
        }
    }

    /// Publishes the labels that still wait as orphans; they go on waiting, for a run that brings their predictions.
    pub(super) fn publish_orphans(&mut self, now: Timestamp, out: &mut Documents) {
        let mut waiting = Vec::new();
        self.state.join.earlies.visit(|address, early| {
            if !early.published {
                early.published = true;
                waiting.push((address, early.clone()));
            }
        });
        self.ship_orphans(&waiting, now, out);
    }

    /// One version for all: no address is there twice.
    fn ship_orphans(&mut self, orphans: &[(Address, Early)], now: Timestamp, out: &mut Documents) {
        if orphans.is_empty() {
            return;
        }
        let version = self.state.stamps.next(now);
        for (address, early) in orphans {
            self.ship_orphan(*address, early, false, version, now, out);
        }
    }

    /// A label that was published as an orphan has its prediction after all.
    pub(super) fn orphan_found(
        &mut self,
        early: &Early,
        model: u32,
        now: Timestamp,
        out: &mut Documents,
    ) {
        if early.published {
            let key = Key::of(&early.id, None);
            let model = (!early.truth.shared).then_some(model);
            let stamps = &mut self.state.stamps;
            let version = *self.found_version.get_or_insert_with(|| stamps.next(now));
            self.ship_orphan(Address { key, model }, early, true, version, now, out);
        }
    }

    fn ship_orphan(
        &mut self,
        address: Address,
        early: &Early,
        joined: bool,
        version: i64,
        now: Timestamp,
        out: &mut Documents,
    ) {
        let actual = self.state.tables.value(early.truth.actual);
        let model = address
            .model
            .map(|model| self.state.tables.models.text(model));
        let (time, arrived) = (early.truth.time, early.arrived);
        let document = OrphanDocument {
            id: &early.id,
            model,
            actual,
            time,
            arrived,
            joined,
        };
        let index = self
            .compiled
            .indices
            .name(Dataset::Label, document.event_time());
        let id = crate::flow::document::window_id(&[
            &self.settings.pipeline,
            "label",
            model.unwrap_or_default(),
            &early.id,
        ]);
        let letterhead = &self.compiled.letterhead;
        out.add(
            Action::Index { version },
            &index,
            &id,
            super::key_of_id(&id),
            |bytes| document.write(letterhead, now, bytes),
        );
    }

    fn label_part<'v>(&self, ticket: Ticket, actual: &'v Value<'v>) -> Option<LabelPart<'v>> {
        let open = self.state.join.opens.get(ticket)?;
        let truth = open.truth()?;
        let tables = &self.state.tables;
        let (correct, error) = match (tables.judged(open.predicted()), tables.judged(truth.actual))
        {
            (Outcome::Class(predicted), Outcome::Class(actual)) => {
                (Some(predicted == actual), None)
            }
            (Outcome::Number(predicted), Outcome::Number(actual)) => {
                (None, Some(predicted - actual))
            }
            _ => (None, None),
        };
        let actual = match actual {
            Value::Class(class) => Value::Class(Cow::Borrowed(class)),
            Value::Number(number) => Value::Number(*number),
        };
        let delay_ms = truth.time.map(|time| time.since(open.time));
        Some(LabelPart::Joined {
            actual,
            time: truth.time,
            delay_ms,
            revision: open.revision,
            correct,
            error,
        })
    }

    fn name_of(&self, ticket: Ticket) -> Option<(PredictionId, u64)> {
        let open = self.state.join.opens.get(ticket)?;
        Some(self.name_of_open(open))
    }

    /// The `_id` of a prediction's document and the hash of it: two items with the same hash never fly together.
    fn name_of_open(&self, open: &Open) -> (PredictionId, u64) {
        let tag = self.state.tables.tag(open.series);
        (PredictionId::of(open.key, tag), open.key.hash() ^ tag.0)
    }
}
