//! Refused documents, sent again.
//!
//! Driven by `dead-letters retry`, run by run of a [`Sieve`](super::Sieve): a document that is stored leaves the log, one
//! that is refused again stays, with the new reason. Killed in between, the file is as it was, and what was stored is
//! sent again, which its id makes harmless.

use std::collections::HashMap;

use super::{Entry, Fate, Line};
use crate::edge::ship::{self, Progress, Settings, Transport};
use crate::flow::bulk::revive;
use crate::flow::document::{DeadLetter, Documents};

/// Sends the documents among `lines` whose places are in `chosen`, and says what becomes of those lines, place by place;
/// nothing of the others. Waits as long as it takes.
pub async fn resend<T: Transport>(
    lines: &[Line],
    chosen: &[usize],
    transport: &T,
    progress: &Progress,
) -> Vec<(usize, Fate)> {
    let mut documents = Documents::default();
    let mut fates = Vec::with_capacity(chosen.len());
    // Places by what is sent: a refusal names nothing else.
    let mut sent: HashMap<(String, String), Vec<usize>> = HashMap::new();
    for &at in chosen {
        let Some(entry) = lines.get(at).and_then(|line| line.entry.as_ref()) else {
            continue;
        };
        if !revive(&entry.letter, &mut documents) {
            fates.push((at, Fate::Stay));
            continue;
        }
        if let Some(item) = documents.items.last() {
            let lines = documents.bytes.get(item.lines.clone()).unwrap_or_default();
            let (action, source) = lines.split_at(item.action_length.min(lines.len()));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
            sent.entry((text(action), text(source)))
                .or_default()
                .push(at);
        }
    }
    for DeadLetter {
        reason,
        text,
        action,
        ..
    } in ship::resend(Settings::default(), &documents, transport, progress).await
    {
        let places = sent.get_mut(&(action.unwrap_or_default(), text));
        if let Some(at) = places.and_then(Vec::pop) {
            fates.push((at, refused_again(lines, at, reason)));
        }
    }
    let stored = sent.into_values().flatten().map(|at| (at, Fate::Go));
    fates.extend(stored);
    fates
}

/// The letter as it was, with the time of its first refusal and the reason of its last.
fn refused_again(lines: &[Line], at: usize, reason: String) -> Fate {
    let Some(entry) = lines.get(at).and_then(|line| line.entry.clone()) else {
        return Fate::Stay;
    };
    let entry = Entry {
        letter: DeadLetter {
            reason,
            ..entry.letter
        },
        ..entry
    };
    serde_json::to_vec(&entry).map_or(Fate::Stay, Fate::Become)
}
