//! Windows and comparisons of versions, read as they are published.

use crate::flow::alert::book::{Book, is_watched, subject_of};
use crate::flow::alert::history::Patience;
use crate::flow::alert::reading::{Histogram, Numbers, Reading};
use crate::flow::alert::rule::{Check, WindowRule};
use crate::flow::document::WindowIdentity;
use crate::flow::event::Timestamp;

/// A comparison of two versions in a window, as it is published.
#[derive(Clone, Copy)]
#[expect(
    missing_debug_implementations,
    reason = "functions have nothing to show"
)]
pub struct Compared<'c> {
    /// The window of the version in question.
    pub candidate: &'c WindowIdentity<'c>,
    /// The version that it is compared with.
    pub baseline: &'c str,
    /// That is the one of the window's versions that came first.
    pub is_first: bool,
    /// The difference in a metric by its name in the versions' own windows.
    pub reading: &'c dyn Fn(&str) -> Reading,
}

impl Book {
    /// A window was published.
    pub fn read(&mut self, window: &WindowIdentity<'_>, numbers: Numbers<'_>, now: Timestamp) {
        self.take(window, now, |rule| match &rule.check {
            Check::Distribution(distribution) => {
                let histogram = (numbers.histogram)(distribution.of);
                Some((Reading::of_many(&histogram), Some(histogram)))
            }
            Check::Comparison(_) => None,
            Check::Threshold(_) | Check::Change(_) | Check::Detection(_) => {
                Some(((numbers.reading)(&rule.metric), None))
            }
        });
    }

    /// A comparison was published.
    pub fn compare(&mut self, compared: Compared<'_>, now: Timestamp) {
        self.take(compared.candidate, now, |rule| {
            let Check::Comparison(comparison) = &rule.check else {
                return None;
            };
            let is_meant = match &comparison.baseline {
                Some(version) => version == compared.baseline,
                None => compared.is_first,
            };
            is_meant.then(|| ((compared.reading)(&rule.metric), None))
        });
    }

    /// True if a rule is about comparisons.
    pub fn compares(&self) -> bool {
        let rules = self.settings.rules.iter();
        rules
            .filter_map(|rule| rule.windows())
            .any(|rule| matches!(rule.check, Check::Comparison(_)))
    }

    /// What each rule on this window finds in it, if that is anything.
    fn take(
        &mut self,
        window: &WindowIdentity<'_>,
        now: Timestamp,
        find: impl Fn(&WindowRule) -> Option<(Reading, Option<Histogram>)>,
    ) {
        for (rule, watched) in self.settings.rules.iter().zip(&mut self.watched) {
            let Some(rule) = rule.windows().filter(|rule| is_watched(rule, window)) else {
                continue;
            };
            let Some((reading, histogram)) = find(rule) else {
                continue;
            };
            let Some(known) = watched.knowledge(subject_of(window)) else {
                continue;
            };
            let before = known.history.len();
            let patience = Patience {
                wait_ms: rule.wait_ms,
                open: rule.open,
                min_support: rule.min_support,
            };
            let (start, until) = (window.start, window.until);
            if known.history.publish(start, until, reading, patience, now) {
                known.touched = now;
                known
                    .histograms
                    .extend(histogram.map(|histogram| (start, histogram)));
                self.windows += known.history.len() - before;
                let due = known.history.get(start).and_then(|window| window.due);
                self.next = self.next.into_iter().chain(due).min();
            }
        }
    }
}
