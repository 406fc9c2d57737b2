//! What somebody sees who looks at quality now: of every version, slice and length the current window, the newest ones
//! before it, and what the host was doing meanwhile. A look changes nothing, reads nothing back from disk, and is bounded.
//!
//! The numbers are those of the windows' documents, but for what is computed from scores (areas under curves, log loss),
//! which is most of the work and is left to the documents. Since they are read from the windows themselves, a late label
//! changes them as it changes the documents. Windows that rest on disk are left out; those that have become final are shown as
//! they were published last.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::flow::engine::Engine;
use crate::flow::engine::looked::{Detail, Looked};
use crate::flow::engine::publish::identity;
use crate::flow::event::{SourceKey, Timestamp};
use crate::flow::host::{Aggregate, HostSnapshot};
use crate::flow::quality::{Summary, Tally, Task, summarise};
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, Merge, Strand, WindowKey};

/// The newest window, if its last prediction came this little ago, may be about to get more, however old its events are: logs
/// of last month are read now.
const FILLING_MS: i64 = 10_000;

/// How much a look may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Combinations of version, slice and length; the wholes come first, then those with the newest predictions.
    pub series_max: usize,
    /// Windows in the history of each whole, …
    pub whole_max: usize,
    /// … of each slice, …
    pub slice_max: usize,
    /// … and of all together, in the order of the series.
    pub windows_max: usize,
    /// Snapshots of the host, the newest.
    pub host_max: usize,
}

/// Quality at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The moment.
    pub at: Timestamp,
    /// The agent's name in documents.
    pub agent_name: Arc<str>,
    /// What the model does.
    pub task: Task,
    /// Judged predictions below which a window is marked.
    pub min_support: u64,
    /// One entry a version, slice and length.
    pub series: Vec<SeriesView>,
    /// Combinations that [`Bounds::series_max`] left out.
    pub left_out: usize,
    /// What the host was doing, ascending in time.
    pub host: Vec<HostSnapshot>,
}

/// One version, slice and length.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesView {
    /// Model name.
    pub model: String,
    /// Model version; empty where there is none.
    pub version: String,
    /// Slice name; `_all` for the whole.
    pub slice_name: String,
    /// Slice value; `None` for the whole.
    pub slice_value: Option<String>,
    /// How long the windows are.
    pub length: Length,
    /// The newest window that has ended and has `quality.min_support` labels, or else the newest that has any, or else
    /// the newest.
    pub current: Arc<WindowView>,
    /// The newest windows, ascending, without rows of classes and cells; of slices also without times.
    pub history: Vec<Arc<WindowView>>,
    /// Older windows in memory that the bounds left out.
    pub history_left_out: usize,
}

/// One window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowView {
    /// Its first millisecond.
    pub from: Timestamp,
    /// The first millisecond behind it.
    pub until: Timestamp,
    /// It is the newest, and predictions for it have come in just now.
    pub is_filling: bool,
    /// No label can change it any more.
    pub is_final: bool,
    /// Its numbers, without those of scores.
    pub summary: Summary,
    /// What the host was doing; `None` where that was not looked at.
    pub host: Option<Aggregate>,
}

/// What the engine holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Predictions that may still get a label, in memory.
    pub open_in_memory: usize,
    /// … and on disk only.
    pub open_on_disk: usize,
    /// Bytes of memory that open predictions take.
    pub open_bytes: usize,
    /// Labels that wait for their prediction.
    pub early_labels: usize,
    /// Windows, by slice, that may still change, in memory; of hopping windows their parts.
    pub windows_in_memory: usize,
    /// … and on disk only.
    pub windows_on_disk: usize,
}

impl Engine {
    /// A look at quality. Costs by the windows in memory, so ask for it now and then, not for each event; what the look before
    /// showed makes it cheaper.
    #[must_use]
    pub fn view(&mut self, now: Timestamp, bounds: Bounds, looked: &mut Looked) -> View {
        self.state.windows.gather();
        let strands = self.state.windows.strands();
        let closed = self.closed.by_strand();
        let mut room = bounds.windows_max;
        let mut series = Vec::with_capacity(strands.len().min(bounds.series_max));
        for strand in strands.iter().take(bounds.series_max) {
            let Some(mut shown) = self.series_view(strand, now, looked) else {
                continue;
            };
            let of_one = if strand.slice == ALL {
                bounds.whole_max
            } else {
                bounds.slice_max
            };
            let before = closed.get(&(strand.length, strand.series, strand.slice));
            let before = before.map_or(&[][..], Vec::as_slice);
            shown.history = self.history(strand, before, of_one.min(room), now, looked);
            shown.history_left_out =
                (strand.len() + before.len()).saturating_sub(shown.history.len());
            room -= shown.history.len();
            series.push(shown);
        }
        looked.over();
        View {
            at: now,
            agent_name: Arc::clone(&self.settings.agent.name),
            task: self.settings.task.clone(),
            min_support: self.settings.min_support,
            series,
            left_out: strands.len().saturating_sub(bounds.series_max),
            host: self
                .state
                .history
                .latest(bounds.host_max)
                .cloned()
                .collect(),
        }
    }

    /// How much waits, and where.
    #[must_use]
    pub fn load(&self) -> Load {
        let (windows_in_memory, windows_on_disk) = self.state.windows.places();
        let opens = &self.state.join.opens;
        Load {
            open_in_memory: opens.len() - opens.len_on_disk(),
            open_on_disk: opens.len_on_disk(),
            open_bytes: opens.bytes(),
            early_labels: self.state.join.earlies.len(),
            windows_in_memory,
            windows_on_disk,
        }
    }

    /// Up to where each source has been taken in.
    #[must_use]
    pub fn offsets(&self) -> BTreeMap<SourceKey, u64> {
        let heads = self.state.heads.iter();
        heads
            .map(|(key, head)| (key.clone(), head.offset))
            .collect()
    }

    /// Without history.
    fn series_view(
        &self,
        strand: &Strand,
        now: Timestamp,
        looked: &mut Looked,
    ) -> Option<SeriesView> {
        let tables = &self.state.tables;
        let current = strand.current(now, self.settings.min_support)?;
        if self.withholds(&current) {
            return None;
        }
        let (model, version) = tables.series_text(strand.series);
        let (slice_name, slice_value) = tables.slices.text(strand.slice);
        Some(SeriesView {
            model: model.to_owned(),
            version: version.to_owned(),
            slice_name: slice_name.to_owned(),
            slice_value: slice_value.map(str::to_owned),
            length: strand.length,
            current: self
                .window_views(strand, &[current], Detail::Rows, now, looked)
                .pop()?,
            history: Vec::new(),
            history_left_out: 0,
        })
    }

    /// The newest windows of a strand, ascending; `before` are those of it that are final.
    fn history(
        &self,
        strand: &Strand,
        before: &[Arc<WindowView>],
        count: usize,
        now: Timestamp,
        looked: &mut Looked,
    ) -> Vec<Arc<WindowView>> {
        let detail = if strand.slice == ALL {
            Detail::Times
        } else {
            Detail::Counts
        };
        let told = |key: &WindowKey| !self.withholds(key);
        let keys: Vec<WindowKey> = strand.latest(count).filter(told).collect();
        let mut windows = self.window_views(strand, &keys, detail, now, looked);
        windows.extend(before.iter().cloned());
        windows.sort_by_key(|window| window.from);
        // A final hopping window whose panes others need is in memory, too.
        windows.dedup_by_key(|window| window.from);
        windows.drain(..windows.len().saturating_sub(count));
        windows
    }

    /// Keys are of the strand, ascending.
    fn window_views(
        &self,
        strand: &Strand,
        keys: &[WindowKey],
        detail: Detail,
        now: Timestamp,
        looked: &mut Looked,
    ) -> Vec<Arc<WindowView>> {
        let merge: Merge = match detail {
            Detail::Counts => Tally::merge_counts,
            Detail::Times | Detail::Rows => Tally::merge_timed,
        };
        let newest = strand.latest(1).next();
        let tables = &self.state.tables;
        let windows = &self.state.windows;
        let mut views = Vec::with_capacity(keys.len());
        windows.fold(keys, merge, |key, tally, span| {
            let Some(identity) = identity(&self.settings, tables, key, span) else {
                return;
            };
            let last_arrival = windows.last_arrival(key).filter(|_| newest == Some(*key));
            let is_filling = last_arrival.is_some_and(|last| now.since(last) < FILLING_MS);
            let is_final = windows.is_final(key);
            let make = || {
                // Of a window that is one pane, `fold` hands over all that there is.
                let mut counts = Tally::default();
                merge(&mut counts, tally);
                let mut summary = summarise(
                    &counts,
                    &tables.task,
                    &|class| tables.class_text(class),
                    self.settings.min_support,
                );
                if detail != Detail::Rows {
                    summary.drop_rows();
                }
                let host = self.state.hosts.of(key.length, key.start);
                WindowView {
                    from: identity.from,
                    until: identity.until,
                    is_filling,
                    is_final,
                    summary,
                    host: Some(host).filter(|host| !host.is_empty()),
                }
            };
            let (revision, state) = (tally.revision(), (is_filling, is_final));
            views.push(looked.window((*key, detail), revision, now, state, make));
        });
        views
    }
}

#[cfg(test)]
mod tests;
