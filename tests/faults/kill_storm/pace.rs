//! What holds the storm together: everybody writes one chapter while the agent lives one life, and nobody waits for anybody
//! to finish it. Here too is where the agent listens at the moment, and what nobody can know.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

use super::story::Event;
use crate::told::PredictionKey;

#[derive(Default)]
pub(super) struct Pace {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// So many chapters may be told.
    open: usize,
    /// So many have been told, by each who tells.
    told: BTreeMap<String, usize>,
    /// Who panicked.
    broken: Option<String>,
    over: bool,
    address: Option<String>,
    perhaps_again: HashMap<PredictionKey, usize>,
    /// What happened how often.
    counts: BTreeMap<&'static str, usize>,
}

impl Pace {
    /// Lets somebody tell chapter after chapter, on a thread of its own: as they are opened, until `tell` says false.
    pub(super) fn start(
        self: &Arc<Self>,
        who: String,
        chapters: Vec<Vec<Event>>,
        mut tell: impl FnMut(Vec<Event>) -> bool + Send + 'static,
    ) {
        let pace = Arc::clone(self);
        pace.state().told.insert(who.clone(), 0);
        thread::spawn(move || {
            let alarm = Alarm { pace, who };
            for (number, chapter) in chapters.into_iter().enumerate() {
                if !alarm.pace.wait_for(number) || !tell(chapter) {
                    return;
                }
                let mut state = alarm.pace.state();
                state.told.insert(alarm.who.clone(), number + 1);
            }
        });
    }

    /// So many chapters may be told.
    pub(super) fn open(&self, chapters: usize) {
        self.state().open = chapters;
        self.changed.notify_all();
    }

    pub(super) fn opened(&self) -> usize {
        self.state().open
    }

    /// Waits until a chapter may be told. False if the storm is over before that.
    fn wait_for(&self, chapter: usize) -> bool {
        let waiting = |state: &mut State| state.open <= chapter && !state.over;
        let state = self.changed.wait_while(self.state(), waiting);
        !state.expect("no panic while held").over
    }

    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// Everybody is to stop, wherever they are.
    pub(super) fn end(&self) {
        self.state().over = true;
        self.changed.notify_all();
    }

    /// Who has not told so many chapters yet.
    #[track_caller]
    pub(super) fn behind(&self, chapters: usize) -> Vec<String> {
        let state = self.state();
        if let Some(who) = &state.broken {
            let who = who.clone();
            drop(state);
            panic!("{who} panicked: see above");
        }
        let behind = state.told.iter().filter(|(_, told)| **told < chapters);
        behind
            .map(|(who, told)| format!("{who} has told {told} of {chapters} chapters"))
            .collect()
    }

    /// Where the agent listens, once it does.
    pub(super) fn address(&self) -> Option<String> {
        self.state().address.clone()
    }

    pub(super) fn set_address(&self, address: Option<String>) {
        self.state().address = address;
    }

    /// This prediction may have arrived once more than it was told.
    pub(super) fn doubt(&self, prediction: PredictionKey) {
        *self.state().perhaps_again.entry(prediction).or_default() += 1;
    }

    pub(super) fn perhaps_again(&self) -> HashMap<PredictionKey, usize> {
        self.state().perhaps_again.clone()
    }

    /// It happened once more.
    pub(super) fn count(&self, what: &'static str) {
        *self.state().counts.entry(what).or_default() += 1;
    }

    /// What happened how often, in words.
    pub(super) fn counts(&self) -> String {
        let state = self.state();
        let counts = state.counts.iter();
        let texts: Vec<String> = counts
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        texts.join(", ")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }
}

/// Says who panicked, so that nobody waits for them.
struct Alarm {
    pace: Arc<Pace>,
    who: String,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            self.pace.state().broken = Some(self.who.clone());
        }
    }
}
