//! Entries of the operation log become documents: created once, however often a replay hands them in again.
//!
//! They are no events: totals do not count them, and nothing else looks at them.

use super::{Engine, key_of_id};
use crate::flow::document::{Action, Dataset, Documents, window_id};
use crate::flow::engine::Operations;
use crate::flow::event::Timestamp;
use crate::flow::json;
use crate::flow::operation::{Entry, Outcome};

impl Engine {
    /// Takes in entries of the operation log.
    pub fn push_operations(
        &mut self,
        operations: &Operations,
        now: Timestamp,
        out: &mut Documents,
    ) {
        for entry in &operations.entries {
            self.document(entry, now, out);
        }
        let (source, head) = (&operations.source, &operations.head);
        self.state.heads.insert(source.clone(), head.clone());
    }

    fn document(&mut self, entry: &Entry, now: Timestamp, out: &mut Documents) {
        let index = self.compiled.indices.name(Dataset::Operation, entry.at);
        // A log that begins anew counts from 1 again: the time tells its entries from the old ones.
        let id = window_id(&[
            "operation",
            &self.settings.pipeline,
            &self.settings.agent.id,
            &entry.number.to_string(),
            &entry.at.0.to_string(),
        ]);
        let letterhead = &self.compiled.letterhead;
        out.add(Action::Create, &index, &id, key_of_id(&id), |bytes| {
            letterhead.open(entry.at, Dataset::Operation, now, bytes);
            write(entry, bytes);
        });
    }
}

fn write(entry: &Entry, out: &mut Vec<u8>) {
    let operation = &entry.operation;
    out.extend_from_slice(b",\"operation\":{\"action\":");
    // Names of ours: letters and hyphens.
    let action = serde_json::to_string(&operation.action).unwrap_or_default();
    out.extend_from_slice(action.as_bytes());
    out.extend_from_slice(match operation.outcome {
        Outcome::Success => b",\"outcome\":\"success\"",
        Outcome::Failure => b",\"outcome\":\"failure\"",
    });
    out.extend_from_slice(b",\"number\":");
    json::write_integer(entry.number, out);
    out.extend_from_slice(b",\"count\":");
    json::write_integer(operation.count, out);
    if !operation.details.is_empty() {
        let details = serde_json::to_string(&operation.details).unwrap_or_default();
        out.extend_from_slice(b",\"details\":");
        out.extend_from_slice(details.as_bytes());
    }
    out.extend_from_slice(b"},\"message\":");
    json::write_text(&operation.message, out);
    out.push(b'}');
}
