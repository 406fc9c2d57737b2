//! Windows become documents: while open, when they close, and again after every correction.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::document::{Action, Dataset, Documents, WindowDocument, WindowIdentity};
use crate::flow::engine::{Engine, key_of_id};
use crate::flow::event::Timestamp;
use crate::flow::host::{Aggregate, HostSnapshot};
use crate::flow::quality::{Summary, summarise};
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, WindowKey};

/// Host windows kept: a day of minutes, and hours and days beside them for weeks.
const HOST_WINDOWS_MAX: usize = 4_096;

/// What the host did over each window, whatever model it served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct HostWindows(BTreeMap<(Timestamp, Length), Aggregate>);

impl HostWindows {
    /// Counts a snapshot into the windows of its time.
    pub(super) fn add(&mut self, lengths: &[Length], snapshot: &HostSnapshot) {
        for length in lengths {
            self.0.entry((length.start(snapshot.time), *length)).or_default().add(snapshot);
        }
        while self.0.len() > HOST_WINDOWS_MAX {
            self.0.pop_first();
        }
    }

    fn get(&self, key: &WindowKey) -> Option<&Aggregate> {
        self.0.get(&(key.start, key.length)).filter(|aggregate| !aggregate.is_empty())
    }
}

impl Engine {
    /// Publishes every window that changed since it was last published.
    pub(super) fn publish(&mut self, now: Timestamp, out: &mut Documents) {
        for key in self.state.windows.take_dirty() {
            self.publish_window(&key, false, now, out);
        }
    }

    /// Publishes windows for the last time, once no label can change them.
    pub(super) fn close_windows(&mut self, now: Timestamp, out: &mut Documents) {
        if !self.settings.expires {
            return;
        }
        for key in self.state.windows.settled(now, self.settings.join.label_horizon_ms) {
            self.publish_window(&key, true, now, out);
        }
        self.state.windows.close(now, self.settings.join.label_horizon_ms);
    }

    fn publish_window(&mut self, key: &WindowKey, last: bool, now: Timestamp, out: &mut Documents) {
        let version = self.state.tables.next_version(now);
        let tables = &self.state.tables;
        let Some(window) = self.state.windows.get(key) else { return };
        let summary = summarise(&window.tally, &tables.task, &|class| tables.class_text(class), self.settings.min_support);
        let (model, model_version) = tables.series_text(key.series);
        let (slice_name, slice_value) = tables.slices.text(key.slice);
        let identity = WindowIdentity {
            pipeline: &self.settings.pipeline,
            agent_id: &self.settings.agent.id,
            model,
            version: model_version,
            slice_name,
            slice_value,
            length: key.length,
            start: key.start,
        };
        let index = self.compiled.indices.name(Dataset::Quality, key.start);
        let letterhead = &self.compiled.letterhead;
        let host = self.state.hosts.get(key);
        let revision = window.tally.revision();
        let mut add = |dataset: Dataset, part: &[&str], write: &dyn Fn(&mut Vec<u8>)| {
            let id = identity.id(part);
            let document = WindowDocument { identity: &identity, dataset, revision, last };
            out.add(Action::Index { version }, &index, &id, key_of_id(&id), |bytes| {
                document.write_head(letterhead, now, bytes);
                bytes.push(b',');
                write(bytes);
                bytes.push(b'}');
            });
        };
        add(Dataset::Quality, &[], &|bytes| {
            summary.write_members(bytes);
            if let Some(host) = host {
                bytes.push(b',');
                host.write_members(bytes);
            }
        });
        add_companions(&summary, key.slice == ALL, &mut add);
    }
}

/// The flat companions: classes, confusion cells, and (of the whole only: 21 rows a window) the threshold sweep.
fn add_companions(summary: &Summary, whole: bool, add: &mut impl FnMut(Dataset, &[&str], &dyn Fn(&mut Vec<u8>))) {
    for class in summary.classes() {
        add(Dataset::QualityClass, &["class", &class.class], &|bytes| class.write_members(bytes));
    }
    for cell in summary.cells() {
        add(Dataset::Confusion, &["cell", &cell.actual, &cell.predicted], &|bytes| cell.write_members(bytes));
    }
    if whole {
        for row in summary.thresholds() {
            let threshold = format!("{:.2}", row.threshold);
            add(Dataset::Threshold, &["threshold", &threshold], &|bytes| row.write_members(bytes));
        }
    }
}
