//! A refused document, sent again: what `dead-letters retry` does once the cause is mended.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use super::settle::target;
use crate::flow::document::{DeadLetter, Documents, Item};

/// Appends the letter's document, byte for byte what was refused. False: the letter is a record that never became a
/// document, or its action line is unreadable; there is nothing to send.
#[must_use]
pub fn revive(letter: &DeadLetter, documents: &mut Documents) -> bool {
    let Some(action) = &letter.action else {
        return false;
    };
    let Some(target) = target(action.as_bytes()) else {
        return false;
    };
    let start = documents.bytes.len();
    for line in [action, &letter.text] {
        documents.bytes.extend_from_slice(line.as_bytes());
        documents.bytes.push(b'\n');
    }
    documents.items.push(Item {
        key: BuildHasherDefault::<DefaultHasher>::default().hash_one((&target.index, &target.id)),
        index: target.index.into(),
        lines: start..documents.bytes.len(),
        action_length: action.len() + 1,
    });
    true
}
