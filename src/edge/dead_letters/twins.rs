//! Letters that say the same twice: an agent that was killed has read their records again.
//!
//! A record is known by its place and its text (a file may be written anew from its start), a notice by its id and who was to
//! be told. Documents are left alone: a
//! later one may hold a later state, and to send the same twice is harmless. Driven by whoever reads the whole log, oldest
//! first.

use std::collections::HashSet;

use crate::flow::document::DeadLetter;

/// The letters seen so far: 16 bytes each, so at most a few dozen MiB for a full log.
#[derive(Debug, Default)]
pub struct Twins(HashSet<[u8; 16]>);

impl Twins {
    /// True if the letter is the first of its kind. A document's twin is not known: it may hold a later state.
    pub fn is_new(&mut self, letter: &DeadLetter) -> bool {
        name(letter).is_none_or(|name| self.0.insert(name))
    }

    /// True if it was seen.
    #[must_use]
    pub fn knows(&self, letter: &DeadLetter) -> bool {
        name(letter).is_some_and(|name| self.0.contains(&name))
    }
}

fn name(letter: &DeadLetter) -> Option<[u8; 16]> {
    let mut hasher = blake3::Hasher::new();
    if let Some(notifier) = &letter.notifier {
        hasher.update(notifier.as_bytes());
        hasher.update(b"\0");
        hasher.update(letter.origin.as_bytes());
    } else {
        let position = letter.position.as_ref()?;
        hasher.update(position.source.0.as_bytes());
        hasher.update(&position.offset.to_le_bytes());
        hasher.update(letter.text.as_bytes());
    }
    let mut name = [0; 16];
    hasher.finalize_xof().fill(&mut name);
    Some(name)
}
