//! Who is still to be told of which notice, who was told, and which alerts some must be told of again and again.
//!
//! Invariants: a notice is taken once, however often a replay hands it out, so each notifier is told once. Of two notices of
//! one alert, a notifier is told the earlier one first. State changes only by [`Queue::apply`], so that what is written
//! ([`Record`]) and read again after a kill makes the same queue (but for the number of tries). Bounds: [`KNOWN_MAX`] notices
//! are remembered, [`WAITING_MAX`] wait for a notifier, [`STANDING_MAX`] alerts stand. Driven by `edge::notify::outbox`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::flow::alert::{Change, Notice};
use crate::flow::event::Timestamp;

/// Notices remembered after all were told, the latest: far more than can be made between two checkpoints, which is what a
/// replay makes again. 32 bytes each.
const KNOWN_MAX: usize = 20_000;

/// Notices that wait for one notifier; beyond, the oldest is given up. Some 1 KiB each.
const WAITING_MAX: usize = 2_000;

/// Alerts that one notifier is told of again and again.
const STANDING_MAX: usize = 1_000;

/// An alert that has fired for so long is not told again: the rule that would resolve it may be gone. 30 days.
const STANDING_MS_MAX: i64 = 30 * 86_400_000;

/// A change of the queue, as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// These are to be told.
    Take {
        /// Of this.
        notice: Arc<Notice>,
        /// Names of notifiers.
        to: Vec<String>,
        /// Since when, by the agent's clock.
        at: Timestamp,
    },
    /// One was told, or will never be.
    Done {
        /// The notice's id.
        id: String,
        /// The notifier.
        to: String,
        /// False: given up.
        told: bool,
    },
    /// A notice that all were told of (written when the log is made shorter).
    Known {
        /// Its [`Name`].
        name: Name,
    },
    /// An alert that this one must be told of again and again.
    Standing {
        /// What it was told last.
        notice: Arc<Notice>,
        /// The notifier.
        to: String,
    },
}

/// 128 bits of BLAKE3 of a notice's id: ids are long, and the queue remembers many.
pub type Name = (u64, u64);

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    /// Notifiers that must be told again and again of what fires.
    reminded: BTreeSet<String>,
    /// By the order they were taken in.
    notices: BTreeMap<u64, Entry>,
    known: BTreeMap<Name, u64>,
    next: u64,
    /// By notifier and alert.
    standing: BTreeMap<(String, String), Arc<Notice>>,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    /// `None`: all were told.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    notice: Arc<Notice>,
    at: Timestamp,
    /// Those that were not told yet, and how often that was tried in vain.
    to: BTreeMap<String, u32>,
}

impl Queue {
    /// An empty queue; `reminded` are the notifiers that must be told again and again of what fires.
    #[must_use]
    pub fn new(reminded: BTreeSet<String>) -> Self {
        Self {
            reminded,
            ..Self::default()
        }
    }

    /// What taking this notice would change; `None`: it is known. One that concerns nobody is remembered all the same.
    #[must_use]
    pub fn offer(&self, notice: &Notice, at: Timestamp) -> Option<Record> {
        if self.known.contains_key(&name_of(&notice.id)) {
            return None;
        }
        Some(Record::Take {
            notice: Arc::new(notice.clone()),
            to: notice.notify.clone(),
            at,
        })
    }

    /// Changes the queue.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Take { notice, to, at } => {
                let to: BTreeMap<_, _> = to.into_iter().map(|name| (name, 0)).collect();
                let name = name_of(&notice.id);
                let waiting = (!to.is_empty()).then_some(Waiting { notice, at, to });
                self.know(name, waiting);
            }
            Record::Known { name } => self.know(name, None),
            Record::Done { id, to, told } => self.done(&id, &to, told),
            Record::Standing { notice, to } => self.stand(to, notice),
        }
    }

    /// What this notifier is to be told next, and how often that was tried: the one that was tried the least, of these the
    /// oldest; of one alert only the oldest.
    #[must_use]
    pub fn next(&self, to: &str) -> Option<(Arc<Notice>, u32)> {
        let mut alerts = BTreeSet::new();
        let first_of_alerts = self
            .waiting_for(to)
            .filter(|(waiting, _)| alerts.insert(waiting.notice.alert_id.as_str()));
        first_of_alerts
            .min_by_key(|(_, tries)| *tries)
            .map(|(waiting, tries)| (Arc::clone(&waiting.notice), tries))
    }

    /// Telling was tried in vain.
    pub fn failed(&mut self, id: &str, to: &str) {
        if let Some(waiting) = self.waiting_mut(name_of(id))
            && let Some(tries) = waiting.to.get_mut(to)
        {
            *tries = tries.saturating_add(1);
        }
    }

    /// What is to be given up for this notifier: what has waited for longer than it may, and the oldest of too many.
    #[must_use]
    pub fn overdue(&self, to: &str, now: Timestamp, give_up_ms: i64) -> Vec<(Arc<Notice>, String)> {
        let excess = self.waiting(to).saturating_sub(WAITING_MAX);
        let reason = |at: usize, waiting: &Waiting| {
            if at < excess {
                return Some(format!(
                    "more than {WAITING_MAX} notices wait for `{to}`, and this is the oldest"
                ));
            }
            let waited = now.since(waiting.at);
            (waited > give_up_ms)
                .then(|| format!("`{to}` could not be told for {} minutes", waited / 60_000))
        };
        self.waiting_for(to)
            .enumerate()
            .filter_map(|(at, (waiting, _))| {
                Some((Arc::clone(&waiting.notice), reason(at, waiting)?))
            })
            .collect()
    }

    /// How many notices wait for this notifier.
    #[must_use]
    pub fn waiting(&self, to: &str) -> usize {
        self.waiting_for(to).count()
    }

    /// Names of all that are to be told of something.
    #[must_use]
    pub fn addressees(&self) -> BTreeSet<String> {
        let waiting = self
            .notices
            .values()
            .filter_map(|entry| entry.waiting.as_ref());
        waiting
            .flat_map(|waiting| waiting.to.keys().cloned())
            .collect()
    }

    /// What this notifier must be told again.
    #[must_use]
    pub fn standing(&self, to: &str, now: Timestamp) -> Vec<Arc<Notice>> {
        let stands = self.standing.iter().filter(|((notifier, _), notice)| {
            notifier == to && now.since(notice.starts_at) <= STANDING_MS_MAX
        });
        stands.map(|(_, notice)| Arc::clone(notice)).collect()
    }

    /// The fewest records that make this queue.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let notices = self.notices.values().map(|entry| match &entry.waiting {
            Some(waiting) => Record::Take {
                notice: Arc::clone(&waiting.notice),
                to: waiting.to.keys().cloned().collect(),
                at: waiting.at,
            },
            None => Record::Known { name: entry.name },
        });
        let standing = self
            .standing
            .iter()
            .map(|((to, _), notice)| Record::Standing {
                notice: Arc::clone(notice),
                to: to.clone(),
            });
        notices.chain(standing)
    }

    fn know(&mut self, name: Name, waiting: Option<Waiting>) {
        if self.known.contains_key(&name) {
            return;
        }
        let number = self.next;
        self.next += 1;
        self.known.insert(name, number);
        self.notices.insert(number, Entry { name, waiting });
        if self.notices.len() > KNOWN_MAX {
            let told = self
                .notices
                .iter()
                .find(|(_, entry)| entry.waiting.is_none());
            if let Some((&number, entry)) = told {
                self.known.remove(&entry.name);
                self.notices.remove(&number);
            }
        }
    }

    fn done(&mut self, id: &str, to: &str, told: bool) {
        let name = name_of(id);
        let Some(waiting) = self.waiting_mut(name) else {
            return;
        };
        if waiting.to.remove(to).is_none() {
            return;
        }
        let notice = Arc::clone(&waiting.notice);
        if waiting.to.is_empty()
            && let Some(entry) = self.entry_mut(name)
        {
            entry.waiting = None;
        }
        match notice.change {
            Change::Firing | Change::Acknowledged => {
                if told && self.reminded.contains(to) {
                    self.stand(to.to_owned(), notice);
                }
            }
            Change::Resolved => {
                self.standing
                    .remove(&(to.to_owned(), notice.alert_id.clone()));
            }
        }
    }

    fn stand(&mut self, to: String, notice: Arc<Notice>) {
        let count = self.standing.keys().filter(|(of, _)| *of == to).count();
        let key = (to, notice.alert_id.clone());
        if count < STANDING_MAX || self.standing.contains_key(&key) {
            self.standing.insert(key, notice);
        }
    }

    fn waiting_for<'q>(&'q self, to: &'q str) -> impl Iterator<Item = (&'q Waiting, u32)> {
        let waiting = self
            .notices
            .values()
            .filter_map(|entry| entry.waiting.as_ref());
        waiting.filter_map(move |waiting| Some((waiting, *waiting.to.get(to)?)))
    }

    fn waiting_mut(&mut self, name: Name) -> Option<&mut Waiting> {
        self.entry_mut(name)?.waiting.as_mut()
    }

    fn entry_mut(&mut self, name: Name) -> Option<&mut Entry> {
        let number = self.known.get(&name)?;
        self.notices.get_mut(number)
    }
}

fn name_of(id: &str) -> Name {
    let mut halves = [0; 16];
    blake3::Hasher::new()
        .update(id.as_bytes())
        .finalize_xof()
        .fill(&mut halves);
    let number = u128::from_le_bytes(halves);
    // The halves, cut on purpose.
    #[expect(clippy::cast_possible_truncation, reason = "each half is 64 bits")]
    let halves = (number as u64, (number >> 64) as u64);
    halves
}

#[cfg(test)]
mod tests;
