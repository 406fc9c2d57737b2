//! Version against version: a document for each pair of versions in the same window, whenever one of the two changed.
//!
//! Every two of a window's versions are compared (of at most four: the first in the order of their earliest prediction by
//! event time, of equals by name), and the baseline of a pair is the earlier in that order. So which documents there are
//! depends on the versions there are, not on which came first: a replay after a crash leaves none behind. The tests of all
//! slices of a window are one family, adjusted together, so all slices are published again when one changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::flow::alert::{self, Reading};
use crate::flow::document::{Action, Dataset, WindowDocument};
use crate::flow::engine::key_of_id;
use crate::flow::engine::publish::{Press, identity, index_of};
use crate::flow::engine::small_groups::Telling;
use crate::flow::engine::versions::{Couple, Paired};
use crate::flow::event::Timestamp;
use crate::flow::quality::Tally;
use crate::flow::quality::comparison::{self, Comparison, Sides};
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, Span, WindowKey};

/// Versions compared in one window; more are a mistake in the mapping, and each is a document a slice.
const VERSIONS_MAX: usize = 4;

/// Hopping windows compared at a time, all slices of them: bounds what must be held until their tests are adjusted.
const WINDOWS_AT_ONCE: usize = 32;

/// One slice of a window, compared.
struct Compared {
    slice: u32,
    span: Option<Span>,
    revision: u64,
    pairs: u64,
}

/// Of one start: the slices, and beside them their comparisons.
type Family = (Vec<Compared>, Vec<Comparison>);

impl Press<'_> {
    /// Publishes the comparisons that the windows of these keys are part of, and those whose baseline may be another.
    pub(super) fn comparisons(&mut self, keys: &[WindowKey], overtaken: &[WindowKey]) {
        if !self.tables.has_versions() {
            return;
        }
        let changed: BTreeSet<_> = keys
            .iter()
            .chain(overtaken)
            .map(|key| (key.length, key.series, key.start))
            .collect();
        let mut starts: BTreeMap<(Length, u32), BTreeSet<Timestamp>> = BTreeMap::new();
        for (length, series, start) in &changed {
            starts
                .entry((*length, self.tables.model_of(*series)))
                .or_default()
                .insert(*start);
        }
        for ((length, model), starts) in starts {
            let versions: Vec<u32> = self.tables.series_of(model).collect();
            if versions.len() < 2 {
                continue;
            }
            let starts: Vec<_> = starts.into_iter().collect();
            for starts in starts.chunks(WINDOWS_AT_ONCE) {
                let mut couples: BTreeMap<(u32, u32), Vec<Couple>> = BTreeMap::new();
                for couple in starts
                    .iter()
                    .flat_map(|start| self.couples(length, *start, &versions))
                {
                    if couple
                        .sides(0)
                        .iter()
                        .any(|side| changed.contains(&(length, side.series, side.start)))
                    {
                        couples
                            .entry((couple.low, couple.high))
                            .or_default()
                            .push(couple);
                    }
                }
                for couples in couples.values() {
                    self.compare(couples);
                }
            }
        }
    }

    /// The pairs to compare in the windows of a start.
    fn couples(&mut self, length: Length, start: Timestamp, versions: &[u32]) -> Vec<Couple> {
        let is_here = |series: &&u32| {
            self.windows.has(&WindowKey {
                length,
                series: **series,
                slice: 0,
                start,
            })
        };
        let mut here: Vec<u32> = versions.iter().filter(is_here).copied().collect();
        here.sort_by_key(|series| self.rank(*series));
        here.truncate(VERSIONS_MAX);
        for (place, one) in here.iter().enumerate() {
            for other in here.iter().take(place) {
                let (low, high) = (*one.min(other), *one.max(other));
                self.versions.compare(Couple {
                    length,
                    start,
                    low,
                    high,
                });
            }
        }
        // Other models' are among them, and such as have a side that is final by now.
        let is_open = |couple: &Couple| {
            versions.contains(&couple.low)
                && couple.sides(0).iter().all(|side| self.windows.has(side))
        };
        self.versions
            .compared(length, start)
            .filter(is_open)
            .collect()
    }

    /// What decides who is the baseline: the lesser.
    fn rank(&self, series: u32) -> (Timestamp, &str) {
        (
            self.versions.first(series),
            self.tables.series_text(series).1,
        )
    }

    /// Compares one pair of versions in windows of ascending starts, and publishes them.
    fn compare(&mut self, couples: &[Couple]) {
        for side in couples.iter().flat_map(|couple| couple.sides(0)) {
            self.look_at(&side);
        }
        let mut families: BTreeMap<Timestamp, Family> = BTreeMap::new();
        for slice in 0..self.tables.slices.count() {
            self.compare_slice(couples, slice, &mut families);
        }
        for couple in couples {
            if let Some((slices, mut comparisons)) = families.remove(&couple.start) {
                comparison::adjust(&mut comparisons);
                for (compared, comparison) in slices.iter().zip(&comparisons) {
                    self.comparison(couple, compared, Some(comparison));
                }
            }
            self.take_back(couple);
        }
    }

    fn compare_slice(
        &self,
        couples: &[Couple],
        slice: u32,
        families: &mut BTreeMap<Timestamp, Family>,
    ) {
        let here: Vec<&Couple> = couples
            .iter()
            .filter(|couple| {
                couple
                    .sides(slice)
                    .iter()
                    .all(|side| self.windows.has(side) && self.small.get(side) == Telling::All)
            })
            .collect();
        let [lows, highs] = [0, 1].map(|side: usize| {
            let keys: Vec<WindowKey> = here
                .iter()
                .filter_map(|couple| couple.sides(slice).get(side).copied())
                .collect();
            let mut tallies = Vec::with_capacity(keys.len());
            self.windows
                .fold(&keys, Tally::merge_judged, |_, tally, span| {
                    let mut judged = Tally::default();
                    judged.merge_judged(tally);
                    tallies.push((judged, span));
                });
            tallies
        });
        for (couple, ((low, low_span), (high, high_span))) in
            here.into_iter().zip(lows.into_iter().zip(highs))
        {
            let mut paired = self.versions.paired(*couple, slice);
            let few = i64::try_from(self.settings.privacy.min_group).unwrap_or(i64::MAX);
            if slice != ALL && paired.ids < few {
                // Those whom both versions scored may be a small group of two large ones.
                paired = Paired::default();
            }
            let count = |signed: i64| u64::try_from(signed).unwrap_or(0);
            let (low_only, high_only) = (count(paired.low_only), count(paired.high_only));
            let low_is_baseline = self.low_is_baseline(couple);
            let ((baseline, candidate), discordant) = if low_is_baseline {
                ((&low, &high), (low_only, high_only))
            } else {
                ((&high, &low), (high_only, low_only))
            };
            let discordant = (paired.ids > 0).then_some(discordant);
            let (slices, comparisons) = families.entry(couple.start).or_default();
            comparisons.push(comparison::compare(
                &self.tables.task,
                baseline,
                candidate,
                discordant,
            ));
            slices.push(Compared {
                slice,
                span: low_span.zip(high_span).map(|(low, high)| low.and(high)),
                revision: low.revision() + high.revision(),
                pairs: count(paired.ids),
            });
        }
    }

    fn low_is_baseline(&self, couple: &Couple) -> bool {
        self.rank(couple.low) < self.rank(couple.high)
    }

    /// Writes the comparisons that may have been told before one of their sides became a way to tell of a small group.
    fn take_back(&mut self, couple: &Couple) {
        for slice in 0..self.tables.slices.count() {
            let sides = couple.sides(slice);
            let told = sides.each_ref().map(|side| self.small.get(side));
            let is_open = sides.iter().all(|side| self.windows.has(side));
            if !is_open || told.contains(&Telling::Nothing) || told == [Telling::All; 2] {
                continue;
            }
            let mut span: Option<Span> = None;
            for side in &sides {
                self.windows.fold(
                    &[*side],
                    |_, _| {},
                    |_, _, other| {
                        span = span
                            .zip(other)
                            .map(|(span, other)| span.and(other))
                            .or(other);
                    },
                );
            }
            let compared = Compared {
                slice,
                span,
                revision: 0,
                pairs: 0,
            };
            self.comparison(couple, &compared, None);
        }
    }

    /// Without a comparison, the document says only which it is.
    fn comparison(
        &mut self,
        couple: &Couple,
        compared: &Compared,
        comparison: Option<&Comparison>,
    ) {
        let [low, high] = couple.sides(compared.slice);
        let (baseline, candidate) = if self.low_is_baseline(couple) {
            (low, high)
        } else {
            (high, low)
        };
        let is_first = self.alerts.compares() && self.is_first(&baseline);
        let index = index_of(self.indices, &candidate);
        let Some(identity) = identity(self.settings, self.tables, &candidate, compared.span) else {
            return;
        };
        let (_, baseline) = self.tables.series_text(baseline.series);
        let id = identity.comparison_id(baseline);
        let Self {
            letterhead,
            version,
            now,
            last,
            ref mut alerts,
            ref mut out,
            ..
        } = *self;
        let document = WindowDocument {
            identity: &identity,
            dataset: Dataset::Comparison,
            revision: compared.revision,
            last,
        };
        let sides = Sides {
            baseline,
            candidate: identity.version,
            pairs: compared.pairs,
        };
        out.add(
            Action::Index { version },
            &index,
            &id,
            key_of_id(&id),
            |bytes| {
                document.write_head(letterhead, now, bytes);
                if let Some(comparison) = comparison {
                    bytes.push(b',');
                    comparison.write_members(sides, bytes);
                }
                bytes.push(b'}');
            },
        );
        let Some(comparison) = comparison else {
            alerts.withhold_comparison(&identity, now);
            return;
        };
        let compared = alert::Compared {
            candidate: &identity,
            baseline,
            is_first,
            reading: &|metric| Reading::of_difference(metric, comparison, last),
        };
        alerts.compare(compared, now);
    }

    /// True if no version of the model that has this window came before this one.
    fn is_first(&self, key: &WindowKey) -> bool {
        let versions = self.tables.series_of(self.tables.model_of(key.series));
        let here = versions.filter(|series| {
            self.windows.has(&WindowKey {
                series: *series,
                slice: 0,
                ..*key
            })
        });
        here.min_by(|one, other| self.rank(*one).cmp(&self.rank(*other))) == Some(key.series)
    }
}
