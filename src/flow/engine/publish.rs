//! Windows become documents: while open, when they close, and again after every correction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::alert::{Book, Numbers, Published, Reading};
use crate::flow::document::{
    Action, Dataset, Documents, Indices, Letterhead, WindowDocument, WindowIdentity,
};
use crate::flow::engine::closed::Closed;
use crate::flow::engine::small_groups::{Small, Telling};
use crate::flow::engine::state::Tables;
use crate::flow::engine::versions::Versions;
use crate::flow::engine::view::WindowView;
use crate::flow::engine::{Engine, Index, Settings, key_of_id};
use crate::flow::event::Timestamp;
use crate::flow::host::{Aggregate, HostSnapshot};
use crate::flow::quality::{Summary, Tally, summarise};
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, Span, WindowKey, Windows};

/// Windows of which slice soever that become final at a time.
const CLOSED_AT_ONCE: usize = 1_024;

/// Panes that are published at a time: some mebibyte of documents.
const PUBLISHED_AT_ONCE: usize = 256;

/// Host panes kept: a day of minutes, and hours and days beside them for weeks.
const HOST_PANES_MAX: usize = 4_096;

/// What the host did over each pane, whatever model it served. Cumulative windows have none: they begin with a
/// version, not with the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HostWindows(BTreeMap<(Timestamp, Length), Aggregate>);

impl HostWindows {
    /// Counts a snapshot into the panes of its time.
    pub(super) fn add(&mut self, lengths: &[Length], snapshot: &HostSnapshot) {
        for length in lengths
            .iter()
            .filter(|length| **length != Length::Cumulative)
        {
            self.0
                .entry((length.start(snapshot.time), *length))
                .or_default()
                .add(snapshot);
        }
        while self.0.len() > HOST_PANES_MAX {
            self.0.pop_first();
        }
    }

    /// All of a window; empty where no snapshot was taken in it.
    pub(super) fn of(&self, length: Length, start: Timestamp) -> Aggregate {
        let mut sum = Aggregate::default();
        for pane in length
            .panes_of(start)
            .filter_map(|pane| self.0.get(&(pane, length)))
        {
            sum.merge(pane);
        }
        sum
    }
}

impl Engine {
    /// Publishes windows that changed since they were last published: a part of them, so that their documents need not all be
    /// in memory at once. True: there are more.
    pub fn publish_some(&mut self, now: Timestamp, out: &mut Documents) -> bool {
        let keys = self.state.windows.take_dirty(PUBLISHED_AT_ONCE);
        self.publish_windows(&keys, false, now, out);
        self.state.windows.any_dirty()
    }

    /// Publishes windows for the last time, once no label can change them.
    pub(super) fn close_windows(&mut self, now: Timestamp, out: &mut Documents) {
        if !self.settings.expires {
            self.close_at = None;
            return;
        }
        let mut keys = self
            .state
            .windows
            .settled(now, self.settings.join.label_horizon_ms);
        // After a long stop they may be many, most of them on disk: a few at a time, each with all its slices.
        let window_of = |key: &WindowKey| (key.length, key.series, key.start);
        keys.sort_unstable_by_key(|key| (window_of(key), key.slice));
        let mut dropped = false;
        let mut rest = keys.as_slice();
        while let Some(last) = rest.get(rest.len().min(CLOSED_AT_ONCE).saturating_sub(1)) {
            let (now_due, later) =
                rest.split_at(rest.partition_point(|key| window_of(key) <= window_of(last)));
            let mut due = now_due.to_vec();
            due.sort_unstable();
            self.publish_windows(&due, true, now, out);
            dropped |= self.state.windows.close(&due);
            rest = later;
        }
        if dropped {
            self.state.versions.close(&self.state.windows);
        }
        self.close_at = self
            .state
            .windows
            .settling(now, self.settings.join.label_horizon_ms);
    }

    fn publish_windows(
        &mut self,
        keys: &[WindowKey],
        last: bool,
        now: Timestamp,
        out: &mut Documents,
    ) {
        if keys.is_empty() {
            return;
        }
        let super::State {
            tables,
            windows,
            hosts,
            versions,
            stamps,
            alerts,
            ..
        } = &mut self.state;
        let overtaken = if last {
            Vec::new()
        } else {
            versions.take_overtaken()
        };
        windows.fetch(keys);
        windows.fetch(&overtaken);
        let windows = &*windows;
        let (settings, letterhead, indices) = (
            &self.settings,
            &self.compiled.letterhead,
            &mut self.compiled.indices,
        );
        let mut press = Press {
            settings,
            letterhead,
            indices,
            tables,
            windows,
            versions,
            alerts,
            version: stamps.next(now),
            now,
            last,
            closed: &mut self.closed,
            out,
            small: Small::default(),
        };
        let keys = &*press.with_neighbours(keys);
        // A host's window is the same for all versions and slices.
        let mut of_host: BTreeMap<(Length, Timestamp), Aggregate> = BTreeMap::new();
        for key in keys {
            of_host
                .entry((key.length, key.start))
                .or_insert_with(|| hosts.of(key.length, key.start));
        }
        for neighbours in keys.chunk_by(WindowKey::is_beside) {
            windows.fold(neighbours, Tally::merge, |key, tally, span| {
                press.window(key, tally, span, of_host.get(&(key.length, key.start)));
            });
        }
        press.comparisons(keys, &overtaken);
    }
}

/// All that is needed to make documents of windows.
pub(super) struct Press<'e> {
    pub(super) settings: &'e Settings,
    pub(super) letterhead: &'e Letterhead,
    pub(super) indices: &'e mut Indices,
    pub(super) tables: &'e mut Tables,
    pub(super) windows: &'e Windows,
    pub(super) versions: &'e mut Versions,
    pub(super) alerts: &'e mut Book,
    /// External version of all documents: no two have the same id.
    pub(super) version: i64,
    pub(super) now: Timestamp,
    /// No label can change these windows any more.
    pub(super) last: bool,
    pub(super) closed: &'e mut Closed,
    pub(super) out: &'e mut Documents,
    pub(super) small: Small,
}

impl Press<'_> {
    fn window(
        &mut self,
        key: &WindowKey,
        tally: &Tally,
        span: Option<Span>,
        host: Option<&Aggregate>,
    ) {
        let tables = &*self.tables;
        let summary = summarise(
            tally,
            &tables.task,
            &|class| tables.class_text(class),
            self.settings.min_support,
        );
        let index = index_of(self.indices, key);
        let Some(identity) = identity(self.settings, tables, key, span) else {
            return;
        };
        let Self {
            letterhead,
            version,
            now,
            last,
            ref mut alerts,
            ref mut out,
            ..
        } = *self;
        // An earlier revision may have been told, before somebody else made it a way to tell of a small group.
        let telling = self.small.get(key);
        if telling != Telling::All {
            alerts.withhold(&identity, now);
        }
        let told = match telling {
            Telling::All => true,
            Telling::OnlyThatItIs => false,
            Telling::Nothing => return,
        };
        let document = out.items.len();
        let revision = if told { tally.revision() } else { 0 };
        let mut add = |dataset: Dataset, part: &[&str], write: &dyn Fn(&mut Vec<u8>)| {
            let id = identity.id(part);
            let document = WindowDocument {
                identity: &identity,
                dataset,
                revision,
                last,
            };
            out.add(
                Action::Index { version },
                &index,
                &id,
                key_of_id(&id),
                |bytes| {
                    document.write_head(letterhead, now, bytes);
                    if told {
                        bytes.push(b',');
                        write(bytes);
                    }
                    bytes.push(b'}');
                },
            );
        };
        add(Dataset::Quality, &[], &|bytes| {
            identity.write_rate(summary.counts.predictions, bytes);
            summary.write_members(bytes);
            if let Some(host) = host.filter(|host| !host.is_empty()) {
                bytes.push(b',');
                host.write_members(bytes);
            }
        });
        add_companions(&summary, key.slice == ALL, &mut add);
        if !told {
            return;
        }
        if let Some(item) = out.items.get(document) {
            let source = item.lines.start + item.action_length..item.lines.end;
            let published = Published {
                summary: &summary,
                source: out.bytes.get(source).unwrap_or_default(),
                last,
            };
            let numbers = Numbers {
                reading: &|metric| Reading::of(metric, published),
                histogram: &|of| published.histogram(of),
            };
            alerts.read(&identity, numbers, now);
        }
        if last {
            let mut summary = summary;
            summary.drop_rows();
            let window = WindowView {
                from: identity.from,
                until: identity.until,
                is_filling: false,
                is_final: true,
                summary,
                host: host.filter(|host| !host.is_empty()).cloned(),
            };
            self.closed.push(*key, window);
        }
    }
}

/// What a window is called; `None` if it is cumulative and has only labels, of predictions from before the pipeline had
/// cumulative windows.
pub(super) fn identity<'e>(
    settings: &'e Settings,
    tables: &'e Tables,
    key: &WindowKey,
    span: Option<Span>,
) -> Option<WindowIdentity<'e>> {
    let (model, version) = tables.series_text(key.series);
    let (slice_name, slice_value) = tables.slices.text(key.slice);
    let (from, until) = match (key.length, span) {
        (Length::Cumulative, Some(span)) => (span.first, span.last.plus(1)),
        (Length::Cumulative, None) => return None,
        (length, _) => (key.start, length.end(key.start)),
    };
    Some(WindowIdentity {
        pipeline: &settings.pipeline,
        agent_id: &settings.agent.id,
        model,
        version,
        slice_name,
        slice_value,
        length: key.length,
        start: key.start,
        from,
        until,
    })
}

/// The index of a window's documents.
pub(super) fn index_of(indices: &mut Indices, key: &WindowKey) -> Index {
    match key.length {
        Length::Cumulative => indices.cumulative(),
        Length::Fixed(_) | Length::Month | Length::Hopping { .. } => {
            indices.name(Dataset::Quality, key.start)
        }
    }
}

/// The flat companions: classes, confusion cells, and (of the whole only: 21 rows a window) the threshold sweep.
fn add_companions(
    summary: &Summary,
    whole: bool,
    add: &mut impl FnMut(Dataset, &[&str], &dyn Fn(&mut Vec<u8>)),
) {
    for class in summary.classes() {
        add(Dataset::QualityClass, &["class", &class.class], &|bytes| {
            class.write_members(bytes);
        });
    }
    for cell in summary.cells() {
        add(
            Dataset::Confusion,
            &["cell", &cell.actual, &cell.predicted],
            &|bytes| cell.write_members(bytes),
        );
    }
    if whole {
        for row in summary.thresholds() {
            let threshold = format!("{:.2}", row.threshold);
            add(Dataset::Threshold, &["threshold", &threshold], &|bytes| {
                row.write_members(bytes);
            });
        }
    }
}
