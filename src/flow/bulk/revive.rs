//! A refused document, sent again: what `dead-letters retry` does once the cause is mended.
//!
//! A retry comes late, and must not undo what came after. `create` loses against what is there, and `index` carries its
//! version; a label's `update` carries its revision, and is sent as a script that does nothing where the document has
//! that revision or a later one. It is the only script modelbeat sends, so a cluster that forbids inline scripts
//! (`script.allowed_types`) refuses this update alone, and says so.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::settle::target;
use crate::flow::document::{DeadLetter, Documents, Item};
use crate::flow::json::write_text;

/// Merges `params.doc` as a partial update would, two levels deep, if its label is newer. No label counts as -1, one that
/// expired as 0; the revisions of labels begin at 1.
const IF_NEWER: &str = "\
def was = ctx._source.label; \
def is = params.doc.label; \
long before = was == null || was.revision == null ? -1L : ((Number) was.revision).longValue(); \
long after = is.revision == null ? 0L : ((Number) is.revision).longValue(); \
if (before >= after) { ctx.op = 'none' } else { \
for (part in params.doc.entrySet()) { \
def old = ctx._source[part.getKey()]; \
if (old instanceof Map && part.getValue() instanceof Map) { old.putAll(part.getValue()) } \
else { ctx._source[part.getKey()] = part.getValue() } } }";

/// Appends the letter's document as what is sent again. False: the letter is a record that never became a document, or
/// its action line is unreadable; there is nothing to send.
#[must_use]
pub fn revive(letter: &DeadLetter, documents: &mut Documents) -> bool {
    let Some(action) = &letter.action else {
        return false;
    };
    let Some(target) = target(action.as_bytes()) else {
        return false;
    };
    let out = &mut documents.bytes;
    let start = out.len();
    out.extend_from_slice(action.as_bytes());
    out.push(b'\n');
    let action_length = out.len() - start;
    match label_update(action, &letter.text) {
        Some(update) => update.write_if_newer(out),
        None => out.extend_from_slice(letter.text.as_bytes()),
    }
    out.push(b'\n');
    documents.items.push(Item {
        key: BuildHasherDefault::<DefaultHasher>::default().hash_one((&target.index, &target.id)),
        index: target.index.into(),
        lines: start..documents.bytes.len(),
        action_length,
    });
    true
}

/// The source line of an update.
#[derive(Deserialize)]
struct Update<'t> {
    #[serde(borrow)]
    doc: &'t RawValue,
    #[serde(borrow)]
    upsert: Option<&'t RawValue>,
}

/// `None`: it is no update, or none that changes a label.
fn label_update<'t>(action: &str, text: &'t str) -> Option<Update<'t>> {
    #[derive(Deserialize)]
    struct Part<'t> {
        #[serde(borrow, rename = "label")]
        _label: &'t RawValue,
    }
    if !action.starts_with("{\"update\"") {
        return None;
    }
    let update: Update<'t> = serde_json::from_str(text).ok()?;
    serde_json::from_str::<Part<'_>>(update.doc.get()).ok()?;
    Some(update)
}

impl Update<'_> {
    fn write_if_newer(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"script\":{\"lang\":\"painless\",\"source\":");
        write_text(IF_NEWER, out);
        out.extend_from_slice(b",\"params\":{\"doc\":");
        out.extend_from_slice(self.doc.get().as_bytes());
        out.extend_from_slice(b"}}");
        if let Some(upsert) = self.upsert {
            out.extend_from_slice(b",\"upsert\":");
            out.extend_from_slice(upsert.get().as_bytes());
        }
        out.push(b'}');
    }
}
