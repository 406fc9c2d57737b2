//! A refused document, sent again: what `dead-letters retry` does once the cause is mended.
//!
//! A retry comes late, and must not undo what came after. `create` loses against what is there, `index` carries its
//! version, and a label's `update` a script that does nothing where a later label is stored.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::settle::target;
use crate::flow::document::{DeadLetter, Documents, Item};

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
    out.extend_from_slice(letter.text.as_bytes());
    out.push(b'\n');
    documents.items.push(Item {
        key: BuildHasherDefault::<DefaultHasher>::default().hash_one((&target.index, &target.id)),
        lines: start..documents.bytes.len(),
        action_length,
    });
    true
}
