//! Windows of groups that have become too small to be told of (`privacy.min_group`), after they had been told of.

use crate::flow::alert::book::{Book, is_watched, subject_of};
use crate::flow::alert::event::Event;
use crate::flow::alert::life::Phase;
use crate::flow::alert::rule::{Check, WindowRule};
use crate::flow::document::WindowIdentity;
use crate::flow::event::Timestamp;

impl Book {
    /// A window that may have been published is withheld. It is forgotten, and an alert that tells of it is over, without numbers.
    pub fn withhold(&mut self, window: &WindowIdentity<'_>, now: Timestamp) {
        self.withhold_from(|_| true, window, now);
    }

    /// Only what compares this window with another version's is withheld.
    pub fn withhold_comparison(&mut self, window: &WindowIdentity<'_>, now: Timestamp) {
        let compares = |rule: &WindowRule| matches!(rule.check, Check::Comparison(_));
        self.withhold_from(compares, window, now);
    }

    fn withhold_from(
        &mut self,
        concerns: impl Fn(&WindowRule) -> bool,
        window: &WindowIdentity<'_>,
        now: Timestamp,
    ) {
        for (rule, watched) in self.settings.rules.iter().zip(&mut self.watched) {
            if !(rule.windows()).is_some_and(|rule| concerns(rule) && is_watched(rule, window)) {
                continue;
            }
            let Some(known) = watched.subjects.get_mut(&subject_of(window)) else {
                continue;
            };
            known.history.remove(window.start);
            known.histograms.remove(&window.start);
            let told_of = known.alert.take_if(|alert| {
                let at = alert.event.window.as_ref();
                at.is_some_and(|at| at.start == window.start)
            });
            if let Some(mut alert) = told_of {
                let reason = "too few predictions are behind it for anybody to be told".to_owned();
                let event = Event {
                    value: None,
                    interval: None,
                    support: None,
                    ..alert.becomes(Phase::Resolved, reason, now)
                };
                self.outbox.put(event, alert.told);
            }
        }
    }
}
