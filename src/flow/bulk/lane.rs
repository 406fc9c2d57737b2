//! The lane packs documents into requests, in their order, and lets no two items with one key fly together.
//!
//! An item whose key is in flight, or already in the request being built, closes that request and waits behind it: so a
//! correction lands after what it corrects, whatever the cluster does to either request. It also numbers the documents,
//! which tells a barrier when everything before it is settled.

mod unsettled;

use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashSet;

use super::{Place, Request};
use crate::flow::document::Documents;
use crate::flow::pool::Pool;

/// Bodies kept for reuse: while one is sent, the next is packed.
const BODIES_MAX: usize = 2;

/// Larger ones go back to the allocator.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Packs documents into requests.
#[derive(Debug)]
pub struct Lane {
    bulk_bytes: usize,
    building: Vec<u8>,
    /// Where the bodies of settled requests come back to.
    bodies: Pool,
    places: Vec<Place>,
    keys: Vec<u64>,
    closed: bool,
    /// Documents taken in so far: the number of the next one.
    taken: u64,
    /// Keys of every document that is being built or in flight.
    busy: HashSet<u64, BuildHasherDefault<KeyIsHash>>,
    /// Requests in flight: number of their first document → their keys.
    flights: BTreeMap<u64, Vec<u64>>,
}

impl Lane {
    /// An empty lane whose requests hold at most `bulk_bytes`, or one larger document.
    #[must_use]
    pub fn new(bulk_bytes: usize) -> Self {
        Self {
            bulk_bytes,
            building: Vec::new(),
            bodies: Pool::new(BODIES_MAX, BODY_BYTES_MAX),
            places: Vec::new(),
            keys: Vec::new(),
            closed: false,
            taken: 0,
            busy: HashSet::default(),
            flights: BTreeMap::new(),
        }
    }

    /// Takes in items from index `from` on and returns the index of the first it did not take. If that is not the
    /// end, the request being built is closed: [`Lane::take`] it; if there is none, an item waits for a flight to
    /// be [`Lane::settled`].
    pub fn push(&mut self, documents: &Documents, from: usize) -> usize {
        let items = documents.items.get(from..).unwrap_or_default();
        let mut next = from;
        for item in items {
            let lines = documents.bytes.get(item.lines.clone()).unwrap_or_default();
            let fits = self.building.len() + lines.len() <= self.bulk_bytes;
            if self.closed || !(fits || self.places.is_empty()) || !self.busy.insert(item.key) {
                self.closed = !self.places.is_empty();
                return next;
            }
            self.building.extend_from_slice(lines);
            self.places.push(Place {
                end: self.building.len(),
                action_length: item.action_length,
            });
            self.keys.push(item.key);
            self.taken += 1;
            next += 1;
        }
        self.closed |= self.building.len() >= self.bulk_bytes;
        next
    }

    /// Lets no more documents into the request being built (its time is up, or the stream ends).
    pub fn close(&mut self) {
        self.closed = !self.places.is_empty();
    }

    /// True if the request being built takes no more documents: it wants to be taken.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// True if no document is being packed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The request that was being built, which is in flight from now on. `None`: nothing was.
    pub fn take(&mut self) -> Option<Request> {
        if self.places.is_empty() {
            return None;
        }
        self.closed = false;
        let first = self.first_unpacked();
        // The next request is likely as long as this one.
        let length = self.building.len();
        let mut next = self.bodies.take_any().unwrap_or_default();
        // Of blocks as large as these, growing moves pages and copies nothing.
        next.reserve(length);
        let body = std::mem::replace(&mut self.building, next);
        self.flights.insert(first, std::mem::take(&mut self.keys));
        Some(Request {
            body: self.bodies.lend(body),
            places: std::mem::take(&mut self.places),
            first,
        })
    }

    /// The request whose first document has that number is settled to its last document: its keys are free.
    pub fn settled(&mut self, first: u64) {
        for key in self.flights.remove(&first).unwrap_or_default() {
            self.busy.remove(&key);
        }
    }

    /// Documents taken in so far: a barrier that comes now waits for these.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// All documents before this number are settled.
    #[must_use]
    pub fn settled_below(&self) -> u64 {
        let flying = self.flights.keys().next().copied();
        flying.unwrap_or(self.taken).min(self.first_unpacked())
    }

    /// Requests hold this much at most from now on; the one being built may hold more already, and is closed by its next
    /// document.
    pub fn resize(&mut self, bulk_bytes: usize) {
        self.bulk_bytes = bulk_bytes;
    }

    /// Number of the first document that is not yet in flight.
    fn first_unpacked(&self) -> u64 {
        self.taken - self.places.len() as u64
    }
}

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct KeyIsHash(u64);

impl Hasher for KeyIsHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}
