//! The book of alerts: what every rule knows of its subjects, which alerts live, and what was decided and not yet told.
//!
//! ```text
//! window published ─ read ─▶ History ─ look (when its time has come) ─▶ judge ─▶ life ─▶ outbox
//! checkpoint durable ─ committed ─▶ the outbox is told: documents, notices, log lines
//! ```
//!
//! Invariant: nothing is told that is not in a durable checkpoint first. A kill therefore takes back only what nobody has heard
//! of, and what is told again after a kill is the same to the last byte.
//! Bounds: [`SUBJECTS_MAX`] subjects a rule, [`WINDOWS_MAX`] windows over all (some 150 bytes each), beyond which windows are
//! looked at before their time; [`OUTBOX_MAX`] changes decided and not told, beyond which nothing is decided.

mod health;
mod names;
mod outbox;
mod published;
mod silence;
mod state;
mod withheld;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::alert::calendar::Stretch;
use crate::flow::alert::event::{At, Event, Subject};
use crate::flow::alert::history::{History, Verdict};
use crate::flow::alert::judge::detection::{judge as judge_by_detector, sample};
use crate::flow::alert::judge::distribution::judge as judge_distribution;
use crate::flow::alert::judge::{Judged, judge};
use crate::flow::alert::life::{Alert, Move, Phase, next};
use crate::flow::alert::pulse::Recent;
use crate::flow::alert::reading::{Histogram, Reading};
use crate::flow::alert::rule::{Check, Detection, REPAIRABLE, Rule, Settings, WindowRule};
use crate::flow::detect::Feed;
use crate::flow::event::Timestamp;
use crate::flow::windows::Length;

use names::{Given, alert_id, is_watched, subject_of};
use outbox::Outbox;
pub use outbox::Told;
pub use published::Compared;
use silence::Clocked;
pub use state::Unreadable;

/// Subjects of one rule; beyond, those that have been quiet for longest and have no alert are forgotten.
pub const SUBJECTS_MAX: usize = 200;

/// Windows remembered, over all rules and subjects.
const WINDOWS_MAX: usize = 100_000;

/// Changes decided and not told yet.
const OUTBOX_MAX: usize = 10_000;

/// While the outbox is full, it is looked at this often.
const FULL_POLL_MS: i64 = 1_000;

/// While an alert waits for the end of a mute time, it is looked at this often.
const MUTED_POLL_MS: i64 = 60_000;

/// An alert whose subject has had no news for so long, or for twelve windows, is over: nobody can see any more whether it is bad.
const QUIET_MS: i64 = Length::DAY;

/// All alerts of a pipeline.
#[derive(Debug)]
pub struct Book {
    settings: Settings,
    pipeline: String,
    agent: String,
    /// One entry a rule.
    watched: Vec<Watched>,
    outbox: Outbox,
    /// Alerts of rules that are gone: over as soon as there is a clock.
    gone: Vec<Alert>,
    /// What was counted lately, for rules on the agent's health.
    recent: Recent,
    /// No window's time comes before; early is harmless.
    next: Option<Timestamp>,
    /// Windows remembered, by and large.
    windows: usize,
}

/// What one rule knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Watched {
    subjects: BTreeMap<Subject, Knowledge>,
    clocked: Clocked,
}

/// What a rule knows of one subject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Knowledge {
    history: History,
    /// The rule's detector and its windows.
    feed: Option<Feed>,
    /// The windows' distributions, for a rule on them.
    histograms: BTreeMap<Timestamp, Histogram>,
    alert: Option<Alert>,
    /// Ids that were given.
    given: Given,
    /// When there was news of it last, by the agent's clock.
    touched: Timestamp,
}

/// An alert that is not over, for somebody who looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Active {
    /// Where it stands.
    pub phase: Phase,
    /// Its latest change to pending or firing: the rule, whom it is about, and why.
    pub event: Event,
}

impl Book {
    /// A book that knows nothing yet. Agent and pipeline are part of the alerts' ids.
    pub fn new(settings: Settings, pipeline: &str, agent: &str) -> Self {
        Self {
            watched: vec![Watched::default(); settings.rules.len()],
            settings,
            pipeline: pipeline.to_owned(),
            agent: agent.to_owned(),
            outbox: Outbox::default(),
            gone: Vec::new(),
            recent: Recent::default(),
            next: None,
            windows: 0,
        }
    }

    /// True if there is no rule.
    pub fn is_empty(&self) -> bool {
        self.settings.rules.is_empty()
    }

    /// More windows wait for their time than may.
    pub fn is_crowded(&self) -> bool {
        self.windows > WINDOWS_MAX
    }

    /// So much is decided and not told that nothing more is decided.
    pub fn is_full(&self) -> bool {
        self.outbox.len() >= OUTBOX_MAX
    }

    /// When [`look`](Self::look) has work next.
    pub fn deadline(&self) -> Option<Timestamp> {
        let ready = self.outbox.is_ready().then_some(Timestamp(0));
        let silence = self.silence_deadline();
        [self.next, ready, silence].into_iter().flatten().min()
    }

    /// Looks at the windows whose time has come, oldest first, and lets the alerts live on.
    pub fn look(&mut self, now: Timestamp) {
        if self.is_crowded() {
            self.hurry(now);
        }
        self.look_at_windows(now);
        self.let_the_quiet_go(now);
        self.look_at_silence(now);
        self.tell_what_was_muted(now);
        self.next = self.next_window(now);
    }

    /// All data is in (`--once`): looks at every window that was not looked at.
    pub fn look_at_all(&mut self, now: Timestamp) {
        self.hurry(now);
        self.look_at_windows(now);
        self.next = self.next_window(now);
    }

    /// Somebody has seen the alert of this id. Returns false if none of it fires.
    pub fn acknowledge(&mut self, alert: &str, now: Timestamp) -> bool {
        let mut alerts = self.watched.iter_mut().flat_map(Watched::alerts_mut);
        let found = alerts.find(|found| found.id == alert && found.phase == Phase::Firing);
        let Some(found) = found else {
            return false;
        };
        let reason = "somebody has seen it".to_owned();
        let event = found.becomes(Phase::Acknowledged, reason, now);
        self.outbox.put(event, found.told);
        true
    }

    /// Somebody takes what the alert of this id is about for the new normal: its control chart learns anew from the next window
    /// on, and the alert is over. Returns false if no such alert is a control chart's.
    pub fn accept(&mut self, alert: &str, now: Timestamp) -> bool {
        let is_it = |known: &&mut Knowledge| {
            let of = known.alert.as_ref();
            of.is_some_and(|of| of.id == alert)
        };
        let Some(known) = self.knowledge_mut().find(is_it) else {
            return false;
        };
        if !known.feed.as_mut().is_some_and(Feed::relearn) {
            return false;
        }
        known.history.forget_verdicts();
        if let Some(mut alert) = known.alert.take() {
            let reason = "somebody takes it for normal: the control chart learns anew".to_owned();
            let event = alert.becomes(Phase::Resolved, reason, now);
            self.outbox.put(event, alert.told);
        }
        true
    }

    /// The alerts that are not over: where each stands, and its latest change to pending or firing.
    pub fn active(&self) -> impl Iterator<Item = (Phase, &Event)> {
        let alerts = self.watched.iter().flat_map(|watched| {
            let subjects = watched.subjects.values();
            let alerts = subjects.filter_map(|known| known.alert.as_ref());
            alerts.chain(&watched.clocked.alert)
        });
        alerts.map(|alert| (alert.phase, &*alert.event))
    }

    fn hurry(&mut self, now: Timestamp) {
        for known in self.knowledge_mut() {
            known.history.hurry(now);
        }
    }

    fn look_at_windows(&mut self, now: Timestamp) {
        let mut due = Vec::new();
        for (place, watched) in self.watched.iter().enumerate() {
            for (subject, known) in &watched.subjects {
                for (start, window) in known.history.due(now) {
                    due.push((window.until, place, subject.clone(), start));
                }
            }
        }
        due.sort_unstable();
        for (_, place, subject, start) in due {
            if self.is_full() {
                break;
            }
            self.look_at(place, &subject, start, now);
        }
        let memories: Vec<usize> = (self.settings.rules.iter())
            .map(|rule| rule.windows().map_or(0, WindowRule::memory))
            .collect();
        self.windows = 0;
        for (watched, memory) in self.watched.iter_mut().zip(memories) {
            for known in watched.subjects.values_mut() {
                known.history.forget(memory);
                let history = &known.history;
                known
                    .histograms
                    .retain(|start, _| history.get(*start).is_some());
                self.windows += known.history.len();
            }
        }
    }

    fn look_at(&mut self, place: usize, subject: &Subject, start: Timestamp, now: Timestamp) {
        let judged = self.judged(place, subject, start);
        let (Some(rule), Some(watched)) =
            (self.settings.rules.get(place), self.watched.get_mut(place))
        else {
            return;
        };
        let (Some(on), Some(known)) = (rule.windows(), watched.subjects.get_mut(subject)) else {
            return;
        };
        let mut found = Judged::UNKNOWN;
        let mut before = None;
        for (at, judged) in judged {
            let was = known.history.found(at, judged.verdict, at == start);
            if at == start {
                (found, before) = (judged, was);
            }
        }
        let verdicts = known.history.newest_first();
        let verdicts = verdicts.map(|(start, window)| (start, window.verdict()));
        let phase = known.alert.as_ref().map(|alert| alert.phase);
        let Some(step) = next(phase, verdicts, on.windows_in_a_row) else {
            return;
        };
        let event = Event {
            window: known.history.get(start).map(|window| At {
                start,
                end: window.until,
                length: on.window.to_string(),
            }),
            at: now,
            muted: is_muted(&self.settings, rule, now),
            ..words::measured(rule, on, subject, known.reading(start), found)
        };
        let is_repaired = before == Some(Verdict::Breach) && found.verdict != Verdict::Breach;
        let reason = match step.to {
            Phase::Resolved => words::over(&event, is_repaired),
            _ => words::bad(&event, on, found, step.row),
        };
        let owner = [self.pipeline.as_str(), self.agent.as_str()];
        let event = Event { reason, ..event };
        known.change(&owner, &mut self.outbox, rule, step, event);
    }

    /// What the window at `start` is now, and those that are what they are because of it.
    fn judged(
        &mut self,
        place: usize,
        subject: &Subject,
        start: Timestamp,
    ) -> Vec<(Timestamp, Judged)> {
        let on = self.settings.rules.get(place).and_then(Rule::windows);
        if let Some(Check::Detection(detection)) = on.map(|on| &on.check) {
            let maintained = &self.settings.maintenance;
            let watched = self.watched.get_mut(place);
            let known = watched.and_then(|watched| watched.subjects.get_mut(subject));
            return known.map_or_else(Vec::new, |known| known.detect(detection, maintained, start));
        }
        // What later windows were compared with may have changed.
        let watched = self.watched.get(place);
        let known = watched.and_then(|watched| watched.subjects.get(subject));
        let later = known.map_or_else(Vec::new, |known| known.history.bad_after(start));
        let all = std::iter::once(start).chain(later);
        all.filter_map(|start| Some((start, self.judge(place, subject, start)?)))
            .collect()
    }

    /// Judges a window as it is now; `None` if it is not there.
    fn judge(&self, place: usize, subject: &Subject, start: Timestamp) -> Option<Judged> {
        let rule = self.settings.rules.get(place)?.windows()?;
        let subjects = &self.watched.get(place)?.subjects;
        let history = &subjects.get(subject)?.history;
        let until = history.get(start)?.until;
        if is_maintained(&self.settings.maintenance, start, until) {
            return Some(Judged::UNKNOWN);
        }
        let other = |version: &str| {
            let other = Subject {
                version: version.to_owned(),
                ..subject.clone()
            };
            let history = &subjects.get(&other)?.history;
            history.get(start).map(|window| window.reading)
        };
        Some(match &rule.check {
            Check::Distribution(check) => {
                let histograms = &subjects.get(subject)?.histograms;
                judge_distribution(check, history, histograms, start)
            }
            _ => judge(rule, history, start, &other),
        })
    }

    fn let_the_quiet_go(&mut self, now: Timestamp) {
        for (rule, watched) in self.settings.rules.iter().zip(&mut self.watched) {
            let Some(on) = rule.windows() else { continue };
            let patience = quiet_ms(on);
            for known in watched.subjects.values_mut() {
                if known.touched.plus(patience) > now {
                    continue;
                }
                if let Some(mut alert) = known.alert.take() {
                    let reason = "there is no news of it any more, so nobody can tell";
                    let event = alert.becomes(Phase::Resolved, reason.to_owned(), now);
                    self.outbox.put(event, alert.told);
                }
            }
        }
    }

    /// What fires and was not told, since nobody was to be told then, is told when that is over.
    fn tell_what_was_muted(&mut self, now: Timestamp) {
        let settings = &self.settings;
        for (rule, watched) in settings.rules.iter().zip(&mut self.watched) {
            for alert in watched.alerts_mut() {
                if alert.is_untold() && !is_muted(settings, rule, now) {
                    alert.told = true;
                    self.outbox.put_late((*alert.event).clone());
                }
            }
        }
    }

    /// When next a window is due, an outbox may have room again, an alert has been quiet for too long, or a mute time may be over.
    fn next_window(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_full() {
            return Some(now.plus(FULL_POLL_MS));
        }
        let rules = self.settings.rules.iter().zip(&self.watched);
        let moments = rules.flat_map(|(rule, watched)| {
            let patience = rule.windows().map_or(QUIET_MS, quiet_ms);
            let silent = watched.clocked.alert.as_ref();
            let muted = silent.is_some_and(Alert::is_untold);
            let subjects = watched.subjects.values().flat_map(move |known| {
                let alert = known.alert.as_ref();
                [
                    known.history.deadline(),
                    alert.map(|_| known.touched.plus(patience)),
                    alert
                        .is_some_and(Alert::is_untold)
                        .then(|| now.plus(MUTED_POLL_MS)),
                ]
            });
            subjects.chain([muted.then(|| now.plus(MUTED_POLL_MS))])
        });
        moments.flatten().min()
    }

    fn knowledge_mut(&mut self) -> impl Iterator<Item = &mut Knowledge> {
        self.watched
            .iter_mut()
            .flat_map(|watched| watched.subjects.values_mut())
    }
}

impl Watched {
    /// What is known of a subject; `None` if there are too many, all with alerts.
    fn knowledge(&mut self, subject: Subject) -> Option<&mut Knowledge> {
        if self.subjects.len() >= SUBJECTS_MAX && !self.subjects.contains_key(&subject) {
            let quiet = self
                .subjects
                .iter()
                .filter(|(_, known)| known.alert.is_none());
            let quietest = quiet.min_by_key(|(_, known)| known.touched)?.0.clone();
            self.subjects.remove(&quietest);
        }
        Some(self.subjects.entry(subject).or_default())
    }

    fn alerts_mut(&mut self) -> impl Iterator<Item = &mut Alert> {
        let subjects = self.subjects.values_mut();
        let alerts = subjects.filter_map(|known| known.alert.as_mut());
        alerts.chain(&mut self.clocked.alert)
    }
}

impl Knowledge {
    /// Feeds the window at `start` to the subject's detector. Returns what every window is that may still change.
    fn detect(
        &mut self,
        detection: &Detection,
        maintained: &[Stretch],
        start: Timestamp,
    ) -> Vec<(Timestamp, Judged)> {
        let Some(window) = self.history.get(start) else {
            return Vec::new();
        };
        let maintained = is_maintained(maintained, start, window.until);
        let sample = sample(window.reading).filter(|_| !maintained);
        let feed = self
            .feed
            .get_or_insert_with(|| Feed::new(detection.detector.clone()));
        let judged = judge_by_detector(detection, feed, start, sample);
        if let Some((oldest, _)) = judged.iter().rev().nth(REPAIRABLE) {
            feed.settle(*oldest);
        }
        // Without a number it is not in the feed.
        let is_there = judged.iter().any(|(at, _)| *at == start);
        let missing = (!is_there).then_some((start, Judged::UNKNOWN));
        judged.into_iter().chain(missing).collect()
    }

    fn reading(&self, start: Timestamp) -> Reading {
        self.history
            .get(start)
            .map(|window| window.reading)
            .unwrap_or_default()
    }

    /// Lets an alert begin, go on, or be over, and writes that down.
    fn change(
        &mut self,
        owner: &[&str],
        outbox: &mut Outbox,
        rule: &Rule,
        step: Move,
        event: Event,
    ) {
        let mut alert = match self.alert.take() {
            Some(alert) => alert,
            None => Alert::new(
                self.given.id(owner, &rule.name, &event.subject, step.first),
                step.first,
                event.clone(),
            ),
        };
        let event = alert.turns(step.to, event);
        let tell = match step.to {
            Phase::Firing => !event.muted,
            _ => alert.told,
        };
        alert.told |= tell && step.to == Phase::Firing;
        outbox.put(event, tell);
        if step.to != Phase::Resolved {
            self.alert = Some(alert);
        }
    }
}

fn is_maintained(maintained: &[Stretch], start: Timestamp, until: Timestamp) -> bool {
    maintained
        .iter()
        .any(|stretch| stretch.overlaps(start, until))
}

fn is_muted(settings: &Settings, rule: &Rule, now: Timestamp) -> bool {
    settings
        .mutes
        .iter()
        .any(|mute| mute.holds(&rule.name, now))
}

fn quiet_ms(rule: &WindowRule) -> i64 {
    let length = rule.window.end(Timestamp(0)).0;
    length.saturating_mul(12).max(QUIET_MS)
}

#[cfg(test)]
mod tests;
