//! Documents to requests, replies to verdicts: the whole retry policy, as pure functions.
//!
//! Driven by `edge::ship`. Three things live here: [`Lane`] packs documents into [`Request`]s and keeps two items
//! with one key from flying together; [`Request::settle`] reads a reply and says, for every item, what the caller does
//! next; [`Pace`] says how many requests may fly, how large, and how long to wait before the next. What is sent again is
//! cut out of the request by byte range and never encoded anew.
//!
//! Invariant: nothing is lost on the way. For every request and any status and reply, however garbled,
//! `stored + superseded + sent again + refused = sent`.
//!
//! | the cluster says | of an item | of the whole request |
//! |---|---|---|
//! | 2xx | stored | look at the items |
//! | 409 | create: stored already; external version: superseded; update: again | – |
//! | 429, 500, 502, 503, 504 | again | all again (so does every other 5xx) |
//! | 401, 403 | again, and pause: someone must mend a privilege or a read-only index | the same |
//! | 413 | refused | halve, down to one document, which is refused |
//! | 400 | refused; scripts are forbidden: again, and pause | Elasticsearch's own words: halve as with 413, so that one bad line shows; else pause |
//! | other | refused | all again, and pause: whoever answers is not a healthy Elasticsearch |
//! | unreadable, no answer | – | all again: ids make a second sending harmless |

mod backoff;
mod lane;
mod pace;
mod reply;
mod revive;
mod settle;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use backoff::backoff;
pub use lane::Lane;
pub use pace::{Bounds, Pace, Trouble};
pub use reply::{Explanation, explain};
pub use revive::revive;
pub use settle::{Pause, Settled};

/// A `_bulk` body and where its documents lie in it. Not empty.
#[derive(Clone, Debug)]
pub struct Request {
    body: Bytes,
    places: Vec<Place>,
    first: u64,
}

/// One document of a request: it begins where its forerunner ends.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// First byte behind it.
    end: usize,
    /// Length of its action line, line feed included.
    action_length: usize,
}

impl Request {
    /// What is sent: action line, source line, and so on. Cheap to clone.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Number of documents in it.
    #[must_use]
    pub fn documents(&self) -> usize {
        self.places.len()
    }

    /// The running number of its first document in the [`Lane`]: names the request there.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Every document: its place, action line and source line.
    fn iter(&self) -> impl Iterator<Item = Document<'_>> {
        let mut start = 0;
        self.places.iter().map(move |place| {
            let lines = self.body.get(start..place.end).unwrap_or_default();
            start = place.end;
            let (action, source) = lines.split_at(place.action_length.min(lines.len()));
            Document { action, source }
        })
    }

    /// A request of those documents alone, in the same order.
    fn of<'a>(documents: impl Iterator<Item = Document<'a>>, first: u64) -> Self {
        let mut body = Vec::new();
        let mut places = Vec::new();
        for document in documents {
            body.extend_from_slice(document.action);
            body.extend_from_slice(document.source);
            places.push(Place {
                end: body.len(),
                action_length: document.action.len(),
            });
        }
        Self {
            body: body.into(),
            places,
            first,
        }
    }
}

/// One document's two lines, each with its line feed.
#[derive(Clone, Copy, Debug)]
struct Document<'a> {
    action: &'a [u8],
    source: &'a [u8],
}
