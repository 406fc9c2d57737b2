//! One prediction or one label: joined, counted, shipped or held back.

use crate::flow::decode::Record;
use crate::flow::document::Documents;
use crate::flow::engine::{AHEAD_MAX_MS, Engine, beaten};
use crate::flow::event::{Event, InputId, Label, Prediction, Timestamp, Value};
use crate::flow::join::{Address, Key, Met, Open, Ticket, Truth, Verdict};
use crate::flow::mapping::Unmapped;
use crate::flow::privacy::Cleaning;
use crate::flow::quality::{Entry, Judgement, Outcome, Scored, TaskKind};
use crate::flow::windows::{Gain, Judged, Place};

/// Without labels to come, predictions are remembered only so as to know one that comes again: the last of them.
const REMEMBERED: usize = 50_000;

/// A label as it came: what the documents say of it.
struct Said<'l> {
    actual: Value<'l>,
    truth: Truth,
}

impl Engine {
    pub(super) fn predict(
        &mut self,
        prediction: &Prediction<'_>,
        record: &Record<'_, '_>,
        input: InputId,
        now: Timestamp,
        out: &mut Documents,
    ) {
        let model = self.state.tables.models.intern(&prediction.model);
        let series = self
            .state
            .tables
            .series(&self.settings.pipeline, model, &prediction.version);
        let slice_set = self.state.tables.slice_set(&prediction.slices);
        let key = Key::of(&prediction.id, prediction.row);
        let predicted = self.state.tables.outcome(prediction.predicted.as_ref());
        let scores = prediction.scores.iter();
        let scores = scores
            .map(|(class, score)| (self.state.tables.class(class), *score))
            .collect();
        let open = Open::new(key, prediction.time, now, series, slice_set).saying(
            predicted,
            prediction.score,
            scores,
        );
        let latency_ms = prediction.latency_ms;
        let (ticket, early) = match self.state.join.predict(open, model) {
            Met::Duplicate(first) => {
                self.totals.record(input).duplicates += 1;
                self.count_duplicate(first);
                return;
            }
            Met::New(ticket, early) => (ticket, early),
        };
        self.totals.record(input).predictions += 1;
        self.count_prediction(ticket, latency_ms, now);
        match early {
            Some(early) => {
                let held = self.render(prediction, record, now);
                self.state.held.push(ticket, now, None);
                self.orphan_found(&early, model, now, out);
                let actual = self.state.tables.value(early.truth.actual);
                self.set_label(ticket, early.truth, early.beaten);
                self.ship_joined(ticket, &actual, Some(&held), out);
            }
            None if self.settings.join.hold_ms > 0 && self.compiled.mapping.reads_labels() => {
                let held = self.render(prediction, record, now);
                self.state
                    .held
                    .push(ticket, now.plus(self.settings.join.hold_ms), Some(held));
            }
            None => self.ship_at_once(ticket, prediction, record, now, out),
        }
        if !self.compiled.mapping.reads_labels() {
            self.state.join.opens.keep(REMEMBERED);
        }
    }

    pub(super) fn label(
        &mut self,
        label: &Label<'_>,
        input: InputId,
        now: Timestamp,
        out: &mut Documents,
    ) {
        self.totals.record(input).labels += 1;
        let actual = self.state.tables.outcome(Some(&label.actual));
        let said = Said {
            actual: label.actual.clone(),
            truth: Truth {
                actual,
                time: label.time,
                shared: label.model.is_none(),
            },
        };
        let model = label
            .model
            .as_ref()
            .map(|model| self.state.tables.models.intern(model));
        let key = Key::of(&label.id, label.row);
        let mut met = false;
        for ticket in self.state.join.opens.find(key) {
            let Some(open) = self.state.join.opens.get(ticket) else {
                continue;
            };
            if model.is_none_or(|model| self.state.tables.model_of(open.series) == model) {
                met = true;
                self.label_open(ticket, &said, out);
            }
        }
        if !met {
            let earlies = &mut self.state.join.earlies;
            let put = earlies.put(Address { key, model }, &label.id, said.truth, now);
            if let Some((loser, early)) = put {
                early.beaten = self.state.tables.beaten.with(early.beaten, loser);
            }
        }
    }

    /// A label for a prediction that is here.
    fn label_open(&mut self, ticket: Ticket, said: &Said<'_>, out: &mut Documents) {
        let Some(open) = self.state.join.opens.get(ticket) else {
            return;
        };
        let Some(old) = open.truth() else {
            self.set_label(ticket, said.truth, beaten::NONE);
            let held = self.state.held.take(ticket);
            self.ship_joined(ticket, &said.actual, held.as_ref(), out);
            return;
        };
        let (contradicts, known) = (said.truth.actual != old.actual, open.beaten);
        let verdict = said.truth.against(&old);
        let wins = matches!(verdict, Verdict::Moves | Verdict::Corrects);
        let loser = if wins { old } else { said.truth };
        let beaten = if contradicts {
            self.state.tables.beaten.with(known, loser.actual)
        } else {
            known
        };
        // A label that only repeats must not mark the prediction as changed: it would be written anew.
        if (wins || beaten != known)
            && let Some(open) = self.state.join.opens.get_mut(ticket)
        {
            open.beaten = beaten;
            if wins {
                open.set_truth(said.truth);
                open.revision += u32::from(verdict == Verdict::Corrects);
            }
        }
        if contradicts && known == beaten::NONE {
            self.count_dispute(ticket);
        }
        if verdict == Verdict::Outdated && contradicts {
            self.count_beaten(ticket, said.truth.actual);
        }
        if !wins {
            return;
        }
        self.count_correction(ticket, old, said.truth);
        self.pair(ticket, Some(old));
        self.ship_joined(ticket, &said.actual, None, out);
    }

    /// The first label of a prediction.
    fn set_label(&mut self, ticket: Ticket, truth: Truth, beaten: u32) {
        if let Some(open) = self.state.join.opens.get_mut(ticket) {
            open.set_truth(truth);
            open.beaten = beaten;
            open.revision += 1;
        }
        self.count_label(ticket, truth, beaten != beaten::NONE);
        for class in self.state.tables.beaten.of(beaten).to_vec() {
            self.count_beaten(ticket, Outcome::Class(class));
        }
        self.pair(ticket, None);
    }

    fn count_prediction(&mut self, ticket: Ticket, latency_ms: Option<f64>, now: Timestamp) {
        let super::State {
            join,
            tables,
            windows,
            versions,
            ..
        } = &mut self.state;
        let Some(open) = join.opens.get(ticket) else {
            return;
        };
        versions.seen(open.series, open.time);
        let scored = Scored {
            predicted: tables.judged(open.predicted()),
            score: open.score(),
            scores: open.scores(),
            latency_ms,
        };
        let place = Place {
            series: open.series,
            slice_set: open.slice_set,
        };
        let members = tables.slices.members(open.slice_set);
        let entry = Entry::of(&tables.task, &scored);
        let too_old = windows.change(place, members, open.time, Some(now), |gain| {
            gain.tally.enter(&entry);
        });
        self.totals.too_old += u64::from(too_old > 0);
    }

    fn count_duplicate(&mut self, ticket: Ticket) {
        self.change_windows(ticket, |gain, _, _, _| gain.tally.duplicate());
    }

    fn count_label(&mut self, ticket: Ticket, truth: Truth, disputed: bool) {
        self.change_windows(ticket, |gain, task, scored, judge| {
            gain.label(task, scored, judge(truth));
            if disputed {
                gain.tally.dispute();
            }
        });
    }

    fn count_correction(&mut self, ticket: Ticket, old: Truth, new: Truth) {
        self.change_windows(ticket, |gain, task, scored, judge| {
            gain.correct(task, scored, judge(old), judge(new));
        });
    }

    fn count_dispute(&mut self, ticket: Ticket) {
        self.change_windows(ticket, |gain, _, _, _| gain.tally.dispute());
    }

    fn count_beaten(&mut self, ticket: Ticket, actual: Outcome) {
        let truth = Truth {
            actual,
            time: None,
            shared: true,
        };
        self.change_windows(ticket, |gain, _, scored, judge| {
            gain.tally.list(scored, judge(truth).judgement.actual);
        });
    }

    /// Changes the windows of a prediction that is here already; `judge` says what a label means to them.
    fn change_windows(
        &mut self,
        ticket: Ticket,
        mut change: impl FnMut(&mut Gain, &TaskKind, &Scored<'_>, &dyn Fn(Truth) -> Judged),
    ) {
        let super::State {
            join,
            tables,
            windows,
            ..
        } = &mut self.state;
        let Some(open) = join.opens.get(ticket) else {
            return;
        };
        let scored = Scored {
            predicted: tables.judged(open.predicted()),
            score: open.score(),
            scores: open.scores(),
            latency_ms: None,
        };
        let place = Place {
            series: open.series,
            slice_set: open.slice_set,
        };
        let judge = |truth: Truth| Judged {
            judgement: Judgement {
                actual: tables.judged(truth.actual),
                delay_ms: truth.time.map(|time| time.since(open.time)),
                late: false,
            },
            time: truth.time,
        };
        let too_old = windows.change(
            place,
            tables.slices.members(open.slice_set),
            open.time,
            None,
            |gain| change(gain, &tables.task, &scored, &judge),
        );
        self.totals.too_old += u64::from(too_old > 0);
    }
}

/// Ids that are alike only because something was taken out of them would be taken for one.
pub(super) fn refuse_lost_ids(cleaning: &Cleaning, events: &[Event<'_>]) -> Result<(), Unmapped> {
    let is_lost = |event: &Event<'_>| match event {
        Event::Prediction(prediction) => cleaning.is_incomplete(&prediction.id),
        Event::Label(label) => cleaning.is_incomplete(&label.id),
    };
    if !events.iter().any(is_lost) {
        return Ok(());
    }
    Err(Unmapped::Faulty(
        "its id holds what `privacy.redact` takes out: name the id's path under `privacy.hash`, too"
            .to_owned(),
    ))
}

/// A time ahead of the clock would open a window that no one can close.
pub(super) fn refuse_the_future(time: Timestamp, now: Timestamp) -> Result<(), Unmapped> {
    if time.since(now) <= AHEAD_MAX_MS {
        return Ok(());
    }
    let mut text = Vec::new();
    crate::flow::json::write_time(time, &mut text);
    Err(Unmapped::Faulty(format!(
        "its time {} is more than an hour ahead of this host's clock: check the clocks, or the mapping's time path",
        String::from_utf8_lossy(&text)
    )))
}
